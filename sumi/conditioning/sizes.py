"""How many atoms a molecule of given values has: p(n | v) ∝ p(n) Π_k N(v_k; mean of the data's at n, their deviation).

A model of molecules is given their size. Where samples are to have a value, such as an energy, their sizes are drawn by
this rule: the data's own frequencies, as far as molecules of a size have such values.
"""

from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from sumi.data.dataset import Dataset

LEAST: Final = 0.05
"""The least deviation of a value within a size, in deviations over all sizes: few molecules say too little."""


class SizeByValues(nn.Module):
    """For sizes 1 to ``largest`` and the values ``names``, columns of the data."""

    log_counts: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, largest: int, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names
        self.register_buffer("log_counts", torch.full((largest,), -1e4))
        self.register_buffer("mean", torch.zeros(largest, len(names)))
        self.register_buffer("std", torch.ones(largest, len(names)))

    def fit(self, data: Dataset) -> None:
        """Take the frequencies, and the mean and deviation of each value at each size, ignoring nan."""
        sizes = data.column("atoms").astype(np.int64)
        for k, name in enumerate(self.names):
            column = data.column(name)
            usual = max(float(np.nanstd(column)), 1e-12)
            self.mean[:, k], self.std[:, k] = float(np.nanmean(column)), usual
            for size in np.unique(sizes).tolist():
                own = column[(sizes == size) & np.isfinite(column)]
                if len(own):
                    self.mean[size - 1, k], self.std[size - 1, k] = own.mean(), max(own.std(), LEAST * usual)
        for size, count in zip(*np.unique(sizes, return_counts=True), strict=True):
            self.log_counts[size - 1] = float(np.log(count))

    def shares(self, values: Tensor) -> Tensor:
        """p(n | values) of rows (N, K), nan where unknown: float64 (N, largest)."""
        values = values.double().cpu()[:, None]
        mean, std = self.mean.double().cpu(), self.std.double().cpu()
        terms = -0.5 * ((values - mean) / std).square() - std.log()
        return (self.log_counts.double().cpu() + terms.nan_to_num(nan=0.0).sum(2)).softmax(1)
