"""Diffusion of symbols as a system: training, resuming, sampling, infilling, likelihood and the commands."""

import json
from dataclasses import replace
from math import log
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import sumi
from sumi.boundary.settings import override
from sumi.cli.main import main
from sumi.data.batch import batch_of
from sumi.data.config import DataConfig
from sumi.data.open import open_data
from sumi.denoising.categorical import CategoricalDenoiser, log_clean
from sumi.errors import InputError
from sumi.likelihood.categorical import categorical_bound
from sumi.models.symbols.likelihood import SymbolLikelihood
from sumi.models.symbols.model import SymbolModel
from sumi.objectives.times import places
from sumi.process.categorical import Categorical
from sumi.process.chain import CosineBeta
from sumi.process.continuous import Erasing, Flow
from sumi.process.schedule import noise_level
from sumi.randomness import SampleNoise
from sumi.recipes import build
from tests.processes import ended, start

TINY = [
    *("network.width=32", "network.blocks=2", "network.embedding=32", "network.registers=1", "training.warmup_steps=0"),
    *("training.batch_size=16", "training.sample_every=0", "training.checkpoint_every=2", "sampling.steps=6"),
    "data.held_out=0.2",
]
ROWS = [("ab" * (i % 4 + 1) + "c" * (i % 3), i % 4, "even" if i % 2 == 0 else "odd") for i in range(120)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "words.csv"
    file.write_text("word,size,kind\n" + "".join(f"{w},{n},{k}\n" for w, n, k in ROWS))
    return file


@pytest.fixture(scope="module")
def model(data: Path) -> SymbolModel:
    """Conditioned on classes and numbers."""
    settings = [*TINY, "conditioning=labels,values", "conditioning.values.names=size", "data.labels=kind"]
    return sumi.train("symbols", data=str(data), steps=30, out=data.parent / "run", settings=settings)


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / f"{step:08d}" / "model.safetensors")


def test_the_recipe_is_masked_diffusion_in_continuous_time() -> None:
    """Sahoo et al. 2024: a = 1 - t, the network is not told the time, times are spread over the batch."""
    config = build("symbols", DataConfig("qm9-smiles"))
    assert (config.process.name, config.schedule, config.stratified_times) == ("masked", Erasing(), True)
    spec = open_data("qm9-smiles").spec
    objective = config.build(spec)
    denoiser = objective.model
    assert denoiser.process == Categorical(19, 1.0)
    x = torch.full((2, 27), 19)
    torch.nn.init.normal_(denoiser.network.out.weight)
    torch.nn.init.normal_(denoiser.network.modulation.weight)
    assert torch.equal(denoiser.logits(x, 0.1), denoiser.logits(x, 0.9))
    uniform = override(config, ["process=uniform"]).build(spec).model
    torch.nn.init.normal_(uniform.network.out.weight)
    torch.nn.init.normal_(uniform.network.modulation.weight)
    assert not torch.equal(uniform.logits(x[:, :] * 0, 0.1), uniform.logits(x * 0, 0.9))
    mixture = override(config, ["process=mixture", "process.mask=0.3"]).build(spec).model
    assert mixture.process == Categorical(19, 0.3)


@pytest.mark.parametrize("process", ["masked", "uniform", "mixture"])
def test_a_run_is_resumed_bit_for_bit_and_samples_follow_their_seed(process: str, data: Path, tmp_path: Path) -> None:
    settings = [*TINY, f"process={process}"]
    once = sumi.train("symbols", data=str(data), steps=4, out=tmp_path / "once", settings=settings)
    sumi.train(
        "symbols", data=str(data), steps=2, out=tmp_path / "twice", settings=[*settings, "training.decay=constant"]
    )
    constant = [*settings, "training.decay=constant"]
    whole = sumi.train("symbols", data=str(data), steps=4, out=tmp_path / "whole", settings=constant)
    again = sumi.train("symbols", data=str(data), steps=4, out=tmp_path / "twice", settings=constant, resume=True)
    for name, value in weights(tmp_path / "whole", 4).items():
        assert torch.equal(value, weights(tmp_path / "twice", 4)[name]), name
    assert torch.equal(whole.sample(5, seed=3), again.sample(5, seed=3))
    assert torch.equal(whole.sample(3, seed=3, start=2), whole.sample(5, seed=3, batch_size=2)[2:])
    assert not torch.equal(whole.sample(5, seed=3), whole.sample(5, seed=4))
    loaded = sumi.load(tmp_path / "once", SymbolModel)
    assert torch.equal(loaded.sample(4), once.sample(4))
    assert loaded.sample(4).dtype == torch.int64
    assert loaded.sample(4).max() < loaded.spec.levels
    assert loaded.how_sampled().startswith("confidence" if process == "masked" else "ancestral")


