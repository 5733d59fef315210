"""A running studio, and a page of it."""

from collections.abc import Iterator

import pytest

from elsewhere.studio.drawing import Runs
from elsewhere.studio.serve import running
from elsewhere.studio.subjects import Subjects

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
    with running(subjects, TOKEN) as address:
        yield address


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
