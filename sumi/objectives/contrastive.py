"""Contrastive losses: a picture and its own text belong together, and all other pairs of a batch do not.

    s_ij = ⟨u_i, v_j⟩             cosine of picture i and text j
    z_ij = exp(τ) s_ij + b        τ and b are learned

    sigmoid     L_i = -log σ(z_ii) - Σ_j≠i log σ(-z_ij)                                  begins at τ = log 10, b = -10
    softmax     L_i = -½ log(exp z_ii / Σ_j exp z_ij) - ½ log(exp z_ii / Σ_j exp z_ji)   begins at τ = log 1/0.07, b = 0

The sigmoid loss is SigLIP's (Zhai et al. 2023, eq. 1), which judges each pair alone; the other is InfoNCE in both
directions (Radford et al. 2021, figure 3). A pair i ≠ j of the same text does belong together, so it counts in neither:
it is left out of the sums.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import log
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from sumi.boundary.group import group


@dataclass(frozen=True)
class SigmoidLoss:
    """Each pair is judged alone (SigLIP)."""

    name: ClassVar[str] = "sigmoid"
    log_scale: ClassVar[float] = log(10)
    bias: ClassVar[float] = -10.0

    def of(self, logits: Tensor, same: Tensor) -> Tensor:
        """L_i (N,) of z (N, N); ``same`` bool (N, N): the pairs i ≠ j to leave out."""
        own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        losses = -F.logsigmoid(torch.where(own, logits, -logits))
        return losses.masked_fill(same, 0).sum(1)

    def log_match(self, logits: Tensor) -> Tensor:
        """log p(they belong together), of the logits of pairs."""
        return F.logsigmoid(logits)


@dataclass(frozen=True)
class SoftmaxLoss:
    """A picture chooses among the texts, and a text among the pictures (InfoNCE)."""

    name: ClassVar[str] = "softmax"
    log_scale: ClassVar[float] = log(1 / 0.07)
    bias: ClassVar[float] = 0.0

    def of(self, logits: Tensor, same: Tensor) -> Tensor:
        """See `SigmoidLoss.of`."""
        others = logits.masked_fill(same, -torch.inf)
        return -(others.log_softmax(1).diagonal() + others.log_softmax(0).diagonal()) / 2

    def log_match(self, logits: Tensor) -> Tensor:
        """log p(they belong together) but for a constant, of the logits of pairs."""
        return logits


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(*of: Any, **_: Any) -> Tensor:
        _, x = of
        return group().together(x)

    @staticmethod
    def backward(ctx: Any, *of: Any) -> Tensor:
        del ctx
        (gradient,) = of
        return group().total(gradient)[group().part(len(gradient))]


def gathered(x: Tensor) -> Tensor:
    """The rows (n, …) of all processes that train together, with the gradients that all have for each."""
    return x if group().size == 1 else cast("Tensor", _Rows.apply(x))


def named_by_all(texts: Sequence[str]) -> Sequence[object]:
    """Something equal for equal texts, of those of all processes."""
    if group().size == 1:
        return texts
    hashes = [int.from_bytes(sha256(text.encode()).digest()[:8], signed=True) for text in texts]
    return group().together(torch.tensor(hashes)).tolist()


def repeated(texts: Sequence[object]) -> Tensor:
    """bool (N, N): the pairs i ≠ j of the same text."""
    number = {text: k for k, text in enumerate(dict.fromkeys(texts))}
    of = torch.tensor([number[text] for text in texts])
    return (of[:, None] == of) & ~torch.eye(len(of), dtype=torch.bool)
