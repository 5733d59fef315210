"""Regions against their definition, pixel by pixel, and what is known of them."""

from __future__ import annotations

from itertools import product
from typing import Literal

import numpy as np
import pytest
import torch

import elsewhere as els
from elsewhere.analysis.coherence import coherence_length, plain, regions
from elsewhere.analysis.explaining import Mosaic


def pasted_by_hand(window: int = 3) -> Mosaic:
    """A 5 x 6 image, of patches laid by hand from two training images; the third one is plain but for a corner."""
    data = els.ImageSet(torch.randint(1, 256, (3, 1, 12, 12), generator=torch.Generator().manual_seed(0)).byte())
    data.images[2] = 7
    data.images[2, 0, 0, 0] = 0
    machine = els.EquivariantLocalScore(data, window)
    mosaic = els.explain(machine, els.make_noise(1, (1, 5, 6)), 1.0, 1)
    ids, places = mosaic.image_ids[0, ..., 0], mosaic.positions[0, ..., 0, :]
    row, column = torch.meshgrid(torch.arange(5), torch.arange(6), indexing="ij")
    here = torch.stack([row, column], -1)
    ids[:], places[:] = 0, here + 3  # one patch everywhere,
    ids[:, 4:] = 1  # but the right from another image at the same place,
    places[3:, :4] = here[3:, :4] + torch.tensor([1, 5])  # the lower left from elsewhere in the same image,
    ids[0, :2], places[0, :2] = 2, torch.tensor([5, 5])  # and two pixels from plain ground.
    return mosaic


def test_patches_pasted_whole_are_found() -> None:
    mosaic = pasted_by_hand()
    expected = [[0, 1, 2, 2, 4, 4], *[[2] * 4 + [4] * 2] * 2, *[[18] * 4 + [4] * 2] * 2]
    assert regions(mosaic)[0].tolist() == expected
    assert plain(mosaic)[0].nonzero().tolist() == [[0, 0], [0, 1]]
    sizes = [10] * 10 + [10] * 10 + [8] * 8
    assert float(coherence_length(mosaic)) == pytest.approx(np.sqrt(np.mean(sizes)))


def by_definition(mosaic: Mosaic, machine: els.EquivariantLocalScore, window: int) -> np.ndarray:
    """Flood fill over pairs of neighbours whose windows, with a frame that marks the border, are equal bytes."""
    r = window // 2
    pixels = mosaic.store.pixels.numpy().astype(int)
    pad = ((0, 0), (0, 0), (r, r), (r, r))
    torus = machine.borders == "torus"
    framed = np.pad(pixels, pad, mode="wrap") if torus else np.pad(pixels, pad, constant_values=-1)
    height, width = mosaic.image_ids.shape[1:3]
    goes_round = torus or (machine.borders == "wrap" and window <= min(pixels.shape[2:]))

    def look(n: int, i: int, j: int) -> bytes | None:
        if torus:
            i, j = i % pixels.shape[2], j % pixels.shape[3]
        if not (0 <= i < pixels.shape[2] and 0 <= j < pixels.shape[3]):
            return None
        return framed[n, :, i : i + window, j : j + window].tobytes()

    def source(i: int, j: int) -> tuple[int, int, int]:
        row, column = mosaic.positions[0, i, j, 0].tolist()
        return int(mosaic.image_ids[0, i, j, 0]), row, column

    def is_plain(i: int, j: int) -> bool:
        values = np.frombuffer(look(*source(i, j)) or b"", dtype=int)
        return len(set(values[values >= 0].tolist())) == 1

    def together(a: tuple[int, int], b: tuple[int, int], step: tuple[int, int]) -> bool:
        (n, i, j), (m, k, l) = source(*a), source(*b)  # noqa: E741
        down, across = step
        forth = look(n, i + down, j + across) == look(m, k, l)
        back = look(m, k - down, l - across) == look(n, i, j)
        return (forth or back) and not is_plain(*a) and not is_plain(*b)

    labels = np.full((height, width), -1)
    for start in product(range(height), range(width)):
        stack = [start] if labels[start] < 0 else []
        while stack:
            a = stack.pop()
            labels[a] = start[0] * width + start[1]
            for step in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                b = a[0] + step[0], a[1] + step[1]
                if goes_round:
                    b = b[0] % height, b[1] % width
                if 0 <= b[0] < height and 0 <= b[1] < width and labels[b] < 0:
                    forward = sum(step) > 0
                    if together(a, b, step) if forward else together(b, a, (-step[0], -step[1])):
                        stack.append(b)
    return labels


