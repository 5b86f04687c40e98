"""Measuring a classifier of noisy images: how much it recognises, by how much noise there is, and its report."""

import json
from dataclasses import asdict
from math import exp

from sumi.data.dataset import Dataset
from sumi.errors import writing
from sumi.evaluation.options import Options
from sumi.evaluation.result import Measured
from sumi.figures.charts import accuracy_by_noise_level
from sumi.models.classifier import AccuracyByNoise, ClassifierModel
from sumi.progress import counting_one
from sumi.report.made import how_it_was_made, training_curve
from sumi.report.page import Figure, Section, Table, Verdict, write_report
from sumi.report.words import amount, percent
from sumi.training.run_folder import RunFolder


def measure_classifier(model: ClassifierModel, options: Options) -> Measured:
    """Ask it for the classes of held-out images in more and less noise, and write ``report/`` in its run folder.

    Raises InputError for data that does not fit.
    """
    options.refuse("classifiers", "n", "features", "sweeps", "guidance")
    seed, progress = options.seed, options.progress
    dataset = model.load_images(options.data)
    train, held_out = dataset.split(model.config.data.held_out)
    found = model.accuracy_by_noise(held_out, seed=seed, progress=counting_one(progress, "classifying"))
    words, folder = _verdict(found), RunFolder(model.folder).report
    chart = accuracy_by_noise_level(found.log_snr, found.accuracy, found.guess)
    header = ("log-SNR", "sigma/alpha", "right", "95 % interval")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "accuracy.svg").write_text(chart)
        (folder / "accuracy.json").write_text(json.dumps(asdict(found), indent=2) + "\n")
        curve = training_curve(model)
        sections = [
            Section(
                "How much it recognises",
                figures=[
                    Figure(chart, "Held-out images told right, by how noisy they are; band: 95 % intervals.", True)
                ],
            ),
            Section(
                "How it learned",
                figures=[
                    Figure(
                        curve,
                        "Training loss, cross-entropy in nats over all noise, with its running median.",
                    )
                ],
            ),
            Section("All figures", tables=[Table(header, rows(found))]),
            _how(model, train, held_out, found, seed),
        ]
        title = f"{model.config.recipe} on {dataset_name(model)}"
        report = folder / "report.html"
        write_report(report, title=title, verdict=words, sections=sections, subtitle=f"after {model.step:,} steps")
    return Measured(found, str(words), report, (folder / "accuracy.svg", report))


def dataset_name(model: ClassifierModel) -> str:
    """The last part of where the data come from."""
    return model.config.data.source.rstrip("/").rsplit("/", 1)[-1]


def rows(found: AccuracyByNoise) -> list[tuple[str, str, str, str]]:
    """log-SNR, sigma/alpha, the share right and its interval, as text."""
    return [
        (f"{s:g}", f"{exp(-s / 2):.3g}", f"{a.value:.3f}", f"{a.low:.3f} to {a.high:.3f}")
        for s, a in zip(found.log_snr, found.accuracy, strict=True)
    ]


def _verdict(found: AccuracyByNoise) -> Verdict:
    middle = min(range(len(found.log_snr)), key=lambda k: abs(found.log_snr[k]))
    most, equal, least = (found.accuracy[k] for k in (0, middle, -1))
    headline = (
        f"It recognises {percent(least.value)} of held-out images with hardly any noise, and {percent(equal.value)} "
        f"with about as much noise as data; a guess would be right for {percent(found.guess)}."
    )
    points = (
        ("Hardly any noise", f"{amount(least)} of {found.images:,} held-out images are told right."),
        ("As much as data", f"{amount(equal)}, at log-SNR {found.log_snr[middle]:g}."),
        ("Most noise", f"{amount(most)}; the commonest class is {percent(found.guess)} of the images."),
    )
    return Verdict(headline, points)


def _how(model: ClassifierModel, train: Dataset, held_out: Dataset, found: AccuracyByNoise, seed: int) -> Section:
    section = how_it_was_made(
        model, train, held_out, made=f"{found.images} held-out images, noised", shown=found.images, seed=seed
    )
    again = f"sumi train {model.folder / 'config.json'} --out ANOTHER\nsumi evaluate {model.folder} --seed {seed}"
    return Section(section.title, section.text, section.figures, section.tables, again)
