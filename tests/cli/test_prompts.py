"""Prompts on the command line: sample, explain and compare."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import elsewhere as els
from elsewhere import text
from elsewhere.networks import NetworkSpec, save_network
from elsewhere.text import MODEL, PACKAGE, WordMatcher, load_encoder
from tests.cli.typing_lines import assert_refused, names, run


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 60 emoji, with their captions."""
    path = tmp_path_factory.mktemp("few") / "few.npz"
    els.load_images("emoji", 60).save(path)
    return path


def drawn(data: els.ImageSet, prompt: str, count: int, steps: int, **settings: float | str) -> torch.Tensor:
    machine = els.prompted(els.LocalScore(data, 5), prompt, encoder=WordMatcher(), **settings)  # type: ignore[arg-type]
    return els.sample(machine, els.make_noise(count, data.shape), els.schedules.cosine(steps)).images.clamp(-1, 1)


def test_sample_draws_a_row_for_each_prompt_and_says_what_counted(few: Path, tmp_path: Path) -> None:
    line = "sample {few} --prompt square --prompt 'flag of France' --encoder words --window 5 --count 3 --steps 2"
    result = run(f"{line} --out {tmp_path / 'out'}", few=few)
    assert result.exit_code == 0, result.stderr
    data = els.load_images(few)
    prompts = [els.prompted(els.LocalScore(data, 5), p, encoder=WordMatcher()) for p in ("square", "flag of France")]
    expected = torch.cat([drawn(data, prompt.prompt, 3, 2) for prompt in prompts])
    with np.load(tmp_path / "out" / "images.npz") as arrays:
        np.testing.assert_array_equal(arrays["images"], expected.numpy())
    width, height = Image.open(tmp_path / "out" / "grid.png").size
    assert width / height == pytest.approx(3 / 2, rel=0.05), "a row for each prompt"
    settings = json.loads((tmp_path / "out" / "run.json").read_text())
    assert settings["machine"] == "ls"
    assert settings["prompts"] == json.loads(json.dumps([prompt.about() for prompt in prompts]))
    for prompt in prompts:
        assert repr(prompt.prompt) in result.stdout
        assert prompt.table()[1][0][3] in result.stdout


def test_without_the_extra_sample_matches_words(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "find_spec", lambda module: None)
    result = run(f"sample {{few}} --prompt square --window 5 --count 1 --steps 2 --out {tmp_path}", few=few)
    assert result.exit_code == 0, result.stderr
    assert "(words)" in result.stdout
    assert json.loads((tmp_path / "run.json").read_text())["prompts"][0]["encoder"] == "words"


def test_guidance_moves_away_from_the_negative_prompt(few: Path, tmp_path: Path) -> None:
    line = "sample {few} --prompt square --negative-prompt flag --guidance 2 --encoder words --window 5 --count 2"
    result = run(f"{line} --temperature 0.3 --most 9 --steps 2 --out {tmp_path}", few=few)
    assert result.exit_code == 0, result.stderr
    expected = drawn(els.load_images(few), "square", 2, 2, guidance=2.0, negative="flag", temperature=0.3, most=9)
    with np.load(tmp_path / "images.npz") as arrays:
        np.testing.assert_array_equal(arrays["images"], expected.numpy())
    assert "guidance 2 away from 'flag'" in result.stdout
    assert json.loads((tmp_path / "run.json").read_text())["prompts"][0]["negative"]["prompt"] == "flag"


def test_explain_names_captions_and_words(few: Path, tmp_path: Path) -> None:
    line = "explain {few} --prompt 'black square' --encoder words --window 5 --count 2 --steps 2 --pixel 12,9"
    result = run(f"{line} --out {tmp_path / 'out'}", few=few)
    assert result.exit_code == 0, result.stderr
    assert {"explanation.html", "explanation.json", "mosaic.png"} <= set(names(tmp_path / "out"))
    content = json.loads((tmp_path / "out" / "explanation.json").read_text())
    data = els.load_images(few)
    assert data.captions is not None
    prompted = els.prompted(els.LocalScore(data, 5), "black square", encoder=WordMatcher())
    assert content["settings"]["prompt"] == json.loads(json.dumps(prompted.about()))
    for image in content["images"]:
        assert all(one["caption"] == data.captions[one["image"]] for one in image["credits"])
        pixel = image["pixel"]
        assert (pixel["row"], pixel["column"]) == (12, 9)
        assert sum(one["weight"] for one in pixel["sources"]) == pytest.approx(1, abs=1e-2)
        assert [one["word"] for one in pixel["words"]] == ["black", "square"]
        first = pixel["sources"][0]["caption"]
        assert first in result.stdout
        assert first in (tmp_path / "out" / "explanation.html").read_text()
    assert "words (nats)" in result.stdout
    assert "The prompt is <q>black square</q>" in (tmp_path / "out" / "explanation.html").read_text()


