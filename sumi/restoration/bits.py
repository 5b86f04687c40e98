"""Inpainting of bits: the model's distribution times a second one (Sohl-Dickstein et al. 2015, section 2.5).

r(x_0) gives P(+1) for each bit, with mean ρ = 2 P(+1) - 1: ±1 for a known bit, 0 for an unknown one. Since q(x_t | x_0)
does not depend on it, p̃(x_0 | x_t) ∝ p(x_0 | x_t) r(x_0), and for one bit

    x̂_0 ← (x̂_0 + ρ)/(1 + ρ x̂_0).

`BitProduct` applies this to each bit. Like the paper it multiplies the reverse step, p̃(x_s | x_t) ∝ p(x_s | x_t)
h(x_s), but with the exact h = E[r(x_0) | x_s]; the paper's diffused r equals h only for fair coins. It is exact for
independent bits. If bits depend on each other, unknown bits learn of the known ones only through x_t, which is too
late.

`ConditionedBits` corrects the unknown bits too. Flipping bit k of x_t multiplies p(x_0 | x_t) by an affine function of
x_0's bit k, so one more evaluation gives its covariance with all bits: with F_k x_t the flipped state and a = alpha²

    Cov(x_0, x_0ᵏ | x_t) = x_tᵏ (x̂_0(x_t) - x̂_0(F_k x_t)) (1 + a² - 2a x_tᵏ x̂_0ᵏ)/(2a),

and the other bits are regressed on the constrained ones K, x̂_0 ← x̂_0 + C_·K C_KK⁻¹ (x̂_0ᴷ as above - x̂_0ᴷ). For one
constrained bit this is the exact mean of p̃, for every p; for several known bits, if the other bits' means are affine
in them. Where a = 0, x_t carries no information, and only the constrained bits change.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sumi.denoising.denoiser import Denoised, Denoiser
from sumi.errors import InputError
from sumi.process.binomial import kept
from sumi.process.gaussian import expand
from sumi.process.schedule import Schedule, Time, noise_level

LEAST_EIGENVALUE = 1e-3  # of the constrained bits' covariance, relative to the largest; below: redundant bits


def known_bits(values: Tensor, known: Tensor) -> Tensor:
    """P(+1) of each bit: 0 or 1 by ``values`` = ±1 where ``known`` is True, ½ elsewhere."""
    return torch.where(known, (1 + values) / 2, 0.5)


def _multiplied(clean: Tensor, rho: Tensor) -> Tensor:
    """The mean of the product of two bit distributions with means ``clean`` and ``rho``; a ``rho`` of ±1 wins."""
    return torch.where(rho.abs() == 1, rho, (clean + rho) / (1 + rho * clean))


@dataclass(frozen=True)
class _OfTable:
    """A denoiser times ``probability``, P(+1) of each bit, which broadcasts to x of shape (N, …)."""

    denoiser: Denoiser
    probability: Tensor

    def __post_init__(self) -> None:
        if not bool(((self.probability >= 0) & (self.probability <= 1)).all()):
            raise InputError(
                "probability: holds values outside [0, 1]; give P(+1) of each bit, ½ where nothing is known"
            )

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule


@dataclass(frozen=True)
class BitProduct(_OfTable):
    """Each bit's own Bayes' rule with ``probability``."""

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        denoised = self.denoiser(x_t, t)
        rho = (2 * self.probability - 1).to(denoised.clean)
        clean = _multiplied(denoised.clean, rho)
        return replace(denoised, clean=clean, clean_variance=1 - clean**2)


@dataclass(frozen=True)
class ConditionedBits(_OfTable):
    """As `BitProduct`, with the other bits regressed on the constrained ones: one more evaluation per constrained bit.

    Bits whose ``probability`` is ½ for all samples cost nothing.
    """

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        denoised = self.denoiser(x_t, t)
        x, clean = x_t.flatten(1), denoised.clean.flatten(1)
        rho = (2 * self.probability - 1).to(denoised.clean).expand_as(x_t).flatten(1)
        places = (rho != 0).any(0).nonzero()[:, 0]
        constrained = rho[:, places] != 0  # (N, K)
        if len(places):
            columns = torch.stack([self._covariance(x_t, t, x, clean, int(k)) for k in places], 2)  # (N, D, K)
            among = columns[:, places] * constrained[:, :, None] * constrained[:, None, :]
            among = (among + among.mT) / 2 + torch.diag_embed((~constrained).to(x))
            surprise = (_multiplied(clean, rho) - clean)[:, places, None]
            inverse = torch.linalg.pinv(among, rtol=LEAST_EIGENVALUE, hermitian=True)
            regressed = (clean + (columns @ inverse @ surprise)[..., 0]).clamp(-1, 1)
            clean = torch.where(rho != 0, _multiplied(clean, rho), regressed)
        clean = clean.view_as(x_t)
        return replace(denoised, clean=clean, clean_variance=1 - clean**2)

    def _covariance(self, x_t: Tensor, t: Time, x: Tensor, clean: Tensor, k: int) -> Tensor:
        """Cov(x_0, x_0ᵏ | x_t) of all bits, (N, D), from the flip of bit k; 0 where a = 0."""
        flipped = x.clone()
        flipped[:, k].neg_()
        change = clean - self.denoiser(flipped.view_as(x_t), t).clean.flatten(1)
        kept_bits = torch.as_tensor(kept(noise_level(self.schedule, t)), dtype=torch.float64)
        a = torch.as_tensor(expand(kept_bits, x))
        bit, sure = x[:, k, None], clean[:, k, None]
        scale = torch.where(a > 0, (1 + a**2 - 2 * a * bit * sure) / (2 * a), 0.0)
        return bit * change * scale
