"""Moments in one pass: those of all features at once, from any shards in any order, in constant memory."""

import tracemalloc
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy import linalg
from torch import Tensor

from sumi.errors import InputError, SumiError
from sumi.evaluation.frechet import plug_in_frechet_distance
from sumi.evaluation.streaming_moments import FeatureMoments, feature_moments, moments_frechet_distance

D = 8


def features(count: int, seed: int, offset: float = 0.0) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    mixing = torch.randn(D, D, dtype=torch.float64, generator=torch.Generator().manual_seed(99))
    return torch.randn(count, D, dtype=torch.float64, generator=source) @ mixing + offset


def moments(*batches: Tensor, network: str = "network", data: str = "data") -> FeatureMoments:
    return feature_moments(batches, D, network_sha256=network, data_fingerprint=data)


def same_bits(a: FeatureMoments, b: FeatureMoments) -> bool:
    return a.sha256 == b.sha256


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_they_are_those_of_all_features_at_once(offset: float) -> None:
    """Also far from zero, where Σ x xᵀ - n μ μᵀ would keep only 4 of 16 digits: 1e-9 are those of the input itself."""
    x = features(1000, 0, offset)
    found = moments(*x.split([1, 0, 399, 100, 500]))
    assert found.count == 1000
    torch.testing.assert_close(found.mean, x.mean(0), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(found.covariance, torch.cov((x - offset).T), rtol=1e-9, atol=1e-9)


def test_shards_merge_in_any_order() -> None:
    """Two of them to the same bits, more up to rounding."""
    x = features(900, 1)
    a, b, c = (moments(part) for part in x.split([500, 300, 100]))
    assert same_bits(a.merged(b), b.merged(a))
    whole = moments(x)
    for merged in (a.merged(b).merged(c), a.merged(b.merged(c)), c.merged(a).merged(b)):
        assert merged.count == 900
        torch.testing.assert_close(merged.mean, whole.mean, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(merged.scatter, whole.scatter, rtol=1e-12, atol=1e-9)


def test_the_same_batches_give_the_same_bits() -> None:
    batches = features(700, 2).split(64)
    assert same_bits(moments(*batches), moments(*batches))
    none = moments()
    assert same_bits(none.merged(moments(*batches)), moments(*batches))


def test_a_million_samples_need_the_memory_of_one_batch() -> None:
    """Batches made by numpy, whose memory is counted: never more than three are alive, of a thousand."""
    alive: list[weakref.ref[Tensor]] = []
    most = 0
    source = np.random.default_rng(0)

    def batches() -> Iterator[Tensor]:
        nonlocal most
        for _ in range(1000):
            batch = torch.from_numpy(source.standard_normal((1000, D)))
            alive.append(weakref.ref(batch))
            yield batch
            most = max(most, sum(one() is not None for one in alive[-5:]))

    tracemalloc.start()
    found = feature_moments(batches(), D, network_sha256="network", data_fingerprint="data")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.count == 1_000_000
    assert most <= 2
    assert peak < 5 * 1000 * D * 8
    # a standard normal: five standard errors of a mean and of a variance
    torch.testing.assert_close(found.mean, torch.zeros(D, dtype=torch.float64), rtol=0, atol=5e-3)
    torch.testing.assert_close(found.covariance, torch.eye(D, dtype=torch.float64), rtol=0, atol=7.1e-3)


def test_the_frechet_distance_of_moments_is_the_plug_in_one() -> None:
    a, b = features(400, 3), 1.3 * features(300, 4) + 0.2
    found = moments_frechet_distance(moments(*a.split(70)), moments(*b.split(110), data="samples"))
    assert found == pytest.approx(plug_in_frechet_distance(a, b), rel=1e-10)


def test_it_agrees_with_the_general_matrix_root() -> None:
    a, b = moments(features(400, 3)), moments(1.3 * features(300, 4) + 0.2)
    root = linalg.sqrtm((a.covariance @ b.covariance).numpy())
    traces = float(a.covariance.trace() + b.covariance.trace()) - 2 * np.trace(root).real
    expected = float((a.mean - b.mean).square().sum()) + traces
    assert moments_frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_between_moments_of_two_points_it_has_its_closed_form() -> None:
    """On a line: (difference of means)² + (difference of widths)²; of ±1 and of 3 ± 2 the widths are √2 and 2√2."""
    a, b = (
        feature_moments([torch.tensor(x)[:, None]], 1, network_sha256="n", data_fingerprint=name)
        for name, x in (("a", [-1.0, 1.0]), ("b", [1.0, 5.0]))
    )
    assert moments_frechet_distance(a, b) == pytest.approx(9 + 2, rel=1e-12)


def test_saved_and_loaded_they_are_the_same(tmp_path: Path) -> None:
    kept = moments(features(50, 5), network="abc", data="def")
    kept.save(tmp_path / "reference.safetensors")
    found = FeatureMoments.load(tmp_path / "reference.safetensors")
    assert same_bits(found, kept)
    assert (found.network_sha256, found.data_fingerprint, found.count) == ("abc", "def", 50)
    assert same_bits(found.with_features(features(9, 6)), kept.with_features(features(9, 6)))


def test_a_changed_or_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "reference.safetensors"
    moments(features(50, 5)).save(path)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(SumiError, match="not those that were saved"):
        FeatureMoments.load(path)
    path.write_bytes(b"no tensors")
    with pytest.raises(InputError, match="no readable moments"):
        FeatureMoments.load(path)
    save_file({"mean": torch.zeros(3)}, path)
    with pytest.raises(InputError, match="no moments of features"):
        FeatureMoments.load(path)


def test_only_one_feature_space_compares_and_only_one_data_set_merges() -> None:
    one, other, samples = (moments(features(9, 7), network=n, data=d) for n, d in (("a", "x"), ("b", "x"), ("a", "y")))
    for action in (one.merged, lambda o: moments_frechet_distance(one, o)):
        with pytest.raises(InputError, match="one and the same network"):
            action(other)
    with pytest.raises(InputError, match="same data"):
        one.merged(samples)
    assert moments_frechet_distance(one, samples) == pytest.approx(0, abs=1e-9)
    with pytest.raises(InputError, match="give"):
        one.with_features(torch.zeros(4, D + 1))
    with pytest.raises(InputError, match="no covariance"):
        _ = moments(features(1, 8)).covariance
