"""The evaluation of a model of molecules: real ones first, errors of values, and a page with its pictures."""

import json
from pathlib import Path

import pytest

import sumi
from sumi.data.config import DataConfig
from sumi.data.load import load as load_data
from sumi.data.molecules import MoleculeDataset
from sumi.data.spec import expect
from sumi.errors import InputError
from sumi.evaluation.molecules import MoleculeEvaluation
from sumi.training_run import train


def test_a_model_is_judged_next_to_real_molecules(tmp_path: Path) -> None:
    data = expect(load_data(DataConfig("qm7-small")), MoleculeDataset, "").subset(range(0, 300, 2))
    settings = ["network.width=8", "network.layers=1", "network.embedding=8", "training.batch_size=8"]
    settings += ["sampling.steps=3", "conditioning=values", "conditioning.names=energy,atoms"]
    model = train("molecules", data=data, out=tmp_path / "run", steps=2, settings=settings)
    measured = sumi.evaluate(model.folder, data=data, n=12)
    found = measured.evaluation
    assert isinstance(found, MoleculeEvaluation)
    _, held_out = data.split(model.config.data.held_out)
    assert (found.samples.count, found.real.count) == (12, len(held_out))
    assert found.real.sound.value > 0.8 > found.samples.sound.value
    energy, atoms = found.properties
    assert (energy.name, atoms.name) == ("energy", "atoms")
    assert (atoms.conditional.value, atoms.judge) == (0, 0)  # sizes are drawn as they are asked for
    assert atoms.unconditional.value > 0.3
    assert 0 < energy.judge < 50
    page = (tmp_path / "run" / "report" / "report.html").read_text()
    assert page.index(">real<") < page.index(">samples<")
    stored = json.loads((tmp_path / "run" / "report" / "evaluation.json").read_text())
    assert stored["samples"]["sound"]["value"] == found.samples.sound.value
    for name in ("samples.png", "real.png", "strip.png", "emerging.webp"):
        assert (tmp_path / "run" / "report" / name).stat().st_size > 1000
    with pytest.raises(InputError, match=r"^sweeps: does not apply to the evaluation of molecules"):
        sumi.evaluate(model, data=data, sweeps=True)
