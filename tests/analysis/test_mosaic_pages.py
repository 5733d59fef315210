"""The explanation page is self-contained and complete; the widget shows the same message."""

import base64
import gzip
import json
import re
import sys
from dataclasses import replace

import pytest

import elsewhere as els
from elsewhere import schedules
from elsewhere.analysis.audit_report import render_audit
from elsewhere.analysis.explanation import explain_images
from elsewhere.analysis.mosaic_message import mosaic_message
from elsewhere.analysis.mosaic_pages import MOST_SHOWN
from elsewhere.analysis.mosaic_view import TOP


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    data = els.load_images("fashion-mini", limit=30)
    machine = els.EquivariantLocalScore(data, window=5)
    found = explain_images(machine, els.make_noise(MOST_SHOWN + 1, (1, 28, 28)), schedule=schedules.cosine(2))
    out = tmp_path_factory.mktemp("explained")
    found.save(out)
    return out, found


def test_the_page_asks_for_nothing_else(folder):
    text = (folder[0] / "explanation.html").read_text()
    static = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"""(src|href)=["'](?!data:)|@import|url\((?!data:)""", static)
    assert text.count("</script>") == 2
    assert "1 more images are in mosaic.png only" in text


def test_the_page_has_the_message_of_every_shown_image(folder):
    text = (folder[0] / "explanation.html").read_text()
    [entries] = re.findall(r'getElementById\("mosaics"\), (\[.*\]), ""\);</script>', text)
    entries = json.loads(entries)
    assert len(entries) == MOST_SHOWN
    assert entries[3]["mosaic"] == json.loads(json.dumps(mosaic_message(folder[1].mosaic, 3, TOP)))


def test_the_page_works_from_the_disk(folder, browser):
    page = browser.new_page()
    told = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.goto((folder[0] / "explanation.html").as_uri())
    page.get_by_role("button", name="Image 2", exact=True).click()
    page.locator(".mosaic-marks").focus()
    page.keyboard.press("ArrowUp")
    told_of = page.locator(".mosaic-told", has_text="Row 13, column 14").inner_text()
    page.close()
    mosaic = folder[1].mosaic
    machine = els.EquivariantLocalScore(els.load_images("fashion-mini", limit=30), window=5)
    every = els.explain(machine, mosaic.x[2:3], mosaic.sigmas[2], None)
    weights, counts = every.weights[0, 13, 14], every.counts[0, 13, 14].clamp(min=1)
    # Equal windows are one source, and each has its share of its weight.
    entropy = float(-(weights * (weights / counts).clamp(min=1e-300).log()).sum())
    low, high = re.findall(r"Entropy of all weights: ([0-9.]+)(?: to ([0-9.]+))?", told_of)[0]
    assert float(low) - 0.01 <= entropy <= float(high or low) + 0.01
    assert "23,520 equal weights" in told_of
    assert not told, told


def test_the_widget_has_the_message_and_the_view(folder):
    pytest.importorskip("anywidget")
    mosaic = folder[1].mosaic
    shown = mosaic.widget(2)
    assert shown.titles == ["step 2, sigma 0.988"]
    assert unzipped(shown) == {"at": 0, "mosaic": mosaic_message(mosaic, 2)}
    assert "export default { render: elsewhere.render }" in str(shown._esm)
    with pytest.raises(ValueError, match="index"):
        mosaic.widget(99)


def test_reports_of_compare_and_audit_show_the_view(tmp_path, browser):
    data = els.load_images("fashion-mini", limit=30)
    machines = {"IS": els.IdealScore(data), "ELS": els.EquivariantLocalScore(data, 5)}
    noise = els.make_noise(6, data.shape)
    found = els.compare(machines, els.LocalScore(data, 7), noise, schedule=schedules.cosine(2))
    assert found.explained == "ELS"
    found.save(tmp_path / "compare")
    els.audit(data, data.scaled()[:2]).save(tmp_path / "audit")
    for name, last in (("compare", "Seed 3"), ("audit", "#1: copy")):
        page = browser.new_page()
        told = []
        page.on("console", lambda message, told=told: told.append(message.text))
        page.on("pageerror", lambda error, told=told: told.append(str(error)))
        page.goto((tmp_path / name / "report.html").as_uri())
        page.get_by_role("button", name=last, exact=True).click()
        page.locator(".mosaic-source").first.click()
        assert page.locator(".mosaic-lines line").count() >= 1
        page.close()
        assert not told, told


