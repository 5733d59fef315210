"""Prompts: words to weights over training images, for machines; words to an embedding, for networks that take words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elsewhere.checks import check_device, check_number, check_whole, checked, seen, seen_text
from elsewhere.data import ImageSet
from elsewhere.denoiser import Denoiser, DenoiserLike, Label, ask
from elsewhere.display import card, image_tag
from elsewhere.entropy import WeightEntropy
from elsewhere.guidance import LARGEST_SCALE, Guided, guided, moved
from elsewhere.machines.base import SoftmaxMachine
from elsewhere.machines.mixing import Mix
from elsewhere.phrases import count
from elsewhere.pictures import grid
from elsewhere.text import MODEL, Encoder, WordMatcher, find_encoder, load_encoder

MOST = 64
"""Training images that a prompt gives a weight to: more than show what a prompt names. A machine of windows that
compares with all images takes windows of any picture where the noise is low, whatever the prompt (docs/prompts.md)."""

LONGEST = 1000
"""Characters of a prompt: about as many as the packaged encoder reads."""

SHOWN = 8
"""Captions in a table."""

EFFECTIVE = 10.0
"""Effective number of training images where no temperature is given. Seen in pictures of emoji (docs/prompts.md): with
fewer, drawings are copies of one emoji; with more, they take parts of emoji that have little to do with the prompt."""

LOWEST, HIGHEST = 1e-3, 100.0
"""Temperatures: at the first the most similar image has all the weight, at the second all have the same."""

Scorer = Encoder | WordMatcher


@dataclass(frozen=True)
class PromptWeights:
    """What a prompt says about training images.

    Attributes:
        prompt: the words.
        captions: one for each training image.
        similarities: of the prompt and each caption, float64 (N,).
        weights: p_j, 0 to 1, with sum 1, float64 (N,).
        temperature, most: as given.
        scorer: what compared words.

    An image whose caption is empty has the similarity minus infinity and the weight 0.
    """

    prompt: str
    captions: tuple[str, ...]
    similarities: Tensor
    weights: Tensor
    temperature: float
    most: int
    scorer: Scorer = field(repr=False)

    def __repr__(self) -> str:
        return f"PromptWeights({self.prompt!r}, {self._facts()})"

    def _repr_html_(self) -> str:
        return card(repr(self.prompt), [self._facts()], table=self.table())

    def _facts(self) -> str:
        number = f"{self.effective:.1f} effective of {count(len(self.weights), 'image')}"
        return f"{number} at temperature {self.temperature:.3g}, most similar {self.captions[self.top(1)[0]]!r}"

    @property
    def effective(self) -> float:
        """Effective number of training images: exp(-sum_j p_j log p_j), 1 to `most`."""
        return _effective(self.weights)

    def top(self, number: int = SHOWN) -> list[int]:
        """Positions of the training images with the largest weights, the largest first; none with the weight 0."""
        found = self.weights.argsort(descending=True, stable=True)[:number]
        return found[self.weights[found] > 0].tolist()

    def table(self, number: int = SHOWN) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Header and rows of a printable table of the captions with the largest weights."""
        rows: list[tuple[str, ...]] = [
            (f"{float(self.weights[j]):.1%}", f"{float(self.similarities[j]):.2f}", f"#{j}", self.captions[j])
            for j in self.top(number)
        ]
        return ("weight", "similarity", "image", "caption"), rows

    def words(self) -> tuple[list[str], Tensor]:
        """What each word of the prompt does to the weights: the prompt is weighed again without it.

        Returns:
            The words, and by how much each raises the log-weight of each training image, in nats, float64 (words, N):
            log p_j of the prompt minus log p_j without the word, where p is the softmax over all training images, none
            cut off. For a prompt of one word, p without it is the same for all.

        Example:
            >>> from elsewhere.text import WordMatcher
            >>> data = ImageSet(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), captions=("red cat", "cat"))
            >>> words, effects = weigh("red cat", data, WordMatcher(), temperature=0.1).words()
            >>> words, effects.round(decimals=1).add(0.0).tolist()
            (['red', 'cat'], [[0.7, -4.3], [0.0, 5.0]])
        """
        words = self.prompt.split()
        shorter = [" ".join(words[:i] + words[i + 1 :]) for i in range(len(words))]
        # No encoder reads an empty text.
        rows = self.scorer.similarities([self.prompt, *(text or self.prompt for text in shorter)], self.captions)
        if len(words) == 1:
            rows[1] = 0
        logs = (rows / self.temperature).log_softmax(1)
        return words, logs[0] - logs[1:]

    def about(self) -> dict[str, Any]:
        """What result files say."""
        sources = [
            {
                "image": j,
                "caption": self.captions[j],
                "weight": float(self.weights[j]),
                "similarity": float(self.similarities[j]),
            }
            for j in self.top(self.most)
        ]
        return {
            "prompt": self.prompt,
            "encoder": self.scorer.name,
            "temperature": self.temperature,
            "effective_images": self.effective,
            "weights": sources,
        }


