"""Warnings point to the line that the user wrote; what they say of other images and other scales."""

from __future__ import annotations

import warnings

import pytest
import torch

import elsewhere as els
from elsewhere.factory import check_same_images
from elsewhere.networks import TrainedNetwork
from elsewhere.networks.trained import NetworkSpec
from tests.analysis.analysis_toys import few_images

FEW = els.schedules.cosine(2)


def network_of(data: els.ImageSet) -> TrainedNetwork:
    channels, *size = data.shape
    options = {"width": 4, "blocks": 1}
    spec = NetworkSpec("resnet", channels, tuple(size), 0, options, data.name, data.fingerprint())  # type: ignore[arg-type]
    torch.manual_seed(0)
    return TrainedNetwork(spec.build(), spec)


def test_warnings_point_to_the_line_that_called_the_package() -> None:
    data = few_images()
    machines = {"IS": els.IdealScore(data)}
    with pytest.warns(UserWarning, match="trained on other images") as told:
        els.compare(machines, network_of(few_images(seed=1)), els.make_noise(1, data.shape), schedule=FEW)
    assert {warning.filename for warning in told} == {__file__}


def test_another_training_set_is_told_before_the_network_draws() -> None:
    data = few_images()
    network, noise = network_of(few_images(seed=1)), els.make_noise(1, data.shape)
    machine = els.LocalScore(data, 3)
    network.predict = None  # type: ignore[method-assign, assignment]
    for ask in (
        lambda: els.compare({"LS": machine}, network, noise, schedule=FEW),
        lambda: els.calibrate(machine, network, noise, schedule=FEW, windows=[3]),
    ):
        with pytest.warns(UserWarning, match="trained on other images"), pytest.raises(TypeError, match="NoneType"):
            ask()


def test_the_right_training_set_is_no_reason_to_warn() -> None:
    data = few_images()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        els.compare({"IS": els.IdealScore(data)}, network_of(data), els.make_noise(1, data.shape), schedule=FEW)
    assert not [warning for warning in told if "other images" in str(warning.message)]


@pytest.mark.parametrize(
    ("changed", "remedy"),
    [
        (few_images(side=8), r"its training images, of 9x9 pixels, not 8x8 \(--size 9\?\), or --any-data"),
        (few_images().take(5), r"\(these are only the first 5 of 12 images: leave out --limit\?\), or --any-data"),
        (few_images(seed=1), r"give its training images, or --any-data"),
    ],
)
def test_the_difference_from_the_training_images_is_named(changed: els.ImageSet, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        check_same_images(network_of(few_images()), changed)


def test_copies_in_another_range_are_not_missed_without_a_word() -> None:
    """Black as 0 makes another picture of every copy: nothing would be found."""
    data = els.load_images("fashion-mini", limit=50)
    copies = data.scaled()[:2]
    with pytest.warns(UserWarning, match=r"generated has no value below 0.*2 \* generated - 1") as told:
        found = els.audit(data, (copies + 1) / 2, pixels=0, null=10)
    assert found.verdicts == ("no copy", "no copy")
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert els.audit(data, copies, pixels=0, null=10).verdicts == ("copy", "copy")
        bright = els.ImageSet(data.images // 2 + 128)
        assert els.audit(bright, bright.scaled()[:2], pixels=0, null=10).verdicts == ("copy", "copy")
