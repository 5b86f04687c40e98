"""Completing a molecule: some atoms are given, and the others are sampled around them.

Where the given atoms are in space says nothing, so in every x̂_0 they are put where the sample has them: turned and
moved onto its first atoms by the rotation and translation of least squares (Kabsch 1976), and left in their own shape.
x̂_0 of the others stays, and the mean of all places is taken away again. The sampler follows x̂_0, and its end is treated
alike: the given atoms stand exactly as given up to a rotation and a translation. It is a replacement, as of Lugmayr et
al. 2022 ("RePaint"), of the clean estimate instead of the noised state; the law of the others is that of the posterior
only approximately.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sumi.data.molecules import centred
from sumi.denoising.denoiser import Denoised, Denoiser
from sumi.process.schedule import Schedule, Time


@dataclass(frozen=True)
class Scaffolded:
    """``denoiser`` of molecules whose first k atoms are ``scaffold`` (k, 3 + K), in the model's units."""

    denoiser: Denoiser
    scaffold: Tensor

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        found = self.denoiser(x_t, t)
        return Denoised(self.completed(found.clean), x_t, found.alpha, found.sigma)

    def completed(self, x: Tensor) -> Tensor:
        """Molecules (N, n, 3 + K) with the scaffold for their first atoms, of zero mean."""
        known = self.scaffold.to(x).expand(len(x), -1, -1)
        places = aligned(known[..., :3], x[:, : len(self.scaffold), :3])
        return centred(torch.cat([torch.cat([places, known[..., 3:]], 2), x[:, len(self.scaffold) :]], 1))


def aligned(a: Tensor, b: Tensor) -> Tensor:
    """``a`` (N, k, 3), turned, without mirroring, and moved as near to ``b`` (N, k, 3) as it can be."""
    mean_a, mean_b = a.mean(1, keepdim=True), b.mean(1, keepdim=True)
    u, _, vh = torch.linalg.svd((a - mean_a).transpose(1, 2) @ (b - mean_b))
    turned = torch.linalg.det(u @ vh).sign()
    flip = torch.ones(len(a), 3).to(a)
    flip[:, 2] = torch.where(turned == 0, 1.0, turned)
    return (a - mean_a) @ (u * flip[:, None]) @ vh + mean_b
