"""``sumi reconstruct RUN IMAGE…``."""

from __future__ import annotations

import argparse
from pathlib import Path

from sumi.cli.options import add_checkpoint, add_run
from sumi.cli.terminal import say


def add_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files of any size")
    parser.add_argument("--out", metavar="DIR", help="default: reconstructed/ in the run")
    add_checkpoint(parser)


def run(options: argparse.Namespace) -> None:
    from sumi.errors import InputError
    from sumi.metrics.psnr import psnr
    from sumi.models.autoencoder import AutoencoderModel
    from sumi.models.diffusion.model import DiffusionModel
    from sumi.models.diffusion.parts import AUTOENCODER
    from sumi.models.diffusion.pictures import read_image, write_reconstruction
    from sumi.models.model import TrainedModel
    from sumi.models.run import load
    from sumi.training.run_folder import RunFolder

    by_name: dict[str, str] = {}
    for path in options.images:
        if (other := by_name.setdefault(Path(path).stem, path)) != path:
            raise InputError(f"images: {other} and {path} would be written under one name; reconstruct them apart")
    part = RunFolder(options.run).part(AUTOENCODER)  # of a model of latents
    run = part.path if part.config_file.exists() else options.run
    if run == options.run:
        match load(run, TrainedModel, device="cpu"):
            case DiffusionModel() as latent:
                _ = latent.space  # which says so where the part is gone
            case _:
                pass
    model = load(run, AutoencoderModel, checkpoint=options.checkpoint, device=options.device)
    factor = model.autoencoder.factor
    shape = (model.images.channels, factor, factor)
    images = [read_image(path, shape, larger=True).x for path in options.images]  # all are read before one is written
    folder = Path(options.out) if options.out else RunFolder(options.run).reconstructed
    about = {"run": str(options.run), "checkpoint": model.step}
    for path, image in zip(options.images, images, strict=True):
        made = model.reconstruct(image[None])
        file = write_reconstruction(folder, image, made[0], {**about, "image": path})
        say(f"{path}: PSNR {float(psnr(made, image[None])):.1f} dB, wrote {file}")