def test_explain_names_captions_without_a_prompt(few: Path, tmp_path: Path) -> None:
    result = run(f"explain {{few}} --machine ls --window 5 --count 1 --steps 1 --out {tmp_path}", few=few)
    assert result.exit_code == 0, result.stderr
    [image] = json.loads((tmp_path / "explanation.json").read_text())["images"]
    assert image["pixel"]["sources"][0]["caption"]
    assert "words" not in image["pixel"]
    assert "made of" in result.stdout


def test_a_network_with_words_takes_the_prompt_itself(few: Path, tmp_path: Path) -> None:
    for module in ("sentence_transformers", PACKAGE):
        pytest.importorskip(module)
    data = els.load_images(few)
    spec = NetworkSpec(
        "resnet",
        3,
        (32, 32),
        0,
        {"width": 4, "blocks": 1},
        data.name,
        data.fingerprint(),
        text_model=MODEL,
        text_width=384,
    )
    torch.manual_seed(0)
    module = spec.build()
    for weights in module.parameters():  # the last layer begins at zero: then every answer would be the same
        torch.nn.init.normal_(weights, std=0.1)
    save_network(tmp_path / "net.safetensors", module, spec)
    known = {"few": few, "net": tmp_path / "net.safetensors"}
    line = "sample {few} --machine network --network {net} --prompt flag --guidance 2 --count 1 --steps 2"
    result = run(f"{line} --out {tmp_path / 'drawn'}", **known)
    assert result.exit_code == 0, result.stderr
    network, [flag] = els.load_network(known["net"]), load_encoder().encode(["flag"])
    guided = els.guided(network.with_text(flag), 2.0, away=network)  # type: ignore[attr-defined]
    expected = els.sample(guided, els.make_noise(1, data.shape), els.schedules.cosine(2)).images.clamp(-1, 1)
    with np.load(tmp_path / "drawn" / "images.npz") as arrays:
        np.testing.assert_allclose(arrays["images"], expected.numpy(), atol=1e-5)
    assert json.loads((tmp_path / "drawn" / "run.json").read_text())["prompts"][0]["prompt"] == "flag"
    line = "compare {few} {net} --machines ls --window 5 --prompt flag --count 2 --steps 2"
    result = run(f"{line} --out {tmp_path / 'compared'}", **known)
    assert result.exit_code == 0, result.stderr
    about = json.loads((tmp_path / "compared" / "results.json").read_text())["settings"]["about"]
    assert about["prompts"][0]["weights"], "the machine's captions are on record"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sample {few} --encoder words --prompt zebra", "--prompt 'zebra' matches no caption of few"),
        ("sample {few} --encoder words --prompt ''", "--prompt must"),
        ("sample {few} --encoder words --prompt flag --temperature nan", "temperature must be"),
        ("sample {few} --encoder words --prompt flag --label 1", "--prompt and --label are mutually exclusive"),
        (
            "sample {few} --encoder words --prompt flag --negative-prompt red",
            "--negative-prompt 'red' needs --guidance",
        ),
        ("sample {few} --encoder words --prompt flag --guidance 2 --negative 1", "--negative is a class"),
        ("sample {few} --negative-prompt red", "--negative-prompt red goes with --prompt"),
        ("sample {few} --temperature 1", "--temperature 1.0 goes with --prompt"),
        ("sample {few} --prompt flag --encoder nowhere", "no sentence encoder 'nowhere'"),
        ("sample {few} --prompt flag --encoder {folder}", "is no sentence encoder"),
        (
            "sample {few} --encoder words --prompt flag --machine wiener",
            "--prompt needs machines that weigh training images",
        ),
        (
            "sample {few} --encoder words --prompt flag --machine els --engine fast",
            "weights need --engine 'exact' or 'auto'",
        ),
        ("sample fashion-mini --encoder words --prompt flag", "fashion-mini has no captions for a prompt to match"),
        ("sample fashion-mini --machine network --network fashion-resnet --prompt flag", "takes words"),
        ("explain {few} --encoder words --prompt flag --prompt red", "--prompt was given 2 times"),
        ("compare fashion-mini fashion-resnet --machines ls --encoder words --prompt flag", "no captions"),
    ],
)
def test_bad_prompts_are_one_line(few: Path, tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    result = run(f"{line} --count 1 --steps 1 --out {tmp_path / 'out'}", few=few, folder=tmp_path / "folder")
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out" / "run.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--prompt square --shards 2", "leave out --shards"),
        ("--prompt square --machine wiener", "--prompt needs machines that weigh training images, such as is, ls"),
        ("--most 3", "--most 3 goes with --prompt"),
        ("--machine best", "add --network, such as"),
    ],
)
def test_options_that_do_not_go_together_say_which_to_leave_out(
    few: Path, tmp_path: Path, options: str, message: str
) -> None:
    result = run(f"sample {{few}} {options} --count 1 --steps 2 --out {{out}}", few=few, out=tmp_path / "o")
    assert_refused(result, tmp_path / "o")
    assert message in result.stderr
