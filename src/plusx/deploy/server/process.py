"""A process that serves until it is told to stop, and then answers what it has accepted."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from plusx.deploy.server.app import create_app
from plusx.deploy.server.faults import Fault
from plusx.deploy.server.models import Models
from plusx.deploy.server.settings import Settings

KEEP_ALIVE = 75
"""Seconds for which an idle connection is kept, so that a client need not connect for every request."""


def run(paths: Sequence[Path], settings: Settings, listening: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; as for `plusx.serve`."""
    served, faults = Models(paths, settings), list[Exception]()
    with _bound(settings) as listener:

        def failed(fault: Exception) -> None:
            faults.append(fault)
            server.should_exit = True

        server = _Server(_config(create_app(served, settings, failed=failed), settings), served)
        host, port = listener.getsockname()[:2]
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # it warns of every connection that is no HTTP
        listening(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        server.run([listener])
    if faults:
        raise faults[0]


@contextlib.contextmanager
def _bound(settings: Settings) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # By this protocol asyncio knows that small packets shall not wait for each other (TCP_NODELAY).
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
            listener.listen(settings.connections)
        except OSError as fault:
            why = fault.strerror or str(fault)
            raise ValueError(f"cannot listen at {settings.host}, port {settings.port}: {why}; choose another") from None
        yield listener


def _config(app: Any, settings: Settings) -> uvicorn.Config:
    def protocol(**how: Any) -> _Protocol:
        return _Protocol(settings, **how)

    return uvicorn.Config(
        app,
        loop="asyncio",
        http=protocol,  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=settings.connections,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=int(settings.body_seconds + settings.deadline + 1),
    )


class _Server(uvicorn.Server):
    """Ends with exit code 0 when it is told to stop; told twice, at once."""

    def __init__(self, config: uvicorn.Config, models: Models) -> None:
        super().__init__(config)
        self._models = models

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM or Ctrl-C."""
        self.force_exit = self.should_exit
        self.should_exit = self._models.draining = True


class _Protocol(H11Protocol):
    """A connection that must send the head of a request, read an answer, and end a body that was refused, in time."""

    def __init__(self, settings: Settings, **how: Any) -> None:
        super().__init__(**how)
        self._settings = settings
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._settings.connections:
            busy = Fault(503, "the server has no room for another connection; try again").response()
            head = f"HTTP/1.1 503 \r\nContent-Type: application/json\r\nContent-Length: {len(busy.body)}\r\n"
            transport.write(f"{head}Retry-After: 1\r\nConnection: close\r\n\r\n".encode() + bytes(busy.body))
            transport.close()
        else:
            self._expect(True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect(False)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        half_a_head = self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])
        refused_body = self.conn.their_state is h11.SEND_BODY and self.conn.our_state is h11.DONE
        self._expect(half_a_head or refused_body)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect(True)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._expect(False)

    def _expect(self, something: bool) -> None:
        """Let the time run for what the client has to do, or stop it; it goes on where it is running."""
        if something and self._timer is None:
            self._timer = self.loop.call_later(self._settings.idle_seconds, self.transport.abort)
        elif not something and self._timer is not None:
            self._timer.cancel()
            self._timer = None
