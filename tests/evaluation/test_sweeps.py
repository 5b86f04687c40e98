"""Sweeps over sets of real digits with planted changes: the figures are those of an evaluation, the words follow."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sumi.data.builtin import load_digits
from sumi.data.config import DataConfig
from sumi.evaluation.sweep_measures import Copies, Detail, Distance, Measure, Variety
from sumi.evaluation.sweeps import Sweep, sweep
from sumi.figures.charts import swept
from sumi.metrics.copies import copy_rate, copy_ratios
from sumi.metrics.features.network import DIMENSION, FeatureFacts, FeatureNetwork, untrained
from sumi.metrics.frechet import frechet_distance, plug_in_frechet_distance
from sumi.metrics.intervals import Estimate
from sumi.metrics.precision_recall import precision_recall
from sumi.metrics.spectrum import spectral_distance
from sumi.report.page import Section
from sumi.report.sweeps import number_of_steps, randomness


@pytest.fixture(scope="module")
def digits() -> dict[str, Tensor]:
    """To train on, held out, and those that models may draw, in random order and in [-1, 1]."""
    images = torch.from_numpy(load_digits(DataConfig("digits")).images).float() / 8 - 1
    images = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))]
    return {"training": images[:900], "held out": images[900:1100], "new": images[1100:1220]}


@pytest.fixture(scope="module")
def network() -> FeatureNetwork:
    """Random convolutions: they see as much as is needed here."""
    network = untrained(1, 8, 10, torch.Generator().manual_seed(0))
    facts = FeatureFacts("classes", 10, 1, 8, math.nan, 0)
    return FeatureNetwork(network, torch.zeros(DIMENSION).double(), torch.ones(()).double(), facts)


def measures(digits: dict[str, Tensor], network: FeatureNetwork) -> list[Measure]:
    training, held_out = digits["training"], digits["held out"]
    copies = Copies(training, held_out, samples=400, mirrored=False)
    return [
        Distance(network, held_out, training),
        Variety(network, held_out, training, samples=120, seed=3),
        copies,
        Detail(held_out, training, samples=120),
    ]


def smoothed(x: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def test_each_figure_is_that_of_the_measure_alone(digits: dict[str, Tensor], network: FeatureNetwork) -> None:
    """At each value, in its order, of the very samples that were drawn for it."""
    sets = {0.0: digits["new"], 0.5: smoothed(digits["new"]), 1.0: digits["training"][:120]}
    found = sweep(lambda value: sets[value], list(sets), measures(digits, network))
    assert found.values == tuple(sets)
    assert (found.samples, found.left_out) == (120, ())
    held_out = network.features(digits["held out"])
    real = copy_ratios(digits["held out"], digits["training"], mirrored=False).ratio
    for k, samples in enumerate(sets.values()):
        features = network.features(samples)
        variety = precision_recall(features, held_out, seed=3)
        expected = {
            "frechet": frechet_distance(features, held_out),
            "precision": variety.precision,
            "recall": variety.recall,
            "copies": copy_rate(copy_ratios(samples, digits["training"], mirrored=False).ratio, real).rate,
            "detail": spectral_distance(samples, digits["held out"]).detail,
        }
        assert {name: line[k] for name, line in found.lines.items()} == expected
    assert found.lines["copies"][2].value > 0.98
    alike = [network.features(digits["training"][:count]) for count in (200, 120)]  # as many as held out, as samples
    variety = precision_recall(alike[1], held_out, seed=3)
    assert found.real == {
        "frechet": frechet_distance(alike[0], held_out),
        "precision": variety.precision,
        "recall": variety.recall,
        "detail": spectral_distance(digits["training"][:120], digits["held out"]).detail,
    }


def test_sets_are_compared_by_the_same_figures_without_corrections(
    digits: dict[str, Tensor], network: FeatureNetwork
) -> None:
    """The usual Fréchet distance, the share of samples that are near to a training image, and the others as above."""
    samples = torch.cat([digits["training"][:24], smoothed(digits["new"][24:])])
    values: dict[str, float] = {}
    for measure in measures(digits, network):
        kept = measure.kept(samples)
        values |= measure.values(kept)
        for name in {"precision", "recall", "detail"} & values.keys() & measure.estimates(kept).keys():
            assert values[name] == measure.estimates(kept)[name].value
    real, near = (copy_ratios(x, digits["training"], mirrored=False).ratio for x in (digits["held out"], samples))
    assert values["copies"] == copy_rate(near, real).ratios.share
    assert values["frechet"] == plug_in_frechet_distance(
        network.features(samples), network.features(digits["held out"])
    )
    assert values.keys() == {"frechet", "precision", "recall", "copies", "detail"}


@pytest.mark.slow
def test_what_changes_is_reported_and_nothing_else(digits: dict[str, Tensor], network: FeatureNetwork) -> None:
    """A fifth of the samples become copies; all become smoother; all are twelve that look alike; others of the kind."""
    new = digits["new"]
    copied = torch.cat([digits["training"][:24], new[24:]])
    near = (network.features(new) - network.features(new[:1])).square().sum(1).argsort()
    one_kind = new[near[:12]].repeat(10, 1, 1, 1)

    def beyond_chance(last: Tensor) -> set[str]:
        found = sweep(lambda value: last if value == 1 else new, (0, 0.5, 1), measures(digits, network))
        return {name for name, p in found.p_values.items() if p < 0.01}

    assert beyond_chance(copied) == {"copies"}
    assert {"frechet", "detail"} <= beyond_chance(smoothed(new))
    assert {"frechet", "recall"} <= beyond_chance(one_kind)
    assert beyond_chance(torch.cat([new[60:], new[:60]])) == set()


def test_a_measure_that_needs_more_images_is_left_out(digits: dict[str, Tensor], network: FeatureNetwork) -> None:
    found = sweep(lambda _: digits["new"][:20], (0, 1), measures(digits, network))
    assert found.lines.keys() == found.p_values.keys() == {"frechet", "copies", "detail"}
    (reason,) = found.left_out
    assert reason.startswith("precision and recall (20 images are too few")


@pytest.mark.parametrize("far_first", [False, True])
def test_precision_is_left_out_of_a_sweep_with_samples_far_from_real_images(
    far_first: bool, digits: dict[str, Tensor], network: FeatureNetwork
) -> None:
    raw = network.features(digits["training"])
    scaled = FeatureNetwork(network._network, raw.mean(0), raw.var(0).mean().sqrt(), network.facts)
    sets = [-digits["new"], digits["new"]] if far_first else [digits["new"], -digits["new"]]
    found = sweep(lambda value: sets[int(value)], (0, 1), measures(digits, scaled))
    assert found.lines.keys() == found.p_values.keys() == {"frechet", "recall", "copies", "detail"}
    assert "precision" not in found.real
    assert found.left_out == ("precision (some samples are far from real images)",)
    assert found.p_values["frechet"] < 0.01
    kept = found.only({"frechet", "recall"})
    assert kept.lines.keys() == kept.real.keys() == kept.p_values.keys() == {"frechet", "recall"}
    assert kept.lines["recall"] == found.lines["recall"]


def swept_by(values: tuple[float, ...], p: float, **lines: tuple[float, ...]) -> Sweep:
    """Estimates 0.1 to either side."""
    estimates = {name: tuple(Estimate(v, v - 0.1, v + 0.1) for v in line) for name, line in lines.items()}
    return Sweep(values, estimates, {}, dict.fromkeys(lines, p), 300, ())


def plain(section: Section) -> str:
    """Its words, with spaces for no-break spaces."""
    return section.text.replace("\N{NO-BREAK SPACE}", " ")


def test_the_words_name_what_changes_beyond_chance() -> None:
    line = {"frechet": (2.0, 1.0), "precision": (0.9, 0.95), "copies": (0.02, 0.01)}
    changed = swept_by((0.0, 1.0), 0.005, **line)
    assert plain(randomness(changed, steps=50)).startswith(
        "With noise in every step (η = 1) instead of none (η = 0), the Fréchet distance falls from 2.00 to 1.00, "
        "precision rises from 90 % to 95 % and the share of copies falls from 2 % to 1 %."
    )
    some = replace(changed, p_values={"frechet": 0.3, "precision": 0.005, "copies": 0.01})
    assert plain(randomness(some, steps=50)).startswith(
        "With noise in every step (η = 1) instead of none (η = 0), precision rises from 90 % to 95 %. "
        "The change of the Fréchet distance and the share of copies is not significant.\n\nDDIM in 50 steps, 300"
    )
    same = randomness(swept_by((0.0, 1.0), 0.2, **line), steps=50)
    assert same.text.startswith("Noise in every step does not significantly change the Fréchet distance, ")
    (table,) = same.tables
    space = "\N{NO-BREAK SPACE}"
    assert table.header == ("η", "Fréchet distance", "precision", "share of copies")
    assert table.rows[0] == (
        "0",
        f"2.00 [1.90,{space}2.10]",
        f"90.0{space}% [80.0,{space}100.0]",
        f"2.0{space}% [-8.0,{space}12.0]",
    )
    assert table.rows[-1] == ("p", "0.2", "0.2", "0.2")
    compared = replace(changed, real={"precision": Estimate(0.8, 0.7, 0.9)})
    (table,) = randomness(compared, steps=50).tables
    assert table.rows[-2] == ("real images", "", f"80.0{space}% [70.0,{space}90.0]", "")


@pytest.mark.parametrize(
    ("p", "frechet", "detail", "message"),
    [
        (
            0.005,
            (9.0, 3.0, 1.5, 1.2, 1.0),
            (0.8, 0.9, 0.9, 0.9, 0.95),
            "More steps bring the samples closer to real images: the Fréchet distance falls from 9.00 in 5 steps to "
            "1.00 in 100; 50 steps achieve 95 % of that. More steps add fine detail: 80 % of the power of held-out "
            "images in 5 steps, 95 % in 100.",
        ),
        (
            0.005,
            (9.0, 1.2, 8.0, 7.0, 1.0),
            (1.1, 1.1, 1.1, 1.1, 1.0),
            "More steps bring the samples closer to real images: the Fréchet distance falls from 9.00 in 5 steps to "
            "1.00 in 100. More steps remove fine detail, or noise: 110 % of",
        ),
        (
            0.005,
            (1.0, 1.0, 1.0, 1.0, 1.5),
            (0.9, 0.9, 0.9, 0.9, 0.9),
            "More steps move the samples away from real images: the Fréchet distance rises from 1.00 in 5 steps to "
            "1.50 in 100.",
        ),
        (
            0.02,
            (9.0, 3.0, 1.5, 1.2, 1.0),
            (0.8, 0.9, 0.9, 0.9, 0.95),
            "The number of steps does not significantly change the distance to real images: the Fréchet distance "
            "is 9.00 in 5 steps and 1.00 in 100. Fine detail does not change significantly: 80 % of",
        ),
    ],
)
def test_the_words_say_how_many_steps_are_enough(
    p: float, frechet: tuple[float, ...], detail: tuple[float, ...], message: str
) -> None:
    found = swept_by((5, 10, 20, 50, 100), p, frechet=frechet, detail=detail)
    section = number_of_steps(found, solver="adams")
    assert plain(section).startswith(message)
    assert len(section.figures) == 2


def test_a_chart_has_each_value_in_its_place_and_the_real_one_dashed() -> None:
    """Points read from the SVG: at 5, 10 and 20 steps on a logarithmic axis 1, 0.5 and 0.25; real images at 0.5."""
    line = [Estimate(v, v - 0.1, v + 0.2) for v in (1.0, 0.5, 0.25)]
    chart = swept((5, 10, 20), {"a": line}, x="steps", y="", real={"a": 0.5, "b": 3.0}, times=100, logarithmic=True)
    draws = re.findall(r'<path d="([^"]*)" clip-path="[^"]*" style="fill: none; stroke(.*?): var\(--first', chart)
    points, dashed = (np.array(re.findall(r"[ML] (\S+) (\S+)", path), float) for path, _ in draws)
    assert np.ptp(np.diff(points[:, 0])) < 1e-3
    assert points[0, 1] - points[1, 1] == pytest.approx(2 * (points[1, 1] - points[2, 1]), abs=1e-3)
    assert dashed[:, 1] == pytest.approx([points[1, 1]] * 2, abs=1e-3)
    outline = re.findall(r'<path id="[^"]*" d="([^"]*z)\s*"/>', chart)[0]
    height = float(
        re.findall(r'<use [^>]*y="(\S+)" style="fill: var\(--first', chart)[0]
    )  # it is drawn from the bottom
    band = height + np.array(re.findall(r"[ML] (\S+) (\S+)", outline), float)
    unit = points[1, 1] - points[0, 1]  # 0.5, downwards
    assert band[:, 1].min() == pytest.approx(points[0, 1] - 0.4 * unit, abs=1e-3)
    assert band[:, 1].max() == pytest.approx(points[2, 1] + 0.2 * unit, abs=1e-3)
