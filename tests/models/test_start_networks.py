"""Starting from weights, whole and adapted, with every kind of network, and in the latents of an autoencoder."""

import shutil
from pathlib import Path

import pytest
import torch

import sumi
from sumi.training_run import train
from tests.lettered_pictures import SETTINGS, pictures

LATENT = ("autoencoder.network.widths=32", "autoencoder.network.blocks=1", "autoencoder.steps=4")
UNET = ("network.widths=32", "network.blocks=1", "network.embedding=32")
FAST = ("training.learning_rate=0.01", "training.warmup_steps=0")


@pytest.mark.parametrize(
    ("recipe", "settings"),
    [
        ("classifier-free", ("network=transformer", "network.patch=2", "network.width=32", "network.blocks=1")),
        pytest.param(
            "classifier-free",
            ("network=adm", *UNET, "network.attention=", "network.head_width=32"),
            marks=pytest.mark.slow,
        ),
        ("latent", (*UNET, "network.attention=", *LATENT, "conditioning=none")),
    ],
)
def test_a_run_begins_from_one_of_other_data(recipe: str, settings: tuple[str, ...], tmp_path: Path) -> None:
    source = train(
        recipe, data=pictures("ab", side=16), out=tmp_path / "source", steps=2, settings=[*SETTINGS, *FAST, *settings]
    )
    own = [setting for setting in settings if not setting.startswith(("network", "autoencoder"))]
    still = [*SETTINGS, *own, "training.learning_rate=1e-30"]
    whole = train(recipe, data=pictures("bc", side=16), out=tmp_path / "whole", steps=1, settings=still, start=source)
    before = {name: tensor for name, tensor in source.module.state_dict().items() if name.startswith("network.")}
    now = whole.module.state_dict()
    assert all(torch.allclose(now[name], tensor, rtol=0, atol=1e-20) for name, tensor in before.items())
    adapting = [*SETTINGS, *own, *FAST, "training.lora_rank=2"]
    adapted = train(
        recipe, data=pictures("bc", side=16), out=tmp_path / "adapted", steps=2, settings=adapting, start=source
    )
    shutil.rmtree(tmp_path / "source")
    loaded = sumi.load(tmp_path / "adapted")
    assert loaded.digest == adapted.digest
    changed = [name for name, tensor in before.items() if not torch.equal(loaded.module.state_dict()[name], tensor)]
    assert changed
    assert all(name.endswith("weight") for name in changed)
    assert loaded.sample(1, steps=1).shape == (1, 1, 16, 16)
