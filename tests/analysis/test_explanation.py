from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from analysis_toys import Blur, few_images

import elsewhere as els
from elsewhere.analysis import coherence_length, explain_images, pearson_r, r_squared


def test_the_last_step_is_the_image_that_was_drawn(tmp_path: Path) -> None:
    data = few_images()
    machine, noise, label = els.EquivariantLocalScore(data, 3), els.make_noise(2, data.shape), torch.tensor([0, 2])
    few, network = els.schedules.cosine(3), Blur(data=data)
    network.num_classes = 3
    found = explain_images(machine, noise, schedule=few, label=label, network=network, top=2, about={"seed": "0"})
    drawn, theirs = (els.sample(d, noise, few, label).images for d in (machine, network))
    assert torch.allclose(found.mosaic.x0, drawn, atol=1e-6)
    assert len(found.mosaics) == 1
    assert found.mosaic.step == 2
    np.testing.assert_allclose(found.agreement["pearson_r"], pearson_r(drawn, theirs), atol=1e-5)
    np.testing.assert_allclose(found.agreement["r_squared"], r_squared(drawn, theirs), atol=1e-5)

    assert [path.name for path in found.save(tmp_path)] == ["explanation.json", "mosaic.png", "explanation.html"]
    content = json.loads((tmp_path / "explanation.json").read_text())
    assert content["settings"]["about"] == {"seed": "0"}
    assert content["settings"]["labels"] == [0, 2]
    for i, image in enumerate(content["images"]):
        shares = {entry["image"]: entry["share"] for entry in image["credits"]}
        assert {n % 3 for n in shares} == {int(label[i])}, "from the class alone"
        assert list(shares.values()) == sorted(shares.values(), reverse=True)
        for n, share in shares.items():
            assert share == float(found.mosaic.credits()[i, n])
        assert sum(shares.values()) + image["others"] == pytest.approx(1, abs=1e-5)
        assert image["pearson_r"] == found.agreement["pearson_r"][i]


def test_every_step_on_request(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    data = few_images(channels=3)
    machine, few = els.LocalScore(data, 3), els.schedules.cosine(2)
    found = explain_images(machine, els.make_noise(1, data.shape), schedule=few, every_step=True)
    assert [mosaic.sigmas[0] for mosaic in found.mosaics] == list(few.sigmas[:-1])
    names = [path.name for path in found.save(tmp_path, parquet=True, json=True)]
    assert names == [
        "explanation.json",
        "mosaic.png",
        "explanation.html",
        "run.png",
        "mosaic.parquet",
        "mosaic.json",
    ]
    rows = json.loads((tmp_path / "mosaic.json").read_text())["rows"]
    assert {(step, sigma) for step, sigma, *_ in rows} == set(enumerate(few.sigmas[:-1]))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    steps = json.loads(found.to_json())["steps"]
    for step, mosaic in zip(steps, found.mosaics, strict=True):
        assert (step["sigma"], step["window"]) == (mosaic.sigmas[0], 3)
        assert step["coherence_length"] == coherence_length(mosaic).tolist()
        assert step["unexplained_by_top"] == [pytest.approx(float(mosaic.unexplained.mean()))]
    header, rows = found.table()
    assert header == ("image", "largest credit", "patch side", "not in the top", "entropy", "of images")
    assert len(rows) == 1


def test_the_chosen_pixel_is_the_one_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = few_images()
    few = els.schedules.cosine(1)
    found = explain_images(els.LocalScore(data, 3), els.make_noise(1, data.shape), schedule=few)
    figures: list[Any] = []

    def keep(path: Path, figure: Any) -> None:
        figures.append(figure)
        path.write_bytes(b"")

    monkeypatch.setattr("elsewhere.analysis.explanation_files.save_figure", keep)
    found.save(tmp_path, pixel=(2, 7))
    asked = next(axes for axes in figures[0].axes if axes.get_title() == "query")
    assert asked.get_xlabel() == "pixel 2, 7"
    with pytest.raises(ValueError, match="pixel must be row,column inside the 9x9 image"):
        found.save(tmp_path / "none", pixel=(2, 9))
    assert not (tmp_path / "none").exists()


def test_what_cannot_be_explained_is_refused_before_anything_is_drawn() -> None:
    data, network = few_images(), Blur()
    with pytest.raises(TypeError, match="machine must be a softmax average"):
        explain_images(network, els.make_noise(1, data.shape))
    with pytest.raises(ValueError, match="top must be"):
        explain_images(els.IdealScore(data), els.make_noise(1, data.shape), network=network, top=0)
    with pytest.raises(ValueError, match="noise is 8x8 pixels, machine was made for 9x9"):
        explain_images(els.IdealScore(data), els.make_noise(1, (1, 8, 8)), network=network)
    assert network.calls == 0
