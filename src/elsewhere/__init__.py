"""Analytic diffusion: what an image diffusion network draws, in closed form."""

from __future__ import annotations

__version__ = "0.1.0"

# As in `typing`, which takes a tenth of the time that `elsewhere --help` needs.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from elsewhere import adapters as adapters
    from elsewhere import analysis as analysis
    from elsewhere import anomalies as anomalies
    from elsewhere import data as data
    from elsewhere import machines as machines
    from elsewhere import morphogenesis as morphogenesis
    from elsewhere import networks as networks
    from elsewhere import operators as operators
    from elsewhere import schedules as schedules
    from elsewhere import testing as testing
    from elsewhere import text as text
    from elsewhere import textures as textures
    from elsewhere.adapters import as_unet as as_unet
    from elsewhere.analysis import Audit as Audit
    from elsewhere.analysis import Comparison as Comparison
    from elsewhere.analysis import Mosaic as Mosaic
    from elsewhere.analysis import Transition as Transition
    from elsewhere.analysis import audit as audit
    from elsewhere.analysis import calibrate as calibrate
    from elsewhere.analysis import calibrate_family as calibrate_family
    from elsewhere.analysis import compare as compare
    from elsewhere.analysis import explain as explain
    from elsewhere.analysis import explain_run as explain_run
    from elsewhere.analysis import transition as transition
    from elsewhere.best import best_machine as best_machine
    from elsewhere.best import shipped_family as shipped_family
    from elsewhere.data import ImageSet as ImageSet
    from elsewhere.data import load_images as load_images
    from elsewhere.deepinv_denoiser import as_deepinv as as_deepinv
    from elsewhere.denoiser import score as score
    from elsewhere.factory import shipped_locality as shipped_locality
    from elsewhere.guidance import guided as guided
    from elsewhere.inpainting import inpaint as inpaint
    from elsewhere.machines import ESM as ESM
    from elsewhere.machines import EquivariantLocalScore as EquivariantLocalScore
    from elsewhere.machines import EquivariantScore as EquivariantScore
    from elsewhere.machines import FamilyCalibration as FamilyCalibration
    from elsewhere.machines import GoldenSubset as GoldenSubset
    from elsewhere.machines import IdealScore as IdealScore
    from elsewhere.machines import LocalitySchedule as LocalitySchedule
    from elsewhere.machines import LocalScore as LocalScore
    from elsewhere.machines import Mix as Mix
    from elsewhere.machines import MixSchedule as MixSchedule
    from elsewhere.machines import Nearest as Nearest
    from elsewhere.machines import PatchComposite as PatchComposite
    from elsewhere.machines import PatchSchedule as PatchSchedule
    from elsewhere.machines import PatchScore as PatchScore
    from elsewhere.machines import PatchSettings as PatchSettings
    from elsewhere.machines import PCALocality as PCALocality
    from elsewhere.machines import SmoothedIdeal as SmoothedIdeal
    from elsewhere.machines import Wiener as Wiener
    from elsewhere.machines import mix as mix
    from elsewhere.networks import load_network as load_network
    from elsewhere.networks import wrap as wrap
    from elsewhere.prompts import prompted as prompted
    from elsewhere.restoration import restore as restore
    from elsewhere.sampling import Run as Run
    from elsewhere.sampling import fixed_point as fixed_point
    from elsewhere.sampling import make_noise as make_noise
    from elsewhere.sampling import sample as sample
    from elsewhere.sampling import settle as settle
    from elsewhere.textures import TextureSettings as TextureSettings
    from elsewhere.textures import fill as fill
    from elsewhere.textures import texture as texture

_HOMES = {
    "adapters": ("as_unet",),
    "analysis": (
        "Audit",
        "Comparison",
        "Mosaic",
        "Transition",
        "audit",
        "calibrate",
        "calibrate_family",
        "compare",
        "explain",
        "explain_run",
        "transition",
    ),
    "best": ("best_machine", "shipped_family"),
    "data": ("ImageSet", "load_images"),
    "deepinv_denoiser": ("as_deepinv",),
    "denoiser": ("score",),
    "factory": ("shipped_locality",),
    "guidance": ("guided",),
    "inpainting": ("inpaint",),
    "machines": (
        "ESM",
        "EquivariantLocalScore",
        "EquivariantScore",
        "FamilyCalibration",
        "GoldenSubset",
        "IdealScore",
        "LocalScore",
        "LocalitySchedule",
        "Mix",
        "MixSchedule",
        "Nearest",
        "PCALocality",
        "PatchComposite",
        "PatchSchedule",
        "PatchScore",
        "PatchSettings",
        "SmoothedIdeal",
        "Wiener",
        "mix",
    ),
    "networks": ("load_network", "wrap"),
    "prompts": ("prompted",),
    "restoration": ("restore",),
    "sampling": ("Run", "fixed_point", "make_noise", "sample", "settle"),
    "textures": ("TextureSettings", "fill", "texture"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

_MODULES = (
    "adapters",
    "analysis",
    "anomalies",
    "data",
    "machines",
    "morphogenesis",
    "networks",
    "operators",
    "schedules",
    "testing",
    "text",
    "textures",
)

__all__ = sorted([*_HOME, "schedules"])

if not TYPE_CHECKING:
    # Found when first used: torch takes seconds to import, and `elsewhere --help` can do without.
    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name in _MODULES:
            return import_module(f"elsewhere.{name}")
        if name not in _HOME:
            raise AttributeError(f"module 'elsewhere' has no attribute {name!r}")
        return getattr(import_module(f"elsewhere.{_HOME[name]}"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, *_MODULES})
