"""The softmax average over keys: mergeable state, jobs, and the exact engine. It knows nothing of what images mean."""

from elsewhere.engine.exact import run
from elsewhere.engine.jobs import Job, SamePlace, SharedKeys
from elsewhere.engine.keys import Extent, ImageKeys, Keys, PixelStore, WindowKeys
from elsewhere.engine.state import SoftmaxState, merge_all

__all__ = [
    "Extent",
    "ImageKeys",
    "Job",
    "Keys",
    "PixelStore",
    "SamePlace",
    "SharedKeys",
    "SoftmaxState",
    "WindowKeys",
    "merge_all",
    "run",
]
