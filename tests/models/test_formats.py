"""Runs that an earlier version wrote: they are read, sampled and trained further as if it had."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from sumi.boundary.config import to_json
from sumi.errors import InputError
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.formats import FORMAT, upgraded
from sumi.models.run import load
from sumi.networks.pairs import PairNetworkConfig
from sumi.sampling.sampler import Guidance, Sampling
from sumi.training_run import train

OLD = Path(__file__).parents[1] / "data" / "format5"
"""Six steps of classifier-free on digits, and what the version that wrote it sampled of it."""


def expected(name: str) -> torch.Tensor:
    return torch.from_numpy(np.load(OLD / "samples.npz")[name])


@pytest.fixture(scope="module")
def model() -> DiffusionModel:
    return load(OLD / "run", DiffusionModel, device="cpu")


def test_the_sampling_of_format_5_is_read(model: DiffusionModel) -> None:
    guidance = Guidance(2.0, interval=(0.3, 5.0), rescale=0.7)
    assert model.config.sampling == Sampling("ddpm", 5, guidance=guidance, threshold="dynamic")
    assert model.description.format == FORMAT


def test_samples_of_format_5_are_the_same(model: DiffusionModel) -> None:
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[:, :4] = True
    free = model.sample(2, seed=1)
    away = Guidance(2.0, interval=(0.3, 5.0), rescale=0.7, negative="5")
    made = {
        "labelled": model.sample(3, label="all", seed=1),
        "free": free,
        "guidance": model.sample(2, label="3", guidance=3.0, steps=4, solver="ddim", eta=0.5, seed=2),
        "negative": model.sample(2, label="3", guidance=away, seed=2),
        "varied": model.vary(free[0], 0.5, n=2, label="7"),
        "inpainted": model.inpaint(free[0], mask, n=2, label="1"),
    }
    for name, x in made.items():  # the order of sums differs from processor to processor
        torch.testing.assert_close(x, expected(name), rtol=0, atol=1e-4, msg=name)


@pytest.mark.parametrize("recipe", ["classifier-free", "config.json"])
def test_a_run_of_format_5_is_trained_further(recipe: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(OLD / "run", run)
    config = str(run / "config.json") if recipe == "config.json" else recipe
    model = train(config, out=run, resume=True, steps=9, device="cpu")
    torch.testing.assert_close(model.sample(2, label="3"), expected("resumed"), rtol=0, atol=1e-4)
    assert json.loads((run / "config.json").read_text())["format"] == FORMAT


def test_what_is_not_of_format_5_is_left_as_it_is() -> None:
    assert upgraded([1]) == [1]
    for data in ({"format": FORMAT, "config": {"sampling": {"guidance": {}}}}, {"format": 5, "config": None}):
        assert upgraded(data) == data
    bare = {"format": 5, "config": {"type": "vae"}}
    assert upgraded(bare) == {"format": FORMAT, "config": {"type": "vae"}}


def test_additions_of_before_there_was_a_share_have_the_same_rank_in_all_layers() -> None:
    own = {"noise": "philox"}
    older = {"format": FORMAT, "config": {"training": {"lora_rank": 3, "steps": 9, **own}}, "seed": 1}
    whole = {"config": {"training": {"lora_rank": None, **own}}}
    now = {"config": {"training": {"lora_rank": 3, "lora_share": 0.1, **own}}}
    assert upgraded(older) == older | {"config": {"training": {"lora_rank": 3, "steps": 9, "lora_share": None, **own}}}
    assert upgraded(whole) == whole
    assert upgraded(now) == now


def test_the_noise_of_before_there_was_a_choice_is_numpys() -> None:
    older, now = ({"config": {"training": {"steps": 9, **own}}} for own in ({}, {"noise": "philox"}))
    assert upgraded(older) == {"config": {"training": {"steps": 9, "noise": "numpy"}}}
    assert upgraded(now) == now
    assert upgraded({"format": 5, "config": {"process": "gaussian"}})["config"] == {"process": {"type": "gaussian"}}


def test_all_that_a_run_did_not_say_is_completed_together() -> None:
    """A latent run with a low-rank addition, and one of molecules."""
    training, part = {"lora_rank": 3, "noise": "philox"}, {"loss": {"features": 1.0, "half_size": 0.25}}
    found = upgraded({"config": {"training": training, "autoencoder": part, "network": {"type": "pairs"}}})["config"]
    assert found["training"] == training | {"lora_share": None}
    assert found["autoencoder"]["loss"] == part["loss"] | {"feature_network": "learned"}
    assert found["network"] == {"type": "pairs", "bounded": False}


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"format": 4}')
    with pytest.raises(InputError, match=f"has format 4, this version reads 5 and {FORMAT}"):
        load(tmp_path)


def test_features_were_those_of_a_network_that_was_trained_on_the_data() -> None:
    loss = {"features": 1.0, "half_size": 0.25}
    named = loss | {"feature_network": "learned"}
    assert upgraded({"config": {"loss": loss, "seed": 1}}) == {"config": {"loss": named, "seed": 1}}
    older = {"config": {"autoencoder": {"steps": 5, "loss": loss}}}
    assert upgraded(older) == {"config": {"autoencoder": {"steps": 5, "loss": named}}}
    for now in ({"config": {"loss": named}}, {"config": {"autoencoder": {"type": "none"}}}):
        assert upgraded(now) == now


def test_vectors_of_pairs_were_not_bounded() -> None:
    pairs = {"type": "pairs", "width": 64}
    older = {"format": FORMAT, "config": {"network": pairs, "seed": 1}}
    assert upgraded(older) == older | {"config": {"network": pairs | {"bounded": False}, "seed": 1}}
    for now in ({"config": {"network": pairs | {"bounded": True}}}, {"config": {"network": {"type": "egnn"}}}):
        assert upgraded(now) == now
    older, now = (to_json(PairNetworkConfig(bounded=bounded), later=False) for bounded in (False, True))
    assert "bounded" not in older  # so a run has the identity that its checkpoints have kept
    assert now["bounded"] is True
