"""Images larger than a denoiser's own: overlapping windows are denoised, and x̂_0 is their weighted mean
(MultiDiffusion, Bar-Tal et al. 2023, eq. 5).

    x̂_0(x_t) = Σ_k w_k x̂_0^(k)/Σ_k w_k,        x̂_0^(k) = D(x_t in window k, t) inside window k, with weight w_k

This x̂_0 minimises the weighted squared distance to all windows. The windows lie ``stride`` apart, the last one flush
with the border. w falls as sin² from the middle of a window to its sides, which hides seams: with a stride of half a
side, the weights add up to 1.

It is exact if pixels depend only on pixels of their own window: for independent pixels with any stride, for independent
blocks with a stride of their size. Pixels farther apart than a window agree only through those between them.
Var(x_0 | x_t), if the denoiser gives it, is the same mean.

An image's condition applies to each of its windows; an image in the condition is cut like the image.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from math import lcm, pi

import torch
from torch import Tensor

from sumi.conditioning.condition import Condition
from sumi.denoising.denoiser import Denoised, Denoiser
from sumi.errors import InputError
from sumi.process.gaussian import expand
from sumi.process.schedule import Schedule, Time, noise_level


@dataclass(frozen=True)
class Tiling:
    """Windows of ``tile`` (height, width) on pictures of ``size`` (H, W), at most ``stride`` (down, across) apart.

    Raises InputError for a picture smaller than a window, and a stride that is none or leaves gaps.
    """

    size: tuple[int, int]
    tile: tuple[int, int]
    stride: tuple[int, int]

    def __post_init__(self) -> None:
        (height, width), (high, wide) = self.size, self.tile
        if height < high or width < wide:
            raise InputError(
                f"size: {height} × {width} is less than the {high} × {wide} of the model; give at least as much"
            )
        for step, side in zip(self.stride, self.tile, strict=True):
            if not 1 <= step <= side:
                raise InputError(f"stride: {step} is not in 1 … {side}, the window's side")

    @property
    def count(self) -> int:
        """K, of windows on one picture."""
        rows, columns = self.corners
        return len(rows) * len(columns)

    @cached_property
    def corners(self) -> tuple[list[int], list[int]]:
        """Where windows begin, in rows and in columns."""
        rows, columns = (
            [*range(0, size - tile, stride), size - tile]
            for size, tile, stride in zip(self.size, self.tile, self.stride, strict=True)
        )
        return rows, columns

    def cut(self, x: Tensor) -> Tensor:
        """The windows of x (N, C, H, W), as (N K, C, height, width): those of one picture side by side, by rows.

        Raises InputError where x is of another size.
        """
        if tuple(x.shape[2:]) != self.size:
            raise InputError(f"x: is of shape {tuple(x.shape)}, and the windows are those of {self.size}")
        rows, columns = (places.to(x.device) for places in self._places)
        (high, wide), channels = self.tile, x.shape[1]
        windows = x.index_select(2, rows).index_select(3, columns)
        windows = windows.view(len(x), channels, -1, high, columns.numel() // wide, wide)
        return windows.permute(0, 2, 4, 1, 3, 5).reshape(-1, channels, high, wide)

    def blend(self, windows: Tensor) -> Tensor:
        """The weighted mean of windows as of `cut`: (N K, C, height, width) to (N, C, H, W)."""
        rows, columns = (places.to(windows.device) for places in self._places)
        down, across = (weights.to(windows) for weights in self._weights)
        (height, width), (high, wide), channels = self.size, self.tile, windows.shape[1]
        apart = windows.view(-1, rows.numel() // high, columns.numel() // wide, channels, high, wide)
        apart = apart.permute(0, 3, 1, 4, 2, 5).reshape(-1, channels, rows.numel(), columns.numel())
        apart = apart * down[:, None] * across
        of_columns = apart.new_zeros(len(apart), channels, height, columns.numel()).index_add(2, rows, apart)
        return apart.new_zeros(len(apart), channels, height, width).index_add(3, columns, of_columns)

    @cached_property
    def _places(self) -> tuple[Tensor, Tensor]:
        """The row of each row of each window, and the same of columns."""
        rows, columns = (
            (torch.tensor(corners)[:, None] + torch.arange(tile)).view(-1)
            for corners, tile in zip(self.corners, self.tile, strict=True)
        )
        return rows, columns

    @cached_property
    def _weights(self) -> tuple[Tensor, Tensor]:
        """The weight of each of these, w = down · across, where all that fall on one place add up to 1: float64."""
        shares = []
        for places, size, tile in zip(self._places, self.size, self.tile, strict=True):
            weights = (pi * (torch.arange(tile, dtype=torch.float64) + 0.5) / tile).sin().square()
            weights = weights.repeat(len(places) // tile)
            total = torch.zeros(size, dtype=torch.float64).index_add(0, places, weights)
            shares.append(weights / total[places])
        return shares[0], shares[1]


@dataclass(frozen=True)
class Tiled:
    """A denoiser of pictures of the tiling's size, one of N K windows being ``denoiser`` (module docstring).

    What is bound to ``denoiser`` for each sample, such as a label, must be so for each window: for N pictures N K,
    those of one side by side (`Tensor.repeat_interleave`).
    """

    denoiser: Denoiser
    tiling: Tiling

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        """x_t of (N, C, H, W). Raises InputError for another size."""
        now, tiling = noise_level(self.schedule, t), self.tiling
        windows = tiling.cut(x_t)
        each = torch.arange(len(x_t)).repeat_interleave(tiling.count)
        denoised = self.denoiser(windows, now.chosen(each))
        variance = denoised.clean_variance
        if isinstance(variance, Tensor):
            variance = tiling.blend(variance.expand_as(windows))
        blended = denoised.mapped(tiling.blend)
        return replace(
            blended, x_t=x_t, alpha=expand(now.alpha, x_t), sigma=expand(now.sigma, x_t), clean_variance=variance
        )


def tiling_of(shape: tuple[int, int, int], size: tuple[int, int], factor: int = 1, unit: int = 1) -> Tiling:
    """The windows of ``shape`` (C, H, W), half a side apart, on pictures of ``size`` (H, W), all ``factor`` times as
    small. They begin at multiples of ``unit`` pixels, so that windows of one ``unit`` are the same for any factor of
    it: of the latents and of the pictures that a network is given with them.

    Raises InputError where the size is less than the shape's.
    """
    _, height, width = shape
    unit = lcm(unit, factor)
    down, across = (max(side // 2 // unit, 1) * unit // factor for side in (height, width))
    small = size[0] // factor, size[1] // factor
    return Tiling(small, (height // factor, width // factor), (down, across))


def condition_of_windows(
    condition: Condition, shape: tuple[int, int, int], size: tuple[int, int], unit: int = 1
) -> Condition:
    """The condition of pictures of ``size`` as that of each of their windows of ``shape``, which begin at multiples of
    ``unit``. Raises InputError.
    """
    count = tiling_of(shape, size, unit=unit).count

    def of_windows(part: Tensor) -> Tensor:
        if part.ndim == 4:  # an image is cut as the pictures are
            return tiling_of(shape, size, size[0] // part.shape[2], unit).cut(part)
        return part.repeat_interleave(count, 0)

    return Condition({name: of_windows(part) for name, part in condition.items()})
