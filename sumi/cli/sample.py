"""``sumi sample RUN``."""

import argparse
from pathlib import Path

from sumi.cli.terminal import counting, say
from sumi.image_files import write_images
from sumi.model import load
from sumi.trajectory import trajectory, write_trajectory


def run(options: argparse.Namespace) -> None:
    model = load(options.run, checkpoint=options.checkpoint, device=options.device)
    with counting("sampling") as sampling:
        images = model.sample(
            options.n,
            steps=options.steps,
            solver=options.solver,
            eta=options.eta,
            seed=options.seed,
            start=options.start,
            batch_size=options.batch_size,
            progress=sampling,
        )
    method = model.method(options.steps, options.solver, options.eta)
    name = f"{model.step:08d}-{method.name}-{method.steps}-seed{options.seed}"
    name += "" if options.eta is None else f"-eta{options.eta:g}"
    folder = Path(options.out) if options.out else Path(options.run) / "samples" / name
    about = {
        "run": str(options.run),
        "checkpoint": model.step,
        "seed": options.seed,
        "solver": repr(method.solver),
        "steps": method.steps,
    }
    grid = write_images(folder, model.pixels.to_bytes(images), start=options.start, about=about)
    say(f"wrote {options.n} image{'s' if options.n != 1 else ''} and {grid} ({method.name}, {method.steps} steps)")
    if options.trajectory:
        way = trajectory(
            model, options.start, steps=options.steps, solver=options.solver, eta=options.eta, seed=options.seed
        )
        strip, animation = write_trajectory(model, way, folder)
        say(f"wrote {strip} and {animation}")
