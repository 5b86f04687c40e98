"""Which images of a set are there more than once, also mirrored, resized or compressed?

Of each image a thumbnail t (at most 16 x 16, the means of equal blocks, in all channels) is compared with those of the
others, as they are and mirrored:

    d(x, y) = min(‖t(x) - t(y)‖, ‖t(x) - t(mirrored y)‖)/min(s(x), s(y)),    s(x) = ‖t(x) - mean t(x)‖

s is the contrast, so a plain image has to be as alike in its own terms as a rich one; d = √2 for unrelated images of
one contrast. Blocks average away what compression and resizing change, which is fine detail. Two images are a pair if

    d(x, y) ≤ CERTAIN,   or   d(x, y) ≤ NEAR and d(x, y) ≤ RATIO min(r(x), r(y))

where r(x) is the distance from x to its tenth neighbour, as in Lowe's ratio test of matches (2004, "Distinctive image
features", section 7.1): among images that are all much alike (shirts, faces of clocks) a copy has to stand out.

The mean over a block is a contraction: thumbnails of thumbnails (8 x 8) are never farther apart than the thumbnails. So
all pairs are first compared by these, in blocks of one matrix product, and no pair is lost.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

NEAR: Final = 0.4
"""The largest d of a pair that stands out: 16 % of the energy of the contrast."""
CERTAIN: Final = 0.05
"""The largest d of a pair whatever is near: 0.25 % of the energy of the contrast."""
RATIO: Final = 0.4
NEIGHBOURS: Final = 10
FLAT: Final = 0.01
"""The least contrast counted, in root mean square over [-1, 1]: about one of 256 levels."""
_SIDE: Final = 16
_COARSE: Final = 8
_BLOCK: Final = 2**22  # distances held at once


@dataclass(frozen=True)
class Pair:
    """Items ``first`` < ``second`` at distance d; ``same``: equal in every pixel; ``mirrored``: if one is mirrored."""

    first: int
    second: int
    distance: float
    same: bool
    mirrored: bool


def thumbnails(images: Tensor) -> Tensor:
    """float32 (N, C, h, w), h and w at most 16, of images (N, C, H, W)."""
    height, width = (min(_SIDE, side) for side in images.shape[2:])
    return F.adaptive_avg_pool2d(images, (height, width))


def duplicates(
    thumbs: Tensor,
    images: Callable[[int], Tensor],
    *,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> list[Pair]:
    """All pairs, nearest first; ``images(i)``: item i (C, H, W) itself, of the ``thumbs`` (N, C, h, w).

    Takes O(N²) time and O(N) memory. ``progress(done, N)`` counts items.
    """
    thumbs = thumbs.float()
    size = thumbs[0].numel() if len(thumbs) else 1
    contrast = (thumbs - thumbs.mean((1, 2, 3), keepdim=True)).flatten(1).norm(dim=1).clamp(min=FLAT * size**0.5)
    coarse, weight = _coarse(thumbs)
    found: list[Pair] = []
    reach = torch.full((len(thumbs),), torch.inf)
    count = min(NEIGHBOURS, len(thumbs) // 2)
    for flipped, (others, small) in enumerate(((thumbs, coarse), (thumbs.flip(3), _coarse(thumbs.flip(3))[0]))):
        squares = small.square().sum(1)
        step = max(1, _BLOCK // max(1, len(thumbs)))
        for start in range(0, len(thumbs), step):
            rows = coarse[start : start + step]
            apart = torch.addmm(squares, rows, small.T, alpha=-2) + rows.square().sum(1)[:, None]
            least = torch.minimum(contrast[start : start + step, None], contrast)
            if not flipped and count:
                relative = (apart.clamp(min=0) * weight).sqrt() / least
                reach[start : start + step] = relative.kthvalue(count + 1).values  # the first is itself
            # 1e-3 of the squares for the rounding of the matrix product
            close = apart * weight <= (NEAR * least).square() + 1e-3 * weight * squares
            i, j = close.triu(start + 1).nonzero(as_tuple=True)
            i = i + start
            d = (thumbs[i] - others[j]).flatten(1).norm(dim=1) / torch.minimum(contrast[i], contrast[j])
            for a, b, distance in zip(i.tolist(), j.tolist(), d.tolist(), strict=True):
                if distance <= max(CERTAIN, min(NEAR, RATIO * float(torch.minimum(reach[a], reach[b])))):
                    other = images(b).flip(-1) if flipped else images(b)
                    found.append(Pair(a, b, distance, torch.equal(images(a), other), bool(flipped)))
            progress((flipped * len(thumbs) + min(len(thumbs), start + step)) // 2, len(thumbs))
    nearest: dict[tuple[int, int], Pair] = {}
    for pair in sorted(found, key=lambda pair: (not pair.same, pair.distance, pair.mirrored)):
        nearest.setdefault((pair.first, pair.second), pair)
    return list(nearest.values())


def _coarse(thumbs: Tensor) -> tuple[Tensor, float]:
    """(thumbnails of thumbnails (N, D), the pixels of a thumbnail that each stands for).

    Thumbnails themselves where they do not divide into equal blocks.
    """
    height, width = thumbs.shape[2:]
    if height % _COARSE or width % _COARSE:
        return thumbs.flatten(1), 1.0
    return F.adaptive_avg_pool2d(thumbs, (_COARSE, _COARSE)).flatten(1), height * width / _COARSE**2