@pytest.mark.parametrize("borders", ["aware", "wrap", "torus"])
@pytest.mark.parametrize(("window", "sigma"), [(3, 0.3), (5, 1.0), (9, 3.0), (15, 3.0)])
def test_regions_are_those_of_the_definition(borders: str, window: int, sigma: float) -> None:
    generator = torch.Generator().manual_seed(window)
    # Large flat patches, and one image twice: equal windows everywhere.
    coarse = torch.randint(0, 2, (4, 1, 3, 3), generator=generator).mul(255).byte()
    images = coarse.repeat_interleave(3, 2).repeat_interleave(3, 3)
    data = els.ImageSet(torch.cat([images, images[:1]]))
    machine = els.EquivariantLocalScore(data, window, borders)  # type: ignore[arg-type]
    x = data.scaled()[1:2] + sigma * els.make_noise(1, data.shape)
    mosaic = els.explain(machine, x, sigma, 1)
    found = regions(mosaic)[0].numpy()
    np.testing.assert_array_equal(found, by_definition(mosaic, machine, window))
    # Wrapping, a window of 9 in images of 9 has one place: no window continues another.
    assert (len(np.unique(found)) == found.size) == (borders == "wrap" and window == 9)


def labyrinth(side: int = 32) -> els.ImageSet:
    """One periodic pattern without symmetries: low waves of random direction and phase, as two levels."""
    spectrum = torch.fft.fft2(torch.randn(side, side, generator=torch.Generator().manual_seed(1)))
    frequency = torch.fft.fftfreq(side, 1 / side)
    length = (frequency[:, None].square() + frequency.square()).sqrt()
    waves = torch.fft.ifft2(spectrum * ((length > 3) & (length < 6))).real
    return els.ImageSet((waves > 0)[None, None].byte() * 255)


def test_a_rolled_copy_on_the_torus_is_one_patch() -> None:
    data = labyrinth()
    machine = els.EquivariantLocalScore(data, 9, "torus")
    x = data.scaled().roll((5, -9), (2, 3)) + 0.1 * els.make_noise(1, data.shape)
    mosaic = els.explain(machine, x, 0.1, 1)
    row, column = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    assert torch.equal(mosaic.positions[0, :, :, 0], torch.stack([(row - 5) % 32, (column + 9) % 32], -1))
    assert not regions(mosaic).any()
    assert coherence_length(mosaic).tolist() == [32]


@pytest.mark.parametrize("borders", ["wrap", "torus"])
def test_where_x_wraps_a_roll_of_it_changes_no_patch(borders: Literal["wrap", "torus"]) -> None:
    data = labyrinth()
    machine, x = els.EquivariantLocalScore(data, 5, borders), els.make_noise(1, (1, 20, 24)).double()
    one, other = (els.explain(machine, some, 1.0, 1) for some in (x, x.roll((7, 11), (2, 3))))
    assert 1 < float(coherence_length(one)) < 20
    torch.testing.assert_close(coherence_length(one), coherence_length(other))
    # The same pixels together: a region's number is that of its first pixel, which a roll changes.
    together = [
        (labels[0] == labels[0].roll(-1, 1), labels[0] == labels[0].roll(-1, 0))
        for labels in map(regions, (one, other))
    ]
    for before, after in zip(*together, strict=True):
        assert torch.equal(before.roll((7, 11), (0, 1)), after)


def test_the_ideal_machine_pastes_whole_images() -> None:
    data = els.load_images("fashion-mini", 10)
    mosaic = els.explain(els.IdealScore(data), els.make_noise(2, data.shape), 1.0, 1)
    assert not regions(mosaic).any()
    assert coherence_length(mosaic).tolist() == [28, 28]


def test_where_all_is_plain_the_length_is_undefined() -> None:
    data = els.ImageSet(torch.full((2, 1, 6, 6), 9, dtype=torch.uint8))
    mosaic = els.explain(els.LocalScore(data, 3), els.make_noise(1, data.shape), 1.0, 1)
    assert plain(mosaic).all()
    assert coherence_length(mosaic).isnan().all()


def test_reading_windows_in_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    mosaic = pasted_by_hand(5)
    whole = regions(mosaic)
    monkeypatch.setattr("elsewhere.analysis.coherence.CHUNK", 60)
    assert torch.equal(regions(mosaic), whole)
