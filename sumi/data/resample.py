"""Sound at another rate: band-limited interpolation by a polyphase filter (Smith & Gossett 1984).

    y[n] = Σ_k x[k] h(n M/L - k),     rate' / rate = L/M in lowest terms,     h(t) = f sinc(f t) · window(f t / ZEROS)

f = min(1, L/M) · ROLL_OFF is the cut-off in units of the old Nyquist frequency: what would fold back is filtered off.
n M/L has L different fractional parts, and so h is L short filters ("phases"). The sum of each is made exactly 1: a
constant stays. Kaiser's window of β = 11 leaves -110 dB.
"""

from functools import lru_cache
from math import ceil, gcd
from typing import Final

import numpy as np
from numpy.typing import NDArray

ZEROS: Final = 64
"""Zeros of the sinc on each side."""
ROLL_OFF: Final = 0.945
BETA: Final = 11.0


def resampled(x: NDArray[np.float64], rate: int, wanted: int) -> NDArray[np.float64]:
    """``x`` (channels, n) of ``rate`` Hz at ``wanted`` Hz: (channels, ⌈n · wanted/rate⌉); itself where they are equal.

    Outside x is silence.
    """
    if rate == wanted:
        return x
    common = gcd(rate, wanted)
    up, down = wanted // common, rate // common
    filters = _filters(up, down)
    reach = filters.shape[1] // 2
    count = ceil(x.shape[1] * up / down)
    last = (count - 1) * down // up + reach
    padded = np.pad(x, ((0, 0), (reach - 1, max(0, last + 1 - x.shape[1]))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach, axis=1)
    made = np.empty((len(x), count))
    for n in range(min(up, count)):  # each of these begins the outputs of one phase
        made[:, n::up] = (windows[:, n * down // up :: down] @ filters[n * down % up])[:, : len(made[0, n::up])]
    return made


@lru_cache(maxsize=8)
def _filters(up: int, down: int) -> NDArray[np.float64]:
    """(up, 2 reach): of an output at k + p/up the weights of x[k - reach + 1] … x[k + reach]."""
    cut = min(1.0, up / down) * ROLL_OFF
    reach = ceil(ZEROS / cut)
    t = np.arange(up)[:, None] / up - np.arange(1 - reach, reach + 1)
    inside = np.clip(1 - (cut * t / ZEROS) ** 2, 0, None)
    weights = np.sinc(cut * t) * np.i0(BETA * np.sqrt(inside)) * (inside > 0)
    return weights / weights.sum(1, keepdims=True)
