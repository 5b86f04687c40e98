"""From options to `Sampling`: what they replace of the run's own, and the words for it in files."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Any, Final, cast

from sumi.cli.terminal import say
from sumi.errors import InputError

if TYPE_CHECKING:
    from sumi.models.clip import ClipModel
    from sumi.models.diffusion.model import DiffusionModel
    from sumi.models.diffusion.options import SampleOptions
    from sumi.models.model import TrainedModel
    from sumi.sampling.sampler import Guidance, SamplingOptions
    from sumi.sampling.solvers.restart import Restart

GUIDANCE: Final = {
    "guidance": "scale",
    "guidance_interval": "interval",
    "guidance_rescale": "rescale",
    "guidance_method": "method",
    "guidance_parallel": "parallel",
    "guidance_norm": "norm",
    "guidance_momentum": "momentum",
    "negative": "negative",
    "worse": "worse",
    "worse_checkpoint": "worse",
    "classifier": "classifier",
    "classifier_scale": "classifier_scale",
    "clip": "clip",
    "clip_scale": "clip_scale",
}
"""The field of `Guidance` that each option is of."""
STEERING: Final = ("reward", "target", "reward_scale", "particles", "potential")
BESIDES: Final = (
    *(name for name in GUIDANCE if name != "guidance"),
    *("threshold", "error", "restart", "restart_interval"),
    *STEERING,
)
"""The options that are named in files where they are given, besides the label and its scale."""

OF_SYMBOLS: Final = ("temperature", "corrections")
"""The options of symbols alone."""


def sample_options(model: DiffusionModel, options: argparse.Namespace) -> SampleOptions:
    """The seed, the label, and what the options replace of the run's `Sampling`. Raises InputError."""
    from sumi.models.diffusion.options import SampleOptions

    settings = sampling_options(model, options)
    return {
        "seed": options.seed,
        "label": options.label,
        "prompt": prompt_of(model, options),
        **cast(SampleOptions, settings),
    }


def prompt_of(model: DiffusionModel, options: argparse.Namespace) -> str | None:
    """The prompt that is given; words that the model never saw are named."""
    if options.prompt is not None:
        note_unknown(model, [options.prompt], options)
    return options.prompt


def note_unknown(model: DiffusionModel, prompts: Sequence[str], options: argparse.Namespace) -> None:
    """Name the words of ``prompts`` and of --negative that no caption had in training, that of the model or of --clip.

    Raises InputError for marks that mean nothing.
    """
    from sumi.conditioning.prompt import of_negative
    from sumi.conditioning.text import unknown_to
    from sumi.data.dataset import few

    unknown = dict[str, None]()
    if model.text is not None:
        unknown |= dict.fromkeys(model.text.unknown(prompts))
        try:
            unknown |= dict.fromkeys(model.text.unknown([options.negative] if options.negative else []))
        except InputError as error:
            raise of_negative(error) from None
    if options.clip is not None:
        unknown |= dict.fromkeys(unknown_to(guiding_clip(options).module.text, prompts))
    if unknown:
        say(f"note: never seen in training: {few(tuple(unknown))}")


def guiding_clip(options: argparse.Namespace) -> ClipModel:
    """The CLIP in the run of --clip, which is loaded once for all of a command. Raises InputError."""
    from sumi.models.clip import ClipModel
    from sumi.models.run import load

    if getattr(options, "guiding_clip", None) is None:
        options.guiding_clip = load(options.clip, ClipModel, device=options.device)
    return options.guiding_clip


def named_condition(options: argparse.Namespace) -> dict[str, str]:
    """The label and the prompt that are given, by name."""
    return {name: value for name in ("label", "prompt") if (value := getattr(options, name, None)) is not None}


def sampling_options(model: DiffusionModel, options: argparse.Namespace) -> SamplingOptions:
    """What the options replace of the run's `Sampling`. Raises InputError."""
    return {
        "steps": options.steps,
        "error": getattr(options, "error", None),
        "solver": getattr(options, "solver", None),
        "eta": getattr(options, "eta", None),
        "guidance": _guidance(model, options),
        "threshold": getattr(options, "threshold", None),
        "restart": _restart(model, options),
    }


