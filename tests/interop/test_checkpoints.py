"""ADM's U-Net by the names of guided-diffusion and of EDM, against the network written out from its paper."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
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
from tests.tiny_models import random_model

WIDTH = 64
GUIDED = ("in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3", "skip_connection")
EDM = ("norm0", "conv0", "affine", "norm1", "conv1", "skip")
# the blocks of two levels with one residual block each, attention at the lower: their names in both layouts
PLACES = {
    "first": ("input_blocks.0.0", "enc.16x16_conv"),
    "down 0": ("input_blocks.1.0", "enc.16x16_block0"),
    "shrink": ("input_blocks.2.0", "enc.8x8_down"),
    "down 1": ("input_blocks.3.0", "enc.8x8_block0"),
    "middle 0": ("middle_block.0", "dec.8x8_in0"),
    "middle 1": ("middle_block.2", "dec.8x8_in1"),
    "up 0": ("output_blocks.0.0", "dec.8x8_block0"),
    "up 1": ("output_blocks.1.0", "dec.8x8_block1"),
    "enlarge": ("output_blocks.1.2", "dec.16x16_up"),
    "up 2": ("output_blocks.2.0", "dec.16x16_block0"),
    "up 3": ("output_blocks.3.0", "dec.16x16_block1"),
}
ATTENTION = {
    "down 1": "input_blocks.3.1",
    "middle 0": "middle_block.1",
    "up 0": "output_blocks.0.1",
    "up 1": "output_blocks.1.1",
}


class Network:
    """ADM's U-Net as functions of its tensors, which it makes when it is first evaluated."""

    def __init__(self, edm: bool) -> None:
        self.edm, self.tensors = edm, dict[str, Tensor]()
        self.generator = torch.Generator().manual_seed(3)

    def get(self, name: str, *shape: int) -> Tensor:
        if name not in self.tensors:
            self.tensors[name] = torch.randn(shape, generator=self.generator) / max(shape[-1], 8) ** 0.5
        return self.tensors[name]

    def linear(self, x: Tensor, name: str, out: int) -> Tensor:
        return F.linear(x, self.get(f"{name}.weight", out, x.shape[1]), self.get(f"{name}.bias", out))

    def conv(self, x: Tensor, name: str, out: int, side: int = 3) -> Tensor:
        weight = self.get(f"{name}.weight", out, x.shape[1], side, side)
        return F.conv2d(x, weight, self.get(f"{name}.bias", out), padding=side // 2)

    def norm(self, x: Tensor, name: str) -> Tensor:
        return F.group_norm(x, 32, self.get(f"{name}.weight", x.shape[1]), self.get(f"{name}.bias", x.shape[1]))

    def residual(self, x: Tensor, place: str, change: Callable[[Tensor], Tensor] = lambda h: h) -> Tensor:
        layers = [f"{PLACES[place][self.edm]}.{layer}" for layer in (EDM if self.edm else GUIDED)]
        h = self.conv(change(F.silu(self.norm(x, layers[0]))), layers[1], WIDTH)
        scale, shift = self.linear(F.silu(self.embedding), layers[2], 2 * WIDTH)[..., None, None].chunk(2, 1)
        h = self.conv(F.silu(self.norm(h, layers[3]) * (1 + scale) + shift), layers[4], WIDTH)
        x = change(x)
        x = (self.conv(x, layers[5], WIDTH, 1) if x.shape[1] != WIDTH else x) + h
        return self.attention(x, place) if place in ATTENTION else x

    def attention(self, x: Tensor, place: str) -> Tensor:
        own = PLACES[place][1] if self.edm else ATTENTION[place]
        norm, out = (f"{own}.norm2", f"{own}.proj") if self.edm else (f"{own}.norm", f"{own}.proj_out")
        side = (1, 1) if self.edm else (1,)
        three = self.get(f"{own}.qkv.weight", 3 * WIDTH, WIDTH, *side).flatten(1)
        h = self.norm(x, norm).flatten(2).transpose(1, 2) @ three.T + self.get(f"{own}.qkv.bias", 3 * WIDTH)
        query, key, value = h.unflatten(2, (WIDTH, 3)).unbind(3) if self.edm else h.chunk(3, 2)  # one head
        mixed = (query @ key.transpose(1, 2) / WIDTH**0.5).softmax(2) @ value
        weight = self.get(f"{out}.weight", WIDTH, WIDTH, *side).flatten(1)
        return x + (mixed @ weight.T + self.get(f"{out}.bias", WIDTH)).transpose(1, 2).view_as(x)

    def __call__(self, x: Tensor, time: Tensor, labels: Tensor) -> Tensor:
        phase = time[:, None] * torch.exp(-torch.arange(WIDTH // 2) * torch.log(torch.tensor(1e4)) / (WIDTH // 2))
        names = ("map_layer0", "map_layer1") if self.edm else ("time_embed.0", "time_embed.2")
        h = F.silu(self.linear(torch.cat([phase.cos(), phase.sin()], 1), names[0], 4 * WIDTH))
        self.embedding = self.linear(h, names[1], 4 * WIDTH)
        if self.edm:
            self.embedding = self.embedding + self.get("map_label.weight", 4 * WIDTH, 3).T[labels]
        else:
            self.embedding = self.embedding + self.get("label_emb.weight", 3, 4 * WIDTH)[labels]
        held = [self.conv(x, PLACES["first"][self.edm], WIDTH)]
        held.append(self.residual(held[-1], "down 0"))
        held.append(self.residual(held[-1], "shrink", lambda h: F.avg_pool2d(h, 2)))
        held.append(self.residual(held[-1], "down 1"))
        h = self.residual(self.residual(held[-1], "middle 0"), "middle 1")
        for place in ("up 0", "up 1", "up 2", "up 3"):
            h = self.residual(torch.cat([h, held.pop()], 1), place)
            if place == "up 1":
                h = self.residual(h, "enlarge", lambda h: F.interpolate(h, scale_factor=2.0))
        last = ("out_norm", "out_conv") if self.edm else ("out.0", "out.2")
        return self.conv(F.silu(self.norm(h, last[0])), last[1], 3)


@pytest.mark.parametrize("edm", [False, True])
def test_adm_by_both_layouts_is_the_network_of_its_paper(tmp_path: Path, edm: bool) -> None:
    network, x = Network(edm), torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
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


def assert_exact(model: DiffusionModel, network: Network, condition: Condition, x: Tensor, labels: Tensor) -> None:
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
