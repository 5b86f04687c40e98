"""The derivative in forward mode that mean flow follows is that of the network, whatever network and condition."""

import json
from typing import Any, NamedTuple, get_args, get_type_hints

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sumi.models.diffusion.config import DiffusionSettings
from sumi.models.molecules.system import MoleculesConfig
from sumi.networks.adm import ADMConfig
from sumi.networks.condition import ConditionShape, NetworkCondition
from sumi.networks.diffusers import DiffusersNetwork
from sumi.networks.diffwave import DiffWaveConfig
from sumi.networks.edm2 import EDM2Config
from sumi.networks.egnn import EGNNConfig
from sumi.networks.guided import GuidedConfig
from sumi.networks.hourglass import HourglassConfig
from sumi.networks.image_transformer_v1 import ImageTransformerV1Config
from sumi.networks.image_v1 import ImageV1Config
from sumi.networks.karras_unet import KarrasUnetConfig
from sumi.networks.layers import forward_mode
from sumi.networks.lucidrains import LucidrainsConfig
from sumi.networks.mlp import MLPConfig
from sumi.networks.own import OwnNetwork
from sumi.networks.pairs import PairNetworkConfig
from sumi.networks.song import SongUNetConfig
from sumi.networks.transformer import TransformerConfig
from sumi.networks.unet import UNetConfig


class Case(NamedTuple):
    """A network for data of ``shape``, and what it is conditioned on.

    ``vector``: "added" to the noise level's embedding, "class" (its largest number is one), or "none".
    """

    config: Any
    shape: tuple[int, ...]
    condition: ConditionShape = ConditionShape()
    vector: str = "added"


def diffusers(kind: str, **settings: Any) -> DiffusersNetwork:
    return DiffusersNetwork(kind, json.dumps(settings), embedding=4)  # type: ignore[arg-type]


STEP = 2e-5
IMAGE, MOLECULE = (1, 8, 8), (5, 8)
CASES = {
    "unet": Case(
        UNetConfig(widths=(32, 32), blocks=(1, 1), embedding=16, attention=(1,), cross_attention=(1,)),
        IMAGE,
        ConditionShape(2, 8),
    ),
    "unet with waves": Case(UNetConfig(widths=(32,), blocks=(1,), embedding=16, fourier=(1,)), IMAGE),
    "adm": Case(
        ADMConfig(widths=(32, 32), blocks=(1, 1), embedding=16, attention=(1,), head_width=16), IMAGE, ConditionShape(2)
    ),
    "transformer": Case(
        TransformerConfig(width=32, blocks=2, embedding=16, patch=2), IMAGE, ConditionShape(2, 8)
    ),
    "transformer with tokens among keys": Case(
        TransformerConfig(width=32, blocks=2, embedding=16, patch=2, tokens="keys"), IMAGE, ConditionShape(2, 8)
    ),
    "mlp": Case(MLPConfig(width=16, blocks=2, embedding=8), (3,)),
    "diffwave": Case(DiffWaveConfig(layers=3, channels=16, cycle=2, embedding=16), (1, 40)),
    "egnn": Case(EGNNConfig(width=16, layers=2, embedding=8), MOLECULE),
    "pairs": Case(PairNetworkConfig(width=16, pair_width=8, vectors=4, layers=2, embedding=8), MOLECULE),
    "lucidrains": Case(LucidrainsConfig(width=8, multiples=(1, 2), heads=2, head_width=8), IMAGE, vector="none"),
    "karras_unet": Case(
        KarrasUnetConfig(widths=(16, 32), blocks=1, attention=(1,), frequencies=4, head_width=16, embedding=4), IMAGE
    ),
    "song": Case(
        SongUNetConfig(width=16, widths=(16, 32), blocks=1, attention=(1,), noise=16, inner=32, embedding=4), IMAGE
    ),
    "song with skips": Case(
        SongUNetConfig(
            16, (16, 32), 1, (1,), 16, 32, random=True, encoder="residual", decoder="skip", smooth=True, embedding=4
        ),
        IMAGE,
    ),
    "edm2": Case(EDM2Config(widths=(16, 64), blocks=1, attention=(1,), noise=16, inner=32, embedding=4), IMAGE),
    "hourglass": Case(
        HourglassConfig(2, (2, 1), (16, 32), hidden=(24, 48), heads=(1, 2), mapping=(1, 16, 24), embedding=4),
        IMAGE,
        vector="class",
    ),
    "guided": Case(
        GuidedConfig(width=32, widths=(32, 64), blocks=1, attention=(1,), head_width=32, embedding=4), IMAGE
    ),
    "image_transformer_v1": Case(
        ImageTransformerV1Config(patch=2, width=64, depth=2, hidden=48, embedding=4), IMAGE, vector="class"
    ),
    "image_v1": Case(
        ImageV1Config(width=32, widths=(64, 64), blocks=(1, 1), attention=(1,), features=16), IMAGE, vector="none"
    ),
    "diffusers, UNet2DModel": Case(
        diffusers(
            "UNet2DModel",
            block_out_channels=[16, 32],
            down_block_types=["DownBlock2D", "AttnDownBlock2D"],
            up_block_types=["AttnUpBlock2D", "UpBlock2D"],
            layers_per_block=1,
            norm_num_groups=8,
            num_class_embeds=3,
        ),
        IMAGE,
        vector="class",
    ),
    "diffusers, UNet2DConditionModel": Case(
        diffusers(
            "UNet2DConditionModel",
            block_out_channels=[16, 32],
            down_block_types=["DownBlock2D", "CrossAttnDownBlock2D"],
            up_block_types=["CrossAttnUpBlock2D", "UpBlock2D"],
            layers_per_block=1,
            norm_num_groups=8,
            cross_attention_dim=8,
            attention_head_dim=8,
        ),
        IMAGE,
        ConditionShape(0, 8),
        vector="none",
    ),
    "diffusers, DiTTransformer2DModel": Case(
        diffusers(
            "DiTTransformer2DModel", num_attention_heads=2, attention_head_dim=8, num_layers=2, patch_size=2,
            num_embeds_ada_norm=4, norm_num_groups=8,
        ),
        IMAGE,
        vector="class",
    ),
}  # fmt: skip


