"""Mean and covariance of features in one pass, in constant memory, from any number of shards: what the FID needs.

Kept are the count n, the mean μ and the scatter S = Σ (x - μ)(x - μ)ᵀ, in float64. Two parts become one by (Chan, Golub
and LeVeque 1979; pairwise, so that no large squares are subtracted):

    n = n_a + n_b        μ = (n_a μ_a + n_b μ_b)/n        S = S_a + S_b + (n_a n_b/n) (μ_a - μ_b)(μ_a - μ_b)ᵀ

Both sides enter alike: merging a with b gives the bits of merging b with a, and the same batches in the same order the
same bits (at one number of threads). Another grouping changes the last digits only. Features far from zero lose
nothing, unlike with Σ x xᵀ - n μ μᵀ.

Such moments are reference statistics: of a data set once, then compared with the samples of many models. They say what
they are of, the feature network's hash and the data's fingerprint, and only moments of one feature space compare. The
Fréchet distance from moments is the plug-in one (the usual FID), too large by about 1/m + 1/n: the images that would
take the bias off are gone. Compare it between equal counts only.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sumi.errors import InputError, SumiError
from sumi.evaluation.frechet import gaussian_frechet_distance

FEWEST = 2


@dataclass(frozen=True, eq=False)
class FeatureMoments:
    """Of ``count`` feature vectors of ``data_fingerprint`` in the space ``network_sha256``.

    ``mean``: float64 (D,). ``scatter``: float64 (D, D), the sum of (x - mean)(x - mean)ᵀ.
    """

    network_sha256: str
    data_fingerprint: str
    count: int
    mean: Tensor
    scatter: Tensor

    @staticmethod
    def none(dimension: int, *, network_sha256: str, data_fingerprint: str) -> "FeatureMoments":
        """Of no vectors yet, in ``dimension`` D."""
        mean = torch.zeros(dimension, dtype=torch.float64)
        scatter = torch.zeros(dimension, dimension, dtype=torch.float64)
        return FeatureMoments(network_sha256, data_fingerprint, 0, mean, scatter)

    @property
    def covariance(self) -> Tensor:
        """Without bias, float64 (D, D). Raises InputError for fewer than 2 vectors."""
        if self.count < FEWEST:
            raise InputError(f"{self.count} image(s) have no covariance: give at least {FEWEST}")
        return self.scatter / (self.count - 1)

    @property
    def sha256(self) -> str:
        """A hash of the numbers and of what they are of."""
        digest = hashlib.sha256(json.dumps([self.network_sha256, self.data_fingerprint, self.count]).encode())
        digest.update(self.mean.numpy().tobytes())
        digest.update(self.scatter.numpy().tobytes())
        return digest.hexdigest()

    def with_features(self, features: Tensor) -> "FeatureMoments":
        """These and the moments of ``features`` (N, D), N ≥ 0. Raises InputError for another shape."""
        if features.ndim != 2 or features.shape[1] != len(self.mean):
            raise InputError(f"features of shape {tuple(features.shape)}: give (N, {len(self.mean)})")
        if not len(features):
            return self
        x = features.double().cpu()
        mean = x.mean(0)
        centred = x - mean
        return self.merged(replace(self, count=len(x), mean=mean, scatter=centred.T @ centred))

    def merged(self, other: "FeatureMoments") -> "FeatureMoments":
        """Of both together. Raises InputError where they are of different data or feature spaces."""
        _check_one_space(self, other)
        if self.data_fingerprint != other.data_fingerprint:
            raise InputError(
                f"moments of the data {self.data_fingerprint[:12]!r} and {other.data_fingerprint[:12]!r}: "
                "only parts of the same data can be merged"
            )
        count = self.count + other.count
        if not count:
            return self
        mean = (self.count * self.mean + other.count * other.mean) / count
        apart = self.mean - other.mean
        between = (self.count * other.count / count) * torch.outer(apart, apart)
        return replace(self, count=count, mean=mean, scatter=self.scatter + other.scatter + between)

    def save(self, path: Path) -> None:
        """Write ``path`` as safetensors, with what the numbers are of and ``sha256`` beside them."""
        facts = {
            "network_sha256": self.network_sha256,
            "data_fingerprint": self.data_fingerprint,
            "count": str(self.count),
            "sha256": self.sha256,
        }
        save_file({"mean": self.mean, "scatter": self.scatter}, path, facts)

    @staticmethod
    def load(path: Path) -> "FeatureMoments":
        """Read what ``save`` wrote. Raises InputError where it is no such file, SumiError where its bytes changed."""
        try:
            with safe_open(path, "pt") as file:
                facts = file.metadata() or {}
                names = file.keys()
                tensors = {name: file.get_tensor(name) for name in names}
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path}: no readable moments ({error}); measure the data again to make them") from error
        if not {"network_sha256", "data_fingerprint", "count", "sha256"} <= facts.keys():
            raise InputError(f"{path}: tensors, but no moments of features; measure the data again to make them")
        found = FeatureMoments(
            facts["network_sha256"],
            facts["data_fingerprint"],
            int(facts["count"]),
            tensors["mean"],
            tensors["scatter"],
        )
        if found.sha256 != facts["sha256"]:
            raise SumiError(f"{path}: the moments are not those that were saved; delete it and measure again")
        return found


def feature_moments(
    batches: Iterable[Tensor], dimension: int, *, network_sha256: str, data_fingerprint: str
) -> FeatureMoments:
    """Of features that come in ``batches`` (N, D), one at a time; none is kept."""
    moments = FeatureMoments.none(dimension, network_sha256=network_sha256, data_fingerprint=data_fingerprint)
    for features in batches:
        moments = moments.with_features(features)
    return moments


def moments_frechet_distance(a: FeatureMoments, b: FeatureMoments) -> float:
    """The plug-in Fréchet distance (the usual FID) between the data behind ``a`` and ``b``.

    Raises InputError where they are of different feature spaces, or of fewer than 2 vectors.
    """
    _check_one_space(a, b)
    return gaussian_frechet_distance(a.mean, a.covariance, b.mean, b.covariance)


def _check_one_space(a: FeatureMoments, b: FeatureMoments) -> None:
    if a.network_sha256 != b.network_sha256 or a.mean.shape != b.mean.shape:
        raise InputError(
            f"moments of the feature spaces {a.network_sha256[:12]!r} and {b.network_sha256[:12]!r}: "
            "only those of one and the same network compare"
        )
