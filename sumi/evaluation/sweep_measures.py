"""Measures of many sets of samples against the same real images.

    Distance   frechet             distance to held-out images, bias-corrected      (``frechet``)
    Variety    precision, recall   samples among real images, and the reverse       (``precision_recall``)
    Copies     copies              share of copies of training images               (``copy_rate``)
    Detail     detail              high-frequency power relative to held-out        (``spectrum``)
    Accuracy   accuracy            share assigned to the requested class            (``class_accuracy``)

``kept`` reduces samples to what the measure needs, one row per sample, so that images need not stay in memory and
samples can be exchanged between two sets. ``estimates`` are the figures with intervals. ``values`` are plain figures
for comparing sets of equal size: the Fréchet distance without correction, whose bias both sets share, and the share of
samples closer to a training image than 1 % of real ones are. ``real`` are the figures of real images: of training
images treated as samples, but of held-out ones for accuracy (the classifier was trained on the others); none for
copies.
"""

from typing import Protocol

from torch import Tensor

from sumi.evaluation.measures import MOST, search_reach
from sumi.metrics.classes import real_accuracy
from sumi.metrics.copies import copy_rate, copy_ratios, copying
from sumi.metrics.features.network import FeatureNetwork
from sumi.metrics.frechet import frechet_distance, plug_in_frechet_distance
from sumi.metrics.intervals import Estimate, share
from sumi.metrics.kernel_distance import kernel_distance
from sumi.metrics.out_of_range import FAR
from sumi.metrics.precision_recall import figures, precision_recall
from sumi.metrics.spectrum import fine_power, relative_power


class Measure(Protocol):
    """One or more figures, by name, of samples against real images."""

    name: str

    def kept(self, samples: Tensor) -> Tensor:
        """What the measure needs of samples (N, C, H, W) in [-1, 1]: (N, …)."""
        ...

    def estimates(self, kept: Tensor) -> dict[str, Estimate]:
        """The figures with their intervals, those that say something. Raises InputError for too few images."""
        ...

    def values(self, kept: Tensor) -> dict[str, float]:
        """Plain figures, for comparing sets of equal size."""
        ...

    def real(self) -> dict[str, Estimate]:
        """The same figures of real images, if any. Raises InputError for too few images."""
        ...


class Distance:
    """The Fréchet distance to ``held_out`` images (n, C, H, W) in the features of ``network``.

    ``training``, in random order: the first of them, as many as held-out images, give the figure of real images.
    """

    name = "Fréchet distance"

    def __init__(self, network: FeatureNetwork, held_out: Tensor, training: Tensor) -> None:
        self._network = network
        self._real, self._alike = (network.features(x) for x in (held_out, training[: len(held_out)]))

    def kept(self, samples: Tensor) -> Tensor:
        return self._network.features(samples)

    def estimates(self, kept: Tensor) -> dict[str, Estimate]:
        return {"frechet": frechet_distance(kept, self._real)}

    def values(self, kept: Tensor) -> dict[str, float]:
        return {"frechet": plug_in_frechet_distance(kept, self._real)}

    def real(self) -> dict[str, Estimate]:
        return self.estimates(self._alike)


class Variety:
    """Precision and recall against ``held_out`` images, in random order; at most ``MOST`` of each set are used.

    Samples that are far from real images have no precision.

    ``training``, in random order: ``samples`` of them stand in the samples' place for what real images have.
    """

    name = "precision and recall"

    def __init__(self, network: FeatureNetwork, held_out: Tensor, training: Tensor, *, samples: int, seed: int) -> None:
        self._network, self._seed = network, seed
        self._real, self._alike = (network.features(x) for x in (held_out[:MOST], training[: min(samples, MOST)]))

    def kept(self, samples: Tensor) -> Tensor:
        return self._network.features(samples[:MOST])

    def estimates(self, kept: Tensor) -> dict[str, Estimate]:
        found = precision_recall(kept, self._real, seed=self._seed)
        near = {} if found.precision is None or self._far(kept) else {"precision": found.precision}
        return {**near, "recall": found.recall}

    def _far(self, kept: Tensor) -> bool:
        """Whether precision says nothing of these samples (`sumi.metrics.out_of_range`)."""
        return kernel_distance(kept, self._real).low > FAR

    def values(self, kept: Tensor) -> dict[str, float]:
        precision, recall, *_ = figures(kept, self._real).tolist()
        return {"precision": precision, "recall": recall}

    def real(self) -> dict[str, Estimate]:
        return self.estimates(self._alike)


class Copies:
    """The share of copies of ``training`` images; ``held_out`` images, in random order, are the non-copies.

    ``samples``: how many will be searched in all, which decides whether shifted copies are searched for; ``mirrored``:
    search for mirrored ones. Raises InputError for too few training images.
    """

    name = "share of copies"

    def __init__(self, training: Tensor, held_out: Tensor, *, samples: int, mirrored: bool) -> None:
        real = held_out[:MOST]
        self._training, self._mirrored = training, mirrored
        self.reach = search_reach(samples + len(real), training, mirrored=mirrored)
        self._real = self.kept(real)
        self._near = copying(self._real, self._real).threshold

    def kept(self, samples: Tensor) -> Tensor:
        return copy_ratios(samples, self._training, reach=self.reach, mirrored=self._mirrored).ratio

    def estimates(self, kept: Tensor) -> dict[str, Estimate]:
        return {"copies": copy_rate(kept, self._real).rate}

    def values(self, kept: Tensor) -> dict[str, float]:
        return {"copies": float((kept <= self._near).double().mean())}

    def real(self) -> dict[str, Estimate]:
        return {}


class Detail:
    """High-frequency power relative to ``held_out`` images, in random order; at most ``MOST`` of each set are used.

    ``training``, in random order: ``samples`` of them stand in the samples' place for what real images have.
    """

    name = "fine detail"

    def __init__(self, held_out: Tensor, training: Tensor, *, samples: int) -> None:
        self._real, self._alike = (fine_power(x) for x in (held_out[:MOST], training[: min(samples, MOST)]))

    def kept(self, samples: Tensor) -> Tensor:
        return fine_power(samples[:MOST])

    def estimates(self, kept: Tensor) -> dict[str, Estimate]:
        return {"detail": relative_power(kept, self._real)}

    def values(self, kept: Tensor) -> dict[str, float]:
        return {"detail": float(kept.mean() / self._real.mean())}

    def real(self) -> dict[str, Estimate]:
        return self.estimates(self._alike)


class Accuracy:
    """The share of samples that ``network`` assigns to the ``requested`` class, int64 (N,).

    ``held_out`` images with their ``labels`` (n,) give its accuracy on real images, with the same class weights.
    """

    name = "class accuracy"

    def __init__(self, network: FeatureNetwork, requested: Tensor, held_out: Tensor, labels: Tensor) -> None:
        self._network, self._requested = network, requested
        self._real = real_accuracy(requested, network.probabilities(held_out), labels)

    def kept(self, samples: Tensor) -> Tensor:
        return self._network.probabilities(samples).argmax(1) == self._requested

    def estimates(self, kept: Tensor) -> dict[str, Estimate]:
        return {"accuracy": share(int(kept.sum()), len(kept))}

    def values(self, kept: Tensor) -> dict[str, float]:
        return {"accuracy": float(kept.double().mean())}

    def real(self) -> dict[str, Estimate]:
        return {} if self._real is None else {"accuracy": self._real}
