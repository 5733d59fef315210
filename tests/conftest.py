"""What tests of several folders share."""

from __future__ import annotations

import pytest

from elsewhere.engine import native, shifts


@pytest.fixture(params=["compiled", "as tensors"])
def loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with the compiled loop, which takes few images too here, and without."""
    if request.param == "as tensors":
        monkeypatch.setattr(native, "library", lambda: None)
    elif native.library() is None:
        pytest.skip("the loop was not compiled here")
    monkeypatch.setattr(shifts, "FEWEST", 1)
