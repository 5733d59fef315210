"""Settings of a training, and what one step learns from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from elsewhere.data import ImageSet
from elsewhere.networks import TrainSettings
from elsewhere.networks.train_settings import draw_batch
from tests.networks.test_training import TINY, toys


def test_a_batch_is_a_function_of_data_seed_and_step() -> None:
    data = toys()
    one, again, other = (draw_batch(data, TINY, step) for step in (3, 3, 4))
    assert torch.equal(one.x_vp, again.x_vp)
    assert not torch.equal(one.x_vp, other.x_vp)
    assert one.label is not None


@pytest.mark.parametrize(("count", "batch"), [(5, 3), (3, 8), (1, 2), (4, 4)])
def test_every_epoch_shows_every_image_once(count: int, batch: int) -> None:
    data = ImageSet(torch.arange(count, dtype=torch.uint8).reshape(-1, 1, 1, 1), torch.arange(count))
    settings = replace(TINY, batch=batch, label_dropout=0.0)
    labels = torch.cat([label for s in range(count) if (label := draw_batch(data, settings, s).label) is not None])
    for epoch in labels.split(count):
        assert sorted(epoch.tolist()) == list(range(count))


def test_noisy_image_and_target_are_the_rotation_of_image_and_noise() -> None:
    # x_vp = a x0 + s n and v = a n - s x0, so a x_vp - s v = x0, which is known here.
    data = ImageSet(torch.full((1, 1, 6, 6), 255, dtype=torch.uint8))
    batch = draw_batch(data, replace(TINY, batch=8), 0)
    angle = (batch.time * torch.pi / 2)[:, None, None, None]
    assert torch.allclose(angle.cos() * batch.x_vp - angle.sin() * batch.target, torch.ones(8, 1, 6, 6), atol=1e-5)
    assert (batch.time * 8).long().tolist() == list(range(8))


def test_labels_are_hidden_as_often_as_asked() -> None:
    data = toys(300)
    label = draw_batch(data, replace(TINY, batch=6000, label_dropout=0.15), 0).label
    assert label is not None
    assert float((label == 3).float().mean()) == pytest.approx(0.15, abs=0.02)


def test_the_learning_rate_warms_up_and_falls_to_zero() -> None:
    settings = TrainSettings(steps=100, warmup=10, learning_rate=0.1)
    rates = [settings.rate(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == rates[10] == pytest.approx(0.1)
    assert rates[55] == pytest.approx(0.05)
    assert rates[100] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"steps": 0}, ValueError, "steps must be 1 or more, got 0"),
        ({"batch": 2.5}, TypeError, "batch must be an integer, got float 2.5"),
        ({"warmup": -1}, ValueError, "warmup must be 0 or more"),
        ({"learning_rate": float("nan")}, ValueError, "learning_rate must be between 0 and 1, got nan"),
        ({"ema": 1.0}, ValueError, r"ema must be in \[0, 1\), got 1.0"),
        ({"label_dropout": -0.1}, ValueError, "label_dropout must be in"),
        ({"precision": "int8"}, ValueError, "precision must be one of no, bf16, fp16, got 'int8'"),
        ({"seed": -1}, ValueError, "seed must be 0 or more"),
        ({"seed": 2**31}, ValueError, "seed must be below"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        TrainSettings(**changes)
