"""An E(3)-equivariant network of molecules whose pairs of atoms have features of their own, kept from layer to layer.

Every atom i has features h_i and C vectors v_i, every pair of atoms features e_ij = e_ji, and y_i is the present
estimate of an atom's place. One round, with u_ij = (y_i - y_j)/(|y_i - y_j| + 1):

    m_ij = φ(e_ij, basis(|y_i - y_j|), (v_i - v_j)·u_ij, W h_i + W h_j)
    e_ij ← e_ij + m_ij
    w_i  = bounded(mix(v_i, Σ_j ω(m_ij) u_ij)),   2 C vectors, of which C change v_i, and C change the place
    h_i ← h_i + ψ(norm(h_i), Σ_j m_ij, lengths and products of w_i)
    F_i ← F_i + ω'(ψ) · w_i

where bounded(w) = w/√(1 + mean over the vectors of |w|²), without which products of vectors by vectors grow from round
to round, until a rare input overflows (networks of earlier versions: bounded=false).

So a pair remembers what it was in earlier rounds (as in Vignac et al. 2023, "MiDi"), the projections of vectors on the
line between two atoms tell it about angles (as in Schütt et al. 2021, "Equivariant message passing"), and both ends of
a pair share one message, so that there is half as much to compute as with m_ij and m_ji.

The network predicts F of Karras et al. 2022, and x̂_0 = c_skip x_t + c_out F. What y is matters: not the input plus F,
which where noise is small is off by a distance between atoms, but x̂_0 itself in units of its deviation,

    y = cos a · c_in x_t + sin a · F            with tan a = sigma/sigma_data,

so that lengths of bonds mean the same at every noise level. In training no gradient is taken through y as the geometry
of the next round; otherwise the network is differentiated exactly.

Places turn, are mirrored and are permuted as the input's are, features are only permuted, and nothing depends on where
the molecule is. Rows of the input that are exactly 0 are no atoms, and change nothing. At the start the network is 0.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sumi.networks.condition import NOTHING, ConditionShape, NetworkCondition
from sumi.networks.egnn import check_counts, features_of_atoms
from sumi.networks.layers import NoiseEmbedding

REACH: Final = 1.9
"""Gaussians describe log(1 + distance) from 0 to here, in units of the places' deviation: most of them short ones."""
DEVIATION: Final = 0.5
"""Of places in the model's units (`sumi.data.molecules`): sigma_data above."""
LEAST: Final = 15.0
"""exp(-LEAST) is taken for 0: where a Gaussian is less, it would be a denormal number, which CPUs are slow at."""
USUAL_SIZE: Final = 16.0
"""The number of atoms, and of messages in a sum, that is taken for 1."""
TINY: Final = 1e-12
"""Under a root, whose slope at 0 is infinite."""


@dataclass(frozen=True)
class PairNetworkConfig:
    """Shape of an equivariant network of atoms and pairs."""

    name: ClassVar[str] = "pairs"

    width: int = field(default=128, metadata={"most": 4096, "help": "features of an atom, 1 or more"})
    pair_width: int = field(default=64, metadata={"most": 4096, "help": "features of a pair of atoms, 1 or more"})
    vectors: int = field(default=16, metadata={"most": 4096, "help": "vectors of an atom, 1 or more"})
    layers: int = field(default=5, metadata={"most": 1000, "help": "rounds of messages, 1 or more"})
    centres: int = field(default=32, metadata={"most": 4096, "help": "Gaussians that describe a distance, 2 or more"})
    embedding: int = field(default=64, metadata={"most": 16_384, "help": "width of the noise embedding; even"})

    bounded: bool = field(
        default=True, metadata={"before": False, "help": "whether an atom's vectors are bounded in each round"}
    )

    def __post_init__(self) -> None:
        names = ("width", "pair_width", "vectors", "layers")
        check_counts({name: getattr(self, name) for name in names}, self.centres, self.embedding)

    def build(self, shape: tuple[int, ...], outputs: int = 1, condition: ConditionShape | None = None) -> "PairNetwork":
        """A new network for molecules of ``shape`` = (largest size, 3 + features).

        Raises InputError for data of another shape, for several outputs, and for a condition that is an image or
        tokens.
        """
        return PairNetwork(self, features_of_atoms(self.name, shape, outputs, condition))


