"""The feature moments of a model's samples, in parts, so that a million samples can be shared among machines.

Each process measures its own range of samples and saves the moments; merged, they equal those of a single process.
There is an example in docs/how-to/evaluate.md.
"""

from torch import Tensor

from sumi.data.dataset import everything
from sumi.evaluation.images import CHUNK, finite
from sumi.metrics.features.space import FeatureSpace
from sumi.metrics.moments import FeatureMoments, Moments
from sumi.models.model import GenerativeModel


def sampled_moments(
    model: GenerativeModel, space: FeatureSpace, n: int, *, start: int = 0, seed: int = 0
) -> FeatureMoments:
    """The moments of unconditional samples ``start`` … ``start + n - 1`` of ``seed``, rounded as they would be saved.

    No sample is kept. Raises InputError for values out of range, and for NaN or infinite samples.
    """

    def features(first: int) -> Tensor:
        samples = finite(model.sample(min(CHUNK, start + n - first), seed=seed, start=first))
        return space.features(model.images.finish(samples))

    moments = Moments.of(map(features, range(start, start + n, CHUNK)), space.space.dimension)
    what = f"samples of {model.description.identity} after {model.step} steps, seed {seed}"
    return FeatureMoments(space.space.sha256, what, moments)


def held_out_moments(model: GenerativeModel, space: FeatureSpace) -> FeatureMoments:
    """The moments of the run's held-out images."""
    _, held_out = model.load_images().split(model.config.data.held_out)
    moments = Moments.of(map(space.features, everything(held_out).split(CHUNK)), space.space.dimension)
    return FeatureMoments(space.space.sha256, held_out.fingerprint(), moments)
