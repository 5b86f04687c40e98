"""ADM's U-Net by the names of guided-diffusion and of EDM, against the network written out from its paper."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from sumi.boundary.settings import override
from sumi.conditioning.condition import Condition
from sumi.denoising.parameterization import ParameterizationConfig, PredictClean, PredictVelocity
from sumi.errors import InputError
from sumi.interop.claims import Claims
from sumi.interop.sources import open_source
from sumi.models.diffusion.model import DiffusionModel
from sumi.networks.lucidrains import LucidrainsConfig
from sumi.networks.unet import UNetConfig
from sumi.process.chain import CosineBeta
from tests.published_networks import ADM
from tests.tiny_models import random_model


@pytest.mark.parametrize("edm", [False, True])
def test_adm_by_both_layouts_is_the_network_of_its_paper(tmp_path: Path, edm: bool) -> None:
    network, x = ADM(edm), torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
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
    """In float64 both are one function; at time 0, as the library takes its sines and cosines in float32."""
    denoiser, zero = model.gaussian_denoiser().double(), torch.zeros(2)
    network.tensors = {name: value.double() for name, value in network.tensors.items()}
    found = denoiser.network(x.double(), zero, denoiser.conditioner(condition))
    torch.testing.assert_close(found, network(x.double(), zero.double(), labels), rtol=0, atol=1e-12)


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
    claims = override(Claims(shape=(3, 4, 4)), settings)
    model = open_source(f"{tmp_path / 'own.py'}:half", claims=claims, device="cpu").diffusion
    made = model.sample(2, steps=3)
    torch.testing.assert_close(made, torch.zeros(2, 3, 4, 4))  # the grey that is 0.5 of 0 to 1


@pytest.mark.parametrize(("cut", "kind"), [(1e9, PredictVelocity()), (5.0, PredictClean())])
def test_a_checkpoint_of_denoising_diffusion_pytorch(tmp_path: Path, cut: float, kind: ParameterizationConfig) -> None:
    """The numbers are those of the library, version 2.3.4: its Unet(8, dim_mults=(1, 2), channels=1, attn_heads=2,
    attn_dim_head=4) with these weights, and its GaussianDiffusion's x̂_0 of v."""
    network = LucidrainsConfig(8, (1, 2), heads=2, head_width=4).build((1, 8, 8))
    generator = torch.Generator().manual_seed(5)
    for _, weight in sorted(network.named_parameters()):
        weight.data.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    betas = CosineBeta().build().betas(1000).float() if kind == PredictClean() else sigmoid_betas()
    alpha_bar = (1 - betas.double()).cumprod(0)
    snr = (alpha_bar / (1 - alpha_bar)).clamp(max=cut)
    weight = snr if kind == PredictClean() else snr / (snr + 1)
    model = {f"model.{name}": value for name, value in network.state_dict().items()}
    model |= {"betas": betas, "alphas_cumprod": alpha_bar.float(), "loss_weight": weight.float()}
    average = {"initted": torch.tensor(True), **{f"ema_model.{name}": value for name, value in model.items()}}
    torch.save({"step": 7, "model": {}, "ema": average, "scaler": None}, tmp_path / "model-1.pt")
    found = open_source(tmp_path / "model-1.pt", device="cpu").model
    assert found.config.parameterization == kind
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    wanted = [-37.010696, -60.28595, -64.266457, -85.888657, -81.602203, -32.764599, 22.255392, 118.917198]
    clean = [21.351557, 36.976742, 35.892982, 49.973045, 46.667908, 18.301413, -12.932185, -68.668907]
    denoiser = found.gaussian_denoiser()
    with torch.no_grad():
        output = denoiser.network(x, torch.tensor([399.0, 399.0]))
        torch.testing.assert_close(output[1, 0, 3], torch.tensor(wanted), rtol=2e-6, atol=5e-5)
        if kind == PredictVelocity():
            torch.testing.assert_close(denoiser(x, 0.4).clean[1, 0, 3], torch.tensor(clean), rtol=2e-6, atol=5e-5)


def test_a_checkpoint_of_another_number_of_steps_has_the_index_of_the_step_as_its_time(tmp_path: Path) -> None:
    network = LucidrainsConfig(8, (1,), heads=2, head_width=4).build((1, 8, 8))
    betas = CosineBeta(200).build().betas(200).float()
    alpha_bar = (1 - betas.double()).cumprod(0)
    buffers = {"betas": betas, "alphas_cumprod": alpha_bar.float(), "loss_weight": torch.ones(200)}
    model = {f"model.{name}": value for name, value in network.state_dict().items()}
    torch.save({"model": model | buffers}, tmp_path / "model-1.pt")
    found = open_source(tmp_path / "model-1.pt", device="cpu").diffusion
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs = network(x, torch.tensor([49.0, 49.0]))
        torch.testing.assert_close(found.gaussian_denoiser()(x, 0.25).noise, theirs, rtol=0, atol=2e-6)


def sigmoid_betas() -> Tensor:
    """The library's default: ᾱ is a sigmoid of t from 3 to -3, moved and scaled to run from 1 to 0."""
    high, low = torch.tensor(3.0).sigmoid(), torch.tensor(-3.0).sigmoid()
    alpha_bar = (high - torch.linspace(-3, 3, 1001, dtype=torch.float64).sigmoid()) / (high - low)
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(0, 0.999).float()