def _restart(model: DiffusionModel, options: argparse.Namespace) -> Restart | None:
    """The run's own with what the options say of it; None where they say nothing."""
    given = given_of(options, ("restart", "restart_interval"))
    if not given:
        return None
    own = model.config.sampling.restart
    repeats, interval = options.restart, options.restart_interval
    if not (own.repeats if repeats is None else repeats):
        raise InputError("restart_interval: is that of restarts, and there are none; add --restart 2")
    low, high = (own.low, own.high) if interval is None else read_interval(interval, "restart_interval")
    return replace(own, repeats=own.repeats if repeats is None else repeats, low=low, high=high)


def _guidance(model: DiffusionModel, options: argparse.Namespace) -> Guidance | None:
    """The run's own with what the options say of it; None where they say nothing."""
    from sumi.models.diffusion.model import DiffusionModel
    from sumi.models.run import load

    given = {GUIDANCE[name]: value for name, value in given_of(options, tuple(GUIDANCE)).items()}
    if not given:
        return None
    own = model.config.sampling.guidance
    if "classifier_scale" in given and "classifier" not in given:
        raise InputError("classifier_scale: is that of a classifier, and none is given; add --classifier")
    if "clip_scale" in given and "clip" not in given:
        raise InputError("clip_scale: is that of a CLIP, and none is given; add --clip")
    if "interval" in given:
        given["interval"] = read_interval(options.guidance_interval)
    method = given.get("method", own.method)
    if method != "apg":
        for name in (name for name in ("parallel", "norm", "momentum") if name in given):
            raise InputError(f"guidance_{name}: is of apg alone; add --guidance-method apg")
    if given.get("scale", own.scale) == 1 and method != "cfg++":
        needing = ("worse", "negative", "rescale", *(() if given.keys() & {"classifier", "clip"} else ("interval",)))
        for name in (name for name in needing if name in given):
            option = {"rescale": "guidance_rescale", "interval": "guidance_interval"}.get(name, name)
            raise InputError(f"{option}: counts as far as --guidance says, and that is 1; add --guidance 2")
    if "worse" in given:
        given.setdefault("negative", None)
    if options.worse_checkpoint is not None:
        run = options.worse or model.folder
        try:
            given["worse"] = load(run, DiffusionModel, checkpoint=options.worse_checkpoint, device=str(model.device))
        except InputError as error:
            at_fault = "worse_" if str(error).startswith("checkpoint:") else ""
            raise InputError(f"{at_fault}{error}") from None
    if "clip" in given:
        given["clip"] = guiding_clip(options)
    if "classifier" in given and not given.keys() & {"worse", "negative"}:
        given.setdefault("scale", 1.0)  # the classifier alone guides
    return replace(own, **cast(dict[str, Any], given))


def steering_of(model: DiffusionModel, options: argparse.Namespace) -> dict[str, Any] | None:
    """All that `DiffusionModel.steer` takes besides what `sample` does, its solver being named; None: samples are not
    steered. Raises InputError."""
    from sumi.guidance.steering import PARTICLES
    from sumi.models.rewards import reward_of

    given = given_of(options, STEERING)
    if not given:
        return None
    if "reward" not in given or "target" not in given:
        missing = next(name for name in ("reward", "target") if name not in given)
        raise InputError(f"{next(iter(given))}: is of steering; add --{missing}, such as --reward RUN --target cat")
    if options.trajectory:
        raise InputError("trajectory: follows one sample, and steering takes particles; leave it out")
    if options.solver is None and options.eta is None:
        options.solver = "ddpm"
    return {
        "reward": reward_of(model, options.reward, options.target),
        "particles": PARTICLES if options.particles is None else options.particles,
        "scale": 1.0 if options.reward_scale is None else options.reward_scale,
        "potential": options.potential or "difference",
    }


def given_of(options: argparse.Namespace, names: tuple[str, ...] = BESIDES) -> dict[str, object]:
    """The options of these names that are given."""
    return {name: getattr(options, name) for name in names if getattr(options, name, None) is not None}


def suffix_of(options: argparse.Namespace, names: tuple[str, ...] = BESIDES) -> str:
    """What they add to a folder's name."""
    return "".join(f"-{key}-{plain(str(value))}" for key, value in given_of(options, names).items())


