"""Generalises, copies or undecided: planted models of each kind, and each reason alone."""

from dataclasses import replace
from math import exp, log

import pytest
import torch

from benchmarks import verdicts
from benchmarks.verdicts import losses
from sumi.evaluation.generalization import LARGEST_GAP, MOST_COPIES, generalization, loss_gap
from sumi.evaluation.images import Evaluation, evaluate
from sumi.metrics.features import learned as features
from sumi.metrics.intervals import Estimate
from sumi.metrics.out_of_range import FAR
from sumi.report.verdict import verdict


@pytest.fixture(scope="module", autouse=True)
def quick_network():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "FEWEST_STEPS", 100)
        patch.setattr(verdicts, "SAMPLES", 200)
        yield


@pytest.mark.parametrize(
    "kind",
    [
        "the true law",
        "20 % copies, moved and noisy",
        "12 samples of the true law",
        "the true law, losses apart",
        "noise",
    ],
)
def test_planted_models_get_their_verdict(kind: str) -> None:
    assert verdicts.judged(kind, 2).verdict == verdicts.CASES[kind][0]


@pytest.fixture(scope="module")
def honest() -> Evaluation:
    world, network = verdicts.data("digits", 4)
    return evaluate(world.of_law(200), world.training, world.held_out, network)


def test_the_headline_says_what_holds_and_why(honest: Evaluation) -> None:
    assert honest.copies is not None
    words = verdict(honest, model=generalization(honest)).headline
    assert words.endswith("% of the samples are copies.")
    assert "The model generalises: at most" in words
    far = replace(honest, closeness=FAR)
    assert (
        "undecided: the samples are too far from real images to tell."
        in verdict(far, model=generalization(far)).headline
    )
    none = replace(honest, copies=None)
    assert "undecided: there are too few images" in verdict(none, model=generalization(none)).headline


def test_an_interval_that_allows_many_copies_decides_nothing(honest: Evaluation) -> None:
    assert honest.copies is not None
    for high, found in ((MOST_COPIES, "generalises"), (MOST_COPIES + 0.01, "undecided")):
        rate = replace(honest.copies.found, rate=Estimate(0.0, -0.1, high))
        changed = replace(honest, copies=replace(honest.copies, found=rate))
        assert generalization(changed).verdict == found


def test_the_gap_is_the_mean_log_ratio_and_its_interval_holds_it() -> None:
    """The losses of 40 pairs of sets of images whose true ratio is 1.3."""
    chance, held = torch.Generator().manual_seed(0), 0
    for seed in range(40):
        gap = loss_gap(losses(1.0, chance, seed), losses(1.3, chance, seed))
        held += gap.low <= log(1.3) <= gap.high
        assert exp(gap.value) == pytest.approx(1.3, rel=0.25)
    assert held >= 37
    same = losses(1.0, chance, 0)
    assert loss_gap(same, same).value == 0


def test_a_gap_counts_only_beyond_chance(honest: Evaluation) -> None:
    chance = torch.Generator().manual_seed(1)
    training = losses(1.0, chance, 0)
    for factor, found in ((exp(LARGEST_GAP), "generalises"), (2.0, "undecided")):
        assert generalization(honest, training, losses(factor, chance, 1)).verdict == found
