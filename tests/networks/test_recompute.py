"""Activations that are computed again: the same gradients bit for bit, from less memory."""

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from sumi.autoencoders.network import Decoder, Encoder
from sumi.networks.dropout import Dropout, masks_by_position
from sumi.networks.layers import forward_mode
from sumi.networks.recompute import blocks, recomputed
from sumi.networks.transformer import Transformer, TransformerConfig
from sumi.networks.unet import UNet, UNetConfig


def unet() -> nn.Module:
    config = UNetConfig(widths=(32, 64), blocks=(1, 2), attention=(1,), embedding=32, dropout=0.3)
    return UNet(config, 3)


def transformer() -> nn.Module:
    return Transformer(TransformerConfig(width=64, blocks=3, patch=4, dropout=0.3), 3)


class Own(nn.Module):
    """A user's own, whose blocks draw from torch's own generator."""

    def __init__(self) -> None:
        super().__init__()
        parts = (nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Tanh(), nn.Dropout(0.5)) for _ in range(3))
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor, _: Tensor) -> Tensor:
        for part in self.parts:
            x = x + part(x)
        return x


class Reconstruction(nn.Module):
    """An autoencoder, decoded at once."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(3, (32, 64), (1, 2), 4), Decoder(4, (32, 64), (1, 2), 3)

    def forward(self, x: Tensor, _: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


def gradients(network: nn.Module, *, again: bool) -> tuple[list[Tensor], int]:
    """Of all weights, and the bytes that the forward pass keeps for them."""
    torch.manual_seed(0)
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.1)
    x, times = torch.randn(4, 3, 16, 16), torch.linspace(-1, 1, 4)
    kept = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor),
        masks_by_position(0, 1, range(4)),
        recomputed(network) if again else nullcontext(),
    ):
        loss = network(x, times).square().sum()
    loss.backward()
    return [weight.grad.clone() for weight in network.parameters() if weight.grad is not None], kept


@pytest.mark.parametrize(("build", "share"), [(unet, 0.5), (transformer, 0.5), (Own, 1.01), (Reconstruction, 0.6)])
def test_gradients_are_the_same_from_less_memory(build: Callable[[], nn.Module], share: float) -> None:
    network = build()
    kept, stored = gradients(network, again=False)
    network.zero_grad()
    again, less = gradients(network, again=True)
    assert len(kept) == len(again) > 3
    assert all(torch.equal(one, other) for one, other in zip(kept, again, strict=True))
    assert less < share * stored


def test_the_blocks_are_the_innermost_and_as_they_were_afterwards() -> None:
    network = unet()
    found = blocks(network)
    assert len(found) == len({id(block) for block in found}) > 4
    assert not any(type(part) is nn.ModuleList for block in found for part in block.modules())
    own = network.forward
    found[0].forward = own
    with recomputed(network):
        assert all("forward" in vars(block) for block in found)
    assert vars(found[0])["forward"] == own
    assert not any("forward" in vars(block) for block in found[1:])


def test_derivatives_can_be_carried_forward_and_back() -> None:
    """As in mean flow: a loss of the output and of its derivative."""
    network = unet()
    x, times = torch.randn(2, 3, 8, 8), torch.zeros(2)

    def found() -> list[Tensor]:
        network.zero_grad()
        with masks_by_position(0, 1, range(2)), forward_mode():
            output, derivative = torch.func.jvp(lambda y: network(y, times), (x,), (torch.ones_like(x),))
        (output * (1 + derivative)).sum().backward()
        return [weight.grad.clone() for weight in network.parameters() if weight.grad is not None]

    torch.manual_seed(0)
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.1)
    with recomputed(network):
        within = found()
    assert all(torch.equal(one, other) for one, other in zip(within, found(), strict=True))


def test_a_block_is_computed_again_in_the_backward_pass() -> None:
    calls: list[bool] = []

    class Block(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(torch.is_grad_enabled())
            return Dropout(0.5)(x).sin()

    network = nn.Module()
    network.parts = nn.ModuleList([Block()])
    with masks_by_position(0, 1, range(2)), recomputed(network):
        found = network.parts[0](torch.ones(2, 3, requires_grad=True))
    found.sum().backward()
    assert len(calls) == 2
