"""Contrastive losses, pair by pair: which pairs count, with which sign, and in which direction."""

from math import exp, log

import pytest
import torch
from torch import Tensor

from sumi.objectives.contrastive import SigmoidLoss, SoftmaxLoss, repeated

TEXTS = ["a cat", "a dog", "a cat", "a fish", "a dog"]


@pytest.fixture
def logits() -> Tensor:
    return 4 * torch.randn(5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_the_sigmoid_loss_is_a_sum_over_pairs_without_those_of_the_same_text(logits: Tensor) -> None:
    z = logits.tolist()
    losses = []
    for i in range(5):
        own = log(1 + exp(-z[i][i]))
        others = [log(1 + exp(z[i][j])) for j in range(5) if j != i and TEXTS[j] != TEXTS[i]]
        losses.append(own + sum(others))
    found = SigmoidLoss().of(logits, repeated(TEXTS))
    torch.testing.assert_close(found, torch.tensor(losses, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_the_softmax_loss_chooses_in_both_directions_among_other_texts(logits: Tensor) -> None:
    z = logits.tolist()
    losses = []
    for i in range(5):
        allowed = [j for j in range(5) if j == i or TEXTS[j] != TEXTS[i]]
        of_text = exp(z[i][i]) / sum(exp(z[i][j]) for j in allowed)
        of_picture = exp(z[i][i]) / sum(exp(z[j][i]) for j in allowed)
        losses.append(-(log(of_text) + log(of_picture)) / 2)
    found = SoftmaxLoss().of(logits, repeated(TEXTS))
    torch.testing.assert_close(found, torch.tensor(losses, dtype=torch.float64), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("loss", [SigmoidLoss(), SoftmaxLoss()], ids=["sigmoid", "softmax"])
def test_a_pair_of_the_same_text_has_no_gradient(loss: SigmoidLoss | SoftmaxLoss, logits: Tensor) -> None:
    z = logits.requires_grad_()
    loss.of(z, repeated(TEXTS)).sum().backward()
    assert z.grad is not None
    same = repeated(TEXTS)
    assert int(same.sum()) == 4
    assert bool((z.grad[same] == 0).all())
    assert bool((z.grad[~same] != 0).all())


def test_they_begin_as_their_papers_say() -> None:
    """SigLIP: 10 and -10, so that nothing is thought to belong together; CLIP: 1/0.07."""
    assert (exp(SigmoidLoss.log_scale), SigmoidLoss.bias) == (pytest.approx(10), -10)
    assert (exp(SoftmaxLoss.log_scale), SoftmaxLoss.bias) == (pytest.approx(1 / 0.07), 0)
    torch.testing.assert_close(SigmoidLoss().log_match(torch.zeros(1)).exp(), torch.tensor([0.5]))
    torch.testing.assert_close(SoftmaxLoss().log_match(torch.ones(1)), torch.ones(1))
