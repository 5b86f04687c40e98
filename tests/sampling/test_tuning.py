"""Fitting a grid and coefficients: what least squares must find, and that it helps where it was not fitted."""

import json

import pytest
import torch

from sumi.errors import InputError
from sumi.models.diffusion.tuned import load_tuned, save_tuned, tuned_file
from sumi.process.continuous import VP
from sumi.process.schedule import noise_levels
from sumi.sampling.sample import sample
from sumi.sampling.solvers.adams import Adams
from sumi.sampling.solvers.tuned import Tuned
from sumi.sampling.time_grid import log_ratio
from sumi.sampling.tuning import Reference, distance, fit, reference
from tests.oracles import GaussianTarget, random_mixture

SCHEDULE = VP().build()
GAUSS = GaussianTarget(0.5, 0.3)


def start(count: int, dimension: int, seed: int) -> torch.Tensor:
    return torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_adams_in_the_form_of_tuned_is_adams() -> None:
    """The weights of Adams, step by step, make the tuned solver Adams itself, to rounding."""
    adams = Adams(4, 0.3)
    times = log_ratio(SCHEDULE, 6, 0.3)
    noise = [2.718281828459045 ** (-v.log_snr / 2) for v in noise_levels(SCHEDULE, times)]
    rows = []
    for k in range(6):
        nodes = tuple(noise[k::-1][:4])
        row = adams.weights(nodes, noise[k + 1])[1:]
        rows.append(row + (0.0,) * (k - len(row)))
    x, denoiser = start(3, 2, 0), GAUSS.denoiser(SCHEDULE)
    one, other = (sample(denoiser, solver, times, x) for solver in (adams, Tuned(tuple(rows))))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_the_reference_is_what_the_sampler_passes() -> None:
    x, times = start(3, 2, 1), log_ratio(SCHEDULE, 9, 0.3)
    known = reference(GAUSS.denoiser(SCHEDULE), Adams(4, 0.3), times, x)
    assert known.states.shape == (10, 3, 2)
    assert torch.equal(known.at(0), x)
    assert torch.equal(known.data, sample(GAUSS.denoiser(SCHEDULE), Adams(4, 0.3), times, x))


def test_on_gaussian_data_the_fit_is_all_but_exact() -> None:
    """One dimension, N(m, c²): from the second step on one weight can put every path where it should be, since all are
    affine in the start; so on paths not fitted to the error falls by the thousandfold and only the ridge stays.
    """
    denoiser, adams = GAUSS.denoiser(SCHEDULE), Adams(4, 0.3)
    known = reference(denoiser, adams, log_ratio(SCHEDULE, 200, 0.3), start(16, 1, 2))
    found = fit(denoiser, adams, known, log_ratio(SCHEDULE, 4, 0.3))
    other = reference(denoiser, adams, log_ratio(SCHEDULE, 200, 0.3), start(16, 1, 3))
    before = distance(sample(denoiser, adams, log_ratio(SCHEDULE, 4, 0.3), other.at(0)), other.data).max()
    after = distance(sample(denoiser, found.solver, found.times, other.at(0)), other.data).max()
    assert after < before / 1000


def test_on_a_mixture_the_fit_helps_on_paths_it_has_not_seen() -> None:
    target, std = random_mixture(3, dimension=32)
    denoiser, adams = target.denoiser(SCHEDULE), Adams(data_std=std)
    known = reference(denoiser, adams, log_ratio(SCHEDULE, 200, std), start(96, 32, 4))
    seen, unseen = Reference(known.times, known.states[:, :48]), Reference(known.times, known.states[:, 48:])
    plain = log_ratio(SCHEDULE, 5, std)
    counts = []
    found = fit(denoiser, adams, seen, plain, lambda done, total: counts.append((done, total)))
    before = distance(sample(denoiser, adams, plain, unseen.at(0)), unseen.data).median()
    after = distance(sample(denoiser, found.solver, found.times, unseen.at(0)), unseen.data).median()
    assert after < before / 2
    again = distance(sample(denoiser, found.solver, found.times, seen.at(0)), seen.data).mean()
    assert found.error == pytest.approx(float(again), rel=1e-9)  # what it says of itself is so
    assert (found.times[0], found.times[-1]) == (1, 0)
    assert bool((found.times.diff() < 0).all())
    assert counts[-1][0] == counts[-1][1]


def test_a_fitted_solver_takes_only_its_own_number_of_steps() -> None:
    denoiser = GAUSS.denoiser(SCHEDULE)
    with pytest.raises(InputError, match="fitted to 2"):
        sample(denoiser, Tuned(((), (0.1,))), log_ratio(SCHEDULE, 3), start(1, 1, 0))
    with pytest.raises(InputError, match="step 1 has 0"):
        Tuned(((), ()))


def test_files_of_methods(tmp_path) -> None:
    solver, times = Tuned(((), (0.25,), (-0.5, 1 / 3))), log_ratio(SCHEDULE, 3)
    file = tuned_file(tmp_path / "run", 1200, 3)
    save_tuned(file, solver, times, "this model", {"checkpoint": 1200})
    again = load_tuned(file, "this model", 3)
    assert again.solver == solver
    assert torch.equal(again.times, times)
    assert [path.name for path in file.parent.iterdir()] == ["00001200-3.json"]  # nothing temporary is left


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: json.dumps(json.loads(text) | {"format": 99}),
        lambda text: json.dumps(json.loads(text) | {"times": [1.0, 0.5]}),
        lambda text: json.dumps(json.loads(text) | {"times": []}),
        lambda text: json.dumps(json.loads(text) | {"times": 5}),
        lambda text: json.dumps(json.loads(text) | {"times": None}),
        lambda text: json.dumps(json.loads(text) | {"times": [1.0, 0.2, 0.5, 0.0]}),
        lambda text: json.dumps(json.loads(text) | {"weights": [[], [0.1], [float("nan"), 0.0]]}),
        lambda text: json.dumps(json.loads(text) | {"weights": [[], [], []]}),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, damage) -> None:
    file = tuned_file(tmp_path, 7, 3)
    save_tuned(file, Tuned(((), (0.25,), (-0.5, 1 / 3))), log_ratio(SCHEDULE, 3), "this model", {})
    file.write_text(damage(file.read_text()))
    with pytest.raises(InputError, match=r"00000007-3\.json: .*(tune again|tune` wrote)"):
        load_tuned(file, "this model", 3)


def test_a_file_for_another_model_or_number_of_steps_is_refused(tmp_path) -> None:
    file = tuned_file(tmp_path, 7, 3)
    save_tuned(file, Tuned(((), (0.25,), (-0.5, 1 / 3))), log_ratio(SCHEDULE, 3), "this model", {})
    with pytest.raises(InputError, match="was tuned to other weights"):
        load_tuned(file, "another model", 3)
    with pytest.raises(InputError, match="is not what"):
        load_tuned(file, "this model", 4)
