"""Fitting a grid and coefficients: what least squares must find, and that it helps where it was not fitted."""

import json

import pytest
import torch

from sumi.denoising.denoiser import FunctionDenoiser
from sumi.errors import InputError
from sumi.models.diffusion.tuned import load_tuned, save_tuned, tuned_file
from sumi.process.continuous import VP
from sumi.process.schedule import NoiseLevel, noise_levels
from sumi.sampling.bands import Bands, cosines, places
from sumi.sampling.sample import sample
from sumi.sampling.solvers.adams import Adams
from sumi.sampling.solvers.solver import StepNoise
from sumi.sampling.solvers.tuned import Tuned
from sumi.sampling.time_grid import log_ratio
from sumi.sampling.tuning import Reference, distance, fit, reference, shrunk_mean, typical
from tests.oracles import GaussianTarget, random_mixture

SCHEDULE = VP().build()
GAUSS = GaussianTarget(0.5, 0.3)
THREE = Tuned(
    (((0.0, 0.5),) * 2, ((0.25, -1 / 3, 0.5),) * 2, ((0.25, -1 / 3, 0.5, 0.125),) * 2),
    ((0.5, 0.25),) * 3,
)
"""Of two bands and three steps."""


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
        rows.append((row + (0.0,) * (k + 2 - len(row)),))
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
    again = distance(sample(denoiser, found.solver, found.times, seen.at(0)), seen.data)
    assert found.error == pytest.approx(typical(again), rel=1e-9)  # what it says of itself is so
    assert (found.times[0], found.times[-1]) == (1, 0)
    assert bool((found.times.diff() < 0).all())
    assert counts[-1][0] == counts[-1][1]


def test_gaussian_images_are_followed_exactly_from_the_first_step() -> None:
    """Variance by band, a mean of low frequencies: all paths are affine in each band, so two steps suffice.

    Without bands the same fit leaves a thousand times the error.
    """
    bands = Bands.of((2, 12, 10), 5)
    variance = bands.spread(torch.tensor([4.0, 1.0, 0.2, 0.05, 0.01], dtype=torch.float64))
    mean = torch.zeros(2, 12, 10, dtype=torch.float64)
    bands.lowest(mean)[:] = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def clean(x_t: torch.Tensor, t: NoiseLevel) -> torch.Tensor:
        alpha, sigma = float(t.alpha), float(t.sigma)
        away = bands.transformed(x_t) - alpha * mean
        return bands.restored(mean + alpha * variance / (alpha**2 * variance + sigma**2) * away)

    denoiser, adams = FunctionDenoiser(clean, SCHEDULE), Adams(4, 0.5)
    times, few = log_ratio(SCHEDULE, 100, 0.5), log_ratio(SCHEDULE, 2, 0.5)
    x = start(64, 240, 5).reshape(64, 2, 12, 10)
    found = fit(denoiser, adams, reference(denoiser, adams, times, x[:32]), few)
    end = sample(denoiser, adams, times, x[32:])
    after = distance(sample(denoiser, found.solver, found.times, x[32:]), end).mean()
    assert after < distance(sample(denoiser, adams, few, x[32:]), end).mean() / 200
    one = Tuned(tuple(rows[2:3] for rows in found.solver.weights))
    assert distance(sample(denoiser, one, found.times, x[32:]), end).mean() > 20 * after


def test_of_images_of_a_mixture_the_fit_says_of_itself_what_is_so() -> None:
    """The way of the fit is that of the solver, with the means of low frequencies, which a mixture's paths need."""
    target, std = random_mixture(3, dimension=32)
    inner, adams = target.denoiser(SCHEDULE), Adams(data_std=std)
    denoiser = FunctionDenoiser(lambda x, t: inner(x.flatten(1), t).clean.reshape(x.shape), SCHEDULE)
    x = start(48, 32, 4).reshape(48, 2, 4, 4)
    known = reference(denoiser, adams, log_ratio(SCHEDULE, 100, std), x)
    found = fit(denoiser, adams, known, log_ratio(SCHEDULE, 3, std))
    made = distance(sample(denoiser, found.solver, found.times, x), known.data)
    assert found.error == pytest.approx(typical(made), rel=1e-9)
    assert max(abs(number) for mean in found.solver.means for number in mean) > 1e-3


def test_a_step_is_what_its_numbers_say() -> None:
    """(1 + a) alpha_s x̂_0 + (sigma_s + b) ε_t + alpha_s w (ε_0 - ε_t), of one band."""
    t, s = noise_levels(SCHEDULE, torch.tensor([0.7, 0.4], dtype=torch.float64))
    x, earlier, denoiser = start(3, 2, 7), start(3, 2, 8), GAUSS.denoiser(SCHEDULE)
    found, state = Tuned((((0.0, 0.0),), ((0.3, 0.2, -0.1),))).step(denoiser, x, t, s, (earlier,), StepNoise(None, 0))
    at = denoiser(x, t)
    alpha, sigma = float(s.alpha), float(s.sigma)
    wanted = 1.2 * alpha * at.clean + (sigma - 0.1) * at.noise + 0.3 * alpha * (earlier - at.noise)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    assert torch.equal(state[0], at.noise)


