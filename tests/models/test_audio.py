"""Models of sound: trained, resumed bit for bit, sampled by label, and what they refuse."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import sumi
from sumi.autoencoders.mdct import STD, BandScale
from sumi.data.sound_files import of_wav, to_levels, wav
from sumi.errors import InputError
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.samples import Samples

TINY = {
    "audio": ["autoencoder.bands=16", "network.widths=16", "network.blocks=1", "network.embedding=8"],
    "diffwave": ["network.layers=3", "network.channels=8", "network.cycle=2", "network.embedding=8"],
}
QUICK = ["training.batch_size=8", "training.sample_every=0", "training.checkpoint_every=2", "sampling.steps=3"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Low and high tones, 12 of each."""
    folder = tmp_path_factory.mktemp("tones")
    for i in range(24):
        name = "low" if i < 12 else "high"
        (folder / name).mkdir(exist_ok=True)
        x = (0.2 + 0.02 * i) * np.sin(2 * np.pi * (300 if i < 12 else 900) * np.arange(1000 + 20 * i) / 4000)
        (folder / name / f"{i}.wav").write_bytes(wav(to_levels(x), 4000))
    return folder


@pytest.fixture(scope="module", params=["audio", "diffwave"])
def model(request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    out = tmp_path_factory.mktemp("runs") / request.param
    settings = [*TINY[request.param], *QUICK, "data.seconds=0.25"]
    return sumi.train(request.param, data=str(data), steps=4, out=out, settings=settings)


def test_resumed_training_is_the_same_to_the_bit(model: DiffusionModel, tmp_path: Path) -> None:
    again = tmp_path / "run"
    shutil.copytree(model.folder, again)
    shutil.rmtree(again / "checkpoints" / "00000004")
    sumi.train(
        model.config.recipe,
        data=model.config.data.source,
        steps=4,
        out=again,
        resume=True,
        settings=[*TINY[model.config.recipe], *QUICK, "data.seconds=0.25"],
    )
    one, other = (load_file(f / "checkpoints/00000004/model.safetensors") for f in (model.folder, again))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_samples_are_sound_of_the_data_rate_and_a_loaded_model_makes_the_same(model: DiffusionModel) -> None:
    made = model.sample(2, label="high", seed=3, batch_size=2)
    assert isinstance(made, Samples)
    assert (made.shape, made.rate) == ((2, 1, 1024), 4000)
    assert bool(made.isfinite().all())
    assert torch.equal(sumi.load(model.folder).sample(2, label=0, seed=3), made)
    assert torch.allclose(model.sample(1, label=0, seed=3, start=1), made[1:], atol=1e-5)
    assert made._repr_html_().count("<audio controls") == 2


def test_a_model_of_bands_keeps_their_scale_and_denoises_them(model: DiffusionModel) -> None:
    if model.config.recipe != "audio":
        return
    bands = model.module.auxiliary["bands"]
    assert isinstance(bands, BandScale)
    train, _ = model.load_data().split(0.1)
    x = train.batch(np.arange(len(train)))
    z = model.space.encode(x)
    assert model.space.shape == z.shape[1:] == (1, 16, 64)
    assert z.square().mean((0, 1, 3)).sqrt() == pytest.approx(torch.full((16,), STD), abs=1e-4)
    assert (model.space.decode(z) - x).abs().max() < 1e-6
    assert model.description.data_std == STD


def test_variations_of_no_strength_are_the_clip_itself(model: DiffusionModel, data: Path) -> None:
    clip = data / "low" / "3.wav"
    x = model.read("clip", str(clip))
    assert torch.equal(model.vary(str(clip), 0.0, 2), x.expand(2, 1, 1024))
    assert model.vary(str(clip), 0.5, 2, steps=2).shape == (2, 1, 1024)
    assert np.array_equal(x[0, :900].numpy(), of_wav(clip.read_bytes())[0][0, :900].astype(np.float32))


def test_what_is_of_pictures_is_refused(model: DiffusionModel, data: Path) -> None:
    with pytest.raises(InputError, match="is a model of audio, and this is for images"):
        model.upscale(torch.zeros(1, 8, 8))
    with pytest.raises(InputError, match=r"size: .* is a model of audio, which have none"):
        model.sample(1, size=(32, 32))
    source = str(data) if model.config.recipe == "diffwave" else "digits"
    with pytest.raises(InputError, match=r"network=unet: takes images|autoencoder: mdct is of sound"):
        sumi.train(model.config.recipe, data=source, steps=1, out=data / "none", settings=["network=unet"])
