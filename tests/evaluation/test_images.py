"""All at once: known good and known bad "models" get the right figures and the right words."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sumi.data.config import DataConfig
from sumi.data.load import load
from sumi.errors import InputError
from sumi.evaluation import measures as next_to_real
from sumi.evaluation.images import Evaluation, copies_training_images, evaluate
from sumi.metrics.features import learned as features
from sumi.metrics.features.learned import train_classifier, train_rotations
from sumi.metrics.features.network import FeatureNetwork
from sumi.metrics.features.space import SpaceFacts
from sumi.report.sections import classes, copies_in_words, fine_detail
from sumi.report.tables import by_class, measurements
from sumi.report.verdict import verdict


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
    assert verdict(found).headline == (
        "By kernel distance the samples are indistinguishable from 397 held-out images, and none stands out as a copy."
    )


def test_a_model_that_copies_is_found_out(digits: dict[str, Tensor], network: FeatureNetwork) -> None:
    """Even where only a tenth of its samples are copies."""
    all_copies = measured(digits, network, digits["training"][:400])
    assert copies_training_images(all_copies)
    assert all_copies.copies is not None
    assert all_copies.copies.found.ratios.median_distance == 0
    assert "about 100\N{NO-BREAK SPACE}% are copies of training images" in verdict(all_copies).headline
    some = measured(digits, network, torch.cat([digits["perfect"][:360], digits["training"][:40]]))
    assert copies_training_images(some)
    assert some.copies is not None
    assert some.copies.found.ratios.counted >= 40
    moved = measured(digits, network, torch.cat([digits["perfect"][:360], digits["training"][:40].roll(1, 3)]))
    assert copies_training_images(moved)


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
    assert "are far from real images" in verdict(found[-1]).headline
    assert not any(map(copies_training_images, found))


def test_missing_classes_are_named(digits: dict[str, Tensor], network: FeatureNetwork) -> None:
    labels = digits["perfect labels"]
    few = measured(digits, network, digits["perfect"][(labels != 3) & (labels != 7)])
    assert few.balance is not None
    assert ("class 3 and 7 are missing" in verdict(few).headline) == (few.balance.missing == (3, 7))
    only = measured(digits, network, digits["perfect"][labels == 0])
    assert "of 10 classes are missing" in verdict(only).headline
    rare = measured(digits, network, digits["perfect"][(labels < 5) | (torch.arange(400) % 5 == 0)])
    assert "the shares of the classes differ" in verdict(rare).headline


def test_samples_of_one_kind_vary_less_than_real_images(digits: dict[str, Tensor], network: FeatureNetwork) -> None:
    """One image with a little noise: neither recall nor coverage nor the score needs the shares of classes to tell."""
    noise = 0.1 * torch.randn((200, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    mode = (digits["perfect"][:1] + noise).clamp(-1, 1)
    found = measured(digits, network, mode)
    assert found.variety is not None
    assert found.variety.samples.recall.high < 0.2 < 0.8 < found.variety.real.recall.low
    assert found.variety.samples.coverage.high < 0.2 < 0.8 < found.variety.real.coverage.low
    assert found.inception_score is not None
    assert found.inception_score.samples.score.high < 1.5 < 8 < found.inception_score.real.score.value
    assert "they are less diverse" in verdict(replace(found, balance=None)).headline
    perfect = measured(digits, network, digits["perfect"])
    assert perfect.variety is not None
    assert perfect.variety.samples.coverage.value == pytest.approx(perfect.variety.samples.expected_coverage, abs=0.02)
    assert perfect.variety.samples.recall.high > perfect.variety.real.recall.low
    assert (perfect.variety.samples.samples, perfect.variety.real.samples, perfect.variety.real.real) == (400, 400, 397)
    assert "vary" not in verdict(perfect).headline


def test_precision_and_density_of_samples_far_from_all_real_ones_are_left_out_with_the_reason(
    digits: dict[str, Tensor], network: FeatureNetwork
) -> None:
    """Noise is outside of the range of digits; one digit over and over is far from all of them together."""
    noise = torch.randn((100, 1, 8, 8), generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    cases = {
        "of the samples are outside of the range of real images": noise,
        "the samples are far from real images by kernel distance": digits["perfect"][:1].repeat(100, 1, 1, 1),
    }
    for reason, samples in cases.items():
        found = measured(digits, network, samples)
        assert found.variety is not None
        assert found.variety.samples.precision is found.variety.samples.density is None
        assert found.variety.real.precision is not None
        assert reason in found.unseen
        assert f"precision and density ({found.unseen})" in found.left_out
        assert json.loads(json.dumps(asdict(found)))["variety"]["samples"]["precision"] is None
        names = " ".join(row[0] for row in measurements(found).rows)
        assert "Precision" not in names
        assert "Density" not in names
        assert "Recall" in names
        assert dict(verdict(found).points)["Precision and density"].endswith("so neither is given.")
    perfect = measured(digits, network, digits["perfect"])
    assert perfect.unseen == ""
    assert perfect.variety is not None
    assert perfect.variety.samples.precision is not None
    assert "Precision and density" not in dict(verdict(perfect).points)


def test_blurred_samples_lack_detail(digits: dict[str, Tensor], network: FeatureNetwork) -> None:
    blurred = F.avg_pool2d(F.pad(digits["perfect"], (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    (section,) = fine_detail(measured(digits, network, blurred))
    assert section.text.startswith("The samples lack fine detail")
    found = measured(digits, network, digits["perfect"])
    assert found.spectra is not None
    for distance in (found.spectra.distance.samples, found.spectra.distance.real):
        assert distance.detail.low < 1 < distance.detail.high
        assert distance.log_distance is not None
        assert distance.log_distance.low <= 0
    (section,) = fine_detail(found)
    assert section.text.startswith("The samples have as much fine detail as real images")


def test_progress_is_reported_to_the_end(digits: dict[str, Tensor], network: FeatureNetwork) -> None:
    """Each part of the work counts up to its own total: features of all images, and each way a copy may be moved."""
    condition: list[tuple[str, int, int]] = []
    samples, more = digits["perfect"][:200], [digits["perfect"][200:300], digits["perfect"][300:]]
    parts = samples, digits["training"], digits["held out"]
    evaluate(*parts, network, more=more, more_count=200, progress=lambda *now: condition.append(now))
    ends = {what: (done, total) for what, done, total in condition}
    looked = 400 + 2 * 397
    assert ends == {
        "computing features": (looked, looked),
        "measuring distances": (3, 3),
        "searching for copies": (18, 18),
    }
    for what in ends:
        done = [now for name, now, _ in condition if name == what]
        assert done == sorted(done)


@pytest.mark.parametrize("disguise", ["none", "moved", "mirrored"])
def test_half_of_the_samples_are_copies(digits: dict[str, Tensor], network: FeatureNetwork, disguise: str) -> None:
    """Found where they were moved too, and mirrored where that is asked for; the closest pairs name their sources."""
    source = digits["training"][100:300]
    changed = {"none": source, "moved": source.roll(1, 3), "mirrored": source.flip(3)}[disguise]
    samples = torch.cat([digits["perfect"][:200], changed])
    parts = samples, digits["training"], digits["held out"]
    copies = evaluate(*parts, network, mirrored=disguise == "mirrored").copies
    assert copies is not None
    assert copies.found.rate.low < 0.5 < copies.found.rate.high
    assert copies.found.rate.low > 0.44  # the standard error is 2.5 %
    assert [(pair.training, pair.ratio) for pair in copies.closest] == [(p.sample - 100, 0) for p in copies.closest]
    if disguise == "none":
        found = evaluate(*parts, network)
        assert copies_in_words(found).startswith("About 50\N{NO-BREAK SPACE}%")
        assert copies_in_words(measured(digits, network, digits["perfect"])).startswith("No copies stand out")
    if disguise == "mirrored":
        missed = evaluate(*parts, network).copies
        assert missed is not None
        assert missed.found.rate.high < 0.4


def test_a_search_for_moved_copies_that_takes_too_long_is_made_in_place(
    digits: dict[str, Tensor], network: FeatureNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(next_to_real, "MOST_WORK", 9 * (100 + 397) * 1000 * 64)
    source = digits["training"][100:200].roll(1, 3)
    reached, beyond = (
        evaluate(samples, digits["training"], digits["held out"], network).copies
        for samples in (source, torch.cat([source, digits["perfect"][:1]]))
    )
    assert reached is not None
    assert beyond is not None
    assert (reached.reach, beyond.reach) == (1, 0)
    assert reached.found.rate.value == 1
    assert beyond.found.rate.value < 0.5


def test_classes_asked_for_are_counted_one_by_one(digits: dict[str, Tensor], network: FeatureNetwork) -> None:
    """Samples asked to be 3 are all of 8: class 3 is missing, and the accuracy of class 3 says so."""
    labels, images = digits["perfect labels"], digits["perfect"].clone()
    images[labels == 3] = images[labels == 8][torch.arange(int((labels == 3).sum())) % int((labels == 8).sum())]
    parts = images, digits["training"], digits["held out"]
    found = evaluate(*parts, network, held_out_labels=digits["held out labels"], sample_labels=labels)
    accuracy = found.class_accuracy
    assert accuracy is not None
    assert accuracy.samples == found.label_accuracy
    assert accuracy.classes[3].samples is not None
    assert accuracy.classes[3].real is not None
    assert accuracy.classes[3].samples.high < 0.3 < 0.8 < accuracy.classes[3].real.value
    row = by_class(accuracy, [f"digit {c}" for c in range(10)]).rows[3]
    assert row[0] == "digit 3"
    assert row[3].startswith("digit 8 (")
    missing = images[network.probabilities(images).argmax(1) != 3]
    (section,) = classes(measured(digits, network, missing), [f"digit {c}" for c in range(10)])
    assert "No sample is classified as digit 3." in section.text
    assert evaluate(*parts, network, sample_labels=labels).class_accuracy is None


def test_with_few_images_what_cannot_be_measured_is_left_out(
    digits: dict[str, Tensor], network: FeatureNetwork
) -> None:
    few = {name: x[:10] for name, x in digits.items()}
    found = measured(few, network, few["perfect"])
    assert found.variety is None
    assert found.copies is None
    assert found.spectra is not None
    assert found.inception_score is not None
    assert [reason.split(" (")[0] for reason in found.left_out] == ["precision and recall", "share of copies"]
    assert "10 images are too few for balls" in found.left_out[0]
    assert "10 images are too few for balls" in measurements(found).caption
    assert verdict(found).headline
    grey = evaluate(few["perfect"], few["training"], torch.zeros(10, 1, 8, 8), network)
    assert grey.spectra is None
    json.dumps(asdict(grey), allow_nan=False)


def test_a_copy_search_among_held_out_images_all_as_near_is_left_out(
    digits: dict[str, Tensor], network: FeatureNetwork
) -> None:
    found = evaluate(digits["perfect"], digits["training"], digits["training"][:40], network)
    assert found.copies is None
    assert "copies do not show in such data" in found.left_out[-1]


def test_data_without_labels_are_measured_too(digits: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "MOST_STEPS", 100)
    monkeypatch.setattr(features, "FEWEST_STEPS", 100)
    network = train_rotations(digits["training"], seed=0)
    found = evaluate(digits["perfect"], digits["training"], digits["held out"], network)
    assert found.balance is None
    assert found.held_out_accuracy is None
    assert found.inception_score is None
    assert found.variety is not None
    assert not found.left_out
    assert "A network trained to detect how images are rotated is confident about" in str(verdict(found))
    assert found.distances.kernel.low < 0 < found.distances.kernel.high


def test_an_evaluation_is_json_and_the_same_every_time(digits: dict[str, Tensor], network: FeatureNetwork) -> None:
    once, again = (measured(digits, network, digits["perfect"][:50]) for _ in range(2))
    assert once == again
    text = json.dumps(asdict(once), allow_nan=False)
    read = json.loads(text)
    assert read["network_sha256"] == network.sha256
    for name in ("variety", "inception_score"):
        assert set(read[name]) == {"samples", "real"}
    assert set(read["variety"]["samples"]) >= {"precision", "recall", "density", "coverage"}
    assert len(read["spectra"]["power"]["real"]["power"]) == 7
    assert set(read["copies"]["found"]["rate"]) == {"value", "low", "high"}
    assert len(read["copies"]["closest"]) == 8


class HostileSpace:
    """Features of 3 numbers of each image, the first of them changed."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        self.space = SpaceFacts("a hostile network", "0" * 64, 3)
        self._change = change

    def features(self, images: Tensor) -> Tensor:
        return self._change(images.flatten(1)[:, 10:13].double())

    def classes_of(self, features: Tensor) -> Tensor | None:
        return None


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        (lambda x: x / 0, "features: some of a hostile network are NaN, infinite or beyond 1e\\+20"),
        (lambda x: torch.full_like(x, torch.nan), "features: some of a hostile network are NaN"),
        (lambda x: (6e4 * (x + 3)).half().double(), "features: some of a hostile network are NaN, infinite"),
        (lambda x: 1e30 * x, "features: some of a hostile network are NaN, infinite or beyond"),
        (lambda x: 0 * x + 3, "features: those of a hostile network are the same for all 397 held-out images"),
    ],
)
def test_features_that_measure_nothing_are_refused_in_one_line(
    change: Callable[[Tensor], Tensor], answer: str, digits: dict[str, Tensor], network: FeatureNetwork
) -> None:
    with pytest.raises(InputError, match=answer) as refused:
        evaluate(digits["perfect"], digits["training"], digits["held out"], network, space=HostileSpace(change))
    assert "\n" not in str(refused.value)


def test_features_of_which_some_are_constant_measure_as_without_these(
    digits: dict[str, Tensor], network: FeatureNetwork
) -> None:
    spaces = [HostileSpace(change) for change in (lambda x: x, lambda x: torch.cat([x, 0 * x[:, :2] + 7], 1))]
    spaces[1].space = SpaceFacts("wider", "1" * 64, 5)
    parts = digits["perfect"], digits["training"], digits["held out"], network
    plain, wider = (evaluate(*parts, space=space) for space in spaces)
    assert wider.distances.frechet.value == pytest.approx(plain.distances.frechet.value, abs=1e-9)
    assert plain.variety == wider.variety


def test_samples_that_do_not_fit_are_refused_by_name(digits: dict[str, Tensor], network: FeatureNetwork) -> None:
    with pytest.raises(InputError, match=r"^samples of shape"):
        measured(digits, network, torch.zeros(10, 1, 9, 9))
    with pytest.raises(InputError, match=r"^samples: 3 are too few"):
        measured(digits, network, torch.zeros(3, 1, 8, 8))
    with pytest.raises(InputError, match=r"^samples: some pixels are NaN"):
        measured(digits, network, torch.full((10, 1, 8, 8), torch.nan))
