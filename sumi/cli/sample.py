"""``sumi sample RUN``."""

from __future__ import annotations

import argparse
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sumi.boundary.files import refuse_folder, short_name
from sumi.boundary.group import first_process, own_shard
from sumi.cli.molecules import sample_molecules
from sumi.cli.options import add_checkpoint, add_error, add_guidance, add_run, add_seed, add_steps, add_values
from sumi.cli.sampling import (
    BESIDES,
    OF_SYMBOLS,
    STEERING,
    about_guidance,
    about_restarts,
    digest_of,
    guiding_clip,
    in_words,
    note_unknown,
    plain,
    sample_options,
    sampling_options,
    spent,
    steering_of,
    suffix_of,
)
from sumi.cli.symbols import sample_symbols
from sumi.cli.terminal import counting, refuse, say
from sumi.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from sumi.models.cascade import CascadeModel
    from sumi.models.diffusion.model import DiffusionModel
    from sumi.models.diffusion.options import SampleOptions
    from sumi.models.model import GenerativeModel
    from sumi.models.unclip import UnclipModel

MOST_PROMPTS: Final = 10**7
"""Bytes of a file of prompts, which may be a pipe."""


def add_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("-n", type=int, metavar="N", help="how many (default: 16, or one for each of --prompts)")
    parser.add_argument("--start", type=int, default=0, metavar="I", help="index of the first (default: 0)")
    parser.add_argument(
        "--size",
        metavar="HxW",
        help="of larger pictures, made in windows (default: the model's); of molecules, N: their atoms",
    )
    parser.add_argument("--scaffold", metavar="XYZ", help="of molecules: a file of the atoms that each is to have")
    add_steps(parser)
    add_error(parser)
    parser.add_argument(
        "--solver", metavar="NAME", help="such as ddim, or unipc@karras with a time grid (default: the configuration's)"
    )
    parser.add_argument(
        "--temperature", type=float, metavar="T", help="of symbols: below 1 for likelier ones (default: the run's)"
    )
    parser.add_argument(
        "--corrections", type=int, metavar="C", help="of symbols: how often the least likely are drawn anew"
    )
    parser.add_argument("--eta", type=float, metavar="η", help="noise of the DDIM family: 0 deterministic, 1 ancestral")
    parser.add_argument(
        "--restart", type=int, metavar="K", help="go back up to more noise and down again, K times (default: the run's)"
    )
    parser.add_argument(
        "--restart-interval", metavar="LOW,HIGH", help="sigma/alpha from which and up to which (default: the run's)"
    )
    add_seed(parser)
    parser.add_argument("--label", metavar="L", help="the class to draw, by its name, or all: one after the other")
    parser.add_argument(
        "--prompt",
        metavar="TEXT",
        help='what to draw, such as "a (red:1.4) robot", "a dog ~ a cat" (from one to another) or "a dog ~0.25 a cat"',
    )
    parser.add_argument("--prompts", metavar="FILE", help="a prompt a line, for one sample after the other")
    add_values(parser, "a number that belongs to what is drawn, such as brightness=0.2")
    parser.add_argument(
        "--guidance",
        type=float,
        metavar="W",
        help="how much the label or the prompt counts: 1 plain, 2 and more sharper",
    )
    add_guidance(parser)
    parser.add_argument(
        "--reward", metavar="RUN", help="steer towards --target by this run of a noisy classifier, a CLIP or a judge"
    )
    parser.add_argument(
        "--target", metavar="T", help="what the reward is for: a class, a text, or attributes as colour=red,eyes=two"
    )
    parser.add_argument("--reward-scale", type=float, metavar="λ", help="how much the reward counts (default: 1)")
    parser.add_argument(
        "--particles", type=int, metavar="K", help="of which each sample is one, at K times the cost (default: 4)"
    )
    parser.add_argument(
        "--potential",
        choices=("difference", "max", "sum"),
        help="which rewards of a particle's path count on the way (default: difference)",
    )
    parser.add_argument(
        "--augmentation",
        type=float,
        metavar="S",
        help="of a cascade: noise on what each stage enlarges, 0 to 1 (default: the run's)",
    )
    parser.add_argument("--batch-size", type=int, default=64, metavar="B", help="how many at a time; changes no noise")
    parser.add_argument(
        "--format", metavar="F", help="png (a file an image), or one file of all: npz or npy of (N, H, W, C), or tar"
    )
    parser.add_argument(
        "--shard", metavar="K/N", help="make the K-th of N parts, as the K-th of N processes that share"
    )
    add_checkpoint(parser)
    parser.add_argument("--out", metavar="DIR", help="folder for the samples (default: inside the run folder)")
    parser.add_argument(
        "--trajectory", action="store_true", help="also a strip and an animation of image START emerging"
    )


