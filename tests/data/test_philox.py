"""Noise by Philox: the published generator, the right law, and the same bits whatever computes them."""

import os
import subprocess
import sys
from math import sqrt

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sumi.data import philox
from sumi.data.philox import normal, uniform
from sumi.randomness import Purpose
from tests.pretended_gpu import DEVICE, pretended_gpu

WORDS = st.integers(0, 2**64 - 1)
CPU = torch.device("cpu")
# of the library Random123, Philox4x64-10: all zeros, all ones, and the digits of pi, as counter and key
PI = [
    int(0x243F6A8885A308D313198A2E03707344A4093822299F31D0082EFA98EC4E6C89452821E638D01377 >> 64 * k) & 2**64 - 1
    for k in (4, 3, 2, 1, 0)
]
PUBLISHED = {
    "zeros": ([0] * 6, "16554d9eca36314c db20fe9d672d0fdc d7e772cee186176b 7e68b68aec7ba23b"),
    "ones": ([2**64 - 1] * 6, "87b092c3013fe90b 438c3c67be8d0224 9cc7d7c69cd777b6 a09caebf594f0ba0"),
    "pi": ([*PI, 0xBE5466CF34E90C6C], "a528f45403e61d95 38c72dbd566e9788 a5a1610e72fd18b5 57bd43b5e52b7fe6"),
}


def plain(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x64-10 in Python's own numbers, of which words are cut."""
    c, k = [*counter], [*key]
    for _ in range(10):
        (high_0, low_0), (high_1, low_1) = (
            divmod(word * m, 2**64) for word, m in ((c[0], 0xD2E7470EE14C6C93), (c[2], 0xCA5A826395121157))
        )
        c = [high_1 ^ c[1] ^ k[0], low_1, high_0 ^ c[3] ^ k[1], low_0]
        k = [(k[0] + 0x9E3779B97F4A7C15) % 2**64, (k[1] + 0xBB67AE8584CAA73B) % 2**64]
    return c


def of_torch(counter: list[int], key: list[int]) -> list[int]:
    """The block of this counter, whose first word may be any."""
    first = np.array([counter[0]], np.uint64).view(np.int64) - 1
    upper = (counter[1], counter[2], counter[3])
    return philox.philox(first, upper, np.array(key, np.uint64), 1, CPU)[0].numpy().view(np.uint64).tolist()


def of_numpy(counter: list[int], key: list[int]) -> list[int]:
    whole = (sum(word << 64 * k for k, word in enumerate(counter)) - 1) % 2**256
    words = np.array([whole >> 64 * k & 2**64 - 1 for k in range(4)], np.uint64)
    return np.random.Philox(key=np.array(key, np.uint64), counter=words).random_raw(4).tolist()


@pytest.mark.parametrize("case", PUBLISHED)
def test_it_is_the_published_generator(case: str) -> None:
    (*counter, k_0, k_1), text = PUBLISHED[case]
    wanted = [int(word, 16) for word in text.split()]
    for made in (plain, of_torch, of_numpy):
        assert made(counter, [k_0, k_1]) == wanted


@settings(max_examples=50, deadline=None)
@given(st.lists(WORDS, min_size=6, max_size=6))
def test_torch_and_numpy_have_the_same_words(words: list[int]) -> None:
    counter, key = words[:4], words[4:]
    assert of_torch(counter, key) == of_numpy(counter, key) == plain(counter, key)


def torchs(indices, seed: int, step: int, purpose: Purpose, shape: tuple[int, ...], draw: int) -> torch.Tensor:
    """`normal` as on another device than the CPU, computed on the CPU: torch's words, and torch's operations."""
    count = int(np.prod(shape))
    blocks = (count + 7) // 8
    found = torch.empty(len(indices), count)
    key = np.array([seed, draw + philox.OWN], np.uint64)
    firsts = np.array(indices, np.int64) * blocks
    words = philox.philox(firsts, (0, step, purpose), key, blocks, CPU).view(torch.int32)
    half = 4 * blocks
    memory = torch.empty(5, len(indices), half)
    philox._box_muller(words[:, :half], words[:, half:], found[:, :half], found[:, half:], memory)
    return found.view(len(indices), *shape)


@pytest.mark.parametrize("shape", [(1,), (7,), (8,), (9,), (3, 5), (3, 32, 32), (2, 181, 182)])
def test_both_ways_to_make_it_give_the_same_bits(shape: tuple[int, ...]) -> None:
    """By NumPy, as on a CPU, and by torch, as on a GPU."""
    indices = [5, 6, 7, 100, 99, 2**40]
    by_numpy = normal(2**64 - 3, indices, 2**63 + 1, Purpose.LATENT, shape, draw=4)
    assert torch.equal(by_numpy, torchs(indices, 2**64 - 3, 2**63 + 1, Purpose.LATENT, shape, 4))


@pytest.mark.parametrize("count", [6, 7, 21])
def test_normal_numbers_are_box_and_mullers_of_its_words(count: int) -> None:
    """Every word of (seed, draw, index, step, purpose) in its place, and the polynomials, against float64 maths."""
    seed, step, index, draw = 2**64 - 7, 2**63 + 11, 3 * 2**40, 5
    blocks = (count + 7) // 8
    counters = [[index * blocks + 1 + b, 0, step, Purpose.TRAINING_NOISE] for b in range(blocks)]
    words = [word for counter in counters for word in plain(counter, [seed, draw + 2**63])]
    numbers = np.array(words, np.uint64).view(np.int32).astype(np.int64)
    x, y = numbers[: 4 * blocks] | 1, numbers[4 * blocks :]
    r, a = np.sign(x) * np.sqrt(-2 * np.log(np.abs(x) / 2**31)), np.pi / 2 * y / 2**31
    wanted = np.concatenate([r * np.sin(a), r * np.cos(a)])[:count]
    found = normal(seed, [4, index], step, Purpose.TRAINING_NOISE, (count,), draw=draw)[1]
    assert found.numpy() == pytest.approx(wanted, rel=2e-6, abs=1e-7)


@pytest.mark.parametrize("by", ["numpy", "torch"])
def test_the_polynomials_are_right_to_float32_accuracy(by: str) -> None:
    """A million pairs, the ends among them: each number is what float64 makes of the same words, also in the tails."""
    generator = np.random.default_rng(0)
    x, y = (generator.integers(-(2**31), 2**31, (1, 10**6), np.int64) for _ in range(2))
    x[0, :40] = np.repeat([0, 1, -1, 2, 5, 2**31 - 1, -(2**31), 2**30], 5)
    y[0, :40] = np.tile([0, 1, -(2**31), 2**31 - 1, 2**30], 8)
    found = np.empty((3, *x.shape), np.float32)
    arrays = [value.astype(np.int32) for value in (x, y)]
    if by == "numpy":
        philox._box_muller(*arrays, found[0], found[1], np.empty((5, *x.shape), np.float32))
    else:
        words, into = [torch.from_numpy(value) for value in arrays], torch.from_numpy(found)
        philox._box_muller(*words, into[0], into[1], torch.empty(5, *x.shape))
    size = np.abs((x | 1).astype(np.float32)).astype(np.float64) / 2**31
    r = np.where(x < 0, -1, 1) * np.sqrt(-2 * np.log(size))
    a = np.pi / 2 * y.astype(np.float32).astype(np.float64) / 2**31
    for have, wanted in zip(found[:2], (r * np.sin(a), r * np.cos(a)), strict=True):
        assert (np.abs(have - wanted) < 5e-7 * np.abs(r) + 1e-9).all()
    assert float(np.abs(found[:2]).max()) == pytest.approx(sqrt(2 * np.log(2**31)), rel=1e-6)


def test_its_law_is_normal_to_five_sigma() -> None:
    """Two million numbers: moments to the sixth, the distribution function, and the tails beyond 2, 3, 4 and 5."""
    x = normal(3, range(500), 5, Purpose.TRAINING_NOISE, (4000,)).double().numpy().ravel()
    n = len(x)
    for power, wanted, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (5, 0, 945), (6, 15, 10170)):
        assert abs((x**power).mean() - wanted) < 4.5 * sqrt(variance / n), power
    assert stats.kstest(x, "norm").pvalue > 1e-4
    for side in (x, -x):
        for sigma in (2, 3, 4, 5):
            p = stats.norm.sf(sigma)
            assert stats.binomtest(int((side > sigma).sum()), n, p).pvalue > 1e-4, sigma
    assert 4.6 < np.abs(x).max() < 6.6


