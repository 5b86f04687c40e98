"""``sumi restore RUN IMAGE --operator NAME``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sumi.cli.candidates import given_picture, prepared, sound_of, write
from sumi.cli.options import add_restoration, add_run
from sumi.cli.sampling import sample_options
from sumi.cli.sound import restore_clip
from sumi.cli.terminal import counting
from sumi.errors import InputError

if TYPE_CHECKING:
    from sumi.models.diffusion.options import SampleOptions


def add_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("image", metavar="IMAGE", help="an image file: what is left of the picture; or a WAV file")
    parser.add_argument(
        "--operator",
        required=True,
        metavar="NAME",
        help="what was done to it: blur:STD, motion:LENGTH:ANGLE, grey, box:FACTOR, bicubic:FACTOR or jpeg:QUALITY; "
        "numbers may be left out, and box:2+grey means one after the other; to sound gap:START:SECONDS, band:HERTZ or "
        "noise",
    )
    parser.add_argument(
        "--noise",
        type=float,
        metavar="S",
        help="its noise, of 255 (default: that of rounding for blurs, else 0); of sound, of 1",
    )
    add_restoration(parser)


def run(options: argparse.Namespace) -> None:
    from sumi.models.diffusion.pictures import find_operator
    from sumi.models.diffusion.restoration import method_for

    model = prepared(options, sound=True)
    if (spec := sound_of(model)) is not None:
        restore_clip(model, spec, options)
        return
    channels, height, width = model.images.shape
    _, shape, _ = find_operator(options.operator, model.images.shape)
    image = given_picture(model, options, options.image, shape=shape).x
    size = image.shape[1] * (height // shape[1]), image.shape[2] * (width // shape[2])
    operator, _, noise = find_operator(options.operator, (channels, *size))
    if options.noise is not None:
        if not 0 <= options.noise <= 255:
            raise InputError(f"noise: {options.noise:g} is out of range; give 0 to 255")
        noise = options.noise * 2 / 255
    method = method_for(model, operator, options.method, noise)
    with counting("restoring") as restoring:
        given: SampleOptions = {**sample_options(model, options), "size": size, "progress": restoring}
        made = model.restore(image, operator, noise, options.n, method=options.method, **given)
    name = "restore-" + options.operator.replace(":", "-") + f"-noise{noise * 255 / 2:.2g}"
    write(model, options, name, image, made, {"operator": options.operator, "noise": noise}, method)
