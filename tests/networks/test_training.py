from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import elsewhere as els
from elsewhere.data import ImageSet
from elsewhere.networks import TrainSettings, load_network, train, training
from elsewhere.networks.checkpoints import read_checkpoint
from elsewhere.networks.train_settings import draw_batch
from elsewhere.networks.training import (
    CHECKPOINT,
    LOSS_LOG,
    LOSS_PLOT,
    NETWORK,
    SAMPLES,
)
from elsewhere.pictures import enlargement, grid, save_loss_plot

TINY = TrainSettings(
    options={"width": 4, "blocks": 1}, steps=12, batch=4, warmup=2, checkpoint_every=4, log_every=3, sample_every=12
)

SAVE_SAMPLES = training._save_samples


def toys(count: int = 6, labels: bool = True) -> ImageSet:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 1, 6, 6), dtype=torch.uint8, generator=generator)
    return ImageSet(images, torch.arange(count) % 3 if labels else None, "toys")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / NETWORK)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int, error: type[BaseException] = KeyboardInterrupt) -> None:
    """Let the training break off when it asks for the batch of this step."""

    def draw(data: ImageSet, settings: TrainSettings, asked: int, *text: torch.Tensor) -> Any:
        if asked == step:
            raise error
        return draw_batch(data, settings, asked, *text)

    monkeypatch.setattr(training, "draw_batch", draw)


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take longer than these trainings; `whole` is made before this and has them."""
    monkeypatch.setattr(training, "save_loss_plot", lambda path, lines: None)
    monkeypatch.setattr(training, "_save_samples", lambda path, network, spec: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run of TINY."""
    folder = tmp_path_factory.mktemp("whole")
    train(toys(), folder, TINY, command="elsewhere train toys")
    return folder


def test_a_training_leaves_network_checkpoint_log_pictures_and_card(whole: Path) -> None:
    names = {"card.md", CHECKPOINT, NETWORK, LOSS_LOG, "loss.png", "samples.png"}
    assert {path.name for path in whole.iterdir()} == names
    lines = [json.loads(line) for line in (whole / LOSS_LOG).read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6, 9, 12]
    card = (whole / "card.md").read_text()
    for words in ("elsewhere train toys", "toys, 1 x 6 x 6, 3 classes", toys().fingerprint(), "48 (12 steps of 4)"):
        assert words in card


def test_the_network_says_what_it_was_trained_on(whole: Path) -> None:
    network: Any = load_network(whole)
    assert network.spec.fingerprint == toys().fingerprint()
    assert (network.spec.size, network.num_classes, network.spec.data) == ((6, 6), 3, "toys")


def test_what_is_returned_is_what_is_saved(tmp_path: Path) -> None:
    network, x = train(toys(), tmp_path, TINY), torch.randn(2, 1, 6, 6)
    assert torch.equal(network(x, 1.0, 1), load_network(tmp_path)(x, 1.0, 1))


def test_a_seed_gives_the_same_weights_bit_for_bit_and_another_seed_others(whole: Path, tmp_path: Path) -> None:
    torch.manual_seed(123)  # weights must not come from here
    state = torch.random.get_rng_state()
    train(toys(), tmp_path / "again", TINY)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert same(weights(tmp_path / "again"), weights(whole))
    train(toys(), tmp_path / "other", replace(TINY, seed=1))
    assert not same(weights(tmp_path / "other"), weights(whole))


