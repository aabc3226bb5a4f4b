"""What is checked of every request before it is routed: host, origin, size, and who asks.

A server on this machine can be reached by more than its owner: by other users of the machine, and by any web page that
its owner looks at, whose scripts may send requests to 127.0.0.1 or let their own host name lead there (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import base64
import hmac
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from image_index.service.problems import problem

MOST_BYTES = 51 << 20
"""The largest body: a picture of 50 MiB and what a form puts around it."""

MOST_JSON_BYTES = 1 << 20
"""The largest body that is no form, but for pictures in base64."""

BODY_S = 60.0
"""How long a body may take, from when it is read."""

CLIP_PATHS = ("/knn-service", "/metadata")
"""Where clients of clip-retrieval send JSON without saying so; with JSON, there may be a picture in base64."""

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
"""By what a server is called on its own machine."""

OPEN_PATHS = ("/healthz",)
"""What is answered without a token: it tells nothing of the index."""

POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
"""What an answer may load and do in a browser."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""What every answer says, unless it says something stricter itself."""

ENTRANCE = """<!doctype html>
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url=.">
<title>imgidx</title>
<a href=".">imgidx</a>
"""
"""What sets the cookie and goes on to the page, whose address does not have the token in it.

A redirect would not do: the browser may have come from a file, and would then not send a strict cookie along with it.
"""


@dataclass(frozen=True, slots=True)
class Rules:
    """Who may ask: by which `hosts` the server is called, without port, and the `token` to be known, None for none.

    `cookie` is the name of the cookie that a browser gets for the token; servers on two ports of one host share all
    cookies, so it must have the port in it.
    """

    hosts: frozenset[str]
    token: str | None
    cookie: str = "imgidx"

    @property
    def pass_key(self) -> str:
        """The value of the cookie: it is made of the token, and the token cannot be told from it."""
        return hmac.new((self.token or "").encode(), b"cookie", sha256).hexdigest()


class Access:
    """An ASGI application that lets those requests through to another that the rules allow."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            if scope["method"] == "HEAD":  # as GET: uvicorn leaves out the body
                scope = {**scope, "method": "GET"}
            answer = _checked(Request(scope), self._rules)
            await (answer or self._app)(scope, _limited(receive, _most_bytes(Request(scope))), _marked(send))


def _checked(request: Request, rules: Rules) -> Response | None:
    """Return the answer to a request that goes no further, None for one that does."""
    return _host_problem(request, rules) or _writing_problem(request) or _token_answer(request, rules)


def _host_problem(request: Request, rules: Rules) -> Response | None:
    """Refuse a request to a host that we are not: a page elsewhere has let its own name lead here."""
    hosts = request.headers.getlist("host")
    if len(hosts) == 1 and host_name(hosts[0]) in rules.hosts:
        return None
    return problem(HTTPStatus.MISDIRECTED_REQUEST, "this server is not called that; imgidx serve --allow-host NAME")


def host_name(host: str) -> str | None:
    """Return the name in a Host header in lower case, without port and brackets: `[::1]:80` is `::1`; None for none."""
    try:
        parts = urlsplit(f"//{host}")
        is_host = parts.netloc == host and "@" not in host and (parts.port or 0) >= 0
    except ValueError:
        return None
    return parts.hostname if is_host else None


def _writing_problem(request: Request) -> Response | None:
    """Refuse a request with a body that a page of another site sent, or that has the wrong form or size."""
    if request.method in {"GET", "HEAD", "OPTIONS"}:
        return None
    headers = request.headers
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "same-origin")
    own = origin is None or urlsplit(origin).netloc.lower() == headers["host"].lower()
    if not own or site not in {"same-origin", "none"}:
        return problem(HTTPStatus.FORBIDDEN, "a page of another site sent this")
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    # what a page of another site sends by POST has an Origin, whatever else it lacks
    needs_kind = kind or (_has_body(headers) and _path(request) not in CLIP_PATHS)
    if request.method == "POST" and needs_kind and kind not in {"application/json", "multipart/form-data"}:
        return problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send application/json or multipart/form-data")
    length = headers.get("content-length", "0")
    if length.isdecimal() and int(length) > _most_bytes(request):
        return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large(_most_bytes(request)))
    return None


def _has_body(headers: Headers) -> bool:
    """Tell whether a request comes with a body."""
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _token_answer(request: Request, rules: Rules) -> Response | None:
    """Refuse who does not know the token; give the cookie to a browser that has come with it."""
    path = _path(request)
    if rules.token is None:
        return None
    if path == "/" and _equal(request.query_params.get("token", ""), rules.token):
        entrance = HTMLResponse(ENTRANCE, headers={"Cache-Control": "no-store"})
        place = f"{request.scope.get('root_path', '')}/"
        entrance.set_cookie(rules.cookie, rules.pass_key, path=place, httponly=True, samesite="strict")
        return entrance
    given = _given_token(request.headers.get("authorization", ""))
    if (
        path in OPEN_PATHS
        or _equal(given, rules.token)
        or _equal(request.cookies.get(rules.cookie, ""), rules.pass_key)
    ):
        return None
    detail = "open the address that imgidx serve printed, or send the header Authorization: Bearer TOKEN"
    return problem(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": "Bearer"})


def _path(request: Request) -> str:
    """Return the path that is asked for, without what a proxy has cut off."""
    return request.url.path.removeprefix(request.scope.get("root_path", ""))


def _given_token(authorization: str) -> str:
    """Return the token in a header `Bearer TOKEN`, or in one that has it as the password of any user; else nothing.

    A client that takes nothing but an address makes the latter of `http://imgidx:TOKEN@127.0.0.1:8000/`.
    """
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        return credentials.strip() if scheme.lower() == "bearer" else ""
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def _equal(given: str, secret: str) -> bool:
    """Compare two texts in a time that does not tell where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), secret.encode())


def _most_bytes(request: Request) -> int:
    """Return how large the body of a request may be."""
    is_form = request.headers.get("content-type", "").lower().startswith("multipart/")
    return MOST_BYTES if is_form or _path(request) in CLIP_PATHS else MOST_JSON_BYTES


def _too_large(most: int) -> str:
    return f"the body has over {most >> 20} MiB, the most that is read"


def _limited(receive: Receive, most: int) -> Receive:
    """Return `receive`, which raises the answer to a body of more than `most` bytes, or that does not come in time."""
    received, ends_at, is_whole = 0, 0.0, False

    async def limited() -> Message:
        nonlocal received, ends_at, is_whole
        if is_whole:  # what follows is that the client leaves, perhaps much later
            return await receive()
        ends_at = ends_at or asyncio.get_running_loop().time() + BODY_S
        try:
            async with asyncio.timeout_at(ends_at):
                message = await receive()
        except TimeoutError as error:
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, "the body did not come in time") from error
        received += len(message.get("body", b""))
        is_whole = not message.get("more_body", False)
        if received > most:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large(most))
        return message

    return limited


def _marked(send: Send) -> Send:
    """Return `send`, which adds `HEADERS` to the answer."""

    async def marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return marked