def run(options: argparse.Namespace) -> None:
    from sumi.models.cascade import CascadeModel
    from sumi.models.diffusion.model import DiffusionModel
    from sumi.models.model import GenerativeModel
    from sumi.models.molecules.model import MoleculeModel
    from sumi.models.run import load
    from sumi.models.symbols.model import SymbolModel
    from sumi.models.unclip import UnclipModel
    from sumi.training.lock import trainer_of

    if options.out:
        refuse_folder(Path(options.out))
    model = load(options.run, GenerativeModel, checkpoint=options.checkpoint, device=options.device)
    if model.items.together and options.shard is None and not first_process():
        return  # there is one file of all, which the first process makes
    lines = None if options.prompts is None else read_prompts(options)
    options.flags |= {"condition": "--value"} | ({} if lines is None else {"prompt": "--prompts"})
    options.n = options.n if options.n is not None else len(lines or range(16))
    if (trainer := trainer_of(model.folder)) is not None:
        say(f"note: {model.folder} is being trained by {trainer}; this is its checkpoint of step {model.step}")
    match model:
        case DiffusionModel():
            _diffusion(model, options, lines, model)
        case UnclipModel():
            refuse(model, options, "trajectory", "values", "size", "label")
            _diffusion(model.decoder, options, lines, model)
        case CascadeModel():
            _stages(model, options, lines)
        case MoleculeModel():
            sample_molecules(model, options, dict(read_value(text) for text in options.values))
        case SymbolModel():
            sample_symbols(model, options, dict(read_value(text) for text in options.values))
        case _:
            _plainly(model, options)


def _plainly(model: GenerativeModel, options: argparse.Namespace) -> None:
    """Of a model whose samples can be asked for in one way alone."""
    from sumi.models.model import read_indices
    from sumi.training.run_folder import RunFolder

    refuse(
        model,
        options,
        "steps",
        "solver",
        "eta",
        "label",
        "prompt",
        "prompts",
        "guidance",
        "trajectory",
        "values",
        "size",
        "augmentation",
        "scaffold",
        *OF_SYMBOLS,
        *BESIDES,
    )
    read_indices(options.n, options.start, options.seed, options.batch_size)

    def make(batch: range) -> Tensor:
        return model.sample(len(batch), seed=options.seed, start=batch.start, batch_size=len(batch), progress=False)

    name = f"{model.step:08d}-seed{options.seed}{_span(model, options)}"
    folder = Path(options.out) if options.out else RunFolder(options.run).samples / name
    about = {
        "run": str(options.run),
        "checkpoint": model.step,
        "seed": options.seed,
        "digest": digest_of(model, options),
    }
    say(f"wrote {_written(model, folder, make, options, options.batch_size, about)} ({model.how_sampled()})")


