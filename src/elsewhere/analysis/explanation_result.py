"""Images that a machine drew and the mosaics that explain them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from elsewhere.analysis.coherence import coherence_length
from elsewhere.analysis.metrics import pearson_r, r_squared
from elsewhere.analysis.mosaic import MosaicResult
from elsewhere.analysis.named_sources import pixel_sources
from elsewhere.checks import check_fields, checked
from elsewhere.entropy import WeightEntropy
from elsewhere.phrases import decimal


@dataclass(frozen=True)
class ExplanationResult:
    """Images that a machine drew and their explanation: data only. `explain_images` returns an `Explanation`, which can
    also be written to files.

    Attributes:
        mosaics: of every step from noise to image, or of the last step only.
        network: images that a trained network drew from the same noise, (B, C, H, W), or None.
        settings: everything needed to repeat the explanation.
        warnings: sentences that a reader needs before the numbers; empty if there is nothing to warn of.
        captions: of the training images, empty where they have none.
        words: each word of the prompt and its effect on the log-weight of every training image, nats, float64 (N,); see
            `PromptWeights.words`. Empty without a prompt.
    """

    mosaics: tuple[MosaicResult, ...]
    network: Tensor | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()
    words: tuple[tuple[str, Tensor], ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.mosaics:
            raise ValueError("mosaics is empty: give one or more")

    @property
    def mosaic(self) -> MosaicResult:
        """The mosaic of the last step, whose prediction is the final image."""
        return self.mosaics[-1]

    @property
    def agreement(self) -> dict[str, np.ndarray]:
        """Metric ("pearson_r", "r_squared") -> agreement of machine and network, (B,); empty without a network.

        Undefined values are NaN, with a warning: see `analysis.pearson_r` and `analysis.r_squared`.
        """
        if self.network is None:
            return {}
        images = self.mosaic.x0
        metrics = {"pearson_r": pearson_r, "r_squared": r_squared}
        return {name: metric(images, self.network).cpu().numpy() for name, metric in metrics.items()}

    @checked
    def pixel_sources(self, pixel: tuple[int, int] | None = None) -> list[dict[str, Any]]:
        """For each image, the sources of a pixel of its last step with their captions, and what the words of the prompt
        did for them: see `named_sources.pixel_sources`. Empty where images have no captions.

        Raises:
            ValueError: no such pixel.
        """
        if not self.captions:
            return []
        return [
            pixel_sources(self.mosaic, index, self.captions, self.words, pixel) for index in range(len(self.mosaic.x))
        ]

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Header and rows of a printable table with one row per image."""
        entropy = self.mosaic.entropy
        header = (
            "image",
            "largest credit",
            *("Pearson r", "R^2")[: len(self.agreement)],
            "patch side",
            "not in the top",
            *["entropy", "of images"] * (entropy is not None),
            *["of it without weights"] * any(self.mosaic.weightless),
        )
        credits, lengths = self.mosaic.credits(), coherence_length(self.mosaic).tolist()
        rows: list[tuple[str, ...]] = []
        both = self.agreement
        for i, credit in enumerate(credits):
            share, source = credit.max(0)
            agreement = [decimal(values[i]) for values in both.values()]
            left_over = float(self.mosaic.unexplained[i].mean())
            most = f"{float(share):.1%} from #{int(source)}"
            most += f" {self.captions[int(source)]}" if self.captions else ""
            rows.append(
                (
                    str(i),
                    most,
                    *agreement,
                    f"{lengths[i]:.2f} pixels" if lengths[i] == lengths[i] else "undefined: plain",
                    f"{left_over:.1%}",
                    *(() if entropy is None else _entropies(entropy, i)),
                    *(f"{part:.1%}" for part in self.mosaic.weightless[i : i + 1] if any(self.mosaic.weightless)),
                )
            )
        return header, rows


def _entropies(entropy: WeightEntropy, index: int) -> tuple[str, str]:
    """Mean entropy of an image's pixels and of its credits, over those of equal weights; unknown: a search."""
    pixels = float(entropy.pixel_shares[index].mean())
    return "unknown" if pixels != pixels else decimal(pixels), decimal(float(entropy.image_shares[index]))