def test_every_network_on_offer_is_here() -> None:
    """But a network of one's own, which is whatever it is."""
    offered = {
        choice
        for settings in (DiffusionSettings, MoleculesConfig)
        for choice in get_args(get_type_hints(settings)["network"])
    }
    assert {type(case.config) for case in CASES.values()} == offered - {OwnNetwork}


@pytest.mark.parametrize("name", CASES)
def test_the_derivative_of_every_network_agrees_with_central_differences(name: str, monkeypatch) -> None:
    """In x, the noise level and every condition at once, in float64; all of them count."""
    case = CASES[name]
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)  # diffusers has sines of float32 in any network
    draw = torch.Generator().manual_seed(4)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw, dtype=torch.float64)

    torch.manual_seed(4)
    network = case.config.build(case.shape, 1, case.condition).double().eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(normal(*weight.shape) * 0.2)
    at = {"x": normal(2, *case.shape), "c_noise": torch.tensor([1.0, 3.0], dtype=torch.float64)}
    match case.vector:
        case "added":
            at["vector"] = normal(2, case.config.embedding)
        case "class":
            at["vector"] = F.one_hot(torch.tensor([0, 2]), case.config.embedding).double()
    if case.condition.channels:
        at["image"] = normal(2, case.condition.channels, *case.shape[1:])
    if case.condition.token_width:
        at |= {"tokens": normal(2, 3, case.condition.token_width), "log_weights": normal(2, 3)}
    along = {key: normal(*value.shape) for key, value in at.items()}

    def f(given: dict[str, Tensor]) -> Tensor:
        x, c_noise, *_ = given.values()
        about = {key: value for key, value in given.items() if key not in ("x", "c_noise")}
        return network(x, c_noise, NetworkCondition(**about)) if about else network(x, c_noise)

    def moved(by: float, *which: str) -> dict[str, Tensor]:
        return {key: value + by * along[key] if key in which else value for key, value in at.items()}

    with torch.no_grad(), forward_mode():
        _, found = torch.func.jvp(f, (at,), (along,))
    with torch.no_grad():
        near, far = (f(moved(h, *at)) - f(moved(-h, *at)) for h in (STEP, 2 * STEP))
        wanted = (8 * near - far) / (12 * STEP)  # of fourth order
        size = float(wanted.abs().max())
        for one in at:
            if not (one == "vector" and case.vector == "class"):
                assert float((f(moved(1e-2, one)) - f(at)).abs().max()) > 1e-6, one
    assert size > 1e-3
    assert torch.allclose(found, wanted, rtol=0, atol=1e-6 * size)
