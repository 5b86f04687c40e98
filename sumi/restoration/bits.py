"""Multiplying the model's distribution of bits by a second one (Sohl-Dickstein et al. 2015, section 2.5): inpainting.

r(x_0) is a table of P(+1) for each bit, with mean ρ = 2 P(+1) - 1: ±1 for a known bit, 0 where nothing is said. Since
q(x_t | x_0) does not depend on it, p̃(x_0 | x_t) ∝ p(x_0 | x_t) r(x_0), and for one bit

    x̂_0 ← (x̂_0 + ρ)/(1 + ρ x̂_0).

`BitProduct` does this to each bit. It multiplies the step back as the paper does, p̃(x_s | x_t) ∝ p(x_s | x_t) h(x_s),
and with the exact h, E[r(x_0) | x_s]; r diffused to x_s would be h for fair coins alone. For independent bits it is
exact. Where bits depend on each other, those of which nothing is said see the known ones through x_t alone, too late.

`ConditionedBits` tells them. Flipping bit k of x_t multiplies p(x_0 | x_t) by something affine in x_0's bit k, so the
covariance of all bits with that one is known from one more evaluation: with F_k x_t the flipped one and a = alpha²

    Cov(x_0, x_0ᵏ | x_t) = x_tᵏ (x̂_0(x_t) - x̂_0(F_k x_t)) (1 + a² - 2a x_tᵏ x̂_0ᵏ)/(2a),

and the other bits are regressed on the told ones, x̂_0 ← x̂_0 + C_·K C_KK⁻¹ (x̂_0ᴷ as above - x̂_0ᴷ). With one told bit
that is p̃'s own mean, for every p; with several known ones, where the means of the others are affine in them. Where
a = 0 no bit of x_t says anything, and only the told bits themselves are changed there.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sumi.denoising.denoiser import Denoised, Denoiser
from sumi.errors import InputError
from sumi.process.binomial import kept
from sumi.process.gaussian import expand
from sumi.process.schedule import Schedule, Time, noise_level

LEAST_EIGENVALUE = 1e-3  # of the told bits' covariance, to its largest: what is below are bits that say the same


def known_bits(values: Tensor, known: Tensor) -> Tensor:
    """The table of bits ``values`` = ±1 that are certain where ``known`` is True: P(+1) = 0, 1, or ½ elsewhere."""
    return torch.where(known, (1 + values) / 2, 0.5)


def _check_table(probability: Tensor) -> None:
    if not bool(((probability >= 0) & (probability <= 1)).all()):
        raise InputError("probability: holds values outside [0, 1]; give P(+1) of each bit, ½ where nothing is known")


def _multiplied(clean: Tensor, rho: Tensor) -> Tensor:
    """The mean of a bit of mean ``clean`` times one of mean ``rho``; ±1 where that is ±1, whatever the first says."""
    return torch.where(rho.abs() == 1, rho, (clean + rho) / (1 + rho * clean))


@dataclass(frozen=True)
class BitProduct:
    """Each bit's own Bayes' rule with ``probability``, P(+1) of each bit, which broadcasts to x of shape (N, …)."""

    denoiser: Denoiser
    probability: Tensor

    def __post_init__(self) -> None:
        _check_table(self.probability)

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        denoised = self.denoiser(x_t, t)
        rho = (2 * self.probability - 1).to(denoised.clean)
        clean = _multiplied(denoised.clean, rho)
        return replace(denoised, clean=clean, clean_variance=1 - clean**2)


@dataclass(frozen=True)
class ConditionedBits:
    """As `BitProduct`, and the other bits follow the told ones: one evaluation more for each place told of.

    ``probability`` broadcasts to x of shape (N, …); places where it is ½ for all samples cost nothing.
    """

    denoiser: Denoiser
    probability: Tensor

    def __post_init__(self) -> None:
        _check_table(self.probability)

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        denoised = self.denoiser(x_t, t)
        x, clean = x_t.flatten(1), denoised.clean.flatten(1)
        rho = (2 * self.probability - 1).to(denoised.clean).expand_as(x_t).flatten(1)
        places = (rho != 0).any(0).nonzero()[:, 0]
        told = rho[:, places] != 0  # (N, K)
        if len(places):
            columns = torch.stack([self._covariance(x_t, t, x, clean, int(k)) for k in places], 2)  # (N, D, K)
            among = columns[:, places] * told[:, :, None] * told[:, None, :]
            among = (among + among.mT) / 2 + torch.diag_embed((~told).to(x))
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
