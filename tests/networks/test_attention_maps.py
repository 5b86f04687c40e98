"""Where a network looks at the tokens of its condition: the same law for each way that tokens enter one."""

import pytest
import torch

from sumi.networks.attention_maps import attention_maps
from sumi.networks.condition import ConditionShape, NetworkCondition
from sumi.networks.layers import CrossAttention
from sumi.networks.transformer import TransformerConfig
from sumi.networks.unet import UNetConfig

TRANSFORMER = {"patch": 2, "width": 32, "blocks": 1, "head_width": 32, "embedding": 32, "registers": 3}
WAYS = {
    "across": UNetConfig(widths=(32,), blocks=(1,), attention=(), cross_attention=(0,), embedding=32),
    "keys": TransformerConfig(**TRANSFORMER, tokens="keys"),
    "stream": TransformerConfig(**TRANSFORMER, tokens="stream"),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_token_of_weight_three_has_three_times_the_odds_and_places_are_the_pictures(way: str) -> None:
    """One head of one layer, so that odds are exact: share / (1 - share) is multiplied by the weight."""
    torch.manual_seed(0)
    network = WAYS[way].build((3, 8, 12), 1, ConditionShape(token_width=16)).eval().requires_grad_(False)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    x, c_noise, tokens = torch.randn(1, 3, 8, 12), torch.zeros(1), torch.randn(1, 5, 16)

    def shares(weights: list[float], picture: torch.Tensor = x) -> torch.Tensor:
        condition = NetworkCondition(torch.zeros(1, 32), tokens=tokens, log_weights=torch.tensor([weights]).log())
        plain = network(picture, c_noise, condition)
        with attention_maps(network) as found:
            assert torch.equal(network(picture, c_noise, condition), plain)
        assert torch.equal(network(picture, c_noise, condition), plain)
        assert len(found) == 1
        return found[0]

    once, thrice, hidden = shares([1.0] * 5), shares([1, 1, 3, 1, 1]), shares([1, 1, 0, 1, 1])
    assert once.shape == ((1, 5, 8, 12) if way == "across" else (1, 5, 4, 6))
    odds = [share[:, 2] / (1 - share[:, 2]) for share in (once, thrice)]
    torch.testing.assert_close(odds[1], 3 * odds[0], rtol=1e-4, atol=1e-6)
    assert not hidden[:, 2].any()
    torch.testing.assert_close(thrice[:, 0] / thrice[:, 4], once[:, 0] / once[:, 4], rtol=1e-4, atol=1e-6)
    whole = once.sum(1)
    assert torch.allclose(whole, torch.ones(())) if way == "across" else bool((whole < 1).all())

    other = x.clone()
    other[..., 2:4, 8:10] += 3
    moved = (shares([1.0] * 5, other) - once).abs().sum(1)[0]
    row, column = divmod(int(moved.argmax()), moved.shape[1])
    scale = 1 if way == "across" else 2
    assert scale * row in range(1, 5)
    assert scale * column in range(7, 11)


@pytest.mark.parametrize(("width", "heads"), [(16, 1), (96, 3), (112, 2), (128, 4)])
def test_a_level_of_any_width_looks_at_tokens(width: int, heads: int) -> None:
    layer = CrossAttention(width, 16, 24)
    assert layer.heads == heads
    assert layer(torch.randn(2, width, 4, 6), torch.randn(2, 5, 24)).shape == (2, width, 4, 6)
