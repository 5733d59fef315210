"""A running studio, and a browser that opens it."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from elsewhere.studio.drawing import Runs
from elsewhere.studio.server import make_app
from elsewhere.studio.subjects import Subjects

CHROMIUM = Path(os.environ.get("ELSEWHERE_CHROMIUM", "/usr/bin/chromium"))
TOKEN = "a-token-of-the-tests"


@pytest.fixture(scope="session")
def subjects() -> Subjects:
    return Subjects()


@pytest.fixture
def runs() -> Runs:
    return Runs()


@pytest.fixture(scope="session")
def address(subjects: Subjects) -> Iterator[str]:
    """Address of a studio that runs during the tests."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        app = make_app(subjects, token=TOKEN, port=lambda: port)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}/{TOKEN}/"
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """Debian's Chromium. Without it these tests are skipped, but not where CI runs."""
    if not CHROMIUM.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{CHROMIUM} is missing: apt-get install chromium, or set ELSEWHERE_CHROMIUM")
        pytest.skip(f"no browser at {CHROMIUM}: apt-get install chromium, or set ELSEWHERE_CHROMIUM")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Told(list):  # type: ignore[type-arg]
    """Errors and warnings of a page's console, and requests that left its origin."""


@pytest.fixture
def page(browser, address) -> Iterator[object]:
    """A page of 1280 x 900 pixels; after the test its console must be empty and all its requests its own."""
    told = Told()
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    tab = context.new_page()
    tab.on("console", lambda message: told.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: told.append(str(error)))
    own = ("data:", "blob:", "file:", address.rsplit("/", 2)[0])
    tab.on("request", lambda request: None if request.url.startswith(own) else told.append(f"left: {request.url}"))
    tab.set_default_timeout(60_000)
    tab.told = told
    yield tab
    context.close()
    assert not told, told
