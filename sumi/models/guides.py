"""Steering a model by other runs: a classifier of noisy images, a worse model of the same."""

from dataclasses import replace
from math import inf

from sumi.errors import InputError
from sumi.guidance.classifier import NoisyClassifier
from sumi.guidance.extrapolation import Interval
from sumi.guidance.guidance import Steering
from sumi.models.classifier import ClassifierModel
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load


def by_runs(
    model: DiffusionModel,
    steering: Steering,
    *,
    classifier: str | None = None,
    worse: str | None = None,
    worse_checkpoint: int | None = None,
) -> Steering:
    """``steering`` with the classifier in one run folder and the worse model in another, or an earlier checkpoint.

    Raises InputError where they are not of the model's images and classes.
    """
    if classifier is not None:
        steering = replace(steering, classifier=classifier_of(model, classifier))
    if worse is not None or worse_checkpoint is not None:
        other = load(worse or model.folder, DiffusionModel, checkpoint=worse_checkpoint, device=str(model.device))
        if other.items != model.items:
            raise InputError(f"--worse {worse}: makes other images or has other classes than {model.folder}; give such")
        if other.description.identity == model.description.identity and other.digest == model.digest:
            raise InputError(f"--worse {worse}: is the model itself; give a worse run, or --worse-checkpoint STEP")
        steering = replace(steering, worse=other.gaussian_denoiser())
    return steering


def classifier_of(model: DiffusionModel, run: str) -> NoisyClassifier:
    """The classifier in a run folder. Raises InputError where it knows other images or classes."""
    found = load(run, ClassifierModel, device=str(model.device))
    if found.items.shape != model.items.shape or found.items.label_names != model.items.label_names:
        raise InputError(f"--classifier {run}: knows other images or classes than the model; train one on its data")
    return found.classifier


def read_interval(text: str) -> Interval:
    """LOW,HIGH in sigma/alpha; either may be left out. Raises InputError."""
    low, comma, high = text.partition(",")
    try:
        ends = (float(low or 0), float(high or inf)) if comma else None
    except ValueError:
        ends = None
    if ends is None:
        raise InputError(f"--guidance-interval {text}: is not of the form LOW,HIGH; write 0.3,5")
    return Interval(*ends)
