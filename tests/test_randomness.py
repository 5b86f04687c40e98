"""The promise of counter-based noise: a pure function of (seed, index, step, purpose)."""

import time
import tracemalloc
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sumi.randomness import Purpose, SampleNoise, generator, keyed_order, normal, permutation, uniform, windowed_order

WORDS = st.integers(0, 2**64 - 1)


def test_alone_or_in_any_batch_in_any_order_bit_identical() -> None:
    batch = normal(7, range(64), 3, Purpose.STEP, (1, 8, 8))
    order = np.random.default_rng(0).permutation(64).tolist()
    shuffled = normal(7, order, 3, Purpose.STEP, (1, 8, 8))
    for position, index in enumerate(order):
        alone = normal(7, [index], 3, Purpose.STEP, (1, 8, 8))
        assert torch.equal(alone[0], batch[index])
        assert torch.equal(alone[0], shuffled[position])


def test_golden_values() -> None:
    """NumPy's Philox stream: if a release changes it, this says so (old images could then not be made again)."""
    values = normal(0, [0], 0, Purpose.START, (3,))[0].tolist()
    assert values == pytest.approx([0.059911035001277924, 0.015559634193778038, -1.1644384860992432], rel=1e-6)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ((1, 2, 3, Purpose.STEP, 0), [-0.13824453556819916, -0.8569816662892272]),
        ((7, 37, 1000, Purpose.TRAINING_NOISE, 0), [-0.22802565939438085, -1.2057446287128355]),
        ((2**64 - 1, 5, 2, Purpose.CORRECTOR, 1), [0.8595185309460182, 0.4922428075764586]),
    ],
)
def test_each_word_has_its_place(key: tuple[int, int, int, Purpose, int], values: list[float]) -> None:
    """Seed, index, step, purpose and draw are all different here: an exchange of two would be another stream."""
    assert generator(*key).standard_normal(2).tolist() == pytest.approx(values, rel=1e-12)


@given(
    st.tuples(WORDS, WORDS, WORDS, st.sampled_from(Purpose)), st.tuples(WORDS, WORDS, WORDS, st.sampled_from(Purpose))
)
def test_any_two_different_keys_give_different_noise(a, b) -> None:
    same = np.array_equal(generator(*a).standard_normal(4), generator(*b).standard_normal(4))
    assert same == (a == b)


def test_neighbouring_keys_are_independent_and_normal() -> None:
    """4,000 draws along each of seed, index, step and purpose: normal, and uncorrelated with their neighbours."""
    draws = {
        "seed": [generator(k, 0, 0, Purpose.START).standard_normal() for k in range(4000)],
        "index": normal(1, range(4000), 0, Purpose.START, (1,))[:, 0].tolist(),
        "step": [generator(1, 0, k, Purpose.STEP).standard_normal() for k in range(4000)],
    }
    for name, values in draws.items():
        assert stats.kstest(values, "norm").pvalue > 1e-4, name
        assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 4 / np.sqrt(4000), name
    purposes = [[generator(k, 0, 0, p).standard_normal() for k in range(1000)] for p in Purpose]
    correlation = np.corrcoef(purposes) - np.eye(len(Purpose))
    assert np.abs(correlation).max() < 4.5 / np.sqrt(1000)


def test_uniform_and_permutation() -> None:
    u = uniform(5, range(5000), 2, Purpose.TRAINING_TIME)
    assert u.dtype == torch.float64
    assert stats.kstest(u.numpy(), "uniform").pvalue > 1e-4
    assert torch.equal(u[17:19], uniform(5, [17, 18], 2, Purpose.TRAINING_TIME))
    first, second = permutation(5, 0, 100), permutation(5, 1, 100)
    assert sorted(first) == list(range(100))
    assert not np.array_equal(first, second)
    assert np.array_equal(first, permutation(5, 0, 100))


def test_sample_noise_is_normal_by_another_name() -> None:
    noise = SampleNoise(9, [4, 2], (1, 2, 2), torch.float64)
    assert torch.equal(noise(6, Purpose.STEP), normal(9, [4, 2], 6, Purpose.STEP, (1, 2, 2), dtype=torch.float64))


