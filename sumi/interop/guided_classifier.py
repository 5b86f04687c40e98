"""Classifiers of guided-diffusion (`sumi.networks.guided_classifier`), which guide any run of the same images.

The names are those of the U-Net without its way up. The side of the images is in the tensors of attention pooling; the
chain of its times is in none: a linear one of 1000 steps is assumed and noted, and the cosine one for the shape of the
published classifier of 64x64, whose model has it.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from math import isqrt
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from sumi.boundary.settings import override
from sumi.data.config import DataConfig
from sumi.data.images import ImageSpec
from sumi.errors import InputError
from sumi.interop.claims import RECIPE, Claims, take
from sumi.interop.guided import SIDES, encoder, multiples, way_down
from sumi.models.classifier import ClassifierModel, NoisyClassifierConfig
from sumi.models.model import RunDescription
from sumi.networks.guided import GuidedEncoderConfig
from sumi.networks.guided_classifier import GuidedClassifierConfig, Pool
from sumi.process.chain import CosineBeta
from sumi.process.schedules import ScheduleConfig

PUBLISHED_64: Final = ((1, 2, 3, 4), 4)
MOST: Final = 20.0
"""Of log-SNR, either way, at which a classifier may be asked."""


def read_classifier(
    own: Mapping[str, Tensor], claims: Claims | None, settings: tuple[str, ...], source: str, device: torch.device
) -> tuple[ClassifierModel, tuple[str, ...]] | None:
    """The classifier of these tensors, and what is assumed; None: they are of no classifier.

    ``claims``: its shape and chain; ``settings``: of single fields of them. Raises InputError.
    """
    if not {"time_embed.0.weight", "input_blocks.0.0.weight", "middle_block.0.in_layers.0.weight"} <= own.keys():
        return None
    if any(name.startswith("output_blocks.") for name in own):
        return None
    pool, classes = _pool(own)
    network = encoder(own, None, way_down(own))[0]
    times, factor = multiples(network), 2 ** (len(network.widths) - 1)
    side, chain = SIDES.get(times, 64), ", a linear chain of 1000 steps"
    assumed = Claims()
    if (times, network.blocks) == PUBLISHED_64:
        assumed, chain = replace(assumed, schedule=CosineBeta()), ", the cosine chain of the published model of 64x64"
    if pool == "attention":
        side = factor * isqrt(own["out.2.positional_embedding"].shape[1] - 1)
    else:
        chain = f", images of {side}x{side}{chain}"
    channels = own["input_blocks.0.0.weight"].shape[1]
    known = override(claims or replace(assumed, shape=(channels, side, side)), settings)
    names = known.classes if len(known.classes) == classes else tuple(map(str, range(classes)))
    levels = steps_of(known.schedule)
    shared = {own.name: getattr(network, own.name) for own in fields(GuidedEncoderConfig)}
    config = NoisyClassifierConfig(
        recipe=RECIPE,
        data=DataConfig(source=source),
        lowest=max(levels[-1], -MOST),
        highest=min(levels[0], MOST),
        network=GuidedClassifierConfig(**shared, pool=pool, log_snr=levels),
    )
    items = ImageSpec(channels, known.shape[1], known.shape[2], 256, names)
    module = config.build(items).model
    take(module.network, own, source)
    description = RunDescription(config, items, "", known.data_std)
    note = f"guided-diffusion's classifier: heads of {network.head_width} channels{chain} are assumed"
    return config.wrap(description, module.to(device), 0, Path(source)), (f"{note}; claim others by a mapping",)


def steps_of(schedule: ScheduleConfig) -> tuple[float, ...]:
    """The log-SNR of the steps of a chain, from the first. Raises InputError for a schedule that is none."""
    if schedule.steps is None:
        raise InputError(f"schedule: {schedule.name} has no steps, which a classifier knows; claim a chain")
    times = torch.arange(1, schedule.steps + 1, dtype=torch.float64) / schedule.steps
    return tuple(schedule.build().log_snr(times).tolist())


def _pool(own: Mapping[str, Tensor]) -> tuple[Pool, int]:
    """How places become one, and the number of classes."""
    if "out.2.positional_embedding" in own:
        return "attention", len(own["out.2.c_proj.weight"])
    if "out.3.weight" in own and own["out.3.weight"].ndim == 4:
        return "adaptive", len(own["out.3.weight"])
    raise InputError("file: its classifier pools in a way that is not known here; known are attention and adaptive")
