"""Comparing and tuning solvers on a model: figures recomputed here, files that `sample` then uses, refusals."""

import json
from math import isnan
from pathlib import Path

import pytest
import torch
from torch import nn

from sumi.cli.main import main
from sumi.denoising.denoiser import CountingDenoiser
from sumi.errors import InputError
from sumi.evaluation.solvers import compare, draw_comparison
from sumi.models.diffusion.tuned import tuned_file
from sumi.models.diffusion.tuning import tune
from sumi.process.schedule import noise_level
from sumi.sampling.sample import sample
from sumi.sampling.solvers.adams import Adams
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.time_grid import karras, log_ratio, snap, uniform
from tests.tiny_models import random_model


class Known(nn.Module):
    """ε of data N(0, 0.5²), and a little more that is not linear."""

    def __init__(self, schedule) -> None:
        super().__init__()
        self.schedule, self.part = schedule, nn.Parameter(torch.tensor(0.1))

    def forward(self, x, c_noise):
        now = noise_level(self.schedule, (c_noise[0] + 1) / 1000)
        variance = (now.alpha * 0.5) ** 2 + now.sigma**2
        return float(now.sigma / variance) * x + self.part * float(now.sigma) * torch.sin(3 * x)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    made = random_model(tmp_path_factory.mktemp("compare"), "sampling.threshold=none")
    made.network_denoiser.network = Known(made.network_denoiser.schedule)
    return made


def test_distances_are_those_to_the_end_of_the_ode(model) -> None:
    """DDIM's row, recomputed: 7 even steps, against Adams at all 1000 times of the chain."""
    found = compare(model, ["ddim"], [7], n=5, seed=3).rows[0]
    denoiser, schedule = model.network_denoiser, model.network_denoiser.schedule
    x = model.start_noise(range(5), 3)
    with torch.inference_mode():
        end = sample(denoiser, Adams(4, 0.5), snap(log_ratio(schedule, 1000, 0.5), 1000), x)
        got = sample(denoiser, DDIM(), snap(uniform(7), 1000), x)
    away = (got - end).flatten(1).square().mean(1).sqrt() / 0.5
    assert found.median == pytest.approx(float(away.median()), rel=1e-3)  # float32 sums in another order
    assert found.percentile_95 == pytest.approx(float(away.quantile(0.95)), rel=1e-3)
    assert (found.evaluations, found.steps) == (7, 7)


def test_evaluations_are_equal_or_fewer(model) -> None:
    """Heun takes as many steps as 9 evaluations allow; a sampler that draws noise has no distance to the ODE."""
    rows = {row.solver: row for row in compare(model, ["heun", "ddpm"], [10], n=2).rows}
    assert (rows["heun"].evaluations, rows["heun"].steps) == (9, 5)
    assert rows["ddpm"].evaluations == 10
    assert isnan(rows["ddpm"].median)
    assert isnan(rows["ddpm"].percentile_95)
    few = compare(model, ["heun", "predictor_corrector", "langevin"], [5], n=2).rows
    assert [(row.evaluations, row.steps) for row in few] == [(5, 3), (5, 3), (101, 1)]  # Langevin's single step is 101


def test_a_step_to_the_data_draws_no_noise_and_has_a_distance(model) -> None:
    """Of one step, DDPM and a consistency function take no noise; of two they do, and follow no ODE."""
    rows = compare(model, ["ddpm", "consistency", "ddim"], [1, 2], n=3, reference=50).rows
    one, two = ([row for row in rows if row.evaluations == count] for count in (1, 2))
    assert [isnan(row.median) for row in two] == [True, True, False]
    assert one[0].median == pytest.approx(one[2].median, rel=1e-5)  # the one step of both is x̂_0
    assert one[1].median == pytest.approx(one[2].median, rel=1e-5)
    assert one[1].percentile_95 == pytest.approx(one[2].percentile_95, rel=1e-5)


def test_more_steps_land_nearer(model) -> None:
    found = compare(model, ["adams", "ddim"], [5, 40], n=4).rows
    few, many, ddim_few, ddim_many = (row.median for row in found)
    assert many < few / 4
    assert ddim_many < ddim_few / 3


def test_batches_change_nothing(model, monkeypatch) -> None:
    whole = compare(model, ["ddim"], [5], n=6).rows[0]
    monkeypatch.setattr("sumi.evaluation.solvers.BATCH", 4)
    parts = compare(model, ["ddim"], [5], n=6).rows[0]  # images 4 and 5 are not followed along the ODE
    assert parts.median == pytest.approx(compare(model, ["ddim"], [5], n=4).rows[0].median, rel=1e-4)
    assert parts.percentile_95 != whole.percentile_95
    assert parts.evaluations == 5


