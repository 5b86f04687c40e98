"""What to know of a data set before a model is trained on it: classes without images to train on, items all alike."""

from collections import Counter
from typing import Final

import numpy as np

from sumi.data.dataset import Dataset, every_label, few
from sumi.errors import InputError

FEW: Final = 1000
"""Fewer images to train on than this are called few: models that see each many times reproduce them."""
_CHUNK = 256


def cautions(whole: Dataset, train: Dataset) -> tuple[str, ...]:
    """Notes on the classes of ``whole``, of which ``train`` is trained on.

    Raises InputError where all of ``train`` are alike, as there is nothing to learn.
    """
    if _alike(train):
        raise InputError(f"data: all {len(train)} {train.spec.name} to train on are alike; give some that differ")
    names = whole.label_names
    if not names:
        return ()
    of_all, of_train = (np.bincount(every_label(part).numpy(), minlength=len(names)) for part in (whole, train))
    held = [f"{name} ({n} of {len(whole)})" for name, n, k in zip(names, of_all, of_train, strict=True) if n and not k]
    none = [name for name, n in zip(names, of_all, strict=True) if not n]
    single = [f"{name} (1 of {len(train)})" for name, k in zip(names, of_train, strict=True) if k == 1]
    notes = [f"held out are all images of class {few(held)}: no image to train on; add some"] if held else []
    notes += [f"there is no image of class {few(none)}"] if none else []
    notes += [f"there is one image to train on of class {few(single)}"] if single else []
    if "all" in names:
        notes.append(f'label "all" stands for every class: give the class called all as number {names.index("all")}')
    folded = Counter(map(str.casefold, names))
    cased = [name for name in names if folded[name.casefold()] > 1]
    return (*notes, *([f"classes that differ in upper and lower case alone: {few(cased)}"] if cased else []))


def scarcity(train: Dataset) -> tuple[str, ...]:
    """A note where so few items are trained on that a model of them will copy (Somepalli et al. 2023, "Diffusion art or
    digital forgery?", section 6: 300 faces are copied, 3000 hardly)."""
    if train.spec.together or len(train) >= FEW:
        return ()
    return (f"{len(train)} {train.spec.name} to train on: expect copies; see docs/how-to/small-data.md",)


def _alike(data: Dataset) -> bool:
    """Whether there are several items and all are equal; read up to the first that differs."""
    first = data.batch(np.arange(1))
    parts = (np.arange(k, min(k + _CHUNK, len(data))) for k in range(0, len(data), _CHUNK))
    return len(data) > 1 and all(bool((data.batch(part) == first).all()) for part in parts)
