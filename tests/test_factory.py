"""From what a user names to machines, windows and classes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import elsewhere as els
from elsewhere import factory
from elsewhere.machines.locality import published_locality
from elsewhere.machines.table import WINDOWED
from elsewhere.networks import SHIPPED
from elsewhere.networks.resnet import Padding


def images(labels: list[int] | None = None, classes: tuple[str, ...] = ()) -> els.ImageSet:
    count = 6 if labels is None else len(labels)
    pixels = torch.arange(count * 64, dtype=torch.uint8).view(count, 1, 8, 8)
    return els.ImageSet(pixels, None if labels is None else torch.tensor(labels), "toys", classes)


def test_classes_in_turn_leave_out_those_without_images() -> None:
    labels = factory.choose_labels("cycle", 5, images([0, 4, 2, 2]))
    assert labels is not None
    assert labels.tolist() == [0, 2, 4, 0, 2]


def test_a_class_by_name_or_number() -> None:
    data = images([0, 1, 1], ("hat", "shoe"))
    for request in ("1", "shoe"):
        labels = factory.choose_labels(request, 2, data)
        assert labels is not None
        assert labels.tolist() == [1, 1]
    assert factory.choose_labels("none", 2, data) is None
    assert factory.choose_labels(None, 2, data) is None
    with pytest.raises(ValueError, match="choose from hat, shoe, cycle or none"):
        factory.choose_labels("sock", 2, data)


def test_the_window_asked_for_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "windows.json"
    schedule = els.LocalitySchedule((1.0,), (5,))
    schedule.save(path)
    assert factory.choose_window("els", "fashion-resnet", 7, None)[0] == 7
    assert factory.choose_window("els", "fashion-resnet", None, path)[0] == schedule
    assert factory.choose_window("els", None, None, None)[0] == published_locality()
    with pytest.raises(ValueError, match="give one of them"):
        factory.choose_window("els", None, 7, path)


def test_a_tapered_window_is_one_at_every_noise_level() -> None:
    window, words = factory.choose_window("els", None, 7, None, taper=True)
    assert isinstance(window, els.LocalitySchedule)
    assert window.taper
    assert {window(sigma) for sigma in (1e-3, 1.0, 80.0)} == {7}
    assert words.endswith("tapered")
    with pytest.raises(ValueError, match="--taper goes with --window"):
        factory.choose_window("els", "faces-resnet", None, None, taper=True)


def test_windows_that_did_not_come_with_a_network_are_a_clear_error() -> None:
    with pytest.raises(FileNotFoundError, match=r"no calibrated windows .* 'nothing'.*elsewhere calibrate"):
        factory.shipped_locality("nothing")


@pytest.mark.parametrize("network", SHIPPED)
def test_every_shipped_network_has_its_windows(network: str) -> None:
    for machine in WINDOWED:
        schedule, source = factory.choose_window(machine, network, None, None)
        assert isinstance(schedule, els.LocalitySchedule)
        assert network in source
        assert schedule.details["fingerprint"], "says on which images"


@pytest.mark.parametrize(("source", "network"), factory.NETWORK_OF.items())
def test_the_network_of_an_embedded_set_was_trained_on_it(source: str, network: str) -> None:
    assert factory.check_same_images(els.load_network(network), els.load_images(source))


def test_machines_are_named_as_reports_name_them() -> None:
    machines, _ = factory.choose_machines(["els", "is"], images(), None, "wrap", 3)
    assert {name: type(machine) for name, machine in machines.items()} == {
        "ELS": els.EquivariantLocalScore,
        "IS": els.IdealScore,
    }
    with pytest.raises(ValueError, match="has no window"):
        factory.choose_machines(["is"], images(), None, "aware", 3)


def test_borders_are_for_els_and_else_as_the_network_pads() -> None:
    circular = SimpleNamespace(spec=SimpleNamespace(options={"padding": "circular"}))
    assert factory.choose_borders(["is", "els"], "torus") == "torus"
    assert factory.choose_borders(["els"], None) == "aware"
    assert factory.choose_borders(["els"], None, circular) == "wrap"  # type: ignore[arg-type]
    assert factory.choose_borders(["els"], "aware", circular) == "aware"  # type: ignore[arg-type]
    # Also where nobody has any use for them: nothing was asked for.
    assert factory.choose_borders(["is", "ls"], None) == "aware"
    with pytest.raises(ValueError, match="--borders wrap is for els, and here draws is, ls: leave it out"):
        factory.choose_borders(["is", "ls"], "wrap")


@pytest.mark.parametrize("padding", ["zeros", "circular"])
def test_the_options_of_a_network_to_train(padding: Padding) -> None:
    assert factory.network_options("resnet", 8, 2, padding) == {"width": 8, "blocks": 2, "padding": padding}
    if padding == "zeros":
        assert factory.network_options("unet", 8, 2, padding) == {"widths": [8, 8], "layers": 2}
    else:
        with pytest.raises(ValueError, match="--padding circular is for a resnet"):
            factory.network_options("unet", 8, 2, padding)


def test_the_widths_of_the_levels_of_a_unet() -> None:
    options = factory.network_options("unet", 8, 1, "zeros", "4, 8,16")
    assert options == {"widths": [4, 8, 16], "layers": 1}
    with pytest.raises(ValueError, match="--widths 4,8 is for a UNet: a resnet has one --width"):
        factory.network_options("resnet", 8, 1, "zeros", "4,8")
    for text in ("4,,8", "4x8", ""):
        with pytest.raises(ValueError, match="--widths must be numbers with commas between them"):
            factory.network_options("unet", 8, 1, "zeros", text)
