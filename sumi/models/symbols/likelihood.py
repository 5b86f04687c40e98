"""The likelihood of held-out sequences: bits per sequence and per character, by the bound."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sumi.boundary.progress import Count, counting_one
from sumi.data.dataset import evenly_spaced
from sumi.errors import InputError
from sumi.metrics.intervals import Estimate, mean_of
from sumi.models.symbols.model import SymbolModel


@dataclass(frozen=True)
class SymbolLikelihood:
    """Of ``items`` held-out sequences of ``characters`` on average, at ``evaluations`` times each, or in so many steps.

    ``by_character``: all bits over all characters, so long sequences count more; the end of a sequence is no character,
    but its bits count.
    """

    items: int
    characters: float
    evaluations: int
    by_item: Estimate
    by_character: Estimate

    @staticmethod
    def of(bits: Tensor, lengths: Tensor, evaluations: int) -> "SymbolLikelihood":
        """From the bits and characters of each, (N,)."""
        lengths = lengths.double()
        ratio = bits.sum() / lengths.sum()
        spread = ratio + (bits - ratio * lengths) / lengths.mean()  # its mean is the ratio, its error the ratio's
        return SymbolLikelihood(len(bits), float(lengths.mean()), evaluations, mean_of(bits), mean_of(spread))


def likelihood_of_symbols(
    model: SymbolModel,
    *,
    data: object = None,
    n: int = 256,
    seed: int = 0,
    evaluations: int = 100,
    steps: int | None = None,
    progress: Count | None = None,
) -> SymbolLikelihood:
    """Of up to ``n`` held-out sequences of ``data`` (the run's own), evenly spaced. Raises InputError.

    ``steps``: of the chain of so many (`SymbolModel.bits`).
    """
    if n < 2:
        raise InputError(f"n: {n} is too few for an interval; give 2 or more")
    _, held_out = model.load_data(data).split(model.config.data.held_out)
    if len(held_out) < 2:
        raise InputError("data.held_out: keeps a single item, too few for an interval; give more data")
    x = evenly_spaced(held_out, n)
    counted = counting_one(progress, "likelihood")
    bits = model.bits(x, seed=seed, evaluations=evaluations, steps=steps, progress=counted)
    return SymbolLikelihood.of(bits, model.spec.lengths(torch.as_tensor(x)), steps or evaluations)
