"""What tests of several folders share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from elsewhere.engine import planner, positions, sliding
from elsewhere.engine.kernels import loader
from tests.engine.engine_toys import TOYS

CHROMIUM = Path(os.environ.get("ELSEWHERE_CHROMIUM", "/usr/bin/chromium"))


@pytest.fixture(autouse=True)
def few_cells_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Indexes of tests are small: with as many cells at first as real ones need, all of them would be read."""
    monkeypatch.setattr(planner, "SEARCH", TOYS)


@pytest.fixture(params=["compiled", "positions", "as tensors"])
def loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with either of the compiled kernels, which take any number of images here, and without."""
    if request.param == "as tensors":
        monkeypatch.setattr(loader, "library", lambda: None)
    elif loader.library() is None:
        pytest.skip("the kernels were not compiled here")
    monkeypatch.setattr(sliding, "FEWEST_IMAGES", 1)
    monkeypatch.setattr(positions, "MOST_IMAGES", 2**20 if request.param == "positions" else 0)
    monkeypatch.setattr(positions, "SMALL_WINDOW", 0)


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
