"""Whether a word that a model was taught is recognised, and what that cost the words that it knew before.

The **new word**. A judge of attributes reads in samples of "a WORD" what it reads alike in most of the pictures that
were given; the figure is the mean share of these attributes. By a CLIP a sample is recognised where, of the given
pictures and of others that were held out, the one nearest to it is a given one. The same of the model before, and of
each given picture among the rest, say what to compare it with.

The **old words**. Samples of captions that were held out, of the same noise before and after: the share of mentioned
attributes that the judge reads, or how often the CLIP finds a sample's own caption first among up to a hundred.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from sumi.boundary.arguments import torch_defaults, whole
from sumi.boundary.progress import Count, counting_one
from sumi.conditioning.text import captions_of, with_text
from sumi.data.dataset import evenly, everything
from sumi.errors import InputError
from sumi.evaluation.attributes import mentioned_in, readings
from sumi.evaluation.prompts import as_prompts, check_judges
from sumi.evaluation.retrieval import galleries, recalls
from sumi.metrics.intervals import Estimate, share
from sumi.models.attributes import JudgeModel
from sumi.models.clip import ClipModel
from sumi.models.diffusion.model import DiffusionModel

SAMPLES: Final = 100
OTHERS: Final = 256
"""Held-out pictures among which a CLIP looks for the given ones."""


@dataclass(frozen=True)
class WordEvaluation:
    """``new``: of samples of the word, before and after; ``real``: of the given pictures; ``old``: before and after.

    ``alike``: the attributes that the judge reads in most of the given pictures; empty by a CLIP.
    """

    new: tuple[Estimate, Estimate]
    real: Estimate
    old: tuple[Estimate, Estimate]
    alike: Mapping[str, str]

    @property
    def lost(self) -> float:
        """The share of ``old`` that is gone; below 0: it has grown."""
        before, after = (found.value for found in self.old)
        return 1 - after / before if before else 0.0

    def says(self) -> list[str]:
        """The figures in words."""
        of_new, of_old = "samples nearest to one of the pictures", "samples whose own caption is found first"
        lines: list[str] = []
        if self.alike:
            of_new, of_old = "what is alike in the pictures is read in samples", "mentioned attributes that are read"
            lines.append(f"alike in the pictures: {', '.join(f'{name} {value}' for name, value in self.alike.items())}")
        (was, new), (one, other), real = map(_percent, self.new), map(_percent, self.old), _percent(self.real)
        lines.append(f"the word, {of_new}: {was} before, {new} after; of the pictures themselves {real}")
        lines.append(f"old words, {of_old}: {one} before, {other} after, which loses {self.lost:.1%} of it")
        return lines


@torch_defaults()
def evaluate_word(
    before: DiffusionModel,
    after: DiffusionModel,
    images: object,
    word: str,
    *,
    like: str | None = None,
    judge: JudgeModel | None = None,
    clip: ClipModel | None = None,
    data: object = None,
    n: int = SAMPLES,
    seed: int = 0,
    progress: Count | None = None,
) -> WordEvaluation:
    """Measure a ``word`` that ``after`` was taught with ``images``, by a ``judge`` or a ``clip`` of other training.

    ``like``: what the model before is asked for, as it does not know the word; ``n``: samples each time. Raises
    InputError for neither or both, a judge or CLIP of other pictures, and data without captions or attributes.
    """
    n = whole("n", n, least=2)
    check_judges(after, judge, clip)
    given = everything(before.load_images(images))
    _, held_out = before.load_images(data).split(before.config.data.held_out)
    prompted = with_text(held_out)
    if len(prompted) < 2:
        raise InputError("data: fewer than two held-out pictures have captions; give more")
    some = held_out.subset([prompted[k] for k in evenly(len(prompted), n).tolist()])
    captions = as_prompts(before, captions_of(some))

    def samples(model: DiffusionModel, prompt: str | list[str], what: str) -> Tensor:
        count = n if isinstance(prompt, str) else len(prompt)
        made = model.sample(count, prompt=prompt, seed=seed, progress=counting_one(progress, what))
        return made.as_subclass(Tensor)

    new = samples(before, f"a {like or word}", "the word, before"), samples(after, f"a {word}", "the word")
    old = samples(before, captions, "old words, before"), samples(after, captions, "old words")
    match judge, clip:
        case JudgeModel(), None:
            return _read(judge, given, new, old, mentioned_in(some))
        case None, ClipModel():
            others = everything(held_out.subset(evenly(len(held_out), OTHERS)))
            return _seen(clip, given, others, new, old, captions)
        case _:
            raise InputError("judge: give a judge or a CLIP, one of them")


def _read(
    judge: JudgeModel,
    given: Tensor,
    new: tuple[Tensor, Tensor],
    old: tuple[Tensor, Tensor],
    mentioned: Sequence[Mapping[str, str]],
) -> WordEvaluation:
    found, alike = read_alike(judge, given)

    def shares(read: Sequence[Mapping[str, str]]) -> Estimate:
        return readings(read, [alike] * len(read)).mean

    one, other = (shares(judge.read(samples)) for samples in new)
    first, second = (readings(judge.read(samples), mentioned).mean for samples in old)
    return WordEvaluation((one, other), shares(found), (first, second), alike)


def read_alike(judge: JudgeModel, given: Tensor) -> tuple[list[dict[str, str]], dict[str, str]]:
    """What a ``judge`` reads in each of the ``given`` pictures (K, C, H, W), and in most of them alike.

    Raises InputError where that is nothing.
    """
    found = judge.read(given)
    alike = alike_in(found)
    if not alike:
        raise InputError("judge: reads nothing alike in most of the pictures; give pictures of one thing, or a CLIP")
    return found, alike


def alike_in(read: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The attributes of which more than half of what was ``read`` has one value."""
    counts = Counter(item for each in read for item in each.items())
    return {name: value for (name, value), count in counts.items() if 2 * count > len(read)}


def _seen(
    clip: ClipModel,
    given: Tensor,
    others: Tensor,
    new: tuple[Tensor, Tensor],
    old: tuple[Tensor, Tensor],
    captions: Sequence[str],
) -> WordEvaluation:
    own, rest = clip.embed_images(given), clip.embed_images(others)
    one, other = (recognised(clip.embed_images(samples), own, rest) for samples in new)
    v = clip.embed_captions(captions)
    lists = [torch.tensor(items) for items in galleries(captions, 0)]
    first, second = (
        recalls([vectors[items] @ v[items].T for items in lists]).texts[0]
        for vectors in (clip.embed_images(samples) for samples in old)
    )
    return WordEvaluation((one, other), recognised(own, own, rest, themselves=True), (first, second), {})


def recognised(vectors: Tensor, own: Tensor, others: Tensor, *, themselves: bool = False) -> Estimate:
    """The share of unit vectors (N, D) that are nearer to one of ``own`` (K, D) than to all ``others`` (M, D).

    ``themselves``: they are ``own``, and none counts as near to itself.
    """
    near = vectors @ own.T
    if themselves:
        near = near.fill_diagonal_(-torch.inf)
    right = near.amax(1) > (vectors @ others.T).amax(1)
    return share(int(right.sum()), len(right))


def _percent(found: Estimate) -> str:
    return f"{found.value:.0%} [{max(found.low, 0):.0%}, {min(found.high, 1):.0%}]"  # a mean's interval knows no ends