def _diffusion(
    model: DiffusionModel,
    options: argparse.Namespace,
    lines: list[str] | None,
    system: DiffusionModel | UnclipModel,
) -> None:
    """Of a diffusion model, which is ``system`` itself or the decoder of its vectors."""
    from sumi.models.diffusion.trajectory import trajectory, write_trajectory
    from sumi.models.model import read_indices
    from sumi.models.samples import stated_facts
    from sumi.training.run_folder import RunFolder

    refuse(model, options, "augmentation", "scaffold", *OF_SYMBOLS)
    if system is not model:
        refuse(system, options, *STEERING)
    values = dict(read_value(text) for text in options.values)
    condition = {"values": values} if values else None
    steering = steering_of(model, options)
    settings = sampling_options(model, options)
    size = None if options.size is None else read_size(options.size)
    given: SampleOptions = {**sample_options(model, options), "condition": condition, "size": size}
    prompts = _prompts(model, options, lines, system)
    read_indices(options.n, options.start, options.seed, options.batch_size)
    own = model.shape_of(size) == model.space.shape
    conditioned = options.label is not None or prompts is not None or bool(values)
    method = model.method(tuned=not conditioned and own, **settings)
    if model.config.sampling.solver == "mean_flow" != method.name:
        say(f"note: {method.name} follows velocities of an instant; {model.folder} learned mostly those of whole steps")
    error = model.config.sampling.replaced(settings).error
    name = f"{model.step:08d}-{method.name}{f'-{method.steps}' if error is None else ''}-seed{options.seed}"
    name += "" if options.eta is None else f"-eta{options.eta:g}"
    name += _span(model, options)
    name += "" if own else f"-{options.size}"
    name += "" if options.label is None else f"-{plain(options.label)}"
    name += "" if options.prompt is None else f"-{plain(options.prompt)}"
    name += "" if options.prompts is None else f"-{plain(Path(options.prompts).stem)}"
    name += "".join(f"-{plain(key)}{value:g}" for key, value in values.items())
    name += "" if options.guidance is None else f"-guidance{options.guidance:g}"
    name += suffix_of(options)
    folder = Path(options.out) if options.out else RunFolder(options.run).samples / short_name(name)
    about = {
        "run": str(options.run),
        "checkpoint": model.step,
        "seed": options.seed,
        "digest": digest_of(system, options, method.times.tolist()),
        "solver": repr(method.solver),
        **({"steps": method.steps} if error is None else {"error": error}),
    }
    about |= {} if own else {"size": options.size}
    about |= values if options.label is None else {"label": options.label, **values}
    about |= {"threshold": model.config.sampling.threshold}
    about |= about_restarts(model, options) if steering is None else {}
    about |= about_guidance(model, options, conditioned=conditioned)
    if steering is not None:
        about |= {"reward_scale": steering["scale"]} | {name: steering[name] for name in ("particles", "potential")}

    def make(batch: range) -> Tensor:
        whole: SampleOptions = {**given, "start": batch.start, "batch_size": options.batch_size, "progress": False}
        if prompts is not None:
            whole["prompt"] = prompts[batch.start - options.start : batch.stop - options.start]
        all_of: dict[str, Any] = {**(steering or {}), **whole}
        made = system.sample(n=len(batch), **all_of) if steering is None else model.steer(n=len(batch), **all_of)
        stated.update({index: stated_facts(made, row) for row, index in enumerate(batch)})
        return made

    stated: dict[int, dict[str, object]] = {}
    known = _each(model, options, prompts)
    wrote = _written(
        model,
        folder,
        make,
        options,
        model.batch_of(options.batch_size, size),
        about,
        lambda index: {**known(index), **stated.get(index, {})},
    )
    how = f"{method.steps} steps" if error is None else spent(list(stated.values()), error)
    say(f"wrote {wrote} ({method.name}, {how}{in_words(about)})")
    if options.trajectory:
        shown = options.n if model.items.together else None
        if prompts is not None:
            given["prompt"] = prompts[: shown or 1]
        way = trajectory(model, options.start, n=shown, **given)
        strip, animation = write_trajectory(model, way, folder)
        say(f"wrote {strip} and {animation}")


