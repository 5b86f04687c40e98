"""An E(3)-equivariant graph network of molecules (Satorras et al. 2021, "E(n) equivariant graph neural networks").

Every atom i has a place x_i and features h_i, and every pair of atoms a message, which sees places by distances alone:

    m_ij = φ(h_i, h_j, |x_i - x_j|, basis(|x_i - x_j| at the input))
    u_i^c = Σ_j (x_i - x_j)/(|x_i - x_j| + 1) · tanh(γ_c(m_ij))                        for each of some channels c
    h_i ← h_i + ψ(norm(h_i), Σ_j g(m_ij) m_ij, |u_i^c|)
    x_i ← x_i + mean over c of tanh(ω_c(h_i)) u_i^c

with a gate g in (0, 1). The lengths of several sums of directions tell the angles between bonds, which distances to an
atom alone do not (as in Schütt et al. 2021, "Equivariant message passing"). A step of a place is bounded by the number
of atoms, as tanh is by 1: without that bound, training diverges on close atoms (Hoogeboom et al. 2022, appendix C). The
output is how far the places moved, with its mean taken away, and a linear function of the last features. So places
turn, are mirrored and are permuted as the input's are, features are only permuted, and nothing depends on where the
molecule is.

The noise embedding scales and shifts the normed features, as in the other networks. At the start the network is zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sumi.errors import InputError
from sumi.networks.condition import NOTHING, ConditionShape, NetworkCondition
from sumi.networks.layers import NoiseEmbedding

REACH: Final = 5.0
"""Distances are described by Gaussians with centres from 0 to here, in units of the input's deviation."""
CHANNELS: Final = 16
"""Sums of directions at each atom."""
TINY: Final = 1e-12
"""Under the root of a squared distance, whose slope at 0 is infinite."""
USUAL_SIZE: Final = 16.0
"""The number of atoms, and of messages in a sum, that is taken for 1."""


@dataclass(frozen=True)
class EGNNConfig:
    """Shape of an equivariant network."""

    name: ClassVar[str] = "egnn"

    width: int = field(default=64, metadata={"most": 4096, "help": "features of an atom and of a pair, 1 or more"})
    layers: int = field(default=5, metadata={"most": 1000, "help": "rounds of messages, 1 or more"})
    embedding: int = field(default=64, metadata={"most": 16_384, "help": "width of the noise embedding; even"})

    centres: int = field(
        default=20,
        metadata={
            "later": True,
            "most": 4096,
            "help": f"Gaussians that describe a distance, evenly from 0 to {REACH:g} deviations, 2 or more",
        },
    )

    def __post_init__(self) -> None:
        check_counts({"width": self.width, "layers": self.layers}, self.centres, self.embedding)

    def build(self, shape: tuple[int, ...], outputs: int = 1, condition: ConditionShape | None = None) -> "EGNN":
        """A new network for molecules of ``shape`` = (largest size, 3 + features).

        Raises InputError for data of another shape, for several outputs, and for a condition that is an image or
        tokens.
        """
        return EGNN(self, features_of_atoms(self.name, shape, outputs, condition))


def check_counts(counts: Mapping[str, int], centres: int, embedding: int) -> None:
    """Raises InputError for ``counts`` by field below 1, ``centres`` below 2, and an ``embedding`` that is not even."""
    for name, given, least in (*((name, given, 1) for name, given in counts.items()), ("centres", centres, 2)):
        if given < least:
            raise InputError(f"network.{name}: {given} is too few; give {least} or more")
    if embedding < 2 or embedding % 2:
        raise InputError(f"network.embedding: {embedding} is not an even number of 2 or more; give such as 64")


def features_of_atoms(name: str, shape: tuple[int, ...], outputs: int, condition: ConditionShape | None) -> int:
    """The features of an atom besides its place, of molecules of ``shape`` = (largest size, 3 + features).

    Raises InputError, naming the network, for data of another shape, for several outputs, and for a condition that is
    an image or tokens.
    """
    if condition not in (None, ConditionShape()):
        raise InputError(f"network={name}: takes no images or tokens as conditions; leave those out")
    if len(shape) != 2 or shape[1] < 4 or outputs != 1:
        raise InputError(f"network={name}: takes molecules, not data of shape {shape}; set another network")
    return shape[1] - 3


