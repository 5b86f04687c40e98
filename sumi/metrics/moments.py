"""Mean and covariance of vectors in one pass, in constant memory, kept apart for a few groups of the vectors.

Kept are, for each group, the count n, the mean μ and the scatter S = Σ (x - μ)(x - μ)ᵀ, in float64. Two parts become
one by (Chan, Golub and LeVeque 1979; pairwise, so that no large squares are subtracted):

    n = n_a + n_b        μ = (n_a μ_a + n_b μ_b)/n        S = S_a + S_b + (n_a n_b/n) (μ_a - μ_b)(μ_a - μ_b)ᵀ

Both sides enter alike: merging a with b gives the bits of merging b with a, and the same batches in the same order the
same bits (at one number of threads). Another order changes the last digits only. Vectors far from zero lose nothing,
unlike with Σ x xᵀ - n μ μᵀ.

Vector number i belongs to group i mod G. All groups together give the moments of the whole; without one of them they
give what the jackknife needs to say how sure, and how biased, a function of the moments is (``frechet``). Of few
vectors, some groups are empty or hold one.

Reference statistics: the moments of a data set's features, taken once and compared with those of many models.

They say what they are of, the feature network's hash and the data's fingerprint: only moments of one feature space
compare, and only parts of the same data merge. So a million images can be divided among processes, each of which saves
the ``moments`` of its shard.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sumi.errors import InputError, SumiError

FEWEST = 2
MOST_GROUPS, FEWEST_GROUPS = 256, 10  # so many values settle a variance to a tenth, or to a half
WORK = 2**33  # G D³: distances between Gaussians of D dimensions take as long


@dataclass(frozen=True, eq=False)
class Gaussians:
    """``count`` (…), ``mean`` (…, D) and ``scatter`` (…, D, D) of one set of vectors, or of each of many; float64."""

    count: Tensor
    mean: Tensor
    scatter: Tensor

    @property
    def covariance(self) -> Tensor:
        """Without bias, (…, D, D). Raises InputError for fewer than 2 vectors."""
        if int(self.count.min()) < FEWEST:
            raise InputError(f"{int(self.count.min())} image(s) have no covariance: give at least {FEWEST}")
        return self.scatter / (self.count[..., None, None] - 1)


@dataclass(frozen=True, eq=False)
class Moments:
    """``groups``: of G groups of vectors; counts (G,), means (G, D), scatters (G, D, D)."""

    groups: Gaussians

    @staticmethod
    def none(dimension: int, groups: int | None = None) -> "Moments":
        """Of no vectors yet, in ``dimension`` D; by default, as many ``groups`` as can be left out in a minute."""
        if groups is None:
            groups = min(MOST_GROUPS, max(FEWEST_GROUPS, WORK // dimension**3))
        sizes = ((groups,), (groups, dimension), (groups, dimension, dimension))
        return Moments(Gaussians(*(torch.zeros(size, dtype=torch.float64) for size in sizes)))

    @staticmethod
    def of(batches: Iterable[Tensor], dimension: int, groups: int | None = None) -> "Moments":
        """Of vectors that come in ``batches`` (N, D), one at a time; none is kept."""
        found = Moments.none(dimension, groups)
        for batch in batches:
            found = found.with_vectors(batch)
        return found

    @property
    def count(self) -> int:
        return int(self.groups.count.sum())

    @property
    def whole(self) -> Gaussians:
        """Of all vectors."""
        g = self.groups
        count = g.count.sum()
        mean = (g.count @ g.mean) / count.clamp(min=1)
        apart = g.mean - mean
        return Gaussians(count, mean, g.scatter.sum(0) + apart.T @ (g.count[:, None] * apart))

    def with_vectors(self, x: Tensor) -> "Moments":
        """These and ``x`` (N, D), N ≥ 0. Raises InputError for another shape."""
        groups, dimension = self.groups.mean.shape
        if x.ndim != 2 or x.shape[1] != dimension:
            raise InputError(f"features of shape {tuple(x.shape)}: give (N, {dimension})")
        if not len(x):
            return self
        # rows of G places, of which the first and the last row may have empty ones; its group's column holds a vector
        before = self.count % groups
        rows = -(-(before + len(x)) // groups)
        places = x.new_zeros(rows * groups, dimension, dtype=torch.float64, device="cpu")
        taken = places.new_zeros(rows * groups)
        places[before : before + len(x)], taken[before : before + len(x)] = x.to(places), 1
        vectors, taken = places.view(rows, groups, dimension), taken.view(rows, groups)
        count = taken.sum(0)
        mean = vectors.sum(0) / count.clamp(min=1)[:, None]
        centred = ((vectors - mean) * taken[..., None]).transpose(0, 1)
        return self.merged(Moments(Gaussians(count, mean, centred.mT @ centred)))

    def merged(self, other: "Moments") -> "Moments":
        """Of both together, group by group. Raises InputError where groups or dimensions differ."""
        a, b = self.groups, other.groups
        if a.mean.shape != b.mean.shape:
            raise InputError(f"moments of shapes {tuple(a.mean.shape)} and {tuple(b.mean.shape)}: these do not merge")
        count = a.count + b.count
        safe = count.clamp(min=1)
        mean = (a.count[:, None] * a.mean + b.count[:, None] * b.mean) / safe[:, None]
        apart = a.mean - b.mean
        between = (a.count * b.count / safe)[:, None] * apart
        scatter = (a.scatter + b.scatter).baddbmm_(between[:, :, None], apart[:, None, :])
        return Moments(Gaussians(count, mean, scatter))

    def without_each(self, size: int) -> Iterator[Gaussians]:
        """Of all vectors but one group's, for each group that has any, in order; ``size`` groups at a time."""
        whole, there = self.whole, self.groups.count.nonzero()[:, 0]
        for chosen in there.split(size):
            count, mean, scatter = (part[chosen] for part in vars(self.groups).values())
            left = whole.count - count
            mean_left = (whole.count * whole.mean - count[:, None] * mean) / left[:, None]
            apart = mean_left - mean
            between = (left * count / whole.count)[:, None] * apart
            yield Gaussians(left, mean_left, whole.scatter - scatter - between[:, :, None] * apart[:, None, :])


