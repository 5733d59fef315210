"""What notebooks show: markup that holds its pictures, bounded in size; and images as pictures, files and arrays."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageShow

import elsewhere as els
from elsewhere import display
from elsewhere.data import ImageSet, to_uint8
from elsewhere.sampling import Run

MOST_MARKUP = 1_500_000
"""Characters of markup of one result: a cell then stays far below what notebooks refuse to show."""


class Tags(HTMLParser):
    """The tags of some markup, the texts between them, and what `src` and `href` lead to."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.sources: list[str] = []
        self.alts: list[str] = []
        self.feed(markup)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag != "img":
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name in ("src", "href"):
                self.sources.append(value or "")
            if name == "alt":
                self.alts.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)

    @property
    def pictures(self) -> list[Image.Image]:
        assert all(re.match("data:image/(png|gif);base64,", source) for source in self.sources)
        return [Image.open(BytesIO(base64.b64decode(source.partition(",")[2]))) for source in self.sources]


def shown(thing: object) -> Tags:
    """What a notebook shows, checked for what holds for all: bounded, no scripts, pictures inside and described."""
    markup = thing._repr_html_()  # type: ignore[attr-defined]
    assert isinstance(markup, str)
    assert len(markup) <= MOST_MARKUP
    found = Tags(markup)
    assert not {"script", "link", "style", "iframe"} & set(found.tags)
    assert len(found.pictures) == len(found.alts) == found.tags.count("img")
    assert all(found.alts)
    return found


def noisy(count: int, channels: int = 1, height: int = 8, width: int = 8) -> torch.Tensor:
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="module")
def data() -> ImageSet:
    labels = torch.arange(30) % 2
    return ImageSet(to_uint8(noisy(30)), labels, "<b>toys</b>", ("one & only", "two"))


@pytest.fixture(scope="module")
def run(data: ImageSet) -> Run:
    noise, schedule = els.make_noise(3, data.shape), els.schedules.cosine(3)
    return els.sample(els.EquivariantLocalScore(data, 3), noise, schedule, keep=True)


def test_a_set_shows_its_first_images_and_says_how_many_there_are(data: ImageSet) -> None:
    found = shown(data)
    # Three rows of eight, each image 8 pixels wide enlarged eleven times, with gaps of two.
    assert found.pictures[0].size == (8 * 90 + 2, 3 * 90 + 2)
    assert "the first 24 of 30 are shown" in found.text
    assert "one & only, two" in found.text


def test_texts_of_users_are_escaped(data: ImageSet) -> None:
    assert "<b>toys</b>" in shown(data).text
    machines = {"<i>ELS</i>": els.EquivariantLocalScore(data, 3)}
    result = els.compare(
        machines, els.IdealScore(data), els.make_noise(2, data.shape), schedule=els.schedules.cosine(2)
    )
    found = shown(result)
    assert "<i>ELS</i>" in found.text
    assert "i" not in found.tags


def test_one_image_is_shown_larger_and_with_its_own_class(data: ImageSet) -> None:
    found = shown(data[0])
    assert found.pictures[0].size == (8 * 22 + 4, 8 * 22 + 4)
    assert "one & only" in found.text
    assert "two" not in found.text


@pytest.mark.parametrize("size", [(1, 600, 700), (3, 1500, 20), (3, 64, 64)])
@pytest.mark.parametrize("count", [1, 9])
def test_large_images_are_shrunk_to_what_a_page_can_hold(size: tuple[int, int, int], count: int) -> None:
    images = ImageSet(to_uint8(noisy(count, *size)))
    shown(images)
    shown(Run(images.scaled(), (1.0, 0.0)))


def test_what_no_picture_can_show_is_left_to_the_text() -> None:
    for images in (noisy(2, 4), noisy(0), torch.full((1, 1, 4, 4), torch.nan), torch.zeros(3)):
        assert Run(images, ())._repr_html_() is None


def test_the_pixels_of_a_run_are_in_its_picture(run: Run) -> None:
    picture = np.asarray(shown(run).pictures[0])
    assert np.array_equal(picture[2:90:11, 2:90:11, 0], to_uint8(run.images)[0, 0].numpy())


def test_a_comparison_shows_every_drawer_and_its_medians(data: ImageSet) -> None:
    machines = {"IS": els.IdealScore(data), "ELS": els.EquivariantLocalScore(data, 3)}
    noise, schedule = els.make_noise(6, data.shape), els.schedules.cosine(2)
    result = els.compare(machines, els.LocalScore(data, 3), noise, schedule=schedule)
    found = shown(result)
    for name in machines:
        assert f"{result.median(name, 'pearson_r'):.3f}" in found.texts
    assert "the first 4 of 6 are shown" in found.text
    assert len(found.pictures) == 1


