import json
import warnings

import numpy as np
import pytest
import torch
from analysis_toys import Blur, Nearly, few_images
from test_report import Page

import elsewhere as els
from elsewhere import results
from elsewhere.analysis import calibrate, compare, explain_images
from elsewhere.analysis.finals import far_outside, judge_finals
from elsewhere.data import ImageSet
from elsewhere.sampling import make_noise, sample
from elsewhere.schedules import cosine

SCHEDULE = cosine(3)
DATA = few_images()
NOISE = make_noise(2, (1, 9, 9))
FAR = "far outside -1..1"


def diverges(x, sigma, label=None):
    """A network read with the wrong prediction type: its answers have the size of the noise."""
    return 30 * torch.tanh(x)


def flat(x, sigma, label=None):
    return torch.full_like(x, 0.25)


def small_images():
    """Images on which the machines differ."""
    return ImageSet(few_images(20).images, name="few")


def machines():
    return {"IS": els.IdealScore(small_images()), "ELS": els.EquivariantLocalScore(small_images(), 3)}


@pytest.mark.parametrize(("value", "far"), [(1.0, False), (-1.05, False), (1.2, True), (-3.0, True)])
def test_an_overshoot_of_a_few_levels_is_usual_and_more_is_no_image(value, far):
    image = torch.full((1, 1, 4, 4), value)
    assert far_outside(image).tolist() == [far]
    assert len(judge_finals(image)) == far


def test_the_judgement_counts_the_pictures():
    images = torch.zeros(3, 1, 4, 4)
    images[1] = 5
    (sentence,) = judge_finals(images)
    assert sentence.startswith(f"1 of the network's 3 images is {FAR} (rms 2.89, pixels from 0 to 5)")
    assert "prediction_type" in sentence
    assert judge_finals(images[1:2])[0].startswith("The network's image is")
    assert judge_finals(images[[1, 1]])[0].startswith("The network's images are")
    guided = els.guided(flat, 3, 0)
    (sentence,) = judge_finals(images, guided)
    assert sentence.startswith(f"1 of 3 guided images is {FAR}")
    assert sentence.endswith("guidance of scale 3 does that, choose a smaller one")
    words = els.ImageSet(few_images().images, captions=["a cat"] * len(few_images()))
    prompted = els.prompted(els.LocalScore(words, 3), "cat", encoder=els.text.WordMatcher(), guidance=3.0)
    assert judge_finals(images, prompted) == [sentence]


def test_a_comparison_with_a_network_that_diverged_names_nobody_closer(tmp_path):
    with pytest.warns(UserWarning, match=FAR):
        result = compare(machines(), diverges, NOISE, schedule=SCHEDULE)
    assert FAR in result.warnings[0]
    assert result.closest == ()
    assert "closer" not in result.verdict()
    result.save(tmp_path)
    text = (tmp_path / "report.html").read_text()
    page = Page(text).text
    assert page.index(FAR) < page.index("Copies of a training image")
    assert "closer" not in page
    assert '<tr class="leading">' not in text
    assert FAR in json.loads((tmp_path / "results.json").read_text())["warnings"][0]


def test_a_machine_worse_than_one_gray_is_not_near():
    other = ImageSet(255 - small_images().images[:1], name="other")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = compare(machines(), els.IdealScore(other), NOISE, schedule=SCHEDULE)
    assert max(result.median(name, "r_squared") for name in result.machines) < 0
    assert result.closest == ()
    assert result.verdict().startswith("No machine is near the network: the best median R^2 is -")


def test_explain_and_calibrate_say_that_the_network_diverged(tmp_path):
    machine = els.LocalScore(small_images(), 3)
    with pytest.warns(UserWarning, match=FAR):
        explained = explain_images(machine, NOISE, schedule=SCHEDULE, network=diverges)
    assert FAR in json.loads(explained.to_json())["warnings"][0]
    with pytest.warns(UserWarning, match=FAR):
        found = calibrate(machine, diverges, NOISE, schedule=SCHEDULE, windows=[1, 3])
    found.save(tmp_path / "windows.json")
    assert FAR in json.loads((tmp_path / "windows.json").read_text())["details"]["warnings"][0]


def test_a_sample_says_that_the_network_diverged_and_is_clipped(tmp_path):
    run = sample(diverges, NOISE, SCHEDULE)
    with pytest.warns(UserWarning, match=FAR):
        results.save_run(tmp_path, run, diverges, DATA, SCHEDULE, None, {})
    settings = json.loads((tmp_path / "run.json").read_text())
    assert FAR in settings["warnings"][0]
    assert settings["clipped"]["highest"] == pytest.approx(30)
    with np.load(tmp_path / "images.npz") as arrays:
        assert np.abs(arrays["images"]).max() == 1


def test_undefined_numbers_are_left_out_of_medians_and_counted(tmp_path):
    half = {"IS": flat, "ELS": Blur(3, DATA)}
    with pytest.warns(UserWarning, match="Undefined: Pearson r of IS on 2 of 2 seeds") as told:
        result = compare(half, Nearly(Blur(3), 0.02), NOISE, schedule=SCHEDULE)
    assert len(told) == 1
    assert np.isnan(result.median("IS", "pearson_r"))
    assert (result.undefined("IS", "pearson_r"), result.undefined("ELS", "pearson_r")) == (2, 0)
    assert np.isnan(result.beats("ELS", "IS"))
    assert result.closest == ("ELS",)
    result.save(tmp_path)
    content = json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)
    assert content["summary"]["IS"]["pearson_r"] == {"median": None, "low": None, "high": None, "undefined": 2}
    assert content["beats"]["ELS"]["IS"] is None
    assert "r undefined" in Page((tmp_path / "report.html").read_text()).text
    assert "Comparison(2 seeds, median Pearson r: IS undefined" in repr(result)


def test_a_median_is_that_of_the_seeds_that_have_a_value():
    result = compare({"ELS": Blur(3, DATA)}, Blur(5), NOISE, schedule=SCHEDULE)
    result.metrics["ELS"]["pearson_r"][0] = np.nan
    assert result.median("ELS", "pearson_r") == result.metrics["ELS"]["pearson_r"][1]
    entry = result.summary()["ELS"]["pearson_r"]
    assert (entry["low"], entry["undefined"]) == (None, 1)


def test_a_constant_network_leaves_open_who_is_closer():
    with pytest.warns(UserWarning, match="Undefined"):
        result = compare({"IS": Blur(3, DATA), "ELS": Blur(5, DATA)}, flat, NOISE, schedule=SCHEDULE)
    assert "It is unknown" in result.verdict()
    assert result.closest == ()


def test_a_score_without_direction_chooses_no_window():
    with (
        pytest.warns(UserWarning, match=FAR),
        pytest.raises(ValueError, match=r"the criterion cosine is undefined .* least-squares"),
    ):
        calibrate(Blur(3), lambda x, sigma: x, NOISE, schedule=SCHEDULE, windows=[1, 3])