def test_the_global_generators_are_untouched() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    normal(1, range(3), 0, Purpose.START, (4,))
    permutation(1, 0, 10)
    assert torch.equal(torch.rand(1), expected)


def test_draws_of_one_step_differ_and_the_first_is_the_plain_one() -> None:
    plain, again, second = (normal(3, [5], 2, Purpose.CORRECTOR, (6,), draw=draw) for draw in (0, 0, 1))
    assert torch.equal(plain, normal(3, [5], 2, Purpose.CORRECTOR, (6,)))
    assert torch.equal(plain, again)
    assert not bool((plain == second).any())
    noise = SampleNoise(3, [5], (6,))
    assert torch.equal(noise(2, Purpose.CORRECTOR, 1), second)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 16, 17, 1000, 4096, 4097])
def test_the_keyed_order_has_every_item_once(count: int) -> None:
    places = np.arange(count)
    first, second = (keyed_order(7, epoch, count, places) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == places.tolist()
    assert count < 16 or (first != second).mean() > 0.9
    assert [int(keyed_order(7, 1, count, places[p : p + 1])[0]) for p in range(min(count, 20))] == second[:20].tolist()


def test_the_keyed_order_is_as_good_as_random() -> None:
    """Of three items every order comes as often, and of many, neighbours are not near each other."""
    orders = [tuple(keyed_order(seed, 3, 3, np.arange(3)).tolist()) for seed in range(90)]
    assert stats.chisquare([orders.count(order) for order in permutations(range(3))]).pvalue > 1e-4
    order = keyed_order(1, 0, 100_000, np.arange(100_000)).astype(float)
    assert abs(np.corrcoef(order[1:], order[:-1])[0, 1]) < 0.015
    assert abs(np.corrcoef(order, np.arange(100_000))[0, 1]) < 0.015
    gaps = np.diff(order)
    assert stats.kstest(gaps / 100_000, stats.triang(0.5, -1, 2).cdf).pvalue > 1e-4


def test_the_keyed_order_of_a_hundred_million_starts_at_once() -> None:
    """A batch at any place of any epoch, in well under a second and without the list of all."""
    begun = time.perf_counter()
    tracemalloc.start()
    found = keyed_order(0, 12, 10**8, np.arange(99_999_000, 10**8))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.perf_counter() - begun < 1
    assert peak < 1_000_000
    assert len(set(found.tolist())) == 1000
    assert 0 <= found.min() < found.max() < 10**8
    assert found[:3].tolist() == [83574508, 30167141, 66307029]


@pytest.mark.parametrize("count", [1, 2, 17, 1023, 1024, 1025, 16_384, 16_385, 40_000])
def test_the_windowed_order_has_every_item_once(count: int) -> None:
    """Wherever it is asked for."""
    places = np.arange(count)
    first, second = (windowed_order(7, epoch, count, places) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == places.tolist()
    assert count < 16 or (first != second).mean() > 0.9
    some = np.random.default_rng(0).permutation(count)[:50]
    assert windowed_order(7, 1, count, some).tolist() == second[some].tolist()


GOLDEN_WINDOWED = [25973, 138611, 85350]


def test_the_windowed_order_reads_few_pieces_and_mixes_them() -> None:
    """A window of 16 blocks comes from 17 or 18 pieces of the data, and its items in an order that says nothing."""
    count, size = 200_000, 16_384
    order = windowed_order(1, 0, count, np.arange(count))
    for first in range(0, count - size, size):
        window = order[first : first + size]
        gaps = np.diff(np.sort(window))
        assert (gaps > 1).sum() <= 17
        ranks = window.argsort().argsort()
        assert abs(np.corrcoef(ranks, np.arange(size))[0, 1]) < 0.04
    starts = {int(order[first : first + size].min()) for first in range(0, count, size)}
    assert starts != set(range(0, count, size))  # the windows come in no order either
    assert len({*((order[:size] - order[size : 2 * size]) % 1024).tolist()}) > 900  # nor is each mixed as the last was
    assert order[:3].tolist() == GOLDEN_WINDOWED
