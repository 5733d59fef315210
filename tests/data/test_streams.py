from __future__ import annotations

import io
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elsewhere.data.streams import BOMB_BYTES, BOMB_RATIO, check_declared, naming, read_exactly
from tests.data.toys import few, refused


class Drip(io.BytesIO):
    """Gives one byte at a time, as compressed and remote streams may."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size or 0, 1))


@few
@given(content=st.binary(max_size=40), more=st.binary(max_size=5))
def test_exactly_the_bytes_asked_for_are_read(content: bytes, more: bytes) -> None:
    for kind in (io.BytesIO, Drip):
        stream = kind(content + more)
        assert read_exactly(stream, len(content), "here", "a set").tobytes() == content
        assert stream.tell() == len(content)


def test_a_stream_that_ends_early_is_refused() -> None:
    with refused(ValueError, "here is cut short: 5 bytes were expected, 3 are there"):
        read_exactly(io.BytesIO(b"abc"), 5, "here", "a set")


@pytest.mark.parametrize("error", [zlib.error("bad\ncode"), EOFError(), SyntaxError("odd"), OSError("lost")])
def test_whatever_a_decoder_raises_names_the_file(error: Exception) -> None:
    reason = " ".join(str(error).split()) or type(error).__name__
    with refused(ValueError, f"here cannot be read as a set ({reason})"), naming("here", "a set"):
        raise error


def test_an_interrupt_is_not_taken_for_a_damaged_file() -> None:
    with pytest.raises(KeyboardInterrupt), naming("here", "a set"):
        raise KeyboardInterrupt


def test_a_header_can_only_declare_what_the_file_can_hold() -> None:
    check_declared(10, 10, "here", compressed=False)
    check_declared(BOMB_BYTES, 10, "here", compressed=True)
    check_declared(2 * BOMB_BYTES, 2 * BOMB_BYTES // BOMB_RATIO + 1, "here", compressed=True)
    with refused(ValueError, "here is cut short", "declares 11 bytes, 10 are there"):
        check_declared(11, 10, "here", compressed=False)
    with refused(ValueError, "here declares", f"more than {BOMB_RATIO} to 1"):
        check_declared(BOMB_BYTES + 1, 10, "here", compressed=True)