class Prompted(Denoiser):
    """What `prompted` returns: a denoiser of what a prompt describes.

    Attributes:
        prompt, negative: the words; `negative` is None where nothing is moved away from.
        guidance: its scale, 1 for none.
        denoiser: as given.
        towards: the denoiser under the prompt, without guidance: a machine with weights, which `els.explain` takes.
        drawer: what answers: `towards`, or it guided away from the denoiser without a prompt, or with `negative`.
        about_prompt, about_negative: the `PromptWeights` of both; None for networks, which take words themselves.
        encoder: name of what compared or encoded words.
    """

    def __init__(
        self,
        denoiser: DenoiserLike,
        towards: DenoiserLike,
        drawer: DenoiserLike,
        words: tuple[str, str | None],
        encoder: str,
        found: tuple[PromptWeights | None, PromptWeights | None],
    ) -> None:
        self.denoiser, self.towards, self.drawer = denoiser, towards, drawer
        (self.prompt, self.negative), self.encoder = words, encoder
        self.about_prompt, self.about_negative = found
        self.channels = getattr(denoiser, "channels", None)
        self.size = getattr(denoiser, "size", None)
        self.num_classes: int = getattr(drawer, "num_classes", 0)
        self.data: Any = getattr(denoiser, "data", None)
        self.window: Any = getattr(denoiser, "window", None)
        self.spec: Any = getattr(denoiser, "spec", None)

    @property
    def guidance(self) -> float:
        """Scale of the guidance, 1 for none."""
        return self.drawer.scale if isinstance(self.drawer, Guided) else 1.0

    @property
    def weights(self) -> Tensor | None:
        """p_j of the training images under the prompt, float64 (N,) with sum 1; None for networks."""
        return None if self.about_prompt is None else self.about_prompt.weights

    @property
    def effective(self) -> float | None:
        """Effective number of training images under the prompt: see `PromptWeights`; None for networks."""
        return None if self.about_prompt is None else self.about_prompt.effective

    def table(self, number: int = SHOWN) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Header and rows of the captions with the largest weights; no rows for networks."""
        return ((), []) if self.about_prompt is None else self.about_prompt.table(number)

    def about(self) -> dict[str, Any]:
        """What result files say: the prompts, with the images and captions that they gave weights to."""
        found = {"prompt": self.prompt, "encoder": self.encoder}
        found = found if self.about_prompt is None else self.about_prompt.about()
        away = None if self.about_negative is None else self.about_negative.about()
        if self.negative is not None and away is None:
            away = {"prompt": self.negative}
        return {**found, "guidance": self.guidance, **({} if away is None else {"negative": away})}

    def __repr__(self) -> str:
        inner = repr(self.denoiser) if isinstance(self.denoiser, Denoiser) else type(self.denoiser).__name__
        settings = [repr(self.prompt)]
        if self.guidance != 1:
            settings += [f"guidance={self.guidance:g}"]
            settings += [] if self.negative is None else [f"negative={self.negative!r}"]
        settings += [] if self.effective is None else [f"{self.effective:.1f} effective images"]
        return f"Prompted({inner}, {', '.join(settings)})"

    def _repr_html_(self) -> str:
        facts = [self.encoder]
        facts += [] if self.guidance == 1 else [f"guidance {self.guidance:g}"]
        facts += [] if self.negative is None else [f"away from {self.negative!r}"]
        if self.about_prompt is None:
            return card(repr(self.prompt), facts)
        facts.append(
            f"{self.about_prompt.effective:.1f} effective images at temperature {self.about_prompt.temperature:.3g}"
        )
        pictures = []
        if isinstance(self.data, ImageSet) and len(self.data) == len(self.about_prompt.weights):
            shown = self.data[self.about_prompt.top()]
            pictures = [image_tag(grid(shown.scaled(), SHOWN, 2), f"{count(len(shown), 'image')} of {self.prompt}")]
        return card(repr(self.prompt), facts, pictures, table=self.table())

    @checked
    def to(self, device: str | torch.device) -> Prompted:
        """The same prompt for the denoiser on another device; one without a `to` stays where it is.

        Raises:
            TypeError: not a device.
            ValueError: no such device here, or one that the denoiser cannot use.
        """
        check_device("device", device)
        denoiser, towards = moved(self.denoiser, device), moved(self.towards, device)
        drawer = towards if self.drawer is self.towards else moved(self.drawer, device)
        found = self.about_prompt, self.about_negative
        return Prompted(denoiser, towards, drawer, (self.prompt, self.negative), self.encoder, found)

    def entropy(self, x: Tensor | np.ndarray, sigma: float | Tensor | np.ndarray, label: Label = None) -> WeightEntropy:
        """The entropy of the weights of all windows: see `SoftmaxMachine.entropy`.

        Raises:
            TypeError: a network or a mix, or guidance, whose answer is no average with weights.
            ValueError: see `SoftmaxMachine.entropy`.
        """
        if not isinstance(self.drawer, SoftmaxMachine):
            raise TypeError(f"entropy needs a softmax average without guidance, got {self!r}: leave entropy out")
        return self.drawer.entropy(x, sigma, label)

    def predict(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        # A number where it does: denoisers of users need not take a level for each image.
        level: Any = float(sigma[0]) if bool((sigma == sigma[0]).all()) else sigma
        return ask(self.drawer, x, level, label)


@checked
def prompted(
    denoiser: DenoiserLike,
    prompt: str,
    data: ImageSet | None = None,
    *,
    encoder: Encoder | WordMatcher | None = None,
    temperature: float | None = None,
    most: int = MOST,
    guidance: float = 1.0,
    negative: str | None = None,
) -> Prompted:
    """A denoiser of what words describe.

    A machine gets weights over its training images, p_j proportional to exp(s_j / temperature) for the `most` images
    whose captions are most similar to the prompt, and 0 for the others and where s_j <= 0. log p_j is added to the
    log-weights, as a prior (a label is the special case of p_j = 0 or 1). s_j is the similarity of prompt and caption:
    the cosine of their sentence embeddings with the extra `text`, else the share of the prompt's words that the caption
    has. Weights that the machine had are multiplied. A network that takes words gets the embedding of the prompt.

    Args:
        denoiser: a machine that is a softmax average, a `Mix` with one (parts without weights, such as `Wiener`, stay
            as they are), or a network that takes words (`with_text`).
        prompt: words, 1 to 1,000 characters.
        data: the training images with their captions; None: those of the denoiser.
        encoder: see `elsewhere.text.load_encoder`; None: the packaged one where it is installed, else the words; for a
            network the one that it was trained with.
        temperature: 0.001 to 100; None: the one at which the effective number of images, exp(-sum_j p_j log p_j), is
            10.
        most: training images with a weight.
        guidance: scale of the guidance away from the denoiser without a prompt, 0 to 1000; see `els.guided`. 1: none.
        negative: words to move away from in place of no prompt; it needs a `guidance` other than 1.

    Returns:
        A denoiser D(x, sigma, label=None) with the weights (`weights`, `table()`, `effective`).

    Raises:
        ImportError: a network with words needs the extra `text`.
        TypeError: a denoiser without weights that takes no words.
        ValueError: a prompt that is empty, too long, or matches nothing; images without captions, or another number of
            them than the machine has; temperature, most or guidance out of range; a negative prompt without guidance.

    Example:
        >>> import elsewhere as els
        >>> import numpy as np
        >>> images = els.load_images("fashion-mini", limit=3).images
        >>> data = els.ImageSet(images, captions=("a red cat", "a cat", "a bus"))
        >>> cats = els.prompted(els.LocalScore(data, 5), "red cats", encoder=els.text.WordMatcher(), temperature=0.5)
        >>> [round(p, 2) for p in cats.weights.tolist()]
        [0.73, 0.27, 0.0]
    """
    words = _check_prompt("prompt", prompt)
    away = None if negative is None else _check_prompt("negative prompt", negative)
    scale = check_number("guidance", guidance, 0, LARGEST_SCALE)
    heat = None if temperature is None else check_number("temperature", temperature, LOWEST, HIGHEST)
    most = check_whole("most", most, 1)
    if away is not None and scale == 1:
        raise ValueError(f"negative prompt {seen_text(away)} needs guidance: give a scale above 1, such as guidance=3")
    if hasattr(denoiser, "with_text"):
        return _network(denoiser, words, away, scale, encoder)
    machine = _weighted(denoiser)
    images = _captioned(machine, data)
    scorer = find_encoder() if encoder is None else encoder
    found = weigh(words, images, scorer, heat, most)
    towards = machine.with_weights(found.weights * _before(machine))
    other = None if away is None else weigh(away, images, scorer, heat, most, "negative prompt")
    drawer: DenoiserLike = towards
    if scale != 1:
        drawer = guided(
            towards, scale, away=machine if other is None else machine.with_weights(other.weights * _before(machine))
        )
    return Prompted(denoiser, towards, drawer, (words, away), scorer.name, (found, other))


def weigh(
    prompt: str,
    data: ImageSet,
    scorer: Scorer,
    temperature: float | None = None,
    most: int = MOST,
    argument: str = "prompt",
) -> PromptWeights:
    """The weights that a prompt gives to the images of a set: see `prompted`.

    Args:
        prompt, temperature, most: see `prompted`.
        data: images with captions.
        scorer: what compares words.
        argument: what errors call the prompt.

    Raises:
        ValueError: the prompt matches nothing.
    """
    assert data.captions is not None
    similarities = scorer.similarities([prompt], data.captions)[0]
    empty = [not caption.strip() for caption in data.captions]
    similarities[torch.tensor(empty, dtype=torch.bool, device="cpu")] = -torch.inf
    nearest = int(similarities.argmax())
    if float(similarities[nearest]) < scorer.least:
        closest = "none has a word of it"
        if float(similarities[nearest]) > 0:
            closest = f"the nearest is {data.captions[nearest]!r}, of similarity {float(similarities[nearest]):.2f}"
            closest += f" where {scorer.least:g} is expected"
        raise ValueError(
            f"{argument} {seen_text(prompt)} matches no caption of {data.name} ({scorer.name}: {closest}): name what "
            "is in the pictures"
        )
    heat = _temperature(similarities, most) if temperature is None else temperature
    return PromptWeights(prompt, data.captions, similarities, _softmax(similarities, heat, most), heat, most, scorer)


def _softmax(similarities: Tensor, temperature: float, most: int) -> Tensor:
    """Softmax over the `most` largest, 0 elsewhere; images that are as similar as the last of them count as well."""
    least = similarities.topk(min(most, len(similarities))).values[-1]
    counted = (similarities >= least) & (similarities > 0)
    return (similarities / temperature).where(counted, -torch.inf).softmax(0)


def _effective(weights: Tensor) -> float:
    return float(torch.special.entr(weights).sum().exp())


def _temperature(similarities: Tensor, most: int) -> float:
    """The temperature at which the effective number of images is EFFECTIVE, or as near to it as temperatures come.

    The entropy grows with the temperature: its bisection in the logarithm, as that of the perplexity of t-SNE (van der
    Maaten & Hinton 2008, section 2).
    """
    low, high = LOWEST, HIGHEST
    while high / low > 1 + 1e-4:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if _effective(_softmax(similarities, middle, most)) < EFFECTIVE else (low, middle)
    return low


def _check_prompt(argument: str, prompt: str) -> str:
    words = " ".join(prompt.split())
    if not words:
        raise ValueError(f"{argument} must have words, got {seen_text(prompt)}: describe a picture, as in 'a red car'")
    if len(words) > LONGEST:
        raise ValueError(f"{argument} must have at most {LONGEST} characters, got {len(words)}: give a shorter one")
    return words


def takes_weights(denoiser: DenoiserLike) -> bool:
    """Whether the training images of a denoiser, or of a part of a mix, can be weighted."""
    parts: Sequence[object] = list(denoiser.denoisers.values()) if isinstance(denoiser, Mix) else [denoiser]
    return any(isinstance(part, SoftmaxMachine) for part in parts)


def _weighted(denoiser: DenoiserLike) -> SoftmaxMachine | Mix:
    """The denoiser, if its training images can be weighted.

    Raises:
        TypeError: they cannot.
    """
    if not takes_weights(denoiser):
        raise TypeError(
            "denoiser must be a machine that weighs training images, a Mix with one, or a network that takes words, "
            f"got {seen(denoiser)}"
        )
    assert isinstance(denoiser, SoftmaxMachine | Mix)
    return denoiser


def _before(machine: SoftmaxMachine | Mix) -> Tensor | float:
    """Weights that a machine has already; 1 for none, and for a Mix, whose parts have their own."""
    known = machine.workspace.weights if isinstance(machine, SoftmaxMachine) else None
    return 1.0 if known is None else known.cpu()


def _captioned(machine: SoftmaxMachine | Mix, data: ImageSet | None) -> ImageSet:
    """The training images with their captions.

    Raises:
        ValueError: no captions, or another number of images.
    """
    images = machine.data if data is None else data
    if images is None:
        raise ValueError(
            "data=None, and the denoiser has no images with captions: give data, an ImageSet with captions"
        )
    if images.captions is None or not any(caption.strip() for caption in images.captions):
        raise ValueError(
            f"{images.name} has no captions for a prompt to match: give images with captions, such as "
            "load_images('emoji')"
        )
    parts = machine.denoisers.values() if isinstance(machine, Mix) else [machine]
    sizes = {len(part) for part in parts if isinstance(part, SoftmaxMachine)}
    if sizes != {len(images)}:
        raise ValueError(
            f"data has {count(len(images), 'image')}, the denoiser {', '.join(map(str, sorted(sizes)))}: give its "
            "training images"
        )
    return images


def _network(
    network: Any, prompt: str, negative: str | None, scale: float, encoder: Encoder | WordMatcher | None
) -> Prompted:
    """A network under a prompt.

    Raises:
        TypeError, ValueError: it takes no words, or those of another encoder.
    """
    model = getattr(network, "text_model", MODEL)
    if not model:
        raise TypeError(
            f"denoiser must be a machine, or a network that takes words, got {network!r}, which was trained without: "
            "draw with its machine"
        )
    encoder = load_encoder(model) if encoder is None else encoder
    if isinstance(encoder, WordMatcher) or encoder.name != model:
        raise ValueError(f"encoder must be {model}, with which the network was trained, got {encoder!r}")
    vectors = encoder.encode([prompt] if negative is None else [prompt, negative])
    towards = network.with_text(vectors[0])
    drawer = towards
    if scale != 1:
        drawer = guided(towards, scale, away=network.with_text(None if negative is None else vectors[1]))
    return Prompted(network, towards, drawer, (prompt, negative), encoder.name, (None, None))
