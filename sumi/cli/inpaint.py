"""``sumi inpaint RUN IMAGE --mask MASK``."""

import argparse

from sumi.cli.guidance import sample_options
from sumi.cli.restore import prepared, write
from sumi.cli.terminal import counting
from sumi.models.diffusion.options import SampleOptions
from sumi.models.diffusion.pictures import read_image, read_mask
from sumi.models.diffusion.restoration import method_for
from sumi.operators.linear import Mask


def run(options: argparse.Namespace) -> None:
    model = prepared(options)
    shape = model.images.shape
    image = read_image(options.image, shape, larger=True)
    mask = read_mask(options.mask, (image.shape[1], image.shape[2]))
    method = method_for(model, Mask(mask), options.method)
    with counting("painting") as painting:
        given: SampleOptions = {**sample_options(model, options), "progress": painting}
        made = model.inpaint(image, mask, options.n, method=options.method, **given)
    write(model, options, "inpaint", image, made, {"mask": options.mask}, method, mask=mask)
