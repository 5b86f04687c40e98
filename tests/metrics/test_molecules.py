"""Figures of molecules: what is counted, of how many; bond lengths; a property judged by atoms and bonds."""

import numpy as np
import pytest

from sumi.metrics.bonds import Molecule
from sumi.metrics.molecules import Judged, PropertyJudge, bond_lengths, figures, length_distance, wasserstein
from sumi.metrics.perception import can_perceive, perceived

WATER = Molecule(("O", "H", "H"), np.array([[0, 0, 0.117], [0, 0.757, -0.471], [0, -0.757, -0.471]]))
CORNERS = 0.629 * np.array([[1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]])
METHANE = Molecule(("C", "H", "H", "H", "H"), np.concatenate([np.zeros((1, 3)), CORNERS]))
BROKEN = Molecule(("O", "H", "H"), np.array([[0, 0, 0.117], [0, 0.757, -0.471], [0, -3.0, -0.471]]))
TWO = Molecule(
    (*WATER.elements, *METHANE.elements), np.concatenate([WATER.places, METHANE.places + np.array([9.0, 0, 0])])
)


def judged(*molecules: Molecule) -> list[Judged]:
    return [Judged.of(molecule) for molecule in molecules]


def test_shares_are_of_all_molecules() -> None:
    """Two molecules side by side are stable and not sound; copies count once, known ones are not new."""
    found = figures(judged(WATER, METHANE, METHANE, BROKEN, TWO), {Judged.of(WATER).graph})
    shares = {name: getattr(found, name).value for name in ("molecules", "connected", "sound", "distinct", "new")}
    assert shares == pytest.approx({"molecules": 0.8, "connected": 0.6, "sound": 0.6, "distinct": 0.4, "new": 0.2})
    assert found.atoms.value == pytest.approx((3 + 5 + 5 + 1 + 8) / 24)
    assert found.count == 5
    if found.valid is not None:
        assert found.valid.value == pytest.approx(0.6)


def test_rdkit_finds_the_bonds_of_a_whole_molecule_only() -> None:
    if not can_perceive():
        pytest.skip("rdkit is not installed")
    water = perceived(WATER.elements, WATER.places)
    assert water is not None
    assert [bond.GetBondTypeAsDouble() for bond in water.GetBonds()] == [1, 1]
    assert perceived(TWO.elements, TWO.places) is None
    assert perceived(BROKEN.elements, BROKEN.places) is None


def test_bond_lengths_are_compared_kind_by_kind() -> None:
    """W1 of numbers that are moved by d is d; kinds count as often as they are in the real set."""
    rng = np.random.default_rng(0)
    a = np.sort(rng.normal(1.1, 0.02, 500))
    assert wasserstein(a, a + 0.01) == pytest.approx(0.01, abs=1e-9)
    lengths = bond_lengths(judged(WATER, METHANE))
    assert {kind: len(found) for kind, found in lengths.items()} == {"C-H": 4, "H-O": 2}
    assert lengths["C-H"] == pytest.approx([0.629 * 3**0.5] * 4)
    real = judged(*[METHANE] * 10, *[WATER] * 10)
    longer = judged(*[Molecule(m.elements, m.places * 1.01) for m in (METHANE, WATER)] * 10)
    exact = 0.01 * (40 * 0.629 * 3**0.5 + 20 * lengths["H-O"][0]) / 60
    assert length_distance(longer, real) == pytest.approx(exact, rel=1e-6)
    assert np.isnan(length_distance(judged(WATER), real))
    fewer = judged(*[Molecule(m.elements, m.places * 1.01) for m in (METHANE, WATER, WATER, WATER)] * 10)
    assert length_distance(fewer, real) == pytest.approx(exact, rel=1e-6)  # whatever the frequencies of samples


def line(elements: str, *lengths: float) -> Molecule:
    return Molecule(tuple(elements), np.cumsum([0.0, *lengths])[:, None] * np.array([[1.0, 0, 0]]))


def test_bonds_of_each_order_are_a_kind_and_another_graph() -> None:
    single, double, triple = judged(line("CC", 1.54), line("CC", 1.34), line("CC", 1.2))
    assert list(bond_lengths([single, double, triple])) == ["C-C", "C=C", "C≡C"]
    assert len({single.graph, double.graph, triple.graph}) == 3
    assert judged(line("HCN", 1.09, 1.16))[0].graph == judged(line("NCH", 1.16, 1.09))[0].graph


def test_a_long_chain_is_in_one_piece() -> None:
    assert judged(line("C" * 20, *[1.54] * 19))[0].connected
    assert not judged(line("C" * 20, *[1.54] * 9, 3.0, *[1.54] * 9))[0].connected


def test_the_distance_of_lengths_is_the_same_to_the_bit_in_every_process() -> None:
    """Kinds are added in their own order, and not in one that differs from process to process."""
    rng, order = np.random.default_rng(1), ("B-F", "C-C", "C-N", "C-O", "F-N", "N-N")
    for _ in range(20):
        own, real = (
            judged(*[line(kind[::2], length) for kind in order for length in rng.uniform(1.2, 1.3, 21)])
            for _ in range(2)
        )
        a, b = bond_lengths(own), bond_lengths(real)
        each = [wasserstein(a[kind], b[kind]) for kind in a if kind in b and min(len(a[kind]), len(b[kind])) >= 20]
        weights = [len(b[kind]) for kind in a if kind in b and min(len(a[kind]), len(b[kind])) >= 20]
        assert length_distance(own, real) == float(np.average(each, weights=weights))


def test_a_property_that_is_a_sum_over_atoms_and_bonds_is_judged_exactly() -> None:
    known = judged(WATER, METHANE, BROKEN, TWO)
    energy = np.array([-9.0, -17.0, -5.0, -26.0]) + 1.0
    judge = PropertyJudge(known, energy)
    assert judge(judged(METHANE, WATER)) == pytest.approx([-16, -8])
