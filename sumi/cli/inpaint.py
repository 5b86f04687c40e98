"""``sumi inpaint RUN IMAGE --mask MASK``."""

import argparse
from dataclasses import replace

from sumi.cli.restore import how, prepared, write
from sumi.cli.terminal import counting
from sumi.models.diffusion.pictures import read_image, read_mask
from sumi.models.diffusion.restoration import inpaint, method_for
from sumi.operators.linear import Mask


def run(options: argparse.Namespace) -> None:
    model = prepared(options)
    shape = model.images.shape
    image = read_image(options.image, shape, larger=True)
    mask = read_mask(options.mask, (image.shape[1], image.shape[2]))
    asked = how(model, options)
    method = method_for(model, Mask(mask), asked)
    with counting("painting") as painting:
        made = inpaint(model, image, mask, replace(asked, progress=painting))
    write(model, options, "inpaint", image, made, {"mask": options.mask}, method, mask=mask)