def test_of_a_copy_the_nearest_training_image_fits_everywhere():
    data = els.load_images("fashion-mini", limit=30)
    text = render_audit(els.audit(data, data.scaled()[4:5]))
    [entries] = re.findall(r'getElementById\("mosaics"\), (\[.*\]), ""\);</script>', text)
    [entry] = json.loads(entries)
    assert entry["title"] == "#0: copy"
    assert entry["mosaic"]["credits"][0][0] == 4
    assert entry["mosaic"]["candidates"] == 30 * 28 * 28


def unzipped(shown):
    return json.loads(gzip.decompress(shown.step))


def test_the_widget_of_a_run_explains_the_step_that_is_asked_for(monkeypatch):
    pytest.importorskip("anywidget")
    data = els.load_images("fashion-mini", limit=20)
    machine = els.EquivariantLocalScore(data, 5)
    run = els.sample(machine, els.make_noise(2, data.shape), schedules.cosine(3), label=[0, 1], keep=True)
    asked = []
    run_widget = sys.modules["elsewhere.analysis.run_widget"]
    explained = run_widget.explain
    monkeypatch.setattr(run_widget, "explain", lambda *args: (asked.append(args[2]), explained(*args))[1])
    shown = run.widget(machine, 1, [0, 1])
    assert [title.partition(",")[0] for title in shown.titles] == ["step 1", "step 2", "step 3"]
    for step in (2, 0, 2):
        shown.at = step
        expected = els.explain(machine, run.states[step][1:], run.sigmas[step], top=12, label=1)
        assert unzipped(shown) == {"at": step, "mosaic": mosaic_message(replace(expected, step=step))}
    # A page that asks for a step that is not there gets none.
    shown.at = 99
    assert unzipped(shown)["at"] == 2
    # The second one was explained by nobody, the last one once.
    assert asked == [run.sigmas[2], run.sigmas[0]]
    # What a notebook stores besides the script is one step.
    assert len(shown.step) < 1.1 * len(gzip.compress(json.dumps(unzipped(shown)).encode()))
    with pytest.raises(ValueError, match="keep=True"):
        els.sample(machine, els.make_noise(1, data.shape), schedules.cosine(2)).widget(machine)


def test_the_slider_asks_for_a_step_and_shows_the_answer(browser):
    pytest.importorskip("anywidget")
    data = els.load_images("fashion-mini", limit=20)
    machine = els.EquivariantLocalScore(data, 5)
    run = els.sample(machine, els.make_noise(1, data.shape), schedules.cosine(3), keep=True)
    shown = run.widget(machine)
    answers = {}
    for step in (2, 0):
        shown.at = step
        answers[str(step)] = base64.b64encode(shown.step).decode()
    page = browser.new_page()
    told = []
    page.on("pageerror", lambda error: told.append(str(error)))
    page.set_content("<div id='place'></div>")
    page.add_script_tag(content=str(shown._esm).replace("export default { render: elsewhere.render };", ""))
    # A notebook's model: Python answers where changes are saved.
    page.evaluate(
        """async ([answers, titles]) => {
          const array = (text) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));
          const bytes = (at) => new DataView(array(atob(answers[at])).buffer);
          const values = { titles, at: 2, step: bytes(2) }, heard = [];
          const model = {
            get: (name) => values[name], set: (name, value) => { values[name] = value; },
            on: (event, call) => heard.push(call),
            save_changes: () => { values.step = bytes(values.at); heard.forEach((call) => call()); },
          };
          await elsewhere.render({ model, el: document.getElementById("place") });
        }""",
        [answers, list(shown.titles)],
    )
    told_of = page.locator("output")
    assert told_of.inner_text() == shown.titles[2]
    before = page.locator(".mosaic-told").inner_text()
    page.get_by_role("slider").fill("0")
    page.wait_for_function("title => document.querySelector('output').textContent === title", arg=shown.titles[0])
    assert page.locator(".mosaic-told").inner_text() != before
    assert page.locator("span.soft").inner_text() == ""
    page.close()
    assert not told, told
