"""Guidance of machines, networks and functions."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch

import elsewhere as els
from elsewhere.networks import DiffusersNetwork, NetworkSpec, TrainedNetwork
from elsewhere.testing import check_denoiser


@pytest.fixture(scope="module")
def data() -> els.ImageSet:
    return els.load_images("fashion-mini", 60)


def network(**training: Any) -> TrainedNetwork:
    torch.manual_seed(0)
    spec = NetworkSpec("resnet", 1, (28, 28), 10, {"width": 8, "blocks": 1}, training=training)
    return TrainedNetwork(spec.build(), spec)


def x(count: int = 3) -> torch.Tensor:
    return els.make_noise(count, (1, 28, 28))


@pytest.mark.parametrize("kind", ["IS", "LS", "ELS", "network"])
@pytest.mark.parametrize("negative", [None, 2])
def test_it_is_the_formula(data: els.ImageSet, kind: str, negative: int | None) -> None:
    makers = {"IS": lambda: els.IdealScore(data), "LS": lambda: els.LocalScore(data, 7),
              "ELS": lambda: els.EquivariantLocalScore(data, 7),
              "network": lambda: els.load_network("fashion-resnet")}  # fmt: skip
    machine = makers[kind]()
    null, one = machine(x(), 0.8, negative), machine(x(), 0.8, 3)
    found = els.guided(machine, 2.5, 3, negative)(x(), 0.8)
    assert float((one - null).abs().max()) > 1e-3
    assert torch.allclose(found, null + 2.5 * (one - null), atol=1e-5)
    assert torch.equal(els.guided(machine, 0, 3, negative)(x(), 0.8), null)
    assert torch.equal(els.guided(machine, 1, 3, negative)(x(), 0.8), one)


def test_every_image_may_have_a_class_and_a_level_of_its_own(data: els.ImageSet) -> None:
    machine = els.LocalScore(data, 7)
    labels, levels = torch.tensor([0, 1, 2]), torch.tensor([0.5, 1.0, 2.0])
    together = els.guided(machine, 3, labels)(x(), levels)
    for i in range(3):
        alone = els.guided(machine, 3, i)(x()[i : i + 1], float(levels[i]))
        assert torch.allclose(together[i : i + 1], alone, atol=1e-4)


def test_a_guided_machine_is_a_denoiser(data: els.ImageSet) -> None:
    check_denoiser(els.guided(els.LocalScore(data, 5), 2, 1), tolerance=1e-3)


def test_guidance_moves_images_away_from_the_other_classes(data: els.ImageSet) -> None:
    # Trousers against all clothes: the larger the scale, the farther the run is from the unlabelled one.
    machine, noise = els.LocalScore(els.load_images("fashion-mini", 300), 15), x(4)
    ends = [els.sample(els.guided(machine, scale, 1), noise).images for scale in (0.0, 1.0, 3.0)]
    distances = [float((end - ends[0]).square().mean()) for end in ends[1:]]
    assert 0 < distances[0] < distances[1]


def test_functions_of_users_are_asked_with_numbers() -> None:
    def mine(x: torch.Tensor, sigma: float, label: torch.Tensor | None = None) -> torch.Tensor:
        assert isinstance(sigma, float)
        return 0 * x if label is None else 0 * x + label[:, None, None, None] * sigma

    found = els.guided(mine, 2, [1, 2, 4])(x(), 0.5)
    assert torch.equal(found[:, 0, 0, 0], torch.tensor([1.0, 2.0, 4.0]))


def test_it_says_what_it_is(data: els.ImageSet) -> None:
    guided = els.guided(els.IdealScore(data), 2.5, [3, 3], negative=1)
    assert repr(guided) == f"Guided({els.IdealScore(data)!r}, scale=2.5, label=3, negative=1)"


def conditional() -> DiffusersNetwork:
    unet = diffusers.UNet2DModel(8, 1, 1, block_out_channels=(4,), norm_num_groups=2, layers_per_block=1,
        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",), add_attention=False,
        num_class_embeds=4)  # fmt: skip
    return DiffusersNetwork(unet, diffusers.DDPMScheduler())


def test_a_network_without_a_null_class_needs_a_class_to_move_away_from() -> None:
    noise = els.make_noise(2, (1, 8, 8))
    for lacking in (conditional(), network(label_dropout=0.0)):
        with pytest.raises(ValueError, match=r"no null class.*give negative"):
            els.guided(lacking, 2, 1)
    assert els.guided(conditional(), 2, 1, negative=0)(noise, 1.0).shape == noise.shape
    assert els.guided(network(label_dropout=0.1), 2, 1)(x(), 1.0).shape == x().shape


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"scale": -1}, ValueError, "scale must be"),
        ({"scale": float("nan")}, ValueError, "scale must be"),
        ({"label": None}, ValueError, "label=None"),
        ({"label": 10}, ValueError, "label must be in"),
        ({"label": 1.5}, TypeError, "label"),
        ({"label": []}, TypeError, "label must be an integer"),
        ({"label": "one"}, TypeError, "label"),
        ({"negative": -1}, ValueError, "negative must be in"),
        ({"denoiser": 3}, TypeError, "denoiser"),
    ],
)
def test_bad_arguments_are_refused(
    data: els.ImageSet, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        els.guided(**{"denoiser": els.IdealScore(data), "scale": 2, "label": 1, **arguments})


def test_a_set_without_classes_cannot_be_guided() -> None:
    with pytest.raises(ValueError, match="no classes"):
        els.guided(els.IdealScore(els.load_images("pixel-faces", 10)), 2, 0)


def test_labels_of_another_batch_are_refused(data: els.ImageSet) -> None:
    guided = els.guided(els.IdealScore(data), 2, [0, 1])
    with pytest.raises(ValueError, match="x has 3 images"):
        guided(x(), 1.0)
    with pytest.raises(ValueError, match="leave label out"):
        guided(x(2), 1.0, 1)


def test_on_another_device_it_is_the_same_guidance(data: els.ImageSet) -> None:
    machine = els.LocalScore(data, 5)
    there = els.guided(machine, 2.0, 1, 3).to("cpu")
    assert there.denoiser is not machine
    assert torch.equal(there(x(), 1.0), els.guided(machine, 2.0, 1, 3)(x(), 1.0))
    both = els.guided(els.IdealScore(data), 2.0, away=machine)
    assert torch.equal(both.to("cpu")(x(), 1.0), both(x(), 1.0))
    # A function stays where it is.
    assert float(els.guided(lambda x, sigma, label=None: 0 * x, 1, 0).to("cpu")(x(), 1.0).abs().max()) == 0
    with pytest.raises(ValueError, match="cuda:63"):
        els.guided(machine, 2.0, 1).to("cuda:63")


def test_its_denoiser_is_explained_in_its_place(data: els.ImageSet) -> None:
    guided = els.guided(els.LocalScore(data, 5), 2.0, 1)
    with pytest.raises(TypeError, match=r"explain guided\.denoiser, here LocalScore"):
        els.explain(guided, x(1), 1.0)
    assert els.explain(guided.denoiser, x(1), 1.0, label=1).x0.shape == (1, 1, 28, 28)  # type: ignore[arg-type]
