"""``sumi sample RUN``."""

import argparse
from pathlib import Path

from sumi.cli.terminal import counting, say
from sumi.evaluation.vector_pictures import picture
from sumi.kinds import load
from sumi.model import DiffusionModel
from sumi.run import VectorSpec
from sumi.sample_files import write_images, write_vectors
from sumi.trajectory import trajectory, write_trajectory


def run(options: argparse.Namespace) -> None:
    model = load(options.run, DiffusionModel, checkpoint=options.checkpoint, device=options.device)
    with counting("sampling") as sampling:
        made = model.sample(
            options.n,
            steps=options.steps,
            solver=options.solver,
            eta=options.eta,
            seed=options.seed,
            start=options.start,
            label=options.label,
            guidance=options.guidance,
            batch_size=options.batch_size,
            progress=sampling,
        )
    method = model.method(options.steps, options.solver, options.eta, tuned=options.label is None)
    name = f"{model.step:08d}-{method.name}-{method.steps}-seed{options.seed}"
    name += "" if options.eta is None else f"-eta{options.eta:g}"
    if isinstance(model.items, VectorSpec):  # one file holds them all
        name += f"-{options.start}to{options.start + options.n - 1}"
    name += "" if options.label is None else f"-{plain(options.label)}"
    name += "" if options.guidance is None else f"-guidance{options.guidance:g}"
    folder = Path(options.out) if options.out else Path(options.run) / "samples" / name
    about = {
        "run": str(options.run),
        "checkpoint": model.step,
        "seed": options.seed,
        "solver": repr(method.solver),
        "steps": method.steps,
    }
    if options.label is not None:
        guidance = model.config.sampling.guidance if options.guidance is None else options.guidance
        about |= {"label": options.label, "guidance": guidance}
    how = f"({method.name}, {method.steps} steps)"
    if isinstance(model.items, VectorSpec):
        title = f"{options.n} of seed {options.seed}"
        drawn = picture([(title, model.items.as_saved(made))], model.items.levels)
        about |= {"start": options.start, "count": options.n}
        shown = write_vectors(folder, model.items.to_units(made), drawn, about)
        say(f"wrote {folder / 'vectors.npy'} and {shown} {how}")
    else:
        grid = write_images(folder, model.pixels.to_bytes(made), start=options.start, about=about)
        say(f"wrote {options.n} image{'s' if options.n != 1 else ''} and {grid} {how}")
    if options.trajectory:
        way = trajectory(
            model,
            options.start,
            n=options.n if isinstance(model.items, VectorSpec) else None,
            steps=options.steps,
            solver=options.solver,
            eta=options.eta,
            seed=options.seed,
            label=options.label,
            guidance=options.guidance,
        )
        strip, animation = write_trajectory(model, way, folder)
        say(f"wrote {strip} and {animation}")


def plain(label: str) -> str:
    """A label as part of a folder's name."""
    return "".join(c if c.isalnum() else "-" for c in label)
