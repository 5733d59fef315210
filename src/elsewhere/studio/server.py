"""The server of the studio: static files of the page, and answers as streams of JSON lines."""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
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
SLOWEST_BODY = 30
"""Seconds in which a request must arrive: a full set of pictures takes less than one on the same machine."""
REFUSALS = (ValueError, TypeError, MemoryError, ImportError)
"""Errors that tell the user what to change."""
FAILED = "the answer failed: the terminal in which the studio runs shows why"
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

        refusal = self._other_answer(Request(scope))
        if refusal is not None:
            await refusal(scope, receive, send_with_headers)
            return
        # The app sees paths below the token.
        path = "/" + scope["path"][len(self.token) + 2 :]
        await self.app({**scope, "path": path, "raw_path": path.encode()}, receive, send_with_headers)

    def _other_answer(self, request: Request) -> Response | None:
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
        if request.scope["path"] == f"/{self.token}":
            # The page names its files relative to a folder.
            return RedirectResponse(f"/{self.token}/")
        return None


def make_app(subjects: Subjects, *, token: str, port: int) -> ASGIApp:
    """The application.

    Args:
        subjects: what can be drawn.
        token: first part of all paths.
        port: the port on which it is served.
    """
    turns, runs = Turns(), Runs()

    uploads = asyncio.Lock()

    async def static(request: Request) -> Response:
        # Names from a fixed list: nothing of a request reaches the file system.
        found = FILES.get(request.path_params.get("name", "") or "index.html")
        if found is None:
            raise HTTPException(404, "not found")
        kind, content = found
        return Response(content, media_type=kind)

    async def ask(request: Request) -> Response:
        kind = request.path_params["kind"]
        if kind not in ANSWERS:
            raise HTTPException(404, f"there is no question {kind[:40]!r}")
        body = await _body(request, LARGEST_QUESTION, "a question")
        try:
            messages = ANSWERS[kind](Question.parse(body), subjects, runs)
            stream = turns.run(request.headers.get(CLIENT, "")[:40], messages)
            # The first message shows whether the question can be answered; the status says so.
            first = await _unless_left(request, anext(stream, None))
        except Busy as error:
            raise HTTPException(429, str(error)) from error
        except REFUSALS as error:
            raise HTTPException(400, str(error)) from error
        except ClientDisconnect:
            return Response()  # Nobody reads it.
        except Exception as error:
            LOGGER.exception("a question of the kind %s failed", kind)
            raise HTTPException(500, FAILED) from error
        return Lines(_lines(kind, first, stream), stream.aclose)

    async def own(request: Request) -> Response:
        # One at a time: bodies of many clients together would fill the memory.
        async with uploads:
            body = await _body(request, LARGEST_BODY, "all pictures together")
            try:
                subject = await asyncio.to_thread(read_own, body)
                subjects.added.add(subject)
            except REFUSALS as error:
                raise HTTPException(400, str(error)) from error

        async def remove() -> None:
            subjects.added.remove(subject.name)

        return Lines(_kept(subject.name), remove)

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
        exception_handlers={HTTPException: _refuse},
        lifespan=lifespan,
    )
    return Guard(app, token, {f"{name}:{port}" for name in ("127.0.0.1", "localhost")})


class Lines(StreamingResponse):
    """JSON lines; `end` is called when they end or the client leaves, which may be before the first line.

    Args:
        lines: the lines.
        end: frees what they need.
    """

    def __init__(self, lines: AsyncIterator[str], end: Callable[[], Awaitable[None]]) -> None:
        super().__init__(lines, media_type="application/x-ndjson")
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._end()


async def _kept(name: str) -> AsyncIterator[str]:
    """The name of an added subject; the answer goes on, and the subject is kept, until the page is closed."""
    yield _line({"subject": name})
    while True:
        await asyncio.sleep(HEARTBEAT)
        yield _line({})


async def _lines(kind: str, first: Any, stream: AsyncIterator[Any]) -> AsyncIterator[str]:
    """Messages as JSON lines; the last one has "done" or, in words, the "error"."""
    try:
        if first is not None:
            yield _line(first)
        async for message in stream:
            yield _line(message)
        yield _line({"done": True})
    except REFUSALS as error:
        yield _line({"error": str(error)})
    except Exception:
        LOGGER.exception("a question of the kind %s failed", kind)
        yield _line({"error": FAILED})


def _line(message: Any) -> str:
    return json_text(message, None) + "\n"


async def _unless_left(request: Request, wanted: Awaitable[Any]) -> Any:
    """The result of `wanted`, which is cancelled if the client leaves.

    Raises:
        ClientDisconnect: the client has left.
    """

    async def left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    tasks = [asyncio.ensure_future(wanted), asyncio.ensure_future(left())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            raise ClientDisconnect
        return tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _body(request: Request, most: int, what: str) -> bytes:
    """The body of a request.

    Raises:
        HTTPException: it has more than `most` bytes, or takes longer than SLOWEST_BODY, or its client left.
    """
    parts, total = [], 0
    try:
        async with asyncio.timeout(SLOWEST_BODY):
            async for part in request.stream():
                total += len(part)
                if total > most:
                    raise HTTPException(413, f"{what} must have at most {most:,} bytes: send fewer, or smaller ones")
                parts.append(part)
    except TimeoutError as error:
        raise HTTPException(408, f"{what} must arrive within {SLOWEST_BODY} seconds: send it again") from error
    except ClientDisconnect as error:
        raise HTTPException(400, f"{what} ended early") from error
    return b"".join(parts)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


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
