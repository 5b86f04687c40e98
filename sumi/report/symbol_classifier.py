"""Evaluation of a classifier of noised symbols: what it recognises by how many symbols noise kept, and the report."""

import json
from dataclasses import asdict

from sumi.boundary.files import write_text
from sumi.boundary.progress import counting_one
from sumi.evaluation.options import Options
from sumi.evaluation.result import Measured
from sumi.figures.charts import recognised_by_noise
from sumi.models.symbols.classifier import RecognisedByNoise, SymbolClassifierModel
from sumi.report.commands import evaluated, trained_again
from sumi.report.made import how_it_was_made, training_curve, write_run_report
from sumi.report.page import Figure, Section, Table, Verdict
from sumi.report.words import percent
from sumi.training.run_folder import RunFolder


def evaluate_symbol_classifier(model: SymbolClassifierModel, options: Options) -> Measured:
    """Classify held-out sequences with none to all of their symbols kept, and write ``report/`` in the run folder.

    Raises InputError for data that do not fit the model.
    """
    options.refuse("symbol classifiers", "split", "n", "features", "sweeps", "guidance", "quick", "judge", "clip")
    seed = options.seed
    train, held_out = model.load_data(options.data).split(model.config.data.held_out)
    counted = counting_one(options.progress, "classifying")
    found = model.recognised_by_noise(held_out, seed=seed, progress=counted)
    words, folder = _verdict(found), RunFolder(model.folder).report
    chart = recognised_by_noise(found.kept, found.share, next(iter(found.guess.values())))
    write_text(folder / "recognised.svg", chart)
    write_text(folder / "recognised.json", json.dumps(asdict(found), indent=2) + "\n")
    curve = training_curve(model)
    header = ("", "symbols kept", "recognised", "95 % interval")
    how = how_it_was_made(
        model, train, held_out, made=f"{found.items} held-out items, noised", shown=found.items, seed=seed
    )
    again = f"{trained_again(model)}\n{evaluated(model, seed=seed)}"
    sections = [
        Section(
            "What it recognises",
            figures=[
                Figure(
                    chart,
                    "By the share of symbols that noise kept: right classes, or the share of a number's variance that "
                    "is predicted; band: 95 % intervals.",
                    True,
                )
            ],
        ),
        Section(
            "How it learned",
            figures=[Figure(curve, "Training loss, -log p(y | x_t) in nats, with its running median.")],
        ),
        Section("All figures", tables=[Table(header, rows(found))]),
        Section(how.title, how.text, how.figures, how.tables, again),
    ]
    report = folder / "report.html"
    write_run_report(report, model, words, sections)
    return Measured(found, str(words), report, (folder / "recognised.svg", report))


def rows(found: RecognisedByNoise) -> list[tuple[str, str, str, str]]:
    """What, of how many symbols kept, the share recognised and its interval, as text."""
    return [
        (name, f"{100 * kept:.3g} %", f"{e.value:.3f}", f"{e.low:.3f} to {e.high:.3f}")
        for name, line in found.share.items()
        for kept, e in zip(found.kept, line, strict=True)
    ]


def _verdict(found: RecognisedByNoise) -> Verdict:
    def recognised(name: str, place: int) -> str:
        share = percent(max(0.0, found.share[name][place].value))
        return f"{share} of " + ("the classes are right" if name == "class" else f"the variance of {name} is predicted")

    middle, names = len(found.kept) // 2, list(found.share)
    headline = f"With all symbols there, {' and '.join(recognised(name, -1) for name in names)}."
    points = [
        ("Half of the symbols", f"{'; '.join(recognised(name, middle) for name in names)}."),
        ("Guessing", "; ".join(f"{name}: {percent(guess)}" for name, guess in found.guess.items()) + "."),
        ("Measured on", f"{found.items:,} held-out items."),
    ]
    return Verdict(headline, points)
