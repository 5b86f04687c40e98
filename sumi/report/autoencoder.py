"""Evaluation of an autoencoder: how well it gives held-out pictures back, what its latents are like, and the report."""

import json
from dataclasses import asdict

import torch
from torch import Tensor

from sumi.boundary.files import write_text
from sumi.boundary.progress import counting_one
from sumi.evaluation.autoencoder import AutoencoderEvaluation, evaluate_reconstruction
from sumi.evaluation.images import learn_features
from sumi.evaluation.options import Options
from sumi.evaluation.result import Measured
from sumi.figures.pictures import png, side_by_side
from sumi.metrics.intervals import Estimate
from sumi.models.autoencoder import AutoencoderModel
from sumi.report.made import how_it_was_made, training_curve, write_run_report
from sumi.report.page import Figure, Section, Table, Verdict
from sumi.report.words import percent
from sumi.training.run_folder import RunFolder

SHOWN = 12


def evaluate_autoencoder(model: AutoencoderModel, options: Options) -> Measured:
    """Encode and decode held-out images, and write ``report/`` in the run folder.

    Raises InputError for data that do not fit the model, and for too few of them.
    """
    options.refuse("autoencoders", "split", "n", "features", "sweeps", "guidance", "quick", "judge", "clip")
    dataset = model.load_images(options.data)
    train, held_out = dataset.split(model.config.data.held_out)
    network = learn_features(train, options.progress)
    counted = counting_one(options.progress, "reconstructing")
    found, images, made, psnr = evaluate_reconstruction(model, train, held_out, network, counted)
    words, folder = _verdict(found), RunFolder(model.folder).report
    curve, caption = training_curve(model), "Training loss with its running median."
    if model.config.loss.adversarial:
        caption += " It rises when the discriminator begins, whose own loss and judgement then count, too."
    sections = [
        Section("Held-out images and what is given back", figures=[_pairs(model, images, made, _spread(psnr))]),
        Section("The worst of them", figures=[_pairs(model, images, made, psnr.argsort()[:SHOWN])]),
        Section("How it learned", figures=[Figure(curve, caption)]),
        Section("All figures", tables=[Table(("figure", "value"), _rows(found))]),
        how_it_was_made(model, train, held_out, made=f"{found.images} held-out images", shown=found.images, seed=0),
    ]
    report = folder / "report.html"
    write_text(folder / "autoencoder.json", json.dumps(asdict(found), indent=2) + "\n")
    write_run_report(report, model, words, sections)
    return Measured(found, str(words), report, (report, folder / "autoencoder.json"))


def _spread(psnr: Tensor) -> Tensor:
    """Places from the worst to the best, evenly spaced."""
    return psnr.argsort()[torch.linspace(0, len(psnr) - 1, min(SHOWN, len(psnr))).round().long()]


def _pairs(model: AutoencoderModel, images: Tensor, made: Tensor, chosen: Tensor) -> Figure:
    pixels = model.pixels
    groups = [("held out", pixels.to_bytes(images[chosen])), ("given back", pixels.to_bytes(made[chosen]))]
    return Figure(png(side_by_side(groups, columns=4)), "The same places, left before and right after.", wide=True)


def _verdict(found: AutoencoderEvaluation) -> Verdict:
    excess, part = found.frechet.value - found.real.value, f"{found.compression:.3g}"
    headline = f"It gives held-out images back with {found.psnr.value:.1f} dB, from {part} times fewer numbers."
    points = [
        (
            "Error",
            f"PSNR {_interval(found.psnr)} dB over {found.images:,} images; perceptual {_interval(found.perceptual)}.",
        ),
        (
            "As a set",
            f"Fréchet distance to the training images {_interval(found.frechet)}, of the held-out images themselves "
            f"{_interval(found.real)}: {excess:.2g} more.",
        ),
        (
            "Latents",
            f"standard deviation by channel {', '.join(f'{s:.2f}' for s in found.latent_std)}; fine detail is "
            f"{percent(found.fine)} of their power, of the pixels' {percent(found.fine_pixels)}.",
        ),
    ]
    if found.codes_used is not None:
        points.append(("Codes", f"{percent(found.codes_used)} of {found.codes:,} occur in the images."))
    return Verdict(headline, points)


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.3g} [{estimate.low:.3g}, {estimate.high:.3g}]"


def _rows(found: AutoencoderEvaluation) -> list[tuple[str, str]]:
    return [(name, _shown(value)) for name, value in vars(found).items() if value is not None]


def _shown(value: object) -> str:
    match value:
        case Estimate():
            return _interval(value)
        case tuple():
            return ", ".join(f"{v:.3g}" for v in value)
        case float():
            return f"{value:.4g}"
        case _:
            return str(value)
