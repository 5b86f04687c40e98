"""The figures of a model of symbols."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from sumi.boundary.progress import Count, counting_one
from sumi.data.dataset import evenly_spaced, everything
from sumi.data.symbols import SymbolDataset
from sumi.metrics.symbols import Differences, Shares, are_molecules, looks_like_smiles, shares
from sumi.models.symbols.likelihood import SymbolLikelihood
from sumi.models.symbols.model import SymbolModel

EVALUATIONS: Final = 20
"""Times at which the bound of an item is estimated."""
MEASURED: Final = 200
"""Items whose bound is estimated, held out and of the training data."""


@dataclass(frozen=True)
class SymbolEvaluation:
    """``made`` and ``real``: samples, and held-out items, with their share of training strings. ``differences`` to the
    held-out items: of samples, and of as many training items. ``bits`` of held-out items, ``bits_training`` of others.
    ``molecules``: None where they may be, and rdkit is not installed.
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


def evaluate_texts(
    model: SymbolModel,
    samples: Tensor,
    train: SymbolDataset,
    held_out: SymbolDataset,
    seed: int,
    progress: Count | None,
) -> SymbolEvaluation:
    """Samples (N, L) against held-out items; novelty and the bound's second figure are of ``train``."""
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
    )
