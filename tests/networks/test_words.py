"""Networks with words: the layer that takes them, networks bound to an embedding, and trainings on captions."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import elsewhere as els
from elsewhere.data import ImageSet
from elsewhere.networks import (
    NetworkSpec,
    TrainedNetwork,
    TrainSettings,
    base,
    load_network,
    read_network,
    train,
    training,
)
from elsewhere.networks.resnet import ResNet
from elsewhere.networks.train_settings import draw_batch
from elsewhere.networks.trained import DESCRIPTION, save_network
from elsewhere.networks.training import CARD, NETWORK, SAMPLES
from elsewhere.networks.unet import UNet
from elsewhere.networks.words import WordEmbedding
from elsewhere.tensor_files import write_tensors
from elsewhere.testing import check_denoiser
from tests.networks.test_training import TINY, same, stop_after, weights
from tests.networks.toys import random_weights

WIDTH = 5
RESNET = NetworkSpec("resnet", 1, (6, 6), 0, {"width": 4, "blocks": 1}, "toys", text_model="letters", text_width=WIDTH)
UNET = replace(RESNET, kind="unet", options={"widths": [4, 4]})
BOTH = pytest.mark.parametrize("spec", [RESNET, UNET], ids=["resnet", "unet"])
SETTINGS = replace(TINY, text_model="letters")


class Letters:
    """An encoder without a model: a direction for every text, drawn from its letters."""

    name, width = "letters", WIDTH

    def encode(self, texts: Any) -> Tensor:
        generators = [torch.Generator().manual_seed(sum(map(ord, text))) for text in texts]
        return torch.nn.functional.normalize(torch.stack([torch.randn(WIDTH, generator=g) for g in generators]), dim=1)

    encoded = encode


@pytest.fixture(autouse=True)
def _letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "load_encoder", lambda model: Letters())
    monkeypatch.setattr(training, "save_loss_plot", lambda path, lines: None)


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_save_samples", lambda path, network, spec, data: None)


def captioned(captions: tuple[str, ...] | None = ("a cat", "a dog", "a bus", "")) -> ImageSet:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (4, 1, 6, 6), dtype=torch.uint8, generator=generator)
    return ImageSet(images, torch.arange(4) % 2, "toys", captions=captions)


def trained(spec: NetworkSpec) -> TrainedNetwork:
    return TrainedNetwork(random_weights(spec.build()), spec)


def test_words_are_a_linear_layer_and_rows_of_zeros_the_learnt_vector() -> None:
    layer = random_weights(WordEmbedding(WIDTH, 3))
    text = Letters().encode(["one", "two"])
    mixed = torch.stack([text[0], torch.zeros(WIDTH), text[1]])
    found = layer(mixed, 3)
    matrix, bias = layer.given.weight, layer.given.bias  # type: ignore[union-attr]
    for row, words in ((0, text[0]), (2, text[1])):
        assert torch.allclose(found[row], math.sqrt(WIDTH) * matrix @ words + bias, atol=1e-5)  # type: ignore[operator]
    assert torch.equal(found[1], layer.none)  # type: ignore[arg-type]
    assert torch.equal(layer(None, 2), layer.none.expand(2, 3))  # type: ignore[operator]


@BOTH
def test_words_are_added_to_the_embedding_of_time(spec: NetworkSpec) -> None:
    """A network without the layer, whose time embedding has the words in its last bias, answers the same."""
    network = trained(spec)
    embedding = Letters().encode(["cat"])[0]
    plain = replace(spec, text_model="", text_width=0).build()
    plain.load_state_dict(
        {name: value for name, value in network.module.state_dict().items() if not name.startswith("words.")}
    )
    last: Any = plain.time[2] if spec.kind == "resnet" else plain.inner.time_embedding.linear_2  # type: ignore[index,union-attr]
    layer: Any = network.module.words
    with torch.no_grad():
        last.bias += layer(embedding[None], 1)[0]
    x = torch.randn(2, 1, 6, 6)
    expected = TrainedNetwork(plain, replace(spec, text_model="", text_width=0))(x, 0.8)
    assert torch.allclose(network.with_text(embedding)(x, 0.8), expected, atol=1e-5)
    assert not torch.allclose(network(x, 0.8), expected, atol=1e-3)


@BOTH
def test_every_image_of_a_batch_has_its_own_words(spec: NetworkSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "PIXELS_AT_ONCE", 2 * 36)  # the batch goes through in pieces of 2, 2 and 1
    network = trained(spec)
    text = torch.cat([Letters().encode(["cat", "dog", "bus", "egg"]), torch.zeros(1, WIDTH)])
    x, sigma = torch.randn(5, 1, 6, 6), torch.linspace(0.1, 3, 5)
    found = network.with_text(text)(x, sigma)
    for i in range(4):
        alone = network.with_text(text[i].numpy())(x[i : i + 1], float(sigma[i]))
        assert torch.allclose(found[i], alone[0], atol=1e-5)
        assert not torch.allclose(found[i], network(x, sigma)[i], atol=1e-3)
    assert torch.allclose(found[4], network(x, sigma)[4], atol=1e-5)


def test_no_words_undo_words_and_the_network_itself_stays() -> None:
    network, x = trained(RESNET), torch.randn(1, 1, 6, 6)
    before = network(x, 1.0)
    bound = network.with_text(Letters().encode(["cat"])[0])
    assert not torch.equal(bound(x, 1.0), before)
    assert torch.equal(bound.with_text(None)(x, 1.0), before)
    assert torch.equal(network(x, 1.0), before)
    assert repr(bound) == "TrainedNetwork(resnet, data='toys', with text)"
    assert bound.text_model == "letters"


def test_words_given_are_copied() -> None:
    words = Letters().encode(["cat"])[0]
    bound, x = trained(RESNET).with_text(words), torch.randn(1, 1, 6, 6)
    before = bound(x, 1.0)
    words.zero_()
    assert torch.equal(bound(x, 1.0), before)


@BOTH
def test_bound_to_words_it_has_every_property_of_a_denoiser(spec: NetworkSpec) -> None:
    check_denoiser(trained(spec).with_text(Letters().encode(["cat"])[0]), 1, (6, 6))


@BOTH
def test_saved_and_read_it_takes_the_same_words(spec: NetworkSpec, tmp_path: Path) -> None:
    network, words, x = trained(spec), Letters().encode(["cat"])[0], torch.randn(1, 1, 6, 6)
    save_network(tmp_path / "net.safetensors", network.module, spec)
    read = read_network(tmp_path / "net.safetensors")
    assert read.spec == spec
    assert read.text_model == "letters"
    assert torch.equal(read.with_text(words)(x, 0.7), network.with_text(words)(x, 0.7))


@pytest.mark.parametrize(
    ("embedding", "error", "message"),
    [
        (torch.ones(3) / 3**0.5, ValueError, r"must be \(5,\) or \(B, 5\), as letters makes it, got \(3,\)"),
        (torch.zeros(2, 2, 5), ValueError, r"got \(2, 2, 5\)"),
        (torch.zeros(0, 5), ValueError, r"got \(0, 5\)"),
        (torch.zeros(5, dtype=torch.int64), TypeError, "embedding must hold floats of 16 to 64 bits"),
        (torch.ones(5), ValueError, "length 1, or 0 for no words, got 2.24"),
        (torch.full((5,), torch.nan), ValueError, "embedding"),
        ("a cat", TypeError, "embedding must be .*got str 'a cat'"),
    ],
)
def test_what_is_no_embedding_is_refused(embedding: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        trained(RESNET).with_text(embedding)


def test_as_many_words_as_images_are_asked_for() -> None:
    bound = trained(RESNET).with_text(Letters().encode(["cat", "dog"]))
    with pytest.raises(ValueError, match=r"x has 3 images, the text of TrainedNetwork.* has 2"):
        bound(torch.zeros(3, 1, 6, 6), 1.0)


def test_a_network_without_words_takes_none() -> None:
    network = trained(replace(RESNET, text_model="", text_width=0))
    assert network.text_model == ""
    with pytest.raises(ValueError, match="without captions takes no words"):
        network.with_text(torch.zeros(5))
    assert torch.equal(network.with_text(None)(torch.zeros(1, 1, 6, 6), 1.0), network(torch.zeros(1, 1, 6, 6), 1.0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_model": ""}, "text_model and text_width go together, got '' and 5"),
        ({"text_width": 0}, "text_model and text_width go together, got 'letters' and 0"),
        ({"text_width": -1}, "text_width must be 0 or more"),
        ({"text_width": 10**9}, "text_width must be at most 16384"),
    ],
)
def test_a_description_of_no_network_with_words_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(RESNET, **changes)


def test_a_unet_has_classes_or_words() -> None:
    with pytest.raises(ValueError, match="classes or words, got num_classes=3 and text_width=5"):
        UNet(1, 8, (4, 4), num_classes=3, text_width=5)
    with pytest.raises(ValueError, match="text_width must be 0"):
        ResNet(1, 4, 1, text_width=-1)


def test_a_resnet_with_classes_and_words_adds_both() -> None:
    module = random_weights(ResNet(1, 4, 1, num_classes=2, text_width=WIDTH))
    x, time, text = torch.randn(1, 1, 6, 6), torch.tensor([0.4]), Letters().encode(["cat"])
    answers = [module(x, time, torch.tensor([label]), words) for label in (0, 1) for words in (text, None)]
    assert all(not torch.allclose(answers[i], answers[j], atol=1e-4) for i in range(4) for j in range(i))


# --------------------------------------------------------------------------------------------------- trainings


@pytest.mark.parametrize("options", [{"width": 4, "blocks": 1}, {"widths": [4, 4]}], ids=["resnet", "unet"])
def test_a_training_learns_captions_and_says_so(options: dict[str, Any], tmp_path: Path) -> None:
    kind = "unet" if "widths" in options else "resnet"
    train(captioned(), tmp_path, replace(SETTINGS, kind=kind, options=options, steps=2))
    network: Any = load_network(tmp_path)
    assert (network.text_model, network.spec.text_width, network.num_classes) == ("letters", WIDTH, 0)
    assert network.spec.fingerprint == captioned().fingerprint()
    assert "captions, as 5 numbers of the encoder letters; 10% hidden" in (tmp_path / CARD).read_text()


def test_samples_are_drawn_from_captions_spread_over_the_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Tensor | None] = []
    monkeypatch.setattr(training, "_save_samples", lambda path, network, spec, data: asked.append(network._text))
    train(captioned(), tmp_path, replace(SETTINGS, steps=1))
    assert asked[0] is not None
    text = Letters().encode(["a cat", "a dog", "a bus"])
    assert torch.equal(asked[0], torch.cat([text, torch.zeros(1, WIDTH)]).repeat_interleave(4, dim=0))


def test_samples_of_a_network_with_words_are_pictures(tmp_path: Path) -> None:
    train(captioned(), tmp_path, replace(SETTINGS, steps=1))
    assert (tmp_path / SAMPLES).stat().st_size > 100


@pytest.mark.usefixtures("no_pictures")
def test_words_change_what_is_learnt(tmp_path: Path) -> None:
    """Two pictures, one black and one white, told apart by nothing but their captions."""
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 6, 6).contiguous()
    data = ImageSet(images, captions=("night", "day"))
    settings = replace(SETTINGS, steps=250, batch=16, learning_rate=0.01, options={"width": 8, "blocks": 1})
    network = train(data, tmp_path, settings)
    noise = els.make_noise(4, (1, 6, 6))
    night, day = (
        els.sample(network.with_text(words), noise).images.mean() for words in Letters().encode(["night", "day"])
    )
    assert night < -0.7
    assert day > 0.7


@pytest.mark.usefixtures("no_pictures")
def test_a_stopped_training_on_captions_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(captioned(), tmp_path / "whole", SETTINGS)
    with monkeypatch.context() as patch:
        stop_after(patch, 6)
        with pytest.raises(KeyboardInterrupt):
            train(captioned(), tmp_path / "stopped", SETTINGS)
    train(captioned(), tmp_path / "stopped", SETTINGS)
    assert same(weights(tmp_path / "stopped"), weights(tmp_path / "whole"))
    other = train(captioned(("x", "y", "z", "")), tmp_path / "other", SETTINGS)
    assert not same(weights(tmp_path / "other"), weights(tmp_path / "whole"))
    assert other.text_model == "letters"


@pytest.mark.usefixtures("no_pictures")
def test_a_checkpoint_of_other_captions_or_without_words_is_refused(tmp_path: Path) -> None:
    train(captioned(), tmp_path, SETTINGS)
    with pytest.raises(ValueError, match=r"other data or settings .*captions"):
        train(captioned(("a cat", "a dog", "a car", "")), tmp_path, SETTINGS)
    with pytest.raises(ValueError, match=r"other data or settings .*text_model"):
        train(captioned(), tmp_path, TINY)


def test_captions_are_hidden_as_often_as_asked() -> None:
    text = Letters().encode(["one", "two", "three", "four"])
    batch = draw_batch(captioned(), replace(SETTINGS, batch=6000, text_dropout=0.1), 0, text)
    assert batch.label is None
    assert batch.text is not None
    assert float((~batch.text.any(dim=1)).float().mean()) == pytest.approx(0.1, abs=0.015)
    assert all(any(torch.equal(row, words) for words in text) for row in batch.text[:50] if row.any())


def test_a_batch_has_the_words_of_its_images() -> None:
    data = captioned()
    text = Letters().encode(data.captions)
    settings = replace(SETTINGS, batch=4, text_dropout=1e-9)
    batch = draw_batch(data, settings, 0, text)
    angle = (batch.time * torch.pi / 2)[:, None, None, None]
    assert batch.text is not None
    clean = angle.cos() * batch.x_vp - angle.sin() * batch.target
    order = [int((data.scaled() - image).abs().amax(dim=(1, 2, 3)).argmin()) for image in clean]
    assert sorted(order) == [0, 1, 2, 3]
    assert torch.equal(batch.text, text[order])


def test_the_same_steps_are_drawn_with_and_without_words() -> None:
    with_words = draw_batch(captioned(), SETTINGS, 3, Letters().encode(["a", "b", "c", "d"]))
    without = draw_batch(captioned(), TINY, 3)
    assert torch.equal(with_words.x_vp, without.x_vp)
    assert torch.equal(with_words.target, without.target)


def test_images_without_captions_are_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"toys has no captions: .*--captions"):
        train(captioned(None), tmp_path / "new", SETTINGS)
    assert not (tmp_path / "new").exists()


def test_an_unknown_text_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the encoders of `elsewhere.text`
    with pytest.raises(FileNotFoundError, match="no sentence encoder 'no-such-model'"):
        train(captioned(), tmp_path / "new", replace(SETTINGS, text_model="no-such-model"))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("share", [0.0, 1.0, float("nan")])
def test_a_share_of_hidden_captions_is_neither_none_nor_all(share: float) -> None:
    with pytest.raises(ValueError, match="text_dropout must be between 0 and 1"):
        TrainSettings(text_dropout=share)


def test_a_file_without_words_is_read_as_before(tmp_path: Path) -> None:
    """Files written before there were words have no such fields."""

    spec = replace(RESNET, text_model="", text_width=0)
    fields = {name: value for name, value in asdict(spec).items() if not name.startswith("text_")}
    module = trained(spec).module
    write_tensors(tmp_path / NETWORK, module.state_dict(), {DESCRIPTION: json.dumps(fields)})
    assert read_network(tmp_path / NETWORK).text_model == ""
