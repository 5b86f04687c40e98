"""k-diffusion's convolutional U-Net, of files as the library and its convert_for_inference.py write them."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.stand_ins import k_diffusion_toolkit
from sumi.denoising.parameterization import PredictPreconditioned
from sumi.errors import InputError
from sumi.interop.sources import import_run, open_source
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load
from sumi.networks.image_v1 import ImageV1Config
from sumi.process.exploding import EDM
from tests.toolkits import installed, same, shaken

TOLERANCE = 2e-6
EXACT = 1e-12
CONFIG: dict[str, Any] = {
    "model": {
        "type": "image_v1",
        "input_channels": 3,
        "input_size": [8, 8],
        "patch_size": 2,
        "mapping_out": 16,
        "depths": [1, 2],
        "channels": [32, 64],
        "self_attn_depths": [False, True],
        "cross_attn_depths": None,
        "sigma_data": 0.6,
        "sigma_min": 0.01,
        "sigma_max": 80,
        "dropout_rate": 0.0,
        "mapping_cond_dim": 0,
        "unet_cond_dim": 0,
        "cross_cond_dim": 0,
        "skip_stages": 0,
        "has_variance": False,
        "augment_wrapper": True,
    },
    "dataset": {"num_classes": 0},
}


@pytest.fixture(scope="module")
def library() -> ModuleType:
    return installed(k_diffusion_toolkit)


def made(library: ModuleType, **settings: Any) -> tuple[Any, dict[str, Any]]:
    """A network of the library with every weight random, and its configuration."""
    torch.manual_seed(0)
    config = CONFIG | {"model": CONFIG["model"] | settings}
    network = library.config.make_model(config).eval()
    shaken(network)
    return network, config


def converted(network: Any, config: dict[str, Any], file: Path) -> Path:
    """The slim file of its weights."""
    save_file(
        {name: value.contiguous() for name, value in network.state_dict().items()}, file, {"config": json.dumps(config)}
    )
    return file


def check(library: ModuleType, network: Any, config: dict[str, Any], file: Path) -> DiffusionModel:
    """The denoiser of the file is the library's at each level, and its network in float64."""
    model = open_source(file, device="cpu").diffusion
    denoiser, theirs = model.gaussian_denoiser(), library.config.make_denoiser_wrapper(config)(network)
    side = config["model"]["input_size"]
    x = torch.randn(2, 3, *side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for sigma in (0.2, 1.5, 20.0):
            t = denoiser.schedule.time(-2 * torch.tensor(sigma, dtype=torch.float64).log())
            same(denoiser(x, float(t)).clean, theirs(x, torch.full((2,), sigma)), TOLERANCE)
        time = torch.tensor([0.3, -0.2], dtype=torch.float64)
        own = network.double()(x.double(), (4 * time).exp())
        same(denoiser.double().network(x.double(), time), own, EXACT)
    return model


def test_a_converted_file_denoises_as_the_library(library: ModuleType, tmp_path: Path) -> None:
    network, config = made(library)
    file = converted(network, config, tmp_path / "a.safetensors")
    check(library, network, config, file)
    source = import_run(file, tmp_path / "run", device="cpu")
    assert source.notes == ()
    model = load(tmp_path / "run", DiffusionModel, device="cpu")
    assert model.config.network == ImageV1Config(2, 32, (32, 64), (1, 2), (1,), 16)
    assert model.config.parameterization == PredictPreconditioned(0.6)
    assert model.config.schedule == EDM(0.01, 80)
    assert model.sample(2, steps=3).isfinite().all()


@pytest.mark.parametrize(
    "settings",
    [
        {"has_variance": True},
        {"augment_wrapper": False, "patch_size": 1},
        {"depths": [2, 1, 1], "channels": [64, 64, 128], "self_attn_depths": [False, True, True], "patch_size": 1},
        {"depths": [1, 1, 2], "channels": [32, 32, 64], "self_attn_depths": [False, False, True], "skip_stages": 1},
    ],
)
def test_every_shape_of_it_denoises_as_the_library(library: ModuleType, tmp_path: Path, settings: Any) -> None:
    """With a variance, without augmentation, deeper, and with levels that were not trained yet."""
    network, config = made(library, **settings)
    check(library, network, config, converted(network, config, tmp_path / "a.safetensors"))


def test_a_checkpoint_in_training_has_the_averaged_weights(library: ModuleType, tmp_path: Path) -> None:
    network, config = made(library)
    average = {name: value.clone() for name, value in network.state_dict().items()}
    parts = {"config": config, "model": {n: 2 * v for n, v in average.items()}, "model_ema": average, "step": 7}
    torch.save(parts, tmp_path / "a.pth")
    check(library, network, config, tmp_path / "a.pth")


@pytest.mark.parametrize(
    "settings", [{"mapping_cond_dim": 5}, {"cross_cond_dim": 8, "cross_attn_depths": [False, True]}]
)
def test_what_it_attends_to_or_is_conditioned_on_is_refused(library: ModuleType, tmp_path: Path, settings: Any) -> None:
    network, config = made(library, **settings)
    with pytest.raises(InputError, match="takes further numbers or states as a condition"):
        open_source(converted(network, config, tmp_path / "a.safetensors"))
