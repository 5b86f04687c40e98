"""Wrong numerics, each of which some test must notice: a sign, a root, an index, two coefficients swapped.

`tests/test_mutations.py` makes each change in a copy of the package and runs the named tests there: they must fail.
"""

from typing import NamedTuple


class Mutation(NamedTuple):
    """``old``, which stands once in ``file`` (below sumi/), becomes ``new``; ``test`` (below tests/) finds it."""

    file: str
    old: str
    new: str
    test: str


MUTATIONS = [
    # the forward process
    Mutation(
        "process/forward.py",
        "t.alpha / s.alpha * (s.sigma / t.sigma) ** 2",
        "t.alpha / s.alpha * (s.sigma / t.sigma)",
        "test_forward.py",
    ),
    Mutation(
        "process/forward.py",
        "return -expm1(t.log_snr - s.log_snr)",
        "return -expm1((t.log_snr - s.log_snr) / 2)",
        "test_forward.py",
    ),
    Mutation(
        "process/forward.py",
        "s.alpha * fraction, s.sigma**2 * fraction",
        "s.alpha * fraction, t.sigma**2 * fraction",
        "test_forward.py",
    ),
    Mutation(
        "process/chain.py",
        "return -self._log_alpha_squared(grid)[0].diff().expm1()",
        "return -self._log_alpha_squared(grid)[0].diff()",
        "test_schedule.py",
    ),
    Mutation("process/chain.py", "(position * (1 - 1e-15)).ceil()", "position.ceil()", "test_schedule.py"),
    Mutation("process/continuous.py", "beta * alpha**2)", "beta * alpha)", "test_schedule.py"),
    Mutation("process/continuous.py", "(quarter * (1 - t)).sin()", "(quarter * t).cos()", "test_schedule.py"),
    Mutation(
        "process/exploding.py",
        "part = (rung - 1) / (self.levels - 1)",
        "part = (rung - 1) / self.levels",
        "test_schedule.py",
    ),
    Mutation(
        "process/learned.py",
        "share * steepness * bent * (1 - bent)",
        "share * bent * (1 - bent)",
        "test_learned_schedule.py",
    ),
    Mutation("process/learned.py", "shares / shares[-1]", "shares", "test_learned_schedule.py"),
    Mutation(
        "process/noise.py",
        "key = np.array([seed, draw], dtype=np.uint64)",
        "key = np.array([seed, 0], dtype=np.uint64)",
        "test_noise.py",
    ),
    Mutation("process/noise.py", "[0, purpose, step, index]", "[0, purpose, 0, index]", "test_noise.py"),
    # what a network learns
    Mutation(
        "process/schedule.py",
        "t.alpha**2 * of_data**2 + t.sigma**2",
        "t.alpha**2 * of_data + t.sigma**2",
        "test_parameterization.py",
    ),
    Mutation(
        "process/schedule.py",
        "t.alpha * t.sigma_slope - t.alpha_slope * t.sigma",
        "t.alpha * t.sigma_slope + t.alpha_slope * t.sigma",
        "test_parameterization.py",
    ),
    Mutation(
        "denoising/parameterization.py",
        "return Coefficients(1.0, 1.0 / t.alpha, t.sigma**2 / t.alpha, _time_input(t))",
        "return Coefficients(1.0, 1.0 / t.alpha, t.sigma / t.alpha, _time_input(t))",
        "test_parameterization.py",
    ),
    Mutation(
        "denoising/denoiser.py", "return -self.noise / self.sigma", "return -self.noise", "test_parameterization.py"
    ),
    Mutation(
        "denoising/objective.py",
        "of_noise = expand(c.c_skip * now.sigma / c.c_out, x_0)",
        "of_noise = expand(c.c_skip * now.alpha / c.c_out, x_0)",
        "test_objective.py",
    ),
    Mutation("denoising/weighting.py", "/ t.sigma**3)", "/ t.sigma**2)", "test_weighting.py"),
    Mutation(
        "denoising/weighting.py",
        "torch.where(from_data, log(2), earlier - log_snr)",
        "torch.where(from_data, log(3), earlier - log_snr)",
        "test_weighting.py",
    ),
    Mutation("denoising/time_sampling.py", "first + u * (last - first)", "u", "test_time_sampling.py"),
    Mutation("denoising/schedule_learning.py", "2 * losses.detach()", "losses.detach()", "test_learned_schedule.py"),
    Mutation("denoising/energy.py", "create_graph=recorded", "create_graph=False", "test_energy.py"),
    Mutation(
        "training/diffusion.py",
        "self.seed, [0], step, Purpose.TRAINING_TIME",
        "self.seed, positions[:1].tolist(), step, Purpose.TRAINING_TIME",
        "test_diffusion_task.py",
    ),
    # samplers
    Mutation("sampling/sample.py", "        walk[-1] = DATA", "        walk[-1] = walk[-1]", "test_adams.py"),
    Mutation("sampling/time_grid.py", "(log(near / far) - first)", "(log(far / near) - first)", "test_adams.py"),
    Mutation(
        "sampling/time_grid.py",
        "(first + _parts(steps) * (last - first)) ** rho",
        "(first + _parts(steps) * (last - first)) ** (rho - 1)",
        "test_time_grid.py",
    ),
    Mutation(
        "sampling/time_grid.py",
        "return min(noise_ratio(end), largest)",
        "return min(noise_ratio(end) ** 2, largest)",
        "test_time_grid.py",
    ),
    Mutation(
        "sampling/solvers/ddim.py",
        "sqrt(float(s.sigma) ** 2 - posterior_std**2)",
        "sqrt(float(s.sigma) ** 2 + posterior_std**2)",
        "test_ddim.py",
    ),
    Mutation(
        "sampling/solvers/ddim.py",
        "self.eta * float(t.sigma) * sqrt(added)",
        "self.eta * float(s.sigma) * sqrt(added)",
        "test_ddim.py",
    ),
    Mutation(
        "sampling/solvers/adams.py",
        "x_s.add_(past, alpha=alpha * w)",
        "x_s.add_(past, alpha=w)",
        "test_adams.py",
    ),
    Mutation(
        "sampling/solvers/adams.py",
        "self.weights(nodes, after)[1:]",
        "self.weights(nodes, after)[:-1]",
        "test_adams.py",
    ),
    Mutation(
        "sampling/solvers/adams.py",
        "(last - first) / 2 * shifted * _WEIGHTS",
        "(last - first) / 2 * _WEIGHTS",
        "test_adams.py",
    ),
    Mutation("sampling/solvers/adams.py", ")[: self.order - 1]", ")[: max(self.order - 2, 0)]", "test_adams.py"),
    Mutation(
        "sampling/solvers/adams.py",
        "(v - others[:, None]) / (place - others)[:, None]",
        "(v - others[:, None]) / (others - place)[:, None]",
        "test_adams.py",
    ),
    Mutation("sampling/solvers/gaussian_adams.py", "np.sqrt(var_s / var_t)", "var_s / var_t", "test_adams.py"),
    Mutation(
        "sampling/solvers/gaussian_adams.py",
        "(1 / np.sqrt(at[:, None] ** 2 + variance))",
        "(1 / (at[:, None] ** 2 + variance))",
        "test_adams.py",
    ),
    Mutation("sampling/gaussian.py", "/ (len(flat) - 1)", "/ len(flat)", "test_adams.py"),
    Mutation(
        "sampling/tuning.py",
        "found = near + torch.linalg.solve(gram + damping, left)",
        "found = near - torch.linalg.solve(gram + damping, left)",
        "test_tuning.py",
    ),
    Mutation(
        "sampling/tuning.py", "float(s.alpha) * w * (earlier - after[0])", "w * (earlier - after[0])", "test_tuning.py"
    ),
    Mutation(
        "sampling/solvers/tuned.py",
        "x_s.add_(past - epsilon, alpha=alpha * w)",
        "x_s.add_(past, alpha=alpha * w)",
        "test_tuning.py",
    ),
    Mutation(
        "sampling/solvers/euler_maruyama.py",
        "(1 + self.stochasticity**2) * rise)",
        "(1 + self.stochasticity) * rise)",
        "test_euler_maruyama.py",
    ),
    Mutation(
        "sampling/solvers/predictor_corrector.py", "square().mean(1)", "square().mean()[None]", "test_langevin.py"
    ),
    Mutation(
        "sampling/solvers/langevin.py", "float(s.alpha / t.alpha if", "float(t.alpha / s.alpha if", "test_langevin.py"
    ),
    Mutation("sampling/solvers/heun.py", "denoiser(x_s, s)", "denoiser(x_s, t)", "test_runge_kutta.py"),
    Mutation(
        "sampling/solvers/runge_kutta.py",
        "min(self.order, 3) if s.sigma == 0",
        "min(self.order, 2) if s.sigma == 0",
        "test_runge_kutta.py",
    ),
    Mutation(
        "sampling/solvers/adaptive.py", "torch.where(taken, slope_new, slope)", "slope_new", "test_runge_kutta.py"
    ),
    Mutation("sampling/solvers/exponential.py", "exp(-(eta**2) * h)", "exp(-eta * h)", "test_dpm_solver.py"),
    Mutation(
        "sampling/solvers/exponential.py",
        'if count == 2 and (slope != "exact" or isinf(y)):',
        'if count == 2 and slope != "exact":',
        "test_unipc.py",
    ),
    Mutation(
        "sampling/solvers/exponential.py",
        "places[i] - places[i - k - 1]",
        "places[i] - places[i - k]",
        "test_dpm_solver.py",
    ),
    Mutation("sampling/solvers/dpm_solver.py", "if t.log_snr != -inf else ()", "if True else ()", "test_dpm_solver.py"),
    Mutation(
        "sampling/solvers/dpm_solver.py",
        "advance(base.x, base.t, s, base.evaluations",
        "advance(x, base.t, s, base.evaluations",
        "test_dpm_solver.py",
    ),
    Mutation(
        "sampling/solvers/unipc.py", "return x_s, Base(x, t, known)", "return x_s, Base(x_s, t, known)", "test_unipc.py"
    ),
]
