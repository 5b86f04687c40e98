"""``sumi restore RUN CLIP --operator NAME`` of a model of sound."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from sumi.boundary.files import short_name
from sumi.cli.sampling import (
    about_guidance,
    digest_of,
    named_condition,
    plain,
    sample_options,
    sampling_options,
    spent,
    suffix_of,
)
from sumi.cli.terminal import counting, say
from sumi.errors import InputError

if TYPE_CHECKING:
    from sumi.data.audio import AudioSpec
    from sumi.models.diffusion.model import DiffusionModel
    from sumi.models.diffusion.options import SampleOptions
    from sumi.operators.linear import AnyOperator

FORMS = "gap:START:SECONDS, band:HERTZ, or noise (with --noise)"


def find_sound_operator(text: str, spec: AudioSpec) -> AnyOperator:
    """What was done to a clip, by name. Raises InputError."""
    import torch

    from sumi.operators.linear import Mask
    from sumi.operators.sound import LowPass, gap

    name, *numbers = text.split(":")
    try:
        values = [float(number) for number in numbers]
    except ValueError:
        raise InputError(f"--operator {text}: has what is no number; give {FORMS}") from None
    match name, values:
        case "gap", [start, seconds] if not 0 <= start < start + seconds <= spec.length / spec.rate:
            raise InputError(f"--operator {text}: clips are of {spec.length / spec.rate:g} s; give a gap within that")
        case "gap", [start, seconds]:
            return gap(spec.length, round(start * spec.rate), round((start + seconds) * spec.rate))
        case "band", [hertz] if 0 < hertz < spec.rate / 2:
            return LowPass(2 * hertz / spec.rate)
        case "band", [hertz]:
            raise InputError(f"--operator band:{hertz:g}: give hertz between 0 and {spec.rate / 2:g}")
        case "noise", []:
            return Mask(torch.zeros(1, dtype=torch.bool))
        case _:
            raise InputError(f"--operator {text}: is nothing that is done to sound; give {FORMS}")


def restore_clip(model: DiffusionModel, spec: AudioSpec, options: argparse.Namespace) -> None:
    """Candidates as WAV files, what was given as given.wav, and their spectrograms."""
    from sumi.data.files import Writing
    from sumi.data.sound_files import to_levels, write_wav
    from sumi.models.diffusion.restoration import method_for
    from sumi.models.diffusion.sound import measured, restore_sound
    from sumi.models.samples import stated_facts
    from sumi.training.run_folder import RunFolder

    operator, noise = find_sound_operator(options.operator, spec), options.noise or 0.0
    if options.operator == "noise" and not noise:
        raise InputError("--noise: says how much there is, and is needed here; give its deviation, such as 0.05")
    x = spec.read("clip", options.image)
    _note_what_is_cut(Path(options.image), spec)
    seen = operator(x[None])[0]
    known = measured(model, x[None].to(model.device), operator, noise)
    with counting("restoring") as restoring:
        given: SampleOptions = {**sample_options(model, options), "progress": restoring}
        made = restore_sound(model, x, operator, noise, options.n, options.method, given)
    error = model.config.sampling.replaced(sampling_options(model, options)).error
    steps = options.steps or model.config.sampling.steps
    hashed = hashlib.sha256(seen.numpy().tobytes()).hexdigest()
    conditions = named_condition(options)
    about = {
        "run": str(options.run),
        "checkpoint": model.step,
        "image": options.image,
        "given": hashed,
        "digest": digest_of(model, options),
        "operator": options.operator,
        "noise": noise,
        "seed": options.seed,
        "method": options.method or "",
        **({"steps": steps} if error is None else {"error": error}),
        **conditions,
        **about_guidance(model, options, conditioned=bool(conditions)),
    }
    name = f"{model.step:08d}-{plain(options.operator)}-{Path(options.image).stem}-{hashed[:8]}-seed{options.seed}"
    name += "".join(f"-{plain(value)}" for value in conditions.values())
    name += f"-noise{noise:g}-{about['method'] or 'usual'}{f'-{steps}' if error is None else ''}"
    name += suffix_of(options)
    folder = Path(options.out) if options.out else RunFolder(options.run).restored / short_name(name)
    stated, title = (
        [stated_facts(made, row) for row in range(len(made))],
        f"{Path(options.image).name}, {options.operator}",
    )
    how = Writing(batch_size=max(1, options.n), title=title, about=about, each=stated.__getitem__)
    wrote = spec.write(folder, lambda batch: made[batch.start : batch.stop], range(options.n), how)
    write_wav(folder / "given.wav", to_levels(seen[0].numpy()), spec.rate, about)
    method = method_for(model, known.operator, options.method, noise)
    say(f"wrote {wrote} ({method}{'' if error is None else f', {spent(stated, error)}'})")


def _note_what_is_cut(path: Path, spec: AudioSpec) -> None:
    """Say so where the model's clips are shorter than the file, which can be read."""
    from sumi.data.sound_files import read_sound

    values, rate = read_sound(path)
    whole, used = values.shape[1] / rate, spec.length / spec.rate
    if whole > used:
        say(f"note: {path} is of {whole:.3g} s; its first {used:.3g} s are used, which is what the model's clips have")
