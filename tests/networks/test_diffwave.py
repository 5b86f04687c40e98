"""DiffWave: how far it sees, and its numbers of the paper."""

import pytest
import torch

from sumi.errors import InputError
from sumi.networks.condition import ConditionShape
from sumi.networks.diffwave import DiffWaveConfig
from tests.networks.stirred import stirred


def test_it_sees_as_far_as_its_dilations() -> None:
    """A cycle of dilations 1, 2, 4 sees 1 + 2 + 4 values to each side."""
    network = stirred(DiffWaveConfig(layers=3, channels=4, cycle=3, embedding=8).build((1, 41)), 0.5).double()
    x = torch.randn(1, 1, 41, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    network(x, torch.zeros(1)).double()[0, 0, 20].backward()
    assert x.grad is not None
    assert x.grad[0, 0].nonzero().flatten().tolist() == list(range(13, 28))


def test_the_paper_has_two_and_a_half_million_weights() -> None:
    with torch.device("meta"):
        network = DiffWaveConfig().build((1, 256))
    assert 0.9e6 < sum(p.numel() for p in network.parameters()) < 2.7e6


@pytest.mark.parametrize(("shape", "condition"), [((1, 8, 8), None), ((1, 64), ConditionShape(channels=1))])
def test_it_takes_sound_without_pictures(shape: tuple[int, ...], condition: ConditionShape | None) -> None:
    with pytest.raises(InputError, match="network=diffwave: takes"):
        DiffWaveConfig().build(shape, 1, condition)
