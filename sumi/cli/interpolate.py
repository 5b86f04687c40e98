"""``sumi interpolate RUN A B``."""

import argparse
import hashlib
from pathlib import Path

import torch

from sumi.cli.restore import prepared
from sumi.cli.sample import plain
from sumi.cli.terminal import counting, say
from sumi.data.files import write_between
from sumi.models.diffusion.pictures import BYTES, read_image
from sumi.training.run_folder import RunFolder


def run(options: argparse.Namespace) -> None:
    model = prepared(options)
    shape = model.images.shape
    a, b = read_image(options.a, shape, "A", larger=True), read_image(options.b, shape, "B", larger=True)
    with counting("interpolating") as interpolating:
        made = model.interpolate(
            a,
            b,
            options.n,
            steps=options.steps,
            solver=options.solver,
            label=options.label,
            guidance=options.guidance,
            progress=interpolating,
        )
    ends = torch.stack([a, b])
    steps = model.config.sampling.steps if options.steps is None else options.steps
    given = hashlib.sha256(ends.numpy().tobytes()).hexdigest()
    about: dict[str, object] = {
        "run": str(options.run),
        "checkpoint": model.step,
        "a": options.a,
        "b": options.b,
        "given": given,
        "images": options.n,
        "solver": options.solver,
        "steps": steps,
    }
    name = f"{model.step:08d}-{Path(options.a).stem}-{Path(options.b).stem}-{given[:8]}-{options.n}"
    name += f"-{options.solver}-{steps}"
    if options.label is not None:
        guidance = model.config.sampling.guidance.scale if options.guidance is None else options.guidance
        about |= {"label": options.label, "guidance": guidance}
        name += f"-{plain(options.label)}-guidance{guidance:g}"
    folder = Path(options.out) if options.out else RunFolder(options.run).interpolated / name
    picture = write_between(folder, BYTES.to_bytes(ends), BYTES.to_bytes(made), about)
    say(f"wrote {len(made)} images and {picture} ({options.solver}, {steps} steps)")
