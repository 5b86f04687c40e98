"""The claims of an introduction to diffusion models, each with its experiment, as one page."""

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sumi.boundary.progress import Count
from sumi.data.config import DataConfig
from sumi.data.dataset import evenly_spaced
from sumi.data.load import load_images
from sumi.errors import InputError
from sumi.explain.introduction.claim import Chapter, Claim, Finding
from sumi.explain.introduction.experiments import run_experiments
from sumi.report.page import Figure, Section, Verdict, write_report

INTRODUCTION: Final = "introduction"
PICTURES: Final = 600
FEWEST: Final = 400
SIZE: Final = 32
WORDS: Final = {"true": "True.", "imprecise": "Imprecise.", "false": "False as it stands."}


def write_introduction(folder: Path, *, data: str | None = None, count: Count | None = None) -> Iterator[str]:
    """Run all experiments and write ``folder``/introduction.html; gives a line for each claim, and last the page.

    ``data``: pictures for the experiments that need some (default: characters). Raises InputError for fewer than
    `FEWEST` pictures, SumiError if the page cannot be written.
    """
    dataset = load_images(DataConfig(source=data or "characters", size=SIZE))
    if len(dataset) < FEWEST:
        raise InputError(f"data: {data} has {len(dataset)} images, and the experiments need {FEWEST}; choose others")
    found = []
    for chapter, claim, finding in run_experiments(evenly_spaced(dataset, PICTURES), count=count):
        found.append((chapter, claim, finding))
        yield f"{len(found):2} {finding.verdict:9} {claim.idea}"
    yield str(_write(folder / f"{INTRODUCTION}.html", found))


def _write(path: Path, found: list[tuple[Chapter, Claim, Finding]]) -> Path:
    counts = Counter(finding.verdict for *_, finding in found)
    headline = (
        f"Of {len(found)} sentences that one reads in introductions, {counts['true']} are true, {counts['imprecise']} "
        f"imprecise, and {counts['false']} false as they stand."
    )
    numbered = list(enumerate(found, 1))
    wrong = [(f"{n}", f"“{claim.idea}”") for n, (_, claim, finding) in numbered if finding.verdict == "false"]
    sections: list[Section] = []
    for title, part in itertools.groupby(numbered, lambda entry: entry[1][0].title):
        sections += [Section(title), *(_section(n, claim, finding) for n, (_, claim, finding) in part)]
    write_report(
        path,
        title="An introduction to diffusion models, executed",
        subtitle="Each claim in our words, an experiment, and the verdict that follows from its numbers.",
        verdict=Verdict(headline, [("false", ""), *wrong]),
        sections=sections,
    )
    return path


def _section(number: int, claim: Claim, finding: Finding) -> Section:
    figures = () if finding.picture is None else (Figure(finding.picture, finding.caption),)
    text = f"{WORDS[finding.verdict]} {finding.found}"
    return Section(f"{number}. “{claim.idea}”", text, figures, inner=True)