def test_a_mosaic_shows_images_sources_and_credits(data: ImageSet, run: Run) -> None:
    machine = els.EquivariantLocalScore(data, 3)
    mosaic = els.explain(machine, run.states[1], run.sigmas[1], top=2)
    found = shown(mosaic)
    assert "3 images" in found.text
    assert "top 2" in found.text
    tiny = els.EquivariantLocalScore(data[:2], 3)
    shown(els.explain(tiny, run.states[1], run.sigmas[1], top=2))
    colours = els.LocalScore(ImageSet(to_uint8(noisy(3, 3))), 3)
    shown(els.explain(colours, noisy(1, 3), 0.5, top=2))


def test_an_audit_shows_the_most_serious_images(data: ImageSet) -> None:
    made = torch.cat([noisy(4, 1, 8, 8).flip(3), data.scaled()[5:6]])
    found = els.audit(data, made, pixels=1, shift=1)
    markup = shown(found)
    assert "1 copy" in markup.text
    assert found.headline in markup.text


def test_a_locality_schedule_is_a_curve_and_one_short_line() -> None:
    schedule = els.shipped_locality("fashion-resnet")
    assert "20 levels" in shown(schedule).text
    assert repr(schedule) == "LocalitySchedule(20 levels, sigma 80.21 to 0.07807, windows 17 to 3)"
    assert repr(els.LocalitySchedule((1.0,), (5,), taper=True)).endswith(
        "1 level, sigma 1 to 1, windows 5 to 5, tapered)"
    )


