"""The class behind `as_unet`. This module needs diffusers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import configuration_utils
from diffusers.utils import outputs
from torch import Tensor

from elsewhere.adapters.recipe import machine_from, recipe_of
from elsewhere.checks import check_path, check_sides, check_type, check_whole, seen
from elsewhere.data import ImageSet, load_images
from elsewhere.denoiser import DenoiserLike, ask
from elsewhere.files import json_object
from elsewhere.limits import MOST_CLASSES
from elsewhere.machines.machine import Machine
from elsewhere.networks.diffusers_folder import LONGEST_CONFIG, MACHINE
from elsewhere.schedulers import READ, SCHEDULERS, check_settings, preconditioning_of
from elsewhere.schedules import SIGMAS
from elsewhere.tensor_files import one_line

# The types of the library do not let a subclass take other arguments. Its pipelines look for the name ModelMixin in the
# module of each of their parts to find out how the part is loaded.
ModelMixin: Any = diffusers.ModelMixin
ConfigMixin: Any = configuration_utils.ConfigMixin
BaseOutput: Any = outputs.BaseOutput


@dataclass
class MachineUNetOutput(BaseOutput):  # type: ignore[misc]
    """What a MachineUNet answers: `sample`, (B, C, H, W)."""

    sample: Tensor


class MachineUNet(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A denoiser that answers as a UNet of diffusers: made by `as_unet`, or read by `from_pretrained`.

    `save_pretrained(folder)` writes config.json alone: the settings of the machine, the name and the fingerprint of
    its training images, and the scheduler's noise and prediction. There are no weights, and no images are written.

    Attributes:
        denoiser: D(x, sigma, label=None).
        preconditioning: what samples and timesteps mean.
    """

    config_name = "config.json"
    denoiser: DenoiserLike

    @configuration_utils.register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        sample_size: Any,
        in_channels: int,
        out_channels: int,
        num_class_embeds: int | None,
        scheduler: dict[str, Any],
        machine: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.preconditioning = preconditioning_of(_scheduler(scheduler))
        # Says where the UNet is and of which dtype: pipelines ask that of the parameters.
        self.place = torch.nn.Parameter(torch.zeros((), device="cpu", dtype=torch.float32), requires_grad=False)

    @property
    def null_class(self) -> int | None:
        """The class number that means "no class"; None where there are no classes."""
        return self.config.num_class_embeds - 1 if self.config.num_class_embeds else None

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float | int,
        class_labels: Tensor | None = None,
        return_dict: bool = True,
    ) -> MachineUNetOutput | tuple[Tensor]:
        """The prediction of the scheduler's kind (noise, v, x0, velocity) for samples of the scheduler's scale.

        Args:
            sample: (B, C, H, W).
            timestep: one or (B,).
            class_labels: integers (B,) below `config.num_class_embeds`, the last of which means "no class"; or None.
            return_dict: False returns a tuple.

        Raises:
            TypeError: not tensors or numbers of these kinds.
            ValueError: a timestep that the scheduler cannot have; labels of a denoiser without classes; neither one
                timestep or label nor one for each image.
        """
        check_type("sample", sample, Tensor)
        times = _one_each("timestep", timestep, len(sample)).to(sample.device).double()
        # Pure noise has no finite level. The greatest one differs from it by less than float32 resolves.
        levels = self.preconditioning.times.level(times).clamp(max=SIGMAS[1])
        found = self.preconditioning(levels[:, None, None, None])
        x = (sample.double() / found.c_in).to(torch.promote_types(sample.dtype, torch.float32))
        x0 = self._ask(x, levels, class_labels)
        out = ((x0.double() - found.c_skip * x.double()) / found.c_out).to(sample.dtype)
        return MachineUNetOutput(sample=out) if return_dict else (out,)

    def _ask(self, x: Tensor, levels: Tensor, labels: Tensor | None) -> Tensor:
        """x0hat; a denoiser is asked once for each pair of level and class, as not all of them take several."""
        given = [-1] * len(x) if labels is None else self._labels(labels, len(x))
        x0 = torch.empty_like(x)
        pairs = list(zip(levels.tolist(), given, strict=True))
        for level, label in dict.fromkeys(pairs):
            index = torch.tensor([pair == (level, label) for pair in pairs], device=x.device, dtype=torch.bool)
            x0[index] = ask(self.denoiser, x[index], level, None if label < 0 else label).to(x0)
        return x0

    def _labels(self, labels: Tensor, count: int) -> list[int]:
        rows = self.config.num_class_embeds
        if not rows:
            raise ValueError("class_labels were given but the machine has no classes: leave them out")
        given = _one_each("class_labels", labels, count)
        if given.is_floating_point() or given.dtype == torch.bool:
            raise TypeError(f"class_labels must be integers, got {given.dtype}")
        numbers = given.tolist()
        for number in numbers:
            if not 0 <= number < rows:
                raise ValueError(f"class_labels must be in 0..{rows - 1}, the last of which means none, got {number}")
        return [-1 if number == rows - 1 else number for number in numbers]

    def save_pretrained(self, save_directory: str | Path, *_: Any, **settings: Any) -> None:
        """Write config.json: settings, and name and fingerprint of the training images.

        Args:
            save_directory: the folder, made where it is missing.
            settings: those of diffusers for weights, of which there are none; `push_to_hub` is not taken.

        Raises:
            ValueError: a denoiser that is no machine, or one that no plain settings make again: see `recipe_of`.
            OSError: the folder cannot be written.
        """
        if settings.get("push_to_hub"):
            raise ValueError("push_to_hub is not taken: write the folder, then upload it")
        if self.config.machine is None:
            # Says why.
            recipe_of(self.denoiser)  # type: ignore[arg-type]
            raise ValueError(
                "the machine has its training images as an array, which has no name: give it an ImageSet, as from "
                "load_images"
            )
        self.save_config(check_path("save_directory", save_directory))

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        data: ImageSet | None = None,
        *,
        subfolder: str | None = None,
        torch_dtype: torch.dtype | None = None,
        **_: Any,
    ) -> MachineUNet:
        """Read what `save_pretrained` wrote.

        Args:
            pretrained_model_name_or_path: a folder; nothing is downloaded.
            data: the training images; None: `load_images` loads them by the name in the folder.
            subfolder: below the folder.
            torch_dtype: of the answers of a pipeline.

        Raises:
            FileNotFoundError: no such folder, or no images of that name: give data.
            ValueError: another kind of folder, or images that are not those of the machine.
            TypeError: data of another kind.
        """
        folder = check_path("pretrained_model_name_or_path", pretrained_model_name_or_path) / (subfolder or "")
        path = folder / cls.config_name
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: expected a folder that MachineUNet.save_pretrained wrote")
        if path.stat().st_size > LONGEST_CONFIG:
            raise ValueError(f"{path} has more than {LONGEST_CONFIG:,} bytes")
        try:
            content = json_object(path.read_text(encoding="utf-8"))
            if content.get("_class_name") != MACHINE:
                raise ValueError(f"it holds a {content.get('_class_name')}, expected a {MACHINE}")
            about, recipe = content["data"], content["machine"]
            scheduler = _scheduler(content["scheduler"])
            _check_pipeline(folder, scheduler)
            wanted = (str(about["name"]), int(about["images"]), str(about["fingerprint"]))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not readable: {one_line(error)}") from error
        found = _images(path, data, *wanted)
        try:
            unet = make_unet(machine_from(recipe, found), scheduler, None, None, None)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} is not readable: {one_line(error)}") from error
        if torch_dtype is not None:
            unet.to(torch_dtype)
        return unet


