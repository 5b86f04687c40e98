"""``sumi vary RUN IMAGE --strength S``."""

import argparse

from sumi.cli.guidance import steered
from sumi.cli.restore import prepared, write
from sumi.cli.terminal import counting
from sumi.models.diffusion.pictures import read_image
from sumi.training.run_folder import RunPaths


def run(options: argparse.Namespace) -> None:
    model = prepared(options)
    image, steering = read_image(options.image, model.images.shape), steered(model, options)
    with counting("varying") as varying:
        made = model.vary(
            image,
            options.strength,
            n=options.n,
            steps=options.steps,
            solver=options.solver,
            seed=options.seed,
            label=options.label,
            guidance=options.guidance,
            steering=steering,
            progress=varying,
        )
    plain = options.strength == 1 and options.label is None and steering is None
    method = model.method(options.steps, options.solver, tuned=plain)
    name, more = f"vary{options.strength:g}", {"strength": options.strength}
    write(model, options, name, image, made, more, method.name, place=RunPaths(options.run).varied, mean=False)
