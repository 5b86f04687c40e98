"""The generator of a run's noise: a new run has the present one, an older run keeps NumPy's."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sumi import randomness
from sumi.boundary.settings import override
from sumi.data import philox
from sumi.data.batch import batch_of
from sumi.data.config import DataConfig
from sumi.data.load import load
from sumi.errors import InputError
from sumi.models.run import read_run
from sumi.models.unclip import UnclipConfig
from sumi.randomness import Purpose
from sumi.recipes import build
from sumi.training.run_folder import SEAL, RunFolder
from sumi.training_run import train
from tests.small_runs import assert_same, config_of, state_of

QUICK = ("training.steps=4", "training.checkpoint_every=2", "training.warmup_steps=0", "training.decay=constant")


def made_older(run: Path) -> None:
    """config.json as it was before there was a choice: no hash, as those of the first versions, and no such field."""
    file = run / "config.json"
    values = json.loads(file.read_text())
    del values[SEAL], values["config"]["training"]["noise"]
    file.write_text(json.dumps(values))


def noise_of(run: Path) -> str:
    return read_run(RunFolder(run)).config.training.noise


def test_an_older_run_is_resumed_with_numpys_noise_bit_for_bit(tmp_path: Path) -> None:
    whole, older, new = (tmp_path / name for name in ("whole", "older", "new"))
    train(config_of(*QUICK, "training.noise=numpy"), out=whole)
    train(config_of(*QUICK, "training.noise=numpy", "training.steps=2"), out=older)
    made_older(older)
    assert noise_of(older) == "numpy"
    train("ddpm", data="digits", steps=4, out=older, resume=True)
    assert_same(state_of(older, 4), state_of(whole, 4))
    assert json.loads((older / "config.json").read_text())["config"]["training"]["noise"] == "numpy"
    train(config_of(*QUICK), out=new)
    assert noise_of(new) == "philox"
    pair = [state_of(run, 4).model for run in (new, whole)]
    assert not all(torch.equal(pair[0][name], pair[1][name]) for name in pair[0])


def test_a_run_keeps_its_generator(tmp_path: Path) -> None:
    train(config_of(*QUICK), out=tmp_path)
    with pytest.raises(InputError, match=r"training\.noise"):
        train(config_of(*QUICK, "training.noise=numpy"), out=tmp_path, resume=True)


def test_parts_have_the_generator_of_the_whole() -> None:
    """A part whose training was cut off is then resumed, too."""
    config = override(build("unclip", DataConfig("characters")), ["training.noise=numpy", "clip.size=8"])
    assert isinstance(config, UnclipConfig)
    stages = (config.prior_stage(""), config.decoder_stage(""))
    assert {stage.training.noise for stage in stages} == {"numpy"}


def test_a_batch_has_the_numbers_of_its_generator() -> None:
    data, positions = load(DataConfig("digits")), np.array([0, 1, 2, 9])
    own, older = (batch_of(data, positions, positions, step=3, seed=5, noise=name) for name in ("philox", "numpy"))
    for batch, module in ((own, philox), (older, randomness)):
        wanted = module.normal(5, [0, 1, 2, 9], 3, Purpose.LATENT, (2, 3), draw=1)
        assert torch.equal(batch.normal(Purpose.LATENT, (2, 3), 1), wanted)
    assert torch.equal(
        own.uniforms(Purpose.CAPTION, 5, 1), philox.uniform(5, [0, 1, 2, 9], 3, Purpose.CAPTION, 5, draw=1)
    )
    assert torch.equal(older.uniform(Purpose.FLIP), randomness.uniform(5, [0, 1, 2, 9], 3, Purpose.FLIP))
    assert own.normal(Purpose.LATENT, (2,)).device.type == "cpu"
    there = batch_of(data, positions, positions, step=3, seed=5, noise="philox", device=torch.device("meta"))
    assert there.normal(Purpose.LATENT, (2, 3)).is_meta
    assert not there.uniform(Purpose.FLIP).is_meta


def test_flips_are_of_the_batchs_generator() -> None:
    data, positions = load(DataConfig("digits")), np.arange(64)
    plain, flipped = (
        batch_of(data, positions, positions, step=1, seed=0, flip=flip, noise="philox").x for flip in (False, True)
    )
    mirrored = philox.uniform(0, range(64), 1, Purpose.FLIP, 1)[:, 0] < 0.5
    assert 16 < int(mirrored.sum()) < 48
    assert torch.equal(flipped[mirrored], plain[mirrored].flip(-1))
    assert torch.equal(flipped[~mirrored], plain[~mirrored])
