"""Figures of systems other than diffusion models: samples and held-out items, or a classifier's accuracy by noise."""

from pathlib import Path
from typing import Any

import torch

from sumi.boundary.progress import Count, counting_one
from sumi.data.dataset import Dataset, evenly_spaced
from sumi.figures.canvas import GREY, INK, SavedFigure, canvas, name_lines, save
from sumi.figures.files import write_picture
from sumi.models.baselines.likelihood import likelihood_of_baseline
from sumi.models.baselines.model import BaselineModel
from sumi.models.classifier import ClassifierModel
from sumi.models.model import GenerativeModel

SHOWN = 25
MEASURED, DRAWS = 64, 16
"""Held-out images for the likelihood, and a VAE's importance samples for each; `sumi nll` uses more."""


def draw_samples(
    model: GenerativeModel[Any, Any], held_out: Dataset, folder: Path, count: Count | None, data: str | None = None
) -> SavedFigure:
    """Samples of the model and held-out items, a figure each; and the held-out likelihood, if the model has one.

    ``data``: the source of ``held_out``; None: the run's own.
    """
    made = model.sample(SHOWN, progress=counting_one(count, "sampling"))
    file = folder / "samples.png"
    write_picture(file, model.picture(made, "samples"))
    write_picture(folder / "held_out.png", model.picture(evenly_spaced(held_out, SHOWN), "held out"))
    says = f"{SHOWN} samples by {model.how_sampled()}; compare held_out.png"
    match model:
        case BaselineModel(baseline=baseline) if baseline.likelihood != "none" and len(held_out) > 1:
            draws = DRAWS if baseline.likelihood == "weights" else None
            found = likelihood_of_baseline(model, data=data, n=MEASURED, draws=draws, progress=count)
            name, figure = found.figures[-1]
            says += f"; -log p of {found.items} held-out items: {figure} {found.unit} ({name})"
    return SavedFigure(file, says)


@torch.no_grad()
def draw_accuracy(model: ClassifierModel, held_out: Dataset, folder: Path, count: Count | None) -> SavedFigure:
    """Held-out accuracy of a classifier of noisy images over log-SNR."""
    found = model.accuracy_by_noise(held_out, progress=counting_one(count, "classifying"))
    figure = canvas(6.5, 3.4)
    axes = figure.subplots()
    axes.fill_between(found.log_snr, [a.low for a in found.accuracy], [a.high for a in found.accuracy], color=GREY)
    axes.plot(found.log_snr, [a.value for a in found.accuracy], color=INK, marker=".", label="classifier")
    axes.axhline(found.guess, color=INK, linestyle=":", label="most frequent class")
    axes.set_xlabel("log-SNR   (noise ← → data)")
    axes.set_ylabel("accuracy on held-out images")
    axes.set_ylim(0, 1.02)
    axes.grid(alpha=0.25)
    name_lines(axes)
    first, last = found.accuracy[0].value, found.accuracy[-1].value
    says = (
        f"accuracy on {found.images} held-out images: {100 * last:.1f} % at log-SNR {found.log_snr[-1]:g}, "
        f"{100 * first:.1f} % at {found.log_snr[0]:g}; guessing: {100 * found.guess:.1f} %"
    )
    return save(figure, folder / "accuracy.png", says)
