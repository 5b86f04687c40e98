"""Reference statistics: the moments of a data set's features, taken once and compared with those of many models.

They say what they are of, the feature network's hash and the data's fingerprint: only moments of one feature space
compare, and only parts of the same data merge. So a million images can be divided among processes, each of which saves
the ``moments`` of its shard.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sumi.errors import InputError, SumiError
from sumi.evaluation.moments import Gaussians, Moments

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
