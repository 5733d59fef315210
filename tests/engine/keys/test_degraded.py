"""Windows of degraded images as keys, with values from the clean ones."""

from __future__ import annotations

import torch

from elsewhere.engine.keys.degraded import DegradedKeys
from elsewhere.engine.keys.store import PixelStore

COUNT, CHANNELS, SIDE = 5, 2, 4
WINDOWS = torch.tensor([[0, 1, 4], [5, 6, 9], [10, 11, 14]])
PLACES = torch.tensor([[0], [5], [10]])


def images(seed: int, channels: int = CHANNELS) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(COUNT, channels, SIDE, SIDE, generator=generator, dtype=torch.float64) * 2 - 1


def keys(whiten: torch.Tensor | None = None, centre: float = 0.0) -> DegradedKeys:
    return DegradedKeys(PixelStore.of(images(0)), images(1).flatten(2), WINDOWS, PLACES, whiten, centre)


def test_a_key_has_the_window_of_the_degraded_image_and_the_value_of_the_clean_one() -> None:
    raw = keys().read(0, COUNT * 3).raw
    for key in range(COUNT * 3):
        image, place = key // 3, key % 3
        window = images(1)[image].flatten(1)[:, WINDOWS[place]].flatten()
        value = images(0)[image].flatten(1)[:, PLACES[place, 0]]
        assert torch.allclose(raw[key], torch.cat([window, value]), atol=1e-15)


def test_any_range_is_part_of_the_whole() -> None:
    made = keys(torch.rand(3, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64), 0.3)
    whole = made.read(0, len(made)).raw
    assert whole.shape == (15, CHANNELS * 2 + CHANNELS)
    for start, stop in ((0, 1), (2, 4), (4, 11), (14, 15)):
        assert torch.equal(made.read(start, stop).raw, whole[start:stop])


def test_distances_are_those_of_whitened_windows_and_see_no_value() -> None:
    whiten = torch.rand(3, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    made = keys(whiten, 0.3)
    rows, values = made.tile(0, len(made), torch.empty(len(made), made.width + 2, dtype=torch.float64))
    query = made.queries(images(3)[:1].flatten(2), WINDOWS[1:2])
    distance = (query - rows[:, : made.width]).square().sum(1)
    window = images(3)[0].flatten(1)[:, WINDOWS[1]]
    theirs = images(1).flatten(2)[:, :, WINDOWS].transpose(1, 2).flatten(0, 1)
    assert torch.allclose(distance, ((window - theirs) @ whiten).square().sum((1, 2)))
    assert torch.allclose(values, images(0).flatten(2)[:, :, PLACES[:, 0]].transpose(1, 2).flatten(0, 1), atol=1e-15)
    assert abs(made.typical_norm**2 - float(rows[:, made.width].mean())) < 1e-12


def test_keys_know_where_they_come_from() -> None:
    image, row, column = keys().locate(torch.tensor([0, 4, 14]), torch.zeros(1), torch.zeros(1))
    assert (image.tolist(), row.tolist(), column.tolist()) == ([0, 1, 4], [0, 1, 2], [0, 1, 2])
    assert keys().sources().images.tolist() == [image for image in range(COUNT) for _ in range(3)]
