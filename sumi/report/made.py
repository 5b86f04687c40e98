"""What all reports of runs share: their title, the curve of the training loss, and how the run was made."""

import platform
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch

from sumi import __version__
from sumi.boundary.config import describe
from sumi.data.dataset import Dataset, evenly, few
from sumi.evaluation.during_training import held_out_losses
from sumi.figures.charts import loss_by_noise_level, loss_curve
from sumi.models.model import RunFolder, TrainedModel
from sumi.report.commands import evaluated, sampled, trained_again
from sumi.report.page import Figure, Section, Table, Verdict, write_report
from sumi.training.metrics_log import read as read_metrics

RATES: Final = ("training.learning_rate", "training.warmup_steps", "training.decay")


def write_run_report(report: Path, model: TrainedModel, words: Verdict, sections: Sequence[Section]) -> None:
    """Write the page of a run, called by its recipe and its data."""
    title = f"{model.config.recipe} on {Path(model.config.data.source).name}"
    write_report(report, title=title, verdict=words, sections=sections, subtitle=f"after {model.step:,} steps")


def noted(words: Verdict, model: TrainedModel, own: Dataset, what: str) -> Verdict:
    """``words``, with a note where the run's ``own`` data are no longer those it was trained on; ``what`` they are."""
    if own.fingerprint() == model.description.data_fingerprint:
        return words
    note = f"The data have changed since training, so the model may have been trained on held-out {what}."
    return replace(words, points=(*words.points, ("Note", note)))


def training_curve(model: TrainedModel) -> str:
    """The training loss in metrics.jsonl by step, as an SVG."""
    log = RunFolder(model.folder).metrics_file
    steps: list[int] = []
    values: list[float] = []
    for line in read_metrics(log) if log.exists() else []:
        match line:
            case {"step": int(step), "loss": float(loss)}:
                steps.append(step)
                values.append(loss)
            case _:
                pass
    return loss_curve(steps, values)


def checked(model: TrainedModel) -> list[Figure]:
    """The loss on held-out images by noise level at up to four checks during the training; none without two."""
    log = RunFolder(model.folder).metrics_file
    lines = [line for line in (read_metrics(log) if log.exists() else []) if line.get("event") == "check"]
    found = {f"step {line['step']:,}": losses for line in lines if (losses := held_out_losses(line))}
    if len(found) < 2:
        return []
    names = [list(found)[k] for k in evenly(len(found), 4).tolist()]
    copies = [f"{line['copies']} of {line['samples']} at step {line['step']:,}" for line in lines if line.get("copies")]
    caption = (
        "The error of ε̂ on the same held-out images with the same noise, while it was trained. Bands: 95 % intervals; "
        "those of two checks move together. "
        f"Samples as near to a training image as held-out images hardly are: {', '.join(copies) or 'none'}."
    )
    chart = {name: (list(found[name]), list(found[name].values())) for name in names}
    return [Figure(loss_by_noise_level(chart), caption)]


def _changes(model: TrainedModel) -> list[str]:
    """One sentence for each resumption that changed the learning rate."""
    log = RunFolder(model.folder).metrics_file
    found: list[str] = []
    for line in read_metrics(log) if log.exists() else []:
        match line:
            case {"step": int(step), "event": "changed", "settings": str(settings)}:
                rates = [one for one in settings.split("; ") if one.startswith(RATES)]
                if rates:
                    found.append(
                        f"The learning rate was changed when the run was resumed ({'; '.join(rates)}): for the same "
                        f"weights, train to step {step} with the earlier one, then resume with the later one."
                    )
            case _:
                pass
    return found


def _of_data(model: TrainedModel, notes: Sequence[str]) -> str:
    """What was done with the data and left out of them, in a paragraph; nothing where there was nothing to say."""
    file = RunFolder(model.folder).skipped_file
    skipped = file.read_text("utf-8").splitlines() if file.exists() else []
    found = [*notes, *([f"{skipped[0]} {few([line.strip() for line in skipped[1:]])}"] if skipped else [])]
    return f"The data: {'; '.join(found)}." if found else ""


def how_it_was_made(
    model: TrainedModel,
    train: Dataset,
    held_out: Dataset,
    *,
    made: str,
    shown: int,
    seed: int,
    of_classes: int | None = None,
) -> Section:
    """The data, the samples, the versions, the configuration, and the commands that reproduce the run.

    ``of_classes``: how many samples have classes, as frequent as in the data; `evaluate` makes them.
    """
    samples = sampled(model, shown, seed) if of_classes is None else evaluated(model, of_classes, seed)
    rows = [(name, value) for name, value, _ in describe(model.config)]
    versions = (
        f"sumi {__version__}, torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}"
    )
    return Section(
        "How to reproduce it",
        f"{len(train):,} training {model.items.name}, {len(held_out):,} held out. Samples: {made}, seed {seed}. "
        f"{versions}. {' '.join(_changes(model))}\n\n{_of_data(model, train.notes)}",
        tables=[Table(("field", "value"), rows, "Configuration (config.json)", folded=True)],
        code=f"{trained_again(model)}\n{samples}",
    )