class EGNN(nn.Module):
    """``forward(x: (N, n, 3 + features), c_noise: (N,), condition) -> (N, n, 3 + features)``, in x's type.

    The first three numbers of an atom are its place. Rows of x that are exactly 0 are no atoms, and 0 in the output.
    """

    frequencies: Tensor
    centres: Tensor

    def __init__(self, config: EGNNConfig, features: int) -> None:
        super().__init__()
        width = config.width
        self.noise_embedding = NoiseEmbedding(config.embedding)
        self.of_size = nn.Linear(1, config.embedding)
        self.linear_in = nn.Linear(features, width)
        self.layers = nn.ModuleList(Layer(width, config.embedding, config.centres) for _ in range(config.layers))
        self.linear_out = nn.Linear(width, features)
        self.register_buffer("centres", torch.linspace(0, REACH, config.centres), persistent=False)
        nn.init.zeros_(self.linear_out.weight)
        nn.init.zeros_(self.linear_out.bias)

    def forward(self, x: Tensor, c_noise: Tensor, condition: NetworkCondition = NOTHING) -> Tensor:
        places, h = x[..., :3], self.linear_in(x[..., 3:])
        there = (x != 0).any(2, keepdim=True).to(x)
        size = there.sum(1, keepdim=True)
        embedding = self.noise_embedding(c_noise) + self.of_size(size[:, 0] / USUAL_SIZE)
        if condition.vector is not None:
            embedding = embedding + condition.vector
        embedding = F.silu(embedding)
        moved, basis = places, self._basis(distances(places)[1])
        for layer in self.layers:
            moved, h = layer(moved, h, basis, there, embedding)
        moved = there * (moved - places)
        moved = moved - there * moved.sum(1, keepdim=True) / size
        return torch.cat([moved, there * self.linear_out(h)], 2).to(x.dtype)

    def _basis(self, distance: Tensor) -> Tensor:
        """Gaussians (N, n, n, centres) of distances (N, n, n, 1)."""
        apart = REACH / (len(self.centres) - 1)
        return torch.exp(-0.5 * ((distance - self.centres) / apart).square())


class Layer(nn.Module):
    """One round: places (N, n, 3) and features (N, n, width) to new ones."""

    def __init__(self, width: int, embedding: int, centres: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(embedding, 2 * width)
        self.to_pair = nn.Linear(width, 2 * width)
        self.of_distance = nn.Linear(centres, width)
        self.of_distance_now = nn.Linear(1, width, bias=False)
        self.message = nn.Linear(width, width)
        self.gate = nn.Linear(width, 1)
        self.directions = nn.Linear(width, CHANNELS)
        self.update = nn.Sequential(nn.Linear(2 * width + CHANNELS, width), nn.SiLU(), nn.Linear(width, width))
        self.step = nn.Linear(width, CHANNELS)
        last = self.update[2]
        for parameter in (*self.step.parameters(), *last.parameters()):
            nn.init.zeros_(parameter)

    def forward(
        self, places: Tensor, h: Tensor, basis: Tensor, there: Tensor, embedding: Tensor
    ) -> tuple[Tensor, Tensor]:
        scale, shift = self.modulation(embedding)[:, None].chunk(2, 2)
        normed = torch.addcmul(shift, F.layer_norm(h, h.shape[2:]), 1 + scale)
        of_i, of_j = self.to_pair(normed).chunk(2, 2)
        difference, distance = distances(places)
        pair = self.of_distance(basis) + self.of_distance_now(distance) + of_i[:, :, None] + of_j[:, None]
        message = F.silu(self.message(F.silu(pair)))
        received = (there[:, None] * torch.sigmoid(self.gate(message)) * message).sum(2) / USUAL_SIZE**0.5
        sums = torch.tanh(self.directions(message)).transpose(2, 3).to(places) @ (
            there[:, None] * difference / (distance + 1)
        )
        lengths = (sums.square().sum(3) + TINY).sqrt() / USUAL_SIZE**0.5
        h = h + self.update(torch.cat([normed, received, lengths.to(normed)], 2))
        step = torch.tanh(self.step(F.layer_norm(h, h.shape[2:]))).to(places)
        return places + (step[..., None] * sums).mean(2), h


def distances(places: Tensor) -> tuple[Tensor, Tensor]:
    """x_i - x_j (N, n, n, 3) and their lengths (N, n, n, 1)."""
    difference = places[:, :, None] - places[:, None]
    return difference, (difference.square().sum(3, keepdim=True) + TINY).sqrt()
