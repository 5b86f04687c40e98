"""The runs that guide a model: a classifier of noisy images, or a worse model of the same data."""

from dataclasses import replace
from pathlib import Path

import torch

from sumi.errors import InputError
from sumi.models.classifier import ClassifierModel
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load
from sumi.sampling.sampler import Guidance


@torch.inference_mode(False)  # an inference tensor gives no gradient
def loaded(model: DiffusionModel, guidance: Guidance) -> Guidance:
    """``guidance`` with its run folders and models replaced by their denoiser and classifier.

    Raises InputError if their images or classes differ from the model's.
    """
    return replace(guidance, worse=_worse(model, guidance.worse), classifier=_classifier(model, guidance.classifier))


def _worse(model: DiffusionModel, worse: object) -> object:
    device = str(model.device)
    other = load(worse, DiffusionModel, device=device) if isinstance(worse, str | Path) else worse
    if not isinstance(other, DiffusionModel):
        return other
    if other.items != model.items:
        raise InputError(f"guidance.worse: {other.folder} makes other images or has other classes; choose another")
    if other.description.identity == model.description.identity and other.digest == model.digest:
        raise InputError(f"guidance.worse: {other.folder} is the model itself; choose a worse run or checkpoint")
    return other.gaussian_denoiser()


def _classifier(model: DiffusionModel, classifier: object) -> object:
    device = str(model.device)
    found = load(classifier, ClassifierModel, device=device) if isinstance(classifier, str | Path) else classifier
    if not isinstance(found, ClassifierModel):
        return found
    if found.items.shape != model.items.shape or found.items.label_names != model.items.label_names:
        raise InputError(
            f"guidance.classifier: {found.folder} knows other images or classes than the model; train one on its data"
        )
    return found.classifier
