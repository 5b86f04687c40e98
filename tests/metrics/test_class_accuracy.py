"""Do samples show their class: counts, the weights of the classes, and intervals that hold."""

import numpy as np
import pytest
import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.metrics.classes import class_accuracy
from sumi.metrics.intervals import dependent_share, share


def answers(labels: list[int], classes: int) -> Tensor:
    return torch.eye(classes, dtype=torch.float64)[torch.tensor(labels)] * 0.8 + 0.2 / classes


def test_right_answers_are_counted_by_class() -> None:
    requested, taken = [0, 0, 0, 0, 1, 1, 2, 2, 2, 2], [0, 0, 0, 1, 1, 1, 2, 0, 0, 0]
    labels = [0] * 10 + [1] * 10 + [2] * 10
    right = [0] * 9 + [1] + [1] * 10 + [2] * 5 + [1] * 5
    found = class_accuracy(answers(taken, 3), torch.tensor(requested), answers(right, 3), torch.tensor(labels))
    assert found.samples == share(6, 10)
    assert [c.samples for c in found.classes] == [share(3, 4), share(2, 2), share(1, 4)]
    assert [c.real for c in found.classes] == [share(9, 10), share(10, 10), share(5, 10)]
    assert found.taken_for == ((3, 1, 0), (0, 2, 0), (3, 0, 1))
    # weighted like the samples, 4 : 2 : 4, not like the real images
    assert found.real is not None
    assert found.real.value == pytest.approx(0.4 * 0.9 + 0.2 * 1 + 0.4 * 0.5)
    assert found.relative is not None
    assert found.relative.value == pytest.approx(0.6 / 0.76)
    assert found.relative.low < 0.6 / 0.76 < found.relative.high


def test_in_equal_shares_the_real_interval_is_wilsons() -> None:
    labels = [0, 1] * 50
    found = class_accuracy(answers(labels, 2), torch.tensor(labels), answers(labels, 2), torch.tensor(labels))
    assert found.real is not None
    expected = share(100, 100)
    assert (found.real.value, found.real.low) == pytest.approx((1, expected.low), rel=1e-12)


def test_a_hard_class_of_few_real_images_widens_the_interval_of_all() -> None:
    """Of two classes, wanted equally: half of 2 images right, and all of 1000. Σ w² b(1 - b)/n is 1/32."""
    labels, requested = [0, 0] + [1] * 1000, torch.tensor([0, 1] * 2)
    found = class_accuracy(answers([0, 1] * 2, 2), requested, answers([0] + [1] * 1001, 2), torch.tensor(labels))
    assert found.real == dependent_share(0.75, 1 / 32 / (0.75 * 0.25))


def test_classes_without_images_have_no_share() -> None:
    labels, requested = [0, 0, 1, 1], [0, 0, 2, 2]
    found = class_accuracy(answers(requested, 3), torch.tensor(requested), answers(labels, 3), torch.tensor(labels))
    assert (found.real, found.relative) == (None, None)  # class 2 was asked for, and no real image shows it
    assert [c.samples is None for c in found.classes] == [False, True, False]
    assert [c.real is None for c in found.classes] == [False, False, True]
    known = class_accuracy(answers([0] * 4, 3), torch.tensor([0] * 4), answers(labels, 3), torch.tensor(labels))
    assert known.real is not None
    wrong = class_accuracy(answers([0] * 4, 3), torch.tensor([0] * 4), answers([1] * 4, 3), torch.tensor([0] * 4))
    assert wrong.relative is None  # no real image is right


@pytest.mark.parametrize("real", [(0.95, 0.95, 0.95, 0.95), (0.999, 0.9, 0.7, 0.5)])
def test_intervals_hold_the_truth_when_classes_differ_in_size_and_difficulty(real: tuple[float, ...]) -> None:
    """Samples mostly of class 0, real images mostly of class 3. 800 repetitions: 95 % less three standard errors."""
    rng = np.random.default_rng(0)
    made, requested = np.array(real) * 0.9, np.repeat(np.arange(4), [100, 50, 30, 20])
    labels = np.repeat(np.arange(4), [20, 30, 50, 100])
    weights = np.array([0.5, 0.25, 0.15, 0.1])

    def draw(accuracy: np.ndarray, given: np.ndarray) -> tuple[Tensor, Tensor]:
        right = rng.random(len(given)) < accuracy[given]
        return answers(np.where(right, given, (given + 1) % 4).tolist(), 4), torch.from_numpy(given)

    found = [class_accuracy(*draw(made, requested), *draw(np.array(real), labels)) for _ in range(800)]
    truth = float(weights @ np.array(real))
    held = [[c.samples, c.real, c.relative] for c in found]
    shares = np.mean(
        [[e.low <= t <= e.high for e, t in zip(row, (0.9 * truth, truth, 0.9), strict=True)] for row in held], 0
    )
    assert (shares > 0.927).all()


def test_what_does_not_fit_is_refused() -> None:
    good, labels = answers([0, 1, 0, 1], 2), torch.tensor([0, 1, 0, 1])
    with pytest.raises(InputError, match=r"^samples: labels are out of range"):
        class_accuracy(good, labels + 1, good, labels)
    with pytest.raises(InputError, match=r"^real images: labels are out of range"):
        class_accuracy(good, labels, good, labels.double())
    with pytest.raises(InputError, match=r"^real images: probabilities have shape"):
        class_accuracy(good, labels, answers([0, 1, 2, 0], 3), labels)
    with pytest.raises(InputError, match=r"^samples: probabilities have shape"):
        class_accuracy(good, labels[:3], good, labels)
    with pytest.raises(InputError, match="softmax"):
        class_accuracy(good * 2, labels, good, labels)
