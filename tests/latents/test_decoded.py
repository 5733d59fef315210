"""Sets of latents, decoded runs, comparisons in pixels, and explanations through the decoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.latents.latent_toys import kl, pictures, random_latents, tiny

import elsewhere as els
from elsewhere.analysis import explain_images
from elsewhere.data import LatentSet
from elsewhere.latents import Autoencoder, DecodedRun
from elsewhere.networks import TrainSettings, train

LEVELS = els.schedules.cosine(3)


@pytest.fixture(scope="module")
def autoencoder() -> Autoencoder:
    return tiny()


@pytest.fixture(scope="module")
def latents(autoencoder: Autoencoder) -> LatentSet:
    return els.encode(pictures(), autoencoder)


def test_a_part_of_a_set_keeps_its_pictures(latents: LatentSet) -> None:
    for part, index in ((latents[[1, 4]], [1, 4]), (latents[:2], [0, 1]), (latents[latents.labels == 1], [1, 3, 5])):
        assert isinstance(part, LatentSet)
        assert part.pictures is not None
        assert part.pictures.images.equal(pictures().images[index])
        assert part.images.equal(latents.images[index])


def test_captions_are_kept(autoencoder: Autoencoder) -> None:
    data = els.ImageSet(pictures().images, captions=tuple("abcdef"))
    assert els.encode(data, autoencoder)[[5, 0]].captions == ("f", "a")


def test_the_fingerprint_is_that_of_images_and_weights(latents: LatentSet, autoencoder: Autoencoder) -> None:
    rounded = LatentSet(latents.images + 1e-6, pictures=latents.pictures, autoencoder=autoencoder)
    assert rounded.fingerprint() == latents.fingerprint()
    assert els.encode(pictures(seed=1), autoencoder).fingerprint() != latents.fingerprint()
    assert els.encode(pictures(), tiny(seed=1)).fingerprint() != latents.fingerprint()


def test_latents_are_drawn_as_pictures_or_not_at_all(latents: LatentSet, tmp_path: Path) -> None:
    latents.save(tmp_path / "set.png")
    pictures().save(tmp_path / "same.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "set.png")), np.asarray(Image.open(tmp_path / "same.png")))
    # Three channels could be taken for colours.
    unknown = random_latents(channels=3)
    for write in (unknown.grid, unknown.numpy, lambda: unknown.save(tmp_path / "x.png")):
        with pytest.raises(ValueError, match="latents without pictures or an autoencoder cannot be drawn"):
            write()
    with pytest.raises(ValueError, match=r"latents are not written as [.]npz"):
        latents.save(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: LatentSet(torch.zeros(2, 4, 8, 8, dtype=torch.uint8)), TypeError, "images must be latents, a float32"),
        (lambda: LatentSet(torch.full((2, 4, 8, 8), torch.nan)), ValueError, "images has NaN"),
        (lambda: LatentSet(torch.zeros(4, 8, 8)), ValueError, r"images must be \(B, C, H, W\)"),
        (lambda: LatentSet(torch.zeros(2, 4, 8, 8), pictures=pictures()), ValueError, "2 of them, got 6"),
        (lambda: els.encode(random_latents(), tiny()), TypeError, "they are encoded already"),
    ],
)
def test_bad_sets_say_what_is_wrong(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_a_run_is_decoded(latents: LatentSet, autoencoder: Autoencoder, tmp_path: Path) -> None:
    machine, noise = els.EquivariantLocalScore(latents, 3), els.make_noise(2, latents.shape)
    plain = els.sample(machine, noise, LEVELS, keep=True)
    run = els.sample(els.Decoded(machine, autoencoder), noise, LEVELS, keep=True)
    assert isinstance(run, DecodedRun)
    assert run.latents is not None
    assert run.latents.images.equal(plain.images)
    assert run.images.equal(autoencoder.decode(plain.images))
    assert run.predictions[1].equal(autoencoder.decode(plain.predictions[1]))
    root = (1 + plain.sigmas[1] ** 2) ** 0.5
    assert torch.allclose(run.states[1] / root, autoencoder.decode(plain.states[1] / root), atol=1e-5)
    run.save(tmp_path / "film.gif")
    run.save(tmp_path / "last.png")


def test_the_call_is_that_of_the_machine(latents: LatentSet, autoencoder: Autoencoder) -> None:
    machine, x = els.LocalScore(latents, 3), els.make_noise(3, latents.shape)
    decoded = els.Decoded(machine, autoencoder)
    for sigma, label in ((1.0, None), (torch.tensor([0.5, 1.0, 2.0]), None), (1.0, 1)):
        assert torch.allclose(decoded(x, sigma, label), machine(x, sigma, label), atol=1e-6)
    assert decoded.window == 3
    assert decoded.num_classes == 2
    assert els.Decoded(machine).autoencoder is autoencoder
    moved = decoded.to("cpu")
    assert moved.machine is not machine
    assert torch.equal(moved(x, 1.0), decoded(x, 1.0))


def test_comparisons_are_of_pixels(latents: LatentSet, autoencoder: Autoencoder, tmp_path: Path) -> None:
    noise = els.make_noise(2, latents.shape)
    one, two = els.IdealScore(latents), els.LocalScore(latents, 3)
    found = els.compare({"IS": els.Decoded(one)}, els.Decoded(two), noise, schedule=LEVELS)
    for name, machine in (("IS", one), ("network", two)):
        expected = autoencoder.decode(els.sample(machine, noise, LEVELS).images)
        assert torch.allclose(found.images[name], expected, atol=1e-5)
    assert found.nearest["IS"].images.shape == (2, 3, 16, 16)
    found.save(tmp_path / "pixels")
    assert (tmp_path / "pixels" / "report.html").is_file()
    with pytest.raises(ValueError, match="network are decoded, IS are not: decode all of them, or none"):
        els.compare({"IS": one}, els.Decoded(two), noise, schedule=LEVELS)


def test_comparisons_in_latents_write_numbers_and_no_pictures(latents: LatentSet, tmp_path: Path) -> None:
    noise = els.make_noise(2, latents.shape)
    found = els.compare({"IS": els.IdealScore(latents)}, els.LocalScore(latents, 3), noise, schedule=LEVELS)
    assert found.images["IS"].shape == (2, 4, 4, 4)
    assert not found.warnings or "far outside" not in found.warnings[0]
    found.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.csv", "results.json"]
    assert found._repr_html_() is None


def test_a_machine_under_a_prompt_is_explained_through_the_decoder(
    latents: LatentSet, autoencoder: Autoencoder, tmp_path: Path
) -> None:
    told = replace(latents, captions=("red cat", "cat", *["bus"] * (len(latents) - 2)))
    cats = els.prompted(els.LocalScore(told, 3), "red cat", encoder=els.text.WordMatcher())
    machine, x = els.Decoded(cats), els.make_noise(1, latents.shape)
    mosaic, bare = els.explain(machine, x, 0.5), els.explain(els.Decoded(cats.towards), x, 0.5)
    assert torch.equal(mosaic.weights, bare.weights)
    found = explain_images(machine, x, schedule=LEVELS)
    assert found.settings["prompt"]["prompt"] == "red cat"
    assert found.words[0][0] == "red"
    assert tmp_path / "explanation.json" in found.save(tmp_path)


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (lambda machine: els.guided(machine, 2.0, 1), "machine is guided"),
        (lambda machine: els.distributed(machine, 2), r"split into shards.*explain its \.machine, LocalScore"),
    ],
)
def test_what_is_decoded_says_why_it_is_not_explained(latents: LatentSet, wrap: Any, message: str) -> None:
    machine = wrap(els.LocalScore(latents, 3))
    for each in (machine, els.Decoded(machine)):
        with pytest.raises(TypeError, match=message):
            els.explain(each, els.make_noise(1, latents.shape), 0.5)


def test_an_explanation_says_which_training_pictures_made_a_pixel(latents: LatentSet, autoencoder: Autoencoder) -> None:
    machine = els.LocalScore(latents, 3)
    x = latents.images[:2] + 0.3 * els.make_noise(2, latents.shape)
    mosaic, inner = els.explain(els.Decoded(machine), x, 0.3, top=None), els.explain(machine, x, 0.3, top=None)
    assert mosaic.image_ids.shape[:3] == (2, 16, 16)
    assert torch.allclose(mosaic.x0, autoencoder.decode(inner.x0), atol=1e-5)
    # Weights of all sources of all latents, each counted as the decoder lets it.
    assert torch.allclose(mosaic.weights.sum(-1), torch.ones(2, 16, 16, dtype=torch.float64), atol=1e-6)
    # The local machine compares the same place: every source lies at the pixel itself.
    rows = torch.arange(16)[None, :, None, None].expand_as(mosaic.image_ids)
    assert bool((mosaic.positions[..., 0] == rows)[mosaic.image_ids >= 0].all())
    # The share of a training picture in a pixel, by hand: slopes of the decoder at x0hat.
    place = inner.x0[0].double()
    double = Autoencoder(tiny().module.double(), "double")
    slopes = torch.autograd.functional.jacobian(lambda z: double.decode(z[None].double())[0, :, 6, 9], place)
    effect = slopes.square().mean((0, 1)).sqrt()
    effect = effect / effect.sum()
    for image in range(6):
        theirs = torch.where(inner.image_ids[0] == image, inner.weights[0], 0.0).sum(-1)
        found = mosaic.weights[0, 6, 9][mosaic.image_ids[0, 6, 9] == image].sum()
        # Differences in place of slopes: a ReLU may open between.
        assert abs(float((effect * theirs).sum() - found)) < 0.02


def test_explanations_follow_the_latents_of_a_run(latents: LatentSet, tmp_path: Path) -> None:
    decoded = els.Decoded(els.EquivariantLocalScore(latents, 3))
    noise = els.make_noise(1, latents.shape)
    run = els.sample(decoded, noise, LEVELS, keep=True)
    steps = list(els.explain_run(decoded, run, top=3))
    assert torch.allclose(steps[-1].x0, run.predictions[-1], atol=1e-5)
    found = els.analysis.explain_images(decoded, noise, schedule=LEVELS, network=decoded)
    found.save(tmp_path, pixel=(15, 15))
    assert (tmp_path / "mosaic.png").is_file()
    els.calibrate(decoded.machine, decoded.machine, noise, schedule=LEVELS, windows=[1, 3])  # type: ignore[arg-type]


def test_wrong_autoencoders_are_refused_in_one_line(latents: LatentSet, autoencoder: Autoencoder) -> None:
    machine = els.IdealScore(latents)
    cases: list[tuple[Any, Any, str]] = [
        (machine, tiny(seed=1), "autoencoder is tiny, the latents of the machine are of tiny with other weights"),
        (machine, tiny(latent_channels=8), "machine draws 4 channels, tiny decodes 8"),
        (els.IdealScore(pictures(channels=3)), tiny(latent_channels=3), "machine has images .* not latents"),
        (els.IdealScore(random_latents()), None, "autoencoder must be given"),
    ]
    for one, other, message in cases:
        with pytest.raises(ValueError, match=message) as caught:
            els.Decoded(one, other)
        assert "\n" not in str(caught.value)
    with pytest.raises(TypeError, match="decoded already"):
        els.Decoded(els.Decoded(machine), autoencoder)
    unpictured = els.Decoded(els.IdealScore(LatentSet(latents.images)), autoencoder)
    with pytest.raises(ValueError, match="latents without their pictures"):
        els.explain(unpictured, els.make_noise(1, latents.shape), 1.0)


def test_a_network_is_trained_on_latents_and_knows_their_autoencoder(latents: LatentSet, tmp_path: Path) -> None:
    settings = TrainSettings(options={"width": 4, "blocks": 1}, steps=2, batch=4)
    network = train(latents, tmp_path, settings)
    assert (network.channels, network.spec.size, network.num_classes) == (4, (4, 4), 2)
    assert Image.open(tmp_path / "samples.png").size[0] > 100
    again = els.load_network(tmp_path)
    assert els.Decoded(again, tiny()).num_classes == 2
    with pytest.raises(ValueError, match="network was trained on latents of tiny with other weights"):
        els.Decoded(again, tiny(seed=1))


def test_a_vae_with_global_normalisation_works_the_same() -> None:
    vae = els.load_autoencoder(kl())
    data = els.encode(pictures(), vae)
    mosaic = els.explain(els.Decoded(els.LocalScore(data, 3)), els.make_noise(1, data.shape), 1.0, top=4)
    assert mosaic.image_ids.shape == (1, 16, 16, 4)


def test_the_entropy_of_a_run_is_that_of_its_latents(latents: LatentSet) -> None:
    machine, noise = els.LocalScore(latents, 3), els.make_noise(2, latents.shape)
    run = els.sample(els.Decoded(machine), noise, LEVELS, entropy=True)
    assert torch.equal(run.entropy[-1].pixels, els.sample(machine, noise, LEVELS, entropy=True).entropy[-1].pixels)
    with pytest.raises(TypeError, match="entropy needs a machine that is a softmax average"):
        els.sample(els.Decoded(lambda x, sigma, label=None: 0 * x, tiny()), noise, LEVELS, entropy=True)


def test_latents_are_no_store(latents: LatentSet, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="save the pictures"):
        latents.save(tmp_path / "latents.store")
    assert not list(tmp_path.iterdir())


def test_guidance_goes_inside_of_the_decoder(latents: LatentSet) -> None:
    machine = els.IdealScore(latents)
    with pytest.raises(ValueError, match=r"els\.Decoded\(els\.guided"):
        els.guided(els.Decoded(machine), 2.0, 1)
    run = els.sample(els.Decoded(els.guided(machine, 2.0, 1)), els.make_noise(1, latents.shape), LEVELS)
    assert run.images.shape == (1, 3, 16, 16)
