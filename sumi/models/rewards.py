"""Rewards of pictures by a trained model: how probable it is that they show what is wanted.

a noisy classifier    log p(class | x_0), at the least noise that it knows
a CLIP                log p(text | x_0)
a judge               Σ log p(value | x_0) over the attributes that are named

For steering (`sumi.guidance.steering`).
"""

from pathlib import Path

import torch
from torch import Tensor

from sumi.boundary.arguments import shown
from sumi.conditioning.labels import labels_of
from sumi.errors import InputError
from sumi.guidance.steering import Reward
from sumi.models.attributes import Judge, JudgeModel
from sumi.models.classifier import ClassifierModel
from sumi.models.clip import ClipModel
from sumi.models.model import TrainedModel
from sumi.models.run import load
from sumi.process.schedule import DATA


def reward_of(model: TrainedModel, judge: TrainedModel | Path | str, target: str) -> Reward:
    """The reward of pictures (N, C, H, W) in [-1, 1] of ``model`` for showing the ``target``, by a run or a model.

    ``target``: a class, a text, or attributes as colour=red,eyes=two. Raises InputError for another run, other images,
    and a target that it does not know.
    """
    match judge:
        case str() | Path():
            return reward_of(model, load(judge, TrainedModel, device=str(model.device)), target)
        case ClassifierModel() | ClipModel() | JudgeModel():
            if judge.items.shape != model.items.shape:
                raise InputError(
                    f"reward: {judge.folder} sees pictures of {judge.items.shape}, and the model makes "
                    f"{model.items.shape}; train one on its data"
                )
    match judge:
        case ClassifierModel(classifier=classifier, items=items):
            label = labels_of(target, items.label_names, range(1), "target")

            def of_class(x_0: Tensor) -> Tensor:
                return classifier.of(label.expand(len(x_0)))(x_0, DATA)

            return of_class
        case ClipModel(module=clip):
            text = judge.embed_text([target])
            return lambda x_0: clip.loss.log_match(clip.logits((clip.pictures(x_0) * text.to(x_0)).sum(1)))
        case JudgeModel(module=module):
            return _by_judge(module, target)
        case _:
            raise InputError(f"reward: {shown(judge)} judges no pictures; give a noisy classifier, a CLIP or a judge")


def _by_judge(judge: Judge, target: str) -> Reward:
    wanted = {name: value for name, _, value in (part.partition("=") for part in target.split(","))}
    for name, value in wanted.items():
        if name not in judge.attributes:
            raise InputError(f"target: there is no attribute {name!r}; choose from {', '.join(judge.attributes)}")
        if value not in judge.attributes[name]:
            raise InputError(f"target: {name} is none of {value!r}; choose from {', '.join(judge.attributes[name])}")
    places = {
        number: 1 + values.index(wanted[name])
        for number, (name, values) in enumerate(judge.attributes.items())
        if name in wanted
    }

    def of_attributes(x_0: Tensor) -> Tensor:
        heads = judge(x_0)
        return torch.stack([heads[k].log_softmax(1)[:, place] for k, place in places.items()]).sum(0)

    return of_attributes
