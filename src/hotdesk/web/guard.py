"""Who may ask: this computer's own browser, after it came through a link of ours.

Any page in the same browser can send requests to a port of this computer, and a name of its own may lead
here (DNS rebinding). So what has another Host or Origin, or no cookie of ours, is refused before a route is
looked for.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import Any

from hotdesk.web.links import ENTER, Links

Scope = dict[str, Any]
App = Callable[..., Any]

HEADER = "x-hotdesk"  # only our own script can send it: a form cannot, and another origin would have to ask
MOST_BYTES = 1 << 20  # of a request's body
#: Nothing but our own files; no inline script or style, and no sink that takes a string as code.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


class Guard:
    """ASGI: hands on what may pass, and hardens every answer."""

    def __init__(self, app: App, links: Links) -> None:
        self.app, self.links = app, links
        self.hosts = {f"{name}:{links.port}" for name in ("127.0.0.1", "localhost", "[::1]")}
        self.origins = {f"http://{host}" for host in self.hosts}

    async def __call__(self, scope: Scope, receive: App, send: App) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return

        async def hardened(message: dict[str, Any]) -> None:
            if message["type"] in {"http.response.start", "websocket.http.response.start"}:
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        if no := self.refusal(scope):
            status, words = no
            body = f"{words}\n".encode()
            head = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
            kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
            await hardened({"type": f"{kind}.start", "status": status, "headers": head})
            await hardened({"type": f"{kind}.body", "body": body})
            return
        await self.app(scope, receive, hardened)

    def refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Why a request is refused, with its HTTP status; None where it may pass."""
        head: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            head.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))

        def said(name: str) -> str:
            return ",".join(head.get(name, ()))

        enters = scope["path"] == ENTER
        if said("host") not in self.hosts:
            return 421, "This page answers as 127.0.0.1 only."
        if "origin" in head and said("origin") not in self.origins:
            return 403, "Another page asked for this."
        if said("sec-fetch-site") not in {"", "none", "same-origin"} and not enters:
            return 403, "Another page asked for this."
        if scope["type"] == "websocket":
            if "origin" not in head:
                return 403, "A terminal is opened by the page itself only."
        elif scope["method"] not in {"GET", "HEAD"}:
            if scope["method"] != "POST" or "origin" not in head or HEADER not in head:
                return 403, "A change is asked for by the page itself only."
            length = said("content-length")
            # Sent in chunks, it may be longer than it says.
            if "transfer-encoding" in head or not length.isascii() or not length.isdigit() or len(length) > 9:
                return 413, "That is too much, or does not say how much it is."
            if int(length) > MOST_BYTES:
                return 413, "That is too much."
        if enters or hmac.compare_digest(self._cookie(said("cookie")).encode(), self.links.cookie.encode()):
            return None
        return 401, "Open the address that `hotdesk web` prints; each address lets one browser in."

    def _cookie(self, said: str) -> str:
        try:
            found = SimpleCookie(said.replace(",", ";")).get(self.links.cookie_name)
        except CookieError:
            return ""
        return found.value if found else ""
