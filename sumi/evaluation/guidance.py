"""The trade-off of guidance: one model sampled at many scales of each guidance method, from the same noise.

    classifier-free   extrapolate from the unconditional model: 0 is unconditional, 1 no guidance
    by a classifier   conditional, guided by a classifier's gradient: 0 is no guidance
    autoguidance      extrapolate from a worse model with the same label: 0 is that model, 1 no guidance

Ho & Salimans 2022, section 4; Dhariwal & Nichol 2021, section 4.3; Karras et al. 2024. Stronger guidance raises
accuracy and precision, and lowers recall, which in the end worsens the Fréchet distance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from sumi.boundary.progress import Count, counting_one
from sumi.conditioning.condition import Condition
from sumi.data.spec import expect
from sumi.errors import InputError
from sumi.evaluation.sweep_measures import Accuracy, Distance, Variety
from sumi.evaluation.sweeps import Sweep, in_random_order, sweep
from sumi.metrics.features.network import FeatureNetwork
from sumi.models.classifier import ClassifierModel
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.guides import loaded
from sumi.models.model import TrainedModel
from sumi.sampling.sampler import Guidance

SCALES: Final = (0.0, 1.0, 1.5, 2.0, 3.0, 5.0)


@dataclass(frozen=True)
class GuidanceSweep:
    """What to sweep over: for each guidance method, one setting per scale."""

    scales: tuple[float, ...]
    settings: Mapping[str, tuple[Guidance, ...]]


@dataclass(frozen=True)
class TradeOff:
    """A sweep over the scale for each guidance method, by ``solver`` in ``steps`` steps."""

    solver: str
    steps: int
    methods: Mapping[str, Sweep]


def guidance_sweep(
    model: TrainedModel,
    scales: Sequence[float] = SCALES,
    *,
    classifier: ClassifierModel | Path | str | None = None,
    worse: DiffusionModel | Path | str | None = None,
) -> GuidanceSweep:
    """A sweep of classifier-free guidance; with ``classifier`` or ``worse`` (models or run folders) of theirs, too.

    Raises InputError unless the model is a class-conditional model of images; for runs that do not fit it; and for
    fewer than two scales or scales that are not finite and at least 0.
    """
    why = "trade_off: needs a class-conditional model of images; train the recipe classifier-free or guided"
    model = expect(model, DiffusionModel, why)
    if model.config.condition("labels") is None:
        raise InputError(why)
    values = tuple(sorted(set(scales)))
    if len(values) < 2 or not all(isfinite(value) and value >= 0 for value in values):
        raise InputError("scales: give at least two different numbers from 0 upwards, such as 0,1,2,5")
    own = replace(model.config.sampling.guidance, negative=None)
    loading = loaded(model, replace(own, classifier=classifier, worse=worse))
    settings = {"classifier-free": tuple(replace(own, scale=value) for value in values)}
    if classifier is not None:
        plain = replace(own, scale=1.0, classifier=loading.classifier)
        settings["by a classifier"] = tuple(replace(plain, classifier_scale=value) for value in values)
    if worse is not None:
        settings["autoguidance"] = tuple(replace(own, scale=value, worse=loading.worse) for value in values)
    some = Condition(labels=torch.zeros(1, dtype=torch.int64))
    for one in (one for each in settings.values() for one in each):
        model.denoiser(some, guidance=one)  # raises for what it was not trained for, before anything is sampled
    return GuidanceSweep(values, settings)


def trade_off(
    model: DiffusionModel,
    guidance: GuidanceSweep,
    network: FeatureNetwork,
    training: Tensor,
    held_out: Tensor,
    *,
    labels: Tensor,
    held_out_labels: Tensor,
    seed: int = 0,
    progress: Count | None = None,
) -> TradeOff:
    """Sample one image per label (n,) at each setting, and measure them in the features of ``network``.

    ``training``, ``held_out``: real images (N, C, H, W) in [-1, 1]; ``held_out_labels``: their classes.
    ``progress(what, done, total)``.
    """
    alike, mixed = (in_random_order(images, seed) for images in (training, held_out))
    measures = (
        Distance(network, mixed, alike),
        Accuracy(network, labels, held_out, held_out_labels),
        Variety(network, mixed, alike, samples=len(labels), seed=seed),
    )

    def by(method: str) -> Sweep:
        settings = dict(zip(guidance.scales, guidance.settings[method], strict=True))

        def samples(scale: float) -> Tensor:
            counting = counting_one(progress, f"sampling {method} at {scale:g}")
            made = model.sample(len(labels), seed=seed, label=labels, guidance=settings[scale], progress=counting)
            return model.items.finish(made)

        return sweep(samples, guidance.scales, measures, compare_ends=False)

    sampler = model.method(tuned=False)
    found = {method: by(method) for method in guidance.settings}
    everywhere = set.intersection(*(set(one.lines) for one in found.values()))
    return TradeOff(sampler.name, sampler.steps, {method: one.only(everywhere) for method, one in found.items()})


def read_scales(text: str) -> tuple[float, ...]:
    """A,B,… as numbers. Raises InputError."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"scales: {text} is not a list of numbers; write 0,1,2,5") from None
