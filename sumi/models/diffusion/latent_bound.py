"""A bound on how probable pixels are to a model of latents: encoder, diffusion and decoder together.

    -log P(x) ≤ E_{z ~ q(z|x)} [ -log P(x|z) + log q(z|x) - log p(z) ]                   (Kingma & Welling 2014, eq. 3)

q is the encoder's Gaussian, p the density of the diffusion's probability-flow ODE. P(x|z) is what the decoder makes of
z with Laplace noise on it, on the levels of the data, of one scale: the mean absolute error of training images. Nothing
was trained on this sum, and an autoencoder spends few bits on what is hardly seen: it is a bound, and far from tight.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from math import log, pi
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from sumi.boundary.arguments import torch_defaults, whole
from sumi.boundary.files import write_text
from sumi.boundary.group import group
from sumi.boundary.progress import Count, counting_one
from sumi.data.dataset import evenly_spaced
from sumi.data.spec import expect
from sumi.errors import InputError
from sumi.likelihood.figures import Mean
from sumi.likelihood.grid_flow import integrator
from sumi.models.diffusion.autoencoder import NoAutoencoder
from sumi.models.diffusion.ode_likelihood import OdeLikelihood
from sumi.models.diffusion.space import LatentSpace
from sumi.randomness import Purpose, normal
from sumi.training.run_folder import RunFolder

if TYPE_CHECKING:
    from sumi.models.diffusion.model import DiffusionModel

KNOWN: Final = 512
"""How many training images the scale of the decoder's noise is taken from."""
BATCH: Final = 64


@dataclass(frozen=True)
class LatentBound:
    """Of ``items`` held-out images, in bits per dimension of pixels.

    ``total``: ``decoder``, E[-log P(x|z)], and ``latents``, E[log q(z|x) - log p(z)]. ``scale``: of the Laplace noise.
    """

    items: int
    about: str
    scale: float
    total: Mean
    decoder: Mean
    latents: Mean


def laplace_nats(x: Tensor, mean: Tensor, scale: float, levels: int) -> Tensor:
    """-log P of x (N, …) in [-1, 1] on so many levels, float64 (N,): Laplace noise on ``mean``, in the bin around each.

    The lowest and highest bins reach to infinity, so that the levels' probabilities add up to 1.
    """
    x, half = x.double(), 1 / (levels - 1)
    low = torch.where(x <= -1, -torch.inf, (x - half - mean.double()) / scale)
    high = torch.where(x >= 1, torch.inf, (x + half - mean.double()) / scale)
    outside = torch.log1p(-torch.exp(low - high)) - log(2)  # both ends on one side of the mean
    inside = torch.log1p(-(torch.exp(-high.clamp(min=0)) + torch.exp(low.clamp(max=0))) / 2)
    found = torch.where(low >= 0, outside - low, torch.where(high <= 0, outside + high, inside))
    return -found.flatten(1).sum(1)


def gaussian_nats(noise: Tensor, std: Tensor) -> Tensor:
    """-log q at m + std · noise of N(m, std²), each (N, …): float64 (N,)."""
    return (noise.double().square() / 2 + std.double().log() + log(2 * pi) / 2).flatten(1).sum(1)


@torch_defaults()
@torch.no_grad()
def latent_bound(
    model: DiffusionModel,
    *,
    data: str | None = None,
    n: int = 256,
    seed: int = 0,
    progress: Count | None = None,
) -> LatentBound:
    """The bound of up to ``n`` held-out images of ``data`` (the run's own); written to nll/nll.json in the run folder.

    Raises InputError for a model of pixels, for codes, whose posterior has no density, and for too few images.
    """
    n, seed = whole("n", n, least=2), whole("seed", seed)
    if model.config.autoencoder == NoAutoencoder():
        raise InputError(f"{model.folder}: denoises the data themselves, whose likelihood is known; use that")
    why = f"{model.folder}: has no latents of an autoencoder, which this bound is of; use bits_per_dim"
    space = expect(model.space, LatentSpace, why)
    train, held_out = model.load_images(data).split(model.config.data.held_out)
    if len(held_out) < 2:
        raise InputError("data.held_out: keeps a single item, too few for a standard error; give more data")
    known, x = evenly_spaced(train, KNOWN), evenly_spaced(held_out, n)
    scale = float((model.seen(space.encode(known.to(model.device))) - known).abs().mean())
    mean, std = (
        torch.cat(part) for part in zip(*map(space.autoencoder.posterior, x.to(model.device).split(BATCH)), strict=True)
    )
    if not bool((std > 0).all()):
        raise InputError("autoencoder: of codes has no density of latents to bound with; choose a run of kl")
    noise = normal(seed, range(len(x)), 0, Purpose.POSTERIOR, mean.shape[1:], device=model.device)
    z = space.scale(mean + std * noise)
    decoder = laplace_nats(x, model.seen(z), scale, model.images.levels)
    flow = integrator(model.gaussian_denoiser().trained_steps)
    walk = OdeLikelihood(model, flow, flow.first(model.gaussian_denoiser().schedule), None, flow.how, seed)
    of_prior = walk.estimate(z, counting_one(progress, "the ODE")).nats
    latents = of_prior.cpu() - gaussian_nats(noise, std / space.scale.std).cpu()
    unit = model.items.unit
    total, *parts = (Mean.of(nats / unit.per_item) for nats in (decoder + latents, decoder, latents))
    found = LatentBound(len(x), unit.about, scale, total, *parts)
    with group().in_turn():
        write_text(RunFolder(model.folder).nll / "nll.json", json.dumps(asdict(found), indent=2) + "\n")
    return found
