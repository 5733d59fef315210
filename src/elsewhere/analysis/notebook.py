"""What notebooks show of a comparison, a mosaic and an audit: pictures first, then the few numbers that say most."""

from __future__ import annotations

from dataclasses import fields, replace

import torch
from torch import Tensor

from elsewhere.analysis.audit_result import AuditResult, most_serious
from elsewhere.analysis.comparison_result import ComparisonResult
from elsewhere.analysis.mosaic import MosaicResult
from elsewhere.analysis.mosaic_plots import source_colours
from elsewhere.data import to_unit
from elsewhere.display import card, image_tag
from elsewhere.phrases import count, decimal
from elsewhere.pictures import Column, labelled_grid, shrunk

ROWS = 4
"""Images of a comparison or a mosaic that are shown."""
SIDE = 96
"""Side of an image in pixels: eight columns fit into a page."""
LARGEST = 256
"""Larger images are shrunk to this side: a PNG of all of them then stays below a megabyte."""
CREDITED = 3
"""Training images shown beside each image of a mosaic."""
PAIRS = 8
"""Images of an audit that are shown."""


def comparison_html(result: ComparisonResult) -> str | None:
    """Images of every machine and the network from the same noise, with Pearson r below, and a table of medians."""
    names = [*result.machines, next(name for name in result.images if name not in result.metrics)]
    if not result.drawn or not _drawable(result.images[names[-1]]):
        return None
    rows = min(ROWS, result.seeds)
    columns = [_machine_column(result, name, rows) for name in names]
    picture = image_tag(labelled_grid(columns, SIDE), f"images of {', '.join(names)} from the same noise")
    metrics = ("pearson_r", "r_squared", "mse")
    table = [(name, *(decimal(result.median(name, metric)) for metric in metrics)) for name in result.machines]
    facts = [f"medians over {count(result.seeds, 'seed')}", result.verdict()]
    note = " ".join([*result.warnings, f"the first {rows} of {result.seeds} are shown" * (rows < result.seeds)])
    header = ("", "Pearson r", "R^2", "MSE")
    return card(result.title, [fact for fact in facts if fact], [picture], table=(header, table), note=note)


def _machine_column(result: ComparisonResult, name: str, rows: int) -> Column:
    values = result.metrics.get(name, {}).get("pearson_r")
    captions = [""] * rows if values is None else [f"r {decimal(value, '.2f')}" for value in values[:rows]]
    return Column(name, "", _small(result.images[name][:rows]), captions)


def mosaic_html(mosaic: MosaicResult) -> str | None:
    """Images, the same in the colours of their sources, the sources pasted, and the images with most credit."""
    if not _drawable(mosaic.x0):
        return None
    batch, sources = len(mosaic.x0), min(CREDITED, len(mosaic.store))
    some = _first(mosaic, min(ROWS, batch))
    shares, order = some.credits().sort(dim=1, descending=True)
    top = f"top {mosaic.image_ids.shape[3]}"
    left = [f"{float(share):.0%} not in {top}" for share in some.unexplained.mean((1, 2))]
    columns = [
        Column("image", "", _small(some.x0), [f"sigma {sigma:.3g}" for sigma in some.sigmas]),
        Column("by source", "", _small(source_colours(some)), [f"window {side}" for side in some.windows]),
        Column("pasted", "", _small(some.pasted()), left),
    ]
    for rank in range(sources):
        images = _small(mosaic.store.floats(mosaic.store.pixels[order[:, rank]]))
        captions = [f"#{int(i)}: {float(share):.1%}" for i, share in zip(order[:, rank], shares[:, rank], strict=True)]
        columns.append(Column("credit", f"rank {rank + 1}", images, captions))
    picture = image_tag(
        labelled_grid(columns, SIDE), "images, their pixels by source, and the sources with most credit"
    )
    facts = [count(batch, "image"), f"{mosaic.x0.shape[2]}x{mosaic.x0.shape[3]} pixels", top]
    note = f"the first {len(some.x0)} of {batch} are shown" if len(some.x0) < batch else ""
    return card("Mosaic", facts, [picture], note=note)


def audit_html(found: AuditResult) -> str:
    """The most serious generated images above their nearest training images, and the numbers of all verdicts."""
    order = torch.tensor(most_serious(found)[:PAIRS], dtype=torch.int64, device="cpu")
    training = found.measures.aligned.indices[order, 0]
    made, near = (_small(to_unit(s.images[i].cpu())) for s, i in ((found.generated, order), (found.training, training)))
    distances = found.measures.aligned.distances[order, 0].tolist()
    columns = [
        Column(found.verdicts[i], f"rms {distance:.3f}", torch.stack([a, b]), [f"generated #{i}", f"training #{j}"])
        for i, j, a, b, distance in zip(order.tolist(), training.tolist(), made, near, distances, strict=True)
    ]
    picture = image_tag(labelled_grid(columns, SIDE), "generated images above their nearest training images")
    counts = [f"{number} {verdict}" for verdict, number in found.counts().items() if number]
    return card("Audit", [found.headline, ", ".join(counts)], [picture])


def _first(mosaic: MosaicResult, number: int) -> MosaicResult:
    """The mosaic of the first images."""
    parts = {
        field.name: getattr(mosaic, field.name)[:number]
        for field in fields(mosaic)
        if field.name not in ("store", "step") and getattr(mosaic, field.name) is not None
    }
    return replace(mosaic, **parts)


def _small(images: Tensor) -> Tensor:
    """Images no larger than a notebook can hold, as floats on the processor."""
    return shrunk(images.detach().to("cpu", torch.float32), LARGEST)


def _drawable(images: Tensor) -> bool:
    return images.shape[1] in (1, 3)
