"""How fast the studio is: loading, first picture, first explanation, pointing, scrubbing; and 20 clients at once.

Needs the extra `dev`, and Chromium at /usr/bin/chromium or at ELSEWHERE_CHROMIUM. Prints seconds, frames a second, and
the memory of the server in MiB.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

CHROMIUM = os.environ.get("ELSEWHERE_CHROMIUM", "/usr/bin/chromium")
CLIENTS, STEPS = 20, 20
MOVES = 200
"""Pixels that the pointer visits, and steps that are scrubbed."""


def measure_page(page: Page, address: str) -> dict[str, float]:
    """Seconds and frames a second of one page."""
    found = {}
    began = time.perf_counter()
    page.goto(f'{address}#draw?machines=["els"]&seeds=[0,1,2,3]&label=0')
    page.locator(".draw-time button.primary:enabled").wait_for()
    found["page loaded (s)"] = time.perf_counter() - began
    began = time.perf_counter()
    page.locator(".draw-time button.primary").click()
    page.locator(".draw-level", has_text="step 1 of").wait_for()
    found["first picture (s)"] = time.perf_counter() - began
    page.locator("#status", has_text="Drawn in").wait_for()
    found["all pictures (s)"] = time.perf_counter() - began
    began = time.perf_counter()
    page.locator("button.draw-pick[data-machine=els]").first.click()
    page.locator(".mosaic-source").first.wait_for()
    found["first explanation (s)"] = time.perf_counter() - began
    each = page.evaluate(
        """(moves) => {
            const marks = document.querySelector(".mosaic-marks"), box = marks.getBoundingClientRect();
            const began = performance.now();
            for (let i = 0; i < moves; i++) {
                const clientX = box.left + ((i * 7) % 28 + 0.5) * box.width / 28;
                const clientY = box.top + ((i * 3) % 28 + 0.5) * box.height / 28;
                marks.dispatchEvent(new PointerEvent("pointermove", { clientX, clientY }));
            }
            return (performance.now() - began) / moves;
        }""",
        MOVES,
    )
    found["answer to the pointer (ms)"] = each
    each = page.evaluate(
        """async (moves) => {
            const slider = document.querySelector(".draw-scrub"), began = performance.now();
            for (let i = 0; i < moves; i++) {
                slider.value = String(i % 20);
                slider.dispatchEvent(new Event("input", { bubbles: true }));
                await new Promise(requestAnimationFrame);
            }
            return (performance.now() - began) / moves;
        }""",
        MOVES,
    )
    found["scrubbing (frames a second)"] = 1000 / each
    return found


def ask(address: str, number: int, seconds: dict[int, float]) -> None:
    """One client that draws to the end."""
    question = {
        "subject": "fashion-mini",
        "machines": ["network", "els"],
        "seeds": [number],
        "label": number % 10,
        "steps": STEPS,
    }
    origin = address.rsplit("/", 2)[0]
    headers = {"origin": origin, "x-elsewhere-client": str(number), "content-type": "application/json"}
    request = urllib.request.Request(f"{address}ask/draw", json.dumps(question).encode(), headers)
    began = time.perf_counter()
    with urllib.request.urlopen(request, timeout=600) as answer:
        lines = answer.read().splitlines()
    if json.loads(lines[-1]) != {"done": True}:
        raise RuntimeError(f"client {number}: {lines[-1][:200]!r}")
    seconds[number] = time.perf_counter() - began


def memory(process: int) -> float:
    """Peak memory of a process in MiB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    """Start a studio, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="folder for studio.json")
    out = parser.parse_args().out
    command = [sys.executable, "-m", "elsewhere", "studio", "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        address = server.stdout.readline().split()[-1]
        time.sleep(5)
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page()
            page.set_default_timeout(120_000)
            found = measure_page(page, address)
            browser.close()
        seconds: dict[int, float] = {}
        clients = [threading.Thread(target=ask, args=(address, number, seconds)) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        found[f"clients of {CLIENTS} that were answered"] = len(seconds)
        found["first of them done (s)"], found["last of them done (s)"] = min(seconds.values()), max(seconds.values())
        found["peak memory of the server (MiB)"] = memory(server.pid)
    finally:
        server.terminate()
        server.wait(30)
    for name, value in found.items():
        print(f"{name:40} {value:10.3f}")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "studio.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
