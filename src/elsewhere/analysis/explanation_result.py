"""Images that a machine drew and the mosaics that explain them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from elsewhere.analysis.coherence import coherence_length
from elsewhere.analysis.metrics import pearson_r, r_squared
from elsewhere.analysis.mosaic import MosaicResult
from elsewhere.checks import check_fields
from elsewhere.phrases import decimal


@dataclass(frozen=True)
class ExplanationResult:
    """Images that a machine drew, and the training patches that they were made of.

    Attributes:
        mosaics: of every step from noise to image, or of the last step alone.
        network: what a trained network drew from the same noises, (B, C, H, W), or None.
        settings: what is needed to run this again.
        warnings: what a reader must know before the numbers: sentences, none when all is well.
    """

    mosaics: tuple[MosaicResult, ...]
    network: Tensor | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.mosaics:
            raise ValueError("mosaics is empty: an explanation has one or more")

    @property
    def mosaic(self) -> MosaicResult:
        """Of the last step, whose prediction is the image itself."""
        return self.mosaics[-1]

    @property
    def agreement(self) -> dict[str, np.ndarray]:
        """ "pearson_r" and "r_squared" of machine and network, image by image; empty without a network.

        NaN, and a warning, where one is undefined: see `analysis.pearson_r` and `analysis.r_squared`.
        """
        if self.network is None:
            return {}
        images = self.mosaic.x0
        metrics = {"pearson_r": pearson_r, "r_squared": r_squared}
        return {name: metric(images, self.network).cpu().numpy() for name, metric in metrics.items()}

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Header and rows of a table in words, one row an image."""
        header = ("image", "most credit", *("Pearson r", "R^2")[: len(self.agreement)], "patch side", "beyond the top")
        credits, lengths = self.mosaic.credits(), coherence_length(self.mosaic).tolist()
        rows: list[tuple[str, ...]] = []
        both = self.agreement
        for i, credit in enumerate(credits):
            share, source = credit.max(0)
            agreement = [decimal(values[i]) for values in both.values()]
            left_over = float(self.mosaic.unexplained[i].mean())
            most = f"{float(share):.1%} to #{int(source)}"
            rows.append(
                (
                    str(i),
                    most,
                    *agreement,
                    f"{lengths[i]:.2f} pixels" if lengths[i] == lengths[i] else "undefined: plain",
                    f"{left_over:.1%}",
                )
            )
        return header, rows
