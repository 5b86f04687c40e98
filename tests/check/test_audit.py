"""Planted mistakes are found and named; nothing is found in sound models.

The networks are exact denoisers of a mixture of Gaussians, presented as networks of any convention (`network_of`), and
the digits that come with the package.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sumi import load
from sumi.boundary.config import to_json
from sumi.check.audit.audit import Audit, audit, write
from sumi.check.audit.conditions import conditions
from sumi.check.audit.denoising import denoising, table, terminal
from sumi.check.audit.layers import layers
from sumi.check.audit.reading import Changed, Clock, Frame, Reading
from sumi.check.audit.run import TRAJECTORIES, averaging, copying
from sumi.check.audit.search import Probe, search
from sumi.check.audit.subject import Rows, Subject, of_function, of_model, rows_of_model
from sumi.denoising.parameterization import (
    PredictClean,
    PredictFlow,
    PredictNoise,
    PredictPreconditioned,
    PredictVelocity,
    Reread,
)
from sumi.models.diffusion.model import DiffusionModel
from sumi.process.schedule import noise_level
from sumi.process.schedules import EDM, VE, CosineBeta, Flow, LinearBeta, ListedBeta, QuadraticBeta
from sumi.sampling.sample import sample
from sumi.sampling.tuning import distance
from sumi.training.checkpoint import Checkpoint
from sumi.training.run_folder import RunFolder
from sumi.training.saving import save_checkpoint
from tests.oracles import MixtureTarget, random_mixture

SHAPE = (3, 2, 2)
TARGET, STD = random_mixture(3, 12, 6)
NOISE, VELOCITY = PredictNoise(), PredictVelocity()
LINEAR = Reading(LinearBeta().build(), NOISE)
COSINE = Reading(CosineBeta().build(), VELOCITY)
FLOW = Reading(Flow().build(), PredictFlow())
SQUARED = ListedBeta(tuple(Changed(LINEAR.schedule, 2.0).betas(1000).tolist()))


def items(n: int, target: MixtureTarget = TARGET) -> Rows:
    """Of the mixture."""
    draw = torch.Generator().manual_seed(5)
    k = torch.multinomial(target.weights, n, replacement=True, generator=draw)
    noise = torch.randn(n, 12, dtype=torch.float64, generator=draw)
    return Rows((target.means[k] + target.stds[k][:, None] * noise).reshape(n, *SHAPE).float(), None, "data")


def network_of(truth: Reading, target: MixtureTarget = TARGET):
    """The exact denoiser of the mixture, in the frame of ``truth``, as the network that it describes."""
    t = torch.linspace(1e-6, 1, 20_001, dtype=torch.float64)
    levels = truth.schedule.noise_level(t)
    ticks = torch.as_tensor(truth.clock.read(levels, truth.parameterization.coefficients(levels).c_noise))
    order = ticks.argsort()
    clock = ticks[order].numpy(), t[order].numpy()
    means = truth.frame(target.means.reshape(-1, *SHAPE)).flatten(1)
    seen = MixtureTarget(means, target.stds * truth.frame.scale, target.weights)

    def network(x: Tensor, time: Tensor) -> Tensor:
        level = noise_level(truth.schedule, float(np.interp(float(time[0]), *clock)))
        c = truth.parameterization.coefficients(level)
        x_t = x.double() / c.c_in
        clean = seen.clean(x_t.flatten(1), level).reshape(x.shape)
        return ((clean - c.c_skip * x_t) / c.c_out).float()

    return network


def subject_of(truth: Reading, schedule, parameterization) -> Subject:
    """A network that is ``truth``, stated to be on this schedule with this parameterization."""
    return of_function(network_of(truth), SHAPE, schedule, parameterization, data_std=STD)


SOUND = {
    "linear": (LINEAR, LinearBeta(), NOISE),
    "cosine": (COSINE, CosineBeta(), VELOCITY),
    "flow": (FLOW, Flow(), PredictFlow()),
    "edm": (Reading(EDM().build(), PredictPreconditioned()), EDM(), PredictPreconditioned()),
    "exploding": (Reading(VE().build(), NOISE), VE(), NOISE),
}


@pytest.mark.parametrize("name", SOUND)
def test_in_a_sound_network_nothing_is_found(name: str) -> None:
    found = audit(subject_of(*SOUND[name]), data=items(24))
    assert found.faults == ()
    assert found.changes == ()


def test_a_network_of_clean_data_that_is_rough_where_little_noise_is_is_sound() -> None:
    """Read as a flow it would return x_t there, which is nearer."""
    exact = network_of(replace(FLOW, parameterization=PredictClean()))
    subject = of_function(lambda x, t: exact(x, t) + 0.1 * (50 * x).sin(), SHAPE, Flow(), PredictClean(), data_std=STD)
    _, changes, _ = search(Probe(subject, items(16)), subject.reading)
    assert changes == []


PLANTED = {
    "v read as ε": (replace(LINEAR, parameterization=VELOCITY), LinearBeta(), NOISE, "prediction type"),
    "ε read as v": (replace(COSINE, parameterization=NOISE), CosineBeta(), VELOCITY, "prediction type"),
    "x_0 read as ε": (replace(LINEAR, parameterization=PredictClean()), LinearBeta(), NOISE, "prediction type"),
    "flow of the other sign": (
        replace(FLOW, parameterization=Reread(PredictFlow(), gain=-1.0)),
        Flow(),
        PredictFlow(),
        "prediction type",
    ),
    "time from 0 to 1": (replace(LINEAR, clock=Clock("", "time", 1e-3, 1e-3)), LinearBeta(), NOISE, "time unit"),
    "time runs the other way": (
        replace(FLOW, clock=Clock("", "time", -1e-3, 1 - 1e-3)),
        Flow(),
        PredictFlow(),
        "time direction",
    ),
    "another schedule": (replace(LINEAR, schedule=COSINE.schedule), LinearBeta(), NOISE, "schedule"),
    "alphas that are squared": (LINEAR, SQUARED, NOISE, "squared alphas"),
    "data in [0, 1]": (replace(LINEAR, frame=Frame("", 0.5, 0.5)), LinearBeta(), NOISE, "data range"),
    "no scale factor": (replace(LINEAR, frame=Frame("", 1 / 0.18215)), LinearBeta(), NOISE, "scale factor"),
    "BGR": (replace(LINEAR, frame=Frame("", channels=(2, 1, 0))), LinearBeta(), NOISE, "swapped channels"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_mistake_is_found_and_named(name: str) -> None:
    truth, schedule, parameterization, fault = PLANTED[name]
    probe = Probe(subject_of(truth, schedule, parameterization), items(16))
    reading, changes, _ = search(probe, probe.subject.reading)
    assert [change.taken.fault for change in changes] == [fault]
    assert float((probe.errors(reading) / probe.errors(truth)).nanmean()) == pytest.approx(1, abs=0.03)


def test_another_prediction_is_found_at_the_time_input_that_is_stated() -> None:
    stated, truth = (Reread(kind, 1e-3, 1e-3) for kind in (NOISE, VELOCITY))
    probe = Probe(subject_of(replace(LINEAR, parameterization=truth), LinearBeta(), stated), items(16))
    reading, changes, _ = search(probe, probe.subject.reading)
    assert [change.taken.fault for change in changes] == ["prediction type"]
    assert reading.parameterization == truth


@pytest.mark.parametrize("offset", [1.0, -1.0])
def test_an_offset_by_one_is_found_where_it_shows(offset: float) -> None:
    truth = replace(LINEAR, clock=Clock("", offset=offset))
    fine = MixtureTarget(TARGET.means, TARGET.stds / 4, TARGET.weights)
    subject = of_function(network_of(truth, fine), SHAPE, LinearBeta(), NOISE, data_std=STD)
    _, changes, _ = search(Probe(subject, items(64, fine)), subject.reading)
    assert [change.taken.fault for change in changes] == ["off-by-one timesteps"]
    assert changes[0].taken.reading.clock.offset == offset
    low = [(before, after) for ratio, before, after in changes[0].levels if ratio < 0.15]
    before, after = map(sum, zip(*low, strict=True))
    assert after < 0.99 * before  # it shows where little noise is
    high = [after / before for ratio, before, after in changes[0].levels if ratio > 0.4]
    assert high == pytest.approx([1.0] * len(high), abs=0.01)


@pytest.mark.parametrize("name", ["v read as ε", "another schedule", "time runs the other way"])
def test_without_data_its_own_samples_tell_it(name: str) -> None:
    truth, schedule, parameterization, fault = PLANTED[name]
    found = audit(subject_of(truth, schedule, parameterization), n=16)
    assert found.faults == (fault,)
    if name == "v read as ε":
        assert found.findings[0].says.startswith("it predicts v = alpha ε - sigma x_0, and is read as ε, the noise. ")
        assert found.findings[0].change == "set parameterization=velocity; `sumi mend` does"


def test_without_data_a_sound_network_is_sound() -> None:
    found = audit(subject_of(*SOUND["cosine"]), n=16)
    assert found.faults == ()
    assert "cannot be told without data" in found.findings[0].says


def test_readings_are_compared_at_as_much_noise_relative_to_the_data() -> None:
    level = replace(LINEAR, frame=Frame("", 4.0, 1.0)).level(0.5)
    assert level is not None
    assert level.sigma / level.alpha == pytest.approx(2.0, rel=1e-6)


def test_an_exact_denoiser_leaves_nothing_to_remove_and_half_of_one_does() -> None:
    subject = subject_of(*SOUND["linear"])
    rows = table(Probe(subject, items(256)), subject.reading)
    assert max(row.removable for row in rows) < 0.03
    assert all(row.slope == pytest.approx(1, abs=0.25) for row in rows if row.ratio < 1)

    def half(x: Tensor, time: Tensor) -> Tensor:  # shrinks x̂_0 to a half
        level = noise_level(LINEAR.schedule, (float(time[0]) + 1) / 1000)
        clean = (x - level.sigma * network_of(LINEAR)(x, time)) / level.alpha
        return (x - level.alpha * clean / 2) / level.sigma

    wrong = of_function(half, SHAPE, LinearBeta(), NOISE, data_std=STD)
    assert denoising(Probe(wrong, items(32)), wrong.reading).fault == "denoising"


def test_a_schedule_that_ends_too_early_is_named_with_what_it_leaves() -> None:
    schedule = QuadraticBeta(beta_start=0.00085, beta_end=0.012)
    rows = Rows(torch.randn(32, 4, 1, 1).expand(32, 4, 64, 64), None, "data")  # of one colour each
    subject = of_function(lambda x, _t: x, (4, 64, 64), schedule, NOISE)
    found = terminal(Probe(subject, rows), subject.reading)
    assert found.fault == "terminal signal"
    assert found.facts["alpha"] == pytest.approx(0.0683, abs=1e-4)  # Lin et al. 2024, table 1
    assert terminal(Probe(subject_of(*SOUND["linear"]), items(32)), LINEAR).fault is None


@pytest.fixture(scope="module")
def digits() -> tuple[DiffusionModel, Rows]:
    model = load("digits", DiffusionModel, device="cpu")
    found = rows_of_model(model, None, 32)
    assert found is not None
    return model, found[0]


@pytest.fixture
def weights(digits):
    """The digits' module, whose weights are put back."""
    module = digits[0].module
    kept = {name: value.clone() for name, value in module.state_dict().items()}
    yield module
    module.load_state_dict(kept)


