"""A diffusers pipeline folder, read as a denoiser D(x, sigma)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elsewhere.checks import check_type, seen
from elsewhere.layout import torch_defaults
from elsewhere.networks.base import NetworkDenoiser
from elsewhere.networks.trained import one_line
from elsewhere.optional import require

PREDICTIONS = ("epsilon", "v_prediction", "sample")
WEIGHTS = "diffusion_pytorch_model.safetensors"
ENCODERS = ("vae", "vqvae", "movq", "text_encoder", "image_encoder")


class DiffusersNetwork(NetworkDenoiser):
    """A diffusers UNet2DModel and the noise schedule that it was trained on, read as D(x, sigma).

    Timestep t has sigma_t = sqrt((1 - acp_t) / acp_t), acp = `scheduler.alphas_cumprod`. Between timesteps, a
    fractional t is interpolated linearly in log sigma. With a = 1 / sqrt(1 + sigma^2), s = sigma a, x_vp = a x and
    F = unet(x_vp, t), x0hat is

        epsilon: x - sigma F        v_prediction: a x_vp - s F        sample: F

    Below the least sigma_t, t is the first timestep, and sigma stays what it is in the formulas. Above the greatest, x
    is shrunk to that level, D(x, sigma) = D(x sigma_T / sigma, sigma_T): there x is nearly all noise, and an error of F
    must not grow with sigma. x0hat is never clipped, whatever the scheduler's `clip_sample` and `thresholding` say.

    A UNet with class embeddings needs a label at every call: diffusers has no number that means "no class".

    Args:
        unet: a diffusers.UNet2DModel; set to evaluation, without gradients.
        scheduler: a diffusers scheduler with `alphas_cumprod`, such as DDPMScheduler or DDIMScheduler.
        name: what reports call it.

    Raises:
        TypeError: no UNet, no scheduler, a name that is no string.
        ValueError: a scheduler, prediction type or UNet that this reading does not hold for.
    """

    def __init__(self, unet: Any, scheduler: Any, name: str = "diffusers") -> None:
        if isinstance(unet, type) or not all(hasattr(unet, name) for name in ("eval", "requires_grad_", "config")):
            raise TypeError(f"unet must be a diffusers.UNet2DModel, got {seen(unet)}")
        if isinstance(scheduler, type) or not hasattr(scheduler, "config"):
            raise TypeError(f"scheduler must be a diffusers scheduler, got {seen(scheduler)}")
        check_type("name", name, str)
        self.module = unet.eval().requires_grad_(False)
        self.name = name
        self.prediction = _prediction(scheduler)
        self.timesteps, self.log_sigmas = _noise_levels(scheduler)
        self.channels = _channels(unet, scheduler)
        self.num_classes = _classes(unet)
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


def _prediction(scheduler: Any) -> str:
    prediction = scheduler.config.get("prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        raise ValueError(f"unknown prediction_type {prediction!r} of the scheduler: expected {', '.join(PREDICTIONS)}")
    return str(prediction)


def _noise_levels(scheduler: Any) -> tuple[np.ndarray, np.ndarray]:
    """Timesteps and log sigma of each, both float64; the levels without noise or without image are left out."""
    kept = getattr(scheduler, "alphas_cumprod", None)
    if kept is None:
        raise ValueError(
            f"{type(scheduler).__name__} has no alphas_cumprod: expected a variance-preserving scheduler such as "
            "DDPMScheduler or DDIMScheduler"
        )
    kept = torch.as_tensor(kept, device="cpu").double().numpy()
    inside = (kept > 0) & (kept < 1)
    if scheduler.config.get("rescale_betas_zero_snr"):
        # The last level has no image. Some schedulers write 2^-24 in place of the 0, which can be above its neighbour.
        inside[-1:] = False
    timesteps = np.arange(len(kept), dtype=np.float64)[inside]
    logs = 0.5 * np.log((1 - kept[inside]) / kept[inside])
    if not len(logs) or (np.diff(logs) <= 0).any():
        raise ValueError(f"the noise of {type(scheduler).__name__} does not grow with the timestep: check its betas")
    return timesteps, logs


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


def read_diffusers(folder: str | Path, device: str | torch.device = "cpu") -> DiffusersNetwork:
    """Read a diffusers folder: unet/ and scheduler/, or a UNet2DModel with its scheduler's config beside it.

    Only safetensors weights are read, and no code from the folder is run.

    Args:
        folder: a pipeline's folder, its unet/ folder, or a UNet's folder with scheduler_config.json in it.
        device: where to put the weights.

    Raises:
        FileNotFoundError: no such folder, or it lacks the UNet, its weights or the scheduler.
        ValueError: another kind of pipeline, UNet or scheduler, pickled or damaged weights.
        ImportError: diffusers is not installed.
    """
    folder = Path(folder)
    diffusers: Any = require("diffusers", extra="networks", purpose="a diffusers folder")
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
    settings = _config(_scheduler_file(folder, home), "a scheduler")
    made = _scheduler_class(diffusers, settings.get("_class_name"), folder)
    try:
        with torch_defaults():
            unet = _read_unet(diffusers.UNet2DModel, home)
            network = DiffusersNetwork(unet, made.from_config(settings), folder.resolve().name)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ValueError(f"{folder}: {error}") from error
    network.module.to(device)
    return network


def _scheduler_class(diffusers: Any, name: object, folder: Path) -> Any:
    made = getattr(diffusers, name, None) if isinstance(name, str) else None
    known = isinstance(made, type) and issubclass(made, diffusers.SchedulerMixin)
    if not known:
        raise ValueError(f"unknown scheduler {name!r} in {folder}: diffusers {diffusers.__version__} has none such")
    return made


def _config(path: Path, what: str) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: expected the settings of {what}")
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
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


def _read_unet(unet_class: Any, home: Path) -> Any:
    found = sorted(path.name for path in home.glob("diffusion_pytorch_model*"))
    if WEIGHTS not in found and f"{WEIGHTS}.index.json" not in found:
        if not found:
            raise FileNotFoundError(f"{home / WEIGHTS} is missing: expected the weights of the UNet")
        raise ValueError(
            f"{home} has its weights only as {', '.join(found)}, expected {WEIGHTS}: pickles can run code and are "
            "never read; where you trust them, load them with diffusers and save again with save_pretrained"
        )
    try:
        unet, report = unet_class.from_pretrained(
            home, use_safetensors=True, local_files_only=True, torch_dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise ValueError(f"{home} does not hold a readable UNet2DModel: {one_line(error)}") from error
    # diffusers fills what is missing with random numbers.
    for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if report.get(key):
            names = sorted(map(str, report[key]))
            raise ValueError(f"the weights in {home} do not fit config.json: {len(names)} {key}, such as {names[0]}")
    return unet
