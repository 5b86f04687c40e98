"""The runs that guide a model: a classifier of noisy images or symbols, a CLIP, or a worse model of the same data."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from sumi.data.spec import expect
from sumi.data.symbols import SymbolSpec
from sumi.errors import InputError
from sumi.guidance.clip import ClipGuide
from sumi.models.classifier import ClassifierModel
from sumi.models.clip import ClipModel
from sumi.models.diffusion.autoencoder import TrainedAutoencoder
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.system import DiffusionConfig
from sumi.models.diffusion.trained_denoiser import TrainedDenoiser
from sumi.models.run import load
from sumi.models.symbols.classifier import SymbolClassifierModel
from sumi.models.symbols.model import SymbolModel
from sumi.sampling.sampler import Guidance


@torch.inference_mode(False)  # an inference tensor gives no gradient
def loaded(model: TrainedDenoiser, guidance: Guidance) -> Guidance:
    """``guidance`` with its run folders and models replaced by their denoiser, classifier and guide.

    Raises InputError if their images or classes differ from the model's.
    """
    return replace(
        guidance,
        worse=_worse(model, guidance.worse),
        classifier=_classifier(model, guidance.classifier),
        clip=_clip(model, guidance.clip),
    )


def classifier_of_symbols(
    model: SymbolModel, given: SymbolClassifierModel | str | Path, what: str = "classifier"
) -> SymbolClassifierModel:
    """The classifier that is ``given``, or is in that run folder; messages call it ``what``.

    Raises InputError if it knows other symbols, or another process, than the model.
    """
    match given:
        case SymbolClassifierModel():
            found = given
        case _:
            found = load(given, SymbolClassifierModel, device=str(model.device))
    if found.device != model.device:
        raise InputError(f"{what}: is on {found.device}, and the model on {model.device}; load it there")
    why = f"{what}: {found.folder} knows other symbols or classes than the model; train one on its data"
    spec, other = model.spec, expect(found.items, SymbolSpec, why)
    classes = spec.label_names if found.module.classes else ()  # a model may have been trained without
    if replace(spec, label_names=()) != replace(other, label_names=()) or classes not in ((), other.label_names):
        raise InputError(why)
    if found.module.process != model.module.process:
        raise InputError(
            f"{what}: {found.folder} knows process={found.config.process.name} alone, and the model has "
            f"process={model.config.process.name}; train one with that"
        )
    return found


def _clip(model: TrainedDenoiser, clip: object) -> object:
    match clip:
        case str() | Path():
            return _clip(model, load(clip, ClipModel, device=str(model.device)))
        case ClipModel(items=items, module=network):
            if items.shape != model.items.shape:
                raise InputError(
                    f"guidance.clip: {clip.folder} sees pictures of {items.shape}, and the model makes "
                    f"{model.items.shape}; train one on its data"
                )

            def log_match(x_0: Tensor, texts: Tensor) -> Tensor:
                cosines = (network.pictures(model.space.decode(x_0)) * texts).sum(1)
                return network.loss.log_match(network.logits(cosines))

            return ClipGuide(clip.embed_parts, log_match)
        case _:
            return clip


def _worse(model: TrainedDenoiser, worse: object) -> object:
    match worse:
        case str() | Path():
            return _worse(model, load(worse, DiffusionModel, device=str(model.device)))
        case DiffusionModel():
            if worse.items != model.items:
                raise InputError(
                    f"guidance.worse: {worse.folder} makes other images or has other classes; choose another"
                )
            if worse.space.shape != model.space.shape or _latents(worse) != _latents(model):
                raise InputError(
                    f"guidance.worse: {worse.folder} denoises other latents than the model; choose a run of the same "
                    "autoencoder"
                )
            texts = model.text, worse.text
            if texts[0] is not None and texts[1] is not None and not texts[0].encoder.same_tokens(texts[1].encoder):
                raise InputError(
                    f"guidance.worse: {worse.folder} reads texts as other tokens than the model; choose a run with its "
                    "captions and encoder"
                )
            if worse.description.identity == model.description.identity and worse.digest == model.digest:
                raise InputError(
                    f"guidance.worse: {worse.folder} is the model itself; choose a worse run or checkpoint"
                )
            return worse.gaussian_denoiser()
        case _:
            return worse


def _classifier(model: TrainedDenoiser, classifier: object) -> object:
    match classifier:
        case str() | Path():
            return _classifier(model, load(classifier, ClassifierModel, device=str(model.device)))
        case ClassifierModel(items=items):
            if _latents(model):
                raise InputError(
                    f"guidance.classifier: {classifier.folder} knows pixels, and the model denoises latents; give "
                    "a label, or a CLIP"
                )
            if items.shape != model.items.shape or items.label_names != model.items.label_names:
                raise InputError(
                    f"guidance.classifier: {classifier.folder} knows other images or classes than the model; train one "
                    "on its data"
                )
            return classifier.classifier
        case _:
            return classifier


def _latents(model: TrainedDenoiser) -> str:
    """sha256 of the autoencoder's weights whose latents it denoises; empty: of pixels."""
    match model.config:
        case DiffusionConfig(autoencoder=TrainedAutoencoder(weights=weights)):
            return weights
        case _:
            return ""
