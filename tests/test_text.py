"""Sentence encoders from disk, their cache, and the comparison of words."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from elsewhere import text
from elsewhere.text import MODEL, Encoder, WordMatcher, find_encoder, load_encoder, stems

WORDS = ["a smiling cat with hearts", "grinning cat", "red heart", "flag: Germany"]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    for module in ("sentence_transformers", text.PACKAGE):
        pytest.importorskip(module)
    return load_encoder()


@pytest.fixture
def packaged(tmp_path: Path) -> Path:
    """The packaged model without its weights, which a test may change."""
    pytest.importorskip(text.PACKAGE)
    folder = tmp_path / "model"
    shutil.copytree(text._packaged(), folder, ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "model.safetensors").write_bytes(b"")
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ELSEWHERE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_vectors_have_length_one_and_do_not_depend_on_the_batch(encoder: Encoder) -> None:
    vectors = encoder.encode(WORDS)
    assert encoder.name == MODEL
    assert vectors.dtype == torch.float32
    assert vectors.shape == (4, encoder.width) == (4, 384)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(4), atol=1e-6)
    # Padding is masked; what is left are sums in another order, of some 1e3 float32 terms.
    assert torch.allclose(vectors[1], encoder.encode([WORDS[1]])[0], atol=1e-5)


def test_captions_of_the_same_meaning_are_nearer(encoder: Encoder) -> None:
    cat, heart, flag = encoder.similarities(WORDS[:1], WORDS[1:])[0].tolist()
    assert cat > heart > flag


def test_vectors_of_captions_are_kept_and_read_again(
    encoder: Encoder, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = encoder.encoded(WORDS)
    [path] = cache.glob("captions-*.safetensors")
    monkeypatch.setattr(encoder, "encode", lambda texts: pytest.fail("they were made again"))
    assert torch.equal(encoder.encoded(WORDS), made)
    monkeypatch.undo()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    monkeypatch.setenv("ELSEWHERE_CACHE", str(cache))
    with pytest.warns(UserWarning, match="damaged"):
        assert torch.equal(encoder.encoded(WORDS), made)
    assert torch.equal(encoder.encoded(WORDS), made), "the damaged file was written again"
    encoder.encoded(WORDS[:2])
    assert len(list(cache.iterdir())) == 2, "other captions are another file"


def test_a_cache_that_cannot_be_written_warns(encoder: Encoder, cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="were not kept"):
        assert encoder.encoded(WORDS).shape == (4, 384)


@pytest.mark.parametrize(("texts", "error"), [("cat", TypeError), ([], ValueError), ([1], TypeError)])
def test_bad_texts_are_refused(encoder: Encoder, texts: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"texts.* must"):
        encoder.encode(texts)


def test_a_local_folder_is_loaded(encoder: Encoder, tmp_path: Path) -> None:
    shutil.copytree(text._packaged(), tmp_path / "mine")
    mine = load_encoder(tmp_path / "mine")
    assert torch.equal(mine.encode(WORDS), encoder.encode(WORDS))
    assert mine.key == encoder.key


def test_a_folder_that_is_missing_or_holds_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no sentence encoder .*nothing is downloaded"):
        load_encoder("all-mpnet-base-v2")
    with pytest.raises(ValueError, match=r"is no sentence encoder .*expected a folder"):
        load_encoder(tmp_path)
    (tmp_path / "modules.json").write_text('{"no": "list"}')
    with pytest.raises(ValueError, match="is no sentence encoder"):
        load_encoder(tmp_path)


def test_weights_that_would_be_unpickled_are_refused(packaged: Path) -> None:
    (packaged / "model.safetensors").rename(packaged / "pytorch_model.bin")
    with pytest.raises(
        ValueError, match=r"no weights as safetensors, only pytorch_model\.bin, which would be unpickled"
    ):
        load_encoder(packaged)


def test_models_with_code_of_their_own_are_refused(packaged: Path) -> None:
    config = json.loads((packaged / "config.json").read_text())
    (packaged / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "mine.Model"}}))
    with pytest.raises(ValueError, match="brings code of its own"):
        load_encoder(packaged)
    (packaged / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": "os.system"}]))
    with pytest.raises(ValueError, match=r"a part 'os\.system', which is not loaded"):
        load_encoder(packaged)


def test_damaged_weights_are_an_error_of_one_line(packaged: Path) -> None:
    pytest.importorskip("sentence_transformers")
    with pytest.raises(ValueError, match="cannot be loaded as a sentence encoder") as caught:
        load_encoder(packaged)
    assert "\n" not in str(caught.value)


def test_without_the_extra_words_are_matched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "find_spec", lambda module: None)
    monkeypatch.setitem(sys.modules, text.PACKAGE, None)
    assert isinstance(find_encoder(), WordMatcher)
    with pytest.raises(ImportError, match=r"not installed: pip install 'elsewhere\[text\]'"):
        load_encoder()


def test_words_are_counted_without_endings_and_articles() -> None:
    assert stems("The Smiling cats, with a red-ring!") == {"smil", "cat", "red", "ring"}
    found = WordMatcher().similarities(
        ["smiling cats with hearts"], ["cat smiles", "HEART", "the with a", "a heart cat smile"]
    )
    assert found.dtype == torch.float64
    assert torch.allclose(found, torch.tensor([[2 / 3, 1 / 3, 0, 1]], dtype=torch.float64))
    with pytest.raises(TypeError, match="prompts must be a sequence, each item a string, got str"):
        WordMatcher().similarities("cat", ["cat"])
    assert WordMatcher().similarities(["with the"], ["with the"]).tolist() == [[0]]