def test_no_text_of_a_result_is_long(data: ImageSet, run: Run) -> None:
    pretty = pytest.importorskip("IPython.lib.pretty").pretty
    mosaic = els.explain(els.IdealScore(data), run.states[1], run.sigmas[1], top=2)
    for thing in (data, run, mosaic, els.shipped_locality("hands-resnet"), run.gif()):
        assert len(pretty(thing)) < 160
        assert "\n" not in pretty(thing)


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 12), st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9), st.none() | st.integers(1, 20)
)
def test_every_image_is_in_the_grid_in_order(count: int, channels: int, height: int, width: int, columns: int) -> None:
    images = noisy(count, channels, height, width)
    picture = np.asarray(Run(images, ()).grid(columns, scale=2))
    across = min(columns or 8, count)
    for number, image in enumerate(to_uint8(images).expand(-1, 3, -1, -1)):
        top, left = (
            2 + place * (2 * side + 2) for place, side in zip(divmod(number, across), (height, width), strict=True)
        )
        cell = picture[top : top + 2 * height : 2, left : left + 2 * width : 2]
        assert np.array_equal(cell, image.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("channels", [1, 3])
def test_pil_and_numpy_have_the_pixels_of_every_image(channels: int) -> None:
    data = ImageSet(to_uint8(noisy(4, channels, 5, 7)))
    array = data.numpy()
    assert array.dtype == np.uint8
    assert array.shape == ((4, 5, 7) if channels == 1 else (4, 5, 7, 3))
    for image, picture, pixels in zip(data.images, data.pil(), array, strict=True):
        assert picture.size == (7, 5)
        assert np.array_equal(np.asarray(picture), pixels)
        assert np.array_equal(pixels.reshape(5, 7, channels), image.permute(1, 2, 0).numpy())
    assert np.array_equal(np.asarray(data), array)
    assert np.array_equal(Run(data.scaled(), ()).numpy(), array)
    assert np.asarray(data, dtype=np.float32).dtype == np.float32


def test_files_give_back_what_was_saved(data: ImageSet, run: Run, tmp_path: Path) -> None:
    data.save(tmp_path / "set.npz")
    again = els.load_images(tmp_path / "set.npz")
    assert again.fingerprint() == data.fingerprint()
    assert again.classes == data.classes
    run.save(tmp_path / "run.npz")
    assert torch.equal(els.load_images(tmp_path / "run.npz").images, to_uint8(run.images))
    run.save(tmp_path / "folder")
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == ["00000.png", "00001.png", "00002.png"]
    assert torch.equal(els.load_images(tmp_path / "folder").images, to_uint8(run.images))
    for suffix, kind in ((".png", "PNG"), (".jpg", "JPEG"), (".webp", "WEBP"), (".gif", "GIF")):
        run.save(tmp_path / f"run{suffix}")
        with Image.open(tmp_path / f"run{suffix}") as picture:
            assert picture.format == kind


def test_a_dark_set_comes_back_as_dark_as_it_was(tmp_path: Path) -> None:
    dark = ImageSet(torch.ones(2, 1, 4, 4, dtype=torch.uint8))
    dark.save(tmp_path / "dark.npz")
    assert torch.equal(els.load_images(tmp_path / "dark.npz").images, dark.images)


def test_a_film_begins_with_noise_and_ends_with_the_images(run: Run) -> None:
    film = run.gif(scale=1)
    assert film.frames == len(run.states) == 4
    assert len(shown(film).pictures) == 1
    with Image.open(BytesIO(film.content)) as picture:
        assert picture.n_frames == 4
        ends = []
        for frame in (0, 3):
            picture.seek(frame)
            ends.append(np.asarray(picture.convert("L")).astype(float))
    first, last = (np.asarray(Run(state, ()).grid(scale=1).convert("L")) for state in (run.states[0] / 80, run.images))
    # A palette of 64 colours, and noise of a standard deviation of one: clipped where it exceeds -1..1.
    assert np.abs(ends[0] - first).mean() < 12
    assert np.abs(ends[1] - last).mean() < 8
    predictions = run.gif(of="predictions", scale=1)
    assert predictions.frames == 4


def test_bad_calls_say_what_to_do(data: ImageSet, run: Run, tmp_path: Path) -> None:
    kept_nothing = Run(run.images, run.sigmas)
    calls = [
        (lambda: data.save(tmp_path / "x.tiff"), ValueError, r"path must end in .png, .webp, .jpg, .jpeg or .npz"),
        (lambda: data.save(tmp_path / "x.gif"), ValueError, "path must end in"),
        (lambda: data.save(3), TypeError, "path"),
        (lambda: data.grid(0), ValueError, "columns"),
        (lambda: data.grid(scale=0), ValueError, "scale"),
        (lambda: data.grid(scale=10**6), MemoryError, "scale"),
        (lambda: Run(noisy(0), ()).grid(), ValueError, "one picture holds 1 to 4096 images, got 0"),
        (lambda: Run(noisy(2, 2), ()).grid(), ValueError, "1 or 3 channels"),
        (lambda: Run(noisy(2, 2), ()).pil(), ValueError, "1 or 3 channels"),
        (lambda: kept_nothing.gif(), ValueError, "keep=True"),
        (lambda: kept_nothing.save(tmp_path / "x.gif"), ValueError, "keep=True"),
        (lambda: run.gif(of="noise"), (TypeError, ValueError), "of"),
        (lambda: run.gif(milliseconds=1), ValueError, "milliseconds"),
        (lambda: run.gif().save(tmp_path / "x.png"), ValueError, "path must end in .gif"),
    ]
    for call, error, said in calls:
        with pytest.raises(error, match=said):
            call()
    assert list(tmp_path.iterdir()) == []


def test_show_asks_for_a_viewer_and_says_what_to_do_without_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Image.Image] = []
    monkeypatch.setattr(ImageShow, "show", lambda picture: not seen.append(picture))
    run.show(2)
    assert seen[0].size == run.grid(2).size
    monkeypatch.setattr(ImageShow, "show", lambda picture: False)
    with pytest.raises(OSError, match="write a file"):
        run.show()


def test_show_is_a_picture_below_the_cell_of_a_notebook(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shown_there: list[object] = []
    monkeypatch.setattr(display, "in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", shown_there.append)
    run.show()
    assert isinstance(shown_there[0], Image.Image)


@pytest.mark.parametrize("suffix", ["webp", "jpg", "gif"])
def test_pictures_too_large_for_their_format_are_refused(suffix: str, tmp_path: Path) -> None:
    long = torch.zeros(1, 1, 1, 70_000)
    with pytest.raises(ValueError, match=r"has at most \d+ pixels a side, this picture of all images has 700"):
        Run(long, (1.0, 0.0), [long, long]).save(tmp_path / f"long.{suffix}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(), (3,), (1, 4, 4), (2, 1, 0, 4), (2, 0, 4, 4)])
def test_a_run_of_no_images_says_so(shape: tuple[int, ...], tmp_path: Path) -> None:
    run = Run(torch.zeros(shape), (1.0, 0.0))
    assert run._repr_html_() is None
    for call in (run.grid, run.pil, run.numpy, lambda: run.save(tmp_path / "a.png"), lambda: run.save(tmp_path / "b")):
        with pytest.raises(
            ValueError, match=r"images must be \(B, C, H, W\)|one picture holds 1 to 4096 images, got 0"
        ):
            call()
