"""What tests of several folders share."""

from __future__ import annotations

import pytest

from elsewhere.engine import planner, sliding
from elsewhere.engine.kernels import loader
from tests.engine.engine_toys import TOYS


@pytest.fixture(autouse=True)
def few_cells_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Indexes of tests are small: with as many cells at first as real ones need, all of them would be read."""
    monkeypatch.setattr(planner, "SEARCH", TOYS)


@pytest.fixture(params=["compiled", "as tensors"])
def loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with the compiled kernels, which take few images too here, and without."""
    if request.param == "as tensors":
        monkeypatch.setattr(loader, "library", lambda: None)
    elif loader.library() is None:
        pytest.skip("the kernels were not compiled here")
    monkeypatch.setattr(sliding, "FEWEST_IMAGES", 1)
