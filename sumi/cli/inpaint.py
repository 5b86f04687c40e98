"""``sumi inpaint RUN IMAGE --mask MASK``, and of a model of symbols ``sumi inpaint RUN PATTERN``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sumi.cli.candidates import given_picture, prepared, write
from sumi.cli.options import add_restoration, add_run, add_values
from sumi.cli.sample import read_value
from sumi.cli.sampling import sample_options
from sumi.cli.symbols import infill
from sumi.cli.terminal import counting, refuse
from sumi.errors import InputError

if TYPE_CHECKING:
    from sumi.models.diffusion.options import SampleOptions


def add_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument(
        "image",
        metavar="IMAGE|PATTERN",
        help='an image file, fitted to the model\'s size; or text with ? for unknown symbols, such as "CC?O", and * at '
        "the end for any more",
    )
    parser.add_argument(
        "--mask",
        metavar="MASK",
        help="an image file as large as it: white is painted, black is kept; of a PATTERN the character for an unknown "
        "symbol (default: ?)",
    )
    parser.add_argument("--solver", metavar="NAME", help="of a PATTERN: ancestral or confidence")
    add_values(parser, "of a PATTERN: a number that belongs to it, such as logp=1.5")
    add_restoration(parser)


def run(options: argparse.Namespace) -> None:
    from sumi.models.diffusion.pictures import read_mask_of
    from sumi.models.diffusion.restoration import method_for
    from sumi.models.model import GenerativeModel
    from sumi.models.run import load
    from sumi.models.symbols.model import SymbolModel
    from sumi.operators.linear import Mask

    match load(options.run, GenerativeModel, checkpoint=options.checkpoint, device=options.device):
        case SymbolModel() as of_symbols:
            infill(of_symbols, options, dict(read_value(text) for text in options.values))
            return
        case other:
            refuse(other, options, "solver", "values")
    if options.mask is None:
        raise InputError("mask: is missing; give an image file, white where to paint")
    model = prepared(options)
    found = given_picture(model, options, options.image)
    image, mask = found.x, read_mask_of(options.mask, found, model.config.data.fitting(model.images.shape))
    method = method_for(model, Mask(mask), options.method)
    with counting("painting") as painting:
        given: SampleOptions = {**sample_options(model, options), "progress": painting}
        made = model.inpaint(image, mask, options.n, method=options.method, **given)
    write(model, options, "inpaint", image, made, {"mask": options.mask}, method, mask=mask)