FACTS = ("network_sha256", "data_fingerprint", "sha256")


@dataclass(frozen=True, eq=False)
class FeatureMoments:
    """``moments`` of the features of ``data_fingerprint`` in the space ``network_sha256``."""

    network_sha256: str
    data_fingerprint: str
    moments: Moments

    @property
    def count(self) -> int:
        """How many feature vectors."""
        return self.moments.count

    @property
    def sha256(self) -> str:
        """A hash of the numbers (the bytes of counts, means and scatters, in float64) and of what they are of."""
        digest = hashlib.sha256(json.dumps([self.network_sha256, self.data_fingerprint]).encode())
        for part in vars(self.moments.groups).values():
            digest.update(part.numpy().tobytes())
        return digest.hexdigest()

    def merged(self, other: "FeatureMoments") -> "FeatureMoments":
        """Of both together. Raises InputError where they are of different data or feature spaces."""
        check_one_space(self, other)
        if self.data_fingerprint != other.data_fingerprint:
            raise InputError(
                f"moments of the data {self.data_fingerprint[:12]!r} and {other.data_fingerprint[:12]!r}: "
                "only parts of the same data can be merged"
            )
        return replace(self, moments=self.moments.merged(other.moments))

    def save(self, path: Path) -> None:
        """Write ``path`` as safetensors, with what the numbers are of and ``sha256`` beside them."""
        facts = {name: str(getattr(self, name)) for name in FACTS}
        save_file(dict(vars(self.moments.groups)), path, facts)

    @staticmethod
    def load(path: Path) -> "FeatureMoments":
        """Read what ``save`` wrote. Raises InputError where it is no such file, SumiError where its bytes changed."""
        try:
            with safe_open(path, "pt") as file:
                facts = file.metadata() or {}
                names = file.keys()
                tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in names}
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path}: no readable moments ({error}); measure the data again to make them") from error
        if not set(FACTS) <= facts.keys() or tensors.keys() != {"count", "mean", "scatter"}:
            raise InputError(f"{path}: tensors, but no moments of features; measure the data again to make them")
        found = FeatureMoments(facts["network_sha256"], facts["data_fingerprint"], Moments(Gaussians(**tensors)))
        if found.sha256 != facts["sha256"]:
            raise SumiError(f"{path}: the moments are not those that were saved; delete it and measure again")
        return found


def check_one_space(a: FeatureMoments, b: FeatureMoments) -> None:
    """Raise InputError unless both are of features of one network."""
    if a.network_sha256 != b.network_sha256:
        raise InputError(
            f"moments of the feature spaces {a.network_sha256[:12]!r} and {b.network_sha256[:12]!r}: "
            "only those of one and the same network compare"
        )
