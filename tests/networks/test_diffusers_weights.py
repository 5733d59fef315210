from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from elsewhere.networks import load_network
from elsewhere.networks.diffusers_folder import DiffusersNetwork, read_diffusers
from tests.networks.test_diffusers_folder import make_folder, make_unet

X = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8)
PLAIN = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the settings of a UNet and a scheduler, but without weights."""
    made = make_folder(tmp_path / "net")
    (made / "unet" / PLAIN).unlink()
    return made


def save(folder: Path, seed: int, **how: Any) -> torch.Tensor:
    """Write weights in one more way, and say what a network with them answers."""
    unet = make_unet()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    if how.get("variant") == "fp16":
        unet.half()
    unet.save_pretrained(folder / "unet", **how)
    scheduler = read_scheduler(folder)
    answer: torch.Tensor = DiffusersNetwork(unet.float(), scheduler)(X, 1.0)
    return answer


def read_scheduler(folder: Path) -> Any:
    import diffusers

    return diffusers.DDPMScheduler.from_pretrained(folder / "scheduler")


@pytest.mark.parametrize("variant", ["fp16", "non_ema"])
@pytest.mark.parametrize("shards", [{}, {"max_shard_size": "20KB"}], ids=["single", "shards"])
def test_the_only_variant_is_read_and_variants_can_be_chosen(
    variant: str, shards: Any, folder: Path, tmp_path: Path
) -> None:
    other = make_folder(tmp_path / "other")
    expected = save(folder, 1, variant=variant, **shards)
    assert (len(list((folder / "unet").glob("*.safetensors"))) > 1) == bool(shards)
    assert torch.equal(load_network(folder)(X, 1.0), expected)
    assert torch.equal(load_network(folder, variant=variant)(X, 1.0), expected)
    # Saved in another folder: save_pretrained removes what it takes for older shards.
    plain = save(other, 2)
    shutil.copy(other / "unet" / PLAIN, folder / "unet")
    assert torch.equal(load_network(folder)(X, 1.0), plain)
    assert torch.equal(load_network(folder, variant=variant)(X, 1.0), expected)
    assert next(load_network(folder, variant=variant).module.parameters()).dtype == torch.float32  # type: ignore[attr-defined]


def test_of_several_variants_one_must_be_named(folder: Path) -> None:
    expected = [save(folder, seed, variant=variant) for seed, variant in enumerate(("fp16", "non_ema"))]
    with pytest.raises(ValueError, match=r"no weights without a variant: .*'fp16', 'non_ema'"):
        load_network(folder)
    for variant, answer in zip(("fp16", "non_ema"), expected, strict=True):
        assert torch.equal(load_network(folder, variant=variant)(X, 1.0), answer)
    with pytest.raises(ValueError, match=r"no variant 'bf16': .*'fp16', 'non_ema'"):
        load_network(folder, variant="bf16")
    file = next((folder / "unet").glob("*.safetensors"))
    with pytest.raises(ValueError, match="a part of a diffusers folder: give the folder that holds unet and scheduler"):
        load_network(file)
    with pytest.raises(TypeError, match="variant must be a name"):
        load_network(folder, variant=16)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="variant='fp16' was given but hands-resnet is no diffusers folder"):
        load_network("hands-resnet", variant="fp16")


def test_shards_are_read_where_their_list_is_sound(folder: Path) -> None:
    expected = save(folder, 1, max_shard_size="20KB")
    index = folder / "unet" / f"{PLAIN}.index.json"
    assert torch.equal(load_network(folder)(X, 1.0), expected)
    text = json.loads(index.read_text())
    name, shard = next(iter(text["weight_map"].items()))
    for value, words in (("../other.safetensors", "in the same folder"), ("pickle.bin", "in the same folder")):
        index.write_text(json.dumps({"weight_map": {**text["weight_map"], name: value}}))
        with pytest.raises(ValueError, match=words):
            load_network(folder)
    for broken, words in (("[]", "expected a JSON object"), ("{}", "no weight_map"), ("[" * 10**5, "too deeply")):
        index.write_text(broken)
        with pytest.raises(ValueError, match=words):
            load_network(folder)
    index.write_text(json.dumps(text))
    (folder / "unet" / shard).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{shard} is missing"):
        load_network(folder)


def test_weights_do_not_stay_mapped_to_their_file(folder: Path) -> None:
    expected = save(folder, 1)
    network = load_network(folder)
    path = folder / "unet" / PLAIN
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.write(bytes(size))
        file.truncate(size // 2)
    assert torch.equal(network(X, 1.0), expected)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"layers_per_block": 10**9}, "asks for 1000000000 layers in each block"),
        ({"layers_per_block": "many"}, "asks for many layers"),
        ({"block_out_channels": [10**6, 10**6]}, "which asks for .* numbers"),
        ({"block_out_channels": [2**40, 2**40]}, "config.json"),
        ({"block_out_channels": 8}, "config.json"),
        ({"num_class_embeds": 2**40}, "which asks for .* numbers"),
        ({"norm_num_groups": 0}, "does not describe a UNet2DModel"),
        ({"norm_num_groups": -1}, "does not describe a UNet2DModel"),
        ({"downsample_padding": 10**6}, "does not describe a UNet2DModel"),
        ({"downsample_padding": False}, "does not describe a UNet2DModel"),
        ({"sample_size": 2**70}, "does not describe a UNet2DModel"),
        ({"down_block_types": ["NoBlock", "NoBlock"]}, "does not describe a UNet2DModel"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quantization_config"),
    ],
)
def test_settings_that_ask_for_other_weights_are_refused_before_memory_is_taken(
    settings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "net")
    config = folder / "unet" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **settings}))
    with pytest.raises(ValueError, match=words):
        read_diffusers(folder)


def test_wrong_dtypes_and_shapes_of_equal_size_are_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "net")
    path = folder / "unet" / PLAIN
    weights = load_file(path)
    weights["conv_in.weight"] = weights["conv_in.weight"].transpose(0, 1).contiguous()
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(ValueError, match=r"net"):
        read_diffusers(folder)


def test_a_variant_of_weights_without_variants_is_left_out(folder: Path) -> None:
    save(folder, 0)
    with pytest.raises(ValueError, match=r"has no variant 'fp16': its weights have no variants, leave variant out"):
        load_network(folder, variant="fp16")
