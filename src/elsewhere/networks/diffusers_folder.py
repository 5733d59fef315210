"""A diffusers pipeline folder, read as a denoiser D(x, sigma)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elsewhere.checks import check_type, seen
from elsewhere.files import json_object
from elsewhere.layout import torch_defaults
from elsewhere.networks.base import NetworkDenoiser
from elsewhere.networks.diffusers_schedules import READ, SCHEDULERS, check_settings, noise_levels
from elsewhere.networks.diffusers_weights import read_unet
from elsewhere.optional import require
from elsewhere.tensor_files import one_line

LONGEST_CONFIG = 2**22
"""Bytes of a file of settings: 4 MiB, room for trained_betas of 100,000 steps."""
ENCODERS = ("vae", "vqvae", "movq", "text_encoder", "image_encoder")


class DiffusersNetwork(NetworkDenoiser):
    """A diffusers UNet2DModel and the noise schedule that it was trained on, read as D(x, sigma).

    Timestep t has sigma_t = sqrt((1 - acp_t) / acp_t), acp = `scheduler.alphas_cumprod`. Between timesteps, a
    fractional t is interpolated linearly in log sigma. Schedulers with continuous timesteps have t = log(sigma) / 4.
    With a = 1 / sqrt(1 + sigma^2), s = sigma a, x_vp = a x and F = unet(x_vp, t), x0hat is

        epsilon: x - sigma F        v_prediction: a x_vp - s F        sample: F

    Below the least sigma_t, t is the first timestep, and sigma stays what it is in the formulas. Above the greatest, x
    is shrunk to that level, D(x, sigma) = D(x sigma_T / sigma, sigma_T): there x is nearly all noise, and an error of F
    must not grow with sigma. x0hat is never clipped, whatever the scheduler's `clip_sample` and `thresholding` say.

    A UNet with class embeddings needs a label at every call: diffusers has no number that means "no class".

    Args:
        unet: a diffusers.UNet2DModel; set to evaluation, without gradients.
        scheduler: a diffusers scheduler of the variance-preserving kind, such as DDPMScheduler or DDIMScheduler; see
            `diffusers_schedules.SCHEDULERS`.
        name: what reports call it.

    Raises:
        TypeError: no UNet, no scheduler, a name that is no string.
        ValueError: a scheduler, a setting of it, or a UNet that this reading does not hold for.
    """

    def __init__(self, unet: Any, scheduler: Any, name: str = "diffusers") -> None:
        if isinstance(unet, type) or not all(hasattr(unet, name) for name in ("eval", "requires_grad_", "config")):
            raise TypeError(f"unet must be a diffusers.UNet2DModel, got {seen(unet)}")
        if isinstance(scheduler, type) or not hasattr(scheduler, "config"):
            raise TypeError(f"scheduler must be a diffusers scheduler, got {seen(scheduler)}")
        check_type("name", name, str)
        self.module = unet.eval().requires_grad_(False)
        self.name = name
        kind = type(scheduler)
        self.prediction = check_settings({**scheduler.config, "_class_name": kind.__name__}, kind)
        self.timesteps, self.log_sigmas = noise_levels(scheduler)
        self.channels = _channels(unet, scheduler)
        self.num_classes = _classes(unet)
        self.has_null_class = not self.num_classes
        if unet.config.time_embedding_type == "fourier":
            raise ValueError("the UNet has a fourier time embedding, made for continuous noise: expected positional")
        self._whole_timesteps = unet.config.time_embedding_type == "learned"
        side = unet.config.sample_size
        self.size = (side, side) if isinstance(side, int) else (None if side is None else (int(side[0]), int(side[1])))

    def __repr__(self) -> str:
        return f"DiffusersNetwork({self.name!r}, {self.prediction})"

    def timestep(self, sigma: Tensor) -> Tensor:
        """Fractional timestep of each noise level, float32 (B,); clamped to the first and the last."""
        steps = np.interp(sigma.double().log().cpu().numpy(), self.log_sigmas, self.timesteps)
        rounded = np.rint(steps) if self._whole_timesteps else steps
        return torch.from_numpy(rounded).to(sigma.device, torch.float32)

    def _predict(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        if self.num_classes and label is None:
            raise ValueError(
                f"{self!r} was trained with classes and has no number for none of them: "
                f"give label=0..{self.num_classes - 1}"
            )
        time = self.timestep(sigma)
        level = sigma.clamp(max=float(np.exp(self.log_sigmas[-1])))
        shrink, a, s = (
            f[:, None, None, None].to(x.dtype)
            for f in (level / sigma, 1 / (1 + level**2).sqrt(), level / (1 + level**2).sqrt())
        )
        x = x * shrink
        x_vp = a * x
        dtype = next(self.module.parameters()).dtype
        steps = time.long() if self._whole_timesteps else time
        out: Tensor = self.module(x_vp.to(dtype), steps, class_labels=label).sample[:, : self.channels].to(x.dtype)
        if self.prediction == "epsilon":
            out = x - level[:, None, None, None].to(x.dtype) * out
        elif self.prediction == "v_prediction":
            out = a * x_vp - s * out
        return out


def _channels(unet: Any, scheduler: Any) -> int:
    """Channels of the images. A UNet that also predicts variances has twice as many outputs, the mean first."""
    channels, out = int(unet.config.in_channels), int(unet.config.out_channels)
    learned = str(scheduler.config.get("variance_type", "")).startswith("learned")
    if out != channels and not (learned and out == 2 * channels):
        raise ValueError(f"the UNet turns {channels} channels into {out}: expected as many out as in")
    return channels


def _classes(unet: Any) -> int:
    kind = unet.config.get("class_embed_type")
    if kind is not None:
        raise ValueError(f"the UNet has class embeddings of type {kind!r}: expected plain numbers (num_class_embeds)")
    return int(unet.config.get("num_class_embeds") or 0)


def is_diffusers(folder: Path) -> bool:
    """Whether a folder looks like a diffusers pipeline or model."""
    return any((folder / name).exists() for name in ("model_index.json", "unet", "config.json", "scheduler"))


def read_diffusers(
    folder: str | Path, device: str | torch.device = "cpu", variant: str | None = None
) -> DiffusersNetwork:
    """Read a diffusers folder: unet/ and scheduler/, or a UNet2DModel with its scheduler's config beside it.

    Only safetensors weights are read, and no code from the folder is run.

    Args:
        folder: a pipeline's folder, its unet/ folder, or a UNet's folder with scheduler_config.json in it.
        device: where to put the weights.
        variant: such as "fp16"; None for the weights without a variant or, where there are none, the only variant.

    Raises:
        FileNotFoundError: no such folder, or it lacks the UNet, its weights or the scheduler.
        ValueError: another kind of pipeline, UNet or scheduler, pickled or damaged weights, or no such variant.
        ImportError: diffusers is not installed, or does not fit the other libraries.
    """
    folder = Path(folder)
    purpose = "a diffusers folder"
    diffusers: Any = require("diffusers", extra="networks", purpose=purpose, names=("UNet2DModel",))
    home = folder / "unet" if (folder / "unet").is_dir() else folder
    for name in ENCODERS:
        if (folder / name).is_dir():
            raise ValueError(
                f"{folder} is a latent or conditional pipeline (it has {name}/): expected an unconditional or "
                "class-conditional one that works on pixels, a UNet2DModel and a scheduler"
            )
    config = _config(home / "config.json", "a UNet2DModel")
    if config.get("_class_name") != "UNet2DModel":
        raise ValueError(f"{home} holds a {config.get('_class_name')}: expected a UNet2DModel, which works on pixels")
    place = _scheduler_file(folder, home)
    settings = _config(place, "a scheduler")
    try:
        kind = None
        if settings.get("_class_name") in SCHEDULERS:
            name = str(settings["_class_name"])
            kind = getattr(require("diffusers", extra="networks", purpose=purpose, names=(name,)), name)
        check_settings(settings, kind)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
    with torch_defaults():
        unet = read_unet(diffusers.UNet2DModel, home, config, variant)
    try:
        with torch_defaults():
            # Settings of samplers say nothing here, and a huge solver_order would take all memory.
            read = {name: value for name, value in settings.items() if name in READ}
            scheduler = kind.from_config(read)  # type: ignore[union-attr]
            network = DiffusersNetwork(unet, scheduler, folder.resolve().name)
    # A constructor of diffusers fails in any way on values that it does not expect.
    except Exception as error:
        raise ValueError(f"{folder}: {one_line(error)}") from error
    network.module.to(device)
    return network


def _config(path: Path, what: str) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: expected the settings of {what}")
    if path.stat().st_size > LONGEST_CONFIG:
        raise ValueError(f"{path} has more than {LONGEST_CONFIG:,} bytes: expected the settings of {what}")
    try:
        return json_object(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not a readable JSON object: {error}") from error


def _scheduler_file(folder: Path, home: Path) -> Path:
    name = "scheduler_config.json"
    places = [folder / "scheduler" / name, home / name, home.parent / "scheduler" / name]
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(
        f"{folder} has no scheduler/{name}: the noise schedule is not in the weights, so put the scheduler's "
        "settings beside the UNet (scheduler.save_pretrained)"
    )
