"""Reports of how far a call is."""

from __future__ import annotations

import pytest

import elsewhere as els
from elsewhere.engine import runner, watched

DATA = els.load_images("pixel-faces", 2)


@pytest.mark.parametrize(("response", "passes"), [(1, 1), (5, 2)])
@pytest.mark.parametrize("piece", [2**25, 100_000])
def test_every_pair_is_reported_once_for_each_pass(
    monkeypatch: pytest.MonkeyPatch, response: int, passes: int, piece: int
) -> None:
    monkeypatch.setattr(runner, "PIECE", piece)
    machine = els.PatchScore(DATA, els.PatchSettings(7, keys="torus", response=response))
    done: list[int] = []
    with watched(done.append):
        machine(els.make_noise(3, (3, 40, 36)), 1.0)
    # Without compiled kernels patches are averaged in one pass.
    assert sum(done) in (3 * 40 * 36 * 2 * 32 * 32 * passes, 3 * 40 * 36 * 2 * 32 * 32)
    assert len(done) >= (1 if piece == 2**25 else 16)


def test_nobody_watches_after_the_block_and_errors_pass_through() -> None:
    machine = els.LocalScore(DATA, 5)
    done: list[int] = []
    with watched(done.append):
        pass
    machine(els.make_noise(1, DATA.shape), 1.0)
    assert not done

    def refuse(pairs: int) -> None:
        raise InterruptedError(pairs)

    with pytest.raises(InterruptedError), watched(refuse):
        machine(els.make_noise(1, DATA.shape), 1.0)
