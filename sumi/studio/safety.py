"""What stands between a browser's page and this machine.

who    a request needs the token, which `sumi studio` prints in its link and which becomes a cookie of the browser
where  Host must be this server's own name, so that no foreign name that resolves to this machine is served; Origin
       and Sec-Fetch-Site, where a browser sends them, must be those of our own page
what   a request that changes anything is JSON or a picture, and its body is bounded
then   every answer says what our pages may load: our own files, and no inline script
"""

import hmac
import secrets
from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sumi.studio.folder import MOST_UPLOADED

LARGEST_JSON: Final = 2**18
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "font-src 'none'; frame-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
REPORT_POLICY: Final = (
    "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; sandbox; frame-ancestors 'self'"
)
"""Of a report, which has its style inside and no script."""
WORDS: Final = "Open the link that `sumi studio` printed: this page needs its token.\n"


class Guard:
    """An ASGI application around another one, which only what passes reaches."""

    def __init__(self, app: ASGIApp, token: str, hosts: Iterable[str], cookie: str) -> None:
        self.app, self.token, self.hosts, self.cookie = app, token, frozenset(hosts), cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("content-security-policy", POLICY)
                headers.setdefault("cache-control", "no-store")
                headers["x-content-type-options"] = "nosniff"
                headers["referrer-policy"] = "no-referrer"
                headers["cross-origin-resource-policy"] = "same-origin"
                headers["cross-origin-opener-policy"] = "same-origin"
            await send(message)

        headers, method = Headers(scope=scope), scope["method"]
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[-1]
        if (refused := self._refused(headers, method)) is not None:
            await PlainTextResponse(*refused)(scope, receive, sealed)
        elif scope["path"] == "/" and method == "GET" and self._is_token(given):
            response = RedirectResponse("/", 303)
            response.set_cookie(self.cookie, self.token, httponly=True, samesite="strict")
            await response(scope, receive, sealed)
        elif not self._is_token(cookie_parser(headers.get("cookie", "")).get(self.cookie, "")):
            await PlainTextResponse(WORDS, 401)(scope, receive, sealed)
        else:
            most = MOST_UPLOADED if headers.get("content-type", "").startswith("image/") else LARGEST_JSON
            await self.app(scope, _bounded(receive, most), sealed)

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())

    def _refused(self, headers: Headers, method: str) -> tuple[str, int] | None:
        """The answer to what is refused whoever sends it."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if host not in self.hosts:
            return "This server answers to its own name alone.\n", 421
        if origin is not None and origin != f"http://{host}":
            return "Another page sent this.\n", 403
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return "Another page sent this.\n", 403
        kind = headers.get("content-type", "").partition(";")[0].strip()
        if method not in ("GET", "HEAD") and kind != "application/json" and not kind.startswith("image/"):
            return "Send application/json, or a picture.\n", 415
        return None


def _bounded(receive: Receive, most: int) -> Receive:
    """``receive`` of a body of at most so many bytes. Raises HTTPException."""
    length = 0

    async def counted() -> Message:
        nonlocal length
        message = await receive()
        length += len(message.get("body", b""))
        if length > most:
            raise HTTPException(413, f"The body is longer than {most:,} bytes.")
        return message

    return counted


def new_token() -> str:
    """256 random bits."""
    return secrets.token_urlsafe(32)
