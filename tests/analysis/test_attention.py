"""Locality gaps of denoisers whose locality is known, and the numbers of attention against sums written out."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.networks.toys import random_weights
from torch import Tensor

import elsewhere as els
from elsewhere.analysis.attention_result import KINDS
from elsewhere.networks import NetworkSpec, TrainedNetwork, attention_weights, within_window

SIDE = 8
WINDOWS = [3, 5, 15]
SCHEDULE = els.schedules.cosine(2)


def images(count: int = 12) -> els.ImageSet:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(256, (count, 1, SIDE, SIDE), generator=generator).to(torch.uint8)
    return els.ImageSet(pixels, torch.arange(count) % 2, "toys", ("one", "two"))


def toy(classes: int = 0) -> TrainedNetwork:
    options = {"widths": (8, 16), "normalise": True, "attention": (1, "middle")}
    spec = NetworkSpec("unet", 1, (SIDE, SIDE), classes, options)
    return TrainedNetwork(random_weights(spec.build()), spec)


def report(networks: dict[str, Any], **settings: Any) -> els.AttentionReport:
    return els.attention_report(networks, images(), **{"windows": WINDOWS, "schedule": SCHEDULE, "count": 4} | settings)


@pytest.fixture(scope="module")
def found() -> els.AttentionReport:
    data = images()
    return report({"UNet": toy(), "ELS": els.EquivariantLocalScore(data, 5), "IS": els.IdealScore(data)})


@pytest.mark.parametrize("kind", ["image", "noise"])
def test_a_machine_is_local_from_its_own_window_on(found: els.AttentionReport, kind: str) -> None:
    gap = found.network("ELS").rms(kind)
    # Up to the order of sums in float32: the images of a batch are weighed together.
    np.testing.assert_allclose(gap[:, 1:], 0, atol=1e-5)
    assert (gap[:, 0] > 1e-3).any()


@pytest.mark.parametrize("kind", ["image", "noise"])
@pytest.mark.parametrize("name", ["UNet", "IS"])
def test_a_window_that_covers_the_image_leaves_no_gap(found: els.AttentionReport, kind: str, name: str) -> None:
    gap = found.network(name).rms(kind)
    np.testing.assert_allclose(gap[:, -1], 0, atol=1e-5)
    assert (gap[:, 0] > 1e-3).any()


def test_the_gap_of_a_known_denoiser_is_its_formula() -> None:
    """D(x) = the mean of all pixels. Exchanged are all pixels outside the window by those of another image."""

    def mean(x: Tensor, sigma: float, label: object = None) -> Tensor:
        return x.mean((1, 2, 3), keepdim=True).expand_as(x)

    data = els.ImageSet(torch.tensor([0, 255], dtype=torch.uint8).repeat_interleave(64).view(2, 1, 8, 8), None, "two")
    many = els.ImageSet(data.images.repeat(100, 1, 1, 1), None, "two hundred")
    found = els.attention_report(
        {"mean": mean}, many, windows=[1], schedule=els.schedules.karras(1, 1e-3, 1e-2), count=100
    )
    # Half of the pairs differ by 2 at 63 of 64 pixels; the noise at the lowest level adds nothing that shows.
    expected = 2 * 63 / 64 * math.sqrt(0.5)
    assert float(found.network("mean").rms("image")[0, 0]) == pytest.approx(expected, rel=0.15)  # 100 pairs by chance
    assert float(found.network("mean").rms("noise")[0, 0]) < 0.01


def test_the_masked_gap_is_that_of_the_network_held_to_the_window(found: els.AttentionReport) -> None:
    network, seen = toy(), []

    def spy(x: Tensor, sigma: float, label: object = None) -> Tensor:
        seen.append(x.clone())
        return x

    report({"spy": spy}, windows=[3])
    x = seen[0]  # the noisy images at the first level
    apart = network(x, SCHEDULE.sigmas[0]) - within_window(network, 3)(x, SCHEDULE.sigmas[0])
    expected = apart.double().square().mean((1, 2, 3)).numpy()
    np.testing.assert_allclose(found.network("UNet").gaps["masked"][0, 0], expected, rtol=1e-4, atol=1e-12)
    assert set(found.network("IS").gaps) == {"image", "noise"}


def test_distances_and_shares_are_sums_over_the_weights(found: els.AttentionReport) -> None:
    seen = []

    def spy(x: Tensor, sigma: float, label: object = None) -> Tensor:
        seen.append(x.clone())
        return x

    report({"spy": spy}, windows=[3])
    weights = attention_weights(toy(), seen[0], SCHEDULE.sigmas[0])
    for layer in found.network("UNet").layers:
        rows, columns = layer.grid
        block, some = SIDE / rows, weights[layer.name]
        distance, beyond = torch.zeros(some.shape[1]), torch.zeros(some.shape[1])
        for i in range(rows * columns):
            for j in range(rows * columns):
                down, across = block * (i // columns - j // columns), block * (i % columns - j % columns)
                distance += some[:, :, i, j].mean(0) * math.hypot(down, across) / (rows * columns)
                beyond += some[:, :, i, j].mean(0) * (max(abs(down), abs(across)) > 1) / (rows * columns)
        np.testing.assert_allclose(layer.distance[0], distance.numpy(), rtol=1e-4)
        np.testing.assert_allclose(layer.beyond[0, 0], beyond.numpy(), rtol=1e-4)
        assert layer.where[0, 0].mean() == pytest.approx(layer.beyond[0, 0].mean())
        assert not layer.beyond[:, -1].any()


def test_equal_weights_have_the_distance_that_is_drawn_as_a_dashed_line() -> None:
    network = toy()
    for name, value in network.module.named_parameters():
        if ".to_q." in name:
            value.zero_()
    for layer in report({"flat": network}).network("flat").layers:
        np.testing.assert_allclose(layer.distance, layer.uniform_distance, rtol=1e-5)
        np.testing.assert_allclose(
            layer.beyond[0].T, np.tile(layer.uniform_beyond, (layer.beyond.shape[2], 1)), atol=1e-6
        )


def test_networks_with_classes_are_asked_about_the_class_of_each_image() -> None:
    asked = []

    class Spy:
        num_classes = 2

        def __call__(self, x: Tensor, sigma: float, label: Any = None) -> Tensor:
            asked.append((len(x), label))
            return x

    report({"spy": Spy()}, windows=[3])
    assert all(label is not None and len(label) == size for size, label in asked)
    assert report({"UNet": toy(classes=2)}, windows=[3]).network("UNet").layers


def test_the_same_seed_gives_the_same_numbers() -> None:
    one, same, other = (report({"UNet": toy()}, windows=[3], seed=seed).to_csv() for seed in (0, 0, 1))
    assert one == same
    assert one != other


def test_a_report_is_written_and_read_again(found: els.AttentionReport, tmp_path: Path) -> None:
    found.save(tmp_path)
    names = {"results.json", "results.csv", "report.html", "gap.png", "attention.png", "where.png"}
    assert {path.name for path in tmp_path.iterdir()} == names
    again = els.AttentionReport.load(tmp_path)
    assert repr(again) == repr(found)
    assert again.settings == json.loads(json.dumps(found.settings))
    for network in found.networks:
        read = again.network(network.name)
        for kind in network.gaps:
            np.testing.assert_allclose(read.gaps[kind], network.gaps[kind], rtol=1e-5)
        for layer, same in zip(network.layers, read.layers, strict=True):
            np.testing.assert_allclose(same.where, layer.where, rtol=1e-5)
            np.testing.assert_allclose(same.distance, layer.distance, rtol=1e-5)
    page = (tmp_path / "report.html").read_text()
    assert "UNet" in page
    assert "IS: another image outside 5 x 5 pixels" in page


def test_without_attention_there_is_no_figure_of_it(tmp_path: Path) -> None:
    report({"IS": els.IdealScore(images())}).save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "results.csv", "report.html", "gap.png"}


def test_tables_have_a_row_for_each_denoiser_level_and_window(found: els.AttentionReport) -> None:
    table = found.table()
    assert len(table) == 3 * 2 * 3
    first = table[0]
    assert first["gap_image"] == pytest.approx(math.sqrt(found.network("UNet").gaps["image"][0, 0].mean()))
    assert {row["gap_masked"] for row in table if row["network"] == "IS"} == {None}
    summary = found.summary()[0]
    squares = found.network("UNet").gaps["noise"][:, 0].mean(1)
    assert summary["gap_noise"] == pytest.approx(math.sqrt(squares.mean()))
    assert np.isnan(found.network("IS").error("masked")).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"windows": [4]}, "windows must be odd sides of 1 pixel or more, got 4"),
        ({"windows": []}, "one or more odd sides"),
        ({"windows": [3, 3]}, "each once"),
        ({"count": 7}, "at most half of 12 images of toys"),
        ({"count": 1}, "count must be 2 or more"),
        ({"pixels": 0}, "pixels must be 1 or more"),
        ({"networks": {}}, "networks is empty"),
        (
            {"networks": {"resnet": els.EquivariantLocalScore(els.ImageSet(torch.zeros(2, 3, 8, 8).byte()), 3)}},
            "channel",
        ),
    ],
)
def test_bad_input_is_refused(settings: dict[str, Any], message: str) -> None:
    networks = settings.pop("networks", {"IS": els.IdealScore(images())})
    with pytest.raises(ValueError, match=message):
        report(networks, **settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(format="other"), '"format" is "other"'),
        (lambda content: content["networks"][0].pop("spread"), 'has no "spread"'),
        (lambda content: content["windows"].pop(), "do not fit 2 noise levels and 2 windows"),
        (lambda content: content["networks"][0]["gaps"].update(image="no"), "is no attention report"),
        (lambda content: content["networks"][0]["layers"][0].update(grid=[1, 1]), "does not fit its grid"),
    ],
)
def test_another_file_is_refused(found: els.AttentionReport, tmp_path: Path, change: Any, message: str) -> None:
    content = json.loads(found.to_json())
    change(content)
    (tmp_path / "results.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        els.AttentionReport.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        els.AttentionReport.load(tmp_path / "nowhere")


def test_every_kind_of_gap_has_a_title() -> None:
    from elsewhere.analysis.attention_result import TITLES

    assert tuple(TITLES) == KINDS
