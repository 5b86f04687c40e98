"""``sumi upscale RUN IMAGE --factor F``."""

import argparse

from sumi.cli.guidance import sample_options
from sumi.cli.restore import prepared, write
from sumi.cli.terminal import counting
from sumi.errors import InputError
from sumi.models.diffusion.options import SampleOptions
from sumi.models.diffusion.pictures import read_image
from sumi.models.diffusion.restoration import method_for, usual_factor
from sumi.operators.separable import box


def run(options: argparse.Namespace) -> None:
    model = prepared(options)
    channels, height, width = model.images.shape
    factor = usual_factor(model) if options.factor is None else options.factor
    if factor < 2 or height % factor or width % factor:
        raise InputError(f"--factor {factor}: is none of {height} × {width}, the model's size; try 2")
    image = read_image(options.image, (channels, height // factor, width // factor), larger=True)
    operator = box(factor * image.shape[1], factor * image.shape[2], factor)
    method = method_for(model, operator, options.method)
    with counting("upscaling") as upscaling:
        given: SampleOptions = {**sample_options(model, options), "progress": upscaling}
        made = model.upscale(image, factor, options.n, method=options.method, **given)
    write(model, options, f"upscale-{factor}", image, made, {"factor": factor}, method)
