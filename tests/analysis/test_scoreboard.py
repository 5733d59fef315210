"""The board measures what it says, goes on where it was stopped, and survives methods that fail."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from analysis_toys import Blur, Nearly, few_images
from test_report import Page

pytest.importorskip("scipy")

from elsewhere.analysis import mse, pearson_r, r_squared
from elsewhere.analysis.board_result import BoardRow, BoardSection, compare_paired
from elsewhere.analysis.peak_memory import PeakMemory
from elsewhere.analysis.scoreboard import BoardSubject, Contender, board
from elsewhere.sampling import make_noise, sample
from elsewhere.schedules import cosine

SCHEDULE = cosine(3)
NETWORK = Nearly(Blur(5), 0.05)
SHAPE = (1, 9, 9)


class Wiener:
    """A stand-in for the linear denoiser: the posterior mean of Gaussian pixels that are independent."""

    def __init__(self, images):
        self.mean, self.variance = images.mean(0), images.var(0)

    def __repr__(self):
        return "Wiener()"

    def __call__(self, x, sigma, label=None):
        return self.mean + self.variance / (self.variance + sigma**2) * (x - self.mean)


def contenders(**more):
    makers = {"blur 5": lambda: Blur(5), "blur 3": lambda: Blur(3), **more}
    return [Contender(name, make, repr(name), f"{name} in words") for name, make in makers.items()]


def broken():
    raise ValueError("windows must fit\nthe image")


def run(methods=None, seeds=6, **settings):
    methods = contenders(Wiener=lambda: Wiener(few_images().scaled()), bad=broken) if methods is None else methods
    return board([BoardSubject("net", methods, NETWORK, SHAPE)], seeds, schedule=SCHEDULE, **settings)


@pytest.fixture(scope="module")
def found():
    return run()


def test_metrics_are_those_of_final_images_from_the_same_noise(found):
    noise = make_noise(6, SHAPE)
    ours, theirs = (sample(denoiser, noise, SCHEDULE).images for denoiser in (Blur(3), NETWORK))
    row = found.sections[0].row("blur 3")
    for name, metric in (("pearson_r", pearson_r), ("r_squared", r_squared), ("mse", mse)):
        np.testing.assert_allclose(row.metrics[name], metric(ours, theirs).numpy(), atol=1e-12)
        assert row.median(name) == pytest.approx(float(np.median(row.metrics[name])))
    assert row.about == "Blur(3)"
    assert row.seconds > 0


def test_rms_is_taken_on_the_networks_own_path(found):
    path = sample(NETWORK, make_noise(6, SHAPE), SCHEDULE, keep=True)
    row = found.sections[0].row("blur 3")
    for level, sigma in enumerate(SCHEDULE.sigmas[:-1]):
        apart = Blur(3)(path.states[level], sigma) - path.predictions[level]
        assert row.rms[level] == pytest.approx(float(apart.square().mean().sqrt()), rel=1e-5)


def test_errors_are_given_relative_to_wiener_where_it_is_there(found):
    section = found.sections[0]
    ratios = section.relative("blur 3")
    assert ratios == tuple(a / b for a, b in zip(section.row("blur 3").rms, section.row("Wiener").rms, strict=True))
    assert section.relative("Wiener") == (1.0, 1.0, 1.0)
    assert section.mean_relative("blur 3") == pytest.approx(math.prod(ratios) ** (1 / 3))
    assert section.relative("bad") is None
    without = replace(section, rows=tuple(row for row in section.rows if row.name != "Wiener"))
    assert without.relative("blur 3") is None


def test_a_method_that_fails_has_a_row_that_says_why(found):
    section = found.sections[0]
    assert section.row("bad").why == "windows must fit the image"
    assert section.ranked[-1].name == "bad"
    assert section.paired("bad") is None
    assert section.best.name == "blur 5"


def test_a_method_that_fails_half_way_is_caught_too():
    def fails(x, sigma):
        if sigma < 1:
            raise MemoryError("too large")
        return x / 2

    section = run(contenders(late=lambda: fails, colour=lambda: Blur(3, channels=3))).sections[0]
    assert section.row("late").why == "MemoryError: too large"
    assert "3" in section.row("colour").why
    assert section.row("colour").rms == ()


def test_ctrl_c_is_no_failure_of_a_method():
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(contenders(stop=stop))


def test_a_network_in_place_of_a_machine_is_no_rival():
    methods = [*contenders(), Contender("twin", lambda: NETWORK, "twin", kind="network")]
    section = run(methods).sections[0]
    assert section.ranked[0].name == "twin"
    assert section.best.name == "blur 5"
    assert section.paired("twin").rival == "blur 5"
    assert section.paired("blur 3").rival == "blur 5"
    assert section.paired("blur 5").rival == "blur 3"


def rows(ours, theirs):
    return [BoardRow(name, metrics={"pearson_r": tuple(map(float, r))}) for name, r in (("a", ours), ("b", theirs))]


def test_paired_differences_are_those_of_the_same_seeds():
    rng = np.random.default_rng(0)
    theirs = rng.uniform(0, 0.5, 40)
    found = compare_paired(*rows(theirs + 0.1 + 0.01 * rng.normal(size=40), theirs))
    # Unpaired, the spread of 0.5 would hide a difference of 0.1.
    assert found.low < found.difference < found.high
    assert found.difference == pytest.approx(0.1, abs=0.01)
    assert found.high - found.low < 0.02
    assert found.p < 1e-6
    assert (found.wins, found.seeds) == (40, 40)


def test_undefined_seeds_and_ties_are_left_out_or_even():
    nan = math.nan
    found = compare_paired(*rows([0.5, nan, 0.7, 0.9], [0.4, 0.4, nan, 0.8]))
    assert (found.seeds, found.wins) == (2, 2)
    assert compare_paired(*rows([0.5, 0.6], [0.5, 0.6])).p == 1
    one = compare_paired(*rows([0.5], [0.4]))
    assert (one.low, one.high, one.p) == (None, None, None)


def test_without_a_network_the_error_is_that_of_denoising():
    held = few_images(5, seed=3).scaled()
    subject = BoardSubject("few", contenders(), held_out=held)
    section = board([subject], schedule=SCHEDULE, seed=2).sections[0]
    noise = make_noise(5, SHAPE, 2)
    for level, sigma in enumerate(SCHEDULE.sigmas[:-1]):
        apart = Blur(3)(held + sigma * noise, sigma) - held
        assert section.row("blur 3").rms[level] == pytest.approx(float(apart.square().mean().sqrt()), rel=1e-5)
    assert section.row("blur 3").metrics == {}
    assert section.paired("blur 3") is None
    assert section.network == ""


def test_finished_measurements_are_used_again(tmp_path):
    made = []

    def counted():
        made.append(1)
        return Blur(3)

    first = run([Contender("blur", counted, "3")], cache=tmp_path)
    again = run([Contender("blur", counted, "3"), *contenders()], cache=tmp_path)
    assert len(made) == 1
    assert again.sections[0].row("blur") == first.sections[0].row("blur")
    assert again.sections[0].target == first.sections[0].target
    # Another setting, noise or network is measured anew.
    run([Contender("blur", counted, "5")], cache=tmp_path)
    run([Contender("blur", counted, "3")], cache=tmp_path, seed=1)
    other = BoardSubject("net", [Contender("blur", counted, "3")], Nearly(Blur(7), 0.05), SHAPE)
    board([other], 6, schedule=SCHEDULE, cache=tmp_path)
    assert len(made) == 4


def test_network_and_methods_draw_with_the_sampler_asked_for(tmp_path):
    result = run(contenders(), cache=tmp_path, sampler="ancestral", seed=2)
    noise = make_noise(6, SHAPE, 2)
    ours, theirs = (
        sample(denoiser, noise, SCHEDULE, sampler="ancestral", seed=2).images for denoiser in (Blur(3), NETWORK)
    )
    np.testing.assert_allclose(result.sections[0].row("blur 3").metrics["mse"], mse(ours, theirs).numpy(), atol=1e-12)
    assert result.settings["sampler"] == "ancestral"
    # What was measured with one sampler is not taken for another.
    euler = run(contenders(), cache=tmp_path, seed=2)
    assert euler.sections[0].row("blur 3").metrics != result.sections[0].row("blur 3").metrics


def test_failures_are_tried_again_and_damaged_files_replaced(tmp_path):
    assert run([Contender("blur", broken, "3")], cache=tmp_path).sections[0].row("blur").why
    healed = run([Contender("blur", lambda: Blur(3), "3")], cache=tmp_path)
    assert not healed.sections[0].row("blur").why
    for path in tmp_path.glob("*.json"):
        path.write_bytes(path.read_bytes()[:50])
    again = run([Contender("blur", lambda: Blur(3), "3")], cache=tmp_path).sections[0].row("blur")
    assert again.metrics == healed.sections[0].row("blur").metrics


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 on this system")
def test_a_board_that_is_killed_goes_on_from_the_last_cell(tmp_path):
    here = Path(__file__).parent
    script = (
        "import sys, time; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import test_scoreboard as t\n"
        "def slow():\n    Path(sys.argv[2], 'begun').touch(); time.sleep(100)\n"
        "t.run([*t.contenders(), t.Contender('slow', slow, 's')], cache=sys.argv[2])\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(here), str(tmp_path)], env=dict(os.environ))
    limit = time.monotonic() + 120
    while not (tmp_path / "begun").exists():
        assert child.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = [Contender(c.name, broken, c.settings) for c in contenders()]
    section = run([*kept, Contender("slow", lambda: Blur(7), "s")], cache=tmp_path).sections[0]
    assert [row.why for row in section.rows] == ["", "", ""]


def test_saved_files_say_the_same(tmp_path, found):
    found.save(tmp_path)
    content = json.loads((tmp_path / "results.json").read_text())
    section, row = found.sections[0], found.sections[0].row("blur 3")
    kept = content["sections"][0]["methods"]["blur 3"]
    assert kept["rms"] == list(row.rms)
    assert kept["metrics"]["pearson_r"] == list(row.metrics["pearson_r"])
    assert kept["paired"]["rival"] == "blur 5"
    assert content["sections"][0]["methods"]["bad"]["not_measured"] == "windows must fit the image"
    assert "images in [-1, 1]" in content["units"]
    with (tmp_path / "results.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["method"] for line in lines] == [row.name for row in section.ranked]
    assert float(lines[0]["pearson_r"]) == section.ranked[0].median("pearson_r")


def test_the_page_stands_alone_and_has_the_numbers(tmp_path, found):
    found.save(tmp_path)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert all(a.startswith(("data:image/png;base64,", "#")) for a in page.addresses)
    assert "script" not in page.tags
    section = found.sections[0]
    for row in section.measured:
        assert f"{row.median('pearson_r'):.3f}" in page.text
        assert f"{row.median('mse'):.4f}" in page.text
    assert "not measured: windows must fit the image" in page.text
    assert "rms relative to Wiener" in page.text
    assert "images in [-1, 1]" in page.text


def test_relative_columns_are_absent_without_wiener(tmp_path):
    run(contenders()).save(tmp_path)
    assert "rms relative to" not in Page((tmp_path / "report.html").read_text(encoding="utf-8")).text


def test_names_are_text_not_markup(tmp_path):
    run([Contender("<script>x</script>", lambda: Blur(3))]).save(tmp_path)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert "<script>x</script>" in page.text


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is measured on Linux only")
def test_the_peak_is_that_of_the_block():
    with PeakMemory() as large:
        torch.ones(2**24)  # 64 MiB, freed at once
    with PeakMemory() as small:
        torch.ones(2**10)
    if large.nbytes is None:
        pytest.skip("this system does not let a process reset its peak")
    assert 60 * 2**20 < large.nbytes < 80 * 2**20
    assert small.nbytes < 16 * 2**20


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: board([]), "subjects is empty"),
        (lambda: run(seeds=0), "seeds must be 1 or more"),
        (lambda: BoardSubject("net", [], NETWORK, SHAPE), "one or more different names"),
        (lambda: BoardSubject("net", contenders() * 2, NETWORK, SHAPE), "different names, got blur 5, blur 3, blur 5"),
        (lambda: BoardSubject("net", contenders()), "either a network or held_out images"),
        (lambda: Contender(" ", broken), "name must not be empty"),
        (lambda: board([BoardSubject("a", contenders(), NETWORK, SHAPE)] * 2), "subjects must have different names"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_results_of_nothing_measured_say_so():
    section = BoardSection("net", "n", "", (1.0,), 1, (BoardRow("a", why="no"),), BoardRow("network"))
    assert section.best is None
    assert section.ranked[0].name == "a"
