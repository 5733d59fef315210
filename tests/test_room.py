"""What would take more memory than the machine has is refused before any of it is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import elsewhere as els
from elsewhere import factory, limits
from elsewhere.cli import app


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.npz"
    np.savez(path, images=(np.arange(12 * 64) * 37 % 251).astype(np.uint8).reshape(12, 8, 8))
    return path


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("sample DATA --window 3 --size 5000x5000", "--count 8 of 5000x5000 pixels needs 11.92 GiB"),
        ("sample DATA --window 3 --size 300x300 --steps 10000 --keep", "or leave out --keep"),
        ("explain DATA --window 3 --size 5000x5000", "--count 4 of 5000x5000 pixels"),
        ("sample DATA --window 3 --count 10000 --size 2000x2000", "--count 10000 of 2000x2000 pixels"),
        ("sample DATA --window 3 --memory 9GB", "--memory must be at most 2000000000 bytes"),
        ("audit DATA DATA --memory 9GB", "--memory must be at most 2000000000 bytes"),
    ],
)
def test_a_drawing_that_does_not_fit_is_refused_in_one_line(
    line: str, said: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("limits", "checks.ranges"):
        monkeypatch.setattr(f"elsewhere.{module}.total_memory", lambda: 2 * 10**9)
    monkeypatch.setattr(torch, "randn", lambda *_, **__: pytest.fail("noise was drawn"))
    out = tmp_path / "out"
    result = CliRunner().invoke(app, [*line.replace("DATA", str(data)).split(), "--out", str(out)])
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not out.exists()


def test_noise_of_what_fits_is_that_of_make_noise() -> None:
    torch.testing.assert_close(factory.draw_noise(2, (1, 4, 5), 3), els.make_noise(2, (1, 4, 5), 3))


def test_a_budget_above_the_memory_of_the_machine_is_refused() -> None:
    total = limits.total_memory()
    if total is None:
        pytest.skip("the system does not say how much memory there is")
    with pytest.raises(ValueError, match="memory must be at most"):
        els.IdealScore(torch.zeros(2, 1, 4, 4, device="cpu"), memory=total + 1)


@pytest.mark.parametrize("size", ["--width 4096 --blocks 50", "--batch 65536 --width 4096"])
def test_a_training_that_does_not_fit_is_refused_before_the_network_is_made(
    size: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elsewhere.limits.total_memory", lambda: 2 * 10**9)
    monkeypatch.setattr("elsewhere.networks.training.TrainingRun", lambda *_: pytest.fail("the network was made"))
    out = tmp_path / "net"
    result = CliRunner().invoke(app, ["train", str(data), "--out", str(out), *size.split()])
    assert result.exit_code == 2
    assert "GiB of memory, this machine has 1.863 GiB: take a smaller network" in result.stderr
    assert not out.exists()
