"""The softmax average over keys: mergeable states, jobs, kernels and the planner. It knows no machine."""

from elsewhere.engine.jobs import Step
from elsewhere.engine.keys import Extent, ImageKeys, Keys, Metric, PixelStore, Places, Sources, WindowKeys
from elsewhere.engine.layout import NO_WRAPS, Layout, Region, Wraps
from elsewhere.engine.patch_tracing import trace_patches
from elsewhere.engine.planner import ENGINES, Engine, Planner, Traced
from elsewhere.engine.runner import run, watched
from elsewhere.engine.search.build import build_index
from elsewhere.engine.search.index import Index
from elsewhere.engine.state import Attribution, SoftmaxState, TopWeights, merge_all
from elsewhere.engine.workspace import Workspace

__all__ = [
    "ENGINES",
    "NO_WRAPS",
    "Attribution",
    "Engine",
    "Extent",
    "ImageKeys",
    "Index",
    "Keys",
    "Layout",
    "Metric",
    "PixelStore",
    "Places",
    "Planner",
    "Region",
    "SoftmaxState",
    "Sources",
    "Step",
    "TopWeights",
    "Traced",
    "WindowKeys",
    "Workspace",
    "Wraps",
    "build_index",
    "merge_all",
    "run",
    "trace_patches",
    "watched",
]
