"""What a text-to-image model makes of its prompts, as a section of its report."""

from collections import Counter

from torch import Tensor

from sumi.evaluation.prompts import ClipScores, Group, Prompted, PromptEvaluation
from sumi.evaluation.retrieval import RANKS
from sumi.figures.pictures import image_grid, png
from sumi.metrics.intervals import Estimate
from sumi.models.model import TrainedModel
from sumi.report.page import Figure, Section, Table
from sumi.report.words import amount

SHOWN = 12
COLUMNS = 7
"""Attributes in the table: those that most captions mention."""


def prompts_section(model: TrainedModel, found: PromptEvaluation, made: Prompted) -> Section:
    """Pictures with their captions, and the tables of the judge and of the CLIP."""
    tables: list[Table] = []
    if found.groups:
        names = _names(made)
        rows = [row for group in found.groups for row in _rows(group, names)]
        caption = (
            "Share of the attributes in the captions that the judge reads in the pictures, with 95 % intervals. Real: "
            "pictures that the judge was not trained on. Shuffled: judged by the caption of another sample, of any "
            "class or of the same."
        )
        tables.append(Table(("", "pictures", "mean", *names), rows, caption))
    if found.clip is not None:
        tables.append(_clip_table(found.clip))
    return Section("What it makes of captions", figures=[_figure(model, made)], tables=tables)


def _names(made: Prompted) -> list[str]:
    counts = Counter(name for each in made.wanted for name in each)
    return [name for name, _ in counts.most_common(COLUMNS)]


def _rows(group: Group, names: list[str]) -> list[tuple[str, ...]]:
    retrievals = {
        "samples": group.samples,
        "real": group.real,
        "shuffled": group.shuffled,
        "shuffled within the class": group.within,
    }
    return [
        (group.name[0].upper() + group.name[1:],),
        *(
            (what, str(r.pictures), amount(r.mean), *(_shown(r.each.get(name)) for name in names))
            for what, r in retrievals.items()
            if r is not None
        ),
    ]


def _shown(estimate: Estimate | None) -> str:
    return "" if estimate is None else amount(estimate)


def _clip_table(found: ClipScores) -> Table:
    rows: list[tuple[str, ...]] = [
        ("mean cosine with the caption", _cosine(found.samples), _cosine(found.real)),
        ("with the caption of another", _cosine(found.shuffled), ""),
    ]
    for k, a, b in zip(RANKS, found.found.texts, found.found_real.texts, strict=True):
        rows.append((f"own caption among the {k} nearest of {found.gallery}", amount(a), amount(b)))
    return Table(("As the CLIP sees it", "samples", "real"), rows, "With 95 % intervals.")


def _cosine(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _figure(model: TrainedModel, made: Prompted) -> Figure:
    count = len(made.captions)
    chosen = list(range(0, count, max(1, count // SHOWN)))[:SHOWN]
    images: Tensor = model.pixels.to_bytes(made.images[chosen])
    captions = [f"{made.captions[i]}{_misread(made, i)}" for i in chosen]
    what = "; after ✗ what the judge misses" if made.read else ""
    return Figure(png(image_grid(images, columns=4, captions=captions)), f"Samples and their captions{what}.", True)


def _misread(made: Prompted, i: int) -> str:
    if not made.read:
        return ""
    missed = [value for name, value in made.wanted[i].items() if made.read[i].get(name) != value]
    return f" ✗ {', '.join(missed)}" if missed else ""
