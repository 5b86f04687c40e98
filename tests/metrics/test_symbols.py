"""Shares of strings that are valid, different and new, and how two sets of strings differ."""

import pytest

from sumi.metrics.symbols import Differences, are_molecules, canonical, looks_like_smiles, shares, total_variation


def test_total_variation_is_of_shares() -> None:
    assert total_variation("aab", "aabaab") == 0
    assert total_variation("ab", "cd") == 1
    assert total_variation("ab", "ac") == pytest.approx(0.5)
    found = Differences.of(["ab", "ab"], ["ba"])
    assert (found.lengths, found.symbols, found.pairs) == (0, 0, 1)


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
