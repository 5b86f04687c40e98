"""Methods of guidance side by side: at equal effective scale, equal evaluations and from the same noise.

    none           the condition alone, in as many steps as there are evaluations
    cfg            classifier-free guidance of the scale that is wanted: all others are compared with it
    interval       the same where sigma/alpha is from 0.3 to 5
    rescale        the same, with 0.7 of the deviation brought back
    cfg++, apg     `sumi.guidance.renoising`, `sumi.guidance.projection`
    autoguidance   away from a worse model, where one is given

Samples are of all classes in turn, or of a model of texts, of the captions of held-out pictures, evenly spaced.
The scale of each is fitted on 16 samples until its effective scale (`sumi.guidance.effective`) is that of cfg;
autoguidance moves in a direction of its own, and keeps the scale. A method has a gain where its Fréchet distance to
held-out images is below that of cfg, or its class accuracy, of data with classes, above with no worse distance, by a
permutation test of samples from the same noise at 5 % for all methods together (Bonferroni).
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, cast

import numpy as np
import torch
from torch import Tensor

from sumi.boundary.arguments import MOST_COUNT, real, whole
from sumi.boundary.files import write_text
from sumi.boundary.progress import Count, counting_one
from sumi.conditioning.text import captions_of, with_text
from sumi.data.dataset import Dataset, evenly, every_label, everything
from sumi.errors import InputError
from sumi.evaluation.images import learn_features
from sumi.evaluation.prompts import as_prompts
from sumi.evaluation.sweep_measures import Accuracy, Distance, Measure
from sumi.evaluation.sweeps import in_random_order, sweep
from sumi.guidance.effective import Measured, calibrated
from sumi.guidance.renoising import UnguidedNoise
from sumi.metrics.features.network import FEWEST
from sumi.metrics.intervals import Estimate
from sumi.models.diffusion.evaluations import counted, networks_of
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.options import Progress, SampleOptions
from sumi.models.guides import loaded
from sumi.randomness import SampleNoise
from sumi.sampling.sample import sample
from sumi.sampling.sampler import PLUS_PLUS, Guidance

FITTED_ON: Final = 16
SIGNIFICANT: Final = 0.05
MOST_TIMES: Final = 10
"""How much stronger than plain guidance another may be set where it counts, to be as effective over all steps."""
CFG: Final = "cfg"
GAIN, NO_GAIN, LOSS = "gain", "no gain here", "loss"
UNEQUAL: Final = "never that strong"
"""Of a method whose effective scale stays more than a tenth from that of cfg, whatever its own."""


@dataclass(frozen=True)
class GuidanceRow:
    """One method: the ``scale`` that it has and the ``effective`` one, and what it costs and makes.

    ``accuracy``: None of data without classes. ``verdict``: GAIN, NO_GAIN, LOSS or UNEQUAL against cfg, with the
    corrected ``p_value`` of the distance; None for cfg.
    """

    method: str
    scale: float
    effective: float
    steps: int
    evaluations: int
    frechet: Estimate
    accuracy: Estimate | None
    p_value: float | None
    verdict: str | None


@dataclass(frozen=True)
class GuidanceComparison:
    """All rows; ``images``: number of samples of each, ``held_out``: of real images."""

    rows: tuple[GuidanceRow, ...]
    images: int
    held_out: int


def compare_guidance(
    model: DiffusionModel,
    scale: float = 2.0,
    evaluations: int = 40,
    *,
    n: int = 256,
    worse: DiffusionModel | Path | str | None = None,
    seed: int = 0,
    progress: Count | None = None,
) -> GuidanceComparison:
    """``n`` images by each method (module docstring), in the features of the run's own data.

    ``evaluations``: of networks, for each image. ``progress(what, done, total)``. Raises InputError for a model without
    classes and texts, and too few images.
    """
    scale = real("guidance.scale", scale)
    n, evaluations = whole("n", n, least=FEWEST, most=MOST_COUNT), whole("steps", evaluations, least=4, most=MOST_COUNT)
    if (model.config.condition("labels") is None and not model.prompted) or scale <= 1:
        raise InputError(
            "guidance.scale: is compared above 1 and of models of classes or texts; train classifier-free or "
            "text-to-image"
        )
    train, held_out = model.load_images().split(model.config.data.held_out)
    asked = captioned(model, held_out, n) if model.prompted else in_turn(model, n)
    network = learn_features(train, progress)
    mixed, alike = (in_random_order(everything(part), seed) for part in (held_out, train))
    measures: list[Measure] = [Distance(network, mixed, alike)]
    if asked.classes is not None:
        measures.append(Accuracy(network, asked.classes, everything(held_out), every_label(held_out)))
    settings = {
        name: fitted(model, asked, one, scale, evaluations, seed) for name, one in _methods(model, scale, worse).items()
    }
    made = {CFG: _made(model, settings[CFG], asked, n, seed, counting_one(progress, "sampling cfg"))}
    rows = []
    for name, chosen in settings.items():
        if name not in made:
            made[name] = _made(model, chosen, asked, n, seed, counting_one(progress, f"sampling {name}"))
        rows.append(_row(name, chosen, made[CFG], made[name], measures, len(settings) - 1, seed))
    return GuidanceComparison(tuple(rows), n, len(held_out))


@dataclass(frozen=True)
class Asked:
    """What N samples are of: ``prompts``, or where there are none ``classes`` (N,); with prompts those of the pictures
    that they are the captions of, None where these have none."""

    classes: Tensor | None
    prompts: Sequence[str] | None = None

    def first(self, count: int) -> SampleOptions:
        """The condition of the first ``count``."""
        if self.prompts is not None:
            return {"prompt": [*self.prompts[:count]]}
        return {"label": cast(Tensor, self.classes)[:count]}


def in_turn(model: DiffusionModel, n: int) -> Asked:
    """One class after the other."""
    return Asked(torch.arange(n) % len(model.items.label_names))


def captioned(model: DiffusionModel, held_out: Dataset, n: int) -> Asked:
    """Captions of ``held_out`` pictures, evenly spaced, and again from the first. Raises InputError without any."""
    prompted = with_text(held_out)
    if not prompted:
        raise InputError("data: no held-out pictures have captions; give more")
    held_out = held_out.subset(prompted)
    places = np.resize(evenly(len(held_out), n), n)
    each = as_prompts(model, captions_of(held_out))
    classes = every_label(held_out)[torch.from_numpy(places)] if held_out.spec.label_names else None
    return Asked(classes, [each[place] for place in places])


def _methods(model: DiffusionModel, scale: float, worse: object) -> dict[str, Guidance]:
    """Each method before its scale is fitted."""
    plain = Guidance(scale)
    found = {
        "none": Guidance(),
        CFG: plain,
        "interval": replace(plain, interval=(0.3, 5.0)),
        "rescale": replace(plain, rescale=0.7),
        "cfg++": Guidance(0.3, method="cfg++"),
        "apg": replace(plain, method="apg"),
    }
    if worse is not None:
        found["autoguidance"] = loaded(model, replace(plain, worse=worse))
    return found


@dataclass(frozen=True)
class Fitted:
    """A method in so many ``steps``, its effective scale and its evaluations.

    ``fitted_to``: the effective scale that it was to have; None: its own.
    """

    guidance: Guidance
    effective: float
    steps: int
    evaluations: int
    fitted_to: float | None = None


def fitted(
    model: DiffusionModel, asked: Asked, guidance: Guidance, scale: float, evaluations: int, seed: int = 0
) -> Fitted:
    """``guidance`` with the most steps that the evaluations allow, and the scale that is as effective as cfg's."""

    def at(value: float) -> Guidance:
        return replace(guidance, scale=value)

    steps, wanted = _steps(model, asked, guidance, evaluations), None
    if guidance.worse is not None or not guidance.extrapolates:
        chosen, effective = guidance, effective_scale(model, asked, guidance, steps, seed)
    else:
        plus = guidance.method == PLUS_PLUS
        plain = Guidance(scale)
        wanted = effective_scale(model, asked, plain, _steps(model, asked, plain, evaluations), seed)
        best = calibrated(
            lambda value: effective_scale(model, asked, at(value), steps, seed),
            wanted,
            guidance.scale,
            0.0 if plus else 1.0,
            1.0 if plus else 1 + MOST_TIMES * (scale - 1),
        )
        chosen, effective = at(best), effective_scale(model, asked, at(best), steps, seed)
    return Fitted(chosen, effective, steps, evaluations_of(model, asked, guidance, steps), wanted)


