"""The result of an evaluation."""

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sumi.boundary.files import write_whole
from sumi.evaluation.attributes import JudgeEvaluation
from sumi.evaluation.audio import AudioEvaluation
from sumi.evaluation.autoencoder import AutoencoderEvaluation
from sumi.evaluation.images import Evaluation
from sumi.evaluation.molecules import MoleculeEvaluation
from sumi.evaluation.retrieval import ClipEvaluation
from sumi.evaluation.symbols import SymbolEvaluation
from sumi.metrics.intervals import Estimate
from sumi.models.classifier import AccuracyByNoise
from sumi.models.symbols.classifier import RecognisedByNoise


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
    """The figures (None with too few held-out data), the verdict in words, the report's ``page`` and all its ``files``.

    The files are those in the run folder, which its next evaluation writes over; `report` writes these again.
    """

    evaluation: (
        Evaluation
        | VectorEvaluation
        | AccuracyByNoise
        | AutoencoderEvaluation
        | ClipEvaluation
        | MoleculeEvaluation
        | AudioEvaluation
        | SymbolEvaluation
        | JudgeEvaluation
        | RecognisedByNoise
        | None
    )
    verdict: str
    page: Path
    files: tuple[Path, ...]
    contents: Mapping[str, bytes] = field(init=False)

    def __post_init__(self) -> None:
        figures = () if self.evaluation is None else self.page.parent.glob("*.json")
        object.__setattr__(self, "contents", {path.name: path.read_bytes() for path in (*self.files, *figures)})

    def report(self, folder: Path | str) -> Path:
        """Write the page, its pictures and the figures as JSON into ``folder``; returns the page's path.

        Raises SumiError where they cannot be written.
        """
        folder = Path(folder)
        for name, content in self.contents.items():
            write_whole(folder / name, content)
        return folder / self.page.name

    def __repr__(self) -> str:
        return f"{self.verdict}\nreport: {self.page}"

    def _repr_html_(self) -> str:
        """For notebooks: the verdict, and where the report is."""
        headline, *points = map(html.escape, self.verdict.splitlines())
        listed = "".join(f"<li>{point}</li>" for point in points)
        report = html.escape(str(self.page))
        return f'<p><b>{headline}</b></p><ul>{listed}</ul><p><a href="{report}">{report}</a></p>'
