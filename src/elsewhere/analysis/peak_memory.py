"""Peak memory of a block of code, as the operating system counts it."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress
from pathlib import Path
from types import TracebackType

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"
"""What Linux takes for "set the peak to the memory in use now" (proc(5), clear_refs)."""
HOW = (
    "the largest resident memory of the process during the measurement less that before it (VmHWM and VmRSS of "
    "Linux); on other systems, and on a GPU, it is not measured"
)


class PeakMemory:
    """A block whose peak of resident memory above that at its beginning is measured.

    Attributes:
        nbytes: after the block, the peak in bytes, 0 or more; None where the system does not say (it is no Linux).

    Example:
        >>> with PeakMemory() as peak:
        ...     block = bytearray(2**20)
        >>> peak.nbytes is None or peak.nbytes >= 0
        True
    """

    nbytes: int | None = None

    def __enter__(self) -> PeakMemory:
        gc.collect()
        # Memory that was freed but is kept by the allocator would be used again without being counted.
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        self._before: int | None = None
        with suppress(OSError):
            CLEAR.write_text(RESET_PEAK)
            self._before = _status("VmRSS")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        peak = _status("VmHWM")
        if self._before is not None and peak is not None:
            self.nbytes = max(0, peak - self._before)


def _status(name: str) -> int | None:
    """Bytes of a line such as "VmRSS:  123 kB" of the process's status; None where there is none."""
    with suppress(OSError):
        for line in STATUS.read_text().splitlines():
            key, _, value = line.partition(":")
            if key == name:
                return 1024 * int(value.split()[0])
    return None
