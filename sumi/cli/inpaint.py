"""``sumi inpaint RUN IMAGE --mask MASK``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sumi.cli.candidates import prepared, write
from sumi.cli.options import add_restoration, add_run
from sumi.cli.sampling import sample_options
from sumi.cli.terminal import counting

if TYPE_CHECKING:
    from sumi.models.diffusion.options import SampleOptions


def add_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("image", metavar="IMAGE", help="an image file of the model's size or larger")
    parser.add_argument(
        "--mask", required=True, metavar="MASK", help="an image file as large as it: white is painted, black is kept"
    )
    add_restoration(parser)


def run(options: argparse.Namespace) -> None:
    from sumi.models.diffusion.pictures import read_image, read_mask
    from sumi.models.diffusion.restoration import method_for
    from sumi.operators.linear import Mask

    model = prepared(options)
    background = model.config.data.background
    shape = model.images.shape
    image = read_image(options.image, shape, larger=True, background=background)
    mask = read_mask(options.mask, (image.shape[1], image.shape[2]))
    method = method_for(model, Mask(mask), options.method)
    with counting("painting") as painting:
        given: SampleOptions = {**sample_options(model, options), "progress": painting}
        made = model.inpaint(image, mask, options.n, method=options.method, **given)
    write(model, options, "inpaint", image, made, {"mask": options.mask}, method, mask=mask)