def _one_each(name: str, numbers: object, count: int) -> Tensor:
    """One number, or one for each image, as (count,).

    Raises:
        TypeError: no real numbers.
        ValueError: another number of them.
    """
    try:
        given = torch.as_tensor(numbers, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} must be a number or a tensor of numbers, got {seen(numbers)}") from error
    if given.is_complex():
        raise TypeError(f"{name} must be real, got {given.dtype}")
    if given.numel() not in (1, count):
        raise ValueError(f"{name} must be one number or one for each of {count} images, got {given.numel()}")
    return given.flatten().expand(count)


def _check_pipeline(folder: Path, scheduler: Any) -> None:
    """Compare the scheduler of a machine with that of the pipeline's folder in which it lies, if it lies in one.

    Raises:
        ValueError: the two differ in noise or prediction.
    """
    path = folder.parent / "scheduler" / "scheduler_config.json"
    if not path.is_file() or path.stat().st_size > LONGEST_CONFIG:
        return
    beside = _scheduler(json_object(path.read_text(encoding="utf-8")))
    if not preconditioning_of(scheduler).same(preconditioning_of(beside)):
        raise ValueError(
            f"the scheduler beside it, a {type(beside).__name__}, has other noise or another prediction than the "
            f"{type(scheduler).__name__} that the machine was made for: save the pipeline with as_unet(machine, "
            "pipeline.scheduler)"
        )


