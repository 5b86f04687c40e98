"""What guidance costs and brings: one model sampled at many scales of each kind of guidance, from the same noise.

    classifier-free   extrapolated from the model without a label: 0 is no label, 1 no guidance
    by a classifier   given the label, and guided by a classifier's gradient: 0 is no guidance
    autoguidance      extrapolated from a worse model with the same label: 0 is that model, 1 no guidance

Ho & Salimans 2022, section 4; Dhariwal & Nichol 2021, section 4.3; Karras et al. 2024. Stronger guidance shows the
class more surely (accuracy, precision) and shows less of it (recall, and so the Fréchet distance).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from sumi.conditioning.condition import Condition
from sumi.errors import InputError
from sumi.evaluation.sweep_measures import Accuracy, Distance, Variety
from sumi.evaluation.sweeps import Sweep, in_random_order, sweep
from sumi.features.network import FeatureNetwork
from sumi.models.classifier import ClassifierModel
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.guides import loaded
from sumi.models.model import GenerativeModel
from sumi.progress import Count, counting_one
from sumi.sampling.sampler import Guidance

SCALES: Final = (0.0, 1.0, 1.5, 2.0, 3.0, 5.0)


@dataclass(frozen=True)
class GuidanceSweep:
    """How a model is to be guided: by each kind of guidance, one setting for each of ``scales``."""

    scales: tuple[float, ...]
    settings: Mapping[str, tuple[Guidance, ...]]


@dataclass(frozen=True)
class TradeOff:
    """A sweep over the scale for each kind of guidance, by ``solver`` in ``steps`` steps."""

    solver: str
    steps: int
    kinds: Mapping[str, Sweep]


def guidance_sweep(
    model: GenerativeModel | ClassifierModel,
    scales: Sequence[float] = SCALES,
    *,
    classifier: ClassifierModel | Path | str | None = None,
    worse: DiffusionModel | Path | str | None = None,
) -> GuidanceSweep:
    """Classifier-free guidance, and what the classifier and the worse model, or run folders of them, allow.

    Raises InputError for anything but a model of images with classes as its condition; for runs that do not fit it; and
    for scales that are below 0, no numbers or fewer than two.
    """
    if not isinstance(model, DiffusionModel) or model.config.condition("labels") is None:
        raise InputError(
            "trade_off: needs a model of images that is conditioned on their classes; train classifier-free or guided"
        )
    values = tuple(sorted(set(scales)))
    if len(values) < 2 or not all(isfinite(value) and value >= 0 for value in values):
        raise InputError("scales: are at least two different numbers from 0 upwards; write 0,1,2,5")
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
        model.denoiser(some, guidance=one)  # refuses what it was not trained for, before anything is sampled
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
    """Sample images of ``seed``, one for each of ``labels`` (n,), at each setting; measure them by ``network``.

    ``training``, ``held_out``: real images (N, C, H, W) in [-1, 1]; ``held_out_labels``: their classes.
    ``progress(what, done, total)``.
    """
    alike, mixed = (in_random_order(images, seed) for images in (training, held_out))
    measures = (
        Distance(network, mixed, alike),
        Accuracy(network, labels, held_out, held_out_labels),
        Variety(network, mixed, alike, samples=len(labels), seed=seed),
    )

    def by(kind: str) -> Sweep:
        settings = dict(zip(guidance.scales, guidance.settings[kind], strict=True))

        def drawn(scale: float) -> Tensor:
            counting = counting_one(progress, f"sampling {kind} at {scale:g}")
            made = model.sample(len(labels), seed=seed, label=labels, guidance=settings[scale], progress=counting)
            return model.items.finish(made)

        return sweep(drawn, guidance.scales, measures, compare_ends=False)

    method = model.method(tuned=False)
    return TradeOff(method.name, method.steps, {kind: by(kind) for kind in guidance.settings})


def read_scales(text: str) -> tuple[float, ...]:
    """A,B,… as numbers. Raises InputError."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"scales: {text} are not numbers; write 0,1,2,5") from None
