"""The server as a process: started, asked, flooded, stopped and killed."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

import plusx
from plusx.cli.app import main
from tests.deploy.server.conftest import Server, Start
from tests.deploy.server.test_predict import png

more = pytest.mark.more


def ask(server: Server, client: httpx.Client | None = None) -> httpx.Response:
    return (client or httpx).post(f"{server.url}/v1/predict", files={"files": ("a.png", png())}, timeout=60)


def connected(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def test_importing_the_server_leaves_the_training_code_out() -> None:
    code = "import sys, plusx.deploy.server.process, json; print(json.dumps([m for m in sys.modules if 'plusx' in m]))"
    modules = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    rooms = {name.split(".")[1] for name in modules if "." in name}
    assert not rooms & {"engine", "experiments", "benchmark", "comparison", "cli"}
    assert not [name for name in modules if name.startswith("plusx.weights.") and "timm" in name]


@more
def test_a_server_answers_as_predict_does_and_ends_well(start: Start, digits_run: Path, tmp_path: Path) -> None:
    server = start(digits_run).ready()
    answer = ask(server).json()
    (expected,) = plusx.predict(digits_run, png(), progress=False)
    assert [each["probability"] for each in answer["predictions"][0]["classes"]] == pytest.approx(
        expected.probabilities, abs=1e-6
    )
    server.process.send_signal(signal.SIGINT)
    out, err = server.process.communicate(timeout=30)
    assert (server.process.returncode, out, err) == (0, "", "")


@more
def test_what_was_accepted_is_answered_when_it_is_told_to_stop(start: Start, digits_run: Path) -> None:
    server = start(digits_run).ready()
    accepted, answers = threading.Semaphore(0), list[bytes]()

    def slow() -> None:
        """A request whose head is sent before the server is told to stop, and whose body after."""
        body = (
            b'--B\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n' + png() + b"\r\n--B--\r\n"
        )
        head = "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=B\r\n"
        with connected(server) as client:
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:20])
            time.sleep(0.5)
            accepted.release()
            time.sleep(1.5)
            client.sendall(body[20:])
            answer = b""
            while piece := client.recv(65536):
                answer += piece
            answers.append(answer)

    clients = [threading.Thread(target=slow) for _ in range(8)]
    for client in clients:
        client.start()
    for _ in clients:
        accepted.acquire()
    server.process.terminate()
    time.sleep(0.7)
    with pytest.raises(httpx.HTTPError):
        ask(server)
    for client in clients:
        client.join()
    assert len(answers) == 8
    for answer in answers:
        assert answer.startswith(b"HTTP/1.1 200"), answer
    assert server.process.wait(30) == 0


@more
def test_under_load_every_accepted_request_is_answered_when_it_is_told_to_stop(start: Start, digits_run: Path) -> None:
    server = start(digits_run).ready()
    sent, answered, stop = [0] * 8, [0] * 8, threading.Event()

    def load(number: int) -> None:
        with httpx.Client() as client:
            while True:
                try:
                    answer = ask(server, client)
                except httpx.HTTPError:  # refused, as its connection was idle or new when the server was told to stop
                    return
                answered[number] += answer.status_code == 200
                sent[number] += 1

    with ThreadPoolExecutor(8) as clients:
        for number in range(8):
            clients.submit(load, number)
        time.sleep(1)
        server.process.terminate()
        stop.set()
    assert server.process.wait(30) == 0
    assert sent == answered and min(sent) > 0


@more
def test_killed_it_starts_again_on_the_same_port(start: Start, digits_run: Path) -> None:
    server = start(digits_run).ready()
    expected = ask(server).json()["predictions"][0]["classes"]
    with httpx.Client() as client:  # a connection that is open when it dies
        ask(server, client)
        server.process.kill()
        server.process.wait()
    again = start(digits_run, "--port", str(server.port)).ready()
    assert again.port == server.port
    assert ask(again).json()["predictions"][0]["classes"] == expected


@more
def test_a_slow_client_is_let_go_and_harms_nobody(server: Server) -> None:
    idle = [connected(server) for _ in range(20)]  # nothing is sent
    heads = [connected(server) for _ in range(20)]
    for client in heads:
        client.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: loc")
    began = time.monotonic()
    assert ask(server).status_code == 200
    for number, client in enumerate([*idle, *heads]):
        if number % 7 == 0:  # a byte now and then does not prolong it
            client.sendall(b"")
        assert client.recv(100) == b""
    assert 5 < time.monotonic() - began < 25
    assert ask(server).status_code == 200


@more
def test_a_slow_body_is_refused(server: Server) -> None:
    with connected(server) as client:
        client.settimeout(60)
        head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        client.sendall(head + b"Content-Length: 1000\r\n\r\n")
        began, answer = time.monotonic(), b""
        while time.monotonic() - began < 50:
            client.settimeout(1)
            try:
                client.sendall(b" ")
                piece = client.recv(4096)
            except TimeoutError:
                continue
            except OSError:
                break
            if not piece:
                break
            answer += piece
    assert answer.startswith(b"HTTP/1.1 408")
    assert 25 < time.monotonic() - began < 45


@more
@pytest.mark.parametrize("framing", [b"Content-Length: 999999999\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_an_endless_body_is_refused_while_it_is_sent(server: Server, framing: bytes) -> None:
    sent, answer = 0, b""
    with connected(server) as client:
        client.sendall(
            b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + framing + b"\r\n"
        )
        piece = b"10000\r\n" + bytes(65536) + b"\r\n"
        try:
            while sent < 2**28:
                client.sendall(piece)
                sent += len(piece)
        except OSError:
            pass
        with contextlib.suppress(OSError):  # what it said may be lost when it closes before everything is read
            answer = client.recv(4096)
    assert sent < 2**27
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413")
    assert memory(server) < 2**30
    assert ask(server).status_code == 200


@more
def test_a_body_that_goes_on_after_its_refusal_is_let_go(server: Server) -> None:
    began = time.monotonic()
    with connected(server) as client, contextlib.suppress(OSError):
        client.sendall(b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 404")
        while time.monotonic() - began < 60:
            client.sendall(b"1\r\nx\r\n")
            time.sleep(0.1)
    assert 5 < time.monotonic() - began < 40
    assert ask(server).status_code == 200


def memory(server: Server) -> int:
    """Bytes of its memory that are in use now."""
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@more
def test_garbage_on_the_wire_is_answered_or_closed(server: Server) -> None:
    for garbage in (
        b"\x16\x03\x01\x02\x00\x01\x00",  # TLS
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ):
        with connected(server) as client:
            client.sendall(garbage + b"\r\n\r\n")
            assert not client.recv(100).startswith(b"HTTP/1.1 5"), garbage
    assert ask(server).status_code == 200


@more
def test_memory_is_flat(server: Server) -> None:

    def many(count: int) -> None:
        def some(number: int) -> None:
            with httpx.Client() as client:
                for _ in range(count // 8):
                    assert ask(server, client).status_code == 200

        with ThreadPoolExecutor(8) as clients:
            list(clients.map(some, range(8)))

    many(1_000)
    before = memory(server)
    many(2_000)
    assert memory(server) - before < 20 * 2**20


# ---- the command line ------------------------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """The sentence with which a command is refused."""
    monkeypatch.setattr(sys, "argv", ["plusx", "serve", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    sentence = capsys.readouterr().err
    assert sentence.startswith("plusx: ") and sentence.count("\n") == 1
    return sentence


def test_without_the_extra_it_says_how_to_install_it(
    digits_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plusx.deploy.server.serve.is_installed", lambda *names: False)
    assert "pip install 'plusx[serve]'" in run(capsys, monkeypatch, str(digits_run))


@pytest.mark.parametrize("model", ["no/such/run", "no.onnx"])
def test_a_model_that_cannot_be_used_is_one_sentence(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert model in run(capsys, monkeypatch, model, "--port", "0")


def test_a_port_that_is_taken_is_one_sentence(
    digits_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert port in run(capsys, monkeypatch, str(digits_run), "--port", port)


@pytest.mark.parametrize("token", ["", "two words", "ключ"])
def test_a_token_that_no_header_can_hold_is_refused(
    token: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(f"{token}\n")
    assert "one word" in run(capsys, monkeypatch, "no/run", "--token-file", str(tmp_path / "token"))
    monkeypatch.setenv("PLUSX_TOKEN", token or " ")
    assert "one word" in run(capsys, monkeypatch, "no/run")


@more
def test_a_server_with_a_token_file_asks_for_it(start: Start, digits_run: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    server = start(digits_run, "--token-file", tmp_path / "token", "--host", "0.0.0.0").ready()
    url = f"http://127.0.0.1:{server.port}/v1/models"
    assert httpx.get(url).status_code == 401
    assert httpx.get(url, headers={"Authorization": "Bearer secret"}).status_code == 200


@more
def test_bound_wider_without_a_token_it_warns(start: Start, digits_run: Path) -> None:
    server = start(digits_run, "--host", "0.0.0.0")
    server.process.terminate()
    assert "set a token" in server.process.communicate(timeout=60)[1]
