"""The transformer: its equations written out once more, positions that count from the centre, conditions, any size."""

from dataclasses import replace
from math import log
from typing import Literal

import pytest
import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.networks.condition import ConditionShape, NetworkCondition
from sumi.networks.transformer import LONGEST, Block, Transformer, TransformerConfig, attention, rotate, rotations
from tests.networks.stirred import stirred

CONFIG = TransformerConfig(patch=2, width=32, blocks=5, head_width=16, registers=2, embedding=16)


def built(
    condition: ConditionShape | None = None, config: TransformerConfig = CONFIG, **fields: Literal["stream", "keys"]
) -> Transformer:
    """In float64, with weights all over."""
    return stirred(replace(config, **fields).build((3, 6, 4), condition=condition), 0.1).double()


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def turned(token: Tensor, row: float, column: float) -> Tensor:
    """One head's vector (16,) of a patch at that place, by complex numbers: four turn with the row, four the column."""
    rates = torch.tensor([LONGEST ** (-i / 3) for i in range(4)], dtype=torch.float64)
    pairs = torch.complex(token[:8], token[8:]) * torch.exp(1j * torch.cat([row * rates, column * rates]))
    return torch.cat([pairs.real, pairs.imag])


def one_by_one(network: Transformer, x: Tensor, c_noise: Tensor, tokens: Tensor) -> Tensor:
    """The output for one picture x (3, 6, 4) and its condition's tokens (L, 5), token by token and head by head."""

    def norm(token: Tensor) -> Tensor:
        return (token - token.mean()) / (token.var(unbiased=False) + 1e-5).sqrt()

    def rms(token: Tensor) -> Tensor:
        return token / (token.square().mean() + torch.finfo(torch.float64).eps).sqrt()

    modulation = network.modulation(torch.nn.functional.silu(network.noise_embedding(c_noise[None])))[0]
    places = [(row, column) for row in range(3) for column in range(2)]
    cut = [x[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].flatten() for row, column in places]
    h = [network.patches(patch) for patch in cut] + [network.tokens(token) for token in tokens] + [*network.registers]
    after: list[list[Tensor]] = []
    for index, block in enumerate(network.blocks):
        if index > 2:  # of five blocks, the fourth gets what the second made, and the fifth what the first
            skip = network.skips[index - 3]
            h = [token + skip(earlier) for token, earlier in zip(h, after[4 - index], strict=True)]
        a, b, g, a_out, b_out, g_out = (modulation + block.offset).split(32)
        keys, queries, values = [], [], []
        for place, token in enumerate(h):
            query, key, value = block.query_key_value((1 + a) * norm(token) + b).split(32)
            heads = [[], []]
            for scale, vector, into in ((block.query_scale, query, heads[0]), (block.key_scale, key, heads[1])):
                for head in vector.split(16):
                    scaled = rms(head) * scale
                    row, column = places[place] if place < 6 else (0.0, 0.0)
                    into.append(turned(scaled, row - 1, column - 0.5) if place < 6 else scaled)
            queries.append(heads[0])
            keys.append(heads[1])
            values.append(value.split(16))
        mixed = []
        for query in queries:
            parts = []
            for head in range(2):
                weights = torch.stack([query[head] @ key[head] / 4 for key in keys]).softmax(0)
                parts.append(sum(weight * value[head] for weight, value in zip(weights, values, strict=True)))
            mixed.append(block.attended(torch.cat(parts)))
        h = [token + g * attended for token, attended in zip(h, mixed, strict=True)]
        for place, token in enumerate(h):
            opened, value = block.gate_value((1 + a_out) * norm(token) + b_out).chunk(2)
            h[place] = token + g_out * block.out(opened * opened.sigmoid() * value)
        after.append(list(h))
    output = torch.empty_like(x)
    for (row, column), token in zip(places, h, strict=False):
        patch = network.patches_out(network.norm_out(token)).view(3, 2, 2)
        output[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = patch
    return output


def test_it_is_what_its_equations_say() -> None:
    network, x, tokens = built(ConditionShape(token_width=5)), randn(2, 3, 6, 4), randn(2, 3, 5, seed=1)
    c_noise = torch.tensor([3.0, 700.0], dtype=torch.float64)
    output = network(x, c_noise, NetworkCondition(tokens=tokens))
    for sample in range(2):
        expected = one_by_one(network, x[sample], c_noise[sample], tokens[sample])
        torch.testing.assert_close(output[sample], expected, rtol=1e-9, atol=1e-9)


def test_attention_sees_how_far_apart_two_patches_are_and_not_where() -> None:
    angles = rotations(5, 7, 16).repeat(1, 2).view(5, 7, 16)
    query, key = randn(16), randn(16, seed=1)

    def product(one: tuple[int, int], other: tuple[int, int]) -> Tensor:
        a, b = angles[one], angles[other]
        return rotate(query, (a.cos(), a.sin())) @ rotate(key, (b.cos(), b.sin()))

    torch.testing.assert_close(product((0, 1), (2, 5)), product((2, 2), (4, 6)), rtol=1e-12, atol=1e-12)
    assert abs(product((0, 1), (2, 5)) - product((0, 1), (2, 4))) > 1e-3
    assert abs(product((0, 1), (2, 5)) - product((0, 1), (1, 5))) > 1e-3
    assert torch.equal(angles, -angles.flip(0, 1))  # the centre is at rest


@pytest.mark.parametrize("size", [(6, 4), (4, 6), (7, 5), (2, 9), (16, 16)])
def test_pictures_of_other_sizes_and_shapes(size: tuple[int, int]) -> None:
    network, x = built(), randn(2, 3, *size)
    output = network(x, torch.ones(2, dtype=torch.float64))
    assert output.shape == x.shape
    whole = torch.nn.functional.pad(x, (0, size[1] % 2, 0, size[0] % 2), mode="replicate")
    torch.testing.assert_close(output, network(whole, torch.ones(2, dtype=torch.float64))[:, :, : size[0], : size[1]])


def test_every_part_of_a_condition_counts_and_its_tokens_have_no_order() -> None:
    network, x, c_noise = built(ConditionShape(2, 5)), randn(2, 3, 6, 4), torch.ones(2, dtype=torch.float64)
    given = NetworkCondition(randn(2, 16, seed=1), randn(2, 2, 6, 4, seed=2), randn(2, 3, 5, seed=3))
    output = network(x, c_noise, given)
    for name, value in ((name, value) for name, value in vars(given).items() if value is not None):
        assert not torch.allclose(network(x, c_noise, replace(given, **{name: value + 1})), output, atol=1e-4)
    assert given.tokens is not None
    torch.testing.assert_close(network(x, c_noise, replace(given, tokens=given.tokens.flip(1))), output)


@pytest.mark.parametrize("tokens", ["stream", "keys"])
def test_a_token_counts_as_often_as_its_weight_says(tokens: Literal["stream", "keys"]) -> None:
    """None: as if it were not there; twice: as if it stood there twice, where no other token attends to it."""
    network, x, c_noise = built(ConditionShape(0, 5), tokens=tokens), randn(2, 3, 6, 4), torch.ones(2).double()
    given, zero = randn(2, 3, 5, seed=3), torch.zeros(2, 3, dtype=torch.float64)

    def output(tokens: Tensor, log_weights: Tensor | None) -> Tensor:
        return network(x, c_noise, NetworkCondition(tokens=tokens, log_weights=log_weights))

    torch.testing.assert_close(output(given, zero), output(given, None))
    last = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(output(given, zero.masked_fill(last > 0, -torch.inf)), output(given[:, :2], None))
    twice = torch.cat([given, given[:, 2:]], 1)
    torch.testing.assert_close(output(given, zero + log(2) * last), output(twice, None))


def test_what_a_token_among_the_keys_gives_is_its_value() -> None:
    """Where nothing else counts, each position gets the second half of the token's keys and values, and no turn."""
    block = stirred(Block(replace(CONFIG, tokens="keys"), token_width=5))
    h, token = torch.randn(2, 6, CONFIG.width), torch.randn(2, 1, 5)
    bias = torch.full((2, 1, 1, 7), -torch.inf)
    bias[..., -1] = 0
    angles = rotations(2, 3, CONFIG.head_width).float().repeat(1, 2)
    turns = (angles.cos(), angles.sin())
    found = block._attention(h, turns, token, bias)
    weight = block.key_value.weight[CONFIG.width :]
    torch.testing.assert_close(found, block.attended(token @ weight.T).expand(2, 6, -1))


def test_attention_written_out_is_the_fused_one() -> None:
    """In training on a CPU in bfloat16, output and gradients within a few roundings (2^-8) of float64's."""
    inputs = [3 * randn(2, 2, 7, 16, seed=seed) for seed in range(3)]

    def results(dtype: torch.dtype) -> list[Tensor]:
        leaves = [x.to(dtype).requires_grad_() for x in inputs]
        output = attention(*leaves)
        return [output.detach(), *torch.autograd.grad(output.square().sum(), leaves)]

    for one, other in zip(results(torch.bfloat16), results(torch.float64), strict=True):
        assert (one - other).norm() < 0.03 * other.norm()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"patch": 0}, r"^network\.patch: 0 is too few; give 1 or more$"),
        ({"head_width": 6}, r"^network\.head_width: 6 is not a multiple of 4"),
        ({"width": 40}, r"^network\.width: 40 is not a multiple of network\.head_width = 16; give such as 96$"),
        ({"embedding": 3}, r"^network\.embedding: 3 is not an even number"),
        ({"dropout": 1.0}, r"^network\.dropout: 1\.0 is not in \[0, 1\)"),
    ],
)
def test_what_cannot_be_built_is_refused(fields: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(CONFIG, **fields)


def test_data_that_it_cannot_take_are_refused() -> None:
    with pytest.raises(InputError, match=r"^network=transformer: takes images, not data of shape \(5,\)"):
        CONFIG.build((5,))
    with pytest.raises(InputError, match=r"^network\.patch: 2 is larger than images of 1x6; give at most 1"):
        CONFIG.build((3, 1, 6))
