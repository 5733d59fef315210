"""All views, as a person uses them."""

import pytest

from elsewhere.morphogenesis import PATTERNS
from elsewhere.morphogenesis.reaction_diffusion import State, evolve

VIEWS = ("start", "tour", "draw", "fingers", "patterns", "copied")


def test_the_toy_remembers_and_creates(page, address):
    page.goto(address)
    page.get_by_role("button", name="Denoise").click()
    page.locator(".start-said", has_text="it can only remember").wait_for()
    cell = page.get_by_role("button", name="Picture A, row 1, column 1", exact=True)
    assert cell.get_attribute("aria-pressed") == "false"
    cell.click()
    assert cell.get_attribute("aria-pressed") == "true"
    page.locator(".start-said", has_text="it can only remember").wait_for()
    page.reload()
    assert (
        page.get_by_role("button", name="Picture A, row 1, column 1", exact=True).get_attribute("aria-pressed")
        == "true"
    )


def test_the_tour_has_eight_steps_that_arrow_keys_walk(page, address):
    page.goto(f"{address}#tour")
    page.locator("canvas.tour-cell").first.wait_for()
    for number in range(2, 9):
        page.locator(".tour").focus()
        page.keyboard.press("ArrowRight")
        page.get_by_text(f"Step {number} of 8").wait_for()
    assert "card=7" in page.url
    page.get_by_role("button", name="Now draw your own").click()
    page.get_by_role("heading", name="Draw from the same noise").wait_for()


def test_narrow_windows_too_early_change_the_hand(page, address):
    page.goto(f"{address}#fingers?window=5&when=12")
    page.locator(".fingers-said", has_text="inger").wait_for()
    early = page.locator("canvas.fingers-picture").first.evaluate("canvas => canvas.toDataURL()")
    page.get_by_label("Shrinks at noise level").focus()
    page.keyboard.press("Home")
    page.locator(".fingers-said", has_text="Drawing").wait_for()
    page.locator(".fingers-said", has_text="inger").wait_for()
    assert page.locator("canvas.fingers-picture").first.evaluate("canvas => canvas.toDataURL()") != early
    assert "when=0.1" in page.url


def test_the_fingers_of_a_hand_have_sources(page, address):
    page.goto(f"{address}#fingers?hand=1")
    page.locator(".fingers-origins .mosaic-source").first.wait_for()
    third = page.get_by_role("button", name="Finger 3:")
    third.click()
    number = third.inner_text().split("hand ")[1].split(" ")[0]
    assert page.get_by_role("button", name="Finger 7:").count() == 0
    assert f"#{number}" in page.locator(".fingers-origins .mosaic-source").all_inner_texts()[0].replace("\n", " ")


def test_a_pattern_is_wounded_with_the_mouse_and_heals(page, address):
    page.goto(f"{address}#patterns")
    page.locator(".patterns-said", has_text="All three").wait_for()
    marks = page.locator(".patterns-marks").nth(1)
    box = marks.bounding_box()
    before = page.locator("canvas.patterns-picture").nth(1).evaluate("canvas => canvas.toDataURL()")
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 40, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    page.locator(".patterns-said", has_text="Wounded").wait_for()
    assert "wound=" in page.url
    page.get_by_role("button", name="Heal").click()
    page.locator(".patterns-said", has_text="filled").wait_for()
    assert page.locator("canvas.patterns-picture").nth(1).evaluate("canvas => canvas.toDataURL()") != before
    assert "misfit" in page.locator(".patterns-measured").nth(1).inner_text()


def test_growth_that_was_left_starts_again(page, address):
    page.goto(f"{address}#patterns?pattern=holes")
    page.locator(".patterns-said", has_text="Growing").wait_for()
    page.get_by_role("link", name="Start", exact=True).click()
    page.get_by_role("button", name="Denoise").wait_for()
    page.go_back()
    page.locator(".patterns-said", has_text="All three").wait_for()
    assert "wound" not in page.url


