"""What a model is asked for at each scale of each method of guidance; the figures, the chart and the words on them."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sumi.cli.main import main
from sumi.conditioning.condition import Condition
from sumi.errors import InputError
from sumi.evaluation.guidance import SCALES, GuidanceSweep, guidance_sweep, read_scales, trade_off
from sumi.evaluation.sweep_measures import Accuracy
from sumi.evaluation.sweeps import Sweep
from sumi.figures.charts import trade_off as chart
from sumi.metrics.classes import class_accuracy
from sumi.metrics.features import learned as features
from sumi.metrics.frechet import frechet_distance
from sumi.metrics.intervals import Estimate
from sumi.metrics.precision_recall import precision_recall
from sumi.report.evaluate import evaluate
from sumi.report.sweeps import guidance
from sumi.sampling.sampler import Guidance
from tests.tiny_models import class_model, digits_model, drawing, new_classifier, random_features, training_part


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Run folders of three classes: models told them, a worse one, one never without, one told nothing; classifiers."""
    place = tmp_path_factory.mktemp("trade-off")
    class_model(place).save(place / "told")
    class_model(place, "network.embedding=16").save(place / "worse")
    class_model(place, "conditioning.dropout=0", "sampling.guidance=1").save(place / "always")
    class_model(place, recipe="ddpm").save(place / "plain")
    new_classifier(place).save(place / "classifier")
    new_classifier(place, ("cat", "dog", "owl")).save(place / "owls")
    return place


def test_each_method_has_its_own_scale(folder: Path) -> None:
    """Where no guidance is, all methods are the one conditional denoiser; at 0, what is led away from."""
    model = class_model(folder / "told")
    runs = {"classifier": str(folder / "classifier"), "worse": str(folder / "worse")}
    swept = guidance_sweep(model, (3, 0, 1, 3), **runs)
    assert swept.scales == (0, 1, 3)
    assert list(swept.settings) == ["classifier-free", "by a classifier", "autoguidance"]
    assert swept.settings["classifier-free"] == tuple(
        replace(model.config.sampling.guidance, scale=w) for w in (0, 1, 3)
    )
    guided_one, auto = swept.settings["by a classifier"], swept.settings["autoguidance"]
    assert [(one.scale, one.classifier_scale, one.worse) for one in guided_one] == [(1, s, None) for s in (0, 1, 3)]
    assert all(one.classifier is not None for one in guided_one)
    assert [(one.scale, one.classifier) for one in auto] == [(w, None) for w in (0, 1, 3)]
    assert all(one.worse is not None for one in auto)
    message, x = Condition(labels=torch.tensor([1, 1, 2])), torch.randn(3, 1, 8, 8)

    def answers(method: str, k: int) -> Tensor:
        return model.denoiser(message, guidance=swept.settings[method][k])(x, 0.5).clean

    plain = answers("classifier-free", 1)
    assert torch.equal(answers("by a classifier", 0), plain)
    assert torch.equal(answers("autoguidance", 1), plain)
    assert torch.equal(answers("classifier-free", 0), model.denoiser()(x, 0.5).clean)
    worse = class_model(folder, "network.embedding=16").denoiser(message, guidance=1.0)
    assert torch.equal(answers("autoguidance", 0), worse(x, 0.5).clean)
    far = [answers(method, 2) for method in swept.settings]
    assert all(not torch.equal(a, b) for a, b in zip(far, [plain, *far[:2]], strict=True))
    assert list(guidance_sweep(model).settings) == ["classifier-free"]
    assert guidance_sweep(model).scales == SCALES


