"""``sumi vary RUN IMAGE --strength S``."""

import argparse

from sumi.cli.guidance import sample_options, sampling_options
from sumi.cli.restore import prepared, write
from sumi.cli.terminal import counting
from sumi.models.diffusion.options import SampleOptions
from sumi.models.diffusion.pictures import read_image
from sumi.sampling.sdedit import rest_of
from sumi.training.run_folder import RunFolder


def run(options: argparse.Namespace) -> None:
    model = prepared(options)
    image, settings = read_image(options.image, model.images.shape, larger=True), sampling_options(model, options)
    with counting("varying") as varying:
        given: SampleOptions = {**sample_options(model, options), "progress": varying}
        made = model.vary(image, options.strength, options.n, **given)
    own = image.shape == model.images.shape
    method = model.method(tuned=options.strength == 1 and options.label is None and own, **settings)
    steps = len(rest_of(method.times, float(model.at_strength(options.strength).t))) - 1 if options.strength else 0
    name, more = f"vary{options.strength:g}", {"strength": options.strength}
    place = RunFolder(options.run).varied
    write(model, options, name, image, made, more, method.name, steps, place=place, mean=False)
