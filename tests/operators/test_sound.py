"""Operators of sound: linear, with their adjoints and pseudo-inverses."""

import pytest
import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.operators.linear import Operator
from sumi.operators.sound import LowPass, gap


def noise(seed: int, length: int) -> Tensor:
    return torch.randn(2, 1, length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("operator", [gap(96, 20, 40), LowPass(0.5), LowPass(0.31)])
@pytest.mark.parametrize("length", [96, 192])
def test_adjoints_are_exact_and_pseudo_inverses_those_of_projections(operator: Operator, length: int) -> None:
    if length == 192 and not isinstance(operator, LowPass):
        return
    x, y = noise(0, length), noise(1, length)
    assert float((operator(x) * y).sum()) == pytest.approx(float((x * operator.adjoint(y)).sum()), abs=1e-10)
    assert (operator(operator(x)) - operator(x)).abs().max() < 1e-12
    assert torch.equal(operator.pseudo_inverse(y), operator(y))


def test_a_low_pass_keeps_what_is_below_and_nothing_above() -> None:
    t = torch.arange(96, dtype=torch.float64)
    low, high = (torch.sin(2 * torch.pi * k / 96 * t)[None, None] for k in (23, 24))  # of 48
    assert (LowPass(0.5)(low + high) - low).abs().max() < 1e-12


def test_a_gap_is_silence() -> None:
    y = gap(96, 20, 40)(noise(0, 96))
    assert not y[..., 20:40].any()
    assert y[..., :20].all()
    assert y[..., 40:].all()


def test_what_is_out_of_range_is_refused() -> None:
    with pytest.raises(InputError, match="share: 1 is out of range"):
        LowPass(1.0)
    with pytest.raises(InputError, match="gap: samples 5 to 3"):
        gap(96, 5, 3)
    with pytest.raises(InputError, match=r"x: is of shape \(2, 96\)"):
        LowPass(0.5)(torch.zeros(2, 96))
