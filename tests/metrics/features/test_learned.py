"""Feature networks: they learn real digits, say how well, are the same every time, and treat every image alone."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from sumi.data.config import DataConfig
from sumi.data.load import load
from sumi.errors import InputError, SumiError
from sumi.metrics.features import learned as module
from sumi.metrics.features.learned import train_classifier, train_rotations
from sumi.metrics.features.network import FeatureNetwork


@pytest.fixture(scope="module")
def digits() -> dict[str, tuple[Tensor, Tensor]]:
    """Training and held-out images (N, 1, 8, 8) in [-1, 1] with labels (N,)."""
    parts = dict(zip(("training", "held out"), load(DataConfig("digits")).split(0.1), strict=True))
    return {
        name: (torch.from_numpy(part.images).float() / 8 - 1, torch.from_numpy(part.labels))
        for name, part in parts.items()
    }


@pytest.fixture(scope="module")
def network(digits: dict[str, tuple[Tensor, Tensor]]) -> FeatureNetwork:
    """In half of the steps that it would get."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "FEWEST_STEPS", 200)
        return train_classifier(*digits["training"], classes=10, seed=0)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three steps of training, where only the way matters."""
    monkeypatch.setattr(module, "FEWEST_STEPS", 3)
    monkeypatch.setattr(module, "MOST_STEPS", 3)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_real_digits_are_distinguished(network: FeatureNetwork, digits: dict[str, tuple[Tensor, Tensor]]) -> None:
    images, labels = digits["held out"]
    right = (network.probabilities(images).argmax(1) == labels).double().mean()
    assert right >= 0.97
    # its own figure, from other images of the training set: 160 each, so within 3 % of one another
    assert network.facts.accuracy == pytest.approx(float(right), abs=0.03)
    assert network.facts.checked == len(digits["training"][0]) // 10


def test_digits_without_labels_are_set_upright(
    digits: dict[str, tuple[Tensor, Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some digits turn into themselves or into another (0, 1, 8; 6 and 9), so not all can be right."""
    monkeypatch.setattr(module, "MOST_STEPS", 220)  # half of what they would get
    found = train_rotations(digits["training"][0], seed=0)
    assert found.facts.task == "rotations"
    assert found.facts.accuracy > 0.8
    held_out = digits["held out"][0]
    for turn in range(4):
        assert (found.probabilities(held_out.rot90(turn, (2, 3))).argmax(1) == turn).double().mean() > 0.75


def test_features_are_centred_and_of_unit_variance_on_average(
    network: FeatureNetwork, digits: dict[str, tuple[Tensor, Tensor]]
) -> None:
    """Over the nine tenths of the training images it learned from; 5 % for the rest."""
    found = network.features(digits["training"][0])
    assert found.dtype == torch.float64
    assert found.mean(0).abs().max() < 0.05
    assert found.var(0).mean() == pytest.approx(1, abs=0.05)


def test_an_image_has_the_same_features_in_any_company(network: FeatureNetwork) -> None:
    """Up to float32 rounding, about 1e-6 of values near 1."""
    images = noise(40, 1, 8, 8)
    together = network.features(images)
    alone = torch.cat([network.features(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=0, atol=2e-5)
    rows = network.probabilities(images)
    torch.testing.assert_close(rows.sum(1), torch.ones(40, dtype=torch.float64))


@pytest.mark.usefixtures("short")
def test_the_same_seed_gives_the_same_network_and_leaves_global_randomness_alone() -> None:
    images, labels = noise(40, 1, 8, 8), torch.arange(40) % 4
    before = torch.get_rng_state()
    first = train_classifier(images, labels, classes=4, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    again = train_classifier(images, labels, classes=4, seed=1)
    other = train_classifier(images, labels, classes=4, seed=2)
    assert first.sha256 == again.sha256 != other.sha256
    assert torch.equal(first.features(images), again.features(images))


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    "shape", [(1, 4, 4), (1, 8, 8), (3, 17, 17), (3, 20, 28), (4, 32, 24), (3, 128, 100), (3, 300, 260)]
)
def test_any_size_and_number_of_channels_will_do(shape: tuple[int, int, int]) -> None:
    seen: list[tuple[int, int]] = []
    images = noise(12, *shape)
    found = train_rotations(images, seed=0, progress=lambda done, total: seen.append((done, total)))
    assert found.features(images).shape == (12, 64)
    assert found.probabilities(images).shape == (12, 4)
    assert found.facts.side == min(shape[1:])
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_shifts_move_whole_images_by_a_pixel_or_so() -> None:
    images = noise(60, 2, 9, 8)
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1), mode="replicate")
    places = set()
    for image, around in zip(module._shifted(images, torch.Generator().manual_seed(0)), padded, strict=True):
        found = [(y, x) for y in range(3) for x in range(3) if torch.equal(image, around[:, y : y + 9, x : x + 8])]
        assert len(found) == 1
        places.add(found[0])
    assert len(places) == 9


@pytest.mark.usefixtures("short")
def test_a_network_kept_in_a_file_is_the_same_network(tmp_path: Path) -> None:
    images = noise(20, 3, 12, 12)
    network = train_rotations(images, seed=0)
    file = tmp_path / "features.safetensors"
    network.save(file)
    loaded = FeatureNetwork.load(file)
    assert loaded.facts == network.facts
    assert loaded.sha256 == network.sha256
    assert torch.equal(loaded.features(images), network.features(images))


@pytest.mark.usefixtures("short")
def test_a_damaged_file_is_not_taken_for_a_network(tmp_path: Path) -> None:
    file = tmp_path / "features.safetensors"
    train_rotations(noise(20, 1, 8, 8), seed=0).save(file)
    whole = file.read_bytes()
    file.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
    with pytest.raises(SumiError, match="not those that were saved"):
        FeatureNetwork.load(file)
    file.write_bytes(whole[:-100])
    with pytest.raises(InputError, match="not a readable"):
        FeatureNetwork.load(file)
    with pytest.raises(InputError, match="not a readable"):
        FeatureNetwork.load(tmp_path / "missing")


@pytest.mark.usefixtures("short")
def test_what_does_not_fit_is_refused_in_words() -> None:
    images = noise(20, 1, 8, 8)
    with pytest.raises(InputError, match="give labels in 0 to 2"):
        train_classifier(images, torch.arange(20) % 4, classes=3, seed=0)
    with pytest.raises(InputError, match="one per image"):
        train_classifier(images, torch.zeros(3, dtype=torch.int64), classes=3, seed=0)
    with pytest.raises(InputError, match="too few"):
        train_rotations(images[:9], seed=0)
    with pytest.raises(InputError, match="floats"):
        train_rotations(images.byte(), seed=0)
    with pytest.raises(InputError, match="channels"):
        train_rotations(images, seed=0).features(noise(5, 3, 8, 8))
