"""A diffusers pipeline, in memory or in a folder, read as a denoiser D(x, sigma)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from elsewhere.checks import check_type, check_whole, checked, seen
from elsewhere.denoiser import FLOATS
from elsewhere.files import json_object
from elsewhere.layout import torch_defaults
from elsewhere.networks.base import PIXELS_AT_ONCE
from elsewhere.networks.diffusers_weights import read_model, try_unet
from elsewhere.networks.preconditioned import PreconditionedNetwork
from elsewhere.optional import require
from elsewhere.phrases import listed
from elsewhere.schedulers import READ, SCHEDULERS, check_settings, preconditioning_of
from elsewhere.tensor_files import one_line

LONGEST_CONFIG = 2**22
"""Bytes of a file of settings: 4 MiB, room for trained_betas of 100,000 steps."""
MACHINE = "MachineUNet"
"""The class of `adapters.machine_unet`, which is on a higher floor, in config.json."""
KINDS = ("UNet2DModel", "UNet2DConditionModel", "DiTTransformer2DModel")
"""Classes of diffusers that are understood."""
HOMES = ("unet", "transformer")
"""Where in the folder of a pipeline its network is."""
AUTOENCODERS = ("vae", "vqvae")
"""Parts of a latent pipeline that `els.load_autoencoder` reads."""
BESIDE = (*AUTOENCODERS, "text_encoder", "tokenizer", "safety_checker", "feature_extractor")
"""Parts that pipelines may have beside network and scheduler. Words become embeddings outside: see `with_text`."""
ENCODERS = ("movq", "image_encoder", "text_encoder_2", "prior")
"""Parts that say that a network needs more than noisy latents and the embedding of a text."""


class DiffusersNetwork(PreconditionedNetwork):
    """A network of diffusers and the scheduler that it was trained with, read as D(x, sigma).

    The network is a UNet2DModel, a UNet2DConditionModel, which takes a text with `with_text`, or a
    DiTTransformer2DModel. Where it was trained on latents, x are latents: see `els.Decoded`.

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
    itself which number it is. A DiT has a number for no class, after its classes.

    Args:
        unet: such a network; set to evaluation, without gradients.
        scheduler: the scheduler that it was trained with, or another one of the same noise and prediction.
        name: what reports call it.
        null_class: the row of the class embedding that means "no class", as in classifier-free guidance; None: none.
            If it is the last row, the classes are those before it.

    Attributes:
        text: the embedding that the network is asked with, (1 or B, tokens, width); None where there is none.

    Raises:
        TypeError: no UNet, no scheduler, a name that is no string, a null class that is no integer.
        ValueError: a scheduler, a setting of it, or a UNet that this reading does not hold for; no such class.
    """

    def __init__(self, unet: Any, scheduler: Any, name: str = "diffusers", null_class: int | None = None) -> None:
        if isinstance(unet, type) or not all(hasattr(unet, name) for name in ("eval", "requires_grad_", "config")):
            raise TypeError(f"unet must be a diffusers.UNet2DModel, got {seen(unet)}")
        check_type("name", name, str)
        preconditioning = preconditioning_of(scheduler)
        self.kind = _kind(unet)
        width = unet.config.get("cross_attention_dim") if self.kind == "UNet2DConditionModel" else None
        self.text_width: int = width or 0
        self.text: Tensor | None = None
        if unet.config.get("time_embedding_type") == "fourier":
            raise ValueError("the UNet has a fourier time embedding, made for continuous noise: expected positional")
        self._whole_timesteps = unet.config.get("time_embedding_type") == "learned"
        side = unet.config.get("sample_size")
        rows = _classes(unet)
        null_class = getattr(unet, "null_class", None) if null_class is None else null_class
        if null_class is None and self.kind == "DiTTransformer2DModel":
            null_class = rows - 1
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
            size=_size(side) if self.kind != "UNet2DConditionModel" else None,
            num_classes=rows - 1 if rows and null_class == rows - 1 else rows,
            null_class=null_class,
        )

    def timestep(self, sigma: Tensor) -> Tensor:
        steps = super().timestep(sigma)
        return steps.round() if self._whole_timesteps else steps

    @checked
    def with_text(self, embedding: Tensor) -> Self:
        """The same network asked with the embedding of a text, as its text encoder makes it.

        Args:
            embedding: (tokens, width) for all images, or (B, tokens, width), one for each.

        Raises:
            TypeError: not a tensor of floats.
            ValueError: another shape, NaN, or a network that takes no text.
        """
        if not self.text_width:
            raise ValueError(f"embedding was given but {self!r} takes no text: leave it out")
        if embedding.dtype not in FLOATS:
            raise TypeError(f"embedding must be floating point, got {embedding.dtype}")
        if embedding.ndim not in (2, 3) or embedding.shape[-1] != self.text_width or 0 in embedding.shape:
            raise ValueError(
                f"embedding must be (tokens, {self.text_width}) or (B, tokens, {self.text_width}), got "
                f"{tuple(embedding.shape)}"
            )
        if not bool(torch.isfinite(embedding).all()):
            raise ValueError("embedding has NaN or infinite values: check the text encoder that made it")
        other = copy.copy(self)
        other.text = embedding.detach() if embedding.ndim == 3 else embedding.detach()[None]
        return other

    def predict(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        if self.text_width and self.text is None:
            raise ValueError(
                f"{self!r} was trained with texts: give it one, as in network.with_text(embedding), "
                f"(tokens, {self.text_width})"
            )
        at_once = max(1, PIXELS_AT_ONCE // x[0, 0].numel())
        if self.text is None or len(self.text) == 1:
            return super().predict(x, sigma, label)
        if len(self.text) != len(x):
            raise ValueError(f"x has {len(x)} images, the network was given texts for {len(self.text)}")
        if len(x) <= at_once:
            return super().predict(x, sigma, label)
        # Pieces no larger than those that the network is asked with, each with the texts of its images.
        return torch.cat(
            [
                self.with_text(self.text[some]).predict(x[some], sigma[some], None if label is None else label[some])
                for some in (slice(start, start + at_once) for start in range(0, len(x), at_once))
            ]
        )

    def _ask(self, x: Tensor, time: Tensor, label: Tensor | None) -> Tensor:
        steps = time.round().long() if self._whole_timesteps else time.float()
        given = {"class_labels": label}
        if self.text is not None:
            given["encoder_hidden_states"] = self.text.to(x.device, x.dtype).expand(len(x), -1, -1)
        answer: Tensor = self.module(x, timestep=steps, **given).sample
        return answer[:, : self.channels]


def _kind(unet: Any) -> str:
    """Which of `KINDS` a network is.

    Raises:
        ValueError: none, or one that needs more than noisy images, classes and the embedding of a text.
    """
    config = unet.config
    if "in_channels" not in config:
        raise ValueError(f"the network is a {type(unet).__name__}: expected {listed(KINDS, 'or')}")
    if type(unet).__name__ == "DiTTransformer2DModel":
        return "DiTTransformer2DModel"
    if config.get("cross_attention_dim") is None:
        return "UNet2DModel"
    needs = [name for name in MORE if config.get(name) is not None]
    if needs or not isinstance(config["cross_attention_dim"], int):
        more = needs[0] if needs else f"cross_attention_dim {config['cross_attention_dim']}"
        raise ValueError(f"the UNet has {more}: expected one that takes noisy latents and the embedding of a text")
    return "UNet2DConditionModel"


MORE = ("addition_embed_type", "encoder_hid_dim_type", "encoder_hid_dim", "time_cond_proj_dim")
"""Settings of a UNet2DConditionModel that takes more than a text."""


def _size(side: Any) -> tuple[int, int] | None:
    if side is None:
        return None
    return (side, side) if isinstance(side, int) else (int(side[0]), int(side[1]))


def _channels(unet: Any, scheduler: Any) -> int:
    """Channels of the images. A network that also predicts variances has twice as many outputs, the mean first."""
    channels, out = int(unet.config["in_channels"]), unet.config.get("out_channels")
    out = channels if out is None else int(out)
    learned = str(scheduler.config.get("variance_type", "")).startswith("learned")
    learned = learned or type(unet).__name__ == "DiTTransformer2DModel"
    if out != channels and not (learned and out == 2 * channels):
        raise ValueError(f"the UNet turns {channels} channels into {out}: expected as many out as in")
    return channels


def _classes(unet: Any) -> int:
    """Rows of the class embedding, 0 for none."""
    if type(unet).__name__ == "DiTTransformer2DModel":
        return int(unet.config["num_embeds_ada_norm"]) + 1
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
    known = (*HOMES, *BESIDE, "scheduler")
    others = sorted(name for name, part in parts.items() if part is not None and name not in known)
    networks = [parts[name] for name in HOMES if parts.get(name) is not None]
    if len(networks) != 1 or others:
        raise ValueError(
            f"the {type(source).__name__} has {', '.join(sorted(parts))}: expected a pipeline with one network "
            f"({listed(HOMES, 'or')}) and a scheduler, and nothing else but {listed(BESIDE)}; if the others do not "
            "change the images, give the pair (unet, scheduler)"
        )
    return DiffusersNetwork(networks[0], parts["scheduler"], type(source).__name__, null_class)


def is_diffusers(folder: Path) -> bool:
    """Whether a folder looks like a diffusers pipeline or model."""
    return any((folder / name).exists() for name in ("model_index.json", *HOMES, "config.json", "scheduler"))


def read_diffusers(
    folder: str | Path,
    device: str | torch.device = "cpu",
    variant: str | None = None,
    null_class: int | None = None,
) -> DiffusersNetwork:
    """Read a diffusers folder: unet/ (or transformer/) and scheduler/, or a network with its scheduler's config beside.

    The network of a latent pipeline works on latents: `els.load_autoencoder` reads its vae/ from the same folder. Only
    safetensors weights are read, and no code from the folder is run.

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
    home = next((folder / name for name in HOMES if (folder / name).is_dir()), folder)
    for name in ENCODERS:
        if (folder / name).is_dir():
            raise ValueError(
                f"{folder} has {name}/, so its network needs more than noisy images, a class and the embedding of a "
                f"text: expected a pipeline of a {listed(KINDS, 'or')} and a scheduler"
            )
    config = read_config(home / "config.json", "a network")
    what = str(config.get("_class_name"))
    if what == MACHINE:
        raise ValueError(
            f"{home} holds a machine that as_unet made, which is no trained network: read it with "
            f"els.adapters.load_machine({str(folder)!r})"
        )
    if what not in KINDS:
        raise ValueError(f"{home} holds a {what}: expected a {listed(KINDS, 'or')}")
    diffusers: Any = require("diffusers", extra="networks", purpose=purpose, names=(what,))
    place = _scheduler_file(folder, home)
    settings = read_config(place, "a scheduler")
    try:
        kind = None
        if settings.get("_class_name") in SCHEDULERS:
            name = str(settings["_class_name"])
            kind = getattr(require("diffusers", extra="networks", purpose=purpose, names=(name,)), name)
        check_settings(settings, kind)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
    with torch_defaults():
        unet = read_model(getattr(diffusers, what), home, config, variant, try_unet)
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


def read_config(path: Path, what: str) -> dict[str, Any]:
    """The settings in a JSON file of a diffusers folder; `what` they are of.

    Raises:
        FileNotFoundError: no such file.
        ValueError: too long, or not a JSON object.
    """
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
