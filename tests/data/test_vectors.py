"""Vectors: three sets drawn by a stated rule, a user's array in the user's units, and every file that will not do."""

from dataclasses import replace
from math import log, log2, pi
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sumi.data.builtin.vectors import WIDTH, ring_centres, ring_log_density
from sumi.data.config import DataConfig
from sumi.data.dataset import held_out_fraction
from sumi.data.load import load, load_images, peek
from sumi.data.vectors import VectorDataset, VectorSpec
from sumi.errors import InputError


def vectors(config: DataConfig) -> VectorDataset:
    dataset = load(config)
    assert isinstance(dataset, VectorDataset)
    return dataset


def dataset(count: int = 6, columns: int = 3) -> VectorDataset:
    values = np.random.default_rng(0).normal(size=(count, columns)).astype(np.float32)
    return VectorDataset(values, tuple(f"row/{i}" for i in range(count)))


def saved(folder: Path, array: NDArray) -> DataConfig:
    np.save(folder / "mine.npy", array)
    return DataConfig(str(folder / "mine.npy"))


def one_line(config: DataConfig) -> str:
    """What loading it is refused with."""
    with pytest.raises(InputError) as caught:
        load(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_split_is_by_key_whatever_the_order_and_keeps_each_vector_with_its_key() -> None:
    whole = vectors(DataConfig("swiss-roll"))
    train, held_out = whole.split(0.1)
    assert list(held_out.keys) == [key for key in whole.keys if held_out_fraction(key) < 0.1]
    assert abs(len(held_out) - 1000) < 4 * (10_000 * 0.1 * 0.9) ** 0.5  # four standard deviations of a fair hash
    of_key = dict(zip(whole.keys, whole.values, strict=True))
    for part in (train, held_out):
        assert all((of_key[key] == row).all() for key, row in zip(part.keys, part.values, strict=True))
    turned = replace(whole, values=whole.values[::-1].copy(), keys=whole.keys[::-1])
    assert set(turned.split(0.1)[1].keys) == set(held_out.keys)


def test_rows_that_are_added_move_no_other_row_to_the_other_side(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(300, 2))
    few, many = (set(vectors(saved(tmp_path, rows[:n])).split(0.2)[1].keys) for n in (200, 300))
    assert few == {key for key in many if int(key[4:]) < 200}


def test_the_deviation_is_the_root_of_the_columns_mean_variance() -> None:
    values = np.array([[0, 10], [2, 10], [4, 16]], np.float32)  # variances 8/3 and 8
    assert VectorDataset(values, ("a", "b", "c")).std() == pytest.approx((16 / 3) ** 0.5, rel=1e-12)


def test_the_fingerprint_changes_with_values_units_levels_keys_and_their_order_alone() -> None:
    whole = dataset(2, 2)
    moved = whole.values.copy()
    moved[1, 1] = np.nextafter(moved[1, 1], np.float32(9))
    bits = replace(whole, values=np.sign(whole.values))
    others = [
        replace(whole, values=moved),
        replace(whole, values=whole.values[::-1].copy()),
        replace(whole, keys=("row/0", "row/2")),
        replace(whole, centre=(0.0, 1.0)),
        replace(whole, scale=2.0),
        bits,
        replace(bits, levels=2),
    ]
    assert len({item.fingerprint() for item in (whole, *others)}) == 8
    assert replace(whole, notes=("centred",)).fingerprint() == whole.fingerprint()


def test_a_batch_is_these_vectors_and_its_own_copy() -> None:
    whole = dataset()
    batch = whole.batch(np.array([4, 1]))
    assert batch.dtype == torch.float32
    assert (batch.numpy() == whole.values[[4, 1]]).all()
    batch.zero_()
    assert whole.values[4].all()


def test_the_roll_lies_on_its_spiral_within_its_noise() -> None:
    """Nearest points of (θ cos θ, θ sin θ)/15, 3π/2 ≤ θ ≤ 9π/2: what is left across the curve is N(0, 0.015²)."""
    values = vectors(DataConfig("swiss-roll")).values.astype(np.float64)
    theta = np.linspace(1.5 * pi, 4.5 * pi, 4001)
    curve = torch.from_numpy(theta[:, None] / 15 * np.stack([np.cos(theta), np.sin(theta)], 1))
    away, nearest = torch.cdist(torch.from_numpy(values), curve).min(1)
    inside = (nearest > 20) & (nearest < 3980)  # at its ends the nearest point is the end
    # E d² of N(0, s²) has a standard error of s² √(2/N); the curve is 1/3 of its radius wide of itself, 20 s
    square = float(away[inside].square().mean()) / 0.015**2
    assert abs(square - 1) < 4 * (2 / int(inside.sum())) ** 0.5
    assert float(away.max()) < 5 * 0.015
    # θ is uniform: Kolmogorov's distance from it stays below 1.95/√N in 999 of 1000 sets
    found = np.sort(nearest.numpy() / 4000)
    assert np.abs(found - (np.arange(10_000) + 0.5) / 10_000).max() < 1.95 / 100
    assert np.abs(values).max() < 1.02


def test_the_ring_has_the_density_that_is_stated() -> None:
    """The density is one: it adds up to 1. And the points are its own: the mean of -log p is its entropy.

    The entropy is that of one Gaussian and of the choice among 8, which overlap nowhere (neighbours are 9.6 apart).
    """
    side = torch.linspace(-1.4, 1.4, 561, dtype=torch.float64).numpy()
    lattice = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    log_p = ring_log_density(lattice)
    cell = (side[1] - side[0]) ** 2
    assert np.exp(log_p).sum() * cell == pytest.approx(1, abs=1e-9)

    points = vectors(DataConfig("ring-of-8")).values.astype(np.float64)
    surprise = -ring_log_density(points)
    entropy = log(8) + log(2 * pi * WIDTH**2) + 1
    assert -(np.exp(log_p) * log_p).sum() * cell == pytest.approx(entropy, abs=1e-4)
    assert abs(surprise.mean() - entropy) < 4 * surprise.std() / len(points) ** 0.5


def test_the_ring_has_eight_even_clouds() -> None:
    points = vectors(DataConfig("ring-of-8")).values.astype(np.float64)
    centres = ring_centres()
    assert np.hypot(*centres.T) == pytest.approx(0.75)
    which = np.square(points[:, None] - centres).sum(-1).argmin(1)
    counts = np.bincount(which, minlength=8)
    assert (np.abs(counts - 1250) < 4 * (10_000 * 7 / 64) ** 0.5).all()
    left = points - centres[which]
    assert np.abs(left.mean(0)).max() < 4 * 0.06 / 100
    assert left.std(0) == pytest.approx([0.06, 0.06], abs=4 * 0.06 / (2 * 10_000) ** 0.5)


def test_a_heartbeat_has_five_phases_and_their_entropy() -> None:
    whole = vectors(DataConfig("heartbeat"))
    assert (whole.values.shape, whole.levels, whole.shape) == ((2000, 20), 2, (20,))
    beats, counts = np.unique(whole.values, axis=0, return_counts=True)
    assert {tuple(np.flatnonzero(row == 1)) for row in beats} == {(p, p + 5, p + 10, p + 15) for p in range(5)}
    share = counts / 2000
    # 2 N (log2 5 - entropy) log 2 is χ² with 4 degrees of freedom, which exceeds 18.5 once in a thousand sets
    assert 0 <= 2 * 2000 * log(2) * (log2(5) + (share * np.log2(share)).sum()) < 18.5


def test_built_in_sets_are_the_same_every_time() -> None:
    for name in ("swiss-roll", "ring-of-8", "heartbeat"):
        one, other = vectors(DataConfig(name)), vectors(DataConfig(name))
        assert one.fingerprint() == other.fingerprint()
        assert (one.centre, one.scale) == ((), 1.0)
        assert peek(DataConfig(name)) == one.spec


@pytest.mark.parametrize("kind", [np.float64, np.float32, ">f4", np.float16, np.int32, np.uint8])
def test_an_array_comes_back_in_the_users_units(tmp_path: Path, kind: str | type) -> None:
    """Centred, of deviation 1/2 in the model, and exact to float32 when it is told in its units again."""
    array = (50 + 20 * np.random.default_rng(1).normal(size=(400, 3)) * [1, 0.5, 2]).clip(0, 255).astype(kind)
    whole = vectors(saved(tmp_path, array))
    assert whole.values.mean(0) == pytest.approx(np.zeros(3), abs=1e-6)
    assert whole.std() == pytest.approx(0.5, rel=1e-6)
    spec = VectorSpec(3, whole.levels, whole.centre, whole.scale)
    back = spec.to_units(torch.from_numpy(whole.values))
    rounding = 2**-24 * np.abs(array - np.array(whole.centre))  # of a float32 that is centred
    assert (np.abs(back - array) <= 1.01 * rounding + 1e-12).all()


def test_a_large_offset_costs_no_digits(tmp_path: Path) -> None:
    """Seconds since 1970, within minutes of each other: float32 knows them only to 128."""
    array = 1.7e9 + np.random.default_rng(1).uniform(0, 600, size=(100, 1))
    whole = vectors(saved(tmp_path, array))
    back = VectorSpec(1, None, whole.centre, whole.scale).to_units(torch.from_numpy(whole.values))
    assert np.abs(back - array).max() < 1e-4


def test_numbers_in_a_row_are_vectors_of_one(tmp_path: Path) -> None:
    assert vectors(saved(tmp_path, np.arange(10))).shape == (1,)


def test_bits_are_saved_as_bits_and_points_as_they_are() -> None:
    values = torch.tensor([[0.3, -0.1, -7.0]])
    assert VectorSpec(3, 2).to_units(values).tolist() == [[1, -1, -1]]
    assert VectorSpec(3, None).to_units(values) == pytest.approx(values.numpy())


def test_the_same_rows_in_other_units_are_the_same_rows() -> None:
    whole = replace(dataset(50), centre=(5.0, -2.0, 1.0), scale=3.0)
    other = whole.in_units((4.0, 0.0, 1.5), 2.0)
    x = np.array(whole.centre) + 3 * whole.values.astype(np.float64)
    assert np.array([4, 0, 1.5]) + 2 * other.values == pytest.approx(x, abs=1e-5)
    assert whole.in_units(whole.centre, 3.0) is whole
    assert whole.in_units((), 1.0).values == pytest.approx(x, abs=1e-5)


BROKEN = np.ones((9, 2))
BROKEN[4, 1] = np.nan
REFUSED = {
    "NaN": (BROKEN, "NaN or infinite values in row 4; remove"),
    "infinite": (np.where(np.isnan(BROKEN), -np.inf, BROKEN), "NaN or infinite values in row 4; remove"),
    "strings": (np.array([["a", "b"]]), r"<U1 (1, 2), not numbers of shape (N, D); give"),
    "complex": (np.ones((3, 2), complex), "not numbers of shape (N, D); give"),
    "five axes": (np.ones((3, 2, 2, 2, 2)), "(3, 2, 2, 2, 2), not numbers of shape (N, D); give"),
    "a number": (np.array(3.0), "float64 (), not numbers of shape (N, D); give"),
    "no rows": (np.ones((0, 2)), "(0, 2), not numbers of shape (N, D); give"),
    "no columns": (np.ones((5, 0)), "(5, 0), not numbers of shape (N, D); give"),
    "constant": (np.full((1000, 2), 0.1), "are alike"),  # their mean is not 0.1 in floats
    "one row": (np.ones((1, 2)), "are alike"),
    "too large": (np.array([[1e300], [-1e300]]), "give it in other units"),
    "too small": (np.array([[0.0], [1e-300]]), "give it in other units"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_array_that_will_not_do_is_refused_by_name(tmp_path: Path, case: str) -> None:
    array, why = REFUSED[case]
    message = one_line(saved(tmp_path, array))
    assert message.startswith("data.source: ")
    assert "mine.npy" in message
    assert why in message


def test_a_file_that_is_no_array_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "mine.npy"
    np.save(file, np.array([{"a": 1}]), allow_pickle=True)
    assert "Python objects" in one_line(DataConfig(str(file)))
    np.save(file, np.ones((50, 2)))
    whole = file.read_bytes()
    header = b"\x93NUMPY\x02\x00" + (20_000).to_bytes(4, "little") + b" " * 20_000
    huge = whole.replace(b"(50, 2), }" + b" " * 12, b"(5000000000000000, 2), }"[:22])
    for content in (b"", b"words", whole[:-9], whole[:20], b"PK\x03\x04 no archive", header, huge):
        file.write_bytes(content)
        message = one_line(DataConfig(str(file)))
        assert message.startswith(f"data.source: {file} cannot be read as .npy (")
        assert message.endswith("save it with numpy.save")
    with file.open("wb") as archive:
        np.savez(archive, a=np.ones(3), b=np.ones(3))
    assert "holds a, b; name the array" in one_line(DataConfig(str(file)))


def test_a_file_that_is_missing_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    assert "does not exist" in one_line(DataConfig(str(tmp_path / "none.npy")))
    assert "cannot be read (File name too long)" in one_line(DataConfig("x" * 5000 + ".npy"))
    (tmp_path / "mine.bin").write_bytes(b"12")
    assert "a .npy or .npz, or a .txt or .csv of strings" in one_line(DataConfig(str(tmp_path / "mine.bin")))


@pytest.mark.parametrize("change", [{"size": 8}, {"channels": 1}, {"flip": True}, {"dequantize": True}])
@pytest.mark.parametrize("source", ["swiss-roll", "heartbeat", "mine.npy"])
def test_fields_of_images_are_refused(tmp_path: Path, source: str, change: dict) -> None:
    if source == "mine.npy":
        source = saved(tmp_path, np.arange(10)).source
    message = one_line(replace(DataConfig(source), **change))
    assert message == f"data.{next(iter(change))}: {source} holds vectors, which have none; leave it out"


def test_where_images_are_needed_vectors_are_refused() -> None:
    with pytest.raises(InputError, match="swiss-roll holds vectors, and images are needed here; give"):
        load_images(DataConfig("swiss-roll"))


def test_fields_that_disagree_are_refused() -> None:
    whole = dataset()
    for change, why in (
        ({"values": whole.values.astype(np.float64)}, "float64"),
        ({"values": whole.values[0]}, r"\(3,\) is not float32"),
        ({"values": np.full_like(whole.values, np.nan)}, "NaN"),
        ({"keys": whole.keys[:-1]}, "5 different ones for 6"),
        ({"keys": ("a",) * 6}, "1 different ones for 6"),
        ({"levels": 2}, "levels is 2 for values -1 and 1"),
        ({"levels": 3, "values": np.sign(whole.values)}, "levels is 2"),
        ({"centre": (1.0,)}, "1 numbers for 3 columns"),
        ({"scale": 0.0}, "scale: 0.0"),
        ({"scale": float("nan")}, "scale: nan"),
    ):
        with pytest.raises(InputError, match=why):
            replace(whole, **change)
