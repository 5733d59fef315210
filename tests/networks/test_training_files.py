"""What a training does to its folder when others write there too, when files are damaged and when the disk is full."""

from __future__ import annotations

import random
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from elsewhere.files import only_process
from elsewhere.networks import NetworkSpec, TrainedNetwork, load_network, train, training
from elsewhere.networks.checkpoints import TrainingRun
from elsewhere.networks.training import CHECKPOINT, LOCK, LOSS_LOG
from elsewhere.tensor_files import read_tensors, write_tensors
from tests.networks.test_training import TINY, stop_after, toys


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training of TINY."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "save_loss_plot", lambda path, lines: None)
        patch.setattr(training, "_save_samples", lambda *given: None)
        train(toys(), folder, TINY)
    return folder


HOLDER = """
import sys, time
from elsewhere.files import only_process
with only_process(sys.argv[1]) as alone:
    print(alone, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "save_loss_plot", lambda path, lines: None)
    monkeypatch.setattr(training, "_save_samples", lambda *given: None)


def hold(lock: Path) -> subprocess.Popen[str]:
    """Another process that holds a lock."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    return holder


def test_a_second_training_in_a_folder_is_refused_and_a_dead_one_s_lock_is_taken_over(tmp_path: Path) -> None:
    left = tmp_path / ".checkpoint-abcdefgh.safetensors"
    left.write_bytes(b"the other one is writing this")
    holder = hold(tmp_path / LOCK)
    try:
        for restart in (False, True):
            with pytest.raises(BlockingIOError, match=rf"another training is running in {tmp_path}: wait"):
                train(toys(), tmp_path, replace(TINY, steps=1), restart=restart)
        assert {path.name for path in tmp_path.iterdir()} == {left.name, LOCK}
        line = f"-m elsewhere train fashion-mini --limit 4 --steps 1 --out {tmp_path}".split()
        second = subprocess.run([sys.executable, *line], capture_output=True, text=True, timeout=120)
        assert second.returncode == 2
        *notes, error = second.stderr.splitlines()
        assert all(line.startswith("note: ") for line in notes)
        assert error.startswith(f"error: another training is running in {tmp_path}")
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert (tmp_path / LOCK).exists(), "a killed process leaves its file"
    train(toys(), tmp_path, replace(TINY, steps=1))
    assert not (tmp_path / LOCK).exists()
    assert not left.exists()


def test_a_training_that_fails_frees_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            train(toys(), tmp_path, TINY)
    assert not (tmp_path / LOCK).exists()
    train(toys(), tmp_path, replace(TINY, steps=1))


def test_a_lock_is_held_by_one_within_a_process_too(tmp_path: Path) -> None:
    with only_process(tmp_path / LOCK) as first, only_process(tmp_path / LOCK) as second:
        assert (first, second) == (True, False)
    with only_process(tmp_path / LOCK) as again:
        assert again


def test_a_checkpoint_with_any_bit_flipped_is_refused(tmp_path: Path) -> None:
    settings = replace(TINY, steps=1)
    train(toys(), tmp_path, settings)
    (tmp_path / "network.safetensors").unlink()
    content = (tmp_path / CHECKPOINT).read_bytes()
    header = struct.unpack("<Q", content[:8])[0]
    chance = random.Random(1)
    bits = [chance.randrange(8 * (8 + header)) for _ in range(30)]
    bits += [chance.randrange(8 * (8 + header), 8 * len(content)) for _ in range(30)]
    run = TrainingRun(network_spec(), settings)
    for bit in bits:
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        (tmp_path / CHECKPOINT).write_bytes(changed)
        before = {name: value.clone() for name, value in run.module.state_dict().items()}
        with pytest.raises(ValueError, match=r"checkpoint\.safetensors is damaged or no checkpoint.*--restart"):
            run.resume(tmp_path / CHECKPOINT)
        assert all(torch.equal(value, before[name]) for name, value in run.module.state_dict().items())
        with pytest.raises(ValueError, match=r"checkpoint\.safetensors"):
            load_network(tmp_path)


def network_spec() -> NetworkSpec:
    return NetworkSpec("resnet", 1, (6, 6), 3, dict(TINY.options), "toys")