def test_every_set_is_of_one_noise_and_the_same_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each scale of each method in turn; the figures and those of real images are the measures' own."""
    model = digits_model(tmp_path, "conditioning=labels", "sampling.solver=unipc", "sampling.steps=7")
    images, _, order, held_out = training_part(model)
    known = torch.from_numpy(model.load_images().split(0.1)[1].labels)
    requested, network = drawing(monkeypatch, held_out), random_features()
    labels, condition = torch.arange(60) % 10, list[tuple[str, int, int]]()
    swept = GuidanceSweep(
        (0.0, 2.0),
        {method: tuple(Guidance(w) for w in scales) for method, scales in (("a", (0.0, 2.0)), ("b", (5.0, 7.0)))},
    )
    found = trade_off(
        model,
        swept,
        network,
        images,
        held_out,
        labels=labels,
        held_out_labels=known,
        seed=0,
        progress=lambda *count: condition.append(count),
    )
    assert [one["guidance"] for one in requested] == [Guidance(w) for w in (0, 2, 5, 7)]
    assert {(one["n"], one["seed"]) for one in requested} == {(60, 0)}
    assert all(one["label"] is labels for one in requested)
    assert list(dict.fromkeys(what for what, *_ in condition)) == [
        *("sampling a at 0", "sampling a at 2", "sampling b at 0", "sampling b at 2"),
    ]
    assert (found.solver, found.steps, list(found.methods)) == ("unipc", 7, ["a", "b"])
    of = (held_out[:60], images[order[: len(held_out)]], held_out)
    samples, alike, real = (network.features(x) for x in of)
    for one in found.methods.values():
        assert one.values == (0, 2)
        assert one.p_values == {}
        assert one.lines.keys() == one.real.keys() == {"frechet", "accuracy", "precision", "recall"}
        by_class = class_accuracy(network.probabilities(held_out[:60]), labels, network.probabilities(held_out), known)
        assert one.lines["accuracy"] == (by_class.samples,) * 2
        assert one.real["accuracy"] == by_class.real
        for found_of, frechet, variety in (
            ({name: line[0] for name, line in one.lines.items()}, samples, samples),
            (one.real, alike, alike[:60]),
        ):
            assert found_of["frechet"].value == pytest.approx(frechet_distance(frechet, real).value, abs=1e-4)
            compared = precision_recall(variety, real, seed=0)
            assert found_of["precision"].value == pytest.approx(compared.precision.value)
            assert found_of["recall"].value == pytest.approx(compared.recall.value)


