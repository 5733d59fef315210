"""Draw the embedded image set `emoji` from the font Noto Color Emoji.

    python scripts/make_emoji.py NotoColorEmoji.ttf emoji-test.txt

The set that is embedded was made from Debian's packages `fonts-noto-color-emoji` 2.042-0+deb12u1 (version 2.042 of the
font) and `unicode-data` 15.0.0-1 (version 15.0 of emoji-test.txt), with fontTools 4.68.0 and Pillow 13.0.0.

- Which: every emoji that emoji-test.txt calls fully qualified, its picture found by the ligatures of the font. Pictures
  of the font that have no name there (letters of flags, flags of states, emoji of Unicode 15.1) are left out.
- How: the font's bitmap of 136 x 128 pixels, in the middle of a white square, resized to 32 x 32 with Pillow's Lanczos
  filter. White, because `load_images` lays transparent pixels on white: a folder of emoji gives the same pictures.
- Caption: the CLDR short name in emoji-test.txt. Emoji of equal pictures are one picture with all their names, such as
  "flag: Australia / flag: Heard & McDonald Islands". Class: the group in emoji-test.txt.
- Order: shuffled by `numpy.random.default_rng(0)`, so that the first images are a random part of the set.
"""

from __future__ import annotations

import io
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from fontTools.ttLib import TTFont
from PIL import Image

TARGET = Path(__file__).resolve().parents[1] / "src/elsewhere/data/embedded/emoji.npz"
SIDE = 32
SELECTOR = 0xFE0F
"""Variation selector 16, "as a picture": the font has no glyph for it."""
LIGATURES = 4
"""Type of lookups in the table GSUB that make one glyph of several."""


def named_emoji(text: str) -> Iterator[tuple[tuple[int, ...], str, str]]:
    """(code points, short name, group) of every fully qualified emoji, in the order of emoji-test.txt."""
    group = ""
    for line in text.splitlines():
        if line.startswith("# group: "):
            group = line.removeprefix("# group: ")
        found = re.fullmatch(r"([0-9A-F ]+?) *; fully-qualified +# \S+ E[0-9.]+ (.+)", line)
        if found:
            yield tuple(int(code, 16) for code in found[1].split()), found[2], group


def glyph_names(font: TTFont) -> dict[tuple[int, ...], str]:
    """The glyph of each sequence of code points, without variation selectors."""
    glyph_of = font.getBestCmap()
    code_of = {glyph: code for code, glyph in glyph_of.items()}
    names = {(code,): glyph for code, glyph in glyph_of.items()}
    for lookup in font["GSUB"].table.LookupList.Lookup:
        if lookup.LookupType != LIGATURES:
            continue
        for table in lookup.SubTable:
            for first, ligatures in table.ligatures.items():
                for ligature in ligatures:
                    parts = (first, *ligature.Component)
                    if all(part in code_of for part in parts):
                        names[tuple(code_of[part] for part in parts)] = ligature.LigGlyph
    return names


def draw(bitmap: bytes) -> np.ndarray:
    """The PNG of a glyph on white, uint8 (3, 32, 32)."""
    picture = Image.open(io.BytesIO(bitmap)).convert("RGBA")
    side = max(picture.size)
    square = Image.new("RGBA", (side, side), "white")
    square.alpha_composite(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    small = square.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return np.asarray(small).transpose(2, 0, 1)


def make(font: TTFont, text: str) -> dict[str, np.ndarray]:
    """The arrays of the set."""
    bitmaps, glyphs = font["CBDT"].strikeData[0], glyph_names(font)
    pictures: dict[bytes, np.ndarray] = {}
    names: dict[bytes, list[str]] = {}
    group_of: dict[bytes, str] = {}
    for codes, name, group in named_emoji(text):
        picture = draw(bitmaps[glyphs[tuple(code for code in codes if code != SELECTOR)]].imageData)
        key = picture.tobytes()
        pictures.setdefault(key, picture)
        group_of.setdefault(key, group)
        names.setdefault(key, []).append(name)
    keys, groups = list(pictures), list(dict.fromkeys(group_of.values()))
    keys = [keys[number] for number in np.random.default_rng(0).permutation(len(keys))]
    return {
        "images": np.stack([pictures[key] for key in keys]),
        "labels": np.array([groups.index(group_of[key]) for key in keys], np.uint8),
        "classes": np.array(groups),
        "captions": np.array([" / ".join(names[key]) for key in keys]),
    }


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    arrays = make(TTFont(sys.argv[1]), Path(sys.argv[2]).read_text("utf-8"))
    # LZMA sees the whole set at once, in which people differ by the tone of their skin only: 3.4 MB, Deflate 5.8.
    with zipfile.ZipFile(TARGET, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), buffer.getvalue(), zipfile.ZIP_LZMA)
    print(f"{TARGET}: {len(arrays['images'])} pictures, {TARGET.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
