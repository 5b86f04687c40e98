"""All claims in reading order, and their experiments on pictures."""

from collections.abc import Iterator
from typing import Final

from torch import Tensor

from sumi.boundary.progress import Count
from sumi.explain.introduction.claim import Chapter, Claim, Finding
from sumi.explain.introduction.learning import BOUND, SCORES
from sumi.explain.introduction.noising import NOISING
from sumi.explain.introduction.others import OTHERS
from sumi.explain.introduction.reverse import REVERSE, SAMPLING
from sumi.explain.introduction.systems import GUIDANCE, SYSTEMS

CHAPTERS: Final[tuple[Chapter, ...]] = (NOISING, REVERSE, BOUND, SAMPLING, SCORES, GUIDANCE, SYSTEMS, OTHERS)


def run_experiments(pictures: Tensor, *, count: Count | None = None) -> Iterator[tuple[Chapter, Claim, Finding]]:
    """Each claim with what is found; ``pictures`` float32 (N, 3, H, W) in [-1, 1], N ≥ 500."""
    total, done = sum(len(chapter.claims) for chapter in CHAPTERS), 0
    for chapter in CHAPTERS:
        for claim in chapter.claims:
            found = claim.experiment(pictures)
            done += 1
            if count is not None:
                count("experiments", done, total)
            yield chapter, claim, found
