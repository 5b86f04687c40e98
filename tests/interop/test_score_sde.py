"""Checkpoints of score_sde_pytorch, which is on no registry, against its networks as they are used there: modules in a
row, q, k and v apart. They are written out from the code of yang-song/score_sde_pytorch (models/ncsnpp.py and
layerspp.py), not from ours.
"""

from collections.abc import Iterator
from math import log
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sumi.errors import InputError
from sumi.interop.sources import open_source
from sumi.process.continuous import VP
from sumi.process.exploding import VE
from tests.published_networks import Weights

SIDE, NF, WIDTHS = 8, 8, (8, 16)  # two levels of one block each, attention at the lower
SIGMAS = torch.tensor([50.0, 1.0, 0.01], dtype=torch.float64)


def filtered(x: Tensor, up: int, down: int, pad: tuple[int, int], gain: float) -> Tensor:
    """Zeros between, ``pad`` around, the filter 1-3-3-1, and every ``down``-th."""
    n, c, height, width = x.shape
    apart = x.new_zeros(n, c, height * up, width * up)
    apart[:, :, ::up, ::up] = x
    line = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype) * gain**0.5 / 8
    kernel = torch.outer(line, line).expand(c, 1, 4, 4)
    return F.conv2d(F.pad(apart, (*pad, *pad)), kernel, groups=c)[:, :, ::down, ::down]


