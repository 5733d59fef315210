from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

import elsewhere as els
from elsewhere.networks import (
    SHIPPED,
    DiffusersNetwork,
    NetworkSpec,
    TrainedNetwork,
    load_network,
    loading,
    save_network,
)
from elsewhere.networks.training import CHECKPOINT, NETWORK
from tests.networks.test_diffusers_folder import make_folder, make_unet
from tests.networks.toys import random_weights

SPEC = NetworkSpec("resnet", 1, (6, 6), 0, {"width": 4, "blocks": 1}, "toys")


def write(path: Path, seed: int = 0) -> Path:
    save_network(path, random_weights(SPEC.build(), seed), SPEC)
    return path


class Trap:
    """Unpickling this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_every_shipped_network_has_a_card_and_works_on_its_own_images() -> None:
    folder = Path(loading.__file__).parent / "shipped"
    assert set(SHIPPED) == {path.stem for path in folder.glob("*.safetensors")}
    for name in SHIPPED:
        assert (folder / f"{name}.md").is_file(), f"{name} has no card"
        network = load_network(name)
        assert isinstance(network, TrainedNetwork)
        x = els.make_noise(1, (network.channels, *network.spec.size))
        assert torch.isfinite(network(x, 1.0)).all()


def test_a_shipped_name_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "shipped" / "toy-resnet.safetensors")
    monkeypatch.setattr(loading, "files", lambda package: tmp_path)
    assert loading._shipped() == ("toy-resnet",)
    monkeypatch.setattr(loading, "SHIPPED", ("toy-resnet",))
    network = load_network("toy-resnet")
    assert isinstance(network, TrainedNetwork)
    assert network.spec == SPEC
    for source in (Path("toy-resnet"), "./toy-resnet"):
        with pytest.raises(FileNotFoundError, match="no network at"):
            load_network(source)
    with pytest.raises(FileNotFoundError, match=r"no network at 'toy-resnt': did you mean 'toy-resnet'\?"):
        load_network("toy-resnt")
    monkeypatch.setattr(loading, "SHIPPED", ("toy-resnet", "toy-unet"))
    with pytest.raises(
        FileNotFoundError, match=r"did you mean 'toy-unet' or 'toy-resnet'\?|'toy-resnet' or 'toy-unet'\?"
    ):
        load_network("toy-net")
    monkeypatch.setattr(loading, "SHIPPED", ("toy-resnet",))
    with pytest.raises(FileNotFoundError, match=r"those that come with the package: toy-resnet"):
        load_network("something else")


def test_a_file_and_the_folder_of_a_training_are_read(tmp_path: Path) -> None:
    file = write(tmp_path / "run" / NETWORK)
    x = torch.randn(1, 1, 6, 6)
    assert torch.equal(load_network(file)(x, 1.0), load_network(str(tmp_path / "run"))(x, 1.0))


def test_the_finished_network_is_preferred_to_the_checkpoint(tmp_path: Path) -> None:
    write(tmp_path / NETWORK)
    (tmp_path / CHECKPOINT).write_bytes(b"not looked at")
    assert isinstance(load_network(tmp_path), TrainedNetwork)


def test_a_diffusers_folder_is_read(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "net")
    for source in (folder, folder / "unet"):
        assert isinstance(load_network(source), DiffusersNetwork)


def test_a_saved_pipeline_is_read(tmp_path: Path) -> None:
    unet = diffusers.UNet2DModel.from_pretrained(make_folder(tmp_path / "parts") / "unet")
    diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler()).save_pretrained(tmp_path / "pipeline")
    assert repr(load_network(tmp_path / "pipeline")) == "DiffusersNetwork('pipeline', epsilon)"


@pytest.mark.parametrize("suffix", [".pth", ".ckpt", ".bin", ".PTH"])
def test_pickles_are_refused_unopened(suffix: str, tmp_path: Path) -> None:
    file, mark = tmp_path / f"net{suffix}", tmp_path / "opened"
    file.write_bytes(pickle.dumps(Trap(mark)))
    for source in (file, tmp_path):
        with pytest.raises(ValueError, match="a pickle, which can run code when opened, and is refused"):
            load_network(source)
    assert not mark.exists()


@pytest.mark.parametrize("suffix", [".pt", ".pkl", ".PT"])
def test_pickles_of_published_networks_run_nothing(suffix: str, tmp_path: Path) -> None:
    file, mark = tmp_path / f"net{suffix}", tmp_path / "opened"
    file.write_bytes(pickle.dumps(Trap(mark)))
    with pytest.raises(ValueError, match="holds no network that can be read"):
        load_network(file)
    assert not mark.exists()


def test_a_pickle_under_another_name_is_not_opened_either(tmp_path: Path) -> None:
    file, mark = tmp_path / NETWORK, tmp_path / "opened"
    file.write_bytes(pickle.dumps(Trap(mark)))
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        load_network(file)
    assert not mark.exists()


def test_nothing_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no network at"):
        load_network(tmp_path / "none.safetensors")
    with pytest.raises(FileNotFoundError, match=f"expected {NETWORK} or {CHECKPOINT}"):
        load_network(tmp_path)
    with pytest.raises(FileNotFoundError, match="no network at"):
        load_network("n" * 5000)


def test_a_source_of_another_kind_is_refused() -> None:
    with pytest.raises(TypeError, match=r"a name, a path, a diffusers pipeline.*, got int"):
        load_network(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="got an empty string"):
        load_network("")


# ------------------------------------------------------------------------------------------------------ in memory


def test_a_pipeline_and_a_pair_are_read_where_they_are() -> None:
    unet, scheduler = make_unet(num_class_embeds=3), diffusers.DDIMScheduler(prediction_type="v_prediction")
    pipeline = diffusers.DDIMPipeline(unet, scheduler)
    expected, x = DiffusersNetwork(unet, scheduler), els.make_noise(1, (1, 8, 8))
    for source in (pipeline, (unet, scheduler), [unet, scheduler]):
        network = load_network(source)
        assert isinstance(network, DiffusersNetwork)
        assert network.module is unet
        assert torch.equal(network(x, 1.0, 2), expected(x, 1.0, 2))
    assert repr(load_network(pipeline)) == "DiffusersNetwork('DDIMPipeline', v)"
    without = load_network(pipeline, null_class=2)
    assert torch.equal(without(x, 1.0), expected(x, 1.0, 2))


def test_flow_matching_and_edm_are_read_from_folders(tmp_path: Path) -> None:
    x = els.make_noise(1, (1, 8, 8))
    for name in ("FlowMatchEulerDiscreteScheduler", "EDMEulerScheduler"):
        unet, scheduler = make_unet(num_class_embeds=2), getattr(diffusers, name)()
        network = load_network(make_folder(tmp_path / name, unet, scheduler), null_class=1)
        assert torch.allclose(network(x, 2.0), DiffusersNetwork(unet, scheduler)(x, 2.0, 1), atol=1e-6)


def test_a_denoiser_is_returned_as_it_is() -> None:
    def half(x: torch.Tensor, sigma: float, label: object = None) -> torch.Tensor:
        return x / 2

    machine = els.IdealScore(torch.zeros(1, 1, 2, 2))
    for denoiser in (half, machine, load_network("fashion-resnet")):
        assert load_network(denoiser) is denoiser


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (make_unet, TypeError, "a UNet2DModel, which does not say what it predicts: give the pair"),
        (lambda: torch.nn.Linear(1, 1), TypeError, r"a Linear.*els\.wrap\(module"),
        (lambda: (make_unet(),), TypeError, r"source must be a pair \(unet, scheduler\), got 1 items"),
        (lambda: (diffusers.DDIMScheduler(), make_unet()), TypeError, "unet must be a diffusers.UNet2DModel"),
        (lambda: (make_unet(), "ddim"), TypeError, "scheduler must be a diffusers scheduler, got str 'ddim'"),
        (lambda: (make_unet(), diffusers.LCMScheduler()), ValueError, "LCMScheduler"),
        (lambda: diffusers.DDIMPipeline, TypeError, "source must be"),
        (lambda: lambda: None, TypeError, "source must be"),
        (lambda: b"name", TypeError, "source must be"),
        (lambda: None, TypeError, "source must be"),
    ],
)
def test_sources_in_memory_that_cannot_be_read_are_named(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        load_network(make())


def test_a_pipeline_with_parts_that_change_the_images_is_refused() -> None:
    class Latent(diffusers.DiffusionPipeline):  # type: ignore[misc]
        def __init__(self, unet: Any, scheduler: Any, prior: Any) -> None:
            super().__init__()
            self.register_modules(unet=unet, scheduler=scheduler, prior=prior)

    with pytest.raises(
        ValueError, match=r"the Latent has prior, scheduler, unet: expected a pipeline with one network"
    ):
        load_network(Latent(make_unet(), diffusers.DDIMScheduler(), make_unet()))


def test_settings_that_a_source_does_not_take_are_named(tmp_path: Path) -> None:
    file = write(tmp_path / NETWORK)
    for settings, words in (({"null_class": 1}, "null_class=1 was given"), ({"variant": "fp16"}, "variant='fp16' was")):
        for source in (file, "fashion-resnet", tmp_path):
            with pytest.raises(ValueError, match=rf"{words}.*leave"):
                load_network(source, **settings)  # type: ignore[arg-type]
    for settings in ({"device": "cpu"}, {"null_class": 0}):
        with pytest.raises(ValueError, match=r"was given for a function, which is returned as it is"):
            load_network(lambda x, sigma: x, **settings)  # type: ignore[call-overload]
