"""What guidance costs and brings: one model sampled at many scales of each kind of guidance, from the same noise.

    classifier-free   extrapolated from what it says without a label: 0 is no label, 1 no guidance
    by a classifier   told the label, and led by a classifier's gradient: 0 is no guidance
    autoguidance      extrapolated from a worse model told the same label: 0 is that model, 1 no guidance

Ho & Salimans 2022, section 4; Dhariwal & Nichol 2021, section 4.3; Karras et al. 2024. Stronger guidance shows the
class more surely (accuracy, precision) and shows less of it (recall, and so the Fréchet distance).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Final

import torch
from torch import Tensor

from sumi.conditioning.condition import Condition
from sumi.conditioning.labels import LabelConditioning
from sumi.errors import InputError
from sumi.evaluation.sweep_measures import Accuracy, Distance, Variety
from sumi.evaluation.sweeps import Sweep, in_random_order, sweep
from sumi.features.network import FeatureNetwork
from sumi.guidance.guidance import Steering
from sumi.models.classifier import ClassifierModel
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.guides import by_runs
from sumi.models.model import GenerativeModel
from sumi.progress import Count, counting_one

SCALES: Final = (0.0, 1.0, 1.5, 2.0, 3.0, 5.0)


@dataclass(frozen=True)
class Kinds:
    """How a model is to be steered: at each of ``scales``, by each kind of guidance."""

    scales: tuple[float, ...]
    steering: Mapping[str, tuple[Steering, ...]]


@dataclass(frozen=True)
class TradeOff:
    """A sweep over the scale for each kind of guidance, by ``solver`` in ``steps`` steps."""

    solver: str
    steps: int
    kinds: Mapping[str, Sweep]


def kinds_of(
    model: GenerativeModel | ClassifierModel,
    scales: Sequence[float] = SCALES,
    *,
    classifier: str | None = None,
    worse: str | None = None,
    worse_checkpoint: int | None = None,
) -> Kinds:
    """Classifier-free guidance, and what the classifier and the worse model in these run folders allow.

    Raises InputError for a model of images that is told no classes, or of none; for runs that do not fit it; and for
    scales that are below 0, no numbers or fewer than two.
    """
    if not isinstance(model, DiffusionModel) or not isinstance(model.config.conditioning, LabelConditioning):
        raise InputError(
            "--trade-off: is of a model of images that is told their classes, and this one is not; train "
            "classifier-free or guided"
        )
    values = tuple(sorted(set(scales)))
    if len(values) < 2 or not all(isfinite(value) and value >= 0 for value in values):
        raise InputError("--scales: are at least two different numbers from 0 upwards; write 0,1,2,5")
    led = by_runs(model, Steering(), classifier=classifier, worse=worse, worse_checkpoint=worse_checkpoint)
    steering = {"classifier-free": tuple(Steering(guidance=value) for value in values)}
    if led.classifier is not None:
        plain = replace(led, worse=None)
        steering["by a classifier"] = tuple(replace(plain, classifier_scale=value) for value in values)
    if led.worse is not None:
        plain = replace(led, classifier=None)
        steering["autoguidance"] = tuple(replace(plain, guidance=value) for value in values)
    some = Condition(labels=torch.zeros(1, dtype=torch.int64))
    for one in (one for each in steering.values() for one in each):
        model.denoiser(some, steering=one)  # refuses what it was not trained for, before anything is sampled
    return Kinds(values, steering)


def trade_off(
    model: DiffusionModel,
    kinds: Kinds,
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
        steering = dict(zip(kinds.scales, kinds.steering[kind], strict=True))

        def drawn(scale: float) -> Tensor:
            counting = counting_one(progress, f"sampling {kind} at {scale:g}")
            made = model.sample(len(labels), seed=seed, label=labels, steering=steering[scale], progress=counting)
            return model.items.finish(made)

        return sweep(drawn, kinds.scales, measures, compare_ends=False)

    method = model.method(tuned=False)
    return TradeOff(method.name, method.steps, {kind: by(kind) for kind in kinds.steering})


def read_scales(text: str) -> tuple[float, ...]:
    """A,B,… as numbers. Raises InputError."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--scales {text}: are not numbers; write 0,1,2,5") from None
