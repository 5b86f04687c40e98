"""``sumi restore``, ``sumi vary`` and ``sumi interpolate`` of models of sound."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from sumi.boundary.files import short_name
from sumi.cli.sampling import (
    about_restarts,
    conditioned_name,
    digest_of,
    named_condition,
    plain,
    prompt_of,
    sample_options,
    sampling_options,
    spent,
)
from sumi.cli.terminal import counting, say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from sumi.data.audio import AudioSpec
    from sumi.models.diffusion.model import DiffusionModel
    from sumi.models.diffusion.options import SampleOptions


def restore_clip(model: DiffusionModel, spec: AudioSpec, options: argparse.Namespace) -> None:
    """Candidates as WAV files, what was given as given.wav, and their spectrograms."""
    from sumi.models.diffusion.restoration import method_for
    from sumi.models.diffusion.sound import find_operator, measured, restore_sound
    from sumi.training.run_folder import RunFolder

    operator, noise = find_operator(options.operator, spec), options.noise or 0.0
    x = _read(spec, "image", options.image)
    seen = operator(x[None])[0]
    known = measured(model, x[None].to(model.device), operator, noise)
    with counting("restoring") as restoring:
        given: SampleOptions = {**sample_options(model, options), "progress": restoring}
        made = restore_sound(model, x, options.operator, noise, options.n, options.method, given)
    more = {"operator": options.operator, "noise": noise, "method": options.method or ""}
    name = f"{plain(options.operator)}-noise{noise:g}-{options.method or 'usual'}"
    method = method_for(model, known.operator, options.method, noise)
    title, place = f"{_stem(options.image)}, {options.operator}", RunFolder(options.run).restored
    _write(model, spec, options, (options.image,), seen, made, name, title, more, method, place)


def vary_clip(model: DiffusionModel, spec: AudioSpec, options: argparse.Namespace) -> None:
    """Variations as WAV files, what was given as given.wav, and their spectrograms."""
    from sumi.sampling.sdedit import rest_of
    from sumi.training.run_folder import RunFolder

    x, settings = _read(spec, "image", options.image), sampling_options(model, options)
    with counting("varying") as varying:
        given: SampleOptions = {**sample_options(model, options), "progress": varying}
        made = model.vary(x, options.strength, options.n, **given)
    tuned = options.strength == 1 and not named_condition(options)
    method = model.method(tuned=tuned, **settings)
    solver, t = options.solver or method.name, float(model.at_strength(options.strength).t)
    more = {"strength": options.strength, "method": solver, **about_restarts(model, options, t)}
    walked = len(rest_of(method.times, t)) - 1 if options.strength else 0
    name, title = f"vary{options.strength:g}-{solver}", f"{_stem(options.image)}, varied by {options.strength:g}"
    place = RunFolder(options.run).varied
    _write(model, spec, options, (options.image,), x, made, name, title, more, solver, place, walked)


def interpolate_clips(model: DiffusionModel, spec: AudioSpec, options: argparse.Namespace) -> None:
    """Clips between two as WAV files, those as given.wav one after the other, and their spectrograms."""
    import torch

    from sumi.training.run_folder import RunFolder

    a, b = _read(spec, "a", options.a), _read(spec, "b", options.b)
    with counting("interpolating") as interpolating:
        made = model.interpolate(
            a,
            b,
            options.n,
            corrections=0,
            label=options.label,
            prompt=prompt_of(model, options),
            condition=None,
            progress=interpolating,
            **sampling_options(model, options),
        )
    more, title = {"clips": options.n, "method": options.solver}, f"from {_stem(options.a)} to {_stem(options.b)}"
    place, files = RunFolder(options.run).interpolated, (options.a, options.b)
    both = torch.cat([a, b], -1)
    name = f"{options.n}-{options.solver}"
    _write(model, spec, options, files, both, made, name, title, more, options.solver, place)


def _write(
    model: DiffusionModel,
    spec: AudioSpec,
    options: argparse.Namespace,
    files: tuple[str, ...],
    given: Tensor,
    made: Tensor,
    name: str,
    title: str,
    more: Mapping[str, object],
    method: str,
    place: Path,
    walked: int | None = None,
) -> None:
    """Write the clips ``made`` (n, 1, L) from ``files``, and ``given`` (1, L), which the model saw, in --out or a new
    folder in ``place``.

    ``walked``: the steps that were taken; None: all that the options or the run name.
    """
    from sumi.data.files import Writing
    from sumi.data.sound_files import to_levels, write_wav
    from sumi.models.samples import stated_facts

    error = model.config.sampling.replaced(sampling_options(model, options)).error
    steps = model.config.sampling.steps if options.steps is None else options.steps
    hashed = hashlib.sha256(given.numpy().tobytes()).hexdigest()
    seed = getattr(options, "seed", None)
    about = {
        "run": str(options.run),
        "checkpoint": model.step,
        **(dict(zip("ab", files, strict=True)) if len(files) > 1 else {"image": files[0]}),
        "given": hashed,
        "digest": digest_of(model, options),
        **more,
        **({} if seed is None else {"seed": seed}),
        **({"steps": steps if walked is None else walked} if error is None else {"error": error}),
    }
    parts = [f"{model.step:08d}", name, *map(_stem, files), hashed[:8], *([] if seed is None else [f"seed{seed}"])]
    label, about = conditioned_name(model, options, "-".join(parts + ([str(steps)] if error is None else [])), about)
    folder = Path(options.out) if options.out else place / short_name(label)
    stated = [stated_facts(made, row) for row in range(len(made))]
    how = Writing(batch_size=max(1, len(made)), title=title, about=about, each=stated.__getitem__)
    wrote = spec.write(folder, lambda batch: made[batch.start : batch.stop], range(len(made)), how)
    write_wav(folder / "given.wav", to_levels(given.numpy()), spec.rate, about)
    say(f"wrote {wrote} ({method}{'' if error is None else f', {spent(stated, error)}'})")


def _stem(file: str) -> str:
    return Path(file).stem


def _read(spec: AudioSpec, what: str, file: str) -> Tensor:
    """The clip (1, L) of a WAV file; says so where clips are shorter than the file. Raises InputError."""
    from sumi.data.sound_files import read_sound

    x = spec.read(what, file)
    values, rate = read_sound(Path(file))
    whole, used = values.shape[1] / rate, spec.length / spec.rate
    if whole > used:
        say(f"note: {file} is of {whole:.3g} s; its first {used:.3g} s are used, which is what the model's clips have")
    return x
