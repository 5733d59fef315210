from __future__ import annotations

import numpy as np
import pytest
import torch

import elsewhere as els
from elsewhere.analysis.coherence import coherence_length
from elsewhere.analysis.mosaic_plots import run_figure, source_colours

DATA = els.ImageSet(torch.randint(0, 256, (8, 3, 9, 10), generator=torch.Generator().manual_seed(0)).byte())


def mosaic(window: int = 3, top: int = 3, batch: int = 2) -> els.Mosaic:
    return els.explain(els.EquivariantLocalScore(DATA, window), els.make_noise(batch, DATA.shape), 0.8, top)


def shown(axes: object) -> np.ndarray:
    return np.asarray(axes.images[0].get_array())  # type: ignore[attr-defined]


def test_a_plot_shows_prediction_sources_and_patches() -> None:
    found = mosaic()
    axes = found.plot(1, pixel=(4, 5)).axes
    titles = [a.get_title() for a in axes]
    assert titles[:3] == ["prediction", "by source", "top windows"]
    pasted = ((found.pasted()[1] + 1) * 127.5).round().byte().permute(1, 2, 0)
    np.testing.assert_array_equal(shown(axes[2]), pasted.numpy())
    # The heaviest patch of the pixel, as it stands in its training image.
    row, column = found.positions[1, 4, 5, 0].tolist()
    patch = DATA.images[found.image_ids[1, 4, 5, 0], :, row - 1 : row + 2, column - 1 : column + 2]
    heaviest = axes[titles.index("query") + 1]
    np.testing.assert_array_equal(shown(heaviest), patch.permute(1, 2, 0).numpy())
    assert f"{float(found.weights[1, 4, 5, 0]):.0%}" == heaviest.get_title()
    assert heaviest.get_xlabel() == f"#{int(found.image_ids[1, 4, 5, 0])}"


def test_all_images_are_rows_of_one_plot() -> None:
    one, both = mosaic().plot(0), mosaic().plot()
    assert len(both.axes) == 2 * len(one.axes)


def test_training_images_without_credit_are_not_shown() -> None:
    classes = els.ImageSet(DATA.images, torch.tensor([0, 0, 1, 1, 1, 1, 1, 1]))
    machine = els.EquivariantLocalScore(classes, 3)
    axes = els.explain(machine, els.make_noise(1, DATA.shape), 0.8, 3, label=0).plot(0).axes
    assert {a.get_xlabel().split()[0] for a in axes if a.get_xlabel().startswith("#")} == {"#0", "#1"}
    assert sum(a.get_title() == "largest credits" for a in axes) == 1


def test_windows_are_shown_as_far_as_the_image_goes() -> None:
    axes = mosaic(window=5).plot(0, pixel=(0, 9)).axes
    asked = next(a for a in axes if a.get_title() == "query")
    assert shown(asked).shape == (3, 3, 3)


def test_windows_that_wrap_round_are_shown_whole() -> None:
    x = els.make_noise(1, (3, 9, 10))
    found = els.explain(els.EquivariantLocalScore(DATA, 5, "torus"), x, 0.8, 3)
    axes = found.plot(0, pixel=(0, 9)).axes
    titles = [a.get_title() for a in axes]
    corner = x[0].roll((2, -7), (1, 2))[:, :5, :5].clamp(-1, 1)
    expected = ((corner + 1) * 127.5).round().byte().permute(1, 2, 0)
    np.testing.assert_array_equal(shown(axes[titles.index("query")]), expected.numpy())
    row, column = found.positions[0, 0, 9, 0].tolist()
    patch = DATA.images[found.image_ids[0, 0, 9, 0]].roll((2 - row, 2 - column), (1, 2))[:, :5, :5]
    np.testing.assert_array_equal(shown(axes[titles.index("query") + 1]), patch.permute(1, 2, 0).numpy())
    # The window's frame goes on at the opposite edges.
    corners = {patch.get_xy() for patch in axes[0].patches if patch.get_width() == 5}
    assert {(6.5, -2.5), (-3.5, -2.5), (6.5, 6.5), (-3.5, 6.5)} <= corners


@pytest.mark.parametrize(("index", "pixel"), [(2, None), (-1, None), (0, (9, 0)), (0, (0, -1))])
def test_an_image_or_a_pixel_that_is_not_there_is_refused(index: int, pixel: tuple[int, int] | None) -> None:
    with pytest.raises(ValueError, match="must be"):
        mosaic().plot(index, pixel)


def test_a_training_image_has_one_colour_and_plain_ground_none() -> None:
    images = torch.full((3, 1, 6, 6), 255, dtype=torch.uint8)
    images[1, :, ::2], images[2, :, :, ::2] = 0, 0
    data = els.ImageSet(images)
    x = torch.cat([data.scaled()[1:], data.scaled()[:1]]) + 1e-3 * els.make_noise(3, data.shape)
    found = els.explain(els.LocalScore(data, 3), x, 1e-3, 1)
    colours = source_colours(found)
    lit = found.x0[:, 0] > 0.9
    for image, others in ((0, 1), (1, 0)):
        inside = colours[image, :, lit[image]]
        assert torch.allclose(inside, inside[:, :1].expand_as(inside), atol=1e-2)
        assert not torch.allclose(inside[:, 0], colours[others, :, lit[others]][:, 0], atol=0.1)
    assert torch.allclose(colours[2, 0], colours[2, 1], atol=1e-6)


@pytest.mark.parametrize("steps", [1, 3, 9])
def test_the_curve_is_the_median_length_at_each_noise_level(steps: int) -> None:
    machine = els.EquivariantLocalScore(DATA, 5)
    run = els.sample(machine, els.make_noise(3, DATA.shape), els.schedules.cosine(steps), keep=True)
    mosaics = list(els.explain_run(machine, run, 1))
    curve, window = run_figure(mosaics, 1).axes[-1].lines
    np.testing.assert_allclose(curve.get_xdata(), run.sigmas[:-1])
    np.testing.assert_allclose(curve.get_ydata(), [np.median(coherence_length(m)) for m in mosaics])
    assert set(window.get_ydata()) == {5}
