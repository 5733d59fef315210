"""Train the small autoencoder of the package: 3 x H x W pixels to 4 x H/4 x W/4 latents, and back.

    python scripts/train_autoencoder.py emoji pixel-faces --steps 2150 --out runs/emoji-vae

It is diffusers' AutoencoderTiny: convolutions, ReLU and nearest upsampling; no normalisation and no attention, so that
every pixel is made from a square of latents of known size. Trained as a variational autoencoder whose posterior has a
fixed standard deviation: z = mu(x) + NOISE n, loss = mean |x - decode(z)| + KL_WEIGHT mean mu^2 / 2. The same command
goes on where a run was stopped. The result is a diffusers folder in float16, with `scaling_factor` set so that the
latents of the training images have a root mean square of 1.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from torch import Tensor

import elsewhere as els

NOISE = 0.1
"""Standard deviation of the posterior."""
KL_WEIGHT = 1e-3
BLOCKS = ((1, 1, 3), (0, 1, 1))
"""Residual blocks at each resolution, of encoder and decoder. The decoder has few, so that its pixels stay local."""
KEPT = 0.999
"""Decay of the averaged weights, which are the ones kept."""


def make(width: int) -> AutoencoderTiny:
    """The autoencoder with fresh weights."""
    return AutoencoderTiny(
        encoder_block_out_channels=(width,) * 3,
        decoder_block_out_channels=(width,) * 3,
        num_encoder_blocks=BLOCKS[0],
        num_decoder_blocks=BLOCKS[1],
        latent_channels=4,
    )


def step_rate(done: float, peak: float) -> float:
    """Learning rate after a share of the training: a short rise, then half a cosine to zero."""
    return peak * min(1.0, done / 0.02) * 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * done))))


def batch_of(sets: list[els.ImageSet], size: int, generator: torch.Generator) -> Tensor:
    """Images of one of the sets, as often of each as it has images, mirrored half of the time."""
    counts = torch.tensor([float(len(data)) for data in sets])
    data = sets[int(torch.multinomial(counts, 1, generator=generator))]
    index = torch.randint(len(data), (size,), generator=generator)
    images = data[index].scaled()
    return images.flip(3) if torch.rand(1, generator=generator) < 0.5 else images


def measure(model: AutoencoderTiny, data: els.ImageSet) -> tuple[float, float, float]:
    """Mean absolute and root mean squared error of the reconstructions in [-1, 1], and root mean square of latents."""
    absolute = square = size = 0.0
    with torch.no_grad():
        for start in range(0, len(data), 256):
            images = data[start : start + 256].scaled()
            latents = model.encode(images).latents
            error = model.decode(latents).sample.clamp(-1, 1) - images
            absolute += float(error.abs().double().sum())
            square += float(error.double().square().sum())
            size += float(latents.double().square().mean()) * len(images)
    numbers = data.images.numel()
    return absolute / numbers, (square / numbers) ** 0.5, (size / len(data)) ** 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", help="Sets of colour images whose sides are multiples of 4.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--steps", type=int, default=2150)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    sets = [els.load_images(name, gray=False) for name in given.data]
    torch.manual_seed(given.seed)
    model = make(given.width).to(memory_format=torch.channels_last).train()
    average = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), given.rate, betas=(0.9, 0.99), weight_decay=0.0)
    given.out.mkdir(parents=True, exist_ok=True)
    checkpoint, log, start = given.out / "checkpoint.pt", given.out / "loss.txt", 0
    if checkpoint.exists():
        kept = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        average, start = kept["average"], kept["step"]
    began, losses = time.monotonic(), []
    for step in range(start, given.steps):
        generator = torch.Generator().manual_seed(given.seed * 1_000_003 + step)
        images = batch_of(sets, given.batch, generator).to(memory_format=torch.channels_last)
        for group in optimizer.param_groups:
            group["lr"] = step_rate(step / given.steps, given.rate)
        # Half the time of float32 where processors multiply bfloat16.
        with torch.autocast("cpu", torch.bfloat16):
            mean = model.encode(images).latents.float()
            drawn = mean + NOISE * torch.randn(mean.shape, generator=generator)
            output = model.decode(drawn).sample.float()
        loss = (output - images).abs().mean() + KL_WEIGHT * 0.5 * mean.square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        decay = min(KEPT, (step + 1) / (step + 10))
        for name, value in model.state_dict().items():
            average[name].lerp_(value, 1 - decay)
        losses.append(float(loss.detach()))
        if (step + 1) % 100 == 0 or step + 1 == given.steps:
            text = f"{step + 1} loss {sum(losses) / len(losses):.4f} {time.monotonic() - began:.0f} s"
            losses.clear()
            with log.open("a", encoding="utf-8") as file:
                file.write(text + "\n")
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average}
            torch.save(state | {"step": step + 1}, checkpoint)
    model.load_state_dict(average)
    model.eval()
    sizes = [measure(model, data)[2] for data in sets]
    counts = [len(data) for data in sets]
    rms = (sum(n * size**2 for n, size in zip(counts, sizes, strict=True)) / sum(counts)) ** 0.5
    model.register_to_config(scaling_factor=round(1 / rms, 4))
    model = model.to(memory_format=torch.contiguous_format).half()
    model.save_pretrained(given.out / "autoencoder")
    # diffusers writes a setting that it does not know when it reads the file again, and warns of it.
    settings = given.out / "autoencoder" / "config.json"
    known = {name: value for name, value in json.loads(settings.read_text()).items() if name != "block_out_channels"}
    settings.write_text(json.dumps(known, indent=2) + "\n")
    model = model.float()
    for data in sets:
        absolute, square, _ = measure(model, data)
        print(f"{data.name}: mean absolute error {absolute:.4f}, root mean square {square:.4f} in [-1, 1]")


if __name__ == "__main__":
    main()