@torch.inference_mode()
def effective_scale(model: DiffusionModel, asked: Asked, guidance: Guidance, steps: int, seed: int = 0) -> float:
    """That of ``guidance`` over the first `FITTED_ON` samples (`sumi.guidance.effective`).

    Before any threshold, which takes back part of what guides, of every method.
    """
    indices, first = range(FITTED_ON), asked.first(FITTED_ON)
    condition = model.condition_of(indices, first.get("label"), prompt=first.get("prompt"))
    method = model.method(tuned=False, steps=steps)
    inner = UnguidedNoise(method.solver) if guidance.method == PLUS_PLUS else method.solver
    better, worse, guided = (
        model.denoiser(given, guidance=how, threshold="none")
        for given, how in ((condition, Guidance()), (None, None), (condition, guidance))
    )
    probe = Measured(inner, better, worse)
    noise = SampleNoise(seed, indices, model.space.shape, device=model.device)
    sample(guided, probe, method.times, model.start_noise(indices, seed), noise)
    return probe.strength.scale


def _steps(model: DiffusionModel, asked: Asked, guidance: Guidance, evaluations: int) -> int:
    """The most steps that the evaluations allow, at least 1, by bisection."""
    fewest, too_many = 1, evaluations + 1
    grid = model.gaussian_denoiser().trained_steps
    too_many = too_many if grid is None else min(too_many, grid + 1)
    while too_many - fewest > 1:
        middle = (fewest + too_many) // 2
        fits = evaluations_of(model, asked, guidance, middle) <= evaluations
        fewest, too_many = (middle, too_many) if fits else (fewest, middle)
    return fewest


