"""A mix is the convex sum of what its denoisers say, with the shares of the nearest noise level."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import elsewhere as els
from elsewhere.machines.mixing import Mix, MixSchedule
from elsewhere.testing import PROPERTIES, check_denoiser


def images(channels: int = 1, count: int = 12, side: int = 6) -> els.ImageSet:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (count, channels, side, side), generator=generator, dtype=torch.uint8)
    return els.ImageSet(pixels, torch.arange(count) % 3, "toys")


DATA = images()
TWO = els.ImageSet(DATA.images, torch.arange(12) % 2)
NOISE = els.make_noise(3, DATA.shape)
PARTS = {"IS": els.IdealScore(DATA), "LS": els.LocalScore(DATA, 3), "half": lambda x, sigma, label=None: x / 2}
SCHEDULE = MixSchedule((10.0, 1.0, 0.1), ({"IS": 1.0}, {"IS": 0.25, "LS": 0.5, "half": 0.25}, {"LS": 1, "half": 0.0}))


def by_hand(x: Tensor, sigma: float, label: Any = None) -> Tensor:
    """The definition, level by level."""
    row = {10.0: (1, 0, 0), 1.0: (0.25, 0.5, 0.25), 0.1: (0, 1, 0)}
    nearest = min(row, key=lambda level: abs(np.log(level / sigma)))
    total = torch.zeros_like(x, dtype=torch.float64)
    for share, part in zip(row[nearest], PARTS.values(), strict=True):
        total += share * part(x.double(), sigma, label)  # type: ignore[operator]
    return total


@pytest.mark.parametrize("sigma", [50.0, 4.0, 3.0, 1.0, 0.35, 0.25, 0.01])
@pytest.mark.parametrize("label", [None, 1])
def test_the_answer_is_the_sum_of_the_definition(sigma: float, label: int | None) -> None:
    mixed = els.mix(PARTS, SCHEDULE)
    x = DATA.scaled()[:3].double() + sigma * NOISE
    torch.testing.assert_close(mixed(x, sigma, label), by_hand(x, sigma, label), atol=1e-12, rtol=0)
    # Float32 rounds at 6e-8, times pixels up to 200 at the highest level.
    torch.testing.assert_close(mixed(x.float(), sigma, label).double(), by_hand(x, sigma, label), atol=2e-4, rtol=1e-5)


def test_every_image_of_a_batch_has_the_shares_of_its_own_level() -> None:
    mixed, levels = els.mix(PARTS, SCHEDULE), (10.0, 0.1, 1.0)
    found = mixed(NOISE.double(), torch.tensor(levels, dtype=torch.float64), torch.tensor([2, 0, 1]))
    for i, sigma in enumerate(levels):
        alone = by_hand(NOISE[i : i + 1].double(), sigma, [2, 0, 1][i])
        torch.testing.assert_close(found[i : i + 1], alone, atol=1e-12, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_mix_has_the_properties_of_a_denoiser(channels: int) -> None:
    data = images(channels)
    mixed = els.mix({"IS": els.IdealScore(data), "LS": els.LocalScore(data, 3)}, {"IS": 0.3, "LS": 0.7})
    assert check_denoiser(mixed, channels, (6, 6), num_classes=3) == tuple(PROPERTIES)


def test_functions_alone_take_images_of_any_channels() -> None:
    mixed = els.mix({"half": PARTS["half"], "zero": lambda x, sigma, label=None: 0 * x}, {"half": 0.5, "zero": 0.5})
    for channels in (1, 3, 5):
        x = els.make_noise(2, (channels, 4, 4))
        torch.testing.assert_close(mixed(x, 1.0), x / 4)
        np.testing.assert_allclose(mixed(x.numpy(), 1.0), x.numpy() / 4)
    assert (mixed.channels, mixed.size, mixed.num_classes, mixed.data) == (None, None, 0, None)


def test_a_denoiser_with_the_share_0_is_not_asked() -> None:
    asked: list[float] = []

    def counted(x: Tensor, sigma: float, label: Any = None) -> Tensor:
        asked.append(sigma)
        return x

    chosen = MixSchedule((10.0, 0.1), ({"IS": 1, "counted": 0}, {"counted": 1.0}))
    mixed = els.mix({"IS": PARTS["IS"], "counted": counted}, chosen)
    torch.testing.assert_close(mixed(NOISE, 5.0), PARTS["IS"](NOISE, 5.0), atol=0, rtol=0)
    assert asked == []
    assert torch.equal(mixed(NOISE, 0.2), NOISE)
    assert asked == [0.2]
    assert (mixed.shares_at(5.0), mixed.shares_at(0.2)) == ({"IS": 1}, {"counted": 1.0})


def test_the_gradient_is_the_sum_of_the_gradients() -> None:
    mixed = els.mix(PARTS, SCHEDULE)

    def pulled(denoiser: Any) -> Tensor:
        x = NOISE.double().requires_grad_()
        (found,) = torch.autograd.grad(denoiser(x, 1.0)[:, :, 2, 3].sum(), x)
        return found

    expected = sum(share * pulled(PARTS[name]) for name, share in SCHEDULE(1.0).items())
    torch.testing.assert_close(pulled(mixed), expected, atol=1e-10, rtol=0)


def test_a_mix_knows_the_images_of_its_machines() -> None:
    mixed = els.mix(PARTS, SCHEDULE)
    assert mixed.data is DATA
    assert (mixed.channels, mixed.num_classes) == (1, 3)
    unlike = els.mix({"IS": PARTS["IS"], "other": els.IdealScore(images())}, {"IS": 0.5, "other": 0.5})
    assert unlike.data is None


def test_a_part_without_classes_leaves_a_mix_without_classes() -> None:
    floats = els.IdealScore(DATA.scaled())
    mixed = els.mix({"IS": PARTS["IS"], "floats": floats}, {"IS": 0.5, "floats": 0.5})
    assert mixed.num_classes == 0
    with pytest.raises(ValueError, match="has no classes: leave label out"):
        mixed(NOISE, 1.0, 1)


def test_the_repr_says_what_is_mixed() -> None:
    text = repr(els.mix({"IS": PARTS["IS"], "LS": PARTS["LS"]}, {"IS": 0.25, "LS": 0.75}))
    assert text.startswith("Mix(IS=IdealScore(")
    assert text.endswith("; 0.25 IS, 0.75 LS)")
    assert repr(els.mix(PARTS, SCHEDULE)).endswith("; shares for 3 noise levels)")


def test_a_mix_is_drawn_from_and_compared_like_a_machine() -> None:
    steps = els.schedules.cosine(3)
    mixed = els.mix({"IS": PARTS["IS"], "LS": PARTS["LS"]}, {"IS": 0.5, "LS": 0.5})
    found = els.compare({"mix": mixed}, PARTS["LS"], NOISE, schedule=steps, label=1)
    torch.testing.assert_close(found.images["mix"], els.sample(mixed, NOISE, steps, label=1).images)
    assert "mix" in found.nearest


@pytest.mark.parametrize(
    ("parts", "shares", "message"),
    [
        ({}, {"IS": 1.0}, "denoisers is empty: give one or more"),
        (PARTS, {}, "shares is empty: give every denoiser its share"),
        ({"IS": PARTS["IS"]}, {"IS": 0.5}, "shares must sum to 1 within 1e-06, got 0.5 = 0.5: divide by the sum"),
        ({"IS": PARTS["IS"]}, {"IS": 1.00001}, "shares must sum to 1"),
        ({"IS": PARTS["IS"], "LS": PARTS["LS"]}, {"IS": -0.5, "LS": 1.5}, r"shares\['IS'\] must be 0 or more"),
        ({"IS": PARTS["IS"]}, {"IS": 0.5, "els": 0.5}, "shares are given for els, but denoisers has only IS"),
        (PARTS, {"IS": 0.5, "LS": 0.5}, "shares has none for half: give a share, or leave half out"),
        ({"IS": PARTS["IS"]}, {"IS": 0.5, " ": 0.5}, "shares needs names other than ''"),
        ({"IS": PARTS["IS"], "colour": els.IdealScore(images(3))}, {"IS": 0.5, "colour": 0.5},
         "the same channels, got 1 of IS and 3 of colour"),
        ({"IS": PARTS["IS"], "large": els.IdealScore(images(side=7))}, {"IS": 0.5, "large": 0.5},
         r"the same size, got \(6, 6\) of IS and \(7, 7\) of large"),
        ({"IS": PARTS["IS"], "two": els.IdealScore(TWO)}, {"IS": 0.5, "two": 0.5},
         "the same num_classes, got 3 of IS and 2 of two"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(parts: Any, shares: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        els.mix(parts, shares)


@pytest.mark.parametrize("shares", [None, 0.5, {"IS": "all"}, {1: 1.0}, {"IS": float("nan")}])
def test_shares_of_another_kind_are_refused(shares: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="shares"):
        els.mix({"IS": PARTS["IS"]}, shares)


def test_rounded_shares_are_taken() -> None:
    assert els.mix({"IS": PARTS["IS"], "LS": PARTS["LS"]}, {"IS": 0.333333, "LS": 0.666666}).shares_at(1.0)


def test_an_answer_of_another_shape_names_the_denoiser() -> None:
    mixed = els.mix({"IS": PARTS["IS"], "cut": lambda x, sigma, label=None: x[:1]}, {"IS": 0.5, "cut": 0.5})
    with pytest.raises(ValueError, match="cut returned shape"):
        mixed(NOISE, 1.0)


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    kept = MixSchedule(SCHEDULE.sigmas, SCHEDULE.shares, {"network": "toy"})
    kept.save(tmp_path / "mix.json")
    again = MixSchedule.load(tmp_path / "mix.json")
    assert again == kept == SCHEDULE
    assert again.details == {"network": "toy"}
    assert json.loads((tmp_path / "mix.json").read_text())["shares"][0] == {"IS": 1.0}
    assert isinstance(Mix(PARTS, again), Mix)


@pytest.mark.parametrize(
    ("sigmas", "shares", "message"),
    [
        ((), (), "must have one length, 1 or more, got 0 sigmas and 0 shares"),
        ((1.0, 0.5), ({"a": 1.0},), "got 2 sigmas and 1 shares"),
        ((1.0, 2.0), ({"a": 1.0}, {"a": 1.0}), "sigmas must decrease strictly"),
        ((1.0, 0.5), ({"a": 1.0}, {"a": 0.9}), r"shares\[1\] must sum to 1"),
        ((1.0,), ({"a": 2.0, "b": -1.0},), r"shares\[0\]\['b'\] must be 0 or more"),
        ((0.0,), ({"a": 1.0},), "must be positive"),
    ],
)
def test_bad_schedules_are_refused(sigmas: Any, shares: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MixSchedule(sigmas, shares)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "elsewhere.mix/1", "sigmas": [1]}', "\x00",
                                  '{"format": "elsewhere.mix/1", "sigmas": [1], "shares": 3}'])  # fmt: skip
def test_a_file_of_another_kind_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(ValueError, match=r"other\.json is not a mix schedule"):
        MixSchedule.load(tmp_path / "other.json")
    with pytest.raises(FileNotFoundError, match=r"no mix schedule at .*gone\.json"):
        MixSchedule.load(tmp_path / "gone.json")
