"""The softmax average over keys: mergeable state, jobs, and the exact engine. It knows nothing of what images mean."""

from elsewhere.engine.exact import run
from elsewhere.engine.index import Index, build_index
from elsewhere.engine.jobs import Average, Job, SamePlace, SharedKeys
from elsewhere.engine.keys import Extent, ImageKeys, Keys, PixelStore, Sources, WindowKeys
from elsewhere.engine.searched import SearchedKeys
from elsewhere.engine.shelf import Shelf
from elsewhere.engine.shifts import Frame, Line, Shifts, ShiftsTracing, compiled, meeting
from elsewhere.engine.state import SoftmaxState, merge_all
from elsewhere.engine.tracing import SecondLook, Top, Trace, Tracing

__all__ = [
    "Average",
    "Extent",
    "Frame",
    "ImageKeys",
    "Index",
    "Job",
    "Keys",
    "Line",
    "PixelStore",
    "SamePlace",
    "SearchedKeys",
    "SecondLook",
    "SharedKeys",
    "Shelf",
    "Shifts",
    "ShiftsTracing",
    "SoftmaxState",
    "Sources",
    "Top",
    "Trace",
    "Tracing",
    "WindowKeys",
    "build_index",
    "compiled",
    "meeting",
    "merge_all",
    "run",
]
