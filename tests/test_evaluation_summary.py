"""All at once: known good and known bad "models" get the right figures and the right words."""

import json
from dataclasses import asdict

import pytest
import torch
from torch import Tensor

from sumi.data.config import DataConfig
from sumi.data.load import load
from sumi.errors import InputError
from sumi.evaluation import features
from sumi.evaluation.feature_network import FeatureNetwork
from sumi.evaluation.features import train_classifier, train_rotations
from sumi.evaluation.summary import Evaluation, copies_training_images, evaluate, verdict


@pytest.fixture(scope="module")
def digits() -> dict[str, Tensor]:
    """Real digits in three parts: 1000 to train on, 400 that a perfect model may have drawn, the rest held out."""
    data = load(DataConfig("digits"))
    order = torch.randperm(len(data.images), generator=torch.Generator().manual_seed(0))
    images, labels = torch.from_numpy(data.images)[order].float() / 8 - 1, torch.from_numpy(data.labels)[order]
    return {
        "training": images[:1000],
        "training labels": labels[:1000],
        "perfect": images[1000:1400],
        "perfect labels": labels[1000:1400],
        "held out": images[1400:],
        "held out labels": labels[1400:],
    }


@pytest.fixture(scope="module")
def network(digits: dict[str, Tensor]) -> FeatureNetwork:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "FEWEST_STEPS", 200)
        return train_classifier(digits["training"], digits["training labels"], classes=10, seed=0)


def measured(digits: dict[str, Tensor], network: FeatureNetwork, samples: Tensor) -> Evaluation:
    return evaluate(samples, digits["training"], digits["held out"], network, held_out_labels=digits["held out labels"])


def test_a_perfect_model_is_as_good_as_real(digits: dict[str, Tensor], network: FeatureNetwork) -> None:
    found = measured(digits, network, digits["perfect"])
    for distances in (found.distances, found.real_distances):
        assert distances.kernel.low < 0 <= distances.kernel.high
        assert distances.frechet.low < 0 <= distances.frechet.high
        assert distances.frechet_plug_in > 1  # what the bias does to the usual formula
    assert (found.distances.first, found.distances.second) == (400, 397)
    assert (found.real_distances.first, found.real_distances.second) == (397, 397)
    assert found.clarity.relative is not None
    assert found.clarity.relative.low < 1 < found.clarity.relative.high
    assert found.balance is not None
    assert found.balance.p_value > 0.01
    assert sum(found.balance.real) == 1397
    assert found.held_out_accuracy is not None
    assert found.held_out_accuracy.value > 0.95
    assert not copies_training_images(found)
    assert verdict(found).startswith("The samples cannot be told from the real data with 397 held-out images:")
    assert verdict(found).endswith("no sign of copying.")


def test_a_model_that_copies_is_found_out(digits: dict[str, Tensor], network: FeatureNetwork) -> None:
    """Even where only a tenth of its samples are copies."""
    all_copies = measured(digits, network, digits["training"][:400])
    assert copies_training_images(all_copies)
    assert all_copies.pixel_copying.median_distance == 0
    assert "100 % are near copies of training images, where 1 % would be so" in verdict(all_copies)
    some = measured(digits, network, torch.cat([digits["perfect"][:360], digits["training"][:40]]))
    assert copies_training_images(some)
    assert some.pixel_copying.counted >= 40


def test_worse_samples_get_worse_figures_and_words(digits: dict[str, Tensor], network: FeatureNetwork) -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(digits["perfect"].shape, generator=generator)
    found = [
        measured(digits, network, (digits["perfect"] + strength * noise).clamp(-1, 1)) for strength in (0, 0.5, 1, 4)
    ]
    kernel = [e.distances.kernel.value for e in found]
    frechet = [e.distances.frechet.value for e in found]
    clear = [e.clarity.samples.value for e in found]
    assert kernel == sorted(kernel)
    assert frechet == sorted(frechet)
    assert clear == sorted(clear, reverse=True)
    assert found[-1].distances.kernel.low > found[0].distances.kernel.high
    assert "are far from the real data" in verdict(found[-1])
    assert not any(map(copies_training_images, found))


def test_missing_classes_are_named(digits: dict[str, Tensor], network: FeatureNetwork) -> None:
    labels = digits["perfect labels"]
    few = measured(digits, network, digits["perfect"][(labels != 3) & (labels != 7)])
    assert few.balance is not None
    assert verdict(few).endswith("Missing among the samples: class 3, 7.") == (few.balance.missing == (3, 7))
    only = measured(digits, network, digits["perfect"][labels == 0])
    assert verdict(only).endswith("of 10 classes are missing among the samples.")
    rare = measured(digits, network, digits["perfect"][(labels < 5) | (torch.arange(400) % 5 == 0)])
    assert "The shares of the classes differ from the real ones by" in verdict(rare)


def test_data_without_labels_are_measured_too(digits: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "MOST_STEPS", 100)
    monkeypatch.setattr(features, "FEWEST_STEPS", 100)
    network = train_rotations(digits["training"], seed=0)
    found = evaluate(digits["perfect"], digits["training"], digits["held out"], network)
    assert found.balance is None
    assert found.held_out_accuracy is None
    assert "a network is sure which way up" in verdict(found)
    assert found.distances.kernel.low < 0 < found.distances.kernel.high


def test_an_evaluation_is_json_and_the_same_every_time(digits: dict[str, Tensor], network: FeatureNetwork) -> None:
    once, again = (measured(digits, network, digits["perfect"][:50]) for _ in range(2))
    assert once == again
    text = json.dumps(asdict(once), allow_nan=False)
    assert json.loads(text)["network_sha256"] == network.sha256


def test_samples_that_do_not_fit_are_refused_by_name(digits: dict[str, Tensor], network: FeatureNetwork) -> None:
    with pytest.raises(InputError, match=r"^samples of shape"):
        measured(digits, network, torch.zeros(10, 1, 9, 9))
    with pytest.raises(InputError, match=r"^samples: 3 are too few"):
        measured(digits, network, torch.zeros(3, 1, 8, 8))
    with pytest.raises(InputError, match=r"^samples: some pixels are NaN"):
        measured(digits, network, torch.full((10, 1, 8, 8), torch.nan))
