"""The softmax average over keys: mergeable state, jobs, and the exact engine. It knows nothing of what images mean."""

from elsewhere.engine.exact import run
from elsewhere.engine.jobs import Average, Job, SamePlace, SharedKeys
from elsewhere.engine.keys import Extent, ImageKeys, Keys, PixelStore, Sources, WindowKeys
from elsewhere.engine.state import SoftmaxState, merge_all
from elsewhere.engine.tracing import Top, Trace, Tracing

__all__ = [
    "Average",
    "Extent",
    "ImageKeys",
    "Job",
    "Keys",
    "PixelStore",
    "SamePlace",
    "SharedKeys",
    "SoftmaxState",
    "Sources",
    "Top",
    "Trace",
    "Tracing",
    "WindowKeys",
    "merge_all",
    "run",
]
