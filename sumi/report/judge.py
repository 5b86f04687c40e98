"""Evaluation of a judge of attributes: what it reads right in held-out pictures, and the report."""

import json
from collections import Counter
from dataclasses import asdict

from sumi.boundary.files import write_text
from sumi.boundary.progress import counting_one
from sumi.data.dataset import Dataset, everything
from sumi.evaluation.attributes import JudgeEvaluation, Known, mentioned_in, readings
from sumi.evaluation.options import Options
from sumi.evaluation.result import Measured
from sumi.models.attributes import JudgeModel, attributes_of
from sumi.report.commands import evaluated, trained_again
from sumi.report.made import how_it_was_made, training_curve, write_run_report
from sumi.report.page import Figure, Section, Table, Verdict
from sumi.report.words import amount, percent
from sumi.training.run_folder import RunFolder

SHOWN = 12


def evaluate_judge(model: JudgeModel, options: Options) -> Measured:
    """Read held-out pictures, and write ``report/`` in the run folder. Raises InputError for data that do not fit."""
    options.refuse("judges", "split", "n", "features", "sweeps", "guidance", "quick")
    dataset = model.load_images(options.data)
    train, held_out = dataset.split(model.config.data.held_out)
    images, known = everything(held_out), attributes_of(held_out)
    read = model.read(images, counting_one(options.progress, "reading"))
    found = JudgeEvaluation(readings(read, mentioned_in(held_out)), readings(read, known), _guesses(known))
    words, folder = _verdict(found), RunFolder(model.folder).report
    wrong = _misread(read, known)
    write_text(folder / "judge.json", json.dumps(asdict(found), indent=2) + "\n")
    header = ("attribute", "read right", "95 % interval", "most frequent value")
    rows = [
        (name, f"{e.value:.3f}", f"{e.low:.3f} to {e.high:.3f}", f"{found.guess[name]:.3f}")
        for name, e in found.every.each.items()
    ]
    sections = [
        Section("What it reads right", tables=[Table(header, rows, f"Of {found.every.pictures:,} held-out pictures.")]),
        Section(
            "What it misreads",
            tables=[Table(("attribute", "is", "read as", "pictures"), wrong, "The most frequent mistakes.")],
        ),
        Section("How it learned", figures=[Figure(training_curve(model), "Cross-entropy of an attribute, in nats.")]),
        _how(model, train, held_out),
    ]
    report = folder / "report.html"
    write_run_report(report, model, words, sections)
    return Measured(found, str(words), report, (report,))


def _misread(read: Known, known: Known) -> list[tuple[str, str, str, str]]:
    """(attribute, value, what was read, how often) of the most frequent mistakes."""
    counts = Counter(
        (name, value, found.get(name, "none"))
        for found, each in zip(read, known, strict=True)
        for name, value in each.items()
        if found.get(name) != value
    )
    return [(*what, str(count)) for what, count in counts.most_common(SHOWN)]


def _guesses(known: Known) -> dict[str, float]:
    values: dict[str, Counter[str]] = {}
    for each in known:
        for name, value in each.items():
            values.setdefault(name, Counter())[value] += 1
    return {name: max(counts.values()) / counts.total() for name, counts in values.items()}


def _verdict(found: JudgeEvaluation) -> Verdict:
    worst = min(found.every.each, key=lambda name: found.every.each[name].value)
    headline = (
        f"It reads {percent(found.mentioned.mean.value)} of what captions of held-out pictures mention; worst {worst}, "
        f"{percent(found.every.each[worst].value)}."
    )
    points = (
        (
            "Mentioned",
            f"{amount(found.mentioned.mean)} of the attributes in the captions of {found.mentioned.pictures:,}.",
        ),
        ("All attributes", f"{amount(found.every.mean)}."),
    )
    return Verdict(headline, points)


def _how(model: JudgeModel, train: Dataset, held_out: Dataset) -> Section:
    section = how_it_was_made(
        model, train, held_out, made=f"{len(held_out)} held-out pictures", shown=len(held_out), seed=0
    )
    again = f"{trained_again(model)}\n{evaluated(model)}"
    return Section(section.title, section.text, section.figures, section.tables, again)
