"""A training in progress and its checkpoints: saved whole, and continued only if everything in them fits."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from elsewhere.files import json_object
from elsewhere.networks.train_settings import TrainSettings
from elsewhere.networks.trained import NetworkSpec, TrainedNetwork, check_fit, restore
from elsewhere.tensor_files import check_finite, one_line, read_tensors, write_tensors

_MODULE = "module."
_AVERAGE = "average.module."
_STEP = "step"
_IDENTITY = "identity"


def ramped_average(decay: float) -> Callable[[Any, Any, Any], None]:
    """A moving average of weights with this decay, from step n on at most n / (n + 3).

    Early weights fade faster than with the decay alone, so that a run shorter than 1 / (1 - decay) steps does not end
    as the network it began with.
    """

    def update(averaged: Any, current: Any, count: Any) -> None:
        seen = int(count)
        get_ema_multi_avg_fn(min(decay, seen / (seen + 3)))(averaged, current, count)  # type: ignore[no-untyped-call]

    return update


class TrainingRun:
    """Module, averaged module and optimiser, saved and restored together."""

    def __init__(self, spec: NetworkSpec, settings: TrainSettings) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            module = spec.build()
        self.module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = AveragedModel(self.module, multi_avg_fn=ramped_average(settings.ema))
        self.optimizer = torch.optim.AdamW(
            self.module.parameters(), settings.learning_rate, betas=(0.9, 0.99), weight_decay=0.0
        )
        self.spec = spec
        self.settings = settings
        self._scaler: Any = None
        self._scaling: dict[str, Any] = {}

    def use_scaler(self, scaler: Any) -> None:
        """Take the loss scaling of an Accelerator (None but for fp16) where a resumed run had left it."""
        self._scaler = scaler
        if scaler is not None and self._scaling:
            if self._scaling.keys() != scaler.state_dict().keys():
                raise ValueError(
                    "the checkpoint has no scale of the loss for fp16: begin again with restart=True "
                    "(in the command line --restart)"
                )
            scaler.load_state_dict(self._scaling)

    def to(self, device: torch.device) -> None:
        self.module.to(device)
        self.average.to(device)

    def network(self) -> TrainedNetwork:
        """The averaged network, as a copy that further training does not touch."""
        return TrainedNetwork(self.spec.rebuild(self.average.module.state_dict()), self.spec)

    def identity(self) -> str:
        """What must agree for a checkpoint to be continued; where it came from and how often it is saved need not."""
        free = ("command", "checkpoint_every", "log_every", "sample_every")
        fields = asdict(self.spec)
        fields["training"] = {k: v for k, v in self.spec.training.items() if k not in free}
        return json.dumps(fields, sort_keys=True)

    def save(self, path: Path, step: int) -> None:
        """Write a checkpoint, unless the weights have broken down: then the last one stays."""
        if not all(bool(torch.isfinite(p).all()) for p in self.module.parameters()):
            raise ValueError(f"the weights are not finite after step {step}: lower the learning rate")
        tensors = self._tensors()
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
        metadata = {_STEP: str(step), _IDENTITY: self.identity()}
        if self._scaler is not None:
            metadata["scaling"] = json.dumps(self._scaler.state_dict())
        write_tensors(path, tensors, metadata)

    def _tensors(self) -> dict[str, Tensor]:
        """Weights and averaged weights, as a checkpoint names them."""
        tensors = {f"{_MODULE}{k}": v for k, v in self.module.state_dict().items()}
        return tensors | {f"average.{k}": v for k, v in self.average.state_dict().items()}

    def resume(self, path: Path) -> int:
        """Load a checkpoint if there is one; the number of steps it has done.

        Nothing is loaded before everything was checked.
        """
        if not path.exists():
            return 0
        again = "begin again with restart=True (in the command line --restart)"
        try:
            metadata, tensors = read_tensors(path)
            if not is_checkpoint(metadata):
                raise ValueError("it has no step and identity")
            theirs = json_object(metadata[_IDENTITY])
            step, scaling = int(metadata[_STEP]), json_object(metadata.get("scaling", "{}"))
        except ValueError as error:
            raise ValueError(f"{path} is damaged or no checkpoint ({one_line(error)}): {again}") from error
        mine = json.loads(self.identity())
        if theirs != mine:
            raise ValueError(
                f"{path} is from other data or settings ({_differences(theirs, mine)}): use another folder, or {again}"
            )
        try:
            self._check(path, step, tensors, scaling)
        except ValueError as error:
            raise ValueError(f"{path} is damaged ({one_line(error)}): {again}") from error
        self._scaling = scaling
        self.module.load_state_dict(_part(tensors, _MODULE))
        self.average.load_state_dict(_part(tensors, "average."))
        self._resume_optimizer(_part(tensors, "optimizer."))
        return step

    def _check(self, path: Path, step: int, tensors: dict[str, Tensor], scaling: dict[str, Any]) -> None:
        """Make sure that a checkpoint holds what `save` writes; raises ValueError."""
        if not 1 <= step <= self.settings.steps:
            raise ValueError(f"it has done {step} steps, expected 1 to {self.settings.steps}")
        numbers = all(type(value) in (int, float) and 0 <= value < math.inf for value in scaling.values())
        if not numbers or scaling.get("scale") == 0:
            raise ValueError(f"the scale of the loss is {_short(scaling)}, expected positive numbers")
        check_finite(path, tensors)
        counts = {name: value for name, value in tensors.items() if name.endswith("n_averaged")}
        if any(value.dtype != torch.int64 or value.shape != () or int(value) < 0 for value in counts.values()):
            raise ValueError("the number of averaged steps is no integer of 0 or more")
        shapes = {name: tuple(value.shape) for name, value in self._tensors().items() if name not in counts}
        for index, parameter in enumerate(self.module.parameters()):
            shapes[f"optimizer.{index}.step"] = ()
            shapes |= {f"optimizer.{index}.{moment}": tuple(parameter.shape) for moment in ("exp_avg", "exp_avg_sq")}
        check_fit(shapes, {name: value for name, value in tensors.items() if name not in counts})
        never = [
            name for name in tensors if name.endswith((".step", ".exp_avg_sq")) and bool((tensors[name] < 0).any())
        ]
        if never:
            raise ValueError(f"{never[0]} is negative")

    def _resume_optimizer(self, tensors: dict[str, Tensor]) -> None:
        parameters = list(self.module.parameters())
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            index, key = name.split(".", 1)
            # The moments are laid out in memory as an uninterrupted run has them, so that sums round alike.
            laid_out = value if value.ndim == 0 else torch.empty_like(parameters[int(index)]).copy_(value)
            state.setdefault(int(index), {})[key] = laid_out.detach()
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": state})


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _differences(theirs: dict[str, Any], mine: dict[str, Any]) -> str:
    """Which fields of two identities differ, such as "steps 6000, now 8000"."""
    pairs = []
    training = theirs.get("training")
    for old, new in ((theirs, mine), (training if isinstance(training, dict) else {}, mine["training"])):
        for name in sorted(old.keys() | new.keys()):
            if name != "training" and old.get(name) != new.get(name):
                pairs.append(f"{name} {_short(old.get(name))}, now {_short(new.get(name))}")
    return "; ".join(dict.fromkeys(pairs))


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:12] + "..."


def is_checkpoint(metadata: Mapping[str, str]) -> bool:
    """Whether the metadata of a file are those of a training's checkpoint."""
    return _IDENTITY in metadata and _STEP in metadata


def read_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> TrainedNetwork:
    """The averaged weights of a checkpoint, to look at a run in progress.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, or not a checkpoint of this version.
        ImportError: a UNet without diffusers installed.
    """
    path = Path(path)
    return average_of(path, *read_tensors(path), device)


def average_of(
    path: Path, metadata: Mapping[str, str], tensors: Mapping[str, Tensor], device: str | torch.device
) -> TrainedNetwork:
    """The averaged network in the contents of a checkpoint; raises what `read_checkpoint` raises."""
    if not is_checkpoint(metadata):
        raise ValueError(f"{path} is not a checkpoint: expected a file written by `elsewhere train`")
    return restore(path, metadata[_IDENTITY], _part(tensors, _AVERAGE), device)
