"""Copies among images are found, and images that are only alike are not."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sumi.data.config import DataConfig
from sumi.data.load import load
from sumi.metrics import duplicates
from sumi.metrics.duplicates import CERTAIN, NEAR, Pair, thumbnails


def found(x: Tensor) -> list[Pair]:
    return duplicates.duplicates(thumbnails(x), lambda i: x[i])


def scenes(count: int, side: int = 32) -> np.ndarray:
    """Smooth random pictures, uint8 (N, side, side, 3)."""
    rng = np.random.default_rng(7)
    small = rng.integers(0, 256, (count, 5, 5, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(s).resize((side, side), Image.Resampling.BICUBIC)) for s in small])


def compressed(picture: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=40)
    return np.asarray(Image.open(file))


def resized(picture: np.ndarray) -> np.ndarray:
    smaller = Image.fromarray(picture).resize((13, 13), Image.Resampling.BICUBIC)
    return np.asarray(smaller.resize(picture.shape[:2], Image.Resampling.BICUBIC))


def tensor(pictures: np.ndarray) -> Tensor:
    return torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy()).float() / 127.5 - 1


def test_every_planted_copy_is_found_with_what_was_done_to_it_and_nothing_else() -> None:
    pictures = scenes(60)
    ways = [lambda p: p, compressed, resized, lambda p: p[:, ::-1], lambda p: compressed(p[:, ::-1])]
    planted = np.stack([ways[k % 5](pictures[k]) for k in range(30)])
    pairs = {(p.first, p.second): p for p in found(tensor(np.concatenate([pictures, planted])))}
    assert set(pairs) == {(k, 60 + k) for k in range(30)}
    for k in range(30):
        pair = pairs[k, 60 + k]
        assert pair.same == (k % 5 in (0, 3))
        assert pair.mirrored == (k % 5 in (3, 4))
        assert (pair.distance < 1e-6) == pair.same


def test_the_nearest_pair_is_first_and_exact_ones_before_all() -> None:
    pictures = scenes(40)
    pairs = found(tensor(np.concatenate([pictures, compressed(pictures[3])[None], pictures[9][None]])))
    assert [(p.first, p.second) for p in pairs] == [(9, 41), (3, 40)]


def test_among_images_that_are_all_alike_a_copy_has_to_stand_out() -> None:
    """One picture with a little noise of its own each: no pair, though all are nearer than NEAR; a real copy is one."""
    rng = np.random.default_rng(1)
    base = tensor(scenes(1))
    x = base + torch.from_numpy(rng.normal(0, 0.25, (50, 3, 32, 32))).float()
    apart = (thumbnails(x)[0] - thumbnails(x)[1]).norm() / (thumbnails(x)[0] - thumbnails(x)[0].mean()).norm()
    assert CERTAIN < apart < NEAR
    assert found(x) == []
    (pair,) = found(torch.cat([x, x[7:8] + 0.004]))
    assert (pair.first, pair.second, pair.same) == (7, 50, False)


def test_many_copies_of_one_picture_are_all_pairs() -> None:
    """More than the neighbours that a copy is compared with."""
    pictures = scenes(30)
    assert len(found(tensor(np.concatenate([pictures, np.stack([pictures[0]] * 14)])))) == 15 * 14 / 2


@pytest.mark.parametrize("distance", [0.99, 1.01])
def test_a_pair_is_certain_up_to_the_bound(distance: float) -> None:
    """Of two images alone: the second is the first with a change of known size."""
    x = torch.zeros(1, 1, 16, 16)
    x[..., ::2] = 1.0  # contrast 8 = 0.5 · √256
    change = torch.ones(1, 1, 16, 16) * distance * CERTAIN * 8 / 16
    y = x + change
    pairs = found(torch.cat([x, y, torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))]))
    assert len(pairs) == (distance < 1)


def test_plain_images_of_other_brightness_are_no_pair() -> None:
    """Their contrast is nothing; that of a level is taken."""
    grey = torch.linspace(-1, 1, 30)[:, None, None, None].expand(30, 1, 8, 8)
    assert found(grey) == []
    assert [(p.first, p.second, p.same) for p in found(torch.cat([grey, grey[4:5]]))] == [(4, 30, True)]


def test_blocks_of_pairs_do_not_change_what_is_found(monkeypatch) -> None:
    pictures = scenes(40)
    x = tensor(np.concatenate([pictures, pictures[:6, :, ::-1], pictures[10:16]]))
    whole = found(x)
    monkeypatch.setattr(duplicates, "_BLOCK", 7 * len(x))
    assert found(x) == whole
    assert len(whole) == 12


def test_among_the_built_in_digits_there_are_few_pairs() -> None:
    data = load(DataConfig("digits"))
    x = data.batch(np.arange(len(data)))
    assert len(found(x)) == 4  # of 1797


def test_two_empty_images_with_a_speck_of_one_level_each_are_a_pair() -> None:
    """Their contrast counts as that of a level, not as that of the speck."""
    x = torch.full((3, 3, 16, 16), -1.0)
    x[0, 0, 3, 4] += 2 / 255
    x[1, 1, 9, 9] += 2 / 255
    x[2] = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert [(p.first, p.second, p.same) for p in found(x)] == [(0, 1, False)]
