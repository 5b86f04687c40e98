"""The ADM U-Net and the classifier made of its way down: its shape, zero at the start, any size, its conditions."""

import re
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sumi.errors import InputError
from sumi.networks.adm import ADM, ADMConfig, EncoderConfig
from sumi.networks.classifier import AttentionPool, Classifier, ClassifierConfig
from sumi.networks.condition import ConditionShape, NetworkCondition
from sumi.networks.layers import CrossAttention, ResidualBlock, SelfAttention, resized
from tests.networks.stirred import images, stirred

SMALL = ADMConfig(widths=(32, 64), blocks=(1, 2), attention=(1,), embedding=32)
PLAIN = replace(SMALL, attention=())
THREE = ADMConfig(widths=(32, 32, 64), blocks=(1, 1, 1), attention=(2,), embedding=32)
CLASSIFIER = ClassifierConfig(widths=(32, 64), blocks=(1, 1), attention=(1,), embedding=32)


def adm(config: ADMConfig, channels: int = 3, condition: ConditionShape | None = None) -> ADM:
    return stirred(config.build((channels, 8, 8), condition=condition))


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


# --- the U-Net


def test_a_block_changes_the_resolution_inside_of_both_branches() -> None:
    """Norm, silu, *resize*, conv, adaptive norm, silu, conv; beside x resized and through a 1×1 convolution."""
    block = ResidualBlock(32, 16, 0.0, 64)
    stirred(block)
    x, scale, shift = images(2, 32, 6, 4), 1 + numbers(2, 64, 1, 1), numbers(2, 64, 1, 1)

    def norm(h: Tensor) -> Tensor:
        return F.group_norm(h, h.shape[1] // 16)

    def halved(h: Tensor) -> Tensor:
        return (h[:, :, ::2, ::2] + h[:, :, 1::2, ::2] + h[:, :, ::2, 1::2] + h[:, :, 1::2, 1::2]) / 4

    def doubled(h: Tensor) -> Tensor:
        return h.repeat_interleave(2, 2).repeat_interleave(2, 3)

    weight, bias = (v[:, None, None] for v in (block.norm_in.weight, block.norm_in.bias))
    for size, resize in (((3, 2), halved), ((12, 8), doubled), (None, lambda h: h)):
        h = F.conv2d(resize(F.silu(weight * norm(x) + bias)), block.conv_in.weight, padding=1)
        h = F.conv2d(F.silu(scale * norm(h) + shift), block.conv_out.weight, padding=1)
        expected = block.skip(resize(x)) + h
        torch.testing.assert_close(block(x, scale, shift, size), expected, rtol=1e-4, atol=1e-4)


def test_odd_sides_are_halved_to_means_and_come_back() -> None:
    x = images(1, 2, 5, 5)
    small = resized(x, (3, 3))
    torch.testing.assert_close(small[:, :, 0, 0], x[:, :, :2, :2].mean((2, 3)))
    assert resized(small, (5, 5)).shape == x.shape
    torch.testing.assert_close(resized(torch.ones(1, 1, 7, 5), (4, 3)), torch.ones(1, 1, 4, 3))


def test_the_pass_holds_everything_and_concatenates_it() -> None:
    """Written out for two levels of one and two blocks."""
    network, x, c_noise = adm(SMALL), images(2, 3), torch.tensor([0.0, 500.0])
    modulation, encoder = network.modulation.of_blocks(network.noise_embedding(c_noise)), network.encoder
    top, low = (list(level.children()) for level in encoder.levels)
    held = [encoder.conv_in(x)]
    held.append(top[0](held[-1], modulation))
    held.append(encoder.shrink[0](held[-1], modulation, size=(4, 4)))
    held.append(low[0](held[-1], modulation))
    held.append(low[1](held[-1], modulation))
    h = encoder.middle[1](encoder.middle[0](held[-1], modulation), modulation)
    low, top = (list(level.children()) for level in network.levels)
    for block in low:  # three, of what the two blocks and the halving gave
        h = block(torch.cat([h, held.pop()], 1), modulation)
    h = network.enlarge[0](h, modulation, size=(8, 8))
    for block in top:  # two, of what the block and the first convolution gave
        h = block(torch.cat([h, held.pop()], 1), modulation)
    assert held == []
    expected = network.conv_out(F.silu(network.norm_out(h)))
    torch.testing.assert_close(network(x, c_noise), expected, rtol=1e-5, atol=1e-5)


def test_one_linear_layer_modulates_every_block_in_the_order_of_the_pass() -> None:
    network, given = adm(SMALL), []
    embedding = network.noise_embedding(torch.tensor([3.0, 700.0]))
    for module in network.modules():
        if isinstance(module, ResidualBlock):
            module.register_forward_pre_hook(lambda _block, inputs: given.append(inputs[1:3]))
    network(images(2, 3), torch.tensor([3.0, 700.0]))
    widths = [32, 32, 64, 64, 64, 64, 64, 64, 64, 64, 32, 32]
    table = network.modulation(F.silu(embedding))
    assert [scale.shape[1] for scale, _ in given] == widths
    assert torch.equal(torch.cat([scale for scale, _ in given], 1).flatten(1), 1 + table[:, : sum(widths)])
    assert torch.equal(torch.cat([shift for _, shift in given], 1).flatten(1), table[:, sum(widths) :])


def test_attention_has_heads_of_the_asked_width_at_the_asked_levels_and_in_the_middle() -> None:
    def attentions(config: ADMConfig) -> dict[str, int]:
        modules = config.build((3, 8, 8)).named_modules()
        return {name: module.heads for name, module in modules if isinstance(module, SelfAttention)}

    assert attentions(PLAIN) == {"encoder.middle.0.attention": 1}
    assert attentions(replace(PLAIN, head_width=16)) == {"encoder.middle.0.attention": 4}
    low = ["encoder.levels.1.0", "encoder.levels.1.1", "encoder.middle.0", "levels.0.0", "levels.0.1", "levels.0.2"]
    assert list(attentions(SMALL)) == [f"{name}.attention" for name in low]


def test_heads_may_have_another_width() -> None:
    """Softmax attention over positions, written out head by head of 16 channels."""
    attention, x = SelfAttention(64, 16, 16), images(2, 64, 3, 5)
    stirred(attention)
    query, key, value = attention.query_key_value(attention.norm(x).flatten(2).transpose(1, 2)).chunk(3, dim=-1)
    parts = [slice(k, k + 16) for k in range(0, 64, 16)]
    heads = [(query[..., p] @ key[..., p].mT / 4).softmax(-1) @ value[..., p] for p in parts]
    expected = x + attention.out(torch.cat(heads, -1)).mT.reshape(x.shape)
    torch.testing.assert_close(attention(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (17, 23), (4, 9)])
@pytest.mark.parametrize("channels", [1, 4])
def test_output_has_the_shape_of_any_input_and_every_pixel_sees_it_all(channels: int, size: tuple[int, int]) -> None:
    x = images(2, channels, *size).requires_grad_()
    output = adm(THREE, channels)(x, torch.zeros(2))
    assert output.shape == x.shape
    output[0, 0, 0, 0].backward()
    assert x.grad is not None
    assert bool((x.grad[0] != 0).all())
    assert not bool(x.grad[1].any())


def test_the_condition_enters_by_all_three_ways() -> None:
    """A vector as the noise level does; an image as further channels; tokens wherever there is attention."""
    spec = ConditionShape(channels=2, token_width=24)
    network, x, c_noise = adm(SMALL, condition=spec), images(2, 3), torch.tensor([3.0, 700.0])
    condition = NetworkCondition(numbers(2, 32), images(2, 2), numbers(2, 5, 24))
    output = network(x, c_noise, condition)
    for name in ("vector", "image", "tokens"):
        part = getattr(condition, name)
        other = network(x, c_noise, replace(condition, **{name: part.flip(0)}))
        assert float((other - output).detach().abs().max()) > 1e-3
    given: list[Tensor] = []
    network.modulation.register_forward_pre_hook(lambda _linear, inputs: given.append(inputs[0]))
    network(x, c_noise, condition)
    torch.testing.assert_close(given[0], F.silu(network.noise_embedding(c_noise) + condition.vector))
    looking = [m for m in network.modules() if isinstance(m, CrossAttention)]
    assert len(looking) == len([m for m in network.modules() if isinstance(m, SelfAttention)])


@pytest.mark.parametrize("channels", [1, 3])
def test_everything_between_is_channels_last(channels: int) -> None:
    network, seen = adm(SMALL, channels), []
    for module in network.modules():
        if isinstance(module, ResidualBlock):
            module.register_forward_hook(lambda _block, _inputs, output: seen.append(output))
    output = network(images(2, channels), torch.zeros(2))
    assert len(seen) == 12
    for tensor in (*seen, output, *(weight for weight in network.parameters() if weight.dim() == 4)):
        assert tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ({"head_width": 0}, "network.head_width: 0 does not divide 64"),
        ({"head_width": 48}, "network.head_width: 48 does not divide 64, the lowest level's width"),
        ({"attention": (0,)}, "network.attention: level 0 has width 32, not a multiple of 64"),
        ({"attention": (2,)}, "network.attention: there is no level 2; choose from 0 to 1"),
        ({"blocks": (1,)}, "network.blocks: has 1 numbers for the 2 levels"),
        ({"widths": (32, 40)}, "network.widths: 40 is not"),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(fields: dict[str, Any], answer: str) -> None:
    for config in (SMALL, CLASSIFIER):
        with pytest.raises(InputError, match=re.escape(answer)):
            replace(config, **fields)


def test_data_that_are_no_images_or_too_small_are_refused() -> None:
    with pytest.raises(InputError, match="network=adm: takes images"):
        SMALL.build((5,))
    with pytest.raises(InputError, match=r"network.widths: 3 levels are too many for images of 3x8; give at most 2"):
        THREE.build((1, 3, 8))


# --- the classifier


def classifier(config: ClassifierConfig = CLASSIFIER, size: tuple[int, int] = (8, 8), classes: int = 5) -> Classifier:
    return stirred(config.build((3, *size), classes))


def test_a_new_classifier_takes_all_classes_to_be_alike() -> None:
    assert torch.equal(CLASSIFIER.build((3, 8, 8), 5)(images(2, 3), torch.zeros(2)), torch.zeros(2, 5))


def test_it_is_the_way_down_of_the_unet_and_a_pool() -> None:
    network, x, c_noise = classifier(), images(2, 3), torch.tensor([0.5, -1.5])
    h, held = network.encoder(x, network.modulation.of_blocks(network.noise_embedding(c_noise)))
    assert [tuple(part.shape[1:]) for part in held] == [(32, 8, 8), (32, 8, 8), (32, 4, 4), (64, 4, 4)]
    expected = network.pool(F.silu(F.group_norm(h, 4, network.norm_out.weight, network.norm_out.bias)))
    torch.testing.assert_close(network(x, c_noise), expected)
    other = network(x, c_noise.flip(0))
    assert float((other - expected).detach().abs().max()) > 1e-3  # it depends on the noise level


def test_the_pool_is_the_attention_of_the_mean_to_all_places_and_itself() -> None:
    """Against PyTorch's own multi-head attention, as CLIP's code calls it."""
    pool, x = AttentionPool(64, 16, 12, 7), images(2, 64, 3, 4)
    stirred(pool)
    tokens = x.flatten(2).permute(2, 0, 1)
    tokens = torch.cat([tokens.mean(0, keepdim=True), tokens]) + pool.place[:, None]
    expected, _ = F.multi_head_attention_forward(
        tokens[:1], tokens, tokens, 64, 4,
        in_proj_weight=torch.cat([pool.query.weight, pool.key_value.weight]),
        in_proj_bias=torch.cat([pool.query.bias, pool.key_value.bias]),
        bias_k=None, bias_v=None, add_zero_attn=False, dropout_p=0.0,
        out_proj_weight=pool.out.weight, out_proj_bias=pool.out.bias,
    )  # fmt: skip
    torch.testing.assert_close(pool(x), expected[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(7, 5), (8, 8)])
def test_every_pixel_counts_and_training_reaches_every_weight(size: tuple[int, int]) -> None:
    network = classifier(replace(CLASSIFIER, widths=(32, 32, 64), blocks=(1, 1, 1), attention=(2,)), size)
    x = images(3, 3, *size).requires_grad_()
    logits = network(x, torch.tensor([-2.0, 0.0, 2.0]))
    assert logits.shape == (3, 5)
    F.cross_entropy(logits, torch.tensor([0, 3, 4])).backward()
    assert x.grad is not None
    assert bool((x.grad != 0).all())
    assert [n for n, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()] == []


def test_logits_are_float32_in_reduced_precision_too() -> None:
    network = classifier()
    exact = network(images(2, 3), torch.zeros(2))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = network(images(2, 3), torch.zeros(2))
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.05)


def test_images_of_another_size_and_too_few_classes_are_refused() -> None:
    with pytest.raises(InputError, match="images: have 8x8 places at the lowest level"):
        classifier()(images(1, 3, 16, 16), torch.zeros(1))
    with pytest.raises(InputError, match="has 1 classes, and a classifier needs two"):
        CLASSIFIER.build((3, 8, 8), 1)
    with pytest.raises(InputError, match="network=classifier: takes images"):
        CLASSIFIER.build((5,), 3)
    assert issubclass(ClassifierConfig, EncoderConfig)