def test_the_loss_is_the_bound_per_symbol(data: Path) -> None:
    """Its mean over batches of evenly spread times is that of `bits`, of the same weights and strings."""
    config = override(build("symbols", DataConfig(str(data))), [*TINY, "times.start=1e-6"])
    dataset = open_data(str(data), config.data)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        objective = config.build(dataset.spec)
        torch.nn.init.normal_(objective.model.network.out.weight, std=0.2)
    items = torch.arange(16).numpy()
    whole = [objective(batch_of(dataset, items, items, step=step, seed=0)).mean() for step in range(60)]
    from sumi.likelihood.categorical import continuous_bound

    nats = continuous_bound(objective.model, dataset.batch(items), 5, range(16), 200).mean() / dataset.shape[0]
    assert float(torch.stack(whole).mean().detach()) == pytest.approx(float(nats), rel=0.03)


@pytest.mark.parametrize("certain", [False, True])
def test_processes_call_blocks_alike_where_all_symbols_are_computed(certain: bool) -> None:
    """Up to certain ends, sequences of a length are computed at once: lengths decide how often a block computes."""
    config = override(build("symbols", DataConfig("qm9-smiles")), [*TINY, f"certain_ends={str(certain).lower()}"])
    dataset = open_data("qm9-smiles", config.data)
    objective = config.build(dataset.spec)
    counts = set[int]()
    for size in (1, 64):
        calls = list[int]()
        handle = objective.blocks()[0].register_forward_hook(lambda *_, calls=calls: calls.append(1))
        items = torch.arange(size).numpy()
        objective(batch_of(dataset, items, items, step=1, seed=0))
        handle.remove()
        counts.add(len(calls))
    assert objective.calls_alike is not certain
    assert (counts == {1}) is not certain


def test_times_are_spread_and_dropped_conditions_are_null(data: Path) -> None:
    config = override(
        build("symbols", DataConfig(str(data), labels="kind")),
        [*TINY, "conditioning=labels", "conditioning.dropout=0.5"],
    )
    dataset = open_data(str(data), config.data)
    objective = config.build(dataset.spec)
    items = torch.arange(16).numpy()
    batch = batch_of(dataset, items, items, step=1, seed=0)
    assert sorted((16 * places(batch, objective.stratify)).floor().tolist()) == list(range(16))
    labels = objective.model.conditioner.of_data(batch, batch.x)["labels"]
    assert 2 < int((labels == 2).sum()) < 14
    assert objective.stratify == 16
    assert not torch.equal(places(batch, None), places(batch, 16))


