"""The U-Net: zero at the start, any size, told its noise level, each sample by itself, fast layout, precise errors."""

import copy
import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sumi.errors import InputError
from sumi.networks.layers import NoiseEmbedding, SelfAttention
from sumi.networks.unet import UNet, UNetConfig
from tests.networks.stirred import images, stirred

SMALL = UNetConfig(widths=(32, 64), blocks=(1, 2), embedding=32)
THREE_LEVELS = UNetConfig(widths=(32, 32, 64), blocks=(1, 1, 1), embedding=32)
ATTENTIVE = UNetConfig(widths=(32, 64), blocks=(1, 2), attention=(1,), embedding=32)


def unet(config: UNetConfig, channels: int, size: tuple[int, int] = (8, 8)) -> UNet:
    return stirred(config.build((channels, *size)))


@pytest.mark.parametrize("config", [SMALL, ATTENTIVE])
def test_a_residual_block_starts_as_the_identity(config: UNetConfig) -> None:
    """Every branch ends in zero: what enters a level leaves it unchanged."""
    network = config.build((3, 8, 8))
    x = images(2, 64, 4, 4)
    ones, zeros = torch.ones(2, 64, 1, 1), torch.zeros(2, 64, 1, 1)
    assert torch.equal(network.lowest(x.clone(), iter([(ones, zeros)] * 2)), x)


def test_a_residual_block_is_its_formula() -> None:
    """x + conv(silu((1 + scale) · norm(conv(silu(norm(x)))) + shift)), norms over 16 channels of one sample."""
    block = unet(SMALL, 3).down[0].get_submodule("blocks.0")
    x, scale, shift = images(2, 32, 5, 4), 1 + images(2, 32, 1, 1), images(2, 32, 1, 1).flip(0)

    def norm(h: Tensor) -> Tensor:
        grouped = h.reshape(2, 2, -1)
        variance, mean = torch.var_mean(grouped, dim=2, correction=0, keepdim=True)
        return ((grouped - mean) / (variance + 1e-5).sqrt()).view(h.shape)

    weight, bias = (block.get_parameter(f"norm_in.{name}")[:, None, None] for name in ("weight", "bias"))
    h = nn.functional.silu(weight * norm(x) + bias)
    h = nn.functional.conv2d(h, block.get_parameter("conv_in.weight"), padding=1)
    h = nn.functional.silu(scale * norm(h) + shift)
    expected = x + nn.functional.conv2d(h, block.get_parameter("conv_out.weight"), padding=1)
    torch.testing.assert_close(block(x, scale, shift), expected, rtol=1e-5, atol=1e-5)


def test_modulation_is_one_plus_scale_and_shift_block_by_block() -> None:
    """One linear layer holds the numbers of all blocks: all scales, then all shifts, in the order of the pass."""
    network = unet(THREE_LEVELS, 1)
    embedding = network.noise_embedding(torch.tensor([0.0, 500.0]))
    numbers = network.modulation(nn.functional.silu(embedding))
    widths = [32, 32, 64, 32, 32, 32]
    given: list[tuple[Tensor, Tensor]] = []
    for level in (*network.down, network.lowest, *network.up):
        for block in level.get_submodule("blocks").children():
            block.register_forward_pre_hook(lambda _block, inputs: given.append(inputs[1:]))
    network(images(2, 1, 8, 8), torch.tensor([0.0, 500.0]))
    assert [scale.shape[1] for scale, _ in given] == widths
    assert torch.equal(torch.cat([scale for scale, _ in given], 1).flatten(1), 1 + numbers[:, : sum(widths)])
    assert torch.equal(torch.cat([shift for _, shift in given], 1).flatten(1), numbers[:, sum(widths) :])


def test_the_pass_is_down_lowest_and_up_with_what_was_held_added() -> None:
    network, x, c_noise = unet(SMALL, 3), images(2, 3, 8, 8), torch.tensor([0.0, 500.0])
    modulation = network.modulation.of_blocks(network.noise_embedding(c_noise))
    held = network.down[0](network.conv_in(x), modulation)
    below = network.lowest(network.shrink[0](held), modulation)
    doubled = network.enlarge[0](below).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    last = network.up[0](held + doubled, modulation)
    expected = network.conv_out(nn.functional.silu(network.norm_out(last)))
    torch.testing.assert_close(network(x, c_noise), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(8, 8), (28, 28), (17, 23), (4, 9)])
def test_output_has_the_shape_of_any_input(channels: int, size: tuple[int, int]) -> None:
    x = images(2, channels, *size)
    output = unet(THREE_LEVELS, channels, size)(x, torch.zeros(2))
    assert output.shape == x.shape
    assert output.dtype == torch.float32
    # Not one pixel is out of reach of the noise level or left at a constant.
    assert (output.flatten(1).std(1) > 0).all()


