"""Augmented pictures: they are where the numbers say, and samples know nothing of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sumi import recipes
from sumi.boundary.settings import override
from sumi.conditioning.augmentation import (
    AUGMENTATION,
    AugmentationConditioner,
    AugmentationConditioning,
    matrix,
    warped,
)
from sumi.data.batch import Batch, batch_of
from sumi.data.config import DataConfig
from sumi.data.image_set import ImageDataset
from sumi.data.load import load
from sumi.errors import InputError
from sumi.models.run import load as load_run
from sumi.training_run import train
from tests.interrupted import Crash, crash, in_step
from tests.small_runs import assert_same, config_of, state_of

ITEMS = ("conditioning=augmentation", "conditioning.share=0.5", "training.steps=6", "training.checkpoint_every=2")


def numbers(**given: float) -> Tensor:
    """Nine of them, nothing being done but what is given."""
    names = ("mirrored", "upside_down", "size", "cos", "sin", "along", "across", "right", "down")
    return torch.tensor([[given.get(name, 0.0) for name in names]], dtype=torch.float64)


def bump(x: float, y: float, height: int = 64, width: int = 96, long: float = 2.0, wide: float = 2.0) -> Tensor:
    """A Gaussian about a place in pixels from the middle, right and down, of such deviations in x and y."""
    down, right = torch.meshgrid(
        torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2, indexing="ij"
    )
    return torch.exp(-((right - x) ** 2) / (2 * long**2) - (down - y) ** 2 / (2 * wide**2))[None, None].double()


def moments(picture: Tensor, x: float = 0.0, y: float = 0.0) -> tuple[float, float, Tensor]:
    """Mean right and down of the spot within 12 pixels of a place, and its covariance; mirror images lie outside."""
    height, width = picture.shape[2:]
    down, right = torch.meshgrid(
        torch.arange(height) - (height - 1) / 2.0, torch.arange(width) - (width - 1) / 2.0, indexing="ij"
    )
    mass = picture[0, 0] * ((right - x).abs().maximum((down - y).abs()) < 12)
    mass = mass / mass.sum()
    places = torch.stack([right.flatten(), down.flatten()]).double()
    mean = places @ mass.flatten()
    apart = places - mean[:, None]
    return float(mean[0]), float(mean[1]), (apart * mass.flatten()) @ apart.T


def after(picture: Tensor, **given: float) -> Tensor:
    return warped(picture, matrix(numbers(**given), picture.shape[3] / picture.shape[2]))


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"mirrored": 1}, (-6, 3)),
        ({"upside_down": 1}, (6, -3)),
        ({"size": 0.5}, (6 * 2**0.5, 3 * 2**0.5)),
        ({"cos": -1.0, "sin": 1.0}, (-3, 6)),  # a quarter from right to down
        ({"cos": 0.5**0.5 - 1, "sin": 0.5**0.5}, (3 * 0.5**0.5, 9 * 0.5**0.5)),
        ({"along": 0.4}, (6 * 2**0.4, 3 * 2**-0.4)),
        ({"along": -0.4}, (6 * 2**-0.4, 3 * 2**0.4)),
        ({"right": 0.125}, (6 + 96 / 8, 3)),
        ({"down": -0.125}, (6, 3 - 64 / 8)),
        ({"mirrored": 1, "cos": -1.0, "sin": 1.0, "right": 0.1}, (-3 + 9.6, -6)),  # in this order
        ({"cos": -1.0, "sin": 1.0, "along": 0.4}, (-3 * 2**0.4, 6 * 2**-0.4)),
        ({"size": -1.0, "down": 0.25}, (3, 1.5 + 16)),
    ],
    ids=str,
)
def test_a_spot_goes_where_the_numbers_say(given: dict[str, float], place: tuple[float, float]) -> None:
    """To a tenth of a pixel, of a picture that is not square; the resampling is of two points a pixel."""
    right, down, _ = moments(after(bump(6, 3), **given), *place)
    assert right == pytest.approx(place[0], abs=0.1)
    assert down == pytest.approx(place[1], abs=0.1)


def test_a_diagonal_stretch_makes_a_round_spot_long() -> None:
    """Along 45 degrees by 2^0.5, and narrower across; resampling widens a spot by less than half a pixel squared."""
    _, _, spread = moments(after(bump(0, 0, long=3, wide=3), across=0.5))
    directions = 0.5**0.5 * torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    along, across = (float(v @ spread @ v) for v in directions)
    assert along == pytest.approx(9 * 2, abs=0.5)
    assert across == pytest.approx(9 / 2, abs=0.5)


def test_nothing_done_is_nearly_the_picture_and_an_edge_is_reflected() -> None:
    picture = bump(6, 3)
    assert float((after(picture) - picture).abs().max()) < 0.02
    flat = torch.full((1, 3, 8, 8), 0.7, dtype=torch.float64)
    assert torch.allclose(after(flat, size=-2.0, right=0.4, cos=-0.5, sin=0.8), flat)


@pytest.fixture(scope="module")
def digits() -> ImageDataset:
    return load(DataConfig("digits"))


def batch(digits: ImageDataset, step: int = 1, count: int = 2000) -> Batch:
    return batch_of(digits, np.arange(count) % len(digits), np.arange(count), step=step, seed=0)


def test_each_is_done_to_its_share_and_the_others_are_untouched(digits: ImageDataset) -> None:
    conditioner = AugmentationConditioner(0.12, 8)
    whole = batch(digits)
    done = conditioner.of_data(whole, whole.x, 0)[AUGMENTATION]
    x = conditioner.augmented(whole, whole.x)
    nothing = (done == 0).all(1)
    assert torch.equal(x[nothing], whole.x[nothing])
    assert not (x[~nothing] == whole.x[~nothing]).flatten(1).all(1)[done[~nothing, 2:].any(1)].any()
    shares = [(done[:, k] != 0).float().mean().item() for k in (2, 3, 5, 7)]
    assert shares == pytest.approx([0.12] * 4, abs=0.03)  # four standard errors
    assert (done[:, :2] == 1).float().mean(0).tolist() == pytest.approx([0.06] * 2, abs=0.022)
    assert float(nothing.float().mean()) == pytest.approx((1 - 0.06) ** 2 * 0.88**4, abs=0.05)
    assert done[done[:, 2] != 0, 2].std().item() == pytest.approx(0.2, rel=0.25)
    assert done[done[:, 7] != 0, 7:].std().item() == pytest.approx(0.125, rel=0.25)
    turned = done[done[:, 3] != 0]
    assert torch.allclose((turned[:, 3] + 1).square() + turned[:, 4].square(), torch.ones(len(turned)))


def test_a_part_of_a_batch_is_augmented_as_the_whole(digits: ImageDataset) -> None:
    conditioner, whole = AugmentationConditioner(0.5, 8), batch(digits, count=12)
    part = batch_of(digits, np.arange(12)[5:9], np.arange(12)[5:9], step=1, seed=0)
    assert torch.allclose(conditioner.augmented(part, part.x), conditioner.augmented(whole, whole.x)[5:9], atol=1e-6)
    other = batch(digits, step=2, count=12)
    assert not torch.equal(*(conditioner.of_data(each, each.x, 0)[AUGMENTATION] for each in (whole, other)))


def test_a_run_sees_augmented_pictures_is_resumed_exactly_and_samples_without(tmp_path: Path, monkeypatch) -> None:
    train(config_of(*ITEMS), out=tmp_path / "whole")
    in_step(monkeypatch, 5, crash)
    with pytest.raises(Crash):
        train(config_of(*ITEMS), out=tmp_path / "run")
    monkeypatch.undo()
    train(config_of(*ITEMS), out=tmp_path / "run", resume=True)
    assert_same(state_of(tmp_path / "run", 6), state_of(tmp_path / "whole", 6))
    weight = state_of(tmp_path / "whole", 6).model["conditioner.augmentation.embedding.weight"]
    assert weight.abs().sum(0).gt(0).all()  # each of the nine numbers has been learned from
    model = load_run(tmp_path / "run")
    made = model.sample(2, steps=2)
    with torch.no_grad():
        model.module.conditioner["augmentation"].embedding.weight.fill_(7.0)
    assert torch.equal(model.sample(2, steps=2), made)  # zeros have no effect


def test_it_is_for_pictures_in_pixels(tmp_path: Path) -> None:
    for share in (0, 1, -0.1):
        with pytest.raises(InputError, match=r"conditioning\.share: .* is not between 0 and 1"):
            AugmentationConditioning(share)
    config = override(recipes.build("score-sde", DataConfig("swiss-roll")), ["conditioning=augmentation"])
    with pytest.raises(InputError, match="augmentation is of pictures, and the data are none"):
        config.build(load(DataConfig("swiss-roll")).spec)
    small = ("autoencoder.steps=1", "training.steps=1", "autoencoder.network.widths=16,16", "network.widths=32,32")
    latent = override(recipes.build("latent", DataConfig("digits")), ["conditioning=augmentation", *small])
    with pytest.raises(InputError, match="augmentation is of pictures, and latents are learned"):
        train(latent, out=tmp_path / "latent")
    train(config_of(*ITEMS, "training.steps=2"), out=tmp_path / "run")
    with pytest.raises(InputError, match="augmentation is for training, and samples have none"):
        load_run(tmp_path / "run").sample(1, condition={"augmentation": 1.0})


def test_what_is_missing_at_a_side_is_the_picture_mirrored_there() -> None:
    x, done = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(1)).double(), torch.zeros(2, 9).double()
    done[1, 7] = 0.25  # a quarter of the width to the right: two pixels
    still, moved = warped(x.expand(2, -1, -1, -1), matrix(done, 1.0))
    torch.testing.assert_close(moved[..., 2:], still[..., :-2])
    torch.testing.assert_close(moved[..., :2], still[..., :2].flip(-1))


def test_the_share_without_any_change_is_what_six_independent_ones_leave() -> None:
    assert AugmentationConditioning(0.12).dropout == pytest.approx(0.88**6)
