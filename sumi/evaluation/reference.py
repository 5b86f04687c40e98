"""The moments of a model's samples, part by part: a million can be divided among processes, or machines.

Each measures samples of its own numbers and saves what it found. Merged, that is what one would have found. The example
in docs/how-to/evaluate.md runs as it stands.
"""

from torch import Tensor

from sumi.data.dataset import everything
from sumi.evaluation.images import CHUNK, finite
from sumi.features.space import FeatureSpace
from sumi.metrics.moments import FeatureMoments, Moments
from sumi.models.model import GenerativeModel


def sampled_moments(
    model: GenerativeModel, space: FeatureSpace, n: int, *, start: int = 0, seed: int = 0
) -> FeatureMoments:
    """Of the features of samples ``start`` … ``start + n - 1`` of ``seed``, as they would be saved, told no class.

    None is kept. Raises InputError for values out of range, and for samples that are no images.
    """

    def features(first: int) -> Tensor:
        drawn = finite(model.sample(min(CHUNK, start + n - first), seed=seed, start=first))
        return space.features(model.images.finish(drawn))

    moments = Moments.of(map(features, range(start, start + n, CHUNK)), space.space.dimension)
    what = f"samples of {model.description.identity} after {model.step} steps, seed {seed}"
    return FeatureMoments(space.space.sha256, what, moments)


def held_out_moments(model: GenerativeModel, space: FeatureSpace) -> FeatureMoments:
    """Of the images of the run's own data that are held out."""
    _, held_out = model.load_images().split(model.config.data.held_out)
    moments = Moments.of(map(space.features, everything(held_out).split(CHUNK)), space.space.dimension)
    return FeatureMoments(space.space.sha256, held_out.fingerprint(), moments)
