"""The result of an evaluation."""

import html
from dataclasses import dataclass
from pathlib import Path

from sumi.evaluation.images import Evaluation
from sumi.metrics.intervals import Estimate
from sumi.models.classifier import AccuracyByNoise


@dataclass(frozen=True)
class VectorEvaluation:
    """``distance``: samples to held-out data; ``real``: as many training items to held-out data.

    ``known`` and ``known_real``: for bits, the share of samples and of held-out sequences that occur in training.
    """

    seed: int
    samples: int
    held_out: int
    distance: Estimate
    real: Estimate
    known: Estimate | None
    known_real: Estimate | None


@dataclass(frozen=True, repr=False)
class Measured:
    """The figures (None with too few held-out data), the verdict in words, and the report's files."""

    evaluation: Evaluation | VectorEvaluation | AccuracyByNoise | None
    verdict: str
    report: Path
    files: tuple[Path, ...]

    def __repr__(self) -> str:
        return f"{self.verdict}\nreport: {self.report}"

    def _repr_html_(self) -> str:
        """For notebooks: the verdict, and where the report is."""
        headline, *points = map(html.escape, self.verdict.splitlines())
        listed = "".join(f"<li>{point}</li>" for point in points)
        report = html.escape(str(self.report))
        return f'<p><b>{headline}</b></p><ul>{listed}</ul><p><a href="{report}">{report}</a></p>'
