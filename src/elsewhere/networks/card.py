"""The model card of a trained network."""

from __future__ import annotations

import json

from elsewhere.networks.trained import TrainedNetwork


def model_card(network: TrainedNetwork, lines: list[dict[str, float]]) -> str:
    """What the network is, what it was trained on and how, as Markdown."""
    spec, training = network.spec, network.spec.training
    last = lines[-max(1, len(lines) // 20) :]
    loss = f"{sum(line['loss'] for line in last) / len(last):.5f}" if last else "not recorded"
    parameters = sum(p.numel() for p in network.module.parameters())
    seen = training["steps"] * training["batch"]
    rows = {
        "Kind": f"{spec.kind}, options {json.dumps(spec.options)}",
        "Parameters": f"{parameters:,}",
        "Images": f"{spec.data}, {spec.channels} x {spec.size[0]} x {spec.size[1]}, {spec.num_classes} classes",
        "Fingerprint of the training set": f"`{spec.fingerprint}`",
        "Images seen": f"{seen:,} ({training['steps']:,} steps of {training['batch']})",
        "Target": "v = a n - s x0, mean squared error, times spread evenly over the cosine schedule",
        "Precision": training["precision"],
        "Weights kept": f"moving average with decay {training['ema']}, ramped up",
        "Loss, mean of the last twentieth": loss,
        "Seed": str(training["seed"]),
    }
    if spec.text_model:
        hidden = f"{training['text_dropout']:.0%} hidden"
        rows["Words"] = f"captions, as {spec.text_width} numbers of the encoder {spec.text_model}; {hidden}"
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    command = training["command"] or "elsewhere.networks.train(...)"
    return (
        f"# {spec.kind} on {spec.data}\n\n| | |\n|---|---|\n{table}\n\nMade by\n\n```\n{command}\n```\n\n"
        "Meant for comparing a trained denoiser with the closed formulas on the same images. It knows nothing but its\n"
        "training set and is no general image generator.\n"
    )
