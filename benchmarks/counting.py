"""How often counting limbs is right: fingers against drawn truth, legs and sleeves against labels by eye.

    python benchmarks/counting.py --out benchmarks/results

1. Fingers: hands of 3 to 7 fingers that no threshold was chosen on, each blurred by 0 to 0.5 pixels and with noise of
   0 to 5 % of white; a row of the table is a true number, a column what was counted.
2. Fingers that machines and a network drew, and legs of trousers and sleeves of pullovers and coats, training images
   too, labelled by eye (tests/anomalies/labelled). Thresholds were chosen on one half of the clothes; the other half
   is counted here. Images that the eye cannot decide on are marked, and counted apart; then all together, with a table
   of those who drew them: how many are wrong by eye, by counting, and by both.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from elsewhere.anomalies import SUBJECTS, count_fingers, rate
from elsewhere.data import to_unit
from elsewhere.data.hands import FEWEST, MOST, draw_hands
from elsewhere.files import write_text
from elsewhere.optional import require

LABELLED = Path(__file__).resolve().parents[1] / "tests/anomalies/labelled"
SEED = 1000
BLUR, NOISE = 0.5, 0.05


def worn_hands(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Hands of every number of fingers, blurred and noisy, (count, 1, 32, 32) in [-1, 1], and the numbers."""
    blur = require("scipy.ndimage", extra="anomalies", purpose="blurring").gaussian_filter
    hands = draw_hands(count, seed, fingers=tuple(range(FEWEST, MOST + 1)))
    rng = np.random.default_rng(seed)
    images = hands.images[:, 0].numpy() / 255
    worn = [
        blur(image, rng.uniform(0, BLUR)) + rng.normal(size=image.shape) * rng.uniform(0, NOISE) for image in images
    ]
    assert hands.labels is not None
    return np.stack(worn)[:, None].clip(0, 1) * 2 - 1, hands.labels.numpy()


def confusion(truth: np.ndarray, counted: np.ndarray) -> dict[str, Any]:
    """Accuracy with its interval, and how often each number was counted as each."""
    right = rate(counted == truth)
    numbers = sorted({*truth.tolist(), *counted.tolist()})
    table = {str(t): {str(c): int(((truth == t) & (counted == c)).sum()) for c in numbers} for t in numbers}
    print(f"right: {right.hits} of {right.total}, {right}")
    print("true\\counted" + "".join(f"{number:>6}" for number in numbers))
    for t in numbers:
        print(f"{t:>12}" + "".join(f"{table[str(t)][str(c)]:>6}" for c in numbers))
    return {"right": vars(right), "table": table}


def per_drawer(drawers: list[str], truth: np.ndarray, counted: np.ndarray, normal: int) -> dict[str, dict[str, int]]:
    """Images of each drawer, how many are counted right, and how many have a wrong number by eye and by counting."""
    by_eye, by_counting = truth != normal, counted != normal
    found = {}
    print(f"{'drawn by':28}{'images':>8}{'right':>14}{'wrong by eye':>14}{'by counting':>14}{'by both':>14}")
    for drawer in sorted(set(drawers)):
        mine = np.array([name == drawer for name in drawers])
        columns = (mine, counted == truth, by_eye, by_counting, by_eye & by_counting)
        names = ("images", "right", "wrong by eye", "wrong by counting", "wrong by both")
        line = found[drawer] = {name: int((mine & c).sum()) for name, c in zip(names, columns, strict=True)}
        images, right, *wrong = line.values()
        share = f"{right} ({right / images:.2f})"
        print(f"{drawer:28}{images:>8}{share:>14}" + "".join(f"{number:>14}" for number in wrong))
    return found


def by_eye() -> dict[str, Any]:
    found = {}
    for subject, name in (("hands", "hands"), ("trousers", "clothes"), ("pullovers", "clothes")):
        limb, count, normal = SUBJECTS[subject].limb, SUBJECTS[subject].count, SUBJECTS[subject].normal
        with (LABELLED / f"{name}.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        with np.load(LABELLED / f"{name}.npz", allow_pickle=False) as arrays:
            images = to_unit(torch.from_numpy(arrays["images"]))[:, None]
        chosen = [i for i, row in enumerate(rows) if (row["limb"], row["half"]) == (limb, "held out")]
        truth, counted = np.array([int(rows[i]["count"]) for i in chosen]), count(images[chosen])
        clear = np.array([rows[i]["clear"] == "yes" for i in chosen])
        for some, title in ((clear, "clear"), (~clear, "not clear to the eye"), (clear | ~clear, "all")):
            print(f"\n{limb}, {title}: ", end="")
            found[f"{limb}, {title}"] = confusion(truth[some], counted[some])
        # "fashion-resnet, 20 steps": the steps do not matter here.
        drawers = [rows[i]["drawn by"].split(",")[0] for i in chosen]
        found[f"{limb}, all, by drawer"] = per_drawer(drawers, truth, counted, normal)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--hands", type=int, default=1000, help="hands to count, 3 to 7 fingers in turn")
    arguments = parser.parse_args()
    images, truth = worn_hands(arguments.hands, SEED)
    print("drawn fingers: ", end="")
    result = {"drawn fingers": confusion(truth, count_fingers(images)), **by_eye()}
    write_text(arguments.out / "counting.json", json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
