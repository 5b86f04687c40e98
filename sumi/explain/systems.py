"""What systems that are no diffusion models have learned: samples and real items, or a classifier's sight in noise."""

from pathlib import Path
from typing import Any

import torch

from sumi.data.dataset import Dataset, evenly_spaced
from sumi.errors import writing
from sumi.figures.canvas import GREY, INK, SavedFigure, canvas, save
from sumi.models.baselines.gan import GAN
from sumi.models.baselines.likelihood import likelihood_of_baseline
from sumi.models.baselines.model import BaselineModel
from sumi.models.baselines.vae import VAE
from sumi.models.classifier import ClassifierModel
from sumi.models.model import GenerativeModel
from sumi.progress import Count, counting_one

SHOWN = 25
MEASURED, DRAWS = 64, 16
"""Held-out images whose likelihood is taken, and draws of a VAE's latent for each; `sumi nll` takes more."""


def draw_samples(
    model: GenerativeModel[Any, Any], held_out: Dataset, folder: Path, count: Count | None, data: str | None = None
) -> SavedFigure:
    """Samples of the model, and held-out items in a figure of the same kind; says how likely held-out ones are.

    ``data``: where ``held_out`` comes from, None: the run's own.
    """
    made = model.sample(SHOWN, progress=counting_one(count, "sampling"))
    file = folder / "samples.png"
    with writing(file):
        folder.mkdir(parents=True, exist_ok=True)
        file.write_bytes(model.picture(made, "samples"))
        (folder / "held_out.png").write_bytes(model.picture(evenly_spaced(held_out, SHOWN), "held out"))
    says = f"{SHOWN} samples by {model.how_sampled()}; compare held_out.png"
    if isinstance(model, BaselineModel) and not isinstance(model.baseline, GAN) and len(held_out) > 1:
        draws = DRAWS if isinstance(model.baseline, VAE) else None
        found = likelihood_of_baseline(model, data=data, n=MEASURED, draws=draws, progress=count)
        name, figure = found.figures[-1]
        says += f"; {found.items} held-out items take {figure} {found.unit} ({name})"
    return SavedFigure(file, says)


@torch.no_grad()
def draw_accuracy(model: ClassifierModel, held_out: Dataset, folder: Path, count: Count | None) -> SavedFigure:
    """The share of held-out images that a classifier of noisy images recognises, over log-SNR."""
    found = model.accuracy_by_noise(held_out, progress=counting_one(count, "classifying"))
    figure = canvas(6.5, 3.4)
    axes = figure.subplots()
    axes.fill_between(found.log_snr, [a.low for a in found.accuracy], [a.high for a in found.accuracy], color=GREY)
    axes.plot(found.log_snr, [a.value for a in found.accuracy], color=INK, marker=".", label="recognised")
    axes.axhline(found.guess, color=INK, linestyle=":", label="by always saying the commonest class")
    axes.set_xlabel("log-SNR   (noise on the left, data on the right)")
    axes.set_ylabel("share of held-out images")
    axes.set_ylim(0, 1.02)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    first, last = found.accuracy[0].value, found.accuracy[-1].value
    says = (
        f"of {found.images} held-out images {100 * last:.1f} % are recognised at log-SNR {found.log_snr[-1]:g} and "
        f"{100 * first:.1f} % at {found.log_snr[0]:g}; guessing has {100 * found.guess:.1f} %"
    )
    return save(figure, folder / "accuracy.png", says)
