"""Are planted copies told from mosaics and from images that were held out? And how long does a large audit take?

    python benchmarks/audit.py --out benchmarks/results
    python benchmarks/audit.py --scale FOLDER

1. `fashion-mini`, 3,000 images for training and 1,000 held out, one audit: exact copies, noisy copies, copies shifted
   by 1 to 3 pixels, mirrored copies, mirrored and shifted copies, and the images held out. Recall: share of the copies
   of a kind that were called copy or near copy, of the right training image. Precision: share of what was called so
   that was, with the copies of that kind and all images held out. The same for the two published criteria.
2. Mosaics, `sample` by border-aware ELS followed by `fixed_point`, and as many images held out, pixels traced by class.
3. With --scale, a folder of IDX files such as Fashion-MNIST's: all training images against the 10,000 test images, of
   which 300 are replaced by exact, noisy and shifted copies.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import torch
from limits import TinyNoise
from torch import Tensor

import elsewhere as els
from elsewhere.analysis.audit_result import YOON
from elsewhere.analysis.neighbours import Placing, place
from elsewhere.data.images import to_uint8
from elsewhere.files import write_text
from elsewhere.machines.locality import published_locality

TRAINING, HELD_OUT = 3000, 1000
NOISE = (4, 8)
SIGMA, WINDOW, STEPS = 1e-3, 3, 10


def noisy(images: Tensor, levels: float, seed: int) -> Tensor:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    return (images.float() + levels * noise).round().clamp(0, 255).to(torch.uint8)


def shifted(images: Tensor, seed: int, mirror: bool = False) -> Tensor:
    """Each image moved by 1 to 3 pixels down, right or both, up to sign; zero where nothing moved in."""
    generator = torch.Generator().manual_seed(seed)
    steps = [(d, r) for d in range(-3, 4) for r in range(-3, 4) if d or r]
    chosen = torch.randint(len(steps), (len(images),), generator=generator).tolist()
    return torch.stack([place(image, Placing(*steps[i], mirror)) for image, i in zip(images, chosen, strict=True)])


def planted(images: Tensor, count: int) -> dict[str, Tensor]:
    """Copies of the first `count` images, by kind."""
    some = images[:count]
    return {
        "exact copies": some,
        **{f"noisy copies, {levels} gray levels": noisy(some, levels, levels) for levels in NOISE},
        "copies shifted up to 3 pixels": shifted(some, 1),
        "mirrored copies": some.flip(-1),
        "mirrored and shifted copies": shifted(some, 2, mirror=True),
    }


def split() -> tuple[els.ImageSet, els.ImageSet]:
    """fashion-mini as training images and images held out, a random choice."""
    data = els.load_images("fashion-mini")
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    assert data.labels is not None
    return tuple(  # type: ignore[return-value]
        els.ImageSet(data.images[index], data.labels[index], name, data.classes)
        for index, name in ((order[:TRAINING], "3,000 clothes"), (order[TRAINING : TRAINING + HELD_OUT], "held out"))
    )


def copies(training: els.ImageSet, held_out: els.ImageSet, count: int) -> dict[str, Any]:
    """Recall and precision of every kind of copy, of the verdicts and of the published criteria."""
    kinds = planted(training.images, count)
    found = els.audit(
        training, els.ImageSet(torch.cat([*kinds.values(), held_out.images]), name="planted"), pixels=0, null=1000
    )
    calls = {
        "verdict": torch.tensor([verdict in ("copy", "near copy") for verdict in found.verdicts]),
        "Yoon et al.": found.measures.yoon < YOON,
        "Carlini et al.": found.measures.carlini < 1,
    }
    named = {
        "verdict": found.measures.aligned.indices[:, 0],
        "Yoon et al.": found.measures.nearest.indices[:, 0],
        "Carlini et al.": found.measures.nearest.indices[:, 0],
    }
    result: dict[str, Any] = {"copies of each kind": count, "held out": len(held_out), "near": found.near}
    print(f"{'':34}" + "".join(f"{name:>26}" for name in calls) + "\n" + f"{'':34}" + f"{'recall  precision':>26}" * 3)
    for k, kind in enumerate(kinds):
        line = {}
        for name, call in calls.items():
            mine = slice(k * count, (k + 1) * count)
            right = call[mine] & (named[name][mine] == torch.arange(count))
            called = int(call[mine].sum() + call[len(kinds) * count :].sum())
            line[name] = {"recall": float(right.double().mean()), "precision": int(right.sum()) / max(1, called)}
        result[kind] = line
        print(f"{kind:34}" + "".join(f"{v['recall']:15.3f}{v['precision']:11.3f}" for v in line.values()), flush=True)
    false = {name: int(call[len(kinds) * count :].sum()) for name, call in calls.items()}
    result["held out images called copies"] = false
    print(f"images held out that were called copies, of {len(held_out)}: {false}", flush=True)
    result["proven"] = float(found.proven.double().mean())
    print(f"verdicts that no training image passed over could change: {result['proven']:.2%}", flush=True)
    return result


def mosaics(training: els.ImageSet, held_out: els.ImageSet, count: int) -> tuple[dict[str, Any], Tensor]:
    """Verdicts on fixed points of ELS and on as many images held out; and the fixed points."""
    labels = torch.arange(count) % 10
    machine = els.EquivariantLocalScore(training, published_locality(), engine="exact")
    drawn = els.sample(machine, els.make_noise(count, training.shape), els.schedules.cosine(STEPS), labels).images
    ends = els.fixed_point(TinyNoise(training, WINDOW), drawn, labels, sigma=SIGMA).images
    assert held_out.labels is not None
    generated = els.ImageSet(
        torch.cat([to_uint8(ends), held_out.images[:count]]), torch.cat([labels, held_out.labels[:count]]), "both"
    )
    found = els.audit(training, generated, pixels=2 * count, by_class=True, window=WINDOW)
    assert found.provenance is not None
    result = {}
    for name, mine in (("fixed points", slice(0, count)), ("held out", slice(count, None))):
        verdicts = list(found.verdicts[mine])
        shares, sources = found.provenance.consistent[mine], found.provenance.sources[mine]
        result[name] = {"verdicts": verdicts, "consistent": shares.tolist(), "sources": sources.tolist()}
        print(
            f"{name:9}: {verdicts.count('mosaic')} of {count} called mosaic; consistent {float(shares.min()):.3f} to "
            f"{float(shares.max()):.3f}; effective sources {float(sources.min()):.0f} to {float(sources.max()):.0f}",
            flush=True,
        )
    return result, ends


def examples(training: els.ImageSet, held_out: els.ImageSet, ends: Tensor, folder: Path) -> None:
    """An audit of one image of every kind, with its report and pictures."""
    assert training.labels is not None
    assert held_out.labels is not None
    images, labels = training.images, training.labels
    made = [
        images[1:2], noisy(images[7:8], 8, 0), place(images[10:11], Placing(2, -3, False)), images[20:21].flip(-1),
        to_uint8(ends[:2]), held_out.images[2:4],
    ]  # fmt: skip
    classes = torch.cat([labels[[1, 7, 10, 20]], torch.arange(2), held_out.labels[2:4]])
    generated = els.ImageSet(torch.cat(made), classes, "examples")
    about = {"command": "python benchmarks/audit.py"}
    els.audit(training, generated, by_class=True, about=about).save(folder)


def scale(folder: Path) -> dict[str, Any]:
    """Time and memory of a large audit."""
    training = els.load_images(folder / "train-images-idx3-ubyte.gz")
    test = els.load_images(folder / "t10k-images-idx3-ubyte.gz")
    copied = [training.images[:100], noisy(training.images[100:200], 8, 0), shifted(training.images[200:300], 1)]
    generated = els.ImageSet(torch.cat([*copied, test.images[300:]]), name="test images and copies")
    before = _peak()
    start, spent = time.perf_counter(), time.process_time()
    found = els.audit(training, generated, pixels=0, progress=True)
    seconds, spent = time.perf_counter() - start, time.process_time() - spent
    flagged = torch.tensor([verdict != "no copy" for verdict in found.verdicts])
    right = flagged[:300] & (found.measures.aligned.indices[:300, 0] == torch.arange(300))
    result = {
        "training": len(training),
        "generated": len(generated),
        "threads": torch.get_num_threads(),
        "seconds": seconds,
        "processor_seconds": spent,
        "peak_memory_MB": _peak(),
        "memory_before_MB": before,
        "recall": {
            kind: float(part.double().mean())
            for kind, part in zip(("exact", "noisy", "shifted"), right.split(100), strict=True)
        },
        "other test images called copies": int(flagged[300:].sum()),
        "near": found.near,
        "duplicates_among_training": found.summary()["duplicates_among_training"],
        "proven": float(found.proven.double().mean()),
    }
    print(json.dumps(result, indent=1))
    return result


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--count", type=int, default=200, help="copies of each kind")
    parser.add_argument("--mosaics", type=int, default=4, help="fixed points of ELS")
    parser.add_argument("--scale", type=Path, help="folder of IDX files; only the large audit is run")
    options = parser.parse_args()
    if options.scale is not None:
        write_text(options.out / "audit-scale.json", json.dumps(scale(options.scale), indent=1) + "\n")
        return
    training, held_out = split()
    result: dict[str, Any] = {"copies": copies(training, held_out, options.count)}
    result["mosaics"], ends = mosaics(training, held_out, options.mosaics)
    write_text(options.out / "audit.json", json.dumps(result, indent=1) + "\n")
    examples(training, held_out, ends, options.out / "audit")


if __name__ == "__main__":
    main()
