"""Molecules: files of them, what a model sees, how samples are written; bonds and stability on known molecules."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sumi.data.config import DataConfig
from sumi.data.dataset import everything
from sumi.data.files import Writing
from sumi.data.load import load, peek
from sumi.data.molecules import MoleculeDataset, MoleculeSpec, by_size, centred, is_atom
from sumi.data.spec import expect
from sumi.errors import InputError
from sumi.metrics.bonds import bond_orders, fragments, graph, stable_atoms
from sumi.metrics.perception import can_perceive

WATER = "3\nenergy=-76.4 name=water\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n"
METHANE = "5\nenergy=-40.5\n6 0 0 0\n1 .629 .629 .629\n1 -.629 -.629 .629\n1 -.629 .629 -.629\n1 .629 -.629 -.629\n"


def small() -> MoleculeDataset:
    return expect(load(DataConfig("qm7-small")), MoleculeDataset, "")


def opened(path: Path) -> MoleculeDataset:
    return expect(load(DataConfig(str(path))), MoleculeDataset, "")


def test_the_built_in_set_is_what_its_page_says() -> None:
    data = small()
    assert (len(data), data.elements, data.sizes.min(), data.sizes.max()) == (2000, ("H", "C", "N", "O", "S"), 4, 14)
    assert data.columns == ("energy", "atoms", "H", "C", "N", "O", "S")
    assert data.std() == pytest.approx(0.5, abs=1e-3)
    assert data.keys[0] == "qm7/00001"
    assert data.column("energy")[0] == pytest.approx(-417.031, abs=1e-3)
    x = everything(data)
    assert float(x[..., :3].sum(1).abs().max()) < 1e-5
    assert peek(DataConfig("qm7-small")) == data.spec
    first = data.spec.molecules(x[:1])[0]
    assert sorted(first.elements) == ["C", "H", "H", "H", "H"]
    away = np.linalg.norm(first.places - first.places[0], axis=1)[1:]
    assert away == pytest.approx([1.09] * 4, abs=0.01)


def test_xyz_files_are_read_with_their_numbers_and_written_again(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.xyz").write_text(WATER + METHANE)
    (folder / "b.xyz").write_text(WATER)
    (folder / "bad.xyz").write_text(METHANE + "3\n\nO 0 0 0\n")
    data = opened(folder)
    assert data.keys == ("a.xyz/00000", "a.xyz/00001", "b.xyz/00000")
    assert data.skipped_report() == ("bad.xyz: line 8 says 3 atoms, and the file ends after 1",)
    assert data.column("energy").tolist() == [-76.4, -40.5, -76.4]
    assert data.column("H").tolist() == [2, 4, 2]
    x, spec = everything(data), data.spec
    assert spec.counts == (0, 0, 2, 0, 1)
    how = Writing(2, "t", {"seed": 1})
    spec.write(tmp_path / "out", lambda rows: x[rows.start : rows.stop], range(3), how)
    again = opened(tmp_path / "out" / "molecules.xyz").fitted_to(spec, "again")
    torch.testing.assert_close(everything(again), x, rtol=0, atol=1e-5)
    comment = (tmp_path / "out" / "molecules.xyz").read_text().splitlines()[1]
    assert json.loads(comment.rpartition(" ")[0]) == {"seed": 1, "start": 0, "count": 3}
    spec.write(tmp_path / "out", lambda rows: x[rows.start : rows.stop], range(3), how)
    with pytest.raises(InputError, match="made with other settings"):
        spec.write(tmp_path / "out", lambda _: x, range(3), Writing(3, "t", {"seed": 2}))


def test_files_of_qm9_are_read_with_all_their_numbers(tmp_path: Path) -> None:
    """In folders of folders: methane as it stands there, exponents and lines after the atoms included."""
    numbers = "157.7118\t157.70997\t157.70699\t0.\t13.21\t-0.3877\t0.1171\t0.5048\t35.3641\t0.044749\t-40.47893\t"
    lines = [
        *("5", f"gdb 1\t{numbers}-40.476062\t-40.475117\t-40.498597\t6.469"),
        *("C\t-0.0126981359\t 1.0858041578\t 8.0009958*^-3\t-0.535689", "H\t 0.00215\t-0.00603\t 0.00197\t 0.133921"),
        *("H\t 1.01173\t 1.46375\t 2.7*^-4\t 0.1", "H\t-0.54081\t 1.44752\t-0.87664\t 0.1"),
        *("H\t-0.52381\t 1.43793\t 0.90639\t 0.1", "1341.307\t1341.3284\t1341.365", "C\tC\t", "InChI=1S/CH4/h1H4"),
    ]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "dsgdb9nsd_000001.xyz").write_text("\n".join(lines) + "\n")
    data = opened(tmp_path)
    assert data.keys == ("a/dsgdb9nsd_000001.xyz/00000", "b/dsgdb9nsd_000001.xyz/00000")
    assert data.skipped == ()
    assert data.sizes.tolist() == [5, 5]
    assert len(data.properties) == 15
    found = {name: data.column(name)[0] for name in ("rotation_c", "mu", "homo", "u0", "g298", "cv")}
    assert found == {
        "rotation_c": 157.70699,
        "mu": 0.0,
        "homo": -0.3877,
        "u0": -40.47893,
        "g298": -40.498597,
        "cv": 6.469,
    }
    places = data.spec.molecules(everything(data))[0].places
    assert places[0, 2] - places[1, 2] == pytest.approx(8.0009958e-3 - 0.00197, abs=1e-5)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("two\n\nH 0 0 0\n", "line 1 should be the number of atoms"),
        ("1\n\nXx 0 0 0\n", "line 3 is no element"),
        ("1\n\nH 0 0 nan\n", "line 3 is no element"),
        ("1\n\nH 0 0\n", "line 3 is no element"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_its_line(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "a.xyz").write_text(text)
    with pytest.raises(InputError, match=why):
        opened(tmp_path / "a.xyz")


def test_arrays_are_checked(tmp_path: Path) -> None:
    arrays = {
        "atomic_number": np.array([1, 1, 8, 1, 1], np.uint8),
        "position": np.arange(15.0).reshape(5, 3) ** 1.5,
        "offsets": np.array([0, 2, 5]),
        "energy": np.array([[1.0, 9.0], [2.0, 9.0]]),
    }
    np.savez(tmp_path / "a.npz", **arrays, unit=np.array("eV"))
    data = opened(tmp_path / "a.npz")
    assert data.keys == ("a/00000", "a/00001")
    assert data.column("energy").tolist() == [1, 2]
    assert data.column("atoms").tolist() == [2, 3]
    for name, wrong in (("offsets", np.array([0, 2, 4])), ("atomic_number", np.array([1, 1, 200, 1, 1]))):
        np.savez(tmp_path / "b.npz", **{**arrays, name: wrong})
        with pytest.raises(InputError, match=r"^data.source: .*b.npz: "):
            opened(tmp_path / "b.npz")
    with pytest.raises(InputError, match=r"^data.flip: .* holds molecules, which have none"):
        load(DataConfig(str(tmp_path / "a.npz"), flip=True))


def test_a_finished_molecule_has_one_element_an_atom_and_empty_rows_stay_empty() -> None:
    spec = MoleculeSpec(("H", "C"), (0, 1, 1), 2.0)
    x = torch.randn(4, 3, 5)
    x[:2, 2] = 0
    done = spec.finish(x)
    assert torch.equal(spec.finish(done), done)
    assert is_atom(done).sum(1).tolist() == [2, 2, 3, 3]
    assert sorted(set(done[..., 3:].flatten().tolist())) == [0, 0.125]
    assert [(n, rows.tolist()) for n, rows in by_size(is_atom(x).sum(1))] == [(2, [0, 1]), (3, [2, 3])]
    assert float(centred(x)[..., :3].mean(1).abs().max()) < 1e-6


def test_data_fit_a_model_of_more_elements_and_atoms_and_no_other() -> None:
    data = small().subset(range(5))
    wider = MoleculeSpec(("H", "C", "N", "O", "F", "S"), (0,) * 19 + (1,), 3.0)
    fitted = data.fitted_to(wider, "it")
    for a, b in zip(data.spec.molecules(everything(data)), wider.molecules(everything(fitted)), strict=True):
        assert a.elements == b.elements
        np.testing.assert_allclose(a.places, b.places, atol=1e-5)
    with pytest.raises(InputError, match=r"^data\.source: it has atoms of"):
        data.fitted_to(MoleculeSpec(("H",), (0,) * 19 + (1,)), "it")
    with pytest.raises(InputError, match=r"^data.source: it has molecules of \d+ atoms; the model makes 3 to 3 atoms"):
        data.fitted_to(MoleculeSpec(data.elements, (0, 0, 1)), "it")


def chain(*elements: str, apart: float = 1.5) -> tuple[tuple[str, ...], np.ndarray]:
    return elements, np.array([[apart * k, 0.0, 0.0] for k in range(len(elements))])


def test_bonds_are_of_the_lengths_of_the_table() -> None:
    """A single bond up to 10 pm above its usual length, a double 5, a triple 3."""
    for length, order in ((1.22, 3), (1.24, 2), (1.38, 2), (1.40, 1), (1.63, 1), (1.65, 0)):
        assert bond_orders(*chain("C", "C", apart=length))[0, 1] == order
    assert bond_orders(*chain("H", "H", apart=0.83))[0, 1] == 1
    assert fragments(bond_orders(*chain("C", "C", "C"))) == 1
    assert fragments(bond_orders(*chain("C", "C", "C", "O", apart=3.0))) == 4


def test_sulphur_is_stable_with_two_bonds_but_not_by_the_older_table() -> None:
    elements, places = ("S", "H", "H"), np.array([[0, 0, 0], [1.34, 0, 0], [0, 1.34, 0.0]])
    orders = bond_orders(elements, places)
    assert stable_atoms(elements, orders).all()
    assert stable_atoms(elements, orders, legacy=True).tolist() == [False, True, True]


def test_real_molecules_pass_the_chemical_table_and_those_with_sulphur_fail_the_older_one() -> None:
    data = small()
    stable = {
        legacy: np.array(
            [
                bool(stable_atoms(m.elements, bond_orders(m.elements, m.places), legacy).all())
                for m in data.spec.molecules(everything(data))
            ]
        )
        for legacy in (False, True)
    }
    sulphur = data.column("S") > 0
    assert (int(sulphur.sum()), int(stable[True][sulphur].sum())) == (213, 0)
    assert stable[False].mean() == pytest.approx(0.92, abs=1e-6)
    assert stable[True].mean() == pytest.approx(0.8405, abs=1e-6)


def test_sdf_files_need_rdkit_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.sdf"
    rows = ["    0.0000    0.0000    0.1170 O", "    0.0000    0.7570   -0.4710 H", "    0.0000   -0.7570   -0.4710 H"]
    atoms = "\n".join(f"{row}   0  0  0  0  0  0  0  0  0  0  0  0" for row in rows)
    record = f"water\n  x\n\n  3  2  0  0  0  0  0  0  0  0999 V2000\n{atoms}\n  1  2  1  0\n  1  3  1  0\nM  END\n"
    file.write_text(f"{record}> <energy>\n-76.4\n\n$$$$\n" * 2)
    if can_perceive():
        data = opened(file)
        assert data.keys == ("a.sdf/00000", "a.sdf/00001")
        assert data.column("energy").tolist() == [-76.4, -76.4]
        assert data.spec.molecules(everything(data))[0].elements == ("O", "H", "H")
    monkeypatch.setitem(sys.modules, "rdkit.Chem", None)
    with pytest.raises(InputError, match=r"^data.source: a.sdf is read with rdkit, which is not installed"):
        opened(file)


@pytest.mark.skipif(not can_perceive(), reason="needs rdkit")
def test_records_of_an_sdf_that_cannot_be_used_are_skipped_by_name(tmp_path: Path) -> None:
    def record(symbol: str, z: float, about: str = "") -> str:
        rows = [f"    0.0000    0.0000{z:10.4f} {symbol:<3}", "    0.0000    0.7570    0.0000 H  "]
        atoms = "\n".join(f"{row} 0  0  0  0  0  0  0  0  0  0  0  0" for row in rows)
        return f"a\n{about}\n\n  2  1  0  0  0  0  0  0  0  0999 V2000\n{atoms}\n  1  2  1  0\nM  END\n$$$$\n"

    parts = (record("O", 0.9), record("R#", 0.9), record("O", 0), "a\n\n\nnothing\n$$$$\n", record("N", 0.8))
    (tmp_path / "a.sdf").write_text("".join(parts))
    data = opened(tmp_path / "a.sdf")
    assert data.keys == ("a.sdf/00000", "a.sdf/00004")
    assert data.elements == ("H", "N", "O")
    assert data.skipped_report() == (
        "a.sdf/00001: has an atom 'R#', which is no element up to Xe",
        "a.sdf/00002: is a drawing in the plane (2D); give places in space",
        "a.sdf/00003: cannot be read, or has no places",
    )


def test_a_graph_has_one_name_in_any_order_and_isomers_have_two() -> None:
    data = small()
    spec, order = data.spec, np.random.default_rng(0)
    for molecule in spec.molecules(data.batch(np.arange(0, 2000, 400))):
        orders = bond_orders(molecule.elements, molecule.places)
        p = order.permutation(len(orders))
        moved = tuple(molecule.elements[k] for k in p)
        assert graph(moved, orders[p][:, p]) == graph(molecule.elements, orders)
    straight, branched = np.zeros((4, 4), int), np.zeros((4, 4), int)
    straight[[0, 1, 2], [1, 2, 3]] = branched[[0, 0, 0], [1, 2, 3]] = 1
    names = [graph(("C",) * 4, m + m.T) for m in (straight, branched)]
    assert names[0] != names[1]
