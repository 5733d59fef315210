import json
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from analysis_toys import Blur, Nearly, few_images

from elsewhere.analysis import compare, write_report
from elsewhere.analysis.report import FIRST_ROWS
from elsewhere.machines.locality import LocalitySchedule
from elsewhere.sampling import make_noise
from elsewhere.schedules import cosine

SCHEDULE = cosine(2)
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """What a browser would find: every tag closed, the addresses, the text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.addresses, self.words = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "srcset", "data", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def comparison(seeds=3, machines=("IS", "LS", "ELS"), **changes):
    data = few_images()
    locality = LocalitySchedule(SCHEDULE.sigmas[:-1], (5, 3))
    windows = {"IS": 9, "LS": 5, "ELS": locality}
    found = {name: Blur(windows.get(name, 3), data) for name in machines}
    noise = make_noise(seeds, (1, 9, 9))
    return compare(found, Nearly(Blur(locality), 0.05), noise, schedule=SCHEDULE, **changes)


@pytest.fixture(scope="module")
def some():
    return comparison()


@pytest.fixture(scope="module")
def plain():
    """One machine through one window: no plots, which take most of the time."""
    return comparison(2, ["blur"])


def read(tmp_path, comparisons):
    write_report(comparisons, tmp_path / "report.html")
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_page_stands_alone(tmp_path, some):
    text = read(tmp_path, {"few": some})
    page = Page(text)
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    # Five columns for three seeds, the scatter plot and the windows.
    assert page.tags.count("img") == 3 * 5 + 2


def test_the_page_says_what_was_measured(tmp_path, some):
    text = Page(read(tmp_path, {"few": some})).text
    r = some.summary()["ELS"]["pearson_r"]
    assert f"median Pearson r of {r['median']:.2f}" in text
    assert f"95 % interval {r['low']:.2f} to {r['high']:.2f}, 3 seeds" in text
    assert f"IS reaches {some.median('IS', 'pearson_r'):.2f}" in text
    assert "Copies of a training image among 3 images: IS 0, LS 0, ELS 0, network 0." in text
    for name in some.machines:
        assert f"{some.median(name, 'r_squared'):.3f}".replace("-", "\N{MINUS SIGN}") in text
        assert f"r = {some.metrics[name]['pearson_r'][2]:.2f}" in text


def test_the_page_has_the_settings_to_run_it_again(tmp_path):
    text = Page(read(tmp_path, {"few": comparison(2, ["blur"], about={"noise": "make_noise(3, seed=0)"})})).text
    for setting in (
        "few, 12 images",
        "Nearly(Blur(",
        "Blur(3)",
        "cosine(2)",
        "noise SHA-256",
        "make_noise(3, seed=0)",
        "torch 2",
    ):
        assert setting in text


def test_names_and_titles_are_text_not_markup(tmp_path):
    data = few_images()
    machine = Blur(3, data)
    machine.num_classes = 3
    network = Blur(5)
    network.num_classes = 3
    name = '<script>alert("x")</script>'
    found = compare({name: machine}, network, make_noise(2, (1, 9, 9)), schedule=SCHEDULE, label=1, about={"<i>": "&"})
    text = read(tmp_path, {"<img src=x onerror=y>": found})
    page = Page(text)
    assert not {"script", "i"} & set(page.tags)
    assert "x" not in page.addresses
    assert name in page.text
    assert "<b>hat</b>" in page.text


def test_several_comparisons_share_a_page(tmp_path, plain):
    page = Page(read(tmp_path, {"first": plain, "second": plain}))
    assert [address for address in page.addresses if not address.startswith("data:")] == ["#1", "#2"]
    assert "first" in page.text
    assert "second" in page.text


def test_further_seeds_are_folded(tmp_path):
    page = Page(read(tmp_path, {"few": comparison(FIRST_ROWS + 2, ["blur"])}))
    assert "2 more seeds" in page.text
    assert page.tags.count("img") == (FIRST_ROWS + 2) * 3


def test_warnings_stand_above_the_numbers(tmp_path, plain):
    changed = replace(plain, warnings=("The network was trained on <other> images.",))
    text = Page(read(tmp_path, {"few": changed})).text
    assert text.index("trained on <other> images.") < text.index("Pearson r")
    assert json.loads(changed.to_json())["warnings"] == ["The network was trained on <other> images."]


def test_the_network_has_its_name_in_the_heading(tmp_path):
    comparison(1, ["blur"], about={"network": "runs/my-net"}).save(tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert "<h2>few and runs/my-net</h2>" in text


def test_one_seed_has_no_interval_and_no_plural(tmp_path):
    one = comparison(1)
    page = Page(read(tmp_path, {"few": one})).text
    assert "interval" not in page
    assert "1 seeds" not in page
    assert "1 images" not in page
    assert one.summary()["ELS"]["pearson_r"]["low"] is None
    assert repr(one).startswith("Comparison(1 seed,")


def test_numbers_keep_their_names_where_the_table_is_stacked(tmp_path, plain):
    text = read(tmp_path, {"few": plain})
    for title in ("Pearson r", "R²", "MSE", "to nearest training image (rms)", "copies", "seconds"):
        assert f'<td data-label="{title}">' in text
    assert "@media (max-width: 34rem)" in text


def test_every_machine_that_ties_is_highlighted(tmp_path):
    data = few_images()
    found = {"IS": Blur(9, data), "LS": Blur(5, data), "ELS": Blur(5, data)}
    tie = compare(found, Nearly(Blur(5), 0.05), make_noise(3, (1, 9, 9)), schedule=SCHEDULE)
    assert tie.closest == ("LS", "ELS")
    assert read(tmp_path, {"few": tie}).count('<tr class="leading">') == 2


def test_nothing_to_report_is_refused(tmp_path):
    with pytest.raises(ValueError, match="comparisons is empty"):
        write_report({}, tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(tmp_path, plain):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OSError, match=r"cannot write the report .*report\.html: .*choose another path"):
        write_report({"few": plain}, tmp_path / "taken" / "report.html")


def test_a_class_without_a_name_is_called_a_class(tmp_path, plain):
    page = read(tmp_path, {"numbers": replace(plain, labels=("7",) * plain.seeds)})
    assert "class 7" in page
