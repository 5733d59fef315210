"""The audit as one self-contained HTML page (no external files; it reads well without scripts) and as pictures."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor

from elsewhere.analysis.audit_result import CARLINI_COUNT, DUPLICATE, AuditResult, describe_change, most_serious
from elsewhere.analysis.explaining import explain
from elsewhere.analysis.figures import distance_histogram
from elsewhere.analysis.mosaic_message import mosaic_message
from elsewhere.analysis.mosaic_view import LARGEST_IN_REPORT, MOST_IN_REPORT, TOP, entries_text, view_parts
from elsewhere.analysis.neighbours import LEVEL, place_each
from elsewhere.analysis.report import environment
from elsewhere.data.images import ImageSet, to_unit
from elsewhere.machines import EquivariantLocalScore
from elsewhere.phrases import count, part_of
from elsewhere.pictures import Column, data_uri, figure_png, image_png, labelled_grid, picture_png

FIRST_ROWS, MOST_ROWS = 12, 300
"""Images shown before the fold, and images on the page in total, which limits its size."""
PAIRS = 8
"""Rows of pairs.png."""
WHITE = 64
"""Difference, in gray levels, that is drawn white; smaller ones are gray."""
NEIGHBOURS = 3
"""Training images shown for each generated image."""


def render_audit(found: AuditResult) -> str:
    """The report as HTML text."""
    order = most_serious(found)
    numbers = found.rows()
    rows = [_row(found, index, numbers[index]) for index in order[:MOST_ROWS]]
    mosaics = _mosaics(found, order[:MOST_IN_REPORT])
    return (
        environment()
        .get_template("audit.html.j2")
        .render(
            found=found,
            summary=found.summary(),
            thresholds=found.thresholds(),
            gray_levels=round(DUPLICATE / LEVEL),
            rows=rows[:FIRST_ROWS],
            more=rows[FIRST_ROWS:],
            left_out=max(0, len(order) - MOST_ROWS),
            histogram=data_uri(distances_png(found)),
            settings=_settings(found),
            mosaics=mosaics,
            near=min(CARLINI_COUNT, len(found.training)),
            **view_parts(mosaics is not None),
            version=found.settings["version"],
            date=datetime.now(UTC).date().isoformat(),
        )
    )


def pairs_png(found: AuditResult) -> bytes:
    """The most serious images next to their nearest training images, as PNG."""
    rows = torch.tensor(most_serious(found)[:PAIRS], dtype=torch.int64, device="cpu")
    aligned, training = found.measures.aligned, found.training.images
    distances = [[f"rms {d:.3f}" for d in row] for row in aligned.distances[rows, :2].tolist()]
    columns = [
        Column(
            "generated",
            "",
            to_unit(found.generated.images[rows]),
            [f"#{i}: {found.verdicts[i]}" for i in rows.tolist()],
        ),
        Column(
            "nearest",
            "training image",
            to_unit(training[aligned.indices[rows, 0]]),
            [found.change(i) for i in rows.tolist()],
        ),
        Column("difference", "when aligned", _differences(found, rows), [row[0] for row in distances]),
        Column("next", "training image", to_unit(training[aligned.indices[rows, 1]]), [row[1] for row in distances]),
    ]
    return picture_png(labelled_grid(columns))


def distances_png(found: AuditResult) -> bytes:
    """Histogram of the distances of generated images and of training images to their nearest training image, as PNG."""
    null, mine = found.null.aligned.distances[:, 0], found.measures.aligned.distances[:, 0]
    return figure_png(distance_histogram(null.numpy(), mine.numpy(), found.near))


def _differences(found: AuditResult, rows: Tensor) -> Tensor:
    """Absolute difference from the aligned nearest training image, as images (R, C, H, W): black for no difference."""
    aligned = found.measures.aligned
    nearest = found.training.images[aligned.indices[rows, 0]]
    placed, inside = place_each(nearest, aligned.shifts[rows, 0], aligned.mirrored[rows, 0])
    apart = (found.generated.images[rows].float() - placed.float()).abs() * inside[:, None]
    return 2 * (apart / WHITE).clamp(max=1) - 1


def _row(found: AuditResult, index: int, numbers: dict[str, Any]) -> dict[str, Any]:
    aligned, training = found.measures.aligned, found.training.images
    difference = _differences(found, torch.tensor([index], dtype=torch.int64, device="cpu"))[0]
    cells = [
        _cell(to_unit(found.generated.images[index]), f"generated image {index}", f"generated #{index}"),
        _cell(
            difference,
            f"difference of image {index} from its nearest training image",
            "rms {:.3f}".format(numbers["aligned_distance"]),
        ),
    ]
    for rank in range(min(NEIGHBOURS, aligned.indices.shape[1])):
        other = int(aligned.indices[index, rank])
        change = describe_change(aligned.shifts[index, rank].tolist(), bool(aligned.mirrored[index, rank]))
        caption = f"#{other}, {change}" + (f": rms {aligned.distances[index, rank]:.3f}" if rank else "")
        cells.insert(
            1 if rank == 0 else len(cells), _cell(to_unit(training[other]), f"training image {other}", caption)
        )
    return {"index": index, "verdict": found.verdicts[index], "cells": cells, "numbers": numbers}


def _cell(image: Tensor, alt: str, caption: str) -> dict[str, str]:
    return {"src": data_uri(image_png(image)), "alt": alt, "caption": caption}


def _mosaics(found: AuditResult, which: list[int]) -> str | None:
    """What the explanation view shows of some images: the windows of their nearest training images that fit best.

    It is the equivariant local machine at a noise level of one gray level, among the nearest training images alone: a
    search of all training images takes minutes where there are many.
    """
    if found.training.images[0, 0].numel() > LARGEST_IN_REPORT:
        return None
    entries = []
    for index in which:
        near = found.measures.nearest.indices[index]
        machine = EquivariantLocalScore(ImageSet(found.training.images[near]), found.settings["window"])
        mosaic = explain(machine, to_unit(found.generated.images[index][None]), LEVEL, TOP)
        entries.append((f"#{index}: {found.verdicts[index]}", mosaic_message(mosaic, 0, TOP, near)))
    return entries_text(entries)


def _settings(found: AuditResult) -> list[tuple[str, str]]:
    """Everything needed to repeat the audit, as (name, value)."""
    s = found.settings
    lines = []
    for name in ("training", "generated"):
        data = s[name]
        lines.append(
            (
                f"{name} images",
                f"{data['name']}: {part_of(data['images'], data['of'], 'image')} of "
                f"{' x '.join(map(str, data['shape']))} (channels, height, width)"
                + (f"; {data['clipped']:.2%} of the pixels were clipped to -1..1" if data.get("clipped") else ""),
            )
        )
        lines.append((f"fingerprint of the {name} images (SHA-256)", data["fingerprint"]))
    lines += [
        (
            "shifts searched",
            f"up to {count(s['shift'], 'pixel')} in each direction, with and without mirroring left to right",
        ),
        (
            "pixels traced",
            f"{count(len(found.traced), 'image')}, windows of {s['window']} x {count(s['window'], 'pixel')}"
            + (", by class" if s["by_class"] else ""),
        ),
        ("training images compared with the others", str(s["null"])),
        ("seed", str(s["seed"])),
        ("versions", f"elsewhere {s['version']}, torch {s['torch']}"),
        *s["about"].items(),
    ]
    return [(str(name), str(value)) for name, value in lines]