def _images(path: Path, data: ImageSet | None, name: str, count: int, fingerprint: str) -> ImageSet:
    """The training images of a saved machine, given or loaded by name, with the fingerprint checked."""
    remedy = f"give MachineUNet.from_pretrained(..., data=load_images(...)) the {count} images of {name!r}"
    if data is None:
        try:
            data = load_images(name)
        except (OSError, TypeError, ValueError, ImportError) as error:
            raise FileNotFoundError(f"{path} names the images {name!r}, which cannot be loaded: {remedy}") from error
        if len(data) > count:
            data = data.take(count)
    check_type("data", data, ImageSet)
    if data.fingerprint() != fingerprint:
        raise ValueError(
            f"the images {data.name!r} ({len(data)}) are not those of the machine in {path}, {name!r} ({count}, "
            f"fingerprint {fingerprint[:12]}, found {data.fingerprint()[:12]}): {remedy}"
        )
    return data


def make_unet(
    denoiser: DenoiserLike,
    scheduler: Any,
    size: tuple[int, int] | None,
    channels: int | None,
    num_classes: int | None,
) -> MachineUNet:
    """`as_unet` with a scheduler that is understood."""
    if size is None:
        # A machine that draws any size has that of its training images.
        shape: Any = getattr(getattr(denoiser, "data", None), "shape", (0,))
        size = getattr(denoiser, "size", None) or getattr(denoiser, "image_size", None) or shape[1:] or None
    channels = getattr(denoiser, "channels", None) if channels is None else channels
    classes = getattr(denoiser, "num_classes", 0) or 0 if num_classes is None else num_classes
    missing = [name for name, value in (("size", size), ("channels", channels)) if not value]
    if missing:
        wanted = ", such as " + " and ".join(
            {"size": "size=(32, 32)", "channels": "channels=3"}[name] for name in missing
        )
        raise ValueError(f"the denoiser does not say its {' and '.join(missing)}: give {' and '.join(missing)}{wanted}")
    height, width = check_sides("size", tuple(size))  # type: ignore[arg-type]
    channels = check_whole("channels", channels, 1)
    classes = check_whole("num_classes", classes, 0, limit=MOST_CLASSES)
    machine, data = None, None
    if isinstance(denoiser, Machine) and denoiser.data is not None:
        try:
            machine = recipe_of(denoiser)
        except ValueError:  # it can be used, but not saved: `save_pretrained` says why
            machine = None
        about = denoiser.data
        data = {"name": about.name, "images": len(about), "fingerprint": about.fingerprint()}
    settings = {name: value for name, value in scheduler.config.items() if name in READ or name == "sigma_data"}
    unet: MachineUNet = MachineUNet(
        sample_size=height if height == width else (height, width),
        in_channels=channels,
        out_channels=channels,
        num_class_embeds=classes + 1 if classes else None,
        scheduler={"_class_name": type(scheduler).__name__, **settings},
        machine=machine,
        data=data,
    )
    unet.denoiser = denoiser
    unet.eval()
    return unet


def _scheduler(settings: dict[str, Any]) -> Any:
    """A scheduler made of settings in a config.json: only classes that are understood, and what they read.

    Raises:
        ValueError: another class or bad settings.
    """
    name = settings.get("_class_name")
    if name not in SCHEDULERS:
        raise ValueError(f"the scheduler {str(name)[:60]} is not understood")
    kind = getattr(diffusers, name)
    check_settings(settings, kind)
    # Settings of samplers say nothing here, and a huge solver_order would take all memory.
    read = {key: value for key, value in settings.items() if key in READ or key == "sigma_data"}
    try:
        return kind.from_config(read)
    # A constructor of diffusers fails in any way on values that it does not expect.
    except Exception as error:
        raise ValueError(f"the settings of {name}: {one_line(error)}") from error
