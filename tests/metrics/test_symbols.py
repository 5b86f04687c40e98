"""Shares of strings that are valid, different and new, and how two sets of strings differ."""

import random

import pytest

from sumi.metrics.symbols import Differences, are_molecules, canonical, looks_like_smiles, shares, total_variation


def test_total_variation_is_of_shares() -> None:
    assert total_variation("aab", "aabaab") == 0
    assert total_variation("ab", "cd") == 1
    assert total_variation("ab", "ac") == pytest.approx(0.5)
    found = Differences.of(["ab", "ab"], ["ba"])
    assert (found.lengths, found.symbols, found.pairs) == (0, 0, 1)
    assert Differences.of(["ab", "a"], ["ab", "cb"]).pairs == 0.5  # one pair of one, and of two: a symbol alone is none


def test_total_variation_is_the_same_to_the_bit_in_every_process() -> None:
    """Values are added in the order in which they come, and not in one that differs from process to process."""
    rng = random.Random(1)
    for _ in range(20):
        a, b = (rng.choices("abcdefghijklmnop", weights=range(1, 17), k=count) for count in (997, 1009))
        differences = [abs(a.count(k) / 997 - b.count(k) / 1009) for k in dict.fromkeys([*a, *b])]
        assert total_variation(a, b) == sum(differences) / 2


def test_each_share_has_its_own_denominator() -> None:
    found = shares(["a", "b", "b", "c"], ["c", "d"], molecules=False)
    assert (found.total, found.valid_count, found.different, found.new) == (4, None, 3, 2)
    assert (found.unique.value, found.novel.value, found.valid) == (3 / 4, 2 / 3, None)
    assert shares([], None, molecules=False).unique is None


def test_smiles_are_recognised_by_their_symbols() -> None:
    assert looks_like_smiles(("C", "N", "(", ")"))
    assert not looks_like_smiles(("N", "O"))
    assert not looks_like_smiles(("C", "q"))


def test_molecules_are_compared_in_canonical_form() -> None:
    pytest.importorskip("rdkit")
    assert canonical(["OCC", "C(", ""]) == ["CCO", None, None]
    found = shares(["OCC", "CCO", "C(", "CN"], ["CCO"], molecules=True)
    assert (found.valid_count, found.different, found.new) == (3, 2, 1)
    assert (found.valid.value, found.unique.value, found.novel.value) == (3 / 4, 2 / 3, 1 / 2)
    assert are_molecules(["CCO", "C#N"])
    assert not are_molecules(["CCO", "C("])
