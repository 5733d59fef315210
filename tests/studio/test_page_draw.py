"""The draw view, as a person uses it."""

import re

import pytest

import elsewhere as els
from elsewhere import schedules


def drawn(page):
    page.locator("#status", has_text="Drawn in").wait_for()


def pixels(page, selector):
    """Bytes of a canvas, as text."""
    return page.locator(selector).evaluate("canvas => canvas.toDataURL()")


@pytest.fixture
def drawing(page, address):
    """The draw view with two quick machines, drawn."""
    page.goto(f'{address}#draw?machines=["network","is","els"]&seeds=[0,1]&steps=8&label=1')
    page.locator(".draw-time button.primary").click()
    drawn(page)
    return page


def test_play_draws_all_rows(drawing):
    assert drawing.locator("canvas.draw-cell").count() == 6
    assert "step 8 of 8" in drawing.locator(".draw-level").inner_text()
    assert re.fullmatch(
        r"like the network: r 0\.\d{3}, R² -?\d\.\d{3}",
        drawing.locator(".draw-agreement[data-machine=els]").inner_text(),
    )


def test_scrubbing_shows_other_pictures_and_back(drawing):
    cell = "canvas.draw-cell[data-machine=els][data-index='0']"
    last = pixels(drawing, cell)
    drawing.locator(".draw-scrub").focus()
    drawing.keyboard.press("Home")
    drawing.locator(".draw-level", has_text="step 1 of 8").wait_for()
    assert pixels(drawing, cell) != last
    drawing.keyboard.press("End")
    drawing.locator(".draw-level", has_text="step 8 of 8").wait_for()
    assert pixels(drawing, cell) == last


def test_the_number_under_the_pointer_is_that_of_explain(drawing):
    drawing.locator("button.draw-pick[data-machine=els][data-index='1']").click()
    marks = drawing.locator(".mosaic-marks")
    marks.wait_for()
    box = marks.bounding_box()
    drawing.mouse.move(box["x"] + box["width"] * 10.5 / 28, box["y"] + box["height"] * 20.5 / 28)
    drawing.locator(".mosaic-told", has_text="Row 20, column 10").wait_for()
    data, network = els.load_images("fashion-mini"), "fashion-resnet"
    machine = els.EquivariantLocalScore(data, els.shipped_locality(network), memory=2**28)
    run = els.sample(machine, els.make_noise(1, data.shape, 1), schedules.cosine(8), 1, keep=True)
    mosaic = els.explain(machine, run.states[7], run.sigmas[7], 12, 1)
    shown = drawing.locator(".mosaic-source").first.get_attribute("title")
    weight, image = float(mosaic.weights[0, 20, 10, 0]), int(mosaic.image_ids[0, 20, 10, 0])
    row, column = mosaic.positions[0, 20, 10, 0].tolist()
    assert shown.startswith(f"{100 * weight:.1f} % from image {image}, row {row}, column {column}")
    told = drawing.locator(".mosaic-told").inner_text()
    assert "313,600 equal weights" in told
    before = pixels(drawing, ".mosaic-marks")
    drawing.locator(".mosaic-credit").first.click()
    assert pixels(drawing, ".mosaic-marks") != before


def test_arrow_keys_move_the_pixel(drawing):
    drawing.locator("button.draw-pick[data-machine=els][data-index='0']").click()
    marks = drawing.locator(".mosaic-marks")
    marks.wait_for()
    marks.focus()
    for key in ("ArrowUp", "ArrowUp", "ArrowLeft"):
        drawing.keyboard.press(key)
    drawing.locator(".mosaic-told", has_text="Row 12, column 13").wait_for()


def test_other_windows_draw_another_picture(drawing):
    cell = "canvas.draw-cell[data-machine=els][data-index='0']"
    before, other = pixels(drawing, cell), pixels(drawing, "canvas.draw-cell[data-machine=network][data-index='0']")
    drawing.locator("summary", has_text="Windows at each noise level").click()
    slider = drawing.get_by_label("One window for all noise levels")
    slider.focus()
    drawing.keyboard.press("Home")
    drawn(drawing)
    drawing.wait_for_timeout(100)
    assert "window=1" in drawing.url
    drawn(drawing)
    assert pixels(drawing, cell) != before
    assert pixels(drawing, "canvas.draw-cell[data-machine=network][data-index='0']") == other


def test_repainted_noise_changes_its_surroundings_only(drawing):
    noise = drawing.locator("canvas.draw-noise").first
    box = noise.bounding_box()
    before = pixels(drawing, "canvas.draw-noise[data-index='0']")
    drawing.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.2)
    drawing.mouse.down()
    drawing.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.2)
    drawing.mouse.up()
    drawing.locator("#status", has_text="Step").wait_for()
    drawn(drawing)
    assert "strokes=" in drawing.url
    assert pixels(drawing, "canvas.draw-noise[data-index='0']") != before