def test_rows_and_neighbours_are_independent() -> None:
    """No correlation, of values or of their squares, over seed, purpose, step, index, draw, or places in a row."""
    n = 100_000
    base = (1, [0], 0, Purpose.TRAINING_NOISE, 0)
    other = [
        (2, [0], 0, Purpose.TRAINING_NOISE, 0),
        (1, [1], 0, Purpose.TRAINING_NOISE, 0),
        (1, [0], 1, Purpose.TRAINING_NOISE, 0),
        (1, [0], 0, Purpose.LATENT, 0),
        (1, [0], 0, Purpose.TRAINING_NOISE, 1),
    ]
    rows = [
        normal(seed, indices, step, purpose, (n,), draw=draw)[0].numpy()
        for seed, indices, step, purpose, draw in (base, *other)
    ]
    first = rows[0]
    lagged = [np.roll(first, lag) for lag in (1, 2, 3, 4, 8, 16, 32, n // 2)]  # the last: sines with their cosines
    for values in rows:
        assert stats.kstest(values, "norm").pvalue > 1e-4
    for values in (*rows[1:], *lagged):
        for power in (1, 2):
            assert abs(np.corrcoef(first**power, values**power)[0, 1]) < 4.5 / sqrt(n)
        quadrants = np.histogram2d(first > 0, values > 0, 2)[0].ravel()
        assert stats.chisquare(quadrants).pvalue > 1e-4


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(WORDS, st.integers(0, 2**61), WORDS, st.sampled_from(Purpose), st.integers(0, 2**63 - 1)),
    st.tuples(WORDS, st.integers(0, 2**61), WORDS, st.sampled_from(Purpose), st.integers(0, 2**63 - 1)),
)
def test_any_two_different_keys_give_different_noise(a, b) -> None:
    def noise(seed: int, index: int, step: int, purpose: Purpose, draw: int) -> torch.Tensor:
        return normal(seed, [index], step, purpose, (4,), draw=draw)

    assert torch.equal(noise(*a), noise(*b)) == (a == b)


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2, 181, 182), (3, 32, 32)])
def test_a_row_is_the_same_in_any_batch_in_any_order(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of another chunk, of which rows and their parts are many or few."""
    batch = normal(7, range(40), 3, Purpose.STEP, shape)
    assert (batch.shape, batch.dtype) == ((40, *shape), torch.float32)
    order = np.random.default_rng(0).permutation(40).tolist()
    shuffled = normal(7, order, 3, Purpose.STEP, shape)
    assert torch.equal(shuffled, batch[order])
    monkeypatch.setattr(philox, "PAIRS", 100)
    assert torch.equal(normal(7, range(40), 3, Purpose.STEP, shape), batch)
    assert torch.equal(normal(7, [17], 3, Purpose.STEP, shape)[0], batch[17])
    assert normal(7, [], 3, Purpose.STEP, shape).shape == (0, *shape)
    twice = [first + row for first in range(20) for row in (0, 1, 2, 1, 0)]  # runs that go back
    assert torch.equal(normal(7, twice, 3, Purpose.STEP, shape), batch[twice])


def test_golden_values() -> None:
    """A run is resumed with them, so they never change."""
    found = normal(0, [0], 0, Purpose.TRAINING_NOISE, (3,))[0].tolist()
    assert found == [-0.14713139832019806, 0.6613967418670654, 0.2867959439754486]
    assert uniform(0, [0], 0, Purpose.FLIP, 2)[0].tolist() == [0.16480109631704076, 0.7066963567613689]


PROGRAM = """
import hashlib, sys, torch
from sumi.randomness import Purpose
from sumi.data.philox import normal
torch.set_num_threads(int(sys.argv[1]))
torch.set_default_dtype(getattr(torch, sys.argv[2]))
torch.set_flush_denormal(sys.argv[2] == "float64")
print(hashlib.sha256(normal(5, range(300), 9, Purpose.TRAINING_NOISE, (3, 40, 40)).numpy().tobytes()).hexdigest())
"""


def test_threads_default_types_and_vector_instructions_change_no_bit() -> None:
    found = set()
    for threads, dtype, capability in (("1", "float32", "default"), ("2", "float64", "default"), ("1", "bfloat16", "")):
        environment = {"ATEN_CPU_CAPABILITY": capability} if capability else {}
        command = [sys.executable, "-c", PROGRAM, threads, dtype]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **environment})
        found.add(done.stdout)
    assert len(found) == 1


@pytest.mark.slow
def test_a_compiler_changes_no_bit() -> None:
    """Compiled, a product and a sum may be rounded once instead of twice."""
    wanted = normal(1, range(4), 2, Purpose.TRAINING_NOISE, (3, 8, 8)) * 2

    def doubled() -> torch.Tensor:
        return normal(1, range(4), 2, Purpose.TRAINING_NOISE, (3, 8, 8)) * 2

    try:
        found = torch.compile(doubled)()
    except Exception as error:  # whatever the compiler lacks
        pytest.skip(f"nothing is compiled here: {str(error)[:80]}")
    assert torch.equal(found, wanted)


def test_on_a_gpu_nothing_waits_and_nothing_is_copied_back() -> None:
    found: list[torch.Tensor] = []
    with pretended_gpu() as gpu:
        copies = gpu.counted(lambda: found.append(normal(1, [0, 7], 2, Purpose.LATENT, (3, 5), device=DEVICE)))
    assert copies == 0
    assert (found[0].device, found[0].shape, found[0].dtype) == (DEVICE, (2, 3, 5), torch.float32)


def test_the_global_generators_are_untouched() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    normal(1, range(3), 0, Purpose.TRAINING_NOISE, (4,))
    uniform(1, range(3), 0, Purpose.FLIP, 4)
    assert torch.equal(torch.rand(1), expected)


def test_uniform_numbers() -> None:
    u = uniform(5, range(5000), 2, Purpose.TRAINING_TIME, 2)
    assert (u.dtype, u.shape) == (torch.float64, (5000, 2))
    assert stats.kstest(u.numpy().ravel(), "uniform").pvalue > 1e-4
    assert abs(np.corrcoef(u.T)[0, 1]) < 4.5 / sqrt(5000)
    assert torch.equal(u[17:19, :1], uniform(5, [17, 18], 2, Purpose.TRAINING_TIME, 1))
    assert 0 <= float(u.min()) < float(u.max()) < 1


@pytest.mark.parametrize("word", ["seed", "step", "draw"])
def test_a_word_that_is_too_long_is_refused(word: str) -> None:
    """It would be another's, silently."""
    words = {"seed": 0, "step": 0, "draw": 0, word: 2**64}
    with pytest.raises(OverflowError):
        normal(words["seed"], [0], words["step"], Purpose.TRAINING_NOISE, (2,), draw=words["draw"])
