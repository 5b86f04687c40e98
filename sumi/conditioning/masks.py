"""Random masks for training inpainting (Saharia et al. 2022, "Palette", section 4.2).

40 % are rectangles with sides from a quarter to all of the image's; 20 % are the complement of a rectangle, for
outpainting; 40 % are one to four brush strokes, a sixteenth to a quarter of the image wide. Every mask is a function of
`DRAWS` uniform numbers.
"""

from typing import Final

import torch
from torch import Tensor

STROKES: Final = 4
DRAWS: Final = 7 + 5 * STROKES
"""Numbers per mask: its kind, the number of strokes, a rectangle (4), its inner share, and the strokes."""
RECTANGLES, FRAMES = 0.4, 0.6
"""Thresholds for the kind: below the first a rectangle, below the second its complement, else strokes."""


def training_masks(u: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks, bool (n, H, W), True where the network must inpaint; ``u``: uniform numbers (n, DRAWS).

    A rectangle may cover the whole image.
    """
    height, width = size
    y = ((torch.arange(height) + 0.5) / height).to(u)
    x = ((torch.arange(width) + 0.5) / width).to(u)
    kind, count, high, wide, top, left, inner = u[:, :7].T[:, :, None, None]
    tall, broad = 0.25 + 0.75 * high, 0.25 + 0.75 * wide
    frame = (kind >= RECTANGLES) & (kind < FRAMES)
    tall, broad = (torch.where(frame, 0.25 + 0.5 * inner, side) for side in (tall, broad))
    begin_y, begin_x = top * (1 - tall), left * (1 - broad)
    rectangle = _within(y[:, None], begin_y, tall) & _within(x, begin_x, broad)
    strokes = _strokes(u[:, 7:].unflatten(1, (STROKES, 5)), 1 + (count * STROKES).floor(), y, x)
    return torch.where(kind < RECTANGLES, rectangle, torch.where(frame, ~rectangle, strokes))


def _within(place: Tensor, begin: Tensor, side: Tensor) -> Tensor:
    return (place >= begin) & (place < begin + side)


def _strokes(u: Tensor, count: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """The first ``count`` (n, 1, 1) of the strokes ``u`` (n, S, 5): both ends of a segment, and its breadth."""
    ends, breadth = u[..., :4], 1 / 16 + 3 / 16 * u[..., 4]
    y_0, x_0, y_1, x_1 = ends[..., None, None].unbind(2)  # each (n, S, 1, 1)
    down, along = y_1 - y_0, x_1 - x_0
    far_y, far_x = y[:, None] - y_0, x - x_0
    share = ((far_y * down + far_x * along) / (down.square() + along.square()).clamp(min=1e-12)).clamp(0, 1)
    squared = (far_y - share * down).square() + (far_x - share * along).square()
    covered = squared <= (breadth[..., None, None] / 2).square()
    wanted = torch.arange(u.shape[1], device=u.device) < count[:, 0]  # (n, S)
    return (covered & wanted[..., None, None]).any(1)