@pytest.mark.parametrize("stop", [1, 4, 6, 11])
def test_a_run_stopped_with_ctrl_c_goes_on_to_the_same_weights(
    stop: int, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(monkeypatch, stop)
    with pytest.raises(KeyboardInterrupt):
        train(toys(), tmp_path, TINY)
    kept = stop // TINY.checkpoint_every * TINY.checkpoint_every
    assert (tmp_path / CHECKPOINT).exists() == (kept > 0)
    asked: list[int] = []

    def draw(data: ImageSet, settings: TrainSettings, step: int) -> Any:
        asked.append(step)
        return draw_batch(data, settings, step)

    monkeypatch.setattr(training, "draw_batch", draw)
    train(toys(), tmp_path, TINY)
    assert asked == list(range(kept, TINY.steps))
    assert same(weights(tmp_path), weights(whole))


VICTIM = """
import sys, time
from pathlib import Path
from tests.networks.test_training import TINY, toys
from elsewhere.networks import train, training
from collections.abc import Callable
from dataclasses import replace
slow = training.draw_batch
def draw(*arguments):
    time.sleep(0.02)
    return slow(*arguments)
training.draw_batch = draw
train(toys(), sys.argv[1], replace(TINY, steps=60, sample_every=60))
"""


def test_a_run_killed_outright_loses_one_interval_at_most_and_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    long = replace(TINY, steps=60)
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    victim = subprocess.Popen([sys.executable, "-c", VICTIM, str(tmp_path / "killed")], env=environment)
    log, deadline = tmp_path / "killed" / LOSS_LOG, time.monotonic() + 120
    try:
        while not (log.exists() and len(log.read_text().splitlines()) >= 5):
            assert victim.poll() is None, "the training ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        victim.send_signal(signal.SIGKILL)
        victim.wait()
    assert not (tmp_path / "killed" / NETWORK).exists()
    reached = json.loads(log.read_text().splitlines()[-1])["step"]
    with safe_open(tmp_path / "killed" / CHECKPOINT, framework="pt") as file:
        kept = int(file.metadata()["step"])
    assert 0 < kept < 60
    assert reached - kept <= TINY.checkpoint_every
    train(toys(), tmp_path / "killed", long)
    train(toys(), tmp_path / "whole", long)
    assert same(weights(tmp_path / "killed"), weights(tmp_path / "whole"))


def test_a_kill_while_the_checkpoint_is_written_leaves_the_one_before(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []

    def half(tensors: Any, target: Path, metadata: Any) -> None:
        written.append(Path(target))
        save_file(tensors, target, metadata)
        if len(written) == 2:
            target.write_bytes(target.read_bytes()[:50])
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("elsewhere.tensor_files.save_file", half)
        with pytest.raises(KeyboardInterrupt):
            train(toys(), tmp_path, TINY)
    with safe_open(tmp_path / CHECKPOINT, framework="pt") as file:
        assert file.metadata()["step"] == "4"
    # A kill leaves no time to tidy: what it left is removed by the next run.
    left = tmp_path / written[0].name
    left.write_bytes(b"half")
    train(toys(), tmp_path, TINY)
    assert same(weights(tmp_path), weights(whole))
    assert not left.exists()


def test_a_finished_run_is_not_run_again(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = weights(whole)
    stop_after(monkeypatch, 0, AssertionError)
    train(toys(), whole, TINY, command="elsewhere train toys")
    assert same(weights(whole), before)
    assert len((whole / LOSS_LOG).read_text().splitlines()) == 4


def test_the_averaged_weights_of_a_run_in_progress_can_be_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(monkeypatch, 9)
    with pytest.raises(KeyboardInterrupt):
        train(toys(), tmp_path, TINY)
    network: Any = load_network(tmp_path)
    average = {
        name.removeprefix("average.module."): value
        for name, value in load_file(tmp_path / CHECKPOINT).items()
        if name.startswith("average.module.")
    }
    assert same(network.module.state_dict(), average)
    assert network.spec.fingerprint == toys().fingerprint()


@pytest.mark.parametrize("stop", [3, 6])
def test_a_run_broken_off_leaves_the_pictures_so_far(
    stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "save_loss_plot", save_loss_plot)
    monkeypatch.setattr(training, "_save_samples", SAVE_SAMPLES)
    stop_after(monkeypatch, stop)
    with pytest.raises(KeyboardInterrupt):
        train(toys(), tmp_path, replace(TINY, checkpoint_every=4, sample_every=4))
    pictures = [tmp_path / name for name in (SAMPLES, LOSS_PLOT)]
    assert [path.exists() for path in pictures] == [stop > 4] * 2
    if stop > 4:
        noise, labels = els.make_noise(16, (1, 6, 6), seed=0), torch.arange(16) % 3
        drawn = els.sample(read_checkpoint(tmp_path / CHECKPOINT), noise, els.schedules.cosine(20), labels).images
        np.testing.assert_array_equal(
            np.asarray(Image.open(pictures[0])), np.asarray(grid(drawn, 8, enlargement(6, 6)))
        )


def test_loss_lines_past_the_checkpoint_are_dropped_on_resuming(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(monkeypatch, 7)
    with pytest.raises(KeyboardInterrupt):
        train(toys(), tmp_path, TINY)
    assert len((tmp_path / LOSS_LOG).read_text().splitlines()) == 2
    with (tmp_path / LOSS_LOG).open("a") as file:
        file.write('{"step": 7, "lo')
    monkeypatch.setattr(training, "draw_batch", draw_batch)
    train(toys(), tmp_path, TINY)
    lines = [json.loads(line) for line in (tmp_path / LOSS_LOG).read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6, 9, 12]
    expected = [json.loads(line) for line in (whole / LOSS_LOG).read_text().splitlines()]
    assert lines[0] == expected[0]
    assert lines[2:] == expected[2:]


def test_a_checkpoint_of_other_data_or_settings_is_refused_and_says_what_differs(tmp_path: Path) -> None:
    train(toys(), tmp_path, TINY)
    with pytest.raises(ValueError, match=r"other data or settings \(steps 12, now 20\).*--restart"):
        train(toys(), tmp_path, replace(TINY, steps=20))
    with pytest.raises(ValueError, match="fingerprint"):
        train(toys(5), tmp_path, TINY)
    with pytest.raises(ValueError, match=r"now \{'width': 8\}"):
        train(toys(), tmp_path, replace(TINY, options={"width": 8}))


def test_how_often_something_is_written_may_change_between_runs(whole: Path, tmp_path: Path) -> None:
    train(toys(), tmp_path, replace(TINY, checkpoint_every=5, log_every=100, sample_every=1))
    train(toys(), tmp_path, TINY)
    assert same(weights(tmp_path), weights(whole))


def test_restart_begins_again(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(toys(), tmp_path, replace(TINY, seed=5))
    stop_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        train(toys(), tmp_path, TINY, restart=True)
    # Nothing of the run that was given up may be taken for this one.
    assert not (tmp_path / CHECKPOINT).exists()
    assert not (tmp_path / NETWORK).exists()
    monkeypatch.setattr(training, "draw_batch", draw_batch)
    train(toys(), tmp_path, TINY)
    assert same(weights(tmp_path), weights(whole))


@pytest.mark.parametrize("count", [1, 3, 4, 7])
@pytest.mark.parametrize("labels", [True, False])
def test_sets_of_any_size_are_trained_on_with_and_without_labels(count: int, labels: bool, tmp_path: Path) -> None:
    network = train(toys(count, labels), tmp_path, replace(TINY, steps=2))
    assert network.num_classes == (min(count, 3) if labels else 0)
    assert torch.isfinite(network(torch.randn(1, 1, 6, 6), 1.0)).all()


def test_labels_of_any_integer_type_are_taken(tmp_path: Path) -> None:
    data = toys()
    assert data.labels is not None
    train(replace(data, labels=data.labels.to(torch.uint8)), tmp_path, replace(TINY, steps=1))


def test_a_unet_is_trained(tmp_path: Path) -> None:
    settings = replace(TINY, kind="unet", options={"widths": [4, 4]}, steps=2)
    network = train(toys(), tmp_path, settings)
    assert torch.isfinite(network(torch.randn(1, 1, 6, 6), 1.0, 2)).all()


def test_another_precision_may_follow_in_the_same_process(tmp_path: Path) -> None:
    for precision in ("no", "bf16", "no"):
        train(toys(), tmp_path / precision, replace(TINY, precision=precision, steps=2), restart=True)
    full, half = (weights(tmp_path / name) for name in ("no", "bf16"))
    assert not same(full, half)
    assert all(torch.allclose(full[name], half[name], atol=0.01) for name in full)


@pytest.mark.skipif(torch.cuda.is_available(), reason="fp16 works where there is a graphics card")
def test_a_precision_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="precision 'fp16' is not available on cpu: choose bf16 or no"):
        train(toys(), tmp_path / "new", replace(TINY, precision="fp16"))
    assert not (tmp_path / "new").exists()
    train(toys(), tmp_path / "new", replace(TINY, precision="no", steps=1))


def test_a_run_in_mixed_precision_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(TINY, precision="bf16")
    train(toys(), tmp_path / "whole", settings)
    with monkeypatch.context() as patch:
        stop_after(patch, 6)
        with pytest.raises(KeyboardInterrupt):
            train(toys(), tmp_path / "stopped", settings)
    train(toys(), tmp_path / "stopped", settings)
    assert same(weights(tmp_path / "stopped"), weights(tmp_path / "whole"))


def test_training_learns(tmp_path: Path) -> None:
    data = ImageSet(torch.full((2, 1, 6, 6), 255, dtype=torch.uint8))
    network = train(
        data, tmp_path, replace(TINY, steps=150, batch=16, learning_rate=0.01, options={"width": 8, "blocks": 1})
    )
    run = els.sample(network, els.make_noise(4, (1, 6, 6)))
    # 150 steps are fewer than 1 / (1 - ema): without the ramp the average would still be the network it began with.
    assert float((run.images - 1).abs().mean()) < 0.15


def test_weights_that_break_down_are_never_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(data: ImageSet, settings: TrainSettings, step: int) -> Any:
        batch = draw_batch(data, settings, step)
        return replace(batch, target=batch.target * torch.nan) if step == 5 else batch

    monkeypatch.setattr(training, "draw_batch", draw)
    for log_every, message in ((1, "the loss became nan before step 6"), (100, "not finite after step 8")):
        out = tmp_path / str(log_every)
        with pytest.raises(ValueError, match=message):
            train(toys(), out, replace(TINY, log_every=log_every))
        with safe_open(out / CHECKPOINT, framework="pt") as file:
            assert file.metadata()["step"] == "4"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (replace(TINY, kind="transformer"), "unknown kind of network 'transformer'"),
        (replace(TINY, options={"depth": 3}), "a resnet has no option 'depth'"),
    ],
)
def test_a_network_that_cannot_be_built_leaves_no_folder(settings: TrainSettings, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        train(toys(), tmp_path / "new", settings)
    assert not (tmp_path / "new").exists()


def test_a_missing_accelerate_is_named_with_the_extra_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ImportError, match=r"training needs the library accelerate.*elsewhere\[train\]"):
        train(toys(), tmp_path, TINY)
