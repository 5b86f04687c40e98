"""``sumi upscale RUN IMAGE --factor F``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sumi.cli.candidates import given_picture, prepared, write
from sumi.cli.options import add_restoration, add_run
from sumi.cli.sampling import sample_options
from sumi.cli.terminal import counting
from sumi.errors import InputError

if TYPE_CHECKING:
    from sumi.models.diffusion.options import SampleOptions


def add_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument(
        "image", metavar="IMAGE", help="an image file; it is fitted to the model's size divided by the factor"
    )
    parser.add_argument(
        "--factor", type=int, metavar="F", help="times as large (default: what the run was trained for, else 2)"
    )
    add_restoration(parser)


def run(options: argparse.Namespace) -> None:
    from sumi.models.diffusion.restoration import method_for, usual_factor
    from sumi.operators.separable import box

    model = prepared(options)
    channels, height, width = model.images.shape
    factor = usual_factor(model) if options.factor is None else options.factor
    if factor < 2 or height % factor or width % factor:
        raise InputError(f"--factor {factor}: is none of {height} × {width}, the model's size; try 2")
    image = given_picture(model, options, options.image, shape=(channels, height // factor, width // factor)).x
    operator = box(factor * image.shape[1], factor * image.shape[2], factor)
    method = method_for(model, operator, options.method)
    with counting("upscaling") as upscaling:
        given: SampleOptions = {**sample_options(model, options), "progress": upscaling}
        made = model.upscale(image, factor, options.n, method=options.method, **given)
    write(model, options, f"upscale-{factor}", image, made, {"factor": factor}, method)
