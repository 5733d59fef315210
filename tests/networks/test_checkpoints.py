"""A training in progress and its checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from elsewhere.networks import NetworkSpec
from elsewhere.networks.checkpoints import TrainingRun, ramped_average
from elsewhere.networks.training import (
    CHECKPOINT,
)
from tests.networks.test_training import TINY


def test_the_average_ramps_up_to_its_decay() -> None:
    for count, share in ((1, 0.75), (10, 3 / 13), (10_000, 0.001)):
        averaged = [torch.zeros(1)]
        ramped_average(0.999)(averaged, [torch.ones(1)], torch.tensor(count))
        assert float(averaged[0]) == pytest.approx(share, rel=1e-3)


def test_the_scale_of_the_loss_is_part_of_a_checkpoint(tmp_path: Path) -> None:
    spec = NetworkSpec("resnet", 1, (6, 6), 0, {"width": 4, "blocks": 1}, training={"steps": 1})
    runs = [TrainingRun(spec, TINY) for _ in range(2)]
    scalers = [torch.amp.GradScaler("cpu", init_scale=scale) for scale in (8.0, 512.0)]
    loss = runs[0].module(torch.randn(1, 1, 6, 6), torch.ones(1)).sum()
    loss.backward()
    runs[0].optimizer.step()
    runs[0].use_scaler(scalers[0])
    runs[0].save(tmp_path / CHECKPOINT, 1)
    assert runs[1].resume(tmp_path / CHECKPOINT) == 1
    runs[1].use_scaler(scalers[1])
    assert scalers[1].state_dict() == scalers[0].state_dict()
    assert float(scalers[1].scale(torch.ones(()))) == 8.0
