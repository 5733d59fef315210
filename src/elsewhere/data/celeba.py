"""CelebA as it is published: a folder of pictures, and a list that puts each into a split."""

from __future__ import annotations

from pathlib import Path

import torch

from elsewhere.data.images import ImageSet
from elsewhere.data.pixels import is_picture, read_picture, stack
from elsewhere.data.request import Request
from elsewhere.data.splits import KIND, of_split

PICTURES, PARTITION = "img_align_celeba", "list_eval_partition.txt"
SPLITS = ("train", "val", "test")
"""The split that each number in the list stands for: 0, 1, 2."""
MOST_LIST = 2**26
"""Most bytes of the list; the published one has 2.8 MB for 202,599 pictures."""


def is_celeba(folder: Path) -> bool:
    """Whether a folder has the pictures of CelebA and the list of their splits."""
    return (folder / PICTURES).is_dir() and (folder / PARTITION).is_file()


def load_celeba(folder: Path, request: Request) -> ImageSet:
    """One split of CelebA, in the order of the list, without attributes.

    Published runs on CelebA use its training split resized to 32 x 32 with `fit="stretch"` and `resample="bilinear"`
    (Kamb & Ganguli 2025).

    Args:
        folder: has img_align_celeba/ and list_eval_partition.txt.
        request: what to read; pictures of other splits, or in no split, are counted in its `left_out`.

    Raises:
        FileNotFoundError: a picture of the list that is not there.
        ValueError: an unknown split, a damaged list or picture, pictures of several sizes.
    """
    wanted = KIND.get(request.split.lower())
    if wanted not in SPLITS:
        raise ValueError(f"{folder} has no split {request.split!r}: give split= one of {', '.join(SPLITS)}")
    listed = _read_list(folder / PARTITION)
    for number, split in enumerate(SPLITS):
        if split != wanted:
            request.left_out[of_split(split)] += sum(found == number for found in listed.values())
    # Names of files are compared without asking the disk for each of them.
    there = {path.name for path in (folder / PICTURES).iterdir() if is_picture(path)}
    request.left_out["pictures in no split"] += len(there - listed.keys())
    names = [name for name, number in listed.items() if SPLITS[number] == wanted]
    count = request.count(len(names), str(folder))
    missing = [name for name in names[:count] if name not in there]
    if missing:
        raise FileNotFoundError(
            f"{folder / PICTURES} lacks {missing[0]} ({len(missing)} of {count} pictures): unpack {PICTURES}.zip again"
        )
    paths = (folder / PICTURES / name for name in names[:count])
    images = stack(((str(path), read_picture(path, str(path), request)) for path in paths), count, request)
    return ImageSet(torch.from_numpy(images), name="celeba")


def _read_list(path: Path) -> dict[str, int]:
    """Name of a picture -> number of its split."""
    if path.stat().st_size > MOST_LIST:
        raise ValueError(f"{path} has {path.stat().st_size} bytes, expected at most {MOST_LIST}: replace the file")
    result = {}
    for number, line in enumerate(path.read_bytes().decode("utf-8", "replace").splitlines(), 1):
        parts = line.split()
        if not parts:
            continue
        if len(parts) != 2 or parts[1] not in ("0", "1", "2") or "/" in parts[0] or "\\" in parts[0]:
            raise ValueError(
                f"{path}, line {number}: expected a file name and 0, 1 or 2, got {line.strip()[:60]!r}: "
                "replace the file"
            )
        result[parts[0]] = int(parts[1])
    return result
