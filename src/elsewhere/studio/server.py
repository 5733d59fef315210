"""The server of the studio: static files of the page, and answers as streams of JSON lines."""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from elsewhere.files import json_text
from elsewhere.page.bundle import PAGE
from elsewhere.studio.answers import ANSWERS
from elsewhere.studio.drawing import Runs
from elsewhere.studio.own import LARGEST_BODY, read_own
from elsewhere.studio.questions import LARGEST_QUESTION, Question
from elsewhere.studio.subjects import Subjects
from elsewhere.studio.turns import Busy, Turns

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
CLIENT = "x-elsewhere-client"
"""Header with the number that a page chose for itself: its questions take turns with those of other pages."""
HEARTBEAT = 20
"""Seconds between signs of life of an answer that stays open."""
LOGGER = logging.getLogger("elsewhere.studio")


class Guard:
    """Lets a request pass if it names this server as its host and origin, and the token as the first part of its path.

    Other web pages in the same browser can send requests to 127.0.0.1, also under a name of their own that resolves to
    it; they do not know the token, and their host or origin differs.
    """

    def __init__(self, app: ASGIApp, token: str, hosts: set[str]) -> None:
        self.app, self.token, self.hosts = app, token, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *extra]}
            await send(message)

        refusal = self._refusal(Request(scope))
        if refusal is not None:
            await refusal(scope, receive, send_with_headers)
            return
        # The app sees paths below the token.
        path = "/" + scope["path"][len(self.token) + 2 :]
        await self.app({**scope, "path": path, "raw_path": path.encode()}, receive, send_with_headers)

    def _refusal(self, request: Request) -> Response | None:
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        first = request.scope["path"].split("/")[1] if "/" in request.scope["path"] else ""
        if host not in self.hosts:
            return PlainTextResponse("wrong host", 403)
        if origin is not None and origin not in {f"http://{name}" for name in self.hosts}:
            return PlainTextResponse("wrong origin", 403)
        if request.method == "POST" and origin is None:
            return PlainTextResponse("a question must name its origin", 403)
        if not hmac.compare_digest(first.encode(), self.token.encode()):
            return PlainTextResponse("not found: open the address that `elsewhere studio` printed", 404)
        return None


def make_app(subjects: Subjects, *, token: str, port: int) -> ASGIApp:
    """The application.

    Args:
        subjects: what can be drawn.
        token: first part of all paths.
        port: the port on which it is served.
    """
    turns, runs = Turns(), Runs()

    async def static(request: Request) -> Response:
        # Names from a fixed list: nothing of a request reaches the file system.
        found = FILES.get(request.path_params.get("name", "") or "index.html")
        if found is None:
            return PlainTextResponse("not found", 404)
        kind, content = found
        return Response(content, media_type=kind)

    async def ask(request: Request) -> Response:
        kind = request.path_params["kind"]
        if kind not in ANSWERS:
            return _error(404, f"there is no question {kind[:40]!r}")
        body = await _body(request, LARGEST_QUESTION)
        if body is None:
            return _error(413, f"a question must have at most {LARGEST_QUESTION:,} bytes")
        try:
            messages = ANSWERS[kind](Question.parse(body), subjects, runs)
        except (ValueError, TypeError) as error:
            return _error(400, str(error))
        client = request.headers.get(CLIENT, "")[:40]
        stream = turns.run(client, messages)
        # The first message shows whether the question can be answered; the status says so.
        try:
            first = await anext(stream, None)
        except Busy as error:
            return _error(429, str(error))
        except (ValueError, TypeError, MemoryError, ImportError) as error:
            return _error(400, str(error))
        except Exception:
            LOGGER.exception("a question of the kind %s failed", kind)
            return _error(500, "the answer failed: the terminal in which the studio runs shows why")
        return StreamingResponse(_lines(kind, first, stream), media_type="application/x-ndjson")

    async def own(request: Request) -> Response:
        body = await _body(request, LARGEST_BODY)
        if body is None:
            return _error(
                413, f"pictures must have at most {LARGEST_BODY:,} bytes together: add fewer, or smaller ones"
            )
        try:
            subject = await asyncio.to_thread(read_own, body)
            subjects.added.add(subject)
        except (ValueError, TypeError) as error:
            return _error(400, str(error))
        return StreamingResponse(_kept(subject.name, subjects), media_type="application/x-ndjson")

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        turns.stop()

    app = Starlette(
        routes=[
            Route("/ask/{kind}", ask, methods=["POST"]),
            Route("/own", own, methods=["POST"]),
            Route("/", static),
            Route("/{name:path}", static),
        ],
        lifespan=lifespan,
    )
    return Guard(app, token, {f"{name}:{port}" for name in ("127.0.0.1", "localhost")})


async def _kept(name: str, subjects: Subjects) -> AsyncIterator[str]:
    """The name of an added subject; the answer goes on, and the subject is kept, until the page is closed."""
    try:
        yield _line({"subject": name})
        while True:
            await asyncio.sleep(HEARTBEAT)
            yield _line({})
    finally:
        subjects.added.remove(name)


async def _lines(kind: str, first: Any, stream: AsyncIterator[Any]) -> AsyncIterator[str]:
    """Messages as JSON lines; the last one has "done" or, in words, the "error"."""
    try:
        if first is not None:
            yield _line(first)
        async for message in stream:
            yield _line(message)
        yield _line({"done": True})
    except (ValueError, TypeError, MemoryError, ImportError) as error:
        yield _line({"error": str(error)})
    except Exception:
        LOGGER.exception("a question of the kind %s failed", kind)
        yield _line({"error": "the answer failed: the terminal in which the studio runs shows why"})
    finally:
        await stream.aclose()  # type: ignore[attr-defined]


def _line(message: Any) -> str:
    return json_text(message, None) + "\n"


async def _body(request: Request, most: int) -> bytes | None:
    """The body of a request, None if it is longer than `most` bytes."""
    parts, total = [], 0
    try:
        async for part in request.stream():
            total += len(part)
            if total > most:
                return None
            parts.append(part)
    except ClientDisconnect:
        return None
    return b"".join(parts)


def _error(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status)


def _read_page() -> dict[str, tuple[str, bytes]]:
    found = {}
    for folder, prefix in ((PAGE, ""), (PAGE / "views", "views/")):
        for file in folder.iterdir():
            suffix = "." + file.name.rpartition(".")[2]
            if suffix in TYPES:
                found[prefix + file.name] = TYPES[suffix], file.read_bytes()
    return found


FILES = _read_page()
"""Files of the page: path below the token -> media type and content."""


def make_token() -> str:
    """A random token: 128 bits."""
    return secrets.token_urlsafe(16)
