"""Towards what a denoiser draws: a class or words, with or without guidance.

Messages name the options of the command line, from which the arguments come.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from elsewhere.checks import seen_text
from elsewhere.cluster import Distributed
from elsewhere.data import ImageSet
from elsewhere.denoiser import Denoiser
from elsewhere.factory import choose_labels
from elsewhere.guidance import guided
from elsewhere.latents.decoded import decoded
from elsewhere.prompts import MOST, Prompted, prompted, takes_weights
from elsewhere.text import WordMatcher, load_encoder


class Steered(NamedTuple):
    """What draws, and how it is asked.

    Attributes:
        denoiser: with the decoder of its data, where these are latents.
        labels: class of every image that it is asked for; None where it knows what to draw.
        prompt: it under its prompt, or None.
    """

    denoiser: Denoiser
    labels: Tensor | None
    prompt: Prompted | None


def steer(
    denoiser: Denoiser,
    data: ImageSet,
    labels: Tensor | None,
    *,
    prompts: Sequence[str] = (),
    temperature: float | None = None,
    most: int = MOST,
    encoder: str | None = None,
    guidance: float | None = None,
    negative: str | None = None,
    negative_prompt: str | None = None,
) -> list[Steered]:
    """The denoiser under each of some prompts, or towards the classes of the images.

    Args:
        denoiser: what draws.
        data: its training images.
        labels: class of every image, or None.
        prompts, temperature, most: see `prompted`.
        encoder: name or folder of a sentence encoder, "words", or None: see `prompted`.
        guidance: scale, or None; see `guided`.
        negative: number or name of a class to move away from, None for what all classes share.
        negative_prompt: words to move away from.

    Raises:
        FileNotFoundError, ImportError, TypeError, ValueError: options of a prompt without one, or of classes with one;
            see `prompted`, `guided` and `load_encoder`.
    """
    if prompts and negative is not None:
        raise ValueError("--negative is a class: with --prompt give --negative-prompt, words")
    under = _under_prompts(
        denoiser,
        data,
        prompts,
        temperature=temperature,
        most=most,
        encoder=encoder,
        guidance=guidance,
        negative=negative_prompt,
    )
    if under:
        return [Steered(decoded(one, data), None, one) for one in under]
    drawer = _guide(denoiser, guidance, labels, negative, data)
    return [Steered(decoded(drawer, data), labels if guidance is None else None, None)]


def _guide(
    denoiser: Denoiser, scale: float | None, labels: Tensor | None, negative: str | None, data: ImageSet
) -> Denoiser:
    """The denoiser guided towards a class of every image; itself where no scale is given.

    Args:
        denoiser: what draws.
        scale: see `guided`, or None.
        labels: class of every image, or None.
        negative: number or name of a class to move away from, None for what all classes share.
        data: the training images, with their classes.

    Raises:
        ValueError: a scale without labels, `negative` without a scale, no class of that name, or a network without an
            answer for all classes together.
    """
    if scale is None:
        if negative is not None:
            raise ValueError(f"--negative {negative} goes with --guidance: give both, or leave it out")
        return denoiser
    if labels is None:
        raise ValueError(f"--guidance {scale:g} needs --label: the class to move towards")
    away = None if negative is None else choose_labels(negative, len(labels), data, denoiser, "--negative")
    if away is None and scale != 1 and not denoiser.has_null_class:
        raise ValueError(
            f"--guidance {scale:g}: the network has no answer for all classes together, give --negative, a class to "
            "move away from"
        )
    return guided(denoiser, scale, labels, away)


def _under_prompts(
    denoiser: Denoiser,
    data: ImageSet,
    prompts: Sequence[str],
    *,
    temperature: float | None = None,
    most: int = MOST,
    encoder: str | None = None,
    guidance: float | None = None,
    negative: str | None = None,
) -> list[Prompted]:
    """The denoiser under each of some prompts, none where there are none.

    Args:
        denoiser: what draws.
        data: its training images.
        prompts, temperature, most, guidance, negative: see `prompted`.
        encoder: name or folder of a sentence encoder, "words", or None: see `prompted`.

    Raises:
        FileNotFoundError, ImportError, TypeError, ValueError: options of a prompt without one; see `prompted` and
            `load_encoder`.
    """
    if not prompts:
        given = {"--negative-prompt": negative, "--temperature": temperature, "--encoder": encoder}
        given |= {"--most": most} if most != MOST else {}
        for option, value in given.items():
            if value is not None:
                raise ValueError(f"{option} {value} goes with --prompt: give both, or leave it out")
        return []
    if negative is not None and guidance is None:
        raise ValueError(f"--negative-prompt {seen_text(negative)} needs --guidance: a scale, such as --guidance 3")
    if isinstance(denoiser, Distributed):
        raise ValueError("--prompt and --shards do not go together: leave out --shards")  # noqa: TRY004 - options
    if not hasattr(denoiser, "with_text") and not takes_weights(denoiser):
        raise ValueError(
            f"--prompt needs machines that weigh training images, such as is, ls and els, or networks with words, got "
            f"{denoiser!r}: leave it out"
        )
    scorer = None if encoder is None else WordMatcher() if encoder == WordMatcher.name else load_encoder(encoder)
    return [
        prompted(
            denoiser,
            prompt,
            data,
            encoder=scorer,
            temperature=temperature,
            most=most,
            guidance=1.0 if guidance is None else guidance,
            negative=negative,
        )
        for prompt in prompts
    ]


def check_one_prompt(prompts: Sequence[str] | None, label: str | None, option: str = "--prompt") -> None:
    """Check that there is one prompt at most, and no class beside it.

    Raises:
        ValueError: several prompts, or a class.
    """
    if prompts and len(prompts) > 1:
        raise ValueError(f"{option} was given {len(prompts)} times: this command takes one; give it for each in turn")
    check_prompt_or_label(prompts, label)


def check_prompt_or_label(prompts: Sequence[str] | None, label: str | None) -> None:
    """Check that there is no class beside a prompt.

    Raises:
        ValueError: there is.
    """
    if prompts and label not in (None, "none"):
        raise ValueError("--prompt and --label are mutually exclusive: give one of them")
