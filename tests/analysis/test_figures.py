import warnings

import numpy as np

from elsewhere.analysis.figures import agreement_scatter, calibration_heat_map, distance_histogram, window_curves
from elsewhere.machines.locality import LocalitySchedule


def calibrated(cosines):
    sides = [3, 5, 7]
    best = np.nanargmax(cosines, 1)
    details = {"criterion": "cosine", "windows": sides, "cosine": {"mean": cosines}, "tied": [[sides[b]] for b in best]}
    return LocalitySchedule((2.0, 0.5), tuple(sides[b] for b in best), details)


def test_the_heat_map_shows_each_score_against_the_best_of_its_level():
    axes = calibration_heat_map(calibrated([[0.98, 0.99, 0.999], [0.8, 0.7, 0.6]])).axes[0]
    shown = axes.collections[0].get_array()  # windows as rows, levels as columns
    np.testing.assert_allclose(shown, [[20, 1], [10, 1.5], [1, 2]], rtol=1e-9)
    assert axes.lines[0].get_ydata().tolist() == [2, 0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["3", "5", "7"]


def test_a_perfect_match_does_not_break_the_heat_map(tmp_path):
    calibration_heat_map(calibrated([[0.5, 1.0, 0.9], [1.0, 1.0, 1.0]])).savefig(tmp_path / "map.png")


def test_machines_with_the_same_windows_share_a_line():
    one, other = LocalitySchedule((2.0, 0.5), (7, 3)), LocalitySchedule((2.0, 0.5), (5, 3))
    axes = window_curves({"LS": one, "ELS": one, "PC": other}).axes[0]
    assert [line.get_label() for line in axes.lines] == ["LS, ELS", "PC"]
    assert list(axes.lines[0].get_ydata()) == [7, 3]


def test_every_seed_is_a_dot_inside_the_scatter_plot():
    x, y = np.array([-0.35, 0.2, 0.9]), np.array([0.5, 0.1, 1.0])
    axes = agreement_scatter("IS", x, "ELS", y, near=True).axes[0]
    dots = axes.collections[-1].get_offsets()
    np.testing.assert_allclose(dots, np.stack([x, y], 1))
    assert axes.get_xlim()[0] <= x.min()
    assert axes.get_xlim() == axes.get_ylim()
    assert axes.get_title(loc="left") == "ELS is closer on 2 of 3"


def test_seeds_without_r_have_no_dot_and_no_title_says_closer_where_none_is_near():
    x, y = np.array([np.nan, 0.2, 0.9]), np.array([0.5, 0.1, np.nan])
    axes = agreement_scatter("IS", x, "ELS", y, near=False).axes[0]
    np.testing.assert_allclose(axes.collections[-1].get_offsets(), [[0.2, 0.1]])
    assert "closer" not in axes.get_title(loc="left")


def test_undefined_scores_are_gaps_of_the_heat_map():
    axes = calibration_heat_map(calibrated([[0.98, np.nan, 0.999], [0.8, 0.7, 0.6]])).axes[0]
    assert np.isnan(np.ma.filled(axes.collections[0].get_array(), np.nan)).sum() == 1


def test_distances_that_are_all_0_have_an_axis_without_a_warning():
    zero = np.zeros(5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = distance_histogram(zero, zero, 0.0)
    assert figure.axes[0].get_xlim() == (0, 1)