class Original(Weights):
    """NCSN++ and DDPM++ as the toolkit builds them."""

    def __init__(self, random: bool, encoder: str, decoder: str) -> None:
        super().__init__()
        self.random, self.encoder, self.decoder = random, encoder, decoder
        self.fir = random or encoder == "residual"

    def resized(self, x: Tensor, change: str) -> Tensor:
        match change, self.fir:
            case "down", True:
                return filtered(x, 1, 2, (1, 1), 1.0)
            case "down", False:
                return F.avg_pool2d(x, 2)
            case "up", True:
                return filtered(x, 2, 1, (2, 1), 4.0)
            case "up", False:
                return F.interpolate(x, scale_factor=2.0)
            case _:
                return x

    def norm(self, x: Tensor, name: str) -> Tensor:
        width = x.shape[1]
        return F.group_norm(x, width // 4, self(f"{name}.weight", width), self(f"{name}.bias", width), 1e-6)

    def block(self, x: Tensor, out: int, change: str = "") -> Tensor:
        name = next(self.numbers)
        h = self.resized(F.silu(self.norm(x, f"{name}.GroupNorm_0")), change)
        skip = self.resized(x, change)
        h = self.conv(h, f"{name}.Conv_0", out)
        h = h + self.linear(F.silu(self.about), f"{name}.Dense_0", out)[:, :, None, None]
        h = self.conv(F.silu(self.norm(h, f"{name}.GroupNorm_1")), f"{name}.Conv_1", out)
        skip = self.conv(skip, f"{name}.Conv_2", out, 1) if change or x.shape[1] != out else skip
        return (skip + h) / 2**0.5

    def attention(self, x: Tensor) -> Tensor:
        name, width = next(self.numbers), x.shape[1]

        def within(h: Tensor, k: int) -> Tensor:
            weight, bias = self(f"{name}.NIN_{k}.W", width, width), self(f"{name}.NIN_{k}.b", width)
            return torch.einsum("nchw,cd->ndhw", h, weight) + bias[:, None, None]

        h = self.norm(x, f"{name}.GroupNorm_0")
        q, k, v = (within(h, j).flatten(2) for j in range(3))
        shares = (torch.einsum("ncq,nck->nqk", q, k) * width**-0.5).softmax(2)
        return (x + within(torch.einsum("nqk,nck->ncq", shares, v).view_as(x), 3)) / 2**0.5

    def output(self, h: Tensor) -> Tensor:
        return self.conv(F.silu(self.norm(h, next(self.numbers))), next(self.numbers), 3)

    def network(self, x: Tensor, time: Tensor) -> Tensor:
        self.numbers: Iterator[str] = (f"module.all_modules.{number}" for number in range(99))
        if self.random:
            phase = 2 * torch.pi * time[:, None] * self(f"{next(self.numbers)}.W", NF)
        else:
            phase = time[:, None] * torch.exp(torch.arange(NF // 2) * (-log(1e4) / (NF // 2 - 1)))
        h = self.linear(torch.cat([phase.sin(), phase.cos()], 1), next(self.numbers), 4 * NF)
        self.about = self.linear(F.silu(h), next(self.numbers), 4 * NF)
        held = [self.conv(x, next(self.numbers), NF)]
        held.append(self.block(held[-1], WIDTHS[0]))
        h = self.block(held[-1], WIDTHS[0], "down")
        if self.encoder == "input_skip":
            small = self.resized(x, "down")
            next(self.numbers)  # which has no tensors
            h = h + self.conv(small, f"{next(self.numbers)}.Conv", WIDTHS[0], 1)
        if self.encoder == "residual":
            name, whole = next(self.numbers), filtered(x, 1, 1, (2, 2), 1.0)
            weight = self(f"{name}.Conv2d_0.weight", WIDTHS[0], 3, 3, 3)
            h = (F.conv2d(whole, weight, self(f"{name}.Conv2d_0.bias", WIDTHS[0]), stride=2) + h) / 2**0.5
        held.append(h)
        held.append(self.attention(self.block(h, WIDTHS[1])))
        h = self.block(self.attention(self.block(held[-1], WIDTHS[1])), WIDTHS[1])
        for _ in range(2):
            h = self.block(torch.cat([h, held.pop()], 1), WIDTHS[1])
        h, below = self.attention(h), None
        if self.decoder == "output_skip":
            below = self.output(h)
        h = self.block(h, WIDTHS[1], "up")
        for _ in range(2):
            h = self.block(torch.cat([h, held.pop()], 1), WIDTHS[0])
        if below is None:
            return self.output(h)
        next(self.numbers)
        return self.resized(below, "up") + self.output(h)

    def checkpoint(self, file: Path) -> Path:
        """As the toolkit saves it: the raw weights of the model are others than the averaged ones."""
        model = {"module.sigmas": SIGMAS}
        model |= {name: value if name.endswith(".0.W") else 2 * value for name, value in self.tensors.items()}
        average = [value for name, value in self.tensors.items() if not name.endswith(".0.W")]
        ema = {"decay": 0.999, "num_updates": 7, "shadow_params": average}
        torch.save({"optimizer": {}, "model": model, "ema": ema, "step": 7}, file)
        return file


NETWORKS = {
    "DDPM++": (False, "none", "none"),
    "NCSN++, preserving": (False, "residual", "none"),
    "NCSN++": (True, "residual", "none"),
    "NCSN++ of large images": (True, "input_skip", "output_skip"),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_checkpoint_is_the_network_in_its_own_process(kind: str, tmp_path: Path) -> None:
    network = Original(*NETWORKS[kind])
    network.network(torch.zeros(2, 3, SIDE, SIDE), torch.ones(2))
    source = open_source(network.checkpoint(tmp_path / "checkpoint_1.pth"), device="cpu")
    model = source.diffusion
    assert model.space.shape == (3, SIDE, SIDE)
    assert any("score_sde_pytorch" in note for note in source.notes)
    assert model.config.schedule == (VE(0.02, 100.0) if network.random else VP())
    denoiser = model.gaussian_denoiser()
    x = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for t in (0.3, 0.7):
            if network.random:  # images of [0, 1], of which the network gives the score
                sigma = 0.01 * (50 / 0.01) ** t
                score = network.network(x, torch.full((2,), sigma).log()) / sigma
                theirs = 2 * ((x + 1) / 2 + sigma**2 * score) - 1
            else:
                log_alpha = torch.tensor(-0.25 * t**2 * 19.9 - 0.5 * t * 0.1)
                std = (1 - (2 * log_alpha).exp()) ** 0.5
                score = -network.network(x, torch.full((2,), 999 * t)) / std
                theirs = (x + std**2 * score) / log_alpha.exp()
            size = theirs.abs().max()
            torch.testing.assert_close(denoiser(x, t).clean / size, theirs / size, rtol=0, atol=2e-6)


def test_other_networks_of_that_toolkit_are_refused_by_name(tmp_path: Path) -> None:
    network = Original(False, "none", "none")
    network.network(torch.zeros(2, 3, SIDE, SIDE), torch.ones(2))
    network("module.all_modules.3.NIN_0.W", 8, 8)  # as blocks of DDPM have
    with pytest.raises(InputError, match=r"all_modules\.3 .*NIN_0.* is of no DDPM\+\+ or NCSN\+\+"):
        open_source(network.checkpoint(tmp_path / "a.pth"))
    file = network.checkpoint(tmp_path / "b.pth")
    found = torch.load(file)
    found["ema"]["shadow_params"].pop()
    torch.save(found, file)
    with pytest.raises(InputError, match="its average has"):
        open_source(file)
