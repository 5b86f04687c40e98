"""``sumi upscale RUN IMAGE --factor F``."""

import argparse
from dataclasses import replace

from sumi.cli.restore import how, prepared, write
from sumi.cli.terminal import counting
from sumi.errors import InputError
from sumi.models.diffusion.pictures import read_image
from sumi.models.diffusion.restoration import method_for, upscale, usual_factor
from sumi.operators.separable import box


def run(options: argparse.Namespace) -> None:
    model = prepared(options)
    channels, height, width = model.images.shape
    factor = usual_factor(model) if options.factor is None else options.factor
    if factor < 2 or height % factor or width % factor:
        raise InputError(f"--factor {factor}: is none of {height} × {width}, the model's size; try 2")
    image = read_image(options.image, (channels, height // factor, width // factor), larger=True)
    operator = box(factor * image.shape[1], factor * image.shape[2], factor)
    asked = how(model, options)
    method = method_for(model, operator, asked)
    with counting("upscaling") as upscaling:
        made = upscale(model, image, factor, replace(asked, progress=upscaling))
    write(model, options, f"upscale-{factor}", image, made, {"factor": factor}, method)
