"""Small sets of vectors that are drawn by a rule: the same numbers everywhere for a NumPy release.

    swiss-roll   10,000 points on a spiral in the plane                     (Sohl-Dickstein et al. 2015, figure 1)
    ring-of-8    10,000 points of eight narrow Gaussians on a circle, whose density is known
    heartbeat    2,000 sequences of 20 bits with a 1 in every fifth place   (Sohl-Dickstein et al. 2015, figure 2)

The roll: θ uniform on [3π/2, 9π/2], (x, y) = (θ cos θ, θ sin θ)/15 with noise of deviation 0.015. A heartbeat has one
of five phases, so its entropy is log2 5 = 2.32 bits a sequence; a 1 is stored as 1 and a 0 as -1.
"""

from math import log, pi

import numpy as np
from numpy.typing import NDArray

from sumi.data.config import DataConfig
from sumi.data.dataset import Progress
from sumi.data.vectors import OTHER_FIELDS, VectorDataset

POINTS = 10_000
ROLL_NOISE = 0.015
CENTRES, RADIUS, WIDTH = 8, 0.75, 0.06
SEQUENCES, LENGTH, PERIOD = 2_000, 20, 5


def load_swiss_roll(config: DataConfig, progress: Progress | None = None) -> VectorDataset:
    """10,000 points on a spiral, within about [-1, 1]²."""
    draw = np.random.default_rng([2015, 1])
    angle = 1.5 * pi * (1 + 2 * draw.random(POINTS))
    on_it = angle[:, None] / 15 * np.stack([np.cos(angle), np.sin(angle)], 1)
    return _dataset(on_it + ROLL_NOISE * draw.standard_normal((POINTS, 2)), "swiss-roll", config, progress)


def load_ring_of_8(config: DataConfig, progress: Progress | None = None) -> VectorDataset:
    """10,000 points of N(m_k, 0.06²) with m_k evenly spaced on a circle of radius 0.75."""
    draw = np.random.default_rng([2015, 2])
    which = draw.integers(CENTRES, size=POINTS)
    return _dataset(ring_centres()[which] + WIDTH * draw.standard_normal((POINTS, 2)), "ring-of-8", config, progress)


def ring_centres() -> NDArray[np.float64]:
    """The means of ``ring-of-8``, float64 (8, 2)."""
    angle = 2 * pi * np.arange(CENTRES) / CENTRES
    return RADIUS * np.stack([np.cos(angle), np.sin(angle)], 1)


def ring_log_density(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """log p at points (N, 2) of ``ring-of-8``, in nats: (N,)."""
    squares = np.square(x[:, None] - ring_centres()).sum(-1) / (2 * WIDTH**2)
    return np.logaddexp.reduce(-squares, axis=1) - log(CENTRES) - log(2 * pi * WIDTH**2)


def load_heartbeat(config: DataConfig, progress: Progress | None = None) -> VectorDataset:
    """2,000 sequences of 20 bits, each of one of five phases."""
    phase = np.random.default_rng([2015, 3]).integers(PERIOD, size=SEQUENCES)
    beats = np.where((np.arange(LENGTH) - phase[:, None]) % PERIOD == 0, 1.0, -1.0)
    return _dataset(beats, "heartbeat", config, progress, levels=2)


def _dataset(
    values: NDArray[np.float64], name: str, config: DataConfig, progress: Progress | None, levels: int | None = None
) -> VectorDataset:
    del progress  # nothing here takes time
    config.refuse("vectors", OTHER_FIELDS)
    keys = tuple(f"{name}/{i:05d}" for i in range(len(values)))
    return VectorDataset(values.astype(np.float32), keys, levels)
