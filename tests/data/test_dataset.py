"""A data set in memory: its division by the hash of the keys, its fingerprint, and what it says about skipped files."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from sumi.data.dataset import Skipped, held_out_fraction
from sumi.data.image_set import ImageDataset
from sumi.errors import InputError


def dataset(keys: list[str]) -> ImageDataset:
    """One 2x2 grey image a key, whose pixels, label and caption tell which item it is."""
    count = len(keys)
    numbers = np.arange(count)
    return ImageDataset(
        images=np.broadcast_to(numbers[:, None, None, None] % 256, (count, 1, 2, 2)).astype(np.uint8),
        labels=numbers % 3,
        label_names=("a", "b", "c"),
        captions=tuple(f"caption of {key}" for key in keys),
        keys=tuple(keys),
    )


def test_the_fraction_of_a_key_is_its_sha256() -> None:
    # The digests begin with 7f071235…, 5a68bc81… and a8ea7efb… (printf '%s' KEY | sha256sum).
    assert held_out_fraction("a.png") == pytest.approx(0x7F071235805FBF58 / 2**64, abs=2**-53)
    assert held_out_fraction("train/00000") == pytest.approx(0x5A68BC815D6762BC / 2**64, abs=2**-53)
    assert held_out_fraction("rosé/b.jpg") == pytest.approx(0xA8EA7EFB678FF631 / 2**64, abs=2**-53)


def test_the_division_is_the_hash_rule_complete_disjoint_and_in_order() -> None:
    whole = dataset([f"train/{i:05d}" for i in range(1000)])
    train, held_out = whole.split(0.2)

    expected = [key for key in whole.keys if int(hashlib.sha256(key.encode()).hexdigest()[:16], 16) < 0.2 * 2**64]
    assert list(held_out.keys) == expected
    assert list(train.keys) == [key for key in whole.keys if key not in set(expected)]
    assert abs(len(held_out) - 200) < 4 * (1000 * 0.2 * 0.8) ** 0.5  # four standard deviations of a fair hash
    for part in (train, held_out):
        indices = [int(key[6:]) for key in part.keys]
        assert (part.images == whole.images[indices]).all()
        assert part.labels is not None
        assert part.labels.tolist() == [i % 3 for i in indices]
        assert part.captions == tuple(f"caption of {key}" for key in part.keys)


def test_adding_files_or_holding_out_more_moves_no_item_back() -> None:
    keys = [f"{i}.png" for i in range(200)]
    few, many = set(dataset(keys[::2]).split(0.1)[1].keys), set(dataset(keys).split(0.1)[1].keys)
    assert few == many & set(keys[::2])
    assert many < set(dataset(keys).split(0.3)[1].keys)


@pytest.mark.parametrize("share", [1e-9, 1 - 1e-9])
@pytest.mark.parametrize("count", [2, 3, 10])
def test_neither_side_of_a_tiny_set_is_empty(count: int, share: float) -> None:
    whole = dataset([f"{i}.png" for i in range(count)])
    train, held_out = whole.split(share)
    by_fraction = sorted(whole.keys, key=held_out_fraction)

    if share < 0.5:
        assert held_out.keys == (by_fraction[0],)
    else:
        assert train.keys == (by_fraction[-1],)
    assert len(train) + len(held_out) == count


def test_what_cannot_be_divided_is_refused() -> None:
    with pytest.raises(InputError, match="at least 2 are needed"):
        dataset(["a.png"]).split(0.1)
    for share in (0.0, 1.0, -0.5, float("nan")):
        with pytest.raises(InputError, match=r"data\.held_out"):
            dataset(["a.png", "b.png"]).split(share)


def test_the_fingerprint_changes_with_pixels_labels_levels_and_shape_alone() -> None:
    whole = dataset(["a.png", "b.png", "c.png"])
    assert whole.labels is not None
    pixels, labels = whole.images.copy(), whole.labels.copy()
    pixels[1, 0, 0, 1] ^= 1
    labels[2] = 0
    others = [
        replace(whole, images=pixels),
        replace(whole, labels=labels),
        replace(whole, labels=None, label_names=()),
        replace(whole, levels=17),
        replace(whole, images=whole.images.reshape(3, 1, 4, 1)),
    ]
    same = replace(whole, notes=("resized",), skipped=(Skipped("d.png", "broken"),), captions=None)

    assert len({item.fingerprint() for item in [whole, *others]}) == 6
    assert same.fingerprint() == whole.fingerprint()
    assert whole.subset([0, 1, 2]).fingerprint() == whole.fingerprint()
    assert whole.subset([2, 1, 0]).fingerprint() != whole.fingerprint()


def test_the_report_counts_and_names_what_was_skipped() -> None:
    whole = dataset(["a.png", "b.png"])
    assert whole.skipped_report() == ()
    broken = replace(whole, skipped=tuple(Skipped(f"{i}.jpg", "is truncated") for i in range(3)))
    assert broken.skipped_report() == (
        "used 2 of 5 files; skipped 3:",
        "  0.jpg: is truncated",
        "  1.jpg: is truncated",
        "  2.jpg: is truncated",
    )
    assert broken.skipped_report(limit=1)[1:] == ("  0.jpg: is truncated", "  and 2 more")
    assert broken.split(0.5)[0].skipped == ()


def test_fields_that_disagree_are_refused() -> None:
    whole = dataset(["a.png", "b.png"])
    images = whole.images
    with pytest.raises(InputError, match=r"images: float64 .* is not uint8"):
        replace(whole, images=np.divide(images, 2))
    with pytest.raises(InputError, match="above the 17 levels"):
        replace(whole, images=np.full_like(images, 17), levels=17)
    with pytest.raises(InputError, match="1 different ones for 2 images"):
        replace(whole, keys=("a.png", "a.png"))
    with pytest.raises(InputError, match="captions: 1 for 2 images"):
        replace(whole, captions=("one",))
    with pytest.raises(InputError, match="come together"):
        replace(whole, label_names=())
    with pytest.raises(InputError, match=r"outside 0\.\.2"):
        replace(whole, labels=np.array([0, 3]))
    with pytest.raises(InputError, match=r"shape \(1,\) for 2 images"):
        replace(whole, labels=np.array([0]))
