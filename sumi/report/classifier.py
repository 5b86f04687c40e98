"""Evaluation of a classifier of noisy images: its accuracy by noise level, and the report."""

import json
from dataclasses import asdict
from math import exp

from sumi.boundary.files import write_text
from sumi.boundary.progress import counting_one
from sumi.data.dataset import Dataset
from sumi.evaluation.options import Options
from sumi.evaluation.result import Measured
from sumi.figures.charts import accuracy_by_noise_level
from sumi.models.classifier import AccuracyByNoise, ClassifierModel
from sumi.report.commands import evaluated, trained_again
from sumi.report.made import how_it_was_made, training_curve, write_run_report
from sumi.report.page import Figure, Section, Table, Verdict
from sumi.report.words import amount, percent
from sumi.training.run_folder import RunFolder


def evaluate_classifier(model: ClassifierModel, options: Options) -> Measured:
    """Classify held-out images at several noise levels, and write ``report/`` in the run folder.

    Raises InputError for data that do not fit the model.
    """
    options.refuse("classifiers", "split", "n", "features", "sweeps", "guidance", "quick", "judge", "clip")
    seed, progress = options.seed, options.progress
    dataset = model.load_images(options.data)
    train, held_out = dataset.split(model.config.data.held_out)
    found = model.accuracy_by_noise(held_out, seed=seed, progress=counting_one(progress, "classifying"))
    words, folder = _verdict(found), RunFolder(model.folder).report
    chart = accuracy_by_noise_level(found.log_snr, found.accuracy, found.guess)
    header = ("log-SNR", "sigma/alpha", "accuracy", "95 % interval")
    write_text(folder / "accuracy.svg", chart)
    write_text(folder / "accuracy.json", json.dumps(asdict(found), indent=2) + "\n")
    curve = training_curve(model)
    sections = [
        Section(
            "Accuracy by noise level",
            figures=[Figure(chart, "Accuracy on held-out images by noise level; band: 95 % intervals.", True)],
        ),
        Section(
            "How it learned",
            figures=[
                Figure(
                    curve,
                    "Training loss (cross-entropy in nats, over all noise levels) with its running median.",
                )
            ],
        ),
        Section("All figures", tables=[Table(header, rows(found))]),
        _how(model, train, held_out, found, seed),
    ]
    report = folder / "report.html"
    write_run_report(report, model, words, sections)
    return Measured(found, str(words), report, (folder / "accuracy.svg", report))


def rows(found: AccuracyByNoise) -> list[tuple[str, str, str, str]]:
    """log-SNR, sigma/alpha, accuracy and its interval, as text."""
    return [
        (f"{s:g}", f"{exp(-s / 2):.3g}", f"{a.value:.3f}", f"{a.low:.3f} to {a.high:.3f}")
        for s, a in zip(found.log_snr, found.accuracy, strict=True)
    ]


def _verdict(found: AccuracyByNoise) -> Verdict:
    middle = min(range(len(found.log_snr)), key=lambda k: abs(found.log_snr[k]))
    most, equal, least = (found.accuracy[k] for k in (0, middle, -1))
    headline = (
        f"It classifies {percent(least.value)} of held-out images correctly with hardly any noise, and "
        f"{percent(equal.value)} with as much noise as signal; guessing would get {percent(found.guess)}."
    )
    points = (
        ("Hardly any noise", f"{amount(least)} of {found.images:,} held-out images are classified correctly."),
        ("As much noise as signal", f"{amount(equal)}, at log-SNR {found.log_snr[middle]:g}."),
        ("Most noise", f"{amount(most)}; the most frequent class has {percent(found.guess)} of the images."),
    )
    return Verdict(headline, points)


def _how(model: ClassifierModel, train: Dataset, held_out: Dataset, found: AccuracyByNoise, seed: int) -> Section:
    section = how_it_was_made(
        model, train, held_out, made=f"{found.images} held-out images, noised", shown=found.images, seed=seed
    )
    again = f"{trained_again(model)}\n{evaluated(model, seed=seed)}"
    return Section(section.title, section.text, section.figures, section.tables, again)