def _stages(model: CascadeModel, options: argparse.Namespace, lines: list[str] | None) -> None:
    """Of a cascade: the top stage's pictures, and those of each stage below in a folder of its name."""
    from sumi.models.model import read_indices
    from sumi.models.samples import stated_facts
    from sumi.training.run_folder import RunFolder

    refuse(model, options, "trajectory", "values", "size", "scaffold", *OF_SYMBOLS, *STEERING)
    given, base = sample_options(model.base, options), model.base
    prompts = _prompts(base, options, lines)
    read_indices(options.n, options.start, options.seed, options.batch_size)
    s = model.config.augmentation if options.augmentation is None else options.augmentation
    s, conditioned = model.config.check_augmentation(s), options.label is not None or prompts is not None
    settings = sampling_options(base, options)
    method, error = base.method(tuned=not conditioned, **settings), base.config.sampling.replaced(settings).error
    steps = f"-{method.steps}" if error is None else ""
    named = [f"{model.step:08d}-{method.name}{steps}-seed{options.seed}{_span(model, options)}"]
    named += [plain(str(text)) for text in (options.label, options.prompt) if text is not None]
    named += [] if options.prompts is None else [plain(Path(options.prompts).stem)]
    own = ("eta", "guidance", "augmentation", *BESIDES)
    name = "-".join(named) + suffix_of(options, own)
    folder = Path(options.out) if options.out else RunFolder(options.run).samples / short_name(name)
    about = {
        "run": str(options.run),
        "checkpoint": ", ".join(f"{name} {stage.step}" for name, stage in model.stages.items()),
        "seed": options.seed,
        "digest": digest_of(model, options, method.times.tolist()),
        "solver": repr(method.solver),
        **({"steps": method.steps} if error is None else {"error": error}),
        "augmentation": s,
        "threshold": model.config.sampling.threshold,
        **({} if options.label is None else {"label": options.label}),
        **about_restarts(base, options),
        **about_guidance(base, options, conditioned=conditioned),
    }
    made: dict[range, dict[str, Tensor]] = {}
    known = _each(base, options, prompts)
    stated: dict[str, dict[int, dict[str, object]]] = {name: {} for name in model.stages}

    def each(name: str) -> Callable[[int], dict[str, object]]:
        return lambda index: {**known(index), **stated[name].get(index, {})}

    def make(batch: range) -> dict[str, Tensor]:
        whole: SampleOptions = {**given, "start": batch.start, "batch_size": options.batch_size, "progress": False}
        if prompts is not None:
            whole["prompt"] = prompts[batch.start - options.start : batch.stop - options.start]
        found = model.sample_stages(len(batch), augmentation=s, **whole)
        for name, pictures in found.items():
            stated[name].update({index: stated_facts(pictures, row) for row, index in enumerate(batch)})
        return found

    def top(batch: range) -> Tensor:
        made[batch] = make(batch)
        return made[batch].pop(model.config.names[-1])

    *lower, last = model.stages
    wrote = _written(model, folder, top, options, options.batch_size, about, each(last))
    each_in = f"{method.steps} steps{in_words(about)} in each of {len(model.stages)} stages"
    say(f"wrote {wrote} ({method.name}, {each_in if error is None else spent(list(stated[last].values()), error)})")
    for name in lower:

        def below(batch: range, name: str = name) -> Tensor:
            return (made.get(batch) or make(batch))[name]

        of_stage = {**about, "stage": name}
        stage = model.stages[name]
        wrote = _written(stage, folder / name, below, options, options.batch_size, of_stage, each(name))
        say(f"wrote {wrote}" + ("" if error is None else f" ({spent(list(stated[name].values()), error)})"))


def _each(
    model: DiffusionModel, options: argparse.Namespace, prompts: list[str] | None
) -> Callable[[int], dict[str, object]]:
    """What is known of each sample by its index: its class and its prompt."""

    def each(index: int) -> dict[str, object]:
        names = model.items.label_names
        own: dict[str, object] = {"label": names[index % len(names)]} if options.label == "all" else {}
        return own if prompts is None else {**own, "prompt": prompts[index - options.start]}

    return each


def _span(model: GenerativeModel, options: argparse.Namespace) -> str:
    """Which samples, in the name of a folder where one file holds them all."""
    together = model.items.together or options.format not in (None, "png")
    return f"-{options.start}to{options.start + options.n - 1}" if together else ""