def test_every_output_pixel_sees_the_whole_of_a_small_image() -> None:
    """Three levels over 8x8 pixels: the gradient of one corner reaches the opposite one, through the lowest level."""
    x = images(1, 1, 8, 8).requires_grad_()
    unet(THREE_LEVELS, 1)(x, torch.zeros(1))[0, 0, 0, 0].backward()
    assert x.grad is not None
    assert x.grad[0, 0, 7, 7] != 0


def test_waves_are_the_sines_and_cosines_that_are_named() -> None:
    """Channels: x, sin(2^n π x) of each n, then cos(2^n π x) of each; to 1e-4, as floats know 2^8 π x."""
    network, x = unet(replace(SMALL, fourier=(0, 7, 8)), 2), images(2, 2, 4, 4)
    seen: list[Tensor] = []
    network.conv_in.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    network(x, torch.zeros(2))
    exact = x.double()
    waves = [wave(2**n * torch.pi * exact) for wave in (torch.sin, torch.cos) for n in (0, 7, 8)]
    torch.testing.assert_close(seen[0].double(), torch.cat([exact, *waves], 1), rtol=0, atol=1e-4)


def test_waves_tell_the_last_bit() -> None:
    """Levels k and k + 1 of 256 differ by 2/255: 0.01 to the network, and almost a change of sign with n = 7."""
    levels = torch.arange(256.0)
    first = (2 * levels / 255 - 1).view(1, 1, 16, 16)
    flipped = (2 * (levels + 1 - 2 * (levels % 2)) / 255 - 1).view(1, 1, 16, 16)  # the last bit of each, the other way
    changes = []
    for fourier in ((), (7,)):
        network = unet(replace(SMALL, fourier=fourier), 1, (16, 16))
        before, after = (network(x, torch.zeros(1)).detach() for x in (first, flipped))
        changes.append(float((after - before).norm() / before.norm()))
    assert changes[0] < 0.05
    assert changes[1] > 10 * changes[0]


def test_noise_features_resolve_both_ranges() -> None:
    """Features (sines and cosines) separate the integers 0 … 999, and the range ±2 in steps of 1/20."""
    embedding = NoiseEmbedding(64)
    embedding.perceptron = nn.Sequential()
    for points in (torch.arange(1000.0), torch.arange(-2.0, 2.01, 0.05)):
        features = embedding(points)
        distances = torch.cdist(features, features) + 10 * torch.eye(len(points))
        # A step of 0.05 turns the highest frequency, π/2, by 0.08 radian, and distances are at least that.
        assert float(distances.min()) > 0.075
    slowest = embedding(torch.arange(1000.0))[:, 32]
    assert (slowest.diff() > 0).all(), "over the whole grid the slowest sine grows: far steps are never confused"


def test_attention_only_where_asked_for() -> None:
    def attentions(config: UNetConfig) -> list[str]:
        return [name for name, module in config.build((3, 8, 8)).named_modules() if isinstance(module, SelfAttention)]

    assert attentions(SMALL) == []
    assert attentions(ATTENTIVE) == ["lowest.attentions.0", "lowest.attentions.1"]
    assert attentions(UNetConfig(widths=(32, 64), blocks=(1, 1), attention=(0,))) == [
        "down.0.attentions.0",
        "up.0.attentions.0",
        "up.0.attentions.1",
    ]


def test_attention_is_softmax_attention_over_positions() -> None:
    """Against the formula written out, head by head."""
    torch.manual_seed(0)
    attention, x = SelfAttention(64, 16), images(2, 64, 3, 5)
    nn.init.normal_(attention.out.weight, std=0.1)
    tokens = attention.norm(x).flatten(2).transpose(1, 2)
    query, key, value = attention.query_key_value(tokens).chunk(3, dim=-1)
    heads = []
    for head in (slice(0, 32), slice(32, 64)):
        weights = (query[..., head] @ key[..., head].transpose(1, 2) / 32**0.5).softmax(-1)
        heads.append(weights @ value[..., head])
    expected = x + attention.out(torch.cat(heads, dim=-1)).transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(attention(x), expected, rtol=1e-5, atol=1e-5)


DIGITS = UNetConfig(widths=(32, 64), blocks=(1, 3), embedding=96)


@pytest.mark.parametrize(("config", "channels", "parameters"), [(UNetConfig(), 3, 1_502_016), (DIGITS, 1, 372_800)])
def test_parameter_counts(config: UNetConfig, channels: int, parameters: int) -> None:
    network = config.build((channels, 32, 32))
    assert sum(weight.numel() for weight in network.parameters()) == parameters