class PairNetwork(nn.Module):
    """``forward(x: (N, n, 3 + features), c_noise: (N,), condition) -> (N, n, 3 + features)``, in x's type.

    The first three numbers of an atom are its place. Rows of x that are exactly 0 are no atoms, and 0 in the output.
    c_noise is ln(sigma)/4, as of `sumi.denoising.parameterization.PreconditionedParts`.
    """

    centres: Tensor

    def __init__(self, config: PairNetworkConfig, features: int) -> None:
        super().__init__()
        self.noise_embedding = NoiseEmbedding(config.embedding)
        self.of_size = nn.Linear(1, config.embedding)
        self.linear_in = nn.Linear(features, config.width)
        self.pair_in = nn.Linear(config.centres, config.pair_width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.linear_out = nn.Linear(config.width, features)
        self.vectors = config.vectors
        self.register_buffer("centres", torch.linspace(0, REACH, config.centres), persistent=False)
        nn.init.zeros_(self.linear_out.weight)
        nn.init.zeros_(self.linear_out.bias)

    def forward(self, x: Tensor, c_noise: Tensor, condition: NetworkCondition = NOTHING) -> Tensor:
        there = (x != 0).any(2, keepdim=True).to(x)
        size = there.sum(1, keepdim=True)
        embedding = self.noise_embedding(c_noise) + self.of_size(size[:, 0] / USUAL_SIZE)
        if condition.vector is not None:
            embedding = embedding + condition.vector
        embedding = F.silu(embedding)
        angle = torch.atan((4 * c_noise).exp() / DEVIATION).view(-1, 1, 1)
        places, h = x[..., :3], self.linear_in(x[..., 3:]).to(x)
        first, second = torch.triu_indices(x.shape[1], x.shape[1], 1, device=x.device)
        basis, along = self._geometry(places[:, first] - places[:, second])
        e = self.pair_in(basis)
        unit = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        both = there[:, first] * there[:, second]
        ends = Ends(*((both * (unit[first] + sign * unit[second])).to(e) for sign in (1, -1)))
        v = x.new_zeros(*x.shape[:2], 3 * self.vectors)
        moved = torch.zeros_like(places)
        for k, layer in enumerate(self.layers):
            if k:
                y = angle.cos() * places + angle.sin() * moved
                y = y.detach() if self.training else y
                basis, along = self._geometry(y[:, first] - y[:, second])
            h, e, v, step = layer(h, e, v, basis.to(e), along.to(e), ends, embedding)
            moved = moved + there * (step - (there * step).sum(1, keepdim=True) / size)
        return torch.cat([moved, there * self.linear_out(h).to(x)], 2)

    def _geometry(self, difference: Tensor) -> tuple[Tensor, Tensor]:
        """Gaussians (N, E, centres) of the lengths of differences (N, E, 3), and these divided by length + 1."""
        distance = (difference.square().sum(2, keepdim=True) + TINY).sqrt()
        apart = REACH / (len(self.centres) - 1)
        exponent = ((distance.log1p() - self.centres) * (0.5**0.5 / apart)).square()
        return exponent.clamp(max=LEAST).neg().exp(), difference / (distance + 1)


class Ends(NamedTuple):
    """Which atoms each of E pairs has, (N, E, n): 1 at both, and 1 and -1; 0 for pairs with a row that is no atom.

    Products with them, and with their transposes, are faster than indexing.
    """

    both: Tensor
    signed: Tensor


class Layer(nn.Module):
    """One round (module docstring)."""

    def __init__(self, config: PairNetworkConfig) -> None:
        super().__init__()
        width, pair_width, vectors = config.width, config.pair_width, config.vectors
        self.vectors, self.bounded = vectors, config.bounded
        self.modulation = nn.Linear(config.embedding, 2 * width)
        self.to_pair = nn.Linear(width, pair_width)
        self.of_pair = nn.Linear(pair_width + config.centres + vectors, pair_width, bias=False)
        self.message = nn.Linear(pair_width, pair_width)
        self.directions = nn.Linear(pair_width, vectors, bias=False)
        self.mix = nn.Linear(2 * vectors, 2 * vectors, bias=False)
        self.update = nn.Sequential(
            nn.Linear(width + pair_width + 2 * vectors, 2 * width), nn.SiLU(), nn.Linear(2 * width, width + vectors)
        )
        for parameter in self.update[2].parameters():
            nn.init.zeros_(parameter)

    def forward(
        self, h: Tensor, e: Tensor, v: Tensor, basis: Tensor, along: Tensor, ends: Ends, embedding: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """h (N, n, width), e (N, E, pair width), v (N, n, 3 C), basis (N, E, centres) and along (N, E, 3) to new h, e
        and v, and by how much places move (N, n, 3)."""
        scale, shift = self.modulation(embedding)[:, None].chunk(2, 2)
        normed = torch.addcmul(shift, F.layer_norm(h, h.shape[2:]), 1 + scale)
        projected = ((ends.signed @ v.to(e)).unflatten(2, (3, -1)) * along[..., None]).sum(2)
        pair = self.of_pair(torch.cat([e, basis, projected], 2)) + ends.both @ self.to_pair(normed).to(e)
        message = F.silu(self.message(F.silu(pair)))
        received = ends.both.mT @ message / USUAL_SIZE**0.5
        sums = ends.signed.mT @ (self.directions(message)[:, :, None] * along[..., None]).flatten(2)
        found = self.mix(torch.cat([v.unflatten(2, (3, -1)), sums.to(v).unflatten(2, (3, -1))], 3)).to(h)
        if self.bounded:
            found = found * (1 + found.square().sum(2).mean(2)).rsqrt()[..., None, None]
        turned, stepping = found.chunk(2, 3)
        lengths = (turned.square().sum(2) + TINY).sqrt() / USUAL_SIZE**0.5
        products = (turned * stepping).sum(2) / USUAL_SIZE**0.5
        change = self.update(torch.cat([normed, received.to(h), lengths, products], 2)).to(h)
        step = (change[..., None, -self.vectors :] * stepping).sum(3) / USUAL_SIZE**0.5
        return h + change[..., : -self.vectors], e + message, v + turned.flatten(2) / 2, step