def test_a_wound_after_healing_is_shown_and_the_address_cuts_it_again(page, address):
    """A place is marked as wounded until it is healed, and again after another cut."""
    marked = """canvas => {
        const pen = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
        pen.drawImage(canvas, 0, 0);
        const pixels = pen.getImageData(0, 0, canvas.width, canvas.height).data;
        return pixels.filter((value, i) => i % 4 === 3 && value > 0).length;
    }"""
    page.goto(f"{address}#patterns?wound=[[10,10,4]]")
    page.locator(".patterns-said", has_text="Wounded, as the address says").wait_for()
    marks = page.locator(".patterns-marks").nth(1)
    page.wait_for_timeout(200)
    assert marks.evaluate(marked) == 49 * 16
    page.get_by_role("button", name="Heal").click()
    page.locator(".patterns-said", has_text="filled").wait_for()
    assert marks.evaluate(marked) == 0
    page.get_by_role("button", name="Cut a wound").click()
    assert marks.evaluate(marked) > 49 * 16
    page.evaluate("location.hash = '#patterns?wound=[[40,40,4]]'")
    page.wait_for_timeout(200)
    assert marks.evaluate(marked) == 49 * 16


def test_the_reaction_in_the_page_is_that_of_the_library(page, address):
    page.goto(address)
    name = "labyrinth"
    system = PATTERNS[name]
    rates = {
        "feed": system.feed, "kill": system.kill, "u": list(system.diffusion_u), "v": list(system.diffusion_v)
    }  # fmt: skip
    u, v = page.evaluate(
        """async ([rates]) => {
            const { GrayScott } = await import("./gray_scott.js");
            const system = new GrayScott(16, rates);
            system.scatter(3);
            const start = [Array.from(system.u), Array.from(system.v)];
            system.evolve(50);
            return [[start[0], Array.from(system.u)], [start[1], Array.from(system.v)]];
        }""",
        [rates],
    )
    import torch

    start = State(*(torch.tensor(values[0], dtype=torch.float32).view(1, 16, 16) for values in (u, v)))
    after = evolve(system, start, 50)
    for ours, theirs in ((after.u, u[1]), (after.v, v[1])):
        # Both add up in float32, in another order.
        assert torch.allclose(ours[0].flatten(), torch.tensor(theirs, dtype=torch.float32), atol=1e-4)
    assert float(after.v.max()) > 0.1


def test_dropped_pictures_get_a_verdict(page, address, tmp_path, subjects):
    from PIL import Image

    image = subjects["fashion-mini"].data.images[11, 0]
    Image.fromarray(image.numpy()).save(tmp_path / "boot.png")
    (tmp_path / "text.png").write_text("no picture")
    page.goto(f"{address}#copied")
    page.locator(".copied-said", has_text="1 copy and 3 near copies").wait_for()
    page.locator("input[type=file]").set_input_files(tmp_path / "boot.png")
    page.locator(".copied-said", has_text="Among 1 generated image: 1 copy").wait_for()
    assert "image 11" in page.locator(".copied-distance").inner_text()
    page.locator("input[type=file]").set_input_files(tmp_path / "text.png")
    page.locator(".copied-said", has_text="text.png is no picture").wait_for()


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_accessible_and_fits_its_page(page, address, view):
    """In light and dark, and from a phone to a projector."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page.emulate_media(reduced_motion="reduce")
    page.goto(f"{address}#{view}")
    page.locator("h2").first.wait_for()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = axe.Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
    for width in (360, 2560):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_without_the_server_the_page_says_so(page, address):
    page.goto(address)
    page.get_by_role("button", name="Denoise").wait_for()
    page.context.set_offline(True)
    page.get_by_role("button", name="Denoise").click()
    page.locator(".start-said", has_text="does not answer").wait_for()
    page.told.clear()
