"""ADM's U-Net by the names of guided-diffusion and of EDM, which are on no registry: against the network written out
from Dhariwal & Nichol 2021 and the code of both (`tests.published_networks`), not from ours. And tensors and functions
of which a person says what they are.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from sumi.conditioning.condition import Condition
from sumi.errors import InputError
from sumi.interop.claims import Claims
from sumi.interop.sources import open_source
from sumi.models.diffusion.model import DiffusionModel
from sumi.networks.unet import UNetConfig
from tests.published_networks import ADM
from tests.tiny_models import random_model


@pytest.mark.parametrize(("edm", "width"), [(False, 64), (True, 128), (True, 64)])
def test_adm_by_both_layouts_is_the_network_of_its_paper(tmp_path: Path, edm: bool, width: int) -> None:
    """EDM's norms have fewer groups where there are fewer than 128 channels."""
    network, x = ADM(edm, width), torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([2, 0])
    network(x, torch.ones(2), labels)
    prefix = "model." if edm else ""
    save_file(
        {prefix + name: value.contiguous() for name, value in network.tensors.items()}, tmp_path / "a.safetensors"
    )
    source = open_source(tmp_path / "a.safetensors", device="cpu")
    model = source.model
    assert "assumed" in source.notes[0]
    assert model.items.shape[1:] == ((16, 16) if edm else (64, 64))
    denoiser, level = model.gaussian_denoiser(), 0.4
    condition = model.condition_of(range(2), labels)
    bound = model.denoiser(condition, threshold="none")
    with torch.no_grad():
        if edm:
            sigma = float(denoiser.schedule.sigma(torch.tensor(level)))
            root = (sigma**2 + 0.25) ** 0.5
            time = torch.tensor([sigma, sigma]).log() / 4
            theirs = 0.25 / root**2 * x + sigma * 0.5 / root * network(x / root, time, labels)
            found = bound(x, level).clean
        else:
            theirs = network(x, torch.tensor([399.0, 399.0]), labels)
            found = bound(x, level).noise
        size = theirs.abs().max()
        torch.testing.assert_close(found / size, theirs / size, rtol=0, atol=2e-6)
        assert_exact(model, network, condition, x, labels)


def assert_exact(model: DiffusionModel, network: ADM, condition: Condition, x: Tensor, labels: Tensor) -> None:
    """In float64 both are one function."""
    denoiser, zero = model.gaussian_denoiser().double(), torch.zeros(2, dtype=torch.float64)
    network.tensors = {name: value.double() for name, value in network.tensors.items()}
    found = denoiser.network(x.double(), zero, denoiser.conditioner(condition))
    torch.testing.assert_close(found, network(x.double(), zero, labels), rtol=0, atol=1e-12)


def test_plain_tensors_are_what_is_claimed_of_them(tmp_path: Path) -> None:
    model = random_model(tmp_path / "run", "schedule=cosine", "parameterization=velocity")
    weights = {f"module.{name}": value.contiguous() for name, value in model.module.network.state_dict().items()}
    save_file(weights, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="does not say what its network is"):
        open_source(tmp_path / "a.safetensors")
    config = model.config
    assert isinstance(config.network, UNetConfig)
    claims = Claims(
        shape=(1, 8, 8),
        network=config.network,
        schedule=config.schedule,
        parameterization=config.parameterization,
        rename=("^module\\.=>",),
    )
    found = open_source(tmp_path / "a.safetensors", claims=claims, device="cpu").model
    assert torch.equal(found.sample(2, steps=3), model.sample(2, steps=3))
    with pytest.raises(InputError, match="is missing; name the network"):
        open_source(tmp_path / "a.safetensors", claims=Claims(shape=(1, 8, 8)))


def test_a_function_in_a_file_is_a_network(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def half(x, time):\n    return 0.5 * x + 0 * time.view(-1, 1, 1, 1)\n")
    source = open_source(f"{tmp_path / 'own.py'}:half", claims=Claims(shape=(1, 4, 4)), device="cpu")
    x = torch.ones(2, 1, 4, 4)
    torch.testing.assert_close(source.model.gaussian_denoiser()(x, 0.5).noise, 0.5 * x)
    with pytest.raises(InputError, match="has no function other"):
        open_source(f"{tmp_path / 'own.py'}:other")


def test_a_function_of_pixels_from_0_to_1_is_claimed_so(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def half(x, time):\n    return 0.5 + 0 * x\n")
    settings = ["autoencoder=affine", "autoencoder.scale=0.5", "autoencoder.shift=0.5", "parameterization=clean"]
    source = open_source(f"{tmp_path / 'own.py'}:half", settings=["shape=3,4,4", *settings], device="cpu")
    model = source.diffusion
    assert source.notes == ()
    made = model.sample(2, steps=3)
    torch.testing.assert_close(made, torch.zeros(2, 3, 4, 4))  # the grey that is 0.5 of 0 to 1
