"""The built-in sets: pixel for pixel what ``ATTRIBUTION.md`` says, in any size and number of channels."""

import hashlib

import numpy as np
import pytest

from sumi.data.config import DataConfig
from sumi.data.load import load


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def test_digits_are_the_1797_of_scikit_learn() -> None:
    digits = load(DataConfig("digits"))

    assert digits.images.shape == (1797, 1, 8, 8)
    assert (digits.levels, int(digits.images.min()), int(digits.images.max())) == (17, 0, 16)
    assert digits.label_names == tuple("0123456789")
    assert digits.labels is not None
    assert np.bincount(digits.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert (digits.keys[0], digits.keys[-1]) == ("digits/00000", "digits/01796")
    assert (digits.skipped, digits.notes, digits.captions) == ((), (), None)
    assert sha256(digits.images) == "8f26b2bd9d135c256808f68f14fdabddde6d9c7f869ae419704b051f0f14b3b3"
    assert sha256(digits.labels) == "a3c91c262eddcf7ba8f0e37507c30284493c9b20412ffe4af30d536401f7ba21"
    assert digits.fingerprint() == "0db05d83a5b3a445e99c877ee785964ca416c241ddb5237161a7d28bcd5f2f8d"


def test_fashion_is_a_balanced_draw_under_the_whole_sets_keys() -> None:
    fashion = load(DataConfig("fashion"))

    assert fashion.images.shape == (12000, 1, 28, 28)
    assert (fashion.levels, int(fashion.images.min()), int(fashion.images.max())) == (256, 0, 255)
    assert (fashion.label_names[0], fashion.label_names[-1]) == ("t-shirt/top", "ankle boot")
    assert fashion.labels is not None
    assert np.bincount(fashion.labels).tolist() == [1200] * 10
    assert fashion.labels[:5].tolist() == [9, 0, 0, 3, 0]  # as the training file begins: a boot, two shirts, a dress …
    assert (fashion.keys[0], fashion.keys[-1]) == ("train/00000", "train/12667")
    assert list(fashion.keys) == sorted(fashion.keys)
    assert sha256(fashion.images) == "13e619eeda219042c38e7dfde755199f21508068fbc3f3eb290bc254c26acaec"
    assert sha256(fashion.labels) == "22aaa73c8ff03c00fdee8dde45fc30634ac635253f3ecdfa20f8024321cf38f7"
    assert fashion.fingerprint() == "f7ee44694af598ff8966566cea887cb83d6b5865a2311fb9185e8e5d57878062"


@pytest.mark.parametrize(("name", "held"), [("digits", 155), ("fashion", 1195)])
def test_the_division_of_a_built_in_set_is_fixed(name: str, held: int) -> None:
    whole = load(DataConfig(name))
    train, held_out = whole.split(0.1)
    assert (len(train), len(held_out)) == (len(whole) - held, held)


def test_a_size_of_their_own_resamples_and_says_so() -> None:
    seen: list[tuple[int, int]] = []
    digits = load(DataConfig("digits", size=16), progress=lambda done, total: seen.append((done, total)))
    plain = load(DataConfig("digits"))

    assert digits.images.shape == (1797, 1, 16, 16)
    assert digits.levels == 256
    assert digits.notes == ("all 1797 images were resized from 8x8 to 16x16, which makes their 17 levels 256",)
    assert seen == [(1000, 1797), (1797, 1797)]
    # Resampling keeps the mean, but for what the filter's overshoot loses where it is clipped to 0..255.
    assert digits.images.mean() == pytest.approx(plain.images.mean() * 255 / 16, rel=0.03)


def test_their_own_size_changes_nothing_and_colour_repeats_the_grey() -> None:
    plain = load(DataConfig("digits"))
    assert load(DataConfig("digits", size=8)).fingerprint() == plain.fingerprint()
    colour = load(DataConfig("digits", channels=3))
    assert colour.images.shape == (1797, 3, 8, 8)
    assert (colour.images == plain.images).all()
    assert colour.levels == 17