def probe_of(digits) -> tuple[Probe, Reading]:
    subject = of_model(digits[0])
    return Probe(subject, digits[1]), subject.reading


@pytest.fixture(scope="module")
def found(digits) -> Audit:
    return audit(digits[0], n=16)


def test_in_the_digits_nothing_is_found(found: Audit, tmp_path: Path) -> None:
    assert found.faults == ()
    names = [finding.name for finding in found.findings]
    expected = ["reading", "last noise level", "denoising", "condition", "layers", "activations", "bfloat16", "copies"]
    assert names == [*expected, "solvers"]
    file = write(found, tmp_path / "audit.json")
    assert json.loads(file.read_text())["findings"][0]["facts"]["items"] == 16


def test_the_best_solver_and_grid_are_as_near_to_the_exact_trajectories_as_reported(found: Audit, digits) -> None:
    says, best = found.findings[-1].says, found.findings[-1].facts
    assert list(best) == ["5", "10", "20"]
    assert best["5"]["distance"] > 2 * best["10"]["distance"] > 4 * best["20"]["distance"]
    model, start = digits[0], digits[0].start_noise(range(TRAJECTORIES), 0)

    def end(solver: str, steps: int) -> Tensor:
        method = model.method(solver=solver, steps=steps)
        return sample(model.denoiser(), method.solver, method.times, start)

    with torch.inference_mode():
        exact = end("dpmpp_2m@log_snr", 150)
        for count, row in best.items():
            solver, grid = row["solver"].split("@")
            assert f"{count}: {solver}@{grid}" in says
            away = float(distance(end(row["solver"], int(count)), exact).median()) / model.description.data_std
            assert away == pytest.approx(row["distance"], rel=0.3)