def test_every_weight_learns(model: SymbolModel, data: Path) -> None:
    objective = model.config.build(model.items)
    dataset = model.load_data()
    objective.fit(dataset)
    for parameter in objective.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    items = torch.arange(16).numpy()
    objective(batch_of(dataset, items, items, step=1, seed=0)).mean().backward()
    still = [n for n, p in objective.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_a_condition_guides_and_what_was_not_trained_is_refused(model: SymbolModel) -> None:
    given = {"values": {"size": 3.0}}
    plain, strong = (model.sample(64, condition=given, guidance=w) for w in (1.0, 30.0))
    assert not torch.equal(plain, strong)  # of a condition that 30 steps have hardly taught it
    assert torch.equal(model.sample(8, guidance=3.0), model.sample(8))  # no condition, nothing to guide by
    assert torch.equal(model.sample(2, label=["odd", "even"])[:1], model.sample(1, label="odd"))
    for options, why in (
        ({"label": "od"}, "^label: there is no class od; did you mean odd"),
        ({"condition": {"values": {"sise": 1}}}, "^values: the model was not trained with sise"),
        ({"solver": "adams"}, "^sampling.solver: 'adams' is none"),
        ({"stepps": 3}, "^stepps: there is no such option; did you mean steps"),
        ({"steps": 0}, "steps: 0"),
    ):
        with pytest.raises(InputError, match=why):
            model.sample(2, **options)


def test_infilling_keeps_what_is_known(model: SymbolModel) -> None:
    for solver in ("ancestral", "confidence"):
        texts = model.texts(model.infill("a?ab?", 6, solver=solver))
        assert all(len(t) == 5 and t[0] == "a" and t[2:4] == "ab" for t in texts)
    assert all(t.startswith("ab") for t in model.texts(model.infill("ab*", 6)))
    known = torch.full((model.spec.length,), -1)
    known[4] = 0
    assert all(len(t) > 4 and t[4] == "a" for t in model.texts(model.infill(known, 6)))
    with pytest.raises(InputError, match=r"^pattern: \(3,\) is not"):
        model.infill(torch.zeros(3), 1)


def test_bits_are_of_texts_or_symbols(model: SymbolModel) -> None:
    bits = model.bits(["abab", "ccba"], evaluations=8)
    assert torch.equal(bits, model.bits(torch.from_numpy(model.spec.numbers(["abab", "ccba"], "")), evaluations=8))
    assert bits[0] < bits[1]  # the second was never seen
    chain = model.bits(["abab", "ccba"], steps=6)
    x = torch.from_numpy(model.spec.numbers(["abab", "ccba"], ""))
    nats = categorical_bound(model.module, x, 6, SampleNoise(0, range(2), model.spec.shape)).total
    torch.testing.assert_close(chain, nats / log(2))
    many = torch.from_numpy(model.spec.numbers(["abab"], "")).expand(64, -1)
    assert bool(model.bits(many, steps=1).mean() > model.bits(many, steps=64).mean())
    with pytest.raises(InputError, match=r"^steps: 0 is out of range"):
        model.bits(["abab"], steps=0)
    with pytest.raises(InputError, match=r"^items: are of shape \(2,\)"):
        model.bits(torch.zeros(2))
    found = SymbolLikelihood.of(torch.tensor([6.0, 2.0]).double(), torch.tensor([3, 1]), 1)
    assert (found.by_character.value, found.characters) == (2.0, 2.0)
    assert found.by_character.low == pytest.approx(found.by_character.high)  # the ratio does not vary


def test_the_commands(model: SymbolModel, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = str(model.folder)
    own = ["--label", "odd", "--value", "size=2", "--guidance", "2"]
    assert main(["sample", run, "-n", "3", *own, "--trajectory", "--out", str(tmp_path / "a")]) == 0
    lines = (tmp_path / "a/samples.txt").read_text().splitlines()
    same = model.sample(3, label="odd", condition={"values": {"size": 2}}, guidance=2.0)
    assert lines == model.texts(same)
    assert {p.name for p in (tmp_path / "a").iterdir()} == {"samples.txt", "picture.png", "strip.png", "emerging.webp"}
    assert main(["inpaint", run, "a_a", "--mask", "_", "-n", "2", "--solver", "confidence"]) == 0
    printed = capsys.readouterr().out
    assert "a" in printed
    assert "(confidence, 6 steps)" in printed
    assert main(["nll", run, "-n", "10", "--evaluations", "4"]) == 0
    assert "bits/character" in capsys.readouterr().out
    assert main(["nll", run, "-n", "10", "--steps", "3"]) == 0
    assert "by the bound of the chain of 3 steps" in capsys.readouterr().out
    assert main(["info", run]) == 0
    assert "up to 10 of 3 symbols, classes even, odd" in capsys.readouterr().out
    for command, why in (
        (["sample", run, "--eta", "1"], "--eta: a run of symbols has none; leave it out"),
        (["inpaint", run, "ab", "--method", "dps"], "--method: a run of symbols has none"),
        (["inpaint", run, "xy"], "has x, and the symbols are"),
        (["nll", run, "--draws", "2"], "--draws: a run of symbols has none"),
        (["nll", run, "--steps", "2", "--evaluations", "2"], "--evaluations: each of --steps has one of its own"),
    ):
        assert main(command) == 2
        assert why in capsys.readouterr().err


def test_it_is_evaluated(model: SymbolModel) -> None:
    found = model.evaluate(n=20)
    assert found.evaluation.made.total == 20
    assert found.evaluation.molecules is False
    assert "bits per character of held-out strings" in found.verdict
    saved = json.loads((model.folder / "report/evaluation.json").read_text())
    assert saved["samples"] == 20
    assert saved["bits"]["by_character"]["value"] > 0
    assert "of these" in (model.folder / "report/report.html").read_text()
    assert "Too few to measure: 3 samples" in model.evaluate(n=3).verdict
    with pytest.raises(InputError, match=r"^sweeps: does not apply to the evaluation of symbols"):
        model.evaluate(n=20, sweeps=True)


def test_two_processes_evaluate_what_one_does(model: SymbolModel) -> None:
    model.evaluate(n=20)
    report = model.folder / "report/evaluation.json"
    expected = json.loads(report.read_text())
    report.unlink()
    for code, text in ended(start(["-m", "sumi", "evaluate", str(model.folder), "-n", "20"]), within=120):
        assert code == 0, text
    assert json.loads(report.read_text()) == expected


def test_what_is_no_such_data_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^data.source: digits has images; the recipe symbols takes strings"):
        sumi.train("symbols", data="digits", out=tmp_path / "a")
    with pytest.raises(InputError, match=r"^data.source: .* has symbols; train symbols on them"):
        sumi.train("ddpm", data=str(data), out=tmp_path / "b")
    with pytest.raises(
        InputError, match=r"^conditioning.names: the data have no values 'brightness'; choose from size"
    ):
        sumi.train("symbols", data=str(data), steps=1, out=tmp_path / "c", settings=[*TINY, "conditioning=values"])
    with pytest.raises(InputError, match=r"^sampling.solver: confidence is of process=masked alone"):
        override(build("symbols", DataConfig(str(data))), ["process=uniform", "sampling.solver=confidence"])
    process = Categorical(3, 1.0)
    with pytest.raises(InputError, match=r"^schedule: does not lead from alpha = 1 to alpha = 0"):
        CategoricalDenoiser(torch.nn.Identity(), process, CosineBeta().build())
    CategoricalDenoiser(torch.nn.Identity(), process, Flow().build())


def test_what_the_end_of_a_sequence_makes_certain(model: SymbolModel) -> None:
    """Nothing but ends behind an end and none before a symbol, whatever else is in the batch and behind the end."""
    denoiser = model.module
    assert denoiser.end == 3
    x = torch.full((4, 10), 4)  # masks
    x[1, [1, 4, 8]] = torch.tensor([0, 3, 3])
    x[2, 6] = 2
    x[3, :] = torch.tensor([0, 1, 3, 2, 4, 4, 3, 4, 4, 4])  # a sampler of few steps may leave a symbol behind an end
    with torch.no_grad():
        law = log_clean(denoiser.process, denoiser.logits(x, 0.5), x, noise_level(denoiser.schedule, 0.5)).exp()
        alone = torch.cat([denoiser.logits(row[None], 0.5) for row in x])
        again = denoiser.logits(x[1:2].index_fill(1, torch.tensor([5]), 3), 0.5)
    torch.testing.assert_close(denoiser.logits(x, 0.5), alone)
    torch.testing.assert_close(again[0, :5], alone[1, :5])
    assert bool((law[1, 5:, 3] == 1).all())
    assert bool((law[2, :6, 3] == 0).all())
    assert bool((law[2, 7:, 3] > 0).all())
    assert bool((law[0, :, 3] > 0).all())
    assert (law[3, 3, 2], law[3, 4, 3]) == (1, 1)
    torch.testing.assert_close(law.sum(-1), torch.ones(4, 10, dtype=torch.float64))
    learned = override(model.config, ["certain_ends=false"])
    assert learned.build(model.spec).model.end is None
    assert learned.identity != model.config.identity
    with pytest.raises(InputError, match=r"^certain_ends: true is of process=masked alone"):
        CategoricalDenoiser(torch.nn.Identity(), Categorical(3, 0.5), Flow().build(), end=2)


def test_a_saved_model_is_the_same_model(model: SymbolModel, tmp_path: Path) -> None:
    model.save(tmp_path / "saved")
    again = sumi.load(tmp_path / "saved", SymbolModel)
    assert torch.equal(again.sample(3), model.sample(3))
    assert replace(again.config, seed=0) == model.config
