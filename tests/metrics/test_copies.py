"""Planted copies of pieces of clothing are found and counted; none are found among new ones."""

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.nn import functional as F

from sumi.data.config import DataConfig
from sumi.data.load import load
from sumi.data.pixels import PixelRange
from sumi.errors import InputError
from sumi.metrics import copies as module
from sumi.metrics.copies import Ratios, copy_rate, copy_ratios, copying, count_law, nearest

SOURCE = torch.Generator().manual_seed(0)


def moved(x: Tensor, down: int, right: int) -> Tensor:
    """The edge repeated where something must come in."""
    padded = F.pad(x, (2, 2, 2, 2), mode="replicate")
    return padded[:, :, 2 - down : padded.shape[2] - 2 - down, 2 - right : padded.shape[3] - 2 - right]


def noisy(x: Tensor, strength: float) -> Tensor:
    return (x + strength * torch.randn(x.shape, generator=SOURCE)).clamp(-1, 1)


@pytest.fixture(scope="module")
def fashion() -> dict[str, Tensor]:
    """Training and held-out images in [-1, 1], drawn at random from the built-in ones."""
    images = PixelRange().to_model(load(DataConfig("fashion")).images)
    images = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(1))]
    return {"training": images[:1500], "held out": images[1500:2300]}


@pytest.fixture(scope="module")
def new(fashion: dict[str, Tensor]) -> Ratios:
    return copy_ratios(fashion["held out"], fashion["training"])


@pytest.fixture(scope="module")
def planted(fashion: dict[str, Tensor]) -> dict[str, Ratios]:
    """Copies of the first 60 training images, changed in several ways."""
    x = fashion["training"][:60]
    changed = {
        "exact": x,
        "noisy": noisy(x, 0.1),
        "moved": moved(x, 1, -1),
        "mirrored": x.flip(3),
        "all": noisy(moved(x.flip(3), 0, 1), 0.1),
    }
    return {name: copy_ratios(images, fashion["training"]) for name, images in changed.items()}


def area_under_roc(copies: Tensor, new: Tensor) -> float:
    """How often a copy is nearer than a new image."""
    return float((copies[:, None] < new).double().mean() + (copies[:, None] == new).double().mean() / 2)


def test_copies_are_nearer_than_new_images_and_their_source_is_found(planted: dict[str, Ratios], new: Ratios) -> None:
    """The area under the ROC curve, the share of copies found where 1 % of new images would be, and the source."""
    for name, ratios in planted.items():
        assert area_under_roc(ratios.ratio, new.ratio) > 0.999, name
        assert (ratios.ratio <= new.ratio.quantile(0.01)).double().mean() >= 0.95, name
        assert torch.equal(ratios.index, torch.arange(60)), name
    for name in ("exact", "moved", "mirrored"):
        assert planted[name].ratio.max() == 0, name


def test_plain_distances_miss_moved_and_mirrored_copies(fashion: dict[str, Tensor]) -> None:
    x = fashion["training"]
    new = nearest(fashion["held out"], x).distance
    for copies in (moved(x[:60], 1, -1), x[:60].flip(3)):
        assert area_under_roc(nearest(copies, x).distance, new) < 0.7


def test_moved_and_faded_copies_are_not_found(fashion: dict[str, Tensor], new: Ratios) -> None:
    """Copies moved by two pixels, or in half the contrast: under 1 in 5 at 1 % of new images."""
    x = fashion["training"][:60]
    for copies in (moved(x, 2, 2), 0.5 * x - 0.5):
        found = copy_ratios(copies, fashion["training"])
        assert (found.ratio <= new.ratio.quantile(0.01)).double().mean() < 0.2


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_a_known_share_of_copies_lies_within_the_interval(
    share: float, planted: dict[str, Ratios], new: Ratios
) -> None:
    """200 samples against 300 held-out images, both drawn anew, a copy with probability ``share``: 300 times.

    95 % less three standard errors is 0.912; the mean is within a percent.
    """
    copies = torch.cat([ratios.ratio for ratios in planted.values()])
    source = torch.Generator().manual_seed(3)
    found = []
    for _ in range(300):
        count = int((torch.rand(200, generator=source) < share).sum())
        order = torch.randperm(len(new.ratio), generator=source)
        honest, held_out = new.ratio[order[: 200 - count]], new.ratio[order[-300:]]
        some = copies[torch.randint(len(copies), (count,), generator=source)]
        found.append(copy_rate(torch.cat([honest, some]), held_out).rate)
    assert np.mean([e.low <= share <= e.high for e in found]) > 0.912
    assert np.mean([e.value for e in found]) == pytest.approx(share, abs=0.01)
    if share >= 0.1:
        assert min(e.low for e in found) > 0


