"""``sumi inpaint RUN IMAGE --mask MASK``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sumi.cli.candidates import given_picture, prepared, write
from sumi.cli.options import add_restoration, add_run
from sumi.cli.sampling import sample_options
from sumi.cli.terminal import counting

if TYPE_CHECKING:
    from sumi.models.diffusion.options import SampleOptions


def add_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("image", metavar="IMAGE", help="an image file; it is fitted to the model's size")
    parser.add_argument(
        "--mask", required=True, metavar="MASK", help="an image file as large as it: white is painted, black is kept"
    )
    add_restoration(parser)


def run(options: argparse.Namespace) -> None:
    from sumi.models.diffusion.pictures import read_mask_of
    from sumi.models.diffusion.restoration import method_for
    from sumi.operators.linear import Mask

    model = prepared(options)
    found = given_picture(model, options, options.image)
    image, mask = found.x, read_mask_of(options.mask, found, model.config.data.fitting(model.images.shape))
    method = method_for(model, Mask(mask), options.method)
    with counting("painting") as painting:
        given: SampleOptions = {**sample_options(model, options), "progress": painting}
        made = model.inpaint(image, mask, options.n, method=options.method, **given)
    write(model, options, "inpaint", image, made, {"mask": options.mask}, method, mask=mask)
