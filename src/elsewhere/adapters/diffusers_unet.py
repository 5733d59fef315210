"""A machine in place of the UNet of a diffusers pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from elsewhere.checks import check_path, checked
from elsewhere.data import ImageSet
from elsewhere.denoiser import DenoiserLike
from elsewhere.machines.machine import Machine
from elsewhere.optional import require
from elsewhere.schedulers import preconditioning_of

if TYPE_CHECKING:
    from elsewhere.adapters.machine_unet import MachineUNet


@checked
def as_unet(
    denoiser: DenoiserLike,
    scheduler: Any,
    *,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    num_classes: int | None = None,
) -> MachineUNet:
    """A machine, or any denoiser, as the UNet of a diffusers pipeline or of a loop over a scheduler of diffusers.

    The scheduler must be given, because nothing in a call says what it means: a UNet sees a tensor and a timestep, and
    the scheduler alone knows the noise level of that timestep, how the tensor is scaled, and what the answer stands
    for. There is no default: the betas of DDPMScheduler() are those of DDIMScheduler() and EulerDiscreteScheduler(),
    not of HeunDiscreteScheduler(), and a loop with other betas draws wrong images without an error.

    It can be replaced later by any scheduler with the same noise and prediction, as `from_config` makes them: DDPM,
    DDIM, Euler, Heun, DPM-Solver++ and UniPC share the betas of one scheduler; EDM's two, and those for flow matching,
    are families of their own. A timestep that the given scheduler cannot have is refused.

    The answers are those of a network that predicts x0hat = D(x, sigma) exactly: `DiffusersNetwork(as_unet(D, s), s)`
    is D. Schedulers that round their timesteps (DPM-Solver++ and UniPC with Karras sigmas or flow sigmas) ask at the
    rounded level, as they ask a trained UNet.

    Args:
        denoiser: D(x, sigma, label=None).
        scheduler: the one that the pipeline has, or another of the same noise and prediction.
        size: height and width of the images that pipelines draw; None: those of the denoiser.
        channels, num_classes: of the images; None: those of the denoiser.

    Returns:
        A `ModelMixin` and `ConfigMixin`, with `config.sample_size`, `in_channels` and `num_class_embeds`. It is called
        as unet(sample, timestep, class_labels=None); the class number `num_classes` means "no class". See
        `MachineUNet` for saving it.

    Raises:
        TypeError: not a denoiser, not a scheduler.
        ValueError: a scheduler that is not understood; a denoiser that does not say its size or channels.
        ImportError: diffusers is not installed.

    Example:
        >>> import elsewhere as els
        >>> from diffusers import DDIMPipeline, DDIMScheduler  # doctest: +SKIP
        >>> machine = els.EquivariantLocalScore(els.load_images("fashion-mini", limit=100), window=5)
        >>> scheduler = DDIMScheduler(timestep_spacing="trailing")  # doctest: +SKIP
        >>> pipeline = DDIMPipeline(els.as_unet(machine, scheduler), scheduler)  # doctest: +SKIP
        >>> images = pipeline(batch_size=4, num_inference_steps=10).images  # doctest: +SKIP
    """
    require("diffusers", extra="networks", purpose="a UNet of diffusers", names=("ModelMixin",))
    from elsewhere.adapters.machine_unet import make_unet

    preconditioning_of(scheduler)
    return make_unet(denoiser, scheduler, size, channels, num_classes)


@checked
def load_machine(folder: str | Path, data: ImageSet | None = None) -> Machine:
    """The machine in a folder that `as_unet(machine, scheduler).save_pretrained` or a pipeline with it wrote.

    Args:
        folder: the pipeline's or the UNet's.
        data: its training images; None: `load_images` loads them by the name in the folder.

    Raises:
        FileNotFoundError: no such folder, or no images of that name: give data.
        ValueError: another kind of folder, or images that are not those of the machine.
        ImportError: diffusers is not installed.

    Example:
        >>> import elsewhere as els
        >>> from diffusers import DDIMScheduler  # doctest: +SKIP
        >>> machine = els.IdealScore(els.load_images("fashion-mini", limit=20))
        >>> els.as_unet(machine, DDIMScheduler()).save_pretrained("unet")  # doctest: +SKIP
        >>> els.adapters.load_machine("unet")  # doctest: +SKIP
        IdealScore('fashion-mini', 20 images)
    """
    require("diffusers", extra="networks", purpose="a UNet of diffusers", names=("ModelMixin",))
    from elsewhere.adapters.machine_unet import MachineUNet

    path = check_path("folder", folder)
    unet = MachineUNet.from_pretrained(path / "unet" if (path / "unet").is_dir() else path, data)
    assert isinstance(unet.denoiser, Machine)  # no other denoiser is saved
    return unet.denoiser