def test_no_copies_are_found_among_held_out_images(new: Ratios) -> None:
    """400 of them against 400 others, 300 times: the interval reaches zero in 95 % less three standard errors."""
    source = torch.Generator().manual_seed(4)
    orders = [torch.randperm(800, generator=source) for _ in range(300)]
    found = [copy_rate(new.ratio[order[:400]], new.ratio[order[400:]]) for order in orders]
    assert np.mean([c.rate.low <= 0 for c in found]) > 0.912
    assert np.mean([c.rate.value for c in found]) == pytest.approx(0, abs=0.003)
    assert np.mean([c.ratios.p_value < 0.05 for c in found]) < 0.08


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize(
    "values", [(1, 2, 3, 4, 5, 6, 7, 8), (0, 0, 0, 0, 1, 1, 2, 3), (0, 1, 1, 1, 1, 1, 1, 2), (5,) * 8]
)
def test_the_p_value_is_exact_with_equal_distances_too(
    k: int, values: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By all 56 ways to take 3 of 8 pooled values as the samples'; the threshold is the k-th of the 5 others."""
    monkeypatch.setattr(module, "YARDSTICK", k / 6)
    pooled = torch.tensor(values, dtype=torch.float64)
    found = []
    for chosen in combinations(range(8), 3):
        others = [i for i in range(8) if i not in chosen]
        found.append(copying(pooled[list(chosen)], pooled[others]))
    counts = np.array([one.counted for one in found])
    equal = np.unique(values, return_counts=True)[1].tolist()
    assert count_law(equal, 3, k) == pytest.approx(np.bincount(counts, minlength=4) / 56, abs=1e-12)
    for one in found:
        assert one.p_value == pytest.approx((counts >= one.counted).mean(), abs=1e-12)
    assert np.mean([one.p_value <= 0.1 for one in found]) <= 0.1


def test_the_law_of_the_count_is_the_negative_hypergeometric_one_where_no_distances_are_equal() -> None:
    law = count_law([1] * 700, 300, 4)
    assert law == pytest.approx(stats.nhypergeom(700, 300, 4).pmf(np.arange(301)), abs=1e-12)
    assert sum(j * p for j, p in enumerate(law)) / 300 == pytest.approx(4 / 401, rel=1e-9)


def test_the_rate_is_that_of_the_mixture() -> None:
    """100 of 200 samples near, 1 of 99 held-out images: 1 - (1 - 1/2)/(1 - 1/99)."""
    held_out = torch.linspace(0.5, 1, 99, dtype=torch.float64)
    samples = torch.tensor([0.1, 0.9], dtype=torch.float64).repeat(100)
    found = copy_rate(samples, held_out).rate
    assert found.value == pytest.approx(1 - 0.5 / (98 / 99), rel=1e-12)
    assert found.low < found.value < found.high


def test_the_ratio_is_the_distance_over_the_neighbour_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a double loop over places, for images in colour; whatever the size of the blocks."""
    monkeypatch.setattr(module, "BLOCK", 50)
    training, images = (torch.rand(n, 3, 6, 7, generator=SOURCE) for n in (20, 5))

    def apart(x: Tensor, y: Tensor) -> float:
        return float((x - y).double().square().mean().sqrt())

    found = copy_ratios(images, training, reach=0, mirrored=False, neighbours=3)
    for x, index, ratio in zip(images, found.index.tolist(), found.ratio.tolist(), strict=True):
        distances = [apart(x, y) for y in training]
        own = sorted(apart(training[index], y) for j, y in enumerate(training) if j != index)[:3]
        assert index == int(np.argmin(distances))
        assert ratio == pytest.approx(min(distances) / (sum(own) / 3), rel=1e-6)


def test_an_exact_copy_of_an_image_with_many_twins_is_a_copy() -> None:
    training = torch.cat([torch.zeros(5, 1, 8, 8), torch.rand(5, 1, 8, 8, generator=SOURCE)])
    found = copy_ratios(torch.stack([torch.zeros(1, 8, 8), torch.full((1, 8, 8), 0.01)]), training, neighbours=3)
    assert found.ratio.tolist() == [0, torch.inf]


def test_images_that_do_not_fit_are_refused() -> None:
    few = torch.zeros(4, 1, 8, 8)
    with pytest.raises(InputError, match="one size"):
        copy_ratios(few, torch.zeros(20, 1, 8, 9))
    with pytest.raises(InputError, match=r"^neighbours"):
        copy_ratios(few, few)
    with pytest.raises(InputError, match=r"^reach"):
        copy_ratios(few, torch.zeros(20, 1, 8, 8), reach=4)
    alike = torch.ones(9, dtype=torch.float64)
    with pytest.raises(InputError, match="do not show"):
        copy_rate(alike, alike)
