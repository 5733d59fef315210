"""Write docs/images/studio.gif and studio.png: the studio draws, and shows the sources of pixels, in Debian's Chromium.

Needs the extra `dev`, and Chromium at /usr/bin/chromium or at ELSEWHERE_CHROMIUM.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from elsewhere.studio.serve import running
from elsewhere.studio.subjects import Subjects

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
SIZE = {"width": 1240, "height": 860}
SHOWN = 720
"""Width of the film in pixels."""
COLOURS = 96
CHROMIUM = os.environ.get("ELSEWHERE_CHROMIUM", "/usr/bin/chromium")


def film(address: str) -> list[Image.Image]:
    """Screenshots: each step of a drawing, then the pointer over some pixels."""
    frames = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.set_default_timeout(120_000)

        def shoot() -> None:
            frames.append(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))

        page.goto(f'{address}#draw?machines=["network","is","els"]&explain="els"&seed=1')
        page.locator("#status", has_text="Drawn in").wait_for()
        page.locator(".mosaic-source").first.wait_for()
        page.locator(".draw-time").scroll_into_view_if_needed()
        page.evaluate("scrollTo(0, 150)")
        page.locator(".draw-scrub").focus()
        page.keyboard.press("Home")
        for step in range(20):
            page.locator(".draw-level", has_text=f"step {step + 1} of 20").wait_for()
            page.wait_for_timeout(450)
            shoot()
            page.keyboard.press("ArrowRight")
        page.wait_for_timeout(800)
        box = page.locator(".mosaic-marks").bounding_box()
        assert box is not None
        for row, column in ((6, 8), (9, 12), (12, 15), (16, 16), (20, 14), (8, 22)):
            page.mouse.move(box["x"] + box["width"] * (column + 0.5) / 28, box["y"] + box["height"] * (row + 0.5) / 28)
            page.wait_for_timeout(100)
            shoot()
        page.locator(".mosaic-source").first.click()
        page.wait_for_timeout(100)
        shoot()
        browser.close()
    return frames


def main() -> None:
    """Serve, film, write."""
    with running(Subjects(), "film") as address:
        frames = film(address)
    frames[-2].save(IMAGES / "studio.png", optimize=True)
    height = SHOWN * SIZE["height"] // SIZE["width"]
    small = [frame.resize((SHOWN, height), Image.Resampling.LANCZOS).quantize(COLOURS) for frame in frames]
    lengths = [220] * 19 + [1200] + [900] * 6 + [2500]
    small[0].save(
        IMAGES / "studio.gif", save_all=True, append_images=small[1:], duration=lengths, loop=0, optimize=True
    )
    print(*(IMAGES / name for name in ("studio.png", "studio.gif")), sep="\n")


if __name__ == "__main__":
    main()
