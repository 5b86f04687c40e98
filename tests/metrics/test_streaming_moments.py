"""Moments in one pass: those of all features at once, by groups, from any shards in any order, in constant memory."""

import tracemalloc
import weakref
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy import linalg
from torch import Tensor

from sumi.errors import InputError, SumiError
from sumi.metrics.frechet import (
    frechet_distance,
    frechet_of_moments,
    moments_frechet_distance,
    plug_in_frechet_distance,
    plug_in_of_moments,
)
from sumi.metrics.moments import MOST_GROUPS, FeatureMoments, Moments

D = 8


def features(count: int, seed: int, offset: float = 0.0) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    mixing = torch.randn(D, D, dtype=torch.float64, generator=torch.Generator().manual_seed(99))
    return torch.randn(count, D, dtype=torch.float64, generator=source) @ mixing + offset


def moments(*batches: Tensor, network: str = "network", data: str = "data", groups: int = 5) -> FeatureMoments:
    return FeatureMoments(network, data, Moments.of(batches, D, groups))


def same_bits(a: FeatureMoments, b: FeatureMoments) -> bool:
    return a.sha256 == b.sha256


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_they_are_those_of_all_features_at_once(offset: float) -> None:
    """Also far from zero, where Σ x xᵀ - n μ μᵀ would keep only 4 of 16 digits: 1e-9 are those of the input itself."""
    x = features(1000, 0, offset)
    found = Moments.of(x.split([1, 0, 399, 100, 500]), D, groups=5)
    assert found.count == 1000
    torch.testing.assert_close(found.whole.mean, x.mean(0), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(found.whole.covariance, torch.cov((x - offset).T), rtol=1e-9, atol=1e-9)


def test_shards_merge_in_any_order() -> None:
    """Two of them to the same bits, more up to rounding."""
    x = features(900, 1)
    a, b, c = (moments(part) for part in x.split([500, 300, 100]))
    assert same_bits(a.merged(b), b.merged(a))
    whole = moments(x)
    for merged in (a.merged(b).merged(c), a.merged(b.merged(c)), c.merged(a).merged(b)):
        assert merged.count == 900
        torch.testing.assert_close(merged.moments.whole.mean, whole.moments.whole.mean, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(merged.moments.whole.scatter, whole.moments.whole.scatter, rtol=1e-12, atol=1e-9)


def test_the_same_batches_give_the_same_bits() -> None:
    batches = features(700, 2).split(64)
    assert same_bits(moments(*batches), moments(*batches))
    none = moments()
    assert same_bits(none.merged(moments(*batches)), moments(*batches))


def test_a_vector_belongs_to_the_group_of_its_number_whatever_the_batches() -> None:
    x = features(47, 9)
    for batches in ([47], [1, 2, 44], [13] * 3 + [8]):
        groups = Moments.of(x.split(batches), D, groups=7).groups
        assert groups.count.tolist() == [7] * 5 + [6] * 2
        for g in range(7):
            torch.testing.assert_close(groups.mean[g], x[g::7].mean(0), rtol=0, atol=1e-13)
            torch.testing.assert_close(groups.covariance[g], torch.cov(x[g::7].T), rtol=0, atol=1e-12)


@pytest.mark.parametrize("count", [5, 40, 41])
def test_without_a_group_they_are_those_of_the_rest(count: int) -> None:
    """Of 5 vectors in 8 groups, three groups are empty: there is nothing to leave out of these."""
    x, groups = features(count, 10, 100.0), 8
    left = list(Moments.of([x], D, groups).without_each(3))
    means, covariances = (torch.cat([getattr(part, what) for part in left]) for what in ("mean", "covariance"))
    assert len(means) == min(count, groups)
    for g in range(len(means)):
        rest = x[torch.arange(count) % groups != g]
        torch.testing.assert_close(means[g], rest.mean(0), rtol=0, atol=1e-11)
        torch.testing.assert_close(covariances[g], torch.cov(rest.T), rtol=0, atol=1e-10)


def test_a_million_features_of_64_numbers_need_the_memory_of_one_batch() -> None:
    """Batches made by numpy, whose memory is counted, 50 of 20,000, never more than two alive."""
    alive: list[weakref.ref[Tensor]] = []
    most, size, dimension = 0, 20_000, 64
    block = np.random.default_rng(0).integers(2**15, size=(size, dimension)).astype(np.float32) / 2**15

    def batches() -> Iterator[Tensor]:
        nonlocal most
        for number in range(50):
            batch = torch.from_numpy(block + np.float32(number))
            alive.append(weakref.ref(batch))
            yield batch
            most = max(most, sum(one() is not None for one in alive[-5:]))

    tracemalloc.start()
    found = Moments.of(batches(), dimension)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.count == 1_000_000
    assert len(found.groups.count) == MOST_GROUPS
    assert found.groups.count.tolist() == [3907] * 64 + [3906] * 192
    assert most <= 2
    assert peak < 3 * block.nbytes
    # sums of 15 bits are exact; the blocks differ by whole numbers, so the variance of 0 … 49 is added to a block's
    one, n = torch.from_numpy(block).double(), 1_000_000
    spread = n * (2500 - 1) / 12
    expected = (50 * torch.cov(one.T) * (size - 1) + spread) / (n - 1)
    torch.testing.assert_close(found.whole.mean, one.mean(0) + 24.5, rtol=1e-13, atol=0)
    torch.testing.assert_close(found.whole.covariance, expected, rtol=1e-11, atol=0)


def shard(number: int, folder: str) -> None:
    """In a process of its own: the moments of every second vector, saved."""
    moments(*features(901, 11)[number::2].split(100)).save(Path(folder) / f"{number}.safetensors")


def test_two_processes_give_what_one_does(tmp_path: Path) -> None:
    processes = [get_context("spawn").Process(target=shard, args=(k, str(tmp_path))) for k in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    a, b = (FeatureMoments.load(tmp_path / f"{k}.safetensors") for k in range(2))
    merged, whole = a.merged(b), moments(features(901, 11))
    assert merged.count == whole.count == 901
    for what in ("mean", "scatter"):
        found, expected = getattr(merged.moments.whole, what), getattr(whole.moments.whole, what)
        assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()


def test_the_frechet_distance_of_moments_is_that_of_the_features() -> None:
    a, b = features(400, 3), 1.3 * features(300, 4) + 0.2
    x, y = (Moments.of(part.split(70), D) for part in (a, b))
    assert plug_in_of_moments(x, y) == pytest.approx(plug_in_frechet_distance(a, b), rel=1e-10)
    found, expected = frechet_of_moments(x, y), frechet_distance(a, b)
    for end in ("value", "low", "high"):
        assert getattr(found, end) == pytest.approx(getattr(expected, end), rel=1e-9)


def test_it_agrees_with_the_general_matrix_root() -> None:
    a, b = (Moments.of([x], D) for x in (features(400, 3), 1.3 * features(300, 4) + 0.2))
    root = linalg.sqrtm((a.whole.covariance @ b.whole.covariance).numpy())
    traces = float(a.whole.covariance.trace() + b.whole.covariance.trace()) - 2 * np.trace(root).real
    expected = float((a.whole.mean - b.whole.mean).square().sum()) + traces
    assert plug_in_of_moments(a, b) == pytest.approx(expected, rel=1e-9)


def test_between_moments_of_two_points_it_has_its_closed_form() -> None:
    """On a line: (difference of means)² + (difference of widths)²; of ±1 and of 3 ± 2 the widths are √2 and 2√2."""
    a, b = (Moments.of([torch.tensor(x)[:, None]], 1) for x in ([-1.0, 1.0], [1.0, 5.0]))
    assert plug_in_of_moments(a, b) == pytest.approx(9 + 2, rel=1e-12)


def found_more() -> FeatureMoments:
    return moments(features(9, 6), network="abc", data="def")


def test_saved_and_loaded_they_are_the_same(tmp_path: Path) -> None:
    kept = moments(features(50, 5), network="abc", data="def")
    kept.save(tmp_path / "reference.safetensors")
    found = FeatureMoments.load(tmp_path / "reference.safetensors")
    assert same_bits(found, kept)
    assert (found.network_sha256, found.data_fingerprint, found.count) == ("abc", "def", 50)
    assert same_bits(found.merged(found_more()), kept.merged(found_more()))


def test_a_changed_or_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "reference.safetensors"
    moments(features(50, 5)).save(path)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(SumiError, match="not those that were saved"):
        FeatureMoments.load(path)
    path.write_bytes(b"no tensors")
    with pytest.raises(InputError, match="cannot be read"):
        FeatureMoments.load(path)
    save_file({"mean": torch.zeros(3)}, path)
    with pytest.raises(InputError, match="no moments of features"):
        FeatureMoments.load(path)


def test_only_one_feature_space_compares_and_only_one_data_set_merges() -> None:
    one, other, samples = (moments(features(9, 7), network=n, data=d) for n, d in (("a", "x"), ("b", "x"), ("a", "y")))
    for action in (one.merged, lambda o: moments_frechet_distance(one, o)):
        with pytest.raises(InputError, match="the same network"):
            action(other)
    with pytest.raises(InputError, match="same data"):
        one.merged(samples)
    assert moments_frechet_distance(one, samples).low <= 0
    with pytest.raises(InputError, match="give"):
        one.moments.with_vectors(torch.zeros(4, D + 1))
    with pytest.raises(InputError, match="do not merge"):
        one.moments.merged(moments(features(9, 7), groups=3).moments)
    with pytest.raises(InputError, match="no covariance"):
        _ = moments(features(1, 8)).moments.whole.covariance
    with pytest.raises(InputError, match="too few"):
        frechet_of_moments(one.moments, moments(features(3, 8)).moments)
    with pytest.raises(InputError, match="single group"):
        frechet_of_moments(one.moments, moments(features(9, 8), groups=1).moments)