def evaluations_of(model: DiffusionModel, asked: Asked, guidance: Guidance, steps: int) -> int:
    """How often networks are evaluated for one sample, the model's and the worse one."""
    how: SampleOptions = {**asked.first(1), "guidance": guidance, "steps": steps, "progress": False}
    with counted(networks_of(model, guidance)) as found:
        model.sample(1, **how)
    return found.rows


def _made(model: DiffusionModel, chosen: Fitted, asked: Asked, n: int, seed: int, progress: Progress | None) -> Tensor:
    how: SampleOptions = {
        **asked.first(n),
        "seed": seed,
        "guidance": chosen.guidance,
        "steps": chosen.steps,
        "progress": progress,
    }
    return model.items.finish(model.sample(n, **how))


def _row(
    name: str, chosen: Fitted, plain: Tensor, made: Tensor, measures: Sequence[Measure], others: int, seed: int
) -> GuidanceRow:
    found = sweep(lambda value: made if value else plain, (0, 1), measures, compare_ends=name != CFG, seed=seed)
    lines, p_values = found.lines, {key: min(1.0, others * p) for key, p in found.p_values.items()}
    if "frechet" not in lines or (len(measures) > 1 and "accuracy" not in lines):
        raise InputError(f"n: nothing can be measured of so few images ({'; '.join(found.left_out)}); give more")
    changes = {key: (before.value, after.value) for key, (before, after) in lines.items()}
    found_of = verdict(changes, p_values)
    if chosen.fitted_to is not None and abs(chosen.effective / chosen.fitted_to - 1) > 0.1:
        found_of = UNEQUAL
    return GuidanceRow(
        method=name,
        scale=chosen.guidance.scale,
        effective=chosen.effective,
        steps=chosen.steps,
        evaluations=chosen.evaluations,
        frechet=lines["frechet"][1],
        accuracy=lines["accuracy"][1] if "accuracy" in lines else None,
        p_value=p_values.get("frechet"),
        verdict=None if name == CFG else found_of,
    )


def verdict(changes: dict[str, tuple[float, float]], p_values: dict[str, float]) -> str:
    """GAIN, NO_GAIN or LOSS, of each figure before and after."""
    sure = {key for key, p in p_values.items() if p < SIGNIFICANT}
    if "frechet" in sure:
        far, farther = changes["frechet"]
        return GAIN if farther < far else LOSS
    if "accuracy" in sure:
        right, more = changes["accuracy"]
        return GAIN if more > right else LOSS
    return NO_GAIN


def write_guidance(comparison: GuidanceComparison, folder: Path) -> Path:
    """Write guidance.json into ``folder``. Raises SumiError if it cannot."""
    file = folder / "guidance.json"
    write_text(file, json.dumps(asdict(comparison), indent=2) + "\n")
    return file
