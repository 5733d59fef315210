"""Prompts: weights from words, through every machine, with guidance, and what the object says."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import elsewhere as els
from elsewhere.denoiser import Denoiser
from elsewhere.prompts import EFFECTIVE, MOST, Prompted, prompted, weigh
from elsewhere.testing import check_denoiser
from elsewhere.text import MODEL, PACKAGE, Encoder, WordMatcher, load_encoder
from tests import reference

CAPTIONS = ("red cat", "red cat", "cat", "bus", "", "a red bus", "tree")
COUNT = len(CAPTIONS)


def some_images(dtype: torch.dtype = torch.uint8) -> Tensor:
    found = torch.randint(0, 256, (COUNT, 2, 7, 6), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return found[:, :1] if dtype == torch.uint8 else found[:, :1].to(dtype) / 127.5 - 1


DATA = els.ImageSet(some_images(), torch.arange(COUNT) % 3, "few", captions=CAPTIONS)
WORDS = WordMatcher()
X = els.make_noise(2, (1, 7, 6), 1).double()


class Given(WordMatcher):
    """Similarities that a test gives."""

    def __init__(self, similarities: Sequence[float]) -> None:
        self.given = torch.tensor(similarities, dtype=torch.float64)

    def similarities(self, prompts: Sequence[str], captions: Sequence[str]) -> Tensor:
        return self.given.expand(len(prompts), -1).clone()


def under(machine: Any, prompt: str = "red cat", **settings: Any) -> Prompted:
    return prompted(machine, prompt, **{"encoder": WORDS, "temperature": 0.5, **settings})


def expected_weights(temperature: float = 0.5) -> np.ndarray:
    """Written out: the share of "red" and "cat" in every caption, exponentials, nothing where nothing matches."""
    shares = np.array([1, 1, 0.5, 0, 0, 0.5, 0])
    return np.where(shares > 0, np.exp(shares / temperature), 0) / np.exp(shares[shares > 0] / temperature).sum()


def test_weights_are_the_softmax_of_similarities() -> None:
    found = under(els.IdealScore(DATA))
    assert found.weights is not None
    np.testing.assert_allclose(found.weights.numpy(), expected_weights(), rtol=0, atol=1e-15)
    p = expected_weights()[expected_weights() > 0]
    assert found.effective == pytest.approx(math.exp(-(p * np.log(p)).sum()))


MACHINES: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "LS": (lambda data, **kw: els.LocalScore(data, 3, **kw), {"keys": "same place"}),
    "tapered LS": (lambda data, **kw: els.LocalScore(data, 3, taper=True, **kw), {"keys": "same place", "taper": True}),
    "ELS": (lambda data, **kw: els.EquivariantLocalScore(data, 3, **kw), {"keys": "aware"}),
    "wrapping ELS": (lambda data, **kw: els.EquivariantLocalScore(data, 3, "wrap", **kw), {"keys": "wrap"}),
    "torus": (lambda data, **kw: els.EquivariantLocalScore(data, 3, "torus", **kw), {"keys": "torus"}),
    "composites": (
        lambda data, **kw: els.PatchScore(data, els.PatchSettings(3, response=3, keys="same place"), **kw),
        {"keys": "same place", "response": 3},
    ),
    "patches": (
        lambda data, **kw: els.PatchScore(data, els.PatchSettings(3, pedestal=0.1, response=3, keys="aware"), **kw),
        {"keys": "aware", "response": 3, "pedestal": 0.1},
    ),
}


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("sigma", [0.2, 1.0, 5.0])
def test_a_prompt_is_a_prior_in_every_machine(name: str, sigma: float) -> None:
    make, settings = MACHINES[name]
    weights = np.maximum(expected_weights(), 1e-300)
    settings = {"taper": False, **settings}
    known = els.PatchSettings(3, **settings)
    for dtype, off in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        machine = make(some_images(dtype))
        found = under(machine, data=DATA)(X.to(dtype), sigma)
        for image, answer in zip(X, found, strict=True):
            slow = reference.patches(
                image.numpy(), some_images(torch.float64).numpy(), sigma, **asdict(known), weights=weights
            )
            np.testing.assert_allclose(answer.double().numpy(), slow, rtol=0, atol=off)


@pytest.mark.parametrize("sigma", [0.2, 1.0, 5.0])
def test_the_ideal_machine_under_a_prompt_is_the_posterior_mean(sigma: float) -> None:
    images = some_images(torch.float64)
    answer = under(els.IdealScore(images), data=DATA)(X, sigma)
    for x, found in zip(X, answer, strict=True):
        likelihood = np.exp(-((x - images) ** 2).sum((1, 2, 3)).numpy() / (2 * sigma**2))
        posterior = likelihood * expected_weights()
        slow = (posterior[:, None, None, None] * images.numpy()).sum(0) / posterior.sum()
        np.testing.assert_allclose(found.numpy(), slow, rtol=0, atol=1e-10)


OTHERS: dict[str, Callable[[els.ImageSet], Any]] = {
    "IS": els.IdealScore,
    "LS": lambda data: els.LocalScore(data, 3),
    "ELS": lambda data: els.EquivariantLocalScore(data, 3),
    "ES": els.EquivariantScore,
    "PSPC": lambda data: els.PatchComposite(data, 3),
    "PCA": els.PCALocality,
    "smoothed": lambda data: els.SmoothedIdeal(data, copies=2),
    "nearest": els.Nearest,
    "golden": lambda data: els.GoldenSubset(data, smallest=1, largest=1),
}


@pytest.mark.parametrize("name", [name for name in OTHERS if name not in ("PCA", "golden")])
def test_images_without_a_match_are_as_if_they_were_not_there(name: str) -> None:
    # The learnt masks of PCA and golden are those of all images; the others know nothing else of them.
    found = under(OTHERS[name](DATA))
    assert found.weights is not None
    kept = found.weights > 0
    left = OTHERS[name](DATA[kept]).with_weights(found.weights[kept])
    # Float32 sums over other numbers of keys.
    torch.testing.assert_close(found(X.float(), 0.8), left(X.float(), 0.8), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in OTHERS if name not in ("PCA", "golden")])
def test_an_image_twice_is_an_image_of_twice_the_weight(name: str) -> None:
    twice = els.ImageSet(DATA.images[[0, 0, 2, 3, 5]], captions=("red cat", "red cat", "cat", "bus", "red bus"))
    once = els.ImageSet(DATA.images[[0, 2, 3, 5]])
    weights = under(OTHERS[name](twice)).weights
    assert weights is not None
    merged = OTHERS[name](once).with_weights([2 * float(weights[0]), *weights[2:].tolist()])
    torch.testing.assert_close(under(OTHERS[name](twice))(X, 0.8), merged(X, 0.8), rtol=0, atol=1e-5)


def test_explanations_name_only_matching_images_by_their_numbers() -> None:
    machine = els.EquivariantLocalScore(DATA, 3)
    found = under(machine)
    mosaic = els.explain(found, X, 0.8, top=None)
    assert found.weights is not None
    matching = set(found.weights.nonzero().flatten().tolist())
    assert set(mosaic.image_ids[mosaic.image_ids >= 0].tolist()) == matching == {0, 1, 2, 5}
    torch.testing.assert_close(mosaic.x0, found(X, 0.8))
    assert mosaic.credits()[:, found.weights == 0].abs().max() == 0
    # Equal captions, other pictures: as much a priori, not the same in the end.
    assert not torch.allclose(mosaic.credits()[:, 0], mosaic.credits()[:, 1])


def test_a_search_and_all_windows_agree_where_guidance_moves_away_from_it() -> None:
    data = els.load_images("emoji", 60)
    noise = els.make_noise(1, data.shape)
    fast, exact = (els.EquivariantLocalScore(data, 5, engine=engine, tolerance=1e-4) for engine in ("auto", "exact"))
    answers = [prompted(machine, "square", encoder=WORDS, guidance=2.0)(noise, 1.0) for machine in (fast, exact)]
    # Each of the two answers that guidance combines may be off by the tolerance, and one counts double.
    torch.testing.assert_close(*answers, rtol=0, atol=5e-4)


def test_an_index_does_not_know_weights() -> None:
    with pytest.raises(ValueError, match=r"weights need engine='exact' or 'auto'"):
        under(els.EquivariantLocalScore(DATA, 3, engine="fast"))


def test_weights_that_a_machine_has_are_multiplied() -> None:
    before = torch.tensor([1.0, 0, 3, 1, 1, 2, 1])
    found = under(els.LocalScore(DATA, 3, weights=before))
    expected = els.LocalScore(DATA, 3, weights=before * torch.as_tensor(expected_weights()))
    torch.testing.assert_close(found(X, 0.7), expected(X, 0.7), rtol=0, atol=1e-10)


def test_classes_narrow_what_a_prompt_leaves() -> None:
    found = under(els.LocalScore(DATA, 3))
    assert found.num_classes == 3
    left = els.LocalScore(DATA[torch.tensor([2, 5])], 3)
    torch.testing.assert_close(found(X, 0.7, 2), left(X, 0.7), rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match="label 1 has no training image of positive weight"):
        prompted(els.LocalScore(DATA, 3), "tree", encoder=WORDS)(X, 0.7, 1)


def test_a_mix_gives_weights_to_the_parts_that_take_them() -> None:
    local, wiener = els.LocalScore(DATA, 3), els.Wiener(DATA, shrinkage=0.1)
    found = under(els.mix({"LS": local, "Wiener": wiener}, {"LS": 0.75, "Wiener": 0.25}))(X, 0.7)
    torch.testing.assert_close(found, 0.75 * under(local)(X, 0.7) + 0.25 * wiener(X, 0.7), rtol=0, atol=1e-6)
    with pytest.raises(TypeError, match="machine that weighs training images, a Mix with one"):
        under(els.mix({"Wiener": wiener}, {"Wiener": 1.0}))


@pytest.mark.parametrize("negative", [None, "bus"])
def test_guidance_is_the_formula(negative: str | None) -> None:
    machine = els.LocalScore(DATA, 3)
    towards = under(machine)(X, 0.7)
    away = machine(X, 0.7) if negative is None else under(machine, negative)(X, 0.7)
    found = under(machine, guidance=2.5, negative=negative)
    torch.testing.assert_close(found(X, 0.7), away + 2.5 * (towards - away), rtol=0, atol=1e-10)
    assert torch.equal(under(machine, guidance=0.0, negative=negative)(X, 0.7), away)
    assert found.guidance == 2.5
    with pytest.raises(ValueError, match=r"guidance 2\.5: what it draws is no average"):
        els.explain(found, X, 0.7)
    torch.testing.assert_close(els.explain(found.towards, X, 0.7).x0, towards)


def test_a_run_under_a_prompt_has_the_entropy_of_its_weights() -> None:
    machine, schedule = under(els.IdealScore(DATA)), els.schedules.cosine(2)
    run = els.sample(machine, X, schedule, entropy=True)
    expected = els.sample(els.IdealScore(DATA).with_weights(machine.weights), X, schedule, entropy=True)
    assert [one.pixels.tolist() for one in run.entropy] == [one.pixels.tolist() for one in expected.entropy]
    with pytest.raises(TypeError, match="entropy needs a softmax average without guidance"):
        els.sample(under(els.IdealScore(DATA), guidance=2.0), X, schedule, entropy=True)


def test_a_prompted_machine_is_a_denoiser() -> None:
    data = els.ImageSet(els.load_images("fashion-mini", 7).images, captions=CAPTIONS)
    check_denoiser(under(els.LocalScore(data, 5)), tolerance=1e-3)
    check_denoiser(under(els.LocalScore(data, 5), guidance=2.0), tolerance=1e-3)


def test_without_a_temperature_ten_images_count() -> None:
    similar = torch.rand(300, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
    data = els.ImageSet(torch.zeros(300, 1, 2, 2, dtype=torch.uint8), captions=["x"] * 300)
    found = weigh("x", data, Given(similar.tolist()))
    assert found.effective == pytest.approx(EFFECTIVE, rel=1e-3)
    assert int((found.weights > 0).sum()) == MOST
    assert float(found.weights.sum()) == pytest.approx(1)
    least = found.similarities.sort(descending=True).values[MOST - 1]
    values = similar.numpy()
    expected = np.where(values >= float(least), np.exp(values / found.temperature), 0)
    np.testing.assert_allclose(found.weights, expected / expected.sum(), rtol=1e-12)
    few = weigh("x", data[:4], Given(similar[:4].tolist()))
    assert few.effective == pytest.approx(4, rel=1e-3), "there are not ten"


def test_images_as_similar_as_the_last_count_too() -> None:
    data = els.ImageSet(torch.zeros(6, 1, 2, 2, dtype=torch.uint8), captions=["x"] * 6)
    found = weigh("x", data, Given([0.9, 0.5, 0.5, 0.5, 0.2, -0.3]), temperature=1.0, most=2)
    assert (found.weights > 0).tolist() == [True, True, True, True, False, False]
    assert weigh("x", data, Given([0.9, 0.5, 0.5, 0.5, 0.2, -0.3]), most=6).top() == [0, 1, 2, 3, 4]


def test_images_without_a_caption_have_no_weight() -> None:
    data = els.ImageSet(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), captions=("x", " ", "y"))
    assert weigh("x", data, Given([0.5, 0.9, 0.5])).weights.tolist() == [0.5, 0, 0.5]


def test_words_that_raise_weights_are_found() -> None:
    found = weigh("red cat", DATA, WORDS, temperature=0.5)
    words, effects = found.words()
    assert words == ["red", "cat"]

    def logs(prompt: str) -> np.ndarray:
        rows = WORDS.similarities([prompt], CAPTIONS)[0].numpy() / 0.5
        return rows - np.log(np.exp(rows).sum())

    np.testing.assert_allclose(effects[0], logs("red cat") - logs("cat"), atol=1e-12)
    np.testing.assert_allclose(effects[1], logs("red cat") - logs("red"), atol=1e-12)
    assert effects[1, 2] > 0 > effects[1, 5], "without 'cat' the cat would weigh less, and the red bus more"
    [[only]] = [weigh("cat", DATA, WORDS, temperature=0.5).words()[1]]
    np.testing.assert_allclose(only, logs("cat") + math.log(COUNT), atol=1e-12)


def test_it_says_what_counts() -> None:
    found = under(els.IdealScore(DATA), guidance=3.0, negative="bus")
    assert (
        repr(found)
        == f"Prompted({els.IdealScore(DATA)!r}, 'red cat', guidance=3, negative='bus', 3.6 effective images)"
    )
    header, rows = found.table(3)
    assert header == ("weight", "similarity", "image", "caption")
    assert rows == [
        ("36.6%", "1.00", "#0", "red cat"),
        ("36.6%", "1.00", "#1", "red cat"),
        ("13.4%", "0.50", "#2", "cat"),
    ]
    assert len(found.table()[1]) == 4, "images without a weight are not listed"
    about = json.loads(json.dumps(found.about()))
    assert about["prompt"] == "red cat"
    assert about["guidance"] == 3
    assert [one["caption"] for one in about["weights"]] == ["red cat", "red cat", "cat", "a red bus"]
    assert about["negative"]["prompt"] == "bus"
    html = found._repr_html_()
    assert "<img" in html
    assert "3.6 effective images" in html
    assert "&#x27;bus&#x27;" in html
    assert "a red bus" in found.about_prompt._repr_html_()  # type: ignore[union-attr]


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"prompt": ""}, ValueError, r"prompt must have words, got ''"),
    ({"prompt": " \n"}, ValueError, "prompt must have words"),
    ({"prompt": "x" * 2000}, ValueError, "at most 1000 characters, got 2000"),
    ({"prompt": "zebra"}, ValueError, r"prompt 'zebra' matches no caption of few \(words: none has a word of it\)"),
    ({"prompt": "the"}, ValueError, "matches no caption"),
    ({"prompt": 3}, TypeError, "prompt must be a string"),
    ({"temperature": float("nan")}, ValueError, "temperature must be"),
    ({"temperature": 0.0}, ValueError, "temperature must be"),
    ({"most": 0}, ValueError, "most must be"),
    ({"guidance": -1.0}, ValueError, "guidance must be"),
    ({"negative": "bus"}, ValueError, "negative prompt 'bus' needs guidance"),
    ({"negative": "zebra", "guidance": 2.0}, ValueError, "negative prompt 'zebra' matches no caption"),
    ({"negative": "", "guidance": 2.0}, ValueError, "negative prompt must have words"),
    ({"data": DATA[:3]}, ValueError, "data has 3 images, the denoiser 7"),
    ({"data": els.ImageSet(DATA.images, name="bare")}, ValueError, "bare has no captions"),
    ({"data": els.ImageSet(DATA.images, captions=[""] * COUNT)}, ValueError, "has no captions"),
    ({"denoiser": els.LocalScore(DATA.scaled(), 3)}, ValueError, "data=None"),
    ({"denoiser": els.Wiener(DATA)}, TypeError, "must be a machine that weighs training images"),
    ({"denoiser": lambda x, sigma, label=None: x}, TypeError, "must be a machine that weighs training images"),
    ({"encoder": "all-MiniLM-L6-v2"}, TypeError, "encoder must be"),
]


@pytest.mark.parametrize(("wrong", "error", "message"), BAD)
def test_bad_arguments_are_refused_in_one_line(wrong: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        prompted(**{"denoiser": els.LocalScore(DATA, 3), "prompt": "red cat", "encoder": WORDS, **wrong})
    assert "\n" not in str(caught.value)


class Listening(Denoiser):
    """A network that takes words: it answers with the mean of the embedding that it was given, 0 for none."""

    channels, size, text_model = 1, (7, 6), MODEL

    def __init__(self, level: float = 0.0) -> None:
        self.level = level

    def with_text(self, embedding: Tensor | None) -> Listening:
        return Listening(0.0 if embedding is None else float(embedding.mean()))

    def predict(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        return torch.full_like(x, self.level)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    for module in ("sentence_transformers", PACKAGE):
        pytest.importorskip(module)
    return load_encoder()


def test_a_network_that_takes_words_gets_the_embedding(encoder: Encoder) -> None:
    cat, bus = encoder.encode(["red cat", "bus"]).mean(1).tolist()
    level = {"plain": prompted(Listening(), "red  cat", encoder=encoder)}
    level["guided"] = prompted(Listening(), "red cat", encoder=encoder, guidance=3.0)
    level["negative"] = prompted(Listening(), "red cat", encoder=encoder, guidance=3.0, negative="bus")
    found = {name: float(one(X.float(), 1.0)[0, 0, 0, 0]) for name, one in level.items()}
    assert found == pytest.approx({"plain": cat, "guided": 3 * cat, "negative": bus + 3 * (cat - bus)}, abs=1e-6)
    assert level["plain"].weights is None
    assert level["plain"].table() == ((), [])
    assert level["negative"].about()["negative"] == {"prompt": "bus"}
    assert "red cat" in level["plain"]._repr_html_()
    with pytest.raises(ValueError, match=r"encoder must be all-MiniLM-L6-v2, with which the network was trained"):
        prompted(Listening(), "red cat", encoder=WORDS)


def test_a_network_that_was_trained_without_words_is_refused() -> None:
    deaf = Listening()
    deaf.text_model = ""
    with pytest.raises(TypeError, match="which was trained without"):
        prompted(deaf, "red cat")


def test_emoji_are_found_by_meaning(encoder: Encoder) -> None:
    data = els.load_images("emoji")
    machine = els.LocalScore(data)
    cats = prompted(machine, "a smiling kitty with hearts", encoder=encoder)
    assert cats.about_prompt is not None
    best = [cats.about_prompt.captions[j] for j in cats.about_prompt.top(5)]
    assert "smiling cat with heart-eyes" in best
    assert cats.effective == pytest.approx(EFFECTIVE, rel=1e-3)
    for nonsense in ("qwertyuiop zxcv", "asdf", "quarterly tax declaration", "1234"):
        with pytest.raises(ValueError, match="matches no caption of emoji"):
            prompted(machine, nonsense, encoder=encoder)


@pytest.mark.parametrize("settings", [{}, {"guidance": 2.0}, {"guidance": 2.0, "negative": "bus"}])
def test_on_another_device_it_is_the_same_prompt(settings: dict[str, Any]) -> None:
    found = under(els.LocalScore(DATA, 3), **settings)
    there = found.to("cpu")
    assert there.denoiser is not found.denoiser
    assert torch.equal(there(X, 1.0), found(X, 1.0))
    assert repr(there) == repr(found)
    with pytest.raises(ValueError, match="cuda:63"):
        found.to("cuda:63")
