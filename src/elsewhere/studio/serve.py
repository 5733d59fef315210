"""Serve the studio on this machine."""

from __future__ import annotations

import socket
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from elsewhere.studio.server import make_app, make_token
from elsewhere.studio.subjects import Subjects

HOST = "127.0.0.1"
"""Only this machine can reach the studio."""
GRACE = 1
"""Seconds that open answers have when the server is stopped."""
POLL = 0.02
"""Seconds between two looks at whether a server has started."""


def serve(
    subjects: Subjects,
    port: int | None,
    *,
    token: str | None = None,
    browser: bool = True,
    announce: Callable[[str], object] = print,
) -> None:
    """Serve until the process is asked to end.

    Args:
        subjects: what can be drawn.
        port: None takes any free one.
        token: first part of the address; None makes a random one.
        browser: open the page in the user's browser.
        announce: called with the address once it can be opened.

    Raises:
        OSError: the port cannot be taken.
    """
    token = token or make_token()
    listener = _listen(port)
    address = _address(listener, token)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            # The first subject is read while the browser starts.
            threading.Thread(target=lambda: subjects[subjects.names[0]].about(), daemon=True).start()
            announce(address)
            if browser:
                webbrowser.open(address)

    with listener:
        Server(_config(subjects, listener, token)).run(sockets=[listener])


@contextmanager
def running(subjects: Subjects, token: str) -> Iterator[str]:
    """A studio that is served by a thread of this process during the block; gives its address.

    Args:
        subjects: what can be drawn.
        token: first part of the address.
    """
    with _listen(None) as listener:
        server = uvicorn.Server(_config(subjects, listener, token))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started and thread.is_alive():
            thread.join(POLL)
        try:
            yield _address(listener, token)
        finally:
            server.should_exit = True
            thread.join()


def _listen(port: int | None) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port or 0))
    except OSError as error:
        listener.close()
        raise OSError(f"port {port} cannot be taken ({error.strerror}): give another --port, or none") from error
    return listener


def _address(listener: socket.socket, token: str) -> str:
    return f"http://{HOST}:{listener.getsockname()[1]}/{token}/"


def _config(subjects: Subjects, listener: socket.socket, token: str) -> uvicorn.Config:
    app = make_app(subjects, token=token, port=listener.getsockname()[1])
    # Warnings are of requests that are no HTTP: any page in the browser could write them into the user's terminal.
    return uvicorn.Config(app, log_level="error", ws="none", timeout_graceful_shutdown=GRACE, server_header=False)