def _written(
    model: GenerativeModel,
    folder: Path,
    make: Callable[[range], Tensor],
    options: argparse.Namespace,
    batch_size: int,
    about: Mapping[str, object],
    each: Callable[[int], Mapping[str, object]] | None = None,
) -> str:
    """Make the samples and write them; returns what was written, in words."""
    from sumi.data.files import Writing

    own = (1, 1) if model.items.together else own_shard()
    with counting("sampling") as progress:
        how = Writing(
            batch_size=batch_size,
            title=title(options),
            about=about,
            each=each,
            progress=progress,
            format=options.format or "",
            shard=own if options.shard is None else read_shard(options.shard),
        )
        return model.items.write(folder, make, range(options.start, options.start + options.n), how)


def read_shard(text: str) -> tuple[int, int]:
    """K/N. Raises InputError."""
    k, _, shards = text.partition("/")
    if not (k.isdecimal() and shards.isdecimal()):
        raise InputError(f"--shard {text}: is not of the form K/N; write 1/4 for the first of four processes")
    return int(k), int(shards)


def read_prompts(options: argparse.Namespace) -> list[str]:
    """The lines of --prompts but empty ones. Raises InputError."""
    if options.prompt is not None:
        raise InputError("--prompts: --prompt is given too; give one of them")
    path = Path(options.prompts)
    try:
        with path.open("rb") as file:
            text = file.read(MOST_PROMPTS + 1)
        if len(text) > MOST_PROMPTS:
            raise InputError(
                f"--prompts {path}: has more than {MOST_PROMPTS // 10**6} MB; give fewer prompts at a time"
            )
        if b"\0" in text:
            raise ValueError("it has zero bytes, as UTF-16 has")
        lines = [line.strip() for line in text.decode("utf-8-sig").splitlines()]
    except (OSError, ValueError) as error:
        raise InputError(
            f"--prompts {path}: cannot be read as text ({error}); give a file of one prompt a line, in UTF-8"
        ) from None
    found = [line for line in lines if line]
    if not found:
        raise InputError(f"--prompts {path}: has no prompt; write one a line")
    return found


def _prompts(
    model: DiffusionModel,
    options: argparse.Namespace,
    lines: list[str] | None,
    system: DiffusionModel | UnclipModel | None = None,
) -> list[str] | None:
    """The prompt of each sample, checked: the lines one after the other, from the first again after the last.

    ``system``: of which the model is a part, if it is. Raises InputError for one that cannot be read by the model, by
    the system's CLIP, or by that of --clip.
    """
    from sumi.conditioning.prompt import prompts_of, single_parts
    from sumi.models.unclip import UnclipModel

    match options.prompt, lines:
        case None, None:
            return None
        case None, [*several]:
            given: object = [several[i % len(several)] for i in range(options.start, options.start + options.n)]
            note_unknown(model, several, options)
        case text, _:
            given = text
    prompts = prompts_of(given, options.n)
    if model.text is not None or options.clip is None:
        model.condition_of(range(len(prompts)), None, prompt=prompts)
    clips = [] if options.clip is None else [guiding_clip(options)]
    match system:
        case UnclipModel(clip=own):
            clips.append(own)
        case _:
            pass
    for clip in clips:
        clip.read_texts([part.text for part in single_parts(prompts, options.n)])
    return prompts


def title(options: argparse.Namespace) -> str:
    """What samples are called, where their picture has a title."""
    return f"{options.n} of seed {options.seed}"


def read_size(text: str) -> tuple[int, int]:
    """HxW. Raises InputError."""
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise InputError(f"--size {text}: is not of the form HxW, height first; write 48x64")
    return int(height), int(width)


def read_value(text: str) -> tuple[str, float]:
    """NAME=NUMBER. Raises InputError."""
    name, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = nan
    if not name or not isfinite(value):
        raise InputError(f"--value {text}: is not of the form NAME=NUMBER; write brightness=0.2")
    return name, value
