"""What commands leave behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from elsewhere import results
from elsewhere.data import ImageSet


def test_a_contact_sheet_shows_large_images_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "SHEET_SIDE", 10)
    # Black above, white below: the means of blocks are black and white too.
    pixels = torch.zeros(3, 1, 40, 20, dtype=torch.uint8)
    pixels[:, :, 20:] = 255
    results.save_contact_sheet(tmp_path / "sheet.png", ImageSet(pixels), 3)
    shrunk = torch.zeros(3, 1, 10, 5, dtype=torch.uint8)
    shrunk[:, :, 5:] = 255
    results.save_contact_sheet(tmp_path / "same.png", ImageSet(shrunk), 3)
    assert Image.open(tmp_path / "sheet.png").tobytes() == Image.open(tmp_path / "same.png").tobytes()


def test_saving_is_announced_where_it_takes_long() -> None:
    assert results.describe_saving(ImageSet(torch.zeros(1, 1, 100, 100, dtype=torch.uint8))) == ""
    # One image that many times over takes no memory.
    many = ImageSet.__new__(ImageSet)
    object.__setattr__(many, "images", torch.zeros(1, 1, 1, 1, dtype=torch.uint8).expand(12, 1, 20_000, 20_000))
    assert results.describe_saving(many) == "compressing 4.8 GB of images takes about 60 s"
