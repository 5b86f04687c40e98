"""How good a prior's vectors are, as a section of a report, and in a sentence."""

from sumi.evaluation.prior import PriorEvaluation
from sumi.metrics.intervals import Estimate
from sumi.report.page import Section, Table


def prior_section(found: PriorEvaluation) -> Section:
    """The distances of its vectors, their cosines with the captions, and how much they vary."""
    rows = [
        ("Fréchet distance to held-out pictures", *map(_figure, (found.distance, found.distance_real))),
        ("of the captions' own vectors", _figure(found.distance_texts), ""),
        ("mean cosine with the caption", *map(_figure, (found.cosine, found.cosine_real))),
    ]
    if found.spread is not None:
        rows.append((f"spread of a caption's vectors, over {found.prompts} captions", _figure(found.spread), "1"))
    caption = (
        f"Of {found.captions} held-out captions, with 95 % intervals. Real: pictures of training. The spread is "
        "in that of the real pictures for which the caption is true; below 1, they are too much alike."
    )
    return Section("The vectors that the prior makes", tables=[Table(("", "prior", "real"), rows, caption)])


def prior_point(found: PriorEvaluation) -> tuple[str, str]:
    """The distance and the spread, as a point of the verdict."""
    text = (
        f"Fréchet distance {_figure(found.distance)} to the vectors of held-out pictures; those of training pictures "
        f"are at {_figure(found.distance_real)}."
    )
    if found.spread is not None:
        text += (
            f" Vectors of one caption vary {_figure(found.spread)} times as much as those of the real pictures for "
            "which it is true; 1 is right, and below 1 they are too much alike."
        )
    return "Vectors that the prior makes", text


def _figure(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
