"""Classifiers of noised symbols from end to end: training, resuming, what is measured of them, and guidance."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import sumi
from sumi.boundary.settings import override
from sumi.cli.main import main
from sumi.conditioning.condition import Condition
from sumi.data.batch import batch_of
from sumi.data.config import DataConfig
from sumi.data.open import open_data
from sumi.errors import InputError
from sumi.models.symbols.classifier import SymbolClassifierModel
from sumi.models.symbols.model import SymbolModel
from sumi.process.continuous import ConstantErasing
from sumi.process.schedule import noise_level
from sumi.randomness import Purpose, normal, uniform
from sumi.recipes import build

SMALL = [
    *("network.width=32", "network.blocks=1", "network.embedding=32", "network.dropout=0", "training.warmup_steps=0"),
    *("training.batch_size=32", "training.checkpoint_every=2", "data.held_out=0.2"),
]
# the class and the number are in the string: how often "ab" is in it, and whether that is even
ROWS = [("ab" * (i % 4 + 1) + "c" * (i % 3), i % 4, "even" if i % 2 == 0 else "odd") for i in range(240)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "words.csv"
    file.write_text("word,size,kind\n" + "".join(f"{w},{n},{k}\n" for w, n, k in ROWS))
    return file


@pytest.fixture(scope="module")
def model(data: Path) -> SymbolModel:
    """Of the strings alone."""
    settings = [*SMALL, "sampling.steps=10", "sampling.temperature=1", "sampling.corrections=0"]
    return sumi.train("symbols", data=str(data), steps=400, out=data.parent / "run", settings=settings)


@pytest.fixture(scope="module")
def sizes(data: Path) -> SymbolClassifierModel:
    settings = [*SMALL, "values=size", "training.learning_rate=5e-3"]
    return sumi.train("symbol-classifier", data=str(data), steps=300, out=data.parent / "sizes", settings=settings)


@pytest.fixture(scope="module")
def classes(data: Path) -> SymbolClassifierModel:
    settings = [*SMALL, "data.labels=kind", "training.learning_rate=5e-3"]
    return sumi.train("symbol-classifier", data=str(data), steps=300, out=data.parent / "classes", settings=settings)


def sizes_of(texts: list[str]) -> list[int]:
    return [text.count("ab") - 1 for text in texts]


def test_the_loss_is_minus_the_log_probability_at_an_even_share_of_kept_symbols(data: Path) -> None:
    config = override(build("symbol-classifier", DataConfig(str(data))), [*SMALL, "values=size"])
    dataset = open_data(str(data), config.data)
    objective = config.build(dataset.spec)
    objective.fit(dataset)
    torch.nn.init.normal_(objective.model.network.out.weight)
    items = torch.tensor([5, 7, 11, 100]).numpy()
    positions = torch.arange(4).numpy()
    found = objective(batch_of(dataset, items, positions, step=3, seed=9))
    now = noise_level(ConstantErasing(), uniform(9, range(4), 3, Purpose.TRAINING_TIME))
    noise = normal(9, range(4), 3, Purpose.TRAINING_NOISE, dataset.shape)
    x_t = objective.model.process.noised(dataset.batch(items), noise, now)
    asked = Condition(values=torch.tensor([[ROWS[item][1]] for item in items.tolist()]).double())
    torch.testing.assert_close(found, -objective.model.log_probability(x_t, now, asked))
    assert float(objective.model.mean) == pytest.approx(1.5)
    assert float(objective.model.std) == pytest.approx(1.25**0.5)


def test_a_run_is_resumed_bit_for_bit(data: Path, tmp_path: Path) -> None:
    settings = [*SMALL, "values=size", "training.decay=constant"]
    sumi.train("symbol-classifier", data=str(data), steps=4, out=tmp_path / "once", settings=settings)
    sumi.train("symbol-classifier", data=str(data), steps=2, out=tmp_path / "twice", settings=settings)
    sumi.train("symbol-classifier", data=str(data), steps=4, out=tmp_path / "twice", settings=settings, resume=True)
    once, twice = (load_file(tmp_path / run / "checkpoints/00000004/model.safetensors") for run in ("once", "twice"))
    assert once.keys() == twice.keys()
    assert all(torch.equal(once[name], twice[name]) for name in once)
    assert {"mean", "std"} <= {name.split(".")[-1] for name in once}


def test_it_recognises_what_the_symbols_say_and_nothing_of_masks(
    sizes: SymbolClassifierModel, classes: SymbolClassifierModel
) -> None:
    for model, name, guess in ((sizes, "size", 0.0), (classes, "class", 0.5)):
        _, held_out = model.load_data().split(0.2)
        found = model.recognised_by_noise(held_out)
        assert found.kept[0] == 0
        assert found.kept[-1] == 1
        assert found.share[name][0].value == pytest.approx(guess, abs=0.2)
        assert found.share[name][-1].value > 0.9
        assert found.share[name][0].value < found.share[name][4].value < found.share[name][-1].value
        assert found.guess[name] == pytest.approx(guess, abs=0.1)


def test_samples_follow_the_number_and_the_class_that_are_asked_for(
    model: SymbolModel, sizes: SymbolClassifierModel, classes: SymbolClassifierModel
) -> None:
    """A scale of 0 is the model alone, of which a fourth has each number and half are of each class."""
    plain = model.texts(model.sample(60, seed=1))
    for size in (0, 3):
        asked = {"values": {"size": size}}
        found = sizes_of(model.texts(model.sample(60, seed=1, condition=asked, classifier=sizes)))
        assert found.count(size) > 50
        assert sizes_of(plain).count(size) < 25
        unguided = model.sample(60, seed=1, condition=asked, classifier=sizes, classifier_scale=0)
        assert model.texts(unguided) == plain
    each = ["even", "odd"] * 30
    found = sizes_of(model.texts(model.sample(60, seed=3, label=each, classifier=classes, classifier_scale=2)))
    assert (
        sum((size % 2 == 1) == (kind == "odd") for size, kind in zip(found, each, strict=True)) > 42
    )  # chance: 30 ± 3.9
    parts = model.sample(60, seed=3, label=each, classifier=classes, classifier_scale=2, batch_size=7)
    assert sizes_of(model.texts(parts)) == found


def test_the_commands_measure_it_and_guide_by_it(
    model: SymbolModel, sizes: SymbolClassifierModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(sizes.folder)]) == 0
    assert "of the variance of size is predicted" in capsys.readouterr().out
    written = json.loads((sizes.folder / "report/recognised.json").read_text())
    assert written["share"]["size"][-1]["value"] > 0.9
    run, guide, out = str(model.folder), str(sizes.folder), tmp_path / "out"
    ask = ["sample", run, "-n", "4", "--classifier", guide, "--value", "size=3", "--classifier-scale", "1.5"]
    assert main([*ask, "--out", str(out)]) == 0
    lines = (out / "samples.txt").read_text().splitlines()
    asked = {"values": {"size": 3.0}}
    assert lines == model.texts(model.sample(4, condition=asked, classifier=guide, classifier_scale=1.5))
    fill = ["inpaint", run, "ab*", "-n", "3", "--classifier", guide, "--value", "size=0", "--out", str(tmp_path / "in")]
    assert main(fill) == 0
    assert all(line.startswith("ab") for line in (tmp_path / "in/samples.txt").read_text().splitlines())


def test_a_judge_reads_what_samples_were_asked_for(
    data: Path, model: SymbolModel, sizes: SymbolClassifierModel, classes: SymbolClassifierModel, tmp_path: Path
) -> None:
    """Asked for what held-out items are, one after the other; against samples and readings written out."""
    settings = [*SMALL, "sampling.steps=10", "sampling.temperature=1", "sampling.corrections=0"]
    of = {
        "class": ["conditioning=labels", "data.labels=kind"],
        "size": ["conditioning=values", "conditioning.names=size"],
    }
    for judge, (name, conditions) in zip((classes, sizes), of.items(), strict=True):
        run = sumi.train("symbols", data=str(data), steps=60, out=tmp_path / name, settings=[*settings, *conditions])
        (found,) = run.evaluate(n=60, seed=4, judge=judge).evaluation.asked
        held_out = run.load_data().split(0.2)[1]
        items = [i % len(held_out) for i in range(60)]
        numbers = held_out.column("size")[items]
        labels = held_out.labels_of(np.array(items)) if name == "class" else None
        asked = {"label": labels} if name == "class" else {"condition": {"values": {"size": numbers}}}
        every, whole = held_out.column("size"), held_out.batch(np.arange(len(held_out)))
        for x, figure, wanted in (
            (run.sample(60, seed=4, batch_size=256, **asked), found.conditional, numbers),
            (run.sample(60, seed=4, batch_size=256), found.unconditional, numbers),
            (whole, found.real, every),
        ):
            as_class, as_number = judge.read(x)
            if name == "class":
                truth = torch.tensor([0 if size % 2 == 0 else 1 for size in wanted])
                assert figure.value == pytest.approx(float((as_class == truth).double().mean()))
            else:
                missed = (as_number[:, 0] - torch.from_numpy(wanted)).abs().mean()
                assert figure.value == pytest.approx(float(missed))
        assert name == "class" or found.conditional != found.unconditional
        assert "sked for" in (run.folder / "report/report.html").read_text()
        if name == "class":  # the network is given the class, and the classifier the number
            both = {"label": "even", "condition": {"values": {"size": 2}}, "classifier": sizes, "seed": 1}
            assert not torch.equal(run.sample(8, **both), run.sample(8, label="even", seed=1))
            given = list[torch.Tensor]()
            hook = run.module.conditioner["labels"].register_forward_pre_hook(
                lambda _, inputs, given=given: given.append(inputs[0]["labels"])
            )
            run.sample(8, **both)
            hook.remove()
            assert all(torch.equal(labels, torch.zeros(8, dtype=torch.int64)) for labels in given)
            assert given
    with pytest.raises(InputError, match=r"reads nothing that .* can be asked for"):
        model.evaluate(n=20, judge=sizes)
    with pytest.raises(InputError, match="this is for classifiers of noised symbols"):
        model.evaluate(n=20, judge=model.folder)


def test_what_it_does_not_know_is_refused(
    data: Path,
    model: SymbolModel,
    sizes: SymbolClassifierModel,
    classes: SymbolClassifierModel,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = {"values": {"size": 1}}
    with pytest.raises(InputError, match=r"neither .* nor .* knows labels; leave it out"):
        model.sample(2, label="even", classifier=sizes)
    with pytest.raises(InputError, match=r"neither .* nor .* knows size; leave it out"):
        model.sample(2, condition=asked, classifier=classes)
    with pytest.raises(InputError, match="none is given; add a label or a value"):
        model.sample(2, classifier=classes)
    with pytest.raises(InputError, match="none is given; add classifier"):
        model.sample(2, classifier_scale=2)
    with pytest.raises(InputError, match="there is no class"):
        model.sample(2, label="prime", classifier=classes)
    other = tmp_path / "other.csv"
    other.write_text("word,size\n" + "".join(f"{w}d,{n}\n" for w, n, _ in ROWS))
    tiny = [*SMALL, "values=size"]
    foreign = sumi.train("symbol-classifier", data=str(other), steps=1, out=tmp_path / "foreign", settings=tiny)
    with pytest.raises(InputError, match="knows other symbols or classes"):
        model.sample(2, condition=asked, classifier=foreign)
    uniform_one = sumi.train(
        "symbol-classifier", data=str(data), steps=1, out=tmp_path / "u", settings=[*tiny, "process=uniform"]
    )
    with pytest.raises(InputError, match="knows process=uniform alone, and the model has process=masked"):
        model.sample(2, condition=asked, classifier=uniform_one.folder)
    constant = tmp_path / "constant.csv"
    constant.write_text("word,size\n" + "".join(f"{w},1\n" for w, _, _ in ROWS))
    with pytest.raises(InputError, match="size has no two different numbers"):
        sumi.train("symbol-classifier", data=str(constant), steps=1, out=tmp_path / "constant", settings=tiny)
    with pytest.raises(InputError, match="5 states are not as many of each of 2 samples"):
        sizes.module.of(sizes.asked(asked, range(2)))(torch.zeros(5, 10, dtype=torch.int64), None)
    assert main(["sample", str(model.folder), "-n", "2", "--guidance", "2"]) == 2
    assert "--guidance: is of models with a condition" in capsys.readouterr().err
    with pytest.raises(InputError, match="has no classes; name columns"):
        sumi.train("symbol-classifier", data=str(data), steps=1, out=tmp_path / "none", settings=SMALL)
    with pytest.raises(InputError, match="the data have no values 'weight'"):
        sumi.train("symbol-classifier", data=str(data), steps=1, out=tmp_path / "w", settings=[*SMALL, "values=weight"])
    with pytest.raises(InputError, match="takes strings"):
        sumi.train("symbol-classifier", data="digits", steps=1, out=tmp_path / "d", settings=[*SMALL, "values=size"])
    assert main(["sample", str(model.folder), "-n", "2", "--classifier", str(model.folder), "--value", "size=1"]) == 2
    assert "classifiers of noised symbols" in capsys.readouterr().err