def test_no_condition_that_was_never_trained_is_found(digits, weights) -> None:
    table = weights.conditioner["labels"].table.weight
    with torch.no_grad():
        table[10] = 3 * torch.randn(table.shape[1], generator=torch.Generator().manual_seed(0))
    found = conditions(*probe_of(digits))
    assert found is not None
    assert found.fault == "unconditional untrained"


def test_no_condition_that_is_a_class_is_named(digits, weights) -> None:
    table = weights.conditioner["labels"].table.weight
    with torch.no_grad():
        table[10] = table[7]
    found = conditions(*probe_of(digits))
    assert found is not None
    assert found.fault == "unconditional is a class"
    assert "class 7" in found.says


def test_a_condition_that_changes_nothing_is_named(digits, weights) -> None:
    with torch.no_grad():
        weights.conditioner["labels"].table.weight.zero_()
    found = conditions(*probe_of(digits))
    assert found is not None
    assert found.fault == "condition ignored"


def convolution(module: nn.Module) -> tuple[str, nn.Conv2d]:
    return [(name, m) for name, m in module.named_modules() if isinstance(m, nn.Conv2d)][2]


def test_a_dead_layer_is_named(digits, weights) -> None:
    name, layer = convolution(weights)
    with torch.no_grad():
        layer.weight.zero_()
    found = layers(*probe_of(digits))
    assert [finding.fault for finding in found] == ["dead layer", None, None]
    assert name in found[0].says