@pytest.mark.parametrize("line", ['{"step": "3", "loss": 1, "learning_rate": 1}', "[" * 10**5, '{"step": 3}', "5", "x"])
def test_a_log_that_was_tampered_with_does_not_stop_a_training(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, 6)
        with pytest.raises(KeyboardInterrupt):
            train(toys(), tmp_path, TINY)
    (tmp_path / LOSS_LOG).write_text(line + "\n")
    train(toys(), tmp_path, TINY)


def test_a_full_disk_ends_a_training_with_an_oserror_and_keeps_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            train(toys(), tmp_path, TINY)
    kept = (tmp_path / CHECKPOINT).read_bytes()

    def full(tensors: Any, target: Path, metadata: Any) -> None:
        Path(target).write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("elsewhere.tensor_files.save_file", full)
    with pytest.raises(OSError, match="No space left") as caught:
        train(toys(), tmp_path, TINY)
    assert caught.value.filename == str(tmp_path / CHECKPOINT)
    assert (tmp_path / CHECKPOINT).read_bytes() == kept
    assert {path.name for path in tmp_path.iterdir()} == {CHECKPOINT, LOSS_LOG}


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def _lost_tensor(path: Path) -> None:
    _rewrite(path, lambda tensors: tensors.pop("module.enter.weight"))


def _lost_moment(path: Path) -> None:
    _rewrite(path, lambda tensors: tensors.pop("optimizer.0.exp_avg"))


def _wrong_moment(path: Path) -> None:
    _rewrite(path, lambda tensors: tensors.update({"optimizer.0.exp_avg": torch.zeros(3)}))


def _moment_of_one_more(path: Path) -> None:
    _rewrite(path, lambda tensors: tensors.update({"optimizer.99.exp_avg": torch.zeros(3)}))


def _negative_moment(path: Path) -> None:
    _rewrite(path, lambda tensors: tensors["optimizer.0.exp_avg_sq"].fill_(-1))


def _not_finite(path: Path) -> None:
    _rewrite(path, lambda tensors: tensors["module.enter.weight"].fill_(torch.nan))


def _whole_numbers(path: Path) -> None:
    _rewrite(path, lambda tensors: tensors.update({"module.enter.bias": tensors["module.enter.bias"].long()}))


def _no_average(path: Path) -> None:
    _rewrite(path, lambda tensors: tensors.update({"average.n_averaged": torch.tensor(-1)}))


def _far_ahead(path: Path) -> None:
    _rewrite(path, lambda tensors: None, step="99999999")


def _deep(path: Path) -> None:
    _rewrite(path, lambda tensors: None, identity="[" * 100_000)


def _odd_scale(path: Path) -> None:
    _rewrite(path, lambda tensors: None, scaling='{"scale": -1.0}')


def _unsealed(path: Path) -> None:
    save_file(load_file(path), path, {"step": "12", "identity": "{}"})


def _rewrite(path: Path, change: Callable[[dict[str, torch.Tensor]], object], **about: str) -> None:
    """The checkpoint with other contents and a right checksum."""
    metadata, tensors = read_tensors(path)
    change(tensors)
    write_tensors(path, tensors, {**metadata, **about})


def _foreign(path: Path) -> None:
    save_file({"a": torch.zeros(1)}, path)


SPOILT = [
    _cut,
    _lost_tensor,
    _lost_moment,
    _wrong_moment,
    _moment_of_one_more,
    _negative_moment,
    _not_finite,
    _whole_numbers,
    _no_average,
    _far_ahead,
    _deep,
    _odd_scale,
    _unsealed,
    _foreign,
]


@pytest.mark.parametrize("spoil", SPOILT)
def test_a_damaged_checkpoint_is_named_and_nothing_of_it_is_used(spoil: Any, finished: Path, tmp_path: Path) -> None:
    shutil.copy(finished / CHECKPOINT, tmp_path)
    spoil(tmp_path / CHECKPOINT)
    with pytest.raises(ValueError, match=r"checkpoint\.safetensors is damaged.*--restart"):
        train(toys(), tmp_path, TINY)
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_a_damaged_checkpoint_can_be_dropped(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"damaged")
    train(toys(), tmp_path, replace(TINY, steps=1), restart=True)
    assert isinstance(load_network(tmp_path), TrainedNetwork)
