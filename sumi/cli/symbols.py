"""What `sumi sample` and `sumi inpaint` do with a model of symbols: lines of text."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sumi.boundary.files import refuse_folder, short_name
from sumi.cli.sampling import BESIDES, OF_SYMBOLS, digest_of, given_of, plain, suffix_of
from sumi.cli.terminal import counting, refuse, say
from sumi.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from sumi.models.symbols.model import SymbolModel, SymbolOptions

CLASSIFIED: Final = ("classifier", "classifier_scale")
OTHERS: Final = tuple(name for name in BESIDES if name not in CLASSIFIED)
"""Options of guidance that symbols lack."""


def sample_symbols(model: SymbolModel, options: argparse.Namespace, values: dict[str, float]) -> None:
    """Samples, and with --trajectory how they emerge."""
    from sumi.data.files import Writing
    from sumi.models.model import read_indices
    from sumi.models.symbols.trajectory import trajectory
    from sumi.training.run_folder import RunFolder

    refuse(model, options, "eta", "prompt", "prompts", "size", "augmentation", "scaffold", "shard", "format", *OTHERS)
    read_indices(options.n, options.start, options.seed, options.batch_size)
    given, about, named = _asked(model, options, values)
    indices = range(options.start, options.start + options.n)
    name = f"{model.step:08d}{named}-{indices.start}to{indices.stop - 1}"
    folder = Path(options.out) if options.out else RunFolder(options.run).samples / short_name(name)

    def make(batch: range) -> Tensor:
        whole: SymbolOptions = {**given, "start": batch.start, "batch_size": len(batch), "progress": False}
        return model.sample(len(batch), **whole)

    with counting("sampling") as progress:
        title = f"{options.n} of seed {options.seed}"
        how = Writing(batch_size=options.batch_size, title=title, about=about, progress=progress)
        wrote = model.items.write(folder, make, indices, how)
    say(f"wrote {wrote} ({about['solver']}, {about['steps']} steps)")
    if options.trajectory:
        say("wrote {} and {}".format(*trajectory(model, folder, options.n, {**given, "start": options.start})))


def infill(model: SymbolModel, options: argparse.Namespace, values: dict[str, float]) -> None:
    """Sequences that agree with a pattern; the first are printed."""
    from sumi.data.files import Writing
    from sumi.training.run_folder import RunFolder

    refuse(model, options, "method", "prompt", *OTHERS, fit=True)
    given, about, named = _asked(model, options, values)
    unknown = options.mask or "?"
    about |= {"pattern": options.image, "unknown": unknown}
    name = f"{model.step:08d}-inpaint-{plain(options.image)}{named}-{options.n}"
    folder = Path(options.out) if options.out else RunFolder(options.run).restored / short_name(name)
    refuse_folder(folder)

    def make(batch: range) -> Tensor:
        whole: SymbolOptions = {**given, "start": batch.start, "batch_size": len(batch), "progress": False}
        return model.infill(options.image, len(batch), unknown=unknown, **whole)

    with counting("filling in") as progress:
        how = Writing(batch_size=64, title=options.image, about=about, progress=progress)
        wrote = model.items.write(folder, make, range(options.n), how)
    for line in (folder / "samples.txt").read_text("utf-8").splitlines()[:8]:
        say(line)
    say(f"wrote {wrote} ({about['solver']}, {about['steps']} steps)")


def _asked(
    model: SymbolModel, options: argparse.Namespace, values: dict[str, float]
) -> tuple[SymbolOptions, dict[str, object], str]:
    """The options of `SymbolModel.sample`, what files say of them, and what folders are named by. Raises InputError."""
    given: SymbolOptions = {
        "seed": options.seed,
        "label": options.label,
        "condition": {"values": values} if values else None,
        "guidance": options.guidance,
        "solver": options.solver,
        "steps": options.steps,
        "temperature": getattr(options, "temperature", None),  # of `sumi sample` alone
        "corrections": getattr(options, "corrections", None),
        "classifier": options.classifier,
        "classifier_scale": options.classifier_scale,
    }
    if options.guidance is not None and not model.config.conditioning:
        raise InputError("guidance: is of models with a condition, and this has none; leave it out")
    sampling = model.sampling(given)
    condition: dict[str, object] = {**({} if options.label is None else {"label": options.label}), **values}
    about: dict[str, object] = {
        "run": str(options.run),
        "checkpoint": model.step,
        "seed": options.seed,
        "digest": digest_of(model, options),
        "solver": sampling.solver,
        "steps": sampling.steps,
        "temperature": sampling.temperature,
        "corrections": sampling.corrections,
        **condition,
        **({"guidance": sampling.guidance} if condition and model.config.conditioning else {}),
        **given_of(options, CLASSIFIED),
    }
    name = f"-{sampling.solver}-{sampling.steps}-seed{options.seed}"
    name += "".join(f"-{plain(f'{key}{value}')}" for key, value in condition.items())
    name += "" if options.guidance is None else f"-guidance{options.guidance:g}"
    name += suffix_of(options, (*OF_SYMBOLS, *CLASSIFIED))
    return given, about, name