def test_what_overflows_in_float16_is_named(digits, weights) -> None:
    _, layer = convolution(weights)
    with torch.no_grad():
        layer.weight.mul_(1e6)
    found = layers(*probe_of(digits))
    assert found[1].fault == "float16 overflow"


def test_averaged_weights_that_are_the_raw_ones_or_worse_are_named(digits, tmp_path: Path) -> None:
    model, rows = digits
    good = model.module.state_dict()
    spoilt = {k: v + 0.05 * v.std() * torch.randn_like(v) if v.is_floating_point() else v for k, v in good.items()}
    for raw, averaged, fault in (
        (good, good, "average not used"),
        (good, spoilt, "average lags"),
        (spoilt, good, None),
    ):
        folder = tmp_path / str(fault)
        run = RunFolder(folder)
        run.write_config(to_json(model.description))
        state = {"identity": model.description.identity}
        save_checkpoint(run.checkpoints, Checkpoint(3, raw, averaged, {}, state), keep=1)
        subject = of_model(load(folder, DiffusionModel, device="cpu"))
        found = averaging(Probe(subject, rows), subject.reading)
        assert found is not None
        assert found.fault == fault


def test_samples_that_are_training_images_are_named(digits, monkeypatch) -> None:
    model, _ = digits
    data = model.load_images()
    training, _ = data.split(model.config.data.held_out)
    assert copying(model, data, 32).fault is None
    monkeypatch.setattr(DiffusionModel, "sample", lambda _self, n, **_options: training.batch(np.arange(n)))
    assert copying(model, data, 32).fault == "copies"
