"""What the options say of how samples are steered: the steering itself, and the words for it in files."""

import argparse
from typing import Final

from sumi.errors import InputError
from sumi.guidance.guidance import Steering
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.guides import by_runs, read_interval

STEERING: Final = (
    *("guidance_interval", "guidance_rescale", "negative", "worse", "worse_checkpoint", "classifier"),
    *("classifier_scale", "threshold"),
)
"""The options that steer, beside the label and its guidance."""


def steered(model: DiffusionModel, options: argparse.Namespace) -> Steering | None:
    """What the options say beside the label and its guidance; None: nothing. Raises InputError."""
    if not said_of(options):
        return None
    steering = Steering(
        interval=None if options.guidance_interval is None else read_interval(options.guidance_interval),
        rescale=options.guidance_rescale,
        negative=options.negative,
        classifier_scale=1.0 if options.classifier_scale is None else options.classifier_scale,
        threshold=options.threshold,
    )
    if options.classifier_scale is not None and options.classifier is None:
        raise InputError("--classifier-scale: is that of a classifier, and none is given; add --classifier")
    return by_runs(
        model,
        steering,
        classifier=options.classifier,
        worse=options.worse,
        worse_checkpoint=options.worse_checkpoint,
    )


def said_of(options: argparse.Namespace) -> dict[str, object]:
    """The options that steer, by name, where they are given."""
    return {name: getattr(options, name) for name in STEERING if getattr(options, name) is not None}


def how_guided(model: DiffusionModel, options: argparse.Namespace, *, told: bool) -> dict[str, object]:
    """How samples were guided, by the options or as the run is configured where anything was ``told`` of them."""
    usual, about = model.config.sampling, dict[str, object]()
    by_classifier = options.classifier is not None and not (
        options.negative or options.worse or options.worse_checkpoint is not None
    )
    if told:
        scale = 1.0 if by_classifier else usual.guidance
        about["guidance"] = scale if options.guidance is None else options.guidance
        if usual.guidance_interval is not None:
            about["guidance_interval"] = "{:g},{:g}".format(*usual.guidance_interval)
        if usual.guidance_rescale:
            about["guidance_rescale"] = usual.guidance_rescale
    return about | said_of(options)
