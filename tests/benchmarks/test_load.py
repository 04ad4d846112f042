"""The load that the server's benchmark makes, against a server that answers as it is told."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from benchmarks.load import Load, request_of


def against(behave: Callable[[int], bytes], use: Callable[[Load], Awaitable[float]]) -> tuple[Load, float, int]:
    """What a load counts, the seconds that it took, and the requests that the server read."""
    read = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal read
        try:
            while True:
                await reader.readexactly(len(request))
                read += 1
                content = behave(read)
                if not content:
                    break
                writer.write(content)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        writer.close()

    request = request_of(b"image", "/v1/predict")

    async def main() -> tuple[Load, float]:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            load = Load(request, server.sockets[0].getsockname()[1])
            return load, await asyncio.wait_for(use(load), 20)

    return *asyncio.run(main()), read


def said(status: int, body: bytes = b"{}") -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def test_every_request_of_a_closed_load_is_counted() -> None:
    load, took, read = against(lambda number: said(200), lambda load: load.closed(4, 10, 100))
    result = load.result(took)
    assert load.sent == read == result["statuses"]["200"]
    assert 100 <= read <= 104
    assert result["lost"] == result["error_rate"] == 0
    assert 0 < result["p50_ms"] <= result["p99_ms"]


def test_refusals_and_lost_requests_are_told_apart() -> None:
    def behave(number: int) -> bytes:
        return said(503) if number % 3 == 1 else b"" if number % 3 == 2 else said(200)

    load, took, read = against(behave, lambda load: load.closed(1, 10, 30))
    result = load.result(took)
    assert (result["statuses"], result["lost"], read) == ({"200": 10, "503": 10}, 10, 30)
    assert abs(result["error_rate"] - 2 / 3) < 1e-9


def test_an_open_load_keeps_its_rate_and_says_what_it_could_not_send() -> None:
    load, _, read = against(lambda number: said(200), lambda load: load.open(200, 8, 0.5))
    assert load.sent == read
    assert 80 <= load.sent + load.unsent <= 101


def test_a_request_that_is_never_answered_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.load.PATIENCE", 0.3)
    load, _, _ = against(lambda number: said(200)[:10], lambda load: load.open(200, 2, 0.3))
    assert (load.sent, load.lost) == (2, 2)
    assert load.unsent > 0
