"""A claim of an introduction, in our words, and what an experiment finds of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from torch import Tensor

from sumi.figures.pictures import png, strip

Verdict = Literal["true", "imprecise", "false"]


@dataclass(frozen=True)
class Finding:
    """What was measured: the verdict that follows from the numbers, and a sentence with them.

    ``picture``: an SVG as text, or a PNG as bytes; ``caption``: what it shows.
    """

    verdict: Verdict
    found: str
    picture: str | bytes | Path | None = None
    caption: str = ""


@dataclass(frozen=True)
class Claim:
    """``idea``: what introductions write; ``experiment(pictures)``: measures it.

    ``pictures``: float32 (N, 3, H, W) in [-1, 1], for those experiments that need some.
    """

    idea: str
    experiment: Callable[[Tensor], Finding]


@dataclass(frozen=True)
class Chapter:
    """Claims on one subject, in reading order."""

    title: str
    claims: list[Claim] = field(default_factory=list)

    def says(self, idea: str) -> Callable[[Callable[[Tensor], Finding]], Callable[[Tensor], Finding]]:
        """Adds the decorated experiment as a claim with this idea."""

        def add(experiment: Callable[[Tensor], Finding]) -> Callable[[Tensor], Finding]:
            self.claims.append(Claim(idea, experiment))
            return experiment

        return add


def judged(holds: bool, otherwise: Verdict = "false") -> Verdict:
    """True where it ``holds``."""
    return "true" if holds else otherwise


def in_a_row(pictures: Tensor, labels: Sequence[str]) -> bytes:
    """Pictures (N, 3, H, W) in [-1, 1] as a PNG, with a label below each."""
    frames = ((pictures.clamp(-1, 1) + 1) * 127.5).round().byte()
    return png(strip(frames, labels=labels, scale=3))
