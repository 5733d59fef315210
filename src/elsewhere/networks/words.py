"""How a network takes words: sentence embeddings, added to the embedding of time."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

MOST_NUMBERS = 16_384
"""Numbers of a sentence embedding; the largest encoders have 8,192."""


class WordEmbedding(nn.Module):
    """A linear layer for sentence embeddings, and a learnt vector for "no words".

    Args:
        numbers: of a sentence embedding.
        width: numbers of the network's embedding of time.
    """

    def __init__(self, numbers: int, width: int) -> None:
        super().__init__()
        self.given = nn.Linear(numbers, width)
        self.none = nn.Parameter(self.given.weight.new_zeros(width))

    def forward(self, text: Tensor | None, batch: int) -> Tensor:
        """text (B, numbers), rows of unit length or zero for no words; None: no words at all -> (B, width)."""
        if text is None:
            return self.none.expand(batch, -1)
        # Entries of a vector of unit length are small; the layer learns as fast from these as from noise levels.
        embedded = self.given(text * math.sqrt(text.shape[1]))
        return torch.where(text.any(dim=1, keepdim=True), embedded, self.none.to(embedded.dtype))


def words_of(text_width: int, width: int) -> WordEmbedding | None:
    """The layer of a network for sentence embeddings of `text_width` numbers, 0 for a network without words.

    Raises:
        ValueError: not a width that sentence embeddings have.
    """
    if not 0 <= text_width <= MOST_NUMBERS:
        raise ValueError(f"text_width must be 0 (no words) to {MOST_NUMBERS}, got {text_width}")
    return WordEmbedding(text_width, width) if text_width else None