def test_a_mean_is_shrunk_by_four_squared_standard_errors() -> None:
    missing = torch.tensor([[1.0, 3.0], [3.0, -3.0]], dtype=torch.float64)  # means 2 and 0, standard errors 1 and 3
    torch.testing.assert_close(shrunk_mean(missing), torch.tensor([2 * 4 / (4 + 4), 0.0], dtype=torch.float64))


def test_bands_are_orthonormal_and_leave_nothing_out() -> None:
    x = start(3, 240, 6).reshape(3, 2, 12, 10)
    bands = Bands.of((2, 12, 10), 5)
    y = bands.transformed(x)
    torch.testing.assert_close(bands.restored(y), x, rtol=0, atol=1e-13)
    torch.testing.assert_close(y.square().sum(), x.square().sum(), rtol=1e-13, atol=0)
    torch.testing.assert_close(y[:, :, 0, 0], x.mean((2, 3)) * 120**0.5)  # the mean is the first
    masks = bands.masks()
    assert [int(mask[0].sum()) for mask in masks] == [int((places(12, 10, 5) == band).sum()) for band in range(5)]
    assert bool((sum(mask.long() for mask in masks) == 1).all())
    assert masks[0].nonzero().tolist()[:2] == [[0, 0, 0], [0, 1, 0]]  # 1/10 across is beyond 1/12 down
    assert Bands.of((240,), 5).count == Bands.of((2, 12, 1), 5).count == 1


def test_a_fitted_solver_takes_only_its_own_number_of_steps() -> None:
    denoiser = GAUSS.denoiser(SCHEDULE)
    with pytest.raises(InputError, match="fitted to 2"):
        sample(denoiser, Tuned((((0.0, 0.0),), ((0.1, 0.0, 0.0),))), log_ratio(SCHEDULE, 3), start(1, 1, 0))
    with pytest.raises(InputError, match="step 1 has 2 of them, not 3"):
        Tuned((((0.0, 0.0),), ((0.0, 0.0),)))
    with pytest.raises(InputError, match="not as many bands"):
        Tuned((((0.0, 0.0),), ((0.0,) * 3, (0.0,) * 3)))
    with pytest.raises(InputError, match="means: there are 2, not 1"):
        Tuned((((0.0, 0.0),),), ((0.0,), (0.0,)))


def test_files_of_methods(tmp_path) -> None:
    solver, times = THREE, log_ratio(SCHEDULE, 3)
    file = tuned_file(tmp_path / "run", 1200, 3)
    save_tuned(file, solver, times, "this model", {"checkpoint": 1200})
    again = load_tuned(file, "this model", 3)
    assert again.solver == solver
    assert torch.equal(again.times, times)
    assert [path.name for path in file.parent.iterdir()] == ["00001200-3.json"]  # nothing temporary is left


def test_a_file_of_the_first_format_has_one_row_a_step(tmp_path) -> None:
    file = tuned_file(tmp_path, 7, 3)
    save_tuned(file, THREE, log_ratio(SCHEDULE, 3), "this model", {})
    older = {"format": 1, "weights": [[], [0.25], [-0.5, 0.125]]}
    content = {key: value for key, value in json.loads(file.read_text()).items() if key != "means"} | older
    file.write_text(json.dumps(content))
    rows = (((0.0, 0.0),), ((0.25, 0.0, 0.0),), ((-0.5, 0.125, 0.0, 0.0),))
    assert load_tuned(file, "this model", 3).solver == Tuned(rows)


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
        lambda text: json.dumps(json.loads(text) | {"weights": [[[0, 0]], [[0.1, 0, 0]], [[float("nan"), 0, 0, 0]]]}),
        lambda text: json.dumps(json.loads(text) | {"weights": [[[0, 0]], [[0, 0]], [[0, 0]]]}),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, damage) -> None:
    file = tuned_file(tmp_path, 7, 3)
    save_tuned(file, THREE, log_ratio(SCHEDULE, 3), "this model", {})
    file.write_text(damage(file.read_text()))
    with pytest.raises(InputError, match=r"00000007-3\.json: .*(tune again|tune` wrote)"):
        load_tuned(file, "this model", 3)


def test_a_file_for_another_model_or_number_of_steps_is_refused(tmp_path) -> None:
    file = tuned_file(tmp_path, 7, 3)
    save_tuned(file, THREE, log_ratio(SCHEDULE, 3), "this model", {})
    with pytest.raises(InputError, match="was tuned to other weights"):
        load_tuned(file, "another model", 3)
    with pytest.raises(InputError, match="is not what"):
        load_tuned(file, "this model", 4)


def test_frequencies_are_taken_where_the_images_are() -> None:
    assert cosines(torch.empty(2, 3, device="meta"), 4).device.type == "meta"
