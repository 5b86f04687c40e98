"""``sumi vary RUN IMAGE --strength S``."""

import argparse

from sumi.cli.restore import prepared, write
from sumi.cli.terminal import counting
from sumi.restore_files import read_image


def run(options: argparse.Namespace) -> None:
    model = prepared(options)
    image = read_image(options.image, model.images.shape)
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
            progress=varying,
        )
    method = model.method(options.steps, options.solver, tuned=options.strength == 1 and options.label is None)
    name, more = f"vary{options.strength:g}", {"strength": options.strength}
    write(model, options, name, image, made, more, method.name, place="varied", mean=False)
