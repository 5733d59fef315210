"""Textures against the formula of the paper written out, and their properties."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import elsewhere as els
from elsewhere import workload
from elsewhere.textures.plan import plan_filling, plan_texture
from elsewhere.textures.process import TextureState, mean_image, texture_process
from elsewhere.textures.pyramid import enlarge, shrink
from tests.textures.texture_toys import toy

SMALL = els.TextureSettings(window=5, scales=2, steps=4, finish=1)
MEMORY = 2**26


def denoise(x: np.ndarray, image: np.ndarray, sigma: float, window: int, rho: float, tileable: bool) -> np.ndarray:
    """Posterior means of all patches of x (C, H, W), folded, one patch at a time, in float64."""
    _, height, width = x.shape
    keys = np.array(
        [
            image[:, i : i + window, j : j + window]
            for i in range(image.shape[1] - window + 1)
            for j in range(image.shape[2] - window + 1)
        ]
    )
    u = np.linspace(-1, 1, window)
    kernel = np.exp(-(u[:, None] ** 2 + u**2) / (2 * rho**2))
    pasted, total = np.zeros(x.shape), np.zeros((height, width))
    corners = (height, width) if tileable else (height - window + 1, width - window + 1)
    for i in range(corners[0]):
        for j in range(corners[1]):
            rows, columns = (np.arange(i, i + window) % height)[:, None], np.arange(j, j + window) % width
            logs = -((keys - x[:, rows, columns]) ** 2).sum((1, 2, 3)) / (2 * sigma**2)
            weights = np.exp(logs - logs.max())
            pasted[:, rows, columns] += kernel * np.tensordot(weights / weights.sum(), keys, axes=1)
            total[rows, columns] += kernel
    return pasted / total


@pytest.mark.parametrize("tileable", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_step_is_that_of_the_paper(channels: int, tileable: bool) -> None:
    image, size = toy(channels), (12, 16)
    settings = els.TextureSettings(window=5, scales=2, steps=4, finish=1, fold=0.3, tileable=tileable)
    plan = plan_texture(image, size, settings, MEMORY)
    times = [1.0, 0.75, 0.5, 0.25, 0.125, 0.0]
    assert list(settings.times) == times
    coarse: Tensor | None = None
    x: Tensor | None = None
    for step in texture_process(plan, 1, seed=3):
        t, after = times[step.index : step.index + 2]
        if step.index == 0:
            training = shrink(image.double(), (6, 7)) if step.scale == 0 else image.double()
            # The state after the first step is s' noise + a' x0, whatever the noise.
            assert step.state.x is not None
            x = (step.state.x.double() - (1 - after) * step.x0.double()) / after
        assert x is not None
        a = 1 - t
        scaled, sigma = (x / a, t / a) if a else (torch.zeros_like(x), 1e9)
        x0 = torch.from_numpy(denoise(scaled[0].numpy(), training[0].numpy(), sigma, 5, 0.3, tileable))[None]
        noise = (x - a * x0) / t
        if coarse is not None and step.index > 0:
            down = shrink(x0, (6, 8))
            x0 = enlarge(coarse, size, wraps=tileable) + x0 - enlarge(down, size, wraps=tileable)
        # Float32 against float64, and n = (x - a x0) / t divides by t.
        torch.testing.assert_close(step.x0.double(), x0, rtol=0, atol=2e-4)
        x = (1 - after) * x0 + after * noise
        if step.index == len(times) - 2:
            coarse = x
            torch.testing.assert_close(step.state.finished[-1].double(), x0, rtol=0, atol=2e-4)


@pytest.mark.parametrize("tileable", [False, True])
@pytest.mark.parametrize("size", [(5, 30), (9, 10), (24, 11)])
def test_the_answer_at_time_one_is_the_folded_mean_patch(size: tuple[int, int], tileable: bool) -> None:
    settings = els.TextureSettings(window=5, scales=1, fold=0.4, tileable=tileable)
    scale = plan_texture(toy(3), size, settings, MEMORY).scales[0]
    expected = denoise(np.zeros((3, *size)), toy(3)[0].double().numpy(), 1e9, 5, 0.4, tileable)
    np.testing.assert_allclose(mean_image(scale, 3)[0].numpy(), expected, rtol=0, atol=1e-5)


def test_a_seed_gives_the_same_textures_whatever_their_number() -> None:
    three = els.texture(toy(), (12, 15), SMALL, count=3, seed=7)
    one = els.texture(toy(), (12, 15), SMALL, seed=7)
    assert three.images.shape == (3, 1, 12, 15)
    torch.testing.assert_close(three.images[:1], one.images, rtol=0, atol=1e-5)
    assert float((three.images[0] - three.images[1]).abs().mean()) > 0.05
    assert float((els.texture(toy(), (12, 15), SMALL, seed=8).images - one.images).abs().mean()) > 0.05
    assert [tuple(image.shape[2:]) for image in one.pyramid] == [(6, 8), (12, 15)]


def test_a_tileable_texture_has_no_seam() -> None:
    """Across the edge pixels differ about as much as inside; without tiling they differ more."""

    def seam(tileable: bool) -> float:
        settings = els.TextureSettings(window=5, scales=1, steps=4, tileable=tileable)
        image = toy(1, 20, 20)
        # The stripes do not fit the canvas by chance.
        found = els.texture(image, (17, 21), settings, count=3).images
        across = [(found[..., 0, :] - found[..., -1, :]), (found[..., :, 0] - found[..., :, -1])]
        inside = [found.diff(dim=2), found.diff(dim=3)]
        return sum(float(one.abs().mean()) for one in across) / sum(float(one.abs().mean()) for one in inside)

    assert seam(True) < 1.3
    assert seam(False) > 1.5


def test_a_run_goes_on_where_it_was_stopped() -> None:
    plan = plan_texture(toy(), (12, 15), SMALL, MEMORY)
    steps = list(texture_process(plan, 2, seed=1))
    assert sum(step.work for step in steps) == plan.work
    for number in (0, 3, 4, 7):
        state = steps[number].state
        rest = list(texture_process(plan, 2, 1, state))
        assert len(rest) == len(steps) - number - 1
        assert torch.equal(rest[-1].state.finished[-1], steps[-1].state.finished[-1])
        done = sum(step.work for step in steps[: number + 1])
        assert plan.work_before(state.scale, state.index) == done
    assert plan.work_before(0, 0) == 0
    assert TextureState().x is None


def test_a_filling_keeps_the_rest_and_does_not_see_what_was_there() -> None:
    image = toy(3, 24, 26)
    mask = torch.zeros(24, 26, dtype=torch.bool)
    mask[9:14, 10:17] = True
    settings = els.TextureSettings(window=5, scales=1, steps=4)
    filled = els.fill(image, mask, settings, count=2, rounds=2)
    assert torch.equal(filled.images[..., ~mask], image.expand(2, -1, -1, -1)[..., ~mask])
    other = torch.where(mask, torch.full_like(image, 0.9), image)
    assert torch.equal(els.fill(other, mask, settings, count=2, rounds=2).images, filled.images)
    assert not torch.equal(els.fill(image, mask, settings, count=2, rounds=1).images, filled.images)


def test_a_filling_continues_stripes() -> None:
    rows = torch.arange(26.0)[:, None].expand(26, 28)
    image = torch.sin(rows * 1.3)[None, None]
    mask = torch.zeros(26, 28, dtype=torch.bool)
    mask[8:15, 9:17] = True
    filled = els.fill(image, mask, els.TextureSettings(window=7, scales=1, steps=6), rounds=3).images
    error = (filled - image)[..., mask].square().mean().sqrt()
    # Without the surroundings, stripes at a random height: sqrt(2) times their rms, about 1.
    assert float(error) < 0.15


def test_coarse_scales_of_a_filling_without_clear_windows_are_left_out() -> None:
    mask = torch.zeros(40, 40, dtype=torch.bool)
    mask[12:28, 12:28] = True
    plan = plan_filling(toy(1, 40, 40), mask, els.TextureSettings(window=7), MEMORY, 1)
    assert [scale.size for scale in plan.scales] == [(40, 40)]
    with pytest.raises(ValueError, match="fewer than 16 windows of 7x7 pixels have nothing missing in 20x20"):
        plan_filling(toy(1, 40, 40), mask, els.TextureSettings(window=7, scales=2), MEMORY, 1)


GOOD: dict[str, Any] = {"image": toy(), "size": (12, 15), "settings": SMALL}


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"image": torch.zeros(2, 1, 13, 14)}, ValueError, "image must be one image, got 2"),
        ({"image": torch.zeros(1, 2, 13, 14)}, ValueError, "image must have 1 or 3 channels"),
        ({"image": toy() * 9}, ValueError, "image must be in [-1, 1]"),
        ({"image": torch.zeros(13, 14)}, ValueError, "image must be (B, C, H, W)"),
        ({"image": toy().requires_grad_()}, ValueError, "image requires gradients, but a texture is not"),
        ({"image": "photo.png"}, TypeError, "image must be"),
        ({"size": (4, 15)}, ValueError, "window must be at most 4 pixels"),
        ({"size": (9, 15)}, ValueError, "scales must be at most 1"),
        ({"size": (0, 15)}, ValueError, "both sides of size must be 1 or more"),
        ({"count": 0}, ValueError, "count must be"),
        ({"seed": -1}, ValueError, "seed must be"),
        ({"size": (20_000, 20_000), "count": 10_000}, MemoryError, "count=10000 of 20000x20000 pixels needs"),
    ],
)
def test_bad_arguments_are_refused(changes: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=re.escape(said)):
        els.texture(**{**GOOD, **changes})


@pytest.mark.parametrize(
    ("mask", "settings", "said"),
    [
        (torch.zeros(13, 14, dtype=torch.bool), SMALL, "mask is true nowhere"),
        (torch.ones(13, 14, dtype=torch.bool), SMALL, "fewer than 16 windows"),
        (torch.ones(5, 5, dtype=torch.bool), SMALL, "mask must be (13, 14)"),
        (torch.eye(13, 14, dtype=torch.bool), els.TextureSettings(tileable=True), "settings must not be tileable"),
    ],
)
def test_bad_masks_are_refused(mask: Tensor, settings: els.TextureSettings, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        els.fill(toy(), mask, settings)


@pytest.mark.parametrize("tileable", [False, True])
def test_progress_within_steps_adds_up(monkeypatch: pytest.MonkeyPatch, tileable: bool) -> None:
    told: list[float] = []

    @contextmanager
    def meter(total: int, title: str, done: int) -> Iterator[Callable[[float], None]]:
        yield told.append

    monkeypatch.setattr(workload, "_lines", meter)
    settings = els.TextureSettings(window=5, scales=2, steps=4, tileable=tileable)
    plan = plan_texture(toy(), (12, 15), settings, MEMORY)
    els.texture(toy(), (12, 15), settings, count=2, progress=True)
    assert sum(told) == pytest.approx(plan.work)
    assert min(told) >= -1e-6 * plan.work
    # One report at the end of each step, and at least one before it where the machine is called.
    steps = 2 * (len(settings.times) - 1)
    assert len(told) >= steps + (steps - 2)


def test_a_texture_shows_and_saves_itself(tmp_path: Path) -> None:
    drawn = els.textures.Texture(torch.linspace(-1, 1, 2 * 3 * 4 * 5).view(2, 3, 4, 5), (), els.TextureSettings(), 0)
    assert "<img" in str(drawn._repr_html_())
    drawn.save(tmp_path / "two.png")
    assert [picture.size for picture in drawn.pil()] == [(5, 4)] * 2
    assert drawn.numpy().shape == (2, 4, 5, 3)
