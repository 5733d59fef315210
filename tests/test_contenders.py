"""From names to denoisers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import elsewhere as els
from elsewhere.contenders import choose_contenders, split_contenders
from elsewhere.files import json_text
from elsewhere.machines import table


def test_networks_stand_beside_machines_in_a_list() -> None:
    assert split_contenders("ELS, network:fashion-unet,is") == ["els", "network:fashion-unet", "is"]
    assert split_contenders("network:runs/A") == ["network:runs/A"]
    assert split_contenders("best,all,network") == ["best", *table.NAMES, "network"]
    for text in ("network:", "network:a,network:a", "els,els", "all,is", "", "networks:a"):
        with pytest.raises(ValueError, match="--machines must"):
            split_contenders(text)


def test_a_command_that_takes_one_name_takes_each_of_them() -> None:
    for name in (*table.NAMES, "best", "network", "network:a"):
        assert split_contenders(name.upper().replace(":A", ":a"), "--machine") == [name]
    for text in ("is,ls", "all", "", "x"):
        with pytest.raises(
            ValueError, match=r"--machine must be one name of is, .*, best, network and network:NAME, got"
        ):
            split_contenders(text, "--machine")


def test_what_a_command_cannot_take_is_refused_with_its_reason() -> None:
    for text in ("is,network", "network"):
        with pytest.raises(ValueError, match=r"^--machines network: because$"):
            split_contenders(text, refused={"network": "because"})
    assert split_contenders("network:a", refused={"network": "because"}) == ["network:a"]
    with pytest.raises(ValueError, match=r"^--machines network:a: because$"):
        split_contenders("network:a", refused={"network:": "because"})


def test_every_name_becomes_a_denoiser_under_its_name_in_reports() -> None:
    data = els.load_images("hands", 20)
    names = [*table.NAMES, "best", "network", "network:faces-resnet"]
    found = choose_contenders(names[:-1], data, "hands-resnet", any_data=True)
    titles = [*(table.TABLE[name].report_name for name in table.NAMES), "Best", "network"]
    assert list(found.denoisers) == titles
    x = els.make_noise(1, data.shape)
    family = els.shipped_family("hands-resnet")
    assert torch.equal(found.denoisers["Best"](x, 1.0), family.machine(data)(x, 1.0))
    assert found.family == family
    with pytest.raises(ValueError, match="colour"):
        choose_contenders(names[-1:], data)
    with pytest.raises(ValueError, match="trained on hands"):
        choose_contenders(["network:hands-resnet"], data)


def test_the_settings_of_the_calibrated_machine_can_be_read_from_a_result(tmp_path: Path) -> None:
    data = els.load_images("hands", 20)
    one = els.FamilyCalibration((1.0,), (els.PatchSettings(5, response=3),), (0.25,), 0.2, {"kept": "all"})
    one.save(tmp_path / "best.json")
    found = choose_contenders(["best"], data, family=tmp_path / "best.json")
    about = found.about()
    assert str(tmp_path) in about["windows"]
    for content in ({**about}, {"settings": about}, {"settings": {"about": about}}):
        path = tmp_path / "run.json"
        path.write_text(json_text({"format": "elsewhere.run/1", **content}))
        assert els.FamilyCalibration.load(path) == one


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["best"], {"window": 3}, "the calibrated machine has no windows"),
        (["network:hands-resnet"], {"borders": "wrap"}, "trained networks have no windows"),
        (["wiener"], {"window": 3}, "has no window"),
        (["is"], {"family": Path("a.json")}, "--family goes with the machine best"),
        (["network"], {}, "needs --network"),
        (["best"], {"network": "runs/mine"}, "no calibrated family came with the network 'runs/mine'"),
    ],
)
def test_options_that_no_name_takes_are_refused(names: list[str], options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        choose_contenders(names, els.load_images("hands", 20), any_data=True, **options)