def test_the_names_of_the_weights_are_stable() -> None:
    """They are what checkpoints hold, in this order; constants are not among them."""
    names = list(UNetConfig(widths=(32, 64), blocks=(1, 1), attention=(1,)).build((1, 8, 8)).state_dict())
    block = ["norm_in.weight", "norm_in.bias", "conv_in.weight", "conv_out.weight"]
    attention = ["norm.weight", "norm.bias", "query_key_value.weight", "out.weight", "out.bias"]
    assert names == [
        *(f"noise_embedding.perceptron.{layer}" for layer in ("0.weight", "0.bias", "2.weight", "2.bias")),
        *("conv_in.weight", "conv_in.bias"),
        *(f"down.0.blocks.0.{name}" for name in block),
        *("shrink.0.weight", "shrink.0.bias"),
        *(f"lowest.blocks.0.{name}" for name in block),
        *(f"lowest.attentions.0.{name}" for name in attention),
        *("enlarge.0.weight", "enlarge.0.bias"),
        *(f"up.0.blocks.{index}.{name}" for index in (0, 1) for name in block),
        *("norm_out.weight", "norm_out.bias", "conv_out.weight", "modulation.weight", "modulation.bias"),
    ]


@pytest.mark.parametrize("channels", [1, 3])
def test_everything_between_is_channels_last(channels: int) -> None:
    """One channel is the hard case: such an image has both layouts at once, and says nothing of the one wanted."""
    network = copy.deepcopy(unet(SMALL, channels))
    seen: list[Tensor] = []
    for level in (*network.down, network.lowest, *network.up):
        level.register_forward_hook(lambda _level, _inputs, output: seen.append(output))
    output = network(images(2, channels, 8, 8), torch.zeros(2))
    for tensor in (*seen, output, *(weight for weight in network.parameters() if weight.dim() == 4)):
        assert tensor.is_contiguous(memory_format=torch.channels_last)


def test_dropout_is_only_in_training() -> None:
    network, x = unet(UNetConfig(widths=(32,), blocks=(1,), dropout=0.5), 3), images(2, 3, 8, 8)
    assert not torch.equal(*(network(x, torch.zeros(2)) for _ in range(2)))
    network.eval()
    assert torch.equal(network(x, torch.zeros(2)), network(x, torch.zeros(2)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"widths": ()}, "network.widths: is empty"),
        ({"widths": (32, 40), "blocks": (1, 1)}, "network.widths: 40 is not .*multiples of 32"),
        ({"widths": (32, -32), "blocks": (1, 1)}, "network.widths: -32 is not"),
        ({"widths": (32, 64), "blocks": (1,)}, "network.blocks: has 1 numbers for the 2 levels"),
        ({"widths": (32, 64), "blocks": (1, 0)}, r"network.blocks: \[1, 0\]"),
        ({"widths": (32, 64), "blocks": (1, 1), "attention": (2,)}, "network.attention: there is no level 2"),
        ({"widths": (16,), "blocks": (1,), "attention": (0,)}, "network.attention: .* not a multiple of 32"),
        ({"embedding": 7}, "network.embedding: 7 is not"),
        ({"dropout": 1.0}, "network.dropout: 1.0 is not"),
        ({"group_width": 0}, "network.group_width: 0"),
        ({"fourier": (6, 9)}, r"network.fourier: \[6, 9\] are not whole numbers from 0 to 8"),
        ({"fourier": (-1,)}, r"network.fourier: \[-1\]"),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        UNetConfig(**fields)
    assert "\n" not in str(caught.value)


def test_sizes_too_small_for_the_levels_are_refused_with_the_number_that_fits() -> None:
    config = UNetConfig(widths=(32, 32, 32, 32), blocks=(1, 1, 1, 1))
    config.check_size((8, 8))
    for size, fits in [((7, 64), 3), ((64, 3), 2), ((1, 1), 1)]:
        with pytest.raises(InputError, match=rf"network.widths: 4 levels.*{size[0]}x{size[1]}.*at most {fits}"):
            config.build((3, *size))
        levels = config.widths[:fits]
        UNetConfig(widths=levels, blocks=(1,) * fits).build((3, *size))(images(1, 3, *size), torch.zeros(1))


@pytest.mark.parametrize("size", [(8, 8), (7, 5)])
def test_every_level_is_half_the_one_above_rounded_up(size: tuple[int, int]) -> None:
    network, seen = unet(THREE_LEVELS, 1, size), []
    for level in [*network.down, network.lowest]:
        level.register_forward_hook(lambda _module, _inputs, output: seen.append(tuple(output.shape[2:])))
    network(images(1, 1, *size), torch.zeros(1))
    assert seen[0] == size
    for above, below in itertools.pairwise(seen):
        assert below == tuple((side + 1) // 2 for side in above)
