"""The entropy of weights against brute force in float64, through every engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import elsewhere as els
from tests import reference

DATA = els.load_images("fashion-mini", limit=20)
SMALL = els.ImageSet(DATA.images[:, :, 9:19, 8:19], DATA.labels, "small", DATA.classes)
COLOUR = els.ImageSet(els.load_images("pixel-faces", limit=6).images[:, :, 8:17, 9:18], name="colour")


def noisy(data: els.ImageSet, sigma: float, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    noise = torch.randn(2, *data.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return (data.scaled(torch.float64)[:2] + sigma * noise).to(dtype)


def of_distances(distances: np.ndarray, sigma: float) -> float:
    logs = -distances / (2 * sigma**2)
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    return float(-(weights[weights > 0] * np.log(weights[weights > 0])).sum())


def local(x: np.ndarray, images: np.ndarray, sigma: float, window: int, taper: bool) -> np.ndarray:
    """Entropies of LS, pixel by pixel."""
    r, (_, height, width) = window // 2, x.shape
    pad = ((0, 0), (r, r), (r, r))
    padded, stacked, counted = np.pad(x, pad), np.pad(images, ((0, 0), *pad)), reference.counts(window, taper)
    out = np.empty((height, width))
    for i in range(height):
        for j in range(width):
            squares = (stacked[:, :, i : i + window, j : j + window] - padded[:, i : i + window, j : j + window]) ** 2
            out[i, j] = of_distances((squares * counted).sum((1, 2, 3)), sigma)
    return out


def torus(x: np.ndarray, images: np.ndarray, sigma: float, window: int, taper: bool) -> np.ndarray:
    """Entropies of ELS whose windows wrap round, pixel by pixel."""
    r, (_, height, width) = window // 2, x.shape
    pad = ((0, 0), (r, r), (r, r))
    padded, stacked = np.pad(x, pad, "wrap"), np.pad(images, ((0, 0), *pad), "wrap")
    counted, out = reference.counts(window, taper), np.empty((height, width))
    keys = np.stack(
        [stacked[:, :, i : i + window, j : j + window] for i in range(height) for j in range(width)], 1
    ).reshape(-1, x.shape[0], window, window)
    for i in range(height):
        for j in range(width):
            squares = (keys - padded[:, i : i + window, j : j + window]) ** 2
            out[i, j] = of_distances((squares * counted).sum((1, 2, 3)), sigma)
    return out


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("sigma", [0.08, 0.6, 4.0])
@pytest.mark.parametrize("taper", [False, True])
@pytest.mark.parametrize("data", [SMALL, COLOUR], ids=lambda data: data.name)
def test_entropies_are_those_of_the_definition(
    data: els.ImageSet, taper: bool, sigma: float, dtype: torch.dtype
) -> None:
    x, images = noisy(data, sigma, dtype), data.scaled(torch.float64).numpy()
    # Float32 rounds log-weights by some 1e-5 nats. Logs of the counts of equal windows are always float32, near 2.
    close = {"rtol": 0, "atol": 2e-7 if dtype == torch.float64 else 1e-4}
    found = els.LocalScore(data, 5, taper=taper).entropy(x, sigma)
    wanted = np.stack([local(one, images, sigma, 5, taper) for one in x.double().numpy()])
    np.testing.assert_allclose(found.pixels.numpy(), wanted, **close)
    assert bool((found.windows == len(data)).all())
    found = els.EquivariantLocalScore(data, 5, taper=taper, borders="torus").entropy(x, sigma)
    wanted = np.stack([torus(one, images, sigma, 5, taper) for one in x.double().numpy()])
    np.testing.assert_allclose(found.pixels.numpy(), wanted, **close)
    assert bool((found.windows == len(data) * images[0, 0].size).all())
    found = els.IdealScore(data).entropy(x, sigma)
    wanted = np.array([of_distances(((images - one) ** 2).sum((1, 2, 3)), sigma) for one in x.double().numpy()])
    np.testing.assert_allclose(found.images.numpy(), wanted, **close)
    np.testing.assert_allclose(
        found.pixels.numpy(), np.broadcast_to(wanted[:, None, None], found.pixels.shape), **close
    )


MACHINES: dict[str, Any] = {
    "aware": lambda data: els.EquivariantLocalScore(data, 5),
    "wrap": lambda data: els.EquivariantLocalScore(data, 3, borders="wrap"),
    "ES": lambda data: els.EquivariantScore(data),
    "PCA": lambda data: els.PCALocality(data),
    "PSPC": lambda data: els.PatchComposite(data, 5),
    "smoothed": lambda data: els.SmoothedIdeal(data, copies=4),
    "prior": lambda data: els.EquivariantLocalScore(data, 5, weights=torch.arange(len(data)).double()),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", MACHINES)
def test_every_machine_has_the_entropy_of_all_its_weights(name: str, dtype: torch.dtype) -> None:
    machine, x = MACHINES[name](SMALL), noisy(SMALL, 0.7, dtype)
    mosaic = els.explain(machine, x, 0.7, top=None)
    every = mosaic.weights / mosaic.counts.clamp(min=1)
    wanted = -(mosaic.weights * every.clamp(min=1e-300).log()).sum(-1)
    found = machine.entropy(x, 0.7)
    torch.testing.assert_close(found.pixels, wanted, rtol=0, atol=1e-4)
    assert mosaic.entropy is not None
    # Read in the same pass as a few sources.
    torch.testing.assert_close(els.explain(machine, x, 0.7, top=2).entropy.pixels, found.pixels, rtol=0, atol=1e-4)
    credits = mosaic.credits()
    torch.testing.assert_close(found.images, torch.special.entr(credits).sum(1), rtol=0, atol=1e-4)
    assert bool((wanted <= found.windows.double().log() + 1e-4).all())
    weighed = (mosaic.counts * (mosaic.weights > 0)).sum(-1)
    assert bool((weighed <= found.windows).all())


def test_windows_along_borders_are_counted() -> None:
    machine = els.EquivariantLocalScore(SMALL, 3)
    windows = machine.entropy(noisy(SMALL, 1.0), 1.0).windows[0]
    height, width = SMALL.shape[1:]
    assert int(windows[0, 0]) == 20
    assert int(windows[0, 5]) == 20 * (width - 2)
    assert int(windows[5, 0]) == 20 * (height - 2)
    assert int(windows[5, 5]) == 20 * (height - 2) * (width - 2)


def test_a_class_is_compared_with_itself() -> None:
    label = int(SMALL.labels[0])
    x, part = noisy(SMALL, 0.7), SMALL[SMALL.labels == label]
    mine, theirs = els.LocalScore(SMALL, 5).entropy(x, 0.7, label), els.LocalScore(part, 5).entropy(x, 0.7)
    for name in ("pixels", "windows", "images", "compared"):
        torch.testing.assert_close(getattr(mine, name), getattr(theirs, name))


def test_all_alike_is_one_and_a_copy_is_zero() -> None:
    machine = els.EquivariantLocalScore(SMALL, 5)
    far = machine.entropy(noisy(SMALL, 1e3), 1e3)
    assert float(far.pixel_shares.min()) > 0.999
    assert float(far.image_shares.min()) > 0.999
    copied = els.IdealScore(SMALL).entropy(SMALL.scaled()[:2], 1e-2)
    assert float(copied.pixel_shares.max()) < 1e-6
    assert float(copied.image_shares.max()) < 1e-6
    alone = els.IdealScore(SMALL[:1]).entropy(SMALL.scaled()[:1], 1.0)
    assert (float(alone.pixel_shares.max()), float(alone.image_shares.max())) == (0.0, 0.0)


def test_a_searched_machine_weighs_every_window_for_its_entropy() -> None:
    exact = els.EquivariantLocalScore(DATA, 5, engine="exact")
    x = noisy(DATA, 0.5, torch.float32)
    searched = exact.with_engine("fast")
    torch.testing.assert_close(searched.entropy(x, 0.5).pixels, exact.entropy(x, 0.5).pixels)


def test_a_run_keeps_the_entropy_of_every_step() -> None:
    machine, levels = els.LocalScore(SMALL, 3), els.schedules.cosine(3)
    noise = els.make_noise(2, SMALL.shape)
    run = els.sample(machine, noise, levels, keep=True, entropy=True)
    assert len(run.entropy) == 3
    for found, x, sigma in zip(run.entropy, run.states, run.sigmas, strict=False):
        torch.testing.assert_close(found.pixels, machine.entropy(x, sigma).pixels)
    assert els.sample(machine, noise, levels).entropy == []
    assert "of ln windows a pixel" in repr(run.entropy[0])


def test_what_has_no_weights_has_no_entropy() -> None:
    noise = els.make_noise(1, SMALL.shape)
    for denoiser in (lambda x, sigma, label=None: 0 * x, els.Wiener(SMALL)):
        with pytest.raises(TypeError, match="entropy needs a machine that is a softmax average"):
            els.sample(denoiser, noise, entropy=True)


def test_a_mix_of_two_averages_has_none_and_one_average_keeps_its_own() -> None:
    parts = {"LS": els.LocalScore(SMALL, 3), "IS": els.IdealScore(SMALL), "Wiener": els.Wiener(SMALL)}
    x = noisy(SMALL, 1.0)
    assert els.explain(els.mix({n: parts[n] for n in ("LS", "IS")}, {"LS": 0.5, "IS": 0.5}), x, 1.0).entropy is None
    one = els.explain(els.mix({n: parts[n] for n in ("LS", "Wiener")}, {"LS": 0.5, "Wiener": 0.5}), x, 1.0).entropy
    assert one is not None
    torch.testing.assert_close(one.pixels, parts["LS"].entropy(x, 1.0).pixels)


def test_an_explanation_has_a_number_for_each_step(tmp_path: Path) -> None:
    from elsewhere.analysis.explanation import explain_images

    noise = els.make_noise(2, SMALL.shape)
    found = explain_images(els.LocalScore(SMALL, 3), noise, schedule=els.schedules.cosine(3), every_step=True)
    found.save(tmp_path)
    steps = json.loads((tmp_path / "explanation.json").read_text())["steps"]
    for step, mosaic in zip(steps, found.mosaics, strict=True):
        assert step["entropy_of_pixels"] == mosaic.entropy.pixel_shares.mean((1, 2)).tolist()
        assert step["entropy_of_images"] == mosaic.entropy.image_shares.tolist()
    header, rows = found.table()
    assert rows[0][header.index("entropy")] == f"{steps[-1]['entropy_of_pixels'][0]:.3f}"


def test_an_audit_has_the_entropy_of_the_images_that_it_traces() -> None:
    run = els.sample(els.LocalScore(SMALL, 3), els.make_noise(3, SMALL.shape), els.schedules.cosine(5))
    found = els.audit(SMALL, run.images, shift=1)
    traced = [row for row in found.rows() if row["sources"] is not None]
    assert traced
    for row in traced:
        assert row["entropy_of_images"] == pytest.approx(np.log(row["sources"]) / np.log(20))
    assert all(row["entropy_of_images"] is None for row in found.rows() if row["sources"] is None)
