"""k-diffusion's first transformer, of files as the library and its convert_for_inference.py write them."""

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
from sumi.networks.image_transformer_v1 import ImageTransformerV1Config
from sumi.process.exploding import EDM
from tests.toolkits import installed, same, shaken

TOLERANCE = 2e-6
EXACT = 1e-12
CONFIG: dict[str, Any] = {
    "model": {
        "type": "image_transformer_v1",
        "input_channels": 3,
        "input_size": [8, 8],
        "patch_size": [2, 2],
        "depth": 2,
        "width": 128,
        "d_ff": 160,
        "dropout_rate": 0.0,
        "sigma_data": 0.6,
        "sigma_min": 0.01,
        "sigma_max": 80,
        "has_variance": False,
        "augment_wrapper": False,
        "skip_stages": 0,
    },
    "dataset": {"num_classes": 0},
}


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("K_DIFFUSION_USE_COMPILE", "0")
    return installed(k_diffusion_toolkit)


def made(library: ModuleType, classes: int = 0, **settings: Any) -> tuple[Any, dict[str, Any]]:
    """A network of the library with every weight random, and its configuration."""
    torch.manual_seed(0)
    config = {"model": CONFIG["model"] | settings, "dataset": {"num_classes": classes}}
    network = library.config.make_model(config).eval()
    shaken(network, 0.05)
    return network, config


def converted(network: Any, file: Path, header: dict[str, str] | None) -> Path:
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, file, header)
    return file


@pytest.mark.parametrize(
    ("classes", "settings"),
    [(0, {}), (3, {}), (0, {"patch_size": [4, 4], "input_size": [8, 16], "width": 64, "d_ff": 96})],
)
def test_a_converted_file_denoises_as_the_library(
    library: ModuleType, tmp_path: Path, classes: int, settings: dict[str, Any]
) -> None:
    """With classes, and of pictures that are no squares."""
    network, config = made(library, classes, **settings)
    file = converted(network, tmp_path / "a.safetensors", {"config": json.dumps(config)})
    assert import_run(file, tmp_path / "run", device="cpu").notes == ()
    model = load(tmp_path / "run", DiffusionModel, device="cpu")
    denoiser, theirs = model.gaussian_denoiser(), library.config.make_denoiser_wrapper(config)(network)
    x = torch.randn(2, 3, *config["model"]["input_size"], generator=torch.Generator().manual_seed(0))
    labels, none = torch.tensor([2, 0]), torch.full((2,), classes)
    cases: list[tuple[Any, dict[str, Any]]] = [(None, {"class_cond": none} if classes else {})]
    if classes:
        cases.append((model.condition_of(range(2), labels), {"class_cond": labels}))
    with torch.no_grad():
        for condition, given in cases:
            for sigma in (0.2, 1.5, 20.0):
                t = denoiser.schedule.time(-2 * torch.tensor(sigma, dtype=torch.float64).log())
                found = model.denoiser(condition, threshold="none")(x, float(t)).clean
                same(found, theirs(x, torch.full((2,), sigma), **given), TOLERANCE)
        time = torch.tensor([0.3, -0.2], dtype=torch.float64)
        own = network.double()(x.double(), (4 * time).exp(), **cases[0][1])
        same(denoiser.double().network(x.double(), time), own, EXACT)


def test_the_scale_of_attention_is_at_most_100(library: ModuleType, tmp_path: Path) -> None:
    """Which is sharp, and enlarges the rounding of float32."""
    network, config = made(library)
    with torch.no_grad():
        network.blocks[0].self_attn.qk_norm.scale[0] = 5.0
    file = converted(network, tmp_path / "a.safetensors", {"config": json.dumps(config)})
    denoiser = open_source(file, device="cpu").diffusion.gaussian_denoiser().double()
    x, time = torch.randn(2, 3, 8, 8, dtype=torch.float64), torch.tensor([0.3, -0.2], dtype=torch.float64)
    with torch.no_grad():
        same(denoiser.network(x, time), network.double()(x, (4 * time).exp()), EXACT)


def test_its_configuration_is_in_the_header(library: ModuleType, tmp_path: Path) -> None:
    network, config = made(library, 3)
    file = converted(network, tmp_path / "a.safetensors", {"config": json.dumps(config)})
    model = open_source(file, device="cpu").diffusion
    assert model.config.network == ImageTransformerV1Config(2, 128, 2, 160, 4)
    assert model.config.parameterization == PredictPreconditioned(0.6)
    assert model.config.schedule == EDM(0.01, 80)
    assert model.items.label_names == ("0", "1", "2")
    assert model.sample(2, steps=3, label="1", guidance=2.0).isfinite().all()
    plain = open_source(converted(network, tmp_path / "b.safetensors", None), device="cpu")
    assert "σ_data = 1 and images of 64x64 are assumed" in plain.notes[0]
    assert plain.diffusion.config.parameterization == PredictPreconditioned(1.0)


def test_patches_that_are_no_squares_are_refused(library: ModuleType, tmp_path: Path) -> None:
    network, config = made(library, patch_size=[2, 4])
    file = converted(network, tmp_path / "a.safetensors", {"config": json.dumps(config)})
    with pytest.raises(InputError, match="patches are of 2x4 pixels"):
        open_source(file)