def conditioned_name(
    model: DiffusionModel, options: argparse.Namespace, name: str, about: dict[str, object]
) -> tuple[str, dict[str, object]]:
    """The ``name`` of a folder, and what its files are ``about``, with the condition and the guidance."""
    conditions = named_condition(options)
    guided = about_guidance(model, options, conditioned=bool(conditions))
    name += f"-{plain('-'.join(conditions.values()))}" if conditions else ""
    name += f"-guidance{guided['guidance']:g}" if "guidance" in guided else ""
    return name + suffix_of(options), {**about, **conditions, **guided}


def about_guidance(model: DiffusionModel, options: argparse.Namespace, *, conditioned: bool) -> dict[str, object]:
    """How samples are guided, by the options, or as the run is configured where they have a condition to be guided to,
    or a worse model to be guided away from."""
    guidance, about = _guidance(model, options) or model.config.sampling.guidance, dict[str, object]()
    if conditioned or guidance.worse is not None:
        about["guidance"] = guidance.scale
        if guidance.interval is not None:
            about["guidance_interval"] = "{:g},{:g}".format(*guidance.interval)
        if guidance.rescale:
            about["guidance_rescale"] = guidance.rescale
        if guidance.method != "cfg":
            about["guidance_method"] = guidance.method
        if guidance.method == "apg":
            about |= {f"guidance_{name}": getattr(guidance, name) for name in ("parallel", "norm", "momentum")}
        if guidance.negative is not None:
            about["negative"] = guidance.negative
    return about | given_of(options)


def about_restarts(model: DiffusionModel, options: argparse.Namespace, t: float = 1.0) -> dict[str, object]:
    """How samples that begin at ``t`` are restarted, by the options or as the run is configured. Raises InputError."""
    settings = sampling_options(model, options)
    repeats, own = model.restarts(t, **settings), model.config.sampling.replaced(settings).restart
    return {"restart": repeats, "restart_interval": f"{own.low:g},{own.high:g}"} if repeats else {}


def in_words(about: Mapping[str, object]) -> str:
    """The restarts that `about_restarts` found, after the number of steps."""
    return f", {about['restart']} restarts" if about.get("restart") else ""


def read_interval(text: str, option: str = "guidance_interval") -> tuple[float, float]:
    """LOW,HIGH in sigma/alpha; either may be left out. Raises InputError."""
    low, comma, high = text.partition(",")
    try:
        ends = (float(low or 0), float(high or inf)) if comma else None
    except ValueError:
        ends = None
    if ends is None:
        raise InputError(f"{option}: {text} is not of the form LOW,HIGH; write 0.3,5")
    return ends


def digest_of(model: TrainedModel, options: argparse.Namespace, *more: object) -> str:
    """What samples follow from besides what files say of them: the weights, those of the runs that guide, and ``more``.

    It is the same wherever the run folders lie and however their paths are typed.
    """
    from sumi.models.run import weights_of

    parts = [model.digest, *map(str, more)]
    worse, step = getattr(options, "worse", None), getattr(options, "worse_checkpoint", None)
    if worse is not None or step is not None:
        parts.append(weights_of(worse or model.folder, step))
    guides = [getattr(options, name, None) for name in ("classifier", "clip", "reward")]
    parts += [weights_of(guide) for guide in guides if guide is not None]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]


def spent(stated: Sequence[Mapping[str, object]], error: float) -> str:
    """How many evaluations samples took to state at most this ``error``, and how many state more, in words."""
    counts = [count for one in stated for name, count in one.items() if name == "evaluations"]
    if not counts:
        return f"to an error of {error:g}"
    above = sum(float(str(one["stated_error"])) > error for one in stated)
    left = f"; {above} of {len(counts)} state more, after the finest grid" if above else ""
    fewest, most = min(map(int, map(str, counts))), max(map(int, map(str, counts)))
    return f"to an error of {error:g}, {fewest} to {most} evaluations{left}"


def plain(label: str) -> str:
    """A label as part of a folder's name."""
    return "".join(c if c.isalnum() else "-" for c in label)
