from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import elsewhere as els
from elsewhere.anomalies import Anomalies, Point, Subject, measure
from elsewhere.anomalies.figures import counted_grid, rates_figure, save_pictures
from tests.anomalies.lab_toys import SCHEDULE, SUBJECT, count_bright, scripted, toy_data

pytest.importorskip("skimage")
NOISE = els.make_noise(10, (1, 8, 8))
INF = float("inf")


def result_in(out: Path) -> Anomalies:
    points = [
        scripted("network", [2, 3] * 5, NOISE, machine="network"),
        scripted("LS 3", [3] * 10, NOISE, machine="LS", late=3, shrink=INF),
        scripted("LS 5", [3] * 7 + [2] * 3, NOISE, machine="LS", late=5, shrink=INF),
        scripted("LS 9", [2] * 10, NOISE, machine="LS", late=9, shrink=INF),
        scripted("LS 9 to 3 at 1", [3] * 5 + [2] * 5, NOISE, machine="LS", late=3, shrink=1.0),
        scripted("LS 9 to 5 at 1", [3] * 4 + [2] * 6, NOISE, machine="LS", late=5, shrink=1.0),
    ]
    return measure(SUBJECT, points, toy_data(), out, schedule=SCHEDULE)


def test_the_curves_show_the_rates_that_were_measured(tmp_path: Path) -> None:
    figure = rates_figure(result_in(tmp_path))
    (axes,) = figure.axes
    shares = {c.get_label(): c.lines[0].get_ydata().tolist() for c in axes.containers}
    assert shares == {
        "late window 3 x 3, n = 10": [1.0, 0.5],
        "late window 5 x 5, n = 10": [0.7, 0.4],
        "late window 9 x 9, n = 10": [0.0],
    }
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["from the\nbeginning", "1", "never\n(9 x 9)"]
    network = next(line for line in axes.lines if str(line.get_label()).startswith("network"))
    assert network.get_ydata()[0] == 0.5


def test_the_grid_has_a_column_for_each_drawer_that_it_shows(tmp_path: Path) -> None:
    result = result_in(tmp_path)
    picture = counted_grid(tmp_path, result, rows=4)
    taller = counted_grid(tmp_path, result, rows=8)
    # Network, the smallest late window always and from 1 on, and the large window: not those in between.
    assert picture.width == 12 + 4 * (96 + 12)
    assert taller.height > 1.7 * picture.height


def test_pictures_are_written_whole(tmp_path: Path) -> None:
    result = result_in(tmp_path)
    files = save_pictures(tmp_path, result)
    assert [path.name for path in files] == ["rates.png", "grid.png", "report.html"]
    for path in files[:2]:
        assert Image.open(path).width > 300


def test_without_shrinking_there_is_no_curve_and_with_extra_fingers_there_are_origins(tmp_path: Path) -> None:
    data = els.load_images("hands", 3)
    # Everything counts as a hand of too many fingers: where its tips came from is shown.
    subject = Subject("fingers", "hands", None, "none", 0, lambda images: count_bright(images) + 1)
    point = Point("ELS fitted", "ELS", els.EquivariantLocalScore(data, 31), 1)
    result = measure(subject, [point], data, tmp_path, schedule=els.schedules.cosine(2))
    assert [path.name for path in save_pictures(tmp_path, result)] == ["grid.png", "origins.png", "report.html"]
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png") == 2
    assert f'"title": "ELS fitted, seed 0: {result.counts["ELS fitted"][0]} fingers"' in page
    assert np.asarray(Image.open(tmp_path / "origins.png")).std() > 10
