"""Texture runs as files: pictures, settings, and unfinished work that goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import Tensor

from elsewhere import __version__
from elsewhere.files import atomic_path, json_text, save_bytes, write_text
from elsewhere.pictures import enlargement, grid, image_png
from elsewhere.textures.plan import TexturePlan, describe_scales
from elsewhere.textures.process import Texture, TextureState, finished, tracked
from elsewhere.textures.unfinished import NAME, fingerprint, load_unfinished, save_unfinished

FORMAT = "elsewhere.texture/1"
BESIDE = 384
"""Height of beside.png in pixels, about."""
WIDEST = 4096
"""Pixels up to which beside.png is enlarged."""
SAVE_SECONDS = 30.0
"""Seconds between saves of unfinished work, at least: saving takes far less."""


def draw_kept(
    folder: Path,
    plan: TexturePlan,
    count: int,
    seed: int,
    *,
    restart: bool = False,
    begin: Callable[[int], None] = lambda done: None,
    progress: bool = False,
) -> Texture:
    """Draw, and keep unfinished work in a folder: the same call goes on from there.

    Args:
        folder: made if it is missing. The file of unfinished work is removed at the end.
        plan, count, seed: what is drawn.
        restart: do not go on from unfinished work.
        begin: called once with the pairs of windows for one image that are done already.
        progress: show progress.

    Raises:
        OSError: the folder cannot be written.
    """
    path, key = folder / NAME, fingerprint(plan, count, seed)
    state = (None if restart else load_unfinished(path, plan, count, key)) or TextureState()
    begin(plan.work_before(state.scale, state.index))
    saved, kept = monotonic(), state
    try:
        for step in tracked(plan, count, seed, state, progress):
            state = step.state
            if monotonic() - saved >= SAVE_SECONDS and state.scale < len(plan.scales):
                save_unfinished(path, state, key)
                saved, kept = monotonic(), state
    except KeyboardInterrupt:
        if state is not kept and state.scale < len(plan.scales):
            save_unfinished(path, state, key)
        raise
    return finished(plan, state, seed)


def save_texture(
    folder: Path, found: Texture, image: Tensor, plan: TexturePlan, about: Mapping[str, Any]
) -> list[Path]:
    """Write texture.png (texture-1.png, ... for several), beside.png with the image beside them, and texture.json.

    A tileable texture is shown two by two in beside.png.

    Args:
        folder: made if it is missing. Files are replaced, each completely or not at all.
        found: what was drawn.
        image: the image it was drawn from, (1, C, H, W).
        plan: of the run.
        about: further settings for texture.json.

    Raises:
        OSError: the folder cannot be written.
    """
    paths = []
    several = len(found.images) > 1
    for number, one in enumerate(found.images, 1):
        paths.append(folder / (f"texture-{number}.png" if several else "texture.png"))
        save_bytes(paths[-1], image_png(one))
    shown = [one.repeat(1, 2, 2) if found.settings.tileable else one for one in found.images]
    paths.append(folder / "beside.png")
    with atomic_path(paths[-1]) as beside:
        row = side_by_side([image[0], *shown])
        # One image of many textures stays as small as it is.
        scale = max(1, min(enlargement(row.shape[2], 1, BESIDE), WIDEST // row.shape[3]))
        grid(row, 1, scale).save(beside, format="PNG")
    header = ("canvas", "training", "windows")
    settings = {
        "format": FORMAT,
        **about,
        "size": list(found.images.shape[2:]),
        "count": len(found.images),
        "seed": found.seed,
        "settings": asdict(found.settings),
        "scales": [dict(zip(header, row, strict=True)) for row in describe_scales(plan)],
        "version": __version__,
        "torch": torch.__version__,
    }
    paths.append(folder / "texture.json")
    write_text(paths[-1], json_text(settings) + "\n")
    (folder / NAME).unlink(missing_ok=True)
    return paths


def side_by_side(images: list[Tensor], gap: int = 8) -> Tensor:
    """Images (C, H, W) of any heights in one row on white, (1, C, H, W)."""
    height = max(image.shape[1] for image in images)
    columns: list[Tensor] = []
    for image in images:
        padding = (gap if columns else 0, 0, 0, height - image.shape[1])
        columns.append(torch.nn.functional.pad(image, padding, value=1.0))
    return torch.cat(columns, 2)[None]
