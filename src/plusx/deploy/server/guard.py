"""What every request passes before it is answered, and what every answer carries.

A server that only its own machine reaches answers only to that machine's names: a page of somebody else's, whose name
was made to point here, sends another Host and is refused. Requests that pages of other sites send carry their Origin
and are refused as well, so nothing is answered across origins.
"""

import hmac
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from plusx.deploy.server.faults import Fault
from plusx.deploy.server.settings import LOOPBACK, Settings

OPEN = ("/healthz", "/readyz", "/", "/page")
"""What is answered without the token: nothing that a model or a run says."""
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; media-src 'self' blob:; manifest-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
"""Of every answer that does not bring its own."""


class Guard:
    """The application behind checks of Host, Origin and token; it also counts what is answered.

    Args:
        app: The application.
        settings: Whether only this machine may ask, and with which token.
        answered: Called with the method, the path as it is documented, the status and the seconds of each request.
    """

    def __init__(
        self, app: ASGIApp, settings: Settings, answered: Callable[[str, str, int, float], None] = lambda *_: None
    ) -> None:
        self._app, self._settings, self._answered = app, settings, answered
        self._headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
        self._names = {name.encode() for name in HEADERS}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status, own = message["status"], message.get("headers", [])
                named = self._names & {name for name, _ in own}
                message["headers"] = [*own, *(each for each in self._headers if each[0] not in named)]
            await send(message)

        try:
            fault = self._refusal(scope)
            await (fault.response() if fault else self._app)(scope, receive, send_guarded)
        finally:
            path = getattr(scope.get("route"), "path", None) or "other"
            self._answered(scope["method"], path, status, time.perf_counter() - began)

    def _refusal(self, scope: Scope) -> Fault | None:
        headers = dict(scope["headers"])
        host, origin = headers.get(b"host", b"").decode("latin-1"), headers.get(b"origin")
        if not self._settings.is_open and _name(f"//{host}") not in LOOPBACK:
            return Fault(421, "this server answers to localhost and 127.0.0.1; it was asked under another name")
        if origin is not None and origin.decode("latin-1").partition("://")[2].lower() != host.lower():
            return Fault(403, "this server does not answer to pages of other sites")
        path = scope["path"]
        if self._settings.token is None or path in OPEN or path.startswith("/page/"):
            return None
        given = headers.get(b"authorization", b"")
        if hmac.compare_digest(given, b"Bearer " + self._settings.token.encode()):
            return None
        return Fault(401, "this server asks for a token: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})


def _name(address: str) -> str | None:
    """The host's name in an address, without its port; None where it has none."""
    try:
        return urlsplit(address).hostname
    except ValueError:  # such as half an IPv6 address
        return None
