"""A small world for the commands: images, networks, and files that are wrong in one way each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import elsewhere as els
from elsewhere.networks import NetworkSpec, save_network
from tests.cli.typing_lines import SIDE


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small images, networks that fit them or do not, and files that are wrong in one way each."""
    home = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, SIDE, SIDE), dtype=np.uint8)
    labels = np.arange(12) % 3
    paths = {name: home / name for name in ("data.npz", "other.npz", "plain.npz", "colour.npz", "one.png", "text.txt")}
    np.savez(paths["data.npz"], images=images, labels=labels)
    np.savez(paths["other.npz"], images=images[::-1], labels=labels)
    np.savez(paths["plain.npz"], images=images)
    np.savez(paths["colour.npz"], images=rng.integers(0, 256, (4, SIDE, SIDE, 3), dtype=np.uint8))
    Image.fromarray(images[0]).save(paths["one.png"])
    paths["text.txt"].write_text("no image\n")
    photos = home / "photos"
    for name in ("cats", "dogs"):
        (photos / name).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(images[i]).resize((10 + i, 12)).save(photos / name / f"{i}.png")
    broken = home / "broken"
    broken.mkdir()
    (broken / "a.png").write_bytes(b"not a picture")
    (home / "empty").mkdir()

    data = els.load_images(paths["data.npz"])
    networks = {}
    for name, padding in (("net", "zeros"), ("circular", "circular")):
        spec = NetworkSpec(
            "resnet", 1, (SIDE, SIDE), 3, {"width": 4, "blocks": 1, "padding": padding}, data.name, data.fingerprint()
        )
        torch.manual_seed(0)
        module = spec.build()
        torch.nn.init.normal_(module.leave.weight, std=0.1)  # type: ignore[union-attr,arg-type]
        networks[name] = home / f"{name}.safetensors"
        save_network(networks[name], module, spec)
    els.LocalitySchedule((10.0, 1.0, 0.1), (7, 5, 3)).save(home / "windows.json")
    (home / "even.json").write_text(
        json.dumps({"format": "elsewhere.locality/1", "sigmas": [10, 1], "windows": [4, 3], "details": {}})
    )
    return {
        **{name.split(".")[0]: path for name, path in paths.items()},
        **networks,
        "photos": photos,
        "broken": broken,
        "empty": home / "empty",
        "windows": home / "windows.json",
        "even": home / "even.json",
        "missing": home / "missing",
    }


@pytest.fixture
def everything_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    from elsewhere import results
    from elsewhere.engine import planner
    from elsewhere.engine.search import cache

    monkeypatch.setattr(planner, "SEARCH_PLACES", 100)
    monkeypatch.setattr(planner, "SEARCH_PLACES_A_NUMBER", 0)
    monkeypatch.setattr(cache, "WORTH_KEEPING", 120)
    monkeypatch.setattr(results, "WORTH_KEEPING", 120)
