"""Make the embedded image sets from their sources.

    python scripts/make_embedded.py fashion-mini /usr/share/datasets/fashion-mnist
    python scripts/make_embedded.py pixel-faces pixelart32.npz

`fashion-mini`: 400 images of each of the ten classes of the Fashion-MNIST training set, drawn without
replacement by `numpy.random.default_rng(0)` and kept in the order of the original file. The folder holds
`train-images-idx3-ubyte.gz` and `train-labels-idx1-ubyte.gz` (Debian package `dataset-fashion-mnist`).

`pixel-faces`: the first 2,000 of 4,000 pixel-art portraits, drawn by the npm packages @dicebear/core and
@dicebear/collection 9.4.3 (style `pixel-art`, seeds `pixelArt-0`, `pixelArt-1`, ...) at 32 pixels with
@resvg/resvg-js 2.6.2, stored as `images` uint8 (N,32,32,3).
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np

TARGET = Path(__file__).resolve().parents[1] / "src/elsewhere/data/embedded"
PER_CLASS = 400
FACES = 2000


def fashion_mini(folder: Path) -> dict[str, np.ndarray]:
    with gzip.open(folder / "train-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    with gzip.open(folder / "train-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    rng = np.random.default_rng(0)
    chosen = [rng.choice(np.flatnonzero(labels == c), PER_CLASS, replace=False) for c in range(10)]
    index = np.sort(np.concatenate(chosen))
    return {"images": images[index], "labels": labels[index], "index": index.astype(np.int32)}


def pixel_faces(file: Path) -> dict[str, np.ndarray]:
    with np.load(file, allow_pickle=False) as archive:
        images = archive["images"][:FACES]
    return {"images": np.ascontiguousarray(images.transpose(0, 3, 1, 2))}


def main() -> None:
    makers = {"fashion-mini": fashion_mini, "pixel-faces": pixel_faces}
    if len(sys.argv) != 3 or sys.argv[1] not in makers:
        sys.exit(__doc__)
    TARGET.mkdir(parents=True, exist_ok=True)
    target = TARGET / f"{sys.argv[1]}.npz"
    np.savez_compressed(target, **makers[sys.argv[1]](Path(sys.argv[2])))
    print(f"{target}: {target.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
