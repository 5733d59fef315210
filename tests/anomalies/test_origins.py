from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import elsewhere as els
from elsewhere.anomalies.origins import find_origins, origins_of_run
from elsewhere.data.hands import draw_hands
from tests.data.toys import few


@few
@given(seed=st.integers(0, 1000), window=st.sampled_from([3, 5]), sigma=st.sampled_from([0.3, 1.0]))
def test_the_origin_is_the_training_image_of_the_largest_weight(seed: int, window: int, sigma: float) -> None:
    """Against the formula written out in float64: every window inside every training image, one after the other."""
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.integers(0, 256, (4, 1, 9, 8), dtype=np.uint8))
    machine = els.EquivariantLocalScore(els.ImageSet(images), window)
    x = torch.from_numpy(rng.normal(size=(1, 9, 8))).float()
    radius = window // 2
    tips = torch.tensor([[4, 3], [radius, radius], [0, 4]])
    found = find_origins(machine, x, sigma, tips)
    assert torch.equal(found.tips, tips)
    assert found.window == window
    keys = images.double().numpy() / 127.5 - 1
    for k, (row, column) in enumerate(tips.tolist()):
        top = max(0, row - radius)
        query = x[0, top : row + radius + 1, column - radius : column + radius + 1].double().numpy()
        logs = np.full((4, 9, 8), -np.inf)
        for n in range(4):
            # On an edge the same edge is asked.
            for i in range(radius, 9 - radius) if row else [0]:
                for j in range(radius, 8 - radius):
                    key = keys[n, 0, i - (row - top) : i + radius + 1, j - radius : j + radius + 1]
                    logs[n, i, j] = -((query - key) ** 2).sum() / (2 * sigma**2)
        weights = np.exp(logs - logs.max())
        weights /= weights.sum()
        shares = weights.sum((1, 2))
        # The squares are summed in float32.
        assert found.weights[k] == pytest.approx(shares.max(), rel=1e-3)
        best = int(found.image_ids[k])
        assert shares[best] == pytest.approx(shares.max(), rel=1e-3)
        place = tuple(found.places[k].tolist())
        assert weights[best][place] == pytest.approx(weights[best].max(), rel=1e-3)
        assert torch.equal(found.images[k], images[best])


def test_a_training_hand_is_its_own_origin() -> None:
    pytest.importorskip("skimage")
    data = draw_hands(6, 3)
    machine = els.EquivariantLocalScore(data, els.LocalitySchedule((2.0, 0.1), (63, 7)))
    # One level of little noise: what is drawn is the training hand whose noisy copy it begins with.
    schedule = els.schedules.Schedule((0.1, 0.0))
    noise = (data.scaled()[4:5] + 0.01 * els.make_noise(1, data.shape)) / 0.1
    run = els.sample(machine, noise, schedule, keep=True)
    image, found = run.images[0], origins_of_run(machine, run)
    assert image.shape == data.shape
    assert len(found.tips) == 5
    assert found.image_ids.tolist() == [4] * 5
    assert torch.equal(found.places, found.tips)
    assert found.window == 7


def test_a_machine_that_does_not_know_its_images_is_refused() -> None:
    machine = els.EquivariantLocalScore(torch.zeros(2, 1, 8, 8), 3)
    with pytest.raises(ValueError, match="make it from an ImageSet"):
        find_origins(machine, torch.zeros(1, 8, 8), 1.0, torch.zeros(0, 2, dtype=torch.int64))
