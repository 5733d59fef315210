"""A diffusers pipeline, in memory or in a folder, read as a denoiser D(x, sigma)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from elsewhere.checks import check_type, check_whole, seen
from elsewhere.files import json_object
from elsewhere.layout import torch_defaults
from elsewhere.networks.diffusers_weights import read_unet
from elsewhere.networks.preconditioned import PreconditionedNetwork
from elsewhere.optional import require
from elsewhere.schedulers import READ, SCHEDULERS, check_settings, preconditioning_of
from elsewhere.tensor_files import one_line

LONGEST_CONFIG = 2**22
"""Bytes of a file of settings: 4 MiB, room for trained_betas of 100,000 steps."""
MACHINE = "MachineUNet"
"""The class of `adapters.machine_unet`, which is on a higher floor, in config.json."""
ENCODERS = ("vae", "vqvae", "movq", "text_encoder", "image_encoder")


class DiffusersNetwork(PreconditionedNetwork):
    """A diffusers UNet2DModel and the scheduler that it was trained with, read as D(x, sigma).

    The scheduler says what the network is given and what it predicts; see `schedulers.SCHEDULERS` for those that are
    understood. F is the answer of the UNet at the timestep t.

    - Variance-preserving (DDPM, DDIM, Euler, DPM-Solver++, ...): sigma_t = sqrt((1 - acp_t) / acp_t),
      acp = `scheduler.alphas_cumprod`. Between timesteps, a fractional t is interpolated linearly in log sigma. With
      a = 1 / sqrt(1 + sigma^2), s = sigma a, x_vp = a x, F = unet(x_vp, t), x0hat is x - sigma F for epsilon,
      a x_vp - s F for v_prediction, F for sample.
    - Flow matching (FlowMatchEuler, or `use_flow_sigmas`): u = sigma / (1 + sigma), F = unet((1 - u) x, N u), N the
      number of timesteps; x0hat is (1 - u) x - u F for a flow.
    - EDM (EDMEuler, EDMDPMSolverMultistep): F = unet(c_in x, ln(sigma) / 4), x0hat = c_skip x + c_out F with the
      coefficients of Karras et al. (2022), table 1; for v_prediction c_out has the other sign.

    Beyond the noise levels of the scheduler it does as `PreconditionedNetwork`. x0hat is never clipped, whatever the
    scheduler's `clip_sample` and `thresholding` say.

    A UNet with class embeddings needs a label at every call, unless `null_class` is given. That of `els.as_unet` says
    itself which number it is.

    Args:
        unet: a diffusers.UNet2DModel; set to evaluation, without gradients.
        scheduler: the scheduler that it was trained with, or another one of the same noise and prediction.
        name: what reports call it.
        null_class: the row of the class embedding that means "no class", as in classifier-free guidance; None: none.
            If it is the last row, the classes are those before it.

    Raises:
        TypeError: no UNet, no scheduler, a name that is no string, a null class that is no integer.
        ValueError: a scheduler, a setting of it, or a UNet that this reading does not hold for; no such class.
    """

    def __init__(self, unet: Any, scheduler: Any, name: str = "diffusers", null_class: int | None = None) -> None:
        if isinstance(unet, type) or not all(hasattr(unet, name) for name in ("eval", "requires_grad_", "config")):
            raise TypeError(f"unet must be a diffusers.UNet2DModel, got {seen(unet)}")
        check_type("name", name, str)
        preconditioning = preconditioning_of(scheduler)
        if "in_channels" not in unet.config or unet.config.get("cross_attention_dim") is not None:
            raise ValueError(
                f"the network is a {type(unet).__name__}: expected a UNet2DModel, which works on pixels alone"
            )
        if unet.config.get("time_embedding_type") == "fourier":
            raise ValueError("the UNet has a fourier time embedding, made for continuous noise: expected positional")
        self._whole_timesteps = unet.config.get("time_embedding_type") == "learned"
        side = unet.config.get("sample_size")
        rows = _classes(unet)
        null_class = getattr(unet, "null_class", None) if null_class is None else null_class
        if null_class is not None:
            check_whole("null_class", null_class, 0)
            if not rows:
                raise ValueError(f"null_class={null_class} was given but the UNet has no classes: leave it out")
            null_class = check_whole("null_class", null_class, 0, rows - 1)
        super().__init__(
            unet,
            preconditioning,
            name=name,
            channels=_channels(unet, scheduler),
            size=(side, side) if isinstance(side, int) else (None if side is None else (int(side[0]), int(side[1]))),
            num_classes=rows - 1 if rows and null_class == rows - 1 else rows,
            null_class=null_class,
        )

    def timestep(self, sigma: Tensor) -> Tensor:
        steps = super().timestep(sigma)
        return steps.round() if self._whole_timesteps else steps

    def _ask(self, x: Tensor, time: Tensor, label: Tensor | None) -> Tensor:
        steps = time.round().long() if self._whole_timesteps else time.float()
        answer: Tensor = self.module(x, steps, class_labels=label).sample
        return answer[:, : self.channels]


def _channels(unet: Any, scheduler: Any) -> int:
    """Channels of the images. A UNet that also predicts variances has twice as many outputs, the mean first."""
    channels, out = int(unet.config["in_channels"]), int(unet.config["out_channels"])
    learned = str(scheduler.config.get("variance_type", "")).startswith("learned")
    if out != channels and not (learned and out == 2 * channels):
        raise ValueError(f"the UNet turns {channels} channels into {out}: expected as many out as in")
    return channels


def _classes(unet: Any) -> int:
    """Rows of the class embedding, 0 for none."""
    kind = unet.config.get("class_embed_type")
    if kind is not None:
        raise ValueError(f"the UNet has class embeddings of type {kind!r}: expected plain numbers (num_class_embeds)")
    return int(unet.config.get("num_class_embeds") or 0)


def network_in_memory(source: Any, null_class: int | None = None) -> DiffusersNetwork:
    """The network of a pipeline, or of a pair (unet, scheduler).

    Raises:
        TypeError: something else; a torch module without a scheduler.
        ValueError: a pipeline that does not work on pixels alone; see `DiffusersNetwork`.
    """
    if isinstance(source, tuple | list):
        if len(source) != 2:
            raise TypeError(f"source must be a pair (unet, scheduler), got {len(source)} items")
        unet, scheduler = source
        try:
            return DiffusersNetwork(unet, scheduler, type(unet).__name__, null_class)
        except TypeError as error:
            raise TypeError(f"source must be a pair (unet, scheduler): {error}") from error
    parts = getattr(source, "components", None)
    if not isinstance(parts, dict) or "scheduler" not in parts:
        raise TypeError(
            "source must be a name, a path, a diffusers pipeline, a pair (unet, scheduler) or a function, got "
            f"{seen(source)}"
        )
    others = sorted(name for name, part in parts.items() if part is not None and name not in ("unet", "scheduler"))
    if parts.get("unet") is None or others:
        raise ValueError(
            f"the {type(source).__name__} has {', '.join(sorted(parts))}: expected a pipeline that works on pixels, "
            "with a unet and a scheduler alone; if the others do not change the images, give the pair (unet, scheduler)"
        )
    return DiffusersNetwork(parts["unet"], parts["scheduler"], type(source).__name__, null_class)


def is_diffusers(folder: Path) -> bool:
    """Whether a folder looks like a diffusers pipeline or model."""
    return any((folder / name).exists() for name in ("model_index.json", "unet", "config.json", "scheduler"))


def read_diffusers(
    folder: str | Path,
    device: str | torch.device = "cpu",
    variant: str | None = None,
    null_class: int | None = None,
) -> DiffusersNetwork:
    """Read a diffusers folder: unet/ and scheduler/, or a UNet2DModel with its scheduler's config beside it.

    Only safetensors weights are read, and no code from the folder is run.

    Args:
        folder: a pipeline's folder, its unet/ folder, or a UNet's folder with scheduler_config.json in it.
        device: where to put the weights.
        variant: such as "fp16"; None for the weights without a variant or, where there are none, the only variant.
        null_class: see `DiffusersNetwork`.

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
    if config.get("_class_name") == MACHINE:
        raise ValueError(
            f"{home} holds a machine that as_unet made, which is no trained network: read it with "
            f"els.adapters.load_machine({str(folder)!r})"
        )
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
            read = {name: value for name, value in settings.items() if name in READ or name == "sigma_data"}
            scheduler = kind.from_config(read)  # type: ignore[union-attr]
            network = DiffusersNetwork(unet, scheduler, folder.resolve().name, null_class)
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
