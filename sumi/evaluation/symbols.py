"""The figures of a model of symbols."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from sumi.boundary.progress import Count, counting_one
from sumi.data.dataset import evenly_spaced, everything
from sumi.data.symbols import SymbolDataset
from sumi.errors import InputError
from sumi.metrics.intervals import Estimate, mean_of, share
from sumi.metrics.symbols import Differences, Shares, are_molecules, looks_like_smiles, shares
from sumi.models.symbols.classifier import SymbolClassifierModel
from sumi.models.symbols.likelihood import SymbolLikelihood
from sumi.models.symbols.model import SymbolModel

EVALUATIONS: Final = 20
"""Times at which the bound of an item is estimated."""
MEASURED: Final = 200
"""Items whose bound is estimated, held out and of the training data."""


@dataclass(frozen=True)
class AskedFor:
    """What a judge reads in samples that were asked for what held-out items are: how many are of their class, or by how
    much they miss a number, in its units.

    ``name``: class, or that of the number. ``unconditional``: of samples that were not asked; ``real``: of those items.
    """

    name: str
    conditional: Estimate
    unconditional: Estimate
    real: Estimate


@dataclass(frozen=True)
class SymbolEvaluation:
    """``made`` and ``real``: samples, and held-out items, with their share of training strings. ``differences`` to the
    held-out items: of samples, and of as many training items. ``bits`` of held-out items, ``bits_training`` of others.
    ``molecules``: None where they may be, and rdkit is not installed. ``asked``: with a judge.
    """

    seed: int
    samples: int
    held_out: int
    molecules: bool | None
    made: Shares
    real: Shares
    differences: Differences
    differences_real: Differences
    bits: SymbolLikelihood
    bits_training: SymbolLikelihood
    asked: tuple[AskedFor, ...] = ()


def evaluate_texts(
    model: SymbolModel,
    samples: Tensor,
    train: SymbolDataset,
    held_out: SymbolDataset,
    seed: int,
    progress: Count | None,
    judge: SymbolClassifierModel | None = None,
) -> SymbolEvaluation:
    """Samples (N, L) against held-out items; novelty and the bound's second figure are of ``train``.

    A ``judge`` reads what conditional samples are. Raises InputError where it and the model have nothing in common.
    """
    texts, known, real = model.texts(samples), train.texts(), held_out.texts()
    molecules = are_molecules(known[:500]) if looks_like_smiles(model.spec.vocabulary) else False
    order = np.random.default_rng(seed).permutation(len(train))
    alike = [known[i] for i in order[: len(texts)]]

    def bits(data: SymbolDataset, which: str) -> SymbolLikelihood:
        x = evenly_spaced(data, MEASURED) if len(data) > MEASURED else everything(data)
        counted = counting_one(progress, f"likelihood of {which} items")
        found = model.bits(x, seed=seed, evaluations=EVALUATIONS, progress=counted)
        return SymbolLikelihood.of(found, model.spec.lengths(torch.as_tensor(x)), EVALUATIONS)

    return SymbolEvaluation(
        seed,
        len(texts),
        len(real),
        molecules,
        shares(texts, known, molecules=bool(molecules)),
        shares(real, known, molecules=bool(molecules)),
        Differences.of(texts, real),
        Differences.of(alike, real),
        bits(held_out, "held-out"),
        bits(train, "training"),
        () if judge is None else _asked_for(model, samples, held_out, judge, seed, progress),
    )


def _asked_for(
    model: SymbolModel,
    free: Tensor,
    held_out: SymbolDataset,
    judge: SymbolClassifierModel,
    seed: int,
    progress: Count | None,
) -> tuple[AskedFor, ...]:
    """As many samples as ``free`` (N, L), asked for what held-out items are, one after the other."""
    common = model.config.knows & judge.knows
    names, classes = [name for name in judge.module.names if ("values", name) in common], ("labels", "") in common
    if not names and not classes:
        raise InputError(f"judge: {judge.folder} reads nothing that {model.folder} can be asked for; train another")
    numbers = np.stack([held_out.column(name) for name in names], 1) if names else np.empty((len(held_out), 0))
    known = np.flatnonzero(np.isfinite(numbers).all(1))
    if len(known) < 2:
        raise InputError(f"judge: fewer than two held-out items have {', '.join(names)}; keep more by data.held_out")
    if classes and held_out.label_names != judge.items.label_names:
        raise InputError(f"judge: {judge.folder} knows other classes than the data have; give the run's own data")
    few = np.linspace(0, len(known) - 1, len(free)).round().astype(int)
    items = known[few] if len(free) < len(known) else np.resize(known, len(free))
    condition = {"values": {name: numbers[items, k] for k, name in enumerate(names)}} if names else None
    labels = held_out.labels_of(items) if classes else None
    counted = counting_one(progress, "sampling with conditions")
    made = model.sample(len(free), seed=seed, batch_size=256, label=labels, condition=condition, progress=counted)
    read = [judge.read(x) for x in (made, free, everything(held_out.subset(known)))]
    found = list[AskedFor]()
    if labels is not None:
        wanted = (labels, labels, held_out.labels_of(known))
        right = [int((of == answer).sum()) for (of, _), answer in zip(read, wanted, strict=True)]
        found.append(AskedFor("class", *map(share, right, map(len, wanted))))
    for k, name in enumerate(names):
        place = judge.module.names.index(name)
        wanted = (numbers[items, k], numbers[items, k], numbers[known, k])
        missed = [(of[:, place] - torch.from_numpy(w)).abs() for (_, of), w in zip(read, wanted, strict=True)]
        found.append(AskedFor(name, *map(mean_of, missed)))
    return tuple(found)