def test_counting_changes_nothing(model) -> None:
    counting = CountingDenoiser(model.network_denoiser)
    x = model.start_noise([0], 0)
    with torch.inference_mode():
        assert torch.equal(counting(x, 0.5).clean, model.network_denoiser(x, 0.5).clean)
    assert counting.evaluations == 1
    assert counting.schedule is model.network_denoiser.schedule


def test_what_is_tuned_is_kept_and_used(model) -> None:
    plain = model.sample(2, steps=4, solver="adams", seed=9)
    tuning = tune(model, 4, trajectories=8)
    assert tuning.file is not None
    assert tuning.after < tuning.before
    assert model.method(steps=4).name == "tuned"
    assert model.method(steps=5).name == "adams"
    assert model.method(steps=4, eta=0.0).name == "ddim"  # an η asks for DDIM
    assert torch.equal(model.sample(2, steps=4, seed=9), model.sample(2, steps=4, solver="tuned", seed=9))
    assert not torch.equal(model.sample(2, steps=4, seed=9), plain)
    assert torch.equal(model.sample(2, steps=4, solver="adams", seed=9), plain)
    grid = model.method(steps=4).times * 1000
    assert torch.equal(grid.round(), grid)  # times that the network knows
    with pytest.raises(InputError, match="there is none for 6 steps"):
        model.method(steps=6, solver="tuned")


def test_a_picture_of_a_comparison(model, tmp_path: Path) -> None:
    draws = draw_comparison(compare(model, ["adams", "ddim", "ddpm"], [3, 6], n=2), tmp_path / "c.png")
    assert draws.path.stat().st_size > 5000


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (lambda m: compare(m, ["ddimm"], [5]), "did you mean ddim"),
        (lambda m: compare(m, ["ddim"], [0]), "steps: 0"),
        (lambda m: compare(m, ["ddim"], [5], n=1), "n: 1 images are too few"),
        (lambda m: compare(m, ["rk4"], [8]), "^solver: rk4 evaluates between the times"),
        (lambda m: tune(m, 1), "tune: 1 is out of range"),
        (lambda m: tune(m, 500), "tune: 500 is out of range"),
        (lambda m: m.start_noise([0], -1), "seed: -1"),
        (lambda m: compare(m, ["adams"], [600], n=2), "steps: 600 are too many for a network trained at 1000 times"),
        (lambda m: m.method(steps=5, solver="adams@"), "there is no time grid ''"),
        (lambda m: m.method(steps=4, solver="tuned", eta=0.5), "eta: tuned draws no noise"),
        (lambda m: tune(m, 4, trajectories=1), "trajectories: 1"),
    ],
)
def test_impossible_wishes_are_refused(model, call, answer: str) -> None:
    with pytest.raises(InputError, match=answer):
        call(model)


@pytest.mark.slow
def test_the_command(tmp_path: Path, capsys) -> None:
    untrained = random_model(tmp_path / "run")
    untrained.save(untrained.folder)
    run = str(untrained.folder)
    assert main(["compare", run, "--steps", "3,6", "-n", "4", "--solvers", "adams,ddim"]) == 0
    printed = capsys.readouterr().out
    assert "adams" in printed
    written = json.loads((untrained.folder / "compare" / "comparison.json").read_text())
    assert [row["evaluations"] for row in written["rows"]] == [3, 6, 3, 6]
    assert main(["compare", run, "--tune", "3", "-n", "4", "--solvers", "adams"]) == 0
    assert "3 steps: median distance" in capsys.readouterr().out
    kept = tuned_file(untrained.folder, untrained.step, 3).exists()
    assert main(["info", run]) == 0
    assert ("00000007-3 (checkpoint-steps)" in capsys.readouterr().out) == kept
    assert main(["compare", run, "--steps", "many"]) == 2
    assert capsys.readouterr().err.startswith("sumi: --steps many: ")


def test_a_solver_on_another_grid(model) -> None:
    schedule = model.network_denoiser.schedule
    method = model.method(steps=8, solver="unipc@karras")
    assert torch.equal(method.times, snap(karras(schedule, 8), 1000))
    assert method.name == "unipc@karras"
    assert method.solver == model.method(steps=8, solver="unipc").solver
    with pytest.raises(InputError, match=r"^solver: there is no time grid 'karas'; did you mean karras"):
        model.method(steps=8, solver="unipc@karas")
