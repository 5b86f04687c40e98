"""Noise that every device makes alike: from the same counter, the same bits on a CPU and on a GPU.

Words of 64 bits come from Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), four for
each value c of a counter, under a key. The row of index i has B values of the counter to itself,

    key = (seed, draw),     c = (i B + 1 + b, 0, step, purpose),   b = 0 … B - 1

so rows of one batch lie one behind the other. On a CPU they are NumPy's, on other devices integer operations of torch.
Of the row's bits each half is a row of 32-bit numbers. Two of them, x and y, become a pair of normal numbers by Box &
Muller (1958):

    (r sin a, r cos a),     r = ± √(-2 ln |x/2³¹|),     a = π/2 y/2³¹ in [-π/2, π/2],     ± the sign of x, made odd

A library's logarithm and sine differ from device to device. Here they are polynomials in float32,

    ln(2ᵉ m) = e ln 2 + 2 artanh s,     s = (m - 1)/(m + 1),     √½ ≤ m < √2

of operations that IEEE 754 rounds exactly (+, ×, ÷, √ and conversion), one at a time, so that their order fixes every
bit. A compiler that contracts a product and a sum rounds once instead of twice, so no compiler sees these functions
(`_uncompiled`). The numbers end at 6.55, which one in 10¹⁰ would exceed.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from math import log, prod
from typing import Any, Final, ParamSpec, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sumi.randomness import Purpose

P = ParamSpec("P")
T = TypeVar("T")

CPU: Final = torch.device("cpu")
ON_DEVICE: Final = ("cuda", "meta")
"""The types of devices that make the numbers themselves; for others, which may lack float64, the CPU does."""
ROUNDS: Final = 10
MULTIPLIERS: Final = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
INCREMENTS: Final = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
"""Of the key's two words, each round."""
MASK: Final = 0xFFFFFFFF
OWN: Final = 1 << 63
"""Added to the draw, so that these are other numbers than those of `sumi.randomness`."""
PAIRS: Final = 2**16
"""How many pairs a CPU has at once, which its cache holds."""
MANY: Final = 2**24
"""How many another device has."""

LOG: Final = (-4.000000475036938, -1.3330443563185657, -0.8259327856470519)
"""-4 artanh(s)/s in s², to 1.2e-7."""
SINE: Final = (1.5707963184476963, -0.6459637105998653, 0.07968967894796615, -0.0046737666126563625, 1.5148513e-4)
"""sin(π/2 x)/x in x², to 5e-9."""
COSINE: Final = (-0.9999997922712116, 0.23369421260864554, -0.019938070271280153, 0.0008456496862068479)
"""cos(π/2 x)/(x² - 1) in x², to 2.1e-7."""
HALF: Final = int(np.float32(2**31 * 0.5**0.5).view(np.int32))
"""The bits of 2³¹ √½."""


def _uncompiled(function: Callable[P, T]) -> Callable[P, T]:
    """``function``, which `torch.compile` calls and does not look into. (Its own decorator imports the compiler.)"""

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        if torch.compiler.is_compiling():
            return torch.compiler.disable(function)(*args, **kwargs)
        return function(*args, **kwargs)

    return called


