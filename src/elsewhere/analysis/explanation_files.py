"""The files of an explanation: numbers as JSON, pictures, and the tables of its mosaics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elsewhere.analysis.coherence import coherence_length, plain
from elsewhere.analysis.explanation_result import ExplanationResult
from elsewhere.analysis.figures import head_figure
from elsewhere.analysis.mosaic import MosaicResult
from elsewhere.analysis.mosaic_files import save_json, save_parquet
from elsewhere.analysis.mosaic_pages import write_explanation_page
from elsewhere.analysis.mosaic_plots import mosaic_figure, run_figure
from elsewhere.files import json_text, write_text
from elsewhere.phrases import decimal
from elsewhere.pictures import Column, save_figure

FORMAT = "elsewhere.explanation/1"
LISTED = 1e-3
"""Credits below this are not listed in the file but summed up as "others"."""


def explanation_json(found: ExplanationResult, pixel: tuple[int, int] | None = None) -> str:
    """Everything except the pixels, as JSON text: credits of at least 0.1 % one by one, the sum of the others.

    Args:
        found: the explanation.
        pixel: row and column of the pixel whose sources are named, where training images have captions.

    Raises:
        ValueError: no such pixel.
    """
    mosaic = found.mosaic
    agreement, lengths, is_plain = found.agreement, coherence_length(mosaic), plain(mosaic)
    named = found.pixel_sources(pixel)
    images = []
    for i, credit in enumerate(mosaic.credits()):
        listed = [(n, share) for n, share in enumerate(credit.tolist()) if share >= LISTED]
        listed.sort(key=lambda entry: -entry[1])
        images.append(
            {
                **{name: float(values[i]) for name, values in agreement.items()},
                "credits": [{"image": n, **_caption(found, n), "share": share} for n, share in listed],
                "others": float(credit.sum()) - sum(share for _, share in listed),
                "unexplained_by_top": float(mosaic.unexplained[i].mean()),
                "without_weights": mosaic.weightless[i] if mosaic.weightless else 0.0,
                "coherence_length": float(lengths[i]),
                "plain_pixels": float(is_plain[i].double().mean()),
                **({"pixel": named[i]} if named else {}),
                **_entropies(mosaic, i),
            }
        )
    steps = [
        {
            "sigma": mosaic.sigmas[0],
            "window": mosaic.windows[0],
            "coherence_length": coherence_length(mosaic).tolist(),
            "unexplained_by_top": mosaic.unexplained.mean((1, 2)).tolist(),
            "without_weights": mosaic.weightless[0] if mosaic.weightless else 0.0,
            **_entropies(mosaic),
        }
        for mosaic in found.mosaics
    ]
    content = {
        "format": FORMAT,
        "settings": found.settings,
        "warnings": found.warnings,
        "images": images,
        "steps": steps,
    }
    return json_text(content)


def _entropies(mosaic: MosaicResult, index: int | None = None) -> dict[str, Any]:
    """Entropies of weights over those of equal ones, of one image or a list of all; none where they are not known."""
    found = mosaic.entropy
    if found is None or bool(found.pixels.isnan().any()):
        return {}
    pixels, images = found.pixel_shares.mean((1, 2)).tolist(), found.image_shares.tolist()
    if index is not None:
        pixels, images = pixels[index], images[index]
    return {"entropy_of_pixels": pixels, "entropy_of_images": images}


def save_explanation(
    found: ExplanationResult,
    folder: str | Path,
    *,
    pixel: tuple[int, int] | None = None,
    parquet: bool = False,
    json: bool = False,
) -> list[Path]:
    """Write explanation.json, mosaic.png, explanation.html and, if every step was explained, run.png.

    Args:
        found: the explanation.
        folder: created if missing.
        pixel: row and column of the pixel whose patches are shown; see `Mosaic.plot`.
        parquet: also write mosaic.parquet, the tables of all explained steps.
        json: also write the same tables as mosaic.json.

    Returns:
        The files written, each completely or not at all.

    Raises:
        ImportError: pyarrow is not installed and `parquet` was given.
        OSError: the folder cannot be created or written.
        ValueError: the pixel is outside the image.
    """
    folder = Path(folder)
    files = [folder / "explanation.json", folder / "mosaic.png"]
    figure = mosaic_figure(found.mosaic, pixel=pixel, network=_network_column(found))
    head_figure(figure, found.warnings)
    write_text(files[0], explanation_json(found, pixel) + "\n")
    save_figure(files[1], figure)
    files.append(folder / "explanation.html")
    write_explanation_page(found, files[-1], files[1], pixel)
    if len(found.mosaics) > 1:
        files.append(folder / "run.png")
        save_figure(files[-1], run_figure(found.mosaics))
    if parquet:
        files.append(folder / "mosaic.parquet")
        save_parquet(found.mosaics, files[-1])
    if json:
        files.append(folder / "mosaic.json")
        save_json(found.mosaics, files[-1])
    return files


def _caption(found: ExplanationResult, image: int) -> dict[str, str]:
    return {"caption": found.captions[image]} if found.captions else {}


def _network_column(found: ExplanationResult) -> Column | None:
    """The network's images with their agreement as captions."""
    if found.network is None:
        return None
    numbers = zip(*found.agreement.values(), strict=True)
    return Column("network", "", found.network, [f"r {decimal(r)}, R² {decimal(r2)}" for r, r2 in numbers])
