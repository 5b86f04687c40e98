"""Mean and covariance of vectors in one pass and constant memory, separately for a few groups of the vectors.

Each group has its count n, mean μ and scatter S = Σ (x - μ)(x - μ)ᵀ, in float64. Two parts merge by (Chan, Golub and
LeVeque 1979; pairwise, so that no large squares are subtracted):

    n = n_a + n_b        μ = (n_a μ_a + n_b μ_b)/n        S = S_a + S_b + (n_a n_b/n) (μ_a - μ_b)(μ_a - μ_b)ᵀ

This is symmetric: merging a with b gives the same bits as merging b with a, and the same batches in the same order give
the same bits (with the same number of threads). Another order changes only the last digits. Vectors far from zero lose
no precision, unlike with Σ x xᵀ - n μ μᵀ.

Vector number i belongs to group i mod G. All groups together give the moments of the whole; leaving out one at a time
gives the jackknife's variance and bias of a function of the moments (``frechet``). With few vectors, some groups are
empty or hold one.

Reference statistics are the moments of a data set's features, computed once and compared with those of many models.
They record the feature network's hash and the data's fingerprint: moments compare only within one feature space, and
merge only for parts of the same data. So processes can share a million images, each saving the ``moments`` of its
shard.
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
MOST_GROUPS, FEWEST_GROUPS = 256, 10  # the relative error of a variance is then a tenth, or a half
WORK = 2**33  # limit of G D³, the cost of distances between Gaussians of D dimensions


@dataclass(frozen=True, eq=False)
class Gaussians:
    """``count`` (…), ``mean`` (…, D) and ``scatter`` (…, D, D) of one set of vectors, or of each of many; float64."""

    count: Tensor
    mean: Tensor
    scatter: Tensor

    @property
    def covariance(self) -> Tensor:
        """The unbiased covariance, (…, D, D). Raises InputError for fewer than 2 vectors."""
        if int(self.count.min()) < FEWEST:
            raise InputError(f"images: {int(self.count.min())} have no covariance; give at least {FEWEST}")
        return self.scatter / (self.count[..., None, None] - 1)


@dataclass(frozen=True, eq=False)
class Moments:
    """The moments of G ``groups`` of vectors: counts (G,), means (G, D), scatters (G, D, D)."""

    groups: Gaussians

    @staticmethod
    def none(dimension: int, groups: int | None = None) -> "Moments":
        """Empty moments in ``dimension`` D; by default, as many ``groups`` as the jackknife handles in a minute."""
        if groups is None:
            groups = min(MOST_GROUPS, max(FEWEST_GROUPS, WORK // dimension**3))
        sizes = ((groups,), (groups, dimension), (groups, dimension, dimension))
        return Moments(Gaussians(*(torch.zeros(size, dtype=torch.float64) for size in sizes)))

    @staticmethod
    def of(batches: Iterable[Tensor], dimension: int, groups: int | None = None) -> "Moments":
        """The moments of vectors in ``batches`` (N, D), consumed one at a time."""
        found = Moments.none(dimension, groups)
        for batch in batches:
            found = found.with_vectors(batch)
        return found

    @property
    def count(self) -> int:
        return int(self.groups.count.sum())

    @property
    def whole(self) -> Gaussians:
        """The moments of all vectors."""
        g = self.groups
        count = g.count.sum()
        mean = (g.count @ g.mean) / count.clamp(min=1)
        apart = g.mean - mean
        return Gaussians(count, mean, g.scatter.sum(0) + apart.T @ (g.count[:, None] * apart))

    def with_vectors(self, x: Tensor) -> "Moments":
        """These moments with the vectors ``x`` (N, D) added, N ≥ 0. Raises InputError for another shape."""
        groups, dimension = self.groups.mean.shape
        if x.ndim != 2 or x.shape[1] != dimension:
            raise InputError(f"features: have shape {tuple(x.shape)}; give (N, {dimension})")
        if not len(x):
            return self
        # rows of G places, one column per group; the first and last row may be incomplete
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
        """The merged moments, group by group. Raises InputError if groups or dimensions differ."""
        a, b = self.groups, other.groups
        if a.mean.shape != b.mean.shape:
            raise InputError(
                f"moments: shapes {tuple(a.mean.shape)} and {tuple(b.mean.shape)} do not merge; give equal ones"
            )
        count = a.count + b.count
        safe = count.clamp(min=1)
        mean = (a.count[:, None] * a.mean + b.count[:, None] * b.mean) / safe[:, None]
        apart = a.mean - b.mean
        between = (a.count * b.count / safe)[:, None] * apart
        scatter = (a.scatter + b.scatter).baddbmm_(between[:, :, None], apart[:, None, :])
        return Moments(Gaussians(count, mean, scatter))

    def without_each(self, size: int) -> Iterator[Gaussians]:
        """The moments without one group, for each nonempty group in order; ``size`` groups at a time."""
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
    """The ``moments`` of the features of the data ``data_fingerprint`` in the space ``network_sha256``."""

    network_sha256: str
    data_fingerprint: str
    moments: Moments

    @property
    def count(self) -> int:
        """The number of feature vectors."""
        return self.moments.count

    @property
    def sha256(self) -> str:
        """A hash of the numbers (the float64 bytes of counts, means and scatters), the feature space and the data."""
        digest = hashlib.sha256(json.dumps([self.network_sha256, self.data_fingerprint]).encode())
        for part in vars(self.moments.groups).values():
            digest.update(part.numpy().tobytes())
        return digest.hexdigest()

    def merged(self, other: "FeatureMoments") -> "FeatureMoments":
        """The merged moments. Raises InputError for different data or feature spaces."""
        check_one_space(self, other)
        if self.data_fingerprint != other.data_fingerprint:
            raise InputError(
                f"moments: are of the data {self.data_fingerprint[:12]!r} and {other.data_fingerprint[:12]!r}; "
                "merge parts of the same data"
            )
        return replace(self, moments=self.moments.merged(other.moments))

    def save(self, path: Path) -> None:
        """Write ``path`` as safetensors, with feature space, data and ``sha256`` in its metadata."""
        facts = {name: str(getattr(self, name)) for name in FACTS}
        save_file(dict(vars(self.moments.groups)), path, facts)

    @staticmethod
    def load(path: Path) -> "FeatureMoments":
        """Read a file of ``save``. Raises InputError for any other file, SumiError if its content was changed."""
        try:
            with safe_open(path, "pt") as file:
                facts = file.metadata() or {}
                names = file.keys()
                tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in names}
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path}: cannot be read ({error}); evaluate the data again to make it") from error
        if not set(FACTS) <= facts.keys() or tensors.keys() != {"count", "mean", "scatter"}:
            raise InputError(f"{path}: holds no moments of features; evaluate the data again to make them")
        found = FeatureMoments(facts["network_sha256"], facts["data_fingerprint"], Moments(Gaussians(**tensors)))
        if found.sha256 != facts["sha256"]:
            raise SumiError(f"{path}: the moments are not those that were saved; delete it and evaluate again")
        return found


def check_one_space(a: FeatureMoments, b: FeatureMoments) -> None:
    """Raises InputError unless both are from the same feature network."""
    if a.network_sha256 != b.network_sha256:
        raise InputError(
            f"moments: are of the feature spaces {a.network_sha256[:12]!r} and {b.network_sha256[:12]!r}; "
            "compare those of the same network"
        )