@_uncompiled
def normal(
    seed: int,
    indices: Sequence[int],
    step: int,
    purpose: Purpose,
    shape: Sequence[int],
    *,
    draw: int = 0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Standard normal noise, float32 (len(indices), *shape) on ``device``; row k depends on ``indices[k]`` alone.

    ``seed`` and ``step`` in [0, 2⁶⁴), ``draw`` in [0, 2⁶³), an index times its row's length below 2⁶³. The numbers are
    others than those of `sumi.randomness.normal`. Raises OverflowError.
    """
    count, wanted = prod(shape), torch.device(device)
    place = wanted if wanted.type in ON_DEVICE else CPU
    blocks = (count + 7) // 8
    pairs, here = 4 * blocks, place == CPU
    found = torch.empty(len(indices), count, dtype=torch.float32, device=place)
    stream = _Stream((seed, draw), (0, step, purpose), blocks, place)
    into, integer = (found.numpy(), np.int32) if here else (found, torch.int32)
    rows = max(1, (PAIRS if here else MANY) // max(1, pairs))
    m: Any = np if here else torch
    memory = m.empty((5, min(rows, len(indices)), pairs), dtype=m.float32, **({} if here else {"device": place}))
    for part in _parts(indices, rows):
        words = stream(indices[part]).view(integer)
        _box_muller(words[:, :pairs], words[:, pairs:], into[part, :pairs], into[part, pairs:], memory[:, : len(words)])
    return found.view(len(indices), *shape).to(wanted)


@_uncompiled
def uniform(seed: int, indices: Sequence[int], step: int, purpose: Purpose, count: int, *, draw: int = 0) -> Tensor:
    """Numbers in [0, 1), float64 (len(indices), count) on the CPU; the first ones are the same whatever the count.

    Four at a time are of one value (i + 1, 1 + b, step, purpose) of the counter. Raises OverflowError as `normal`.
    """
    words = [_Stream((seed, draw), (1 + block, step, purpose), 1, CPU)(indices) for block in range((count + 3) // 4)]
    bits = np.concatenate([np.empty((len(indices), 0), np.uint64), *words], 1)[:, :count]
    return torch.from_numpy((bits >> np.uint64(11)) * 2.0**-53)


class _Stream:
    """The words of rows of ``blocks`` values of the counter, whose upper three words are ``upper``: (n, 4 blocks)."""

    def __init__(self, key: tuple[int, int], upper: tuple[int, int, int], blocks: int, place: torch.device) -> None:
        seed, draw = key
        if not 0 <= draw < OWN:
            raise OverflowError(f"draw: {draw} is not from 0 to 2⁶³ - 1")
        self.key, self.upper = np.array([seed, draw + OWN], np.uint64), upper
        self.blocks, self.place = blocks, place
        self._bits, self._next = np.random.Philox(key=self.key), -1

    def __call__(self, indices: Sequence[int]) -> Any:
        """uint64 on the CPU, int64 elsewhere."""
        if max(indices, default=0) * self.blocks >= 1 << 62:
            raise OverflowError(f"index: {max(indices)} is too large for rows of {self.blocks * 8} numbers")
        firsts = np.array(indices, np.int64) * self.blocks
        if self.place != CPU:
            return philox(firsts, self.upper, self.key, self.blocks, self.place)
        runs = [self._run(run) for run in np.split(firsts, _breaks(firsts, self.blocks))]
        return runs[0] if len(runs) == 1 else np.concatenate(runs)

    def _run(self, firsts: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Of rows that lie one behind the other, as most of a batch do."""
        first = int(firsts[0])
        if first != self._next:
            self._bits = np.random.Philox(key=self.key, counter=np.array([first, *self.upper], np.uint64))
        self._next = first + len(firsts) * self.blocks
        return self._bits.random_raw(len(firsts) * 4 * self.blocks).reshape(len(firsts), 4 * self.blocks)


def philox(
    firsts: NDArray[np.int64],
    upper: tuple[int, int, int],
    key: NDArray[np.uint64],
    blocks: int,
    place: torch.device,
) -> Tensor:
    """Philox4x64-10 of (first + 1 + b, *upper) for each of ``firsts`` (n,) and b < blocks: int64 (n, 4 blocks).

    The bits of NumPy's, on the device ``place``. Of the words c₀ and c₂, and of c₁ and c₃, two are in one tensor.
    """
    numbers = np.array([*MULTIPLIERS, *(m & MASK for m in MULTIPLIERS), *(m >> 32 for m in MULTIPLIERS)], np.uint64)
    keys = [key + np.array(INCREMENTS, np.uint64) * np.uint64(number) for number in range(ROUNDS)]
    words = np.concatenate([numbers, *keys, np.array(upper, np.uint64)]).view(np.int64)
    constants = torch.from_numpy(words).to(place, non_blocking=True).view(-1, 1)
    whole, low, high, *keys_there = constants[: 6 + 2 * ROUNDS].split(2)
    places = torch.arange(1, blocks + 1, dtype=torch.int64, device=place)
    even = torch.empty(2, len(firsts) * blocks, dtype=torch.int64, device=place)
    even[0] = (torch.from_numpy(firsts).to(place, non_blocking=True)[:, None] + places).flatten()
    even[1] = constants[-2]
    odd = constants[[-3, -1]].expand_as(even)
    for own in keys_there:
        even, odd = _high(even, low, high).flip(0) ^ odd ^ own, (even * whole).flip(0)
    return torch.stack([even, odd], 2).permute(1, 0, 2).reshape(len(firsts), 4 * blocks)


def _high(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The upper 64 bits of the product with the number of these halves, all without sign."""
    x_low, x_high = x & MASK, x >> 32 & MASK
    one = x_low * high
    middle = (x_low * low >> 32 & MASK) + (one & MASK) + x_high * low  # which is below 2⁶⁴
    return x_high * high + (one >> 32 & MASK) + (middle >> 32 & MASK)


def _box_muller(x: Any, y: Any, sines: Any, cosines: Any, memory: Any) -> None:
    """Pairs of words (n, p), int32, as normal numbers into (n, q), q ≤ p; arrays or tensors.

    Each operation has one name in NumPy and in torch, and writes into ``memory``, float32 (5, n, p).
    """
    m: Any = torch if isinstance(x, Tensor) else np
    a, b, c, d, e = memory
    a_bits, b_bits, d_bits, sign = (value.view(m.int32) for value in (a, b, d, e))
    sign[...] = x
    sign |= 1
    a[...] = sign
    sign &= -(2**31)
    m.absolute(a, out=a)
    m.subtract(a_bits, HALF, out=b_bits)
    b_bits >>= 23  # the exponent
    c[...] = b_bits
    b_bits *= 1 << 23
    a_bits -= b_bits  # a = 2³¹ m
    m.add(a, 2.0**31, out=b)
    a -= 2.0**31
    a /= b  # s
    m.multiply(a, a, out=b)
    _polynomial(m, LOG, b, d)
    d *= a
    c *= -2 * log(2)
    d += c
    _root(d, c)
    d_bits |= sign  # r
    a[...] = y
    a *= 2.0**-31
    m.multiply(a, a, out=b)
    _polynomial(m, SINE, b, c)
    c *= a
    wide = sines.shape[1]
    m.multiply(c[:, :wide], d[:, :wide], out=sines)
    _polynomial(m, COSINE, b, c)
    c *= d
    b -= 1.0
    wide = cosines.shape[1]
    m.multiply(c[:, :wide], b[:, :wide], out=cosines)


def _root(x: Any, scratch: Any) -> None:
    """√x in place, rounded exactly as IEEE 754 has it.

    NumPy's is. Torch's may be one unit in the last place off, on a CPU in one of five: then the midpoint between its
    number and the next, of 25 bits, lies on the wrong side. Its square has 50 bits, which float64 holds.
    """
    match x:
        case Tensor():
            squared, bits = x.double(), x.view(torch.int32)
            torch.sqrt(x, out=x)
            for unit in (1, -1):
                scratch.view(torch.int32)[...] = bits + unit
                middle = (x.double() + scratch.double()) * 0.5
                past = (squared - middle * middle) * unit > 0  # of 0 and its neighbours, which is no number, never
                bits += unit * past
        case _:
            np.sqrt(x, out=x)


def _polynomial(m: Any, coefficients: Sequence[float], x: Any, into: Any) -> None:
    """Σ c_k xᵏ by Horner's rule."""
    *rest, last = coefficients
    m.multiply(x, last, out=into)
    for number in reversed(rest[1:]):
        into += number
        into *= x
    into += rest[0]


def _parts(indices: Sequence[int], rows: int) -> Iterator[slice]:
    """At least one row at a time."""
    rows = max(1, rows)
    return (slice(first, first + rows) for first in range(0, len(indices), rows))


def _breaks(firsts: NDArray[np.int64], step: int) -> NDArray[np.int64]:
    """Where one row does not begin where that before it ends."""
    return np.flatnonzero(np.diff(firsts) != step) + 1