def test_the_accuracy_is_of_each_sample_for_its_own_class() -> None:
    """A third are right of samples asked for otherwise, and pairs of one noise can be exchanged."""
    network, images = random_features(), torch.randn(90, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    taken = network.probabilities(images).argmax(1)
    requested = torch.where(torch.arange(90) % 3 == 0, taken, (taken + 1) % 10)
    measure = Accuracy(network, requested, images, taken)
    kept = measure.kept(images)
    assert kept.tolist() == (torch.arange(90) % 3 == 0).tolist()
    assert measure.values(kept) == {"accuracy": pytest.approx(1 / 3)}
    found = measure.estimates(kept)["accuracy"]
    assert found.value == pytest.approx(1 / 3)
    assert found.low < 1 / 3 < found.high
    missing = next(c for c in range(10) if not bool((taken == c).all()))
    chosen = taken != missing
    none = Accuracy(network, torch.full((90,), missing), images[chosen], taken[chosen])
    assert none.real() == {}


def test_the_report_has_it_next_to_what_real_images_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = digits_model(tmp_path, "conditioning=labels")
    _, _, _, held_out = training_part(model)
    drawing(monkeypatch, held_out)
    monkeypatch.setattr(features, "FEWEST_STEPS", 20)
    found = evaluate(model, n=40, guidance=guidance_sweep(model, (0, 2)))
    page = re.sub(r"<style>.*?</style>|<[^>]*>", " ", found.page.read_text())
    figures = json.loads((found.page.parent / "evaluation.json").read_text())
    assert "What does guidance gain and cost?" in page
    assert "4 steps, 40 images per setting" in page
    assert figures["trade_off"]["steps"] == 4
    sweep = figures["trade_off"]["methods"]["classifier-free"]
    assert sweep["values"] == [0, 2]
    assert sweep["samples"] == 40
    # what real images have is what the rest of the report says
    assert sweep["real"]["frechet"]["value"] == pytest.approx(figures["real_distances"]["frechet"]["value"])
    for name in ("precision", "recall"):
        assert sweep["real"][name]["value"] == pytest.approx(figures["variety"]["real"][name]["value"])
    assert sweep["real"]["accuracy"]["value"] == pytest.approx(figures["class_accuracy"]["real"]["value"])
    file = found.page.parent / "trade-off.png"
    assert file in found.files
    assert Image.open(file).size == (1440, 660)


@pytest.mark.parametrize(
    ("run", "options", "answer"),
    [
        ("plain", ["--trade-off"], "--trade-off: needs a class-conditional model of images; train"),
        (
            "classifier",
            ["--trade-off"],
            "--trade-off: needs a class-conditional model of images; train",
        ),
        ("always", ["--trade-off"], "guidance.scale: 0 needs a model also trained without its condition; give 1"),
        ("told", ["--trade-off", "--scales", "0,strong"], "--scales: 0,strong is not a list of numbers; write 0,1,2,5"),
        ("told", ["--trade-off", "--scales", "1,1"], "--scales: give at least two different numbers from 0 upwards"),
        ("told", ["--trade-off", "--scales=-1,1"], "--scales: give at least two different numbers from 0 upwards"),
        ("told", ["--trade-off", "--scales", "1,inf"], "--scales: give at least two different numbers from 0 upwards"),
        ("told", ["--trade-off", "--classifier", "{}/owls"], "knows other images or classes than the model"),
        ("told", ["--trade-off", "--worse", "{}/told"], "is the model itself; choose a worse run"),
        ("told", ["--scales", "1,2"], "--scales: counts with --trade-off alone; add --trade-off"),
        ("told", ["--worse-checkpoint", "2"], "--worse-checkpoint: counts with --trade-off alone; add --trade-off"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_line(
    folder: Path, run: str, options: list[str], answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [option.replace("{}", str(folder)) for option in options]
    assert main(["evaluate", str(folder / run), *given]) == 2
    (printed,) = capsys.readouterr().err.strip().splitlines()
    assert answer in printed
    assert not (folder / run / "report").exists()


def test_other_classes_and_too_few_images_are_refused_at_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = digits_model(tmp_path, "conditioning=labels")
    requested = drawing(monkeypatch, training_part(model)[3])
    with pytest.raises(
        InputError, match=r"^trade_off: too few images to measure distances: .*, 5 samples; at least 10, 10"
    ):
        evaluate(model, n=5, guidance=guidance_sweep(model))
    three = class_model(folder / "told")  # classes that the digits do not have
    with pytest.raises(InputError, match=r"^trade_off: the images have other classes than the model"):
        evaluate(three, n=40, guidance=guidance_sweep(three))
    assert requested == []
    assert read_scales("0,1.5") == (0, 1.5)


def estimates(*values: float, by: float = 0.02) -> tuple[Estimate, ...]:
    return tuple(Estimate(v, v - by, v + by) for v in values)


REAL = {
    "frechet": Estimate(0.1, -0.1, 0.3),
    "accuracy": Estimate(0.97, 0.9, 0.99),
    "precision": Estimate(0.9, 0.85, 0.95),
    "recall": Estimate(0.8, 0.75, 0.85),
}


def swept(
    frechet: tuple[float, ...], accuracy: tuple[float, ...], precision: tuple[float, ...], recall: tuple[float, ...]
) -> Sweep:
    lines = {
        "frechet": estimates(*frechet, by=0.2),
        "accuracy": estimates(*accuracy),
        "precision": estimates(*precision),
        "recall": estimates(*recall),
    }
    return Sweep((0.0, 1.0, 3.0), lines, REAL, {}, 300, ())


METHODS = {
    "classifier-free": swept((2.0, 0.5, 3.0), (0.1, 0.8, 0.99), (0.7, 0.85, 0.95), (0.8, 0.7, 0.4)),
    "autoguidance": swept((4.0, 0.5, 0.4), (0.6, 0.8, 0.95), (0.5, 0.85, 0.9), (0.6, 0.7, 0.6)),
}


def test_the_words_name_the_best_of_each_and_how_many_do_not_differ_from_it() -> None:
    section, picture = guidance(METHODS, solver="adams", steps=50)
    words = section.text.replace("\N{NO-BREAK SPACE}", " ")
    assert words.startswith(
        "The Fréchet distance is lowest, 0.40, autoguidance at 3 (real images have 0.10 and 2 of the 5 other settings "
        "are statistically as good); class accuracy is highest, 99 %, classifier-free at 3 (real images have 97 % and "
        "1 of the 5 other settings are statistically as good); precision is highest, 95 %, classifier-free at 3 ("
    )
    assert "recall is highest, 80 %, classifier-free at 0 (" in words
    (table,) = section.tables
    assert table.header == ("guidance", "Fréchet distance", "class accuracy", "precision", "recall")
    assert [row[0] for row in table.rows] == [
        *("classifier-free 0", "classifier-free 1", "classifier-free 3"),
        *("autoguidance 0", "autoguidance 1", "autoguidance 3", "real images"),
    ]
    assert table.rows[5][1].startswith("0.40 [0.20,")
    assert table.rows[-1][2].startswith("97.0\N{NO-BREAK SPACE}% [90.0,")
    assert np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))[0, 0].tolist() == [255, 255, 255]
    some = ("frechet", "accuracy")  # too few images for the others
    few = {k: replace(s, lines={name: s.lines[name] for name in some}, real={}) for k, s in METHODS.items()}
    section, _ = guidance(few, solver="adams", steps=50)
    assert section.text.startswith("The Fréchet distance is lowest, 0.40, autoguidance at 3 (2 of the 5 other")
    assert "recall" not in section.text.split("\n")[0]


def test_a_chart_has_each_point_in_its_place_with_its_scale() -> None:
    """Read from the SVG: recall to the right, precision upwards, on one line a method; the scales beside the points."""
    lines = {method: (sweep.values, sweep.lines) for method, sweep in METHODS.items()}
    names = {name: name for name in REAL}
    svg, _ = chart(lines, [("recall", "precision")], names=names, real=REAL)
    draws = [
        np.array(re.findall(r"[ML] (\S+) (\S+)", path), float)
        for path in re.findall(r'<path d="([^"]*)"[^>]*style="fill: none; stroke: var\(--(?!faint)', svg)
    ]
    paths = [path for path in draws if len(path) == 3 and np.ptp(path[:, 1]) > 0]  # those of the legend are level
    assert len(paths) == 2
    unit = (paths[0][0, 0] - paths[0][2, 0]) / 0.4, (paths[0][0, 1] - paths[0][2, 1]) / 0.25
    for path, sweep in zip(paths, METHODS.values(), strict=True):
        for place, x, y in zip(path, sweep.lines["recall"], sweep.lines["precision"], strict=True):
            wanted = paths[0][0] + np.array([(x.value - 0.8) * unit[0], -(y.value - 0.7) * unit[1]])
            np.testing.assert_allclose(place, wanted, atol=1e-3)
    across, upright = [path for path in draws if len(path) == 2][:2]
    reach = 0.02 * np.array(unit)
    np.testing.assert_allclose(across, paths[0][0] + [[-reach[0], 0], [reach[0], 0]], atol=1e-3)
    np.testing.assert_allclose(upright, paths[0][0] + [[0, reach[1]], [0, -reach[1]]], atol=1e-3)
    words = re.findall(r">([^<>]+)</text>", svg)
    assert [words.count(scale) for scale in ("0", "1", "3")] == [2, 1, 2]  # without guidance both are at one place
    assert [words.count(name) for name in ("classifier-free", "autoguidance", "real images")] == [1, 1, 1]


def test_the_axis_of_accuracy_gives_equal_room_to_equally_sure_shares() -> None:
    """arcsin √p: from 90 to 100 % as far as from 34 to 66 %; and 100 % has a place."""
    line = {"accuracy": estimates(0.0, 0.3419, 0.6581, 0.9, 1.0, by=0.0), "frechet": estimates(1, 1, 1, 1, 1)}
    svg, _ = chart({"a": ((0, 1, 2, 3, 4), line)}, [("accuracy", "frechet")], names={n: n for n in REAL}, real={})
    draws = re.findall(r'<path d="([^"]*)"[^>]*style="fill: none; stroke: var\(--first', svg)
    (points,) = (p for p in (np.array(re.findall(r"[ML] (\S+) (\S+)", d), float) for d in draws) if len(p) == 5)
    apart = np.diff(points[:, 0])
    assert apart[3] == pytest.approx(apart[1], rel=1e-3)
    assert apart.sum() == pytest.approx(apart[3] * (np.pi / 2) / (np.pi / 2 - np.arcsin(0.9**0.5)), rel=1e-3)