def test_the_address_brings_everything_back(drawing):
    drawing.locator("button.draw-pick[data-machine=els][data-index='1']").click()
    drawing.locator(".mosaic-source").first.wait_for()
    cell = "canvas.draw-cell[data-machine=els][data-index='1']"
    before = pixels(drawing, cell)
    drawing.reload()
    drawing.locator(".mosaic-source").first.wait_for()
    assert pixels(drawing, cell) == before
    assert drawing.locator("button.draw-pick[aria-pressed=true]").get_attribute("data-index") == "1"


def test_stop_cancels(page, address):
    page.goto(f'{address}#draw?machines=["els"]&seeds=[0,1,2,3,4,5,6,7]&steps=50&label=null')
    page.locator(".draw-time button.primary").click()
    page.locator("#status", has_text="Step").wait_for()
    page.locator(".draw-time button.primary").click()
    text = page.locator("#status").inner_text()
    page.wait_for_timeout(500)
    assert page.locator("#status").inner_text() == text
    assert page.locator(".draw-time button.primary").inner_text() == "Play"


def test_bad_seeds_are_refused_where_they_were_typed(drawing):
    drawing.get_by_label("Seeds").fill("1, two")
    drawing.keyboard.press("Enter")
    drawing.locator(".draw-problem", has_text="whole numbers").wait_for()


def test_python_lines_run(drawing, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drawing.get_by_role("button", name="Python lines").click()
    lines = drawing.locator(".draw-lines").inner_text()
    names: dict[str, object] = {}
    exec(lines, names)
    assert names["run"].images.shape == (2, 1, 28, 28)
    assert names["mosaic"].weights.shape[:3] == (2, 28, 28)
    assert (tmp_path / "elsewhere.png").exists()


@pytest.mark.parametrize("name", ["Picture (PNG)", "Numbers (JSON)", "Film (WebM)", "Film (GIF)"])
def test_views_can_be_saved(drawing, name):
    with drawing.expect_download() as started:
        drawing.get_by_role("button", name=name).click()
    path = started.value.path()
    kinds = {
        "Picture (PNG)": b"\x89PNG",
        "Numbers (JSON)": b"{",
        "Film (WebM)": b"\x1aE\xdf\xa3",
        "Film (GIF)": b"GIF89a",
    }
    assert path.read_bytes().startswith(kinds[name])


def test_an_explained_drawing_is_accessible_and_fits_its_page(drawing):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    drawing.locator("button.draw-pick[data-machine=els][data-index='0']").click()
    drawing.locator(".mosaic-source").first.wait_for()
    for scheme in ("light", "dark"):
        drawing.emulate_media(color_scheme=scheme)
        found = axe.Axe().run(drawing)
        assert found.violations_count == 0, found.generate_report()
    for width in (360, 1280, 2560):
        drawing.set_viewport_size({"width": width, "height": 800})
        assert drawing.evaluate("document.documentElement.scrollWidth") <= width


def test_a_kept_pixel_stays_until_it_is_freed(drawing):
    drawing.locator("button.draw-pick[data-machine=els][data-index='0']").click()
    marks = drawing.locator(".mosaic-marks")
    marks.wait_for()
    box = marks.bounding_box()

    def at(row, column):
        return box["x"] + box["width"] * (column + 0.5) / 28, box["y"] + box["height"] * (row + 0.5) / 28

    drawing.mouse.click(*at(9, 12))
    drawing.mouse.move(*at(20, 20))
    drawing.locator(".mosaic-told", has_text="Row 9, column 12").wait_for()
    source = drawing.locator(".mosaic-source").first
    source.click()
    assert source.get_attribute("aria-pressed") == "true"
    drawing.get_by_role("button", name="Show all", exact=True).click()
    assert source.get_attribute("aria-pressed") == "false"
    marks.focus()
    drawing.keyboard.press("Escape")
    drawing.mouse.move(*at(20, 19))
    drawing.locator(".mosaic-told", has_text="Row 20, column 19").wait_for()


def test_a_drawing_after_a_stopped_replay_is_completed(drawing):
    play = drawing.locator(".draw-time button.primary")
    play.click()
    assert play.inner_text() == "Stop"
    play.click()
    assert play.inner_text() == "Play"
    drawing.get_by_role("button", name="Other seeds").click()
    # Longer than the replay would have taken.
    drawing.wait_for_timeout(1500)
    drawn(drawing)
    drawing.locator(".draw-level", has_text="step").wait_for()
    drawing.locator(".draw-scrub").focus()
    drawing.keyboard.press("End")
    drawing.locator(".draw-level", has_text="step 8 of 8").wait_for()
    drawing.locator(".draw-agreement[data-machine=els]", has_text="r 0.").wait_for()
