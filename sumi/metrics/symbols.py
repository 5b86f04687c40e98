"""How sets of strings differ, and what share of them is valid, different and new.

    distance of lengths, of symbols and of neighbouring pairs      ½ Σ_k |p_k - q_k|, of the shares p, q in two sets
    valid      the share that rdkit reads as molecules, where the data are SMILES
    unique     different ones among the valid ones (all, where there is no validity)
    novel      of those different ones, not in the training data

Of molecules, different means different canonical SMILES: "OCC" and "CCO" are one.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sumi.metrics.intervals import Estimate, share

SMILES: Final = frozenset("BCNOPSFIHclnospbrai0123456789()[]=#@+-/\\%.")
ENOUGH: Final = 0.9
"""Of training strings that rdkit reads: data of fewer are no SMILES."""


def total_variation(a: Iterable[Hashable], b: Iterable[Hashable]) -> float:
    """½ Σ |p - q| of the shares of each value in two sets: 0 for the same shares, 1 where none is common."""
    first, second = Counter(a), Counter(b)
    n, m = first.total() or 1, second.total() or 1
    return sum(abs(first[k] / n - second[k] / m) for k in first | second) / 2


@dataclass(frozen=True)
class Differences:
    """`total_variation` of lengths, symbols and neighbouring pairs of two sets of strings."""

    lengths: float
    symbols: float
    pairs: float

    @staticmethod
    def of(a: Sequence[str], b: Sequence[str]) -> "Differences":
        """Between two sets of strings."""
        pairs = ([text[i : i + 2] for text in texts for i in range(len(text) - 1)] for texts in (a, b))
        return Differences(
            total_variation(map(len, a), map(len, b)), total_variation("".join(a), "".join(b)), total_variation(*pairs)
        )


@dataclass(frozen=True)
class Shares:
    """Counts of a set of strings, and their shares; ``valid`` None: the data are no molecules, or rdkit is missing."""

    total: int
    valid_count: int | None
    different: int
    new: int | None

    @property
    def valid(self) -> Estimate | None:
        """Of all."""
        return None if self.valid_count is None else share(self.valid_count, self.total)

    @property
    def unique(self) -> Estimate | None:
        """Of the valid ones; None where there are none."""
        count = self.total if self.valid_count is None else self.valid_count
        return share(self.different, count) if count else None

    @property
    def novel(self) -> Estimate | None:
        """Of the different ones; None where there are none, or no training data to compare with."""
        return share(self.new, self.different) if self.different and self.new is not None else None


def shares(texts: Sequence[str], known: Sequence[str] | None, *, molecules: bool) -> Shares:
    """Of ``texts``, with the training data ``known``; None: novelty is not counted."""
    found = canonical(texts) if molecules else list(texts)
    valid = [text for text in found if text is not None]
    different, before = set(valid), None
    if known is not None:
        before = set(canonical(known) if molecules else known)
    new = None if before is None else len(different - before)
    return Shares(len(texts), len(valid) if molecules else None, len(different), new)


def looks_like_smiles(vocabulary: Sequence[str]) -> bool:
    """Whether all symbols may occur in SMILES, and one is carbon."""
    return set("".join(vocabulary)) <= SMILES and bool({"C", "c"} & set(vocabulary))


def are_molecules(texts: Sequence[str]) -> bool | None:
    """Whether rdkit reads nearly all of these as molecules; None where it is not installed."""
    try:
        read = canonical(texts)
    except ImportError:
        return None
    return sum(one is not None for one in read) >= ENOUGH * len(read)


def canonical(texts: Iterable[str]) -> list[str | None]:
    """Each as canonical SMILES by rdkit; None for what is no molecule. Raises ImportError without rdkit."""
    from rdkit.Chem import MolFromSmiles, MolToSmiles
    from rdkit.rdBase import BlockLogs

    with BlockLogs():
        molecules = (MolFromSmiles(text) if text else None for text in texts)
        return [None if molecule is None else MolToSmiles(molecule) for molecule in molecules]
