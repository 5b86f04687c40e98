"""``sumi sample RUN`` of a model of molecules."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sumi.boundary.files import short_name
from sumi.cli.sampling import BESIDES, OF_SYMBOLS, digest_of, plain
from sumi.cli.terminal import counting, refuse, say
from sumi.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from sumi.models.molecules.model import MoleculeModel


def sample_molecules(model: MoleculeModel, options: argparse.Namespace, values: dict[str, float]) -> None:
    """Write molecules.xyz and a picture. Raises InputError for options that molecules do not have."""
    from sumi.data.files import Writing
    from sumi.training.run_folder import RunFolder

    others = ("label", "prompt", "prompts", "trajectory", "augmentation", "format", "shard")
    refuse(model, options, *others, *OF_SYMBOLS, *BESIDES)
    atoms = None if options.size is None else _atoms(options.size)
    given = {"steps": options.steps, "solver": options.solver, "eta": options.eta, "guidance": options.guidance}
    scaffold = None if options.scaffold is None else Path(options.scaffold)
    method = model.method(**given)
    name = f"{model.step:08d}-{method.name}-{method.steps}-seed{options.seed}"
    name += f"-{options.start}to{options.start + options.n - 1}"
    name += "" if atoms is None else f"-{atoms}atoms"
    name += "" if scaffold is None else f"-{plain(scaffold.stem)}"
    name += "".join(f"-{plain(key)}{value:g}" for key, value in values.items())
    name += "" if options.guidance is None else f"-guidance{options.guidance:g}"
    folder = Path(options.out) if options.out else RunFolder(options.run).samples / short_name(name)
    known = None if scaffold is None else model.read_scaffold(scaffold)
    about = {
        "run": str(options.run),
        "checkpoint": model.step,
        "seed": options.seed,
        "digest": digest_of(model, options, method.times.tolist(), atoms, known),
        "solver": repr(method.solver),
        "steps": method.steps,
        **values,
        **({} if options.guidance is None else {"guidance": options.guidance}),
    }

    def make(batch: range) -> Tensor:
        return model.sample(
            len(batch),
            seed=options.seed,
            start=batch.start,
            atoms=atoms,
            scaffold=known,
            condition={"values": values} if values else None,
            batch_size=options.batch_size,
            progress=False,
            **given,
        )

    with counting("sampling") as progress:
        how = Writing(options.batch_size, f"{options.n} of seed {options.seed}", about, progress=progress)
        wrote = model.items.write(folder, make, range(options.start, options.start + options.n), how)
    say(f"wrote {wrote} ({method.name}, {method.steps} steps)")


def _atoms(text: str) -> int:
    """The number of atoms. Raises InputError."""
    if not text.isdecimal():
        raise InputError(f"--size {text}: is no number of atoms; write 12")
    return int(text)
