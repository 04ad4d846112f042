"""Requests to a server on this machine, from a process of its own, which says what became of each.

    python -m benchmarks.load PORT IMAGE --clients 16 --seconds 5            each client asks again when it is answered
    python -m benchmarks.load PORT IMAGE --rate 500 --seconds 5              so many requests a second, whatever happens

The last line of its output is JSON. It imports neither torch nor plusx, so that little of the processor is its own.
It is bounded: at most 512 clients, 60 seconds, or the number of requests that --requests names.
"""

import argparse
import asyncio
import json
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

CLIENTS, SECONDS = 512, 60.0
PATIENCE = 60.0
"""Seconds until a request without an answer is lost."""


def request_of(image: bytes, path: str) -> bytes:
    """A request with one image in the field `files`."""
    head = b'--XyZ\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    body = head + image + b"\r\n--XyZ--\r\n"
    lines = (
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        "Content-Type: multipart/form-data; boundary=XyZ",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Load:
    """What is sent, and what came back."""

    def __init__(self, request: bytes, port: int) -> None:
        self.request, self.port = request, port
        self.seconds: dict[int, list[float]] = {}
        """Of the answers, by their status."""
        self.lost = 0
        """Requests whose connection ended without an answer."""
        self.unsent = 0
        """Requests for which no client was free."""
        self.sent = 0

    async def closed(self, clients: int, seconds: float, most: int | None) -> float:
        """So many clients, each of which asks again when it is answered; the seconds that it took."""
        end, began = time.perf_counter() + seconds, time.perf_counter()
        loop = asyncio.get_running_loop()

        async def client() -> None:
            _, connection = await loop.create_connection(lambda: _Client(self), "127.0.0.1", self.port)
            while time.perf_counter() < end and (most is None or self.sent < most):
                if not await connection.ask():
                    _, connection = await loop.create_connection(lambda: _Client(self), "127.0.0.1", self.port)
            connection.transport.close()

        await asyncio.wait_for(asyncio.gather(*(client() for _ in range(clients))), seconds + PATIENCE)
        return time.perf_counter() - began

    async def open(self, rate: float, clients: int, seconds: float) -> float:
        """So many requests a second, each from a client that is free; the seconds that it took."""
        loop, free, tasks = asyncio.get_running_loop(), deque["_Client"](), set[asyncio.Task[None]]()
        began, count, connections = time.perf_counter(), 0, 0

        async def one() -> None:
            nonlocal connections
            connection = free.pop() if free else None
            if connection is None:
                connections += 1
                _, connection = await loop.create_connection(lambda: _Client(self), "127.0.0.1", self.port)
            if await connection.ask():
                free.append(connection)
            else:
                connections -= 1

        while (passed := time.perf_counter() - began) < seconds:
            while count < passed * rate:
                count += 1
                if not free and connections >= clients:
                    self.unsent += 1
                    continue
                task = asyncio.create_task(one())
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                await asyncio.sleep(0)
            await asyncio.sleep(0.001)
        took = time.perf_counter() - began
        if tasks:
            _, never = await asyncio.wait(tasks, timeout=PATIENCE)
            self.lost += len(never)
        return took

    def result(self, took: float) -> dict[str, Any]:
        """Answers in a second, and the seconds to them by their status."""
        good = sorted(self.seconds.get(200, []))
        statuses = Counter({status: len(each) for status, each in self.seconds.items()})
        return {
            "seconds": took,
            "sent_per_s": (self.sent + self.unsent) / took,
            "answered_per_s": len(good) / took,
            "p50_ms": 1e3 * good[len(good) // 2] if good else None,
            "p99_ms": 1e3 * good[int(len(good) * 0.99)] if good else None,
            "statuses": {str(status): count for status, count in sorted(statuses.items())},
            "error_rate": 1 - len(good) / max(1, self.sent),
            "lost": self.lost,
            "unsent": self.unsent,
        }


class _Client(asyncio.Protocol):
    """A connection that is kept."""

    def __init__(self, load: Load) -> None:
        self._load, self._buffer = load, b""
        self._answer: asyncio.Future[bool] | None = None
        self._began = 0.0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def ask(self) -> "asyncio.Future[bool]":
        """Send the request; whether another may follow on this connection."""
        self._answer = asyncio.get_running_loop().create_future()
        self._began, self._buffer = time.perf_counter(), b""
        self._load.sent += 1
        if self.transport.is_closing():
            self.connection_lost(None)
        else:
            self.transport.write(self._load.request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lower = head.lower()
        place = lower.find(b"content-length:")
        if place >= 0 and len(body) < int(lower[place + 15 :].split(b"\r\n", 1)[0]):
            return
        self._load.seconds.setdefault(int(head[9:12]), []).append(time.perf_counter() - self._began)
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.set_result(b"connection: close" not in lower)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._load.lost += 1
            self._answer.set_result(False)


def main() -> None:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("image", type=Path)
    parser.add_argument("--path", default="/v1/predict")
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--requests", type=int)
    asked = parser.parse_args()
    load = Load(request_of(asked.image.read_bytes(), asked.path), asked.port)
    clients, seconds = min(asked.clients, CLIENTS), min(asked.seconds, SECONDS)
    if asked.rate is None:
        took = asyncio.run(load.closed(clients, seconds, asked.requests))
    else:
        took = asyncio.run(load.open(asked.rate, clients, seconds))
    print(json.dumps(load.result(took)))


if __name__ == "__main__":
    main()
