"""What a judge reads in pictures, against the attributes that their captions mention.

The figure of a picture is the share of the mentioned attributes that the judge reads as mentioned; that of a set is the
mean over its pictures. As controls, every picture is judged by the caption of another one: any other, or another one of
its own class. The second says what a model gets that heeds the class alone.

A pair of attributes is unseen if no training picture has both values. Pictures whose captions mention such a pair are
measured for themselves: those where it is of the class and an attribute, and those of two other attributes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import torch

from sumi.data.dataset import Dataset
from sumi.data.image_set import ImageDataset
from sumi.data.spec import expect
from sumi.errors import InputError
from sumi.metrics.intervals import Estimate, mean_of, share
from sumi.models.attributes import attributes_of
from sumi.randomness import Purpose, generator

Known = Sequence[Mapping[str, str]]
SEEN: Final = "pairs seen in training"
OF_PARTS: Final = "two attributes never seen together"
OF_CLASS: Final = "a class and an attribute never seen together"


@dataclass(frozen=True)
class Readings:
    """``mean`` over ``pictures``, and the share read right of each attribute among those that mention it."""

    pictures: int
    mean: Estimate
    each: Mapping[str, Estimate]


@dataclass(frozen=True)
class JudgeEvaluation:
    """Of held-out pictures: ``mentioned`` in their captions, and ``every`` attribute that they have.

    ``guess``: the share of the most frequent value of each attribute.
    """

    mentioned: Readings
    every: Readings
    guess: dict[str, float]


def mentioned_in(data: Dataset) -> list[dict[str, str]]:
    """The attributes of each item that its caption mentions; all of them where the data do not say which."""
    images = expect(data, ImageDataset, "data.source: holds no images, and attributes are of images; give images")
    known = attributes_of(images)
    if images.mentioned is None:
        return [dict(each) for each in known]
    return [{name: each[name] for name in names} for each, names in zip(known, images.mentioned, strict=True)]


def readings(read: Known, wanted: Known) -> Readings:
    """Of what was ``read`` in each picture, and what was ``wanted`` of it. Raises InputError for fewer than two."""
    pairs = [(found, each) for found, each in zip(read, wanted, strict=True) if each]
    if len(pairs) < 2:
        raise InputError(f"data: {len(pairs)} images have attributes that their captions mention; give two or more")
    right = [{name: found.get(name) == value for name, value in each.items()} for found, each in pairs]
    names = dict.fromkeys(name for each in right for name in each)
    every = {name: [each[name] for each in right if name in each] for name in names}
    means = torch.tensor([sum(each.values()) / len(each) for each in right], dtype=torch.float64)
    return Readings(len(right), mean_of(means), {name: share(sum(all_), len(all_)) for name, all_ in every.items()})


def others(classes: Sequence[int], seed: int) -> list[int]:
    """For each place another one of the same class, by a cycle through each class in an order of the ``seed``."""
    order = generator(seed, 1, 0, Purpose.EVALUATION).permutation(len(classes)).tolist()
    found = list(range(len(classes)))
    for one in set(classes):
        places = [place for place in order if classes[place] == one]
        for place, other in zip(places, (*places[1:], *places[:1]), strict=True):
            found[place] = other
    return found


def unseen_pairs(train: Known, wanted: Known) -> list[list[tuple[str, str]]]:
    """The names of each pair of attributes that is wanted together and that no item of ``train`` has together."""
    seen = {pair for each in train for pair in combinations(sorted(each.items()), 2)}
    return [[(a[0], b[0]) for a, b in combinations(sorted(each.items()), 2) if (a, b) not in seen] for each in wanted]


def group_of(pairs: Sequence[tuple[str, str]], of_class: str | None) -> str:
    """Which of the three groups a picture with these unseen pairs is in; ``of_class``: the attribute of its class."""
    if not pairs:
        return SEEN
    return OF_CLASS if any(of_class in pair for pair in pairs) else OF_PARTS


def class_attribute(data: ImageDataset) -> str | None:
    """The attribute that is the class of every item; None where there is none."""
    known = attributes_of(data)
    if data.labels is None or not len(data):
        return None
    names = [data.label_names[label] for label in data.labels.tolist()]
    alike = [key for key in known[0] if all(each.get(key) == name for each, name in zip(known, names, strict=True))]
    return alike[0] if alike else None
