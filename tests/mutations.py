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
        "torch.where(from_data, log_snr + log(2), earlier)",
        "torch.where(from_data, log_snr + log(3), earlier)",
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
    Mutation(
        "sampling/dormand_prince.py",
        "_where(accepted, y_new, y), _where(accepted, slope_new, slope)",
        "_where(accepted, y_new, y), slope_new",
        "test_runge_kutta.py",
    ),
    Mutation(
        "sampling/dormand_prince.py",
        "return torch.stack(sizes).amax(0)",
        "return sizes[0]",
        "test_probability_flow.py",
    ),
    # likelihoods by the ODE
    Mutation(
        "likelihood/probability_flow.py",
        "(of_data[:, None] - traces / dimensions)",
        "(of_data[:, None] + traces / dimensions)",
        "test_probability_flow.py",
    ),
    Mutation(
        "likelihood/probability_flow.py",
        "(log(size) + log(cos(start)) + per_dimension)",
        "(log(size) - log(cos(start)) + per_dimension)",
        "test_probability_flow.py",
    ),
    Mutation(
        "likelihood/probability_flow.py",
        "(log(size) + log(cos(start)) + per_dimension)",
        "(log(cos(start)) + per_dimension)",
        "test_probability_flow.py",
    ),
    Mutation(
        "likelihood/probability_flow.py",
        "tolerances = [Tolerance(self.rtol, self.atol), Tolerance(0.0, self.atol)]",
        "tolerances = [Tolerance(self.rtol, self.atol), Tolerance(0.0, 1e3)]",
        "test_probability_flow.py",
    ),
    Mutation(
        "likelihood/trace.py", "(pulled * v).flatten(1).sum(1)", "pulled.flatten(1).sum(1)", "test_probability_flow.py"
    ),
    Mutation(
        "likelihood/trace.py",
        "step, Purpose.PROBE, x.shape[1:], draw=k,",
        "step, Purpose.PROBE, x.shape[1:], draw=0,",
        "test_probability_flow.py",
    ),
    Mutation(
        "likelihood/grid_flow.py",
        "return of_data * y - clean, of_data - traces / dimensions",
        "return of_data * y - clean, 1 - traces / dimensions",
        "test_probability_flow.py",
    ),
    Mutation("likelihood/grid_flow.py", "reach**orders / orders", "reach**orders", "test_probability_flow.py"),
    Mutation(
        "likelihood/grid_flow.py",
        "for _ in range(STARTING):",
        "for _ in range(1):",
        "test_probability_flow.py",
    ),
    Mutation(
        "likelihood/grid_flow.py",
        "log(tan(angle(now) / 2))",
        "log(tan(angle(now)))",
        "test_probability_flow.py",
    ),
    # discrete data
    Mutation("likelihood/dequantize.py", "return 2 / (levels - 1)", "return 2 / levels", "test_dequantize.py"),
    Mutation(
        "likelihood/dequantize.py",
        "weights.logsumexp(1) - log(weights.shape[1])",
        "weights.logsumexp(1)",
        "test_dequantize.py",
    ),
    Mutation(
        "likelihood/dequantize.py",
        "log(2 * pi * ratio**2) / 2",
        "log(2 * pi * ratio) / 2",
        "test_dequantize.py",
    ),
    Mutation(
        "likelihood/dequantize.py",
        "self.denoiser(float(self.start.alpha) * z, self.start)",
        "self.denoiser(z, self.start)",
        "test_dequantize.py",
    ),
    Mutation(
        "likelihood/learned_dequantizer.py",
        "_log_logistic(epsilon) - _log_logistic(h) - log_scale",
        "_log_logistic(epsilon) - _log_logistic(h) + log_scale",
        "test_dequantize.py",
    ),
    Mutation(
        "likelihood/learned_dequantizer.py",
        "(log_q + rate.to(error) * error)",
        "(rate.to(error) * error - log_q)",
        "test_dequantize.py",
    ),
    # densities in the plane, and energies
    Mutation(
        "likelihood/plane.py",
        "torch.cartesian_prod(first, second)",
        "torch.cartesian_prod(second, first)",
        "test_plane.py",
    ),
    Mutation("likelihood/plane.py", "share * (1 - share) * total", "share * (1 - share)", "test_plane.py"),
    Mutation(
        "likelihood/partition.py",
        "/ (float(c.c_in) * float(t.sigma))",
        "/ float(t.sigma)",
        "test_partition.py",
    ),
    Mutation("likelihood/partition.py", "log_f_new - log_f + there - back", "log_f_new - log_f", "test_partition.py"),
    Mutation(
        "likelihood/partition.py",
        "        before = log_f\n",
        "        before = density(y, walk[k + 1])[0]\n",
        "test_partition.py",
    ),
    Mutation(
        "likelihood/partition.py",
        "dimensions / 2 * log(2 * pi * std**2)",
        "dimensions * log(2 * pi * std**2)",
        "test_partition.py",
    ),
    Mutation(
        "likelihood/partition.py",
        "found - x_t[0].numel() * log(alpha)",
        "found + x_t[0].numel() * log(alpha)",
        "test_partition.py",
    ),
    # the variational bound
    Mutation(
        "process/divergence.py",
        "mean_difference**2 / variance_p) / 2",
        "mean_difference**2 / variance_q) / 2",
        "test_variational.py",
    ),
    Mutation("process/divergence.py", "-log1p(-difference / a)", "-log1p(-difference / b)", "test_variational.py"),
    Mutation(
        "process/divergence.py",
        "(-difference).clamp(min=0) / a",
        "(-difference).clamp(min=0) / b",
        "test_variational.py",
    ),
    Mutation("likelihood/discretised.py", "half = 1 / (levels - 1)", "half = 1 / levels", "test_discretised.py"),
    Mutation(
        "likelihood/discretised.py",
        "log_ndtr((half - outward) / std)",
        "log_ndtr((half + outward) / std)",
        "test_discretised.py",
    ),
    Mutation(
        "likelihood/discretised.py",
        "torch.where(x.abs() > 1 - half, outer, inner)",
        "torch.where(x > 1 - half, outer, inner)",
        "test_discretised.py",
    ),
    Mutation("likelihood/discretised.py", "(u - (values + v) / 2)", "(u - v)", "test_discretised.py"),
    Mutation("likelihood/discretised.py", "(alpha / sigma).square()", "(alpha / sigma)", "test_discretised.py"),
    Mutation(
        "likelihood/discretised.py",
        "(2 * pi * std.square()).log() / 2",
        "(2 * pi * std).log() / 2",
        "test_discretised.py",
    ),
    Mutation("likelihood/variational.py", "expand(q.clean**2, x)", "expand(q.clean, x)", "test_variational.py"),
    Mutation(
        "likelihood/variational.py",
        "gaussian_kl(end.alpha * x_0, end.sigma**2, prior_std**2)",
        "gaussian_kl(end.alpha * x_0, prior_std**2, end.sigma**2)",
        "test_variational.py",
    ),
    Mutation(
        "likelihood/variational.py",
        "return first.sigma**2 / (first.alpha**2 + first.sigma**2)",
        "return first.sigma**2",
        "test_variational.py",
    ),
    Mutation(
        "likelihood/variational.py",
        "posterior(first, level(self.schedule, self.times[2:3])).variance",
        "transition(first, level(self.schedule, self.times[2:3])).variance",
        "test_variational.py",
    ),
    Mutation(
        "likelihood/variational.py",
        "denoised.clean, variance**0.5, levels)",
        "denoised.clean, variance, levels)",
        "test_variational.py",
    ),
    Mutation(
        "likelihood/variational.py",
        "self.times[index[~last] - back]) for back in (1, 0))",
        "self.times[index[~last] - back]) for back in (1, 1))",
        "test_variational.py",
    ),
    Mutation(
        "likelihood/variational.py",
        "searchsorted(-grid, -place, right=True)",
        "searchsorted(-grid, -place).sub(1)",
        "test_continuous_bound.py",
    ),
    Mutation("likelihood/continuous.py", "(snr + 1 / data_std**2)", "(snr + 1 / data_std)", "test_continuous_bound.py"),
    Mutation(
        "likelihood/continuous.py",
        "LikelihoodWeighting().weight(now).to(x_0) * _squared",
        "2 * LikelihoodWeighting().weight(now).to(x_0) * _squared",
        "test_continuous_bound.py",
    ),
    Mutation(
        "likelihood/continuous.py",
        "now = level(self.schedule, self.start)\n",
        "now = level(self.schedule, 1.0)\n",
        "test_continuous_bound.py",
    ),
    Mutation(
        "likelihood/information.py",
        "torch.log1p(data_std**2 * log_snr.exp()) / 2",
        "torch.log1p(data_std**2 * log_snr.exp())",
        "test_continuous_bound.py",
    ),
    Mutation("likelihood/estimate.py", "(high - low) * bound.rate(", "bound.rate(", "test_continuous_bound.py"),
    Mutation(
        "likelihood/estimate.py",
        "normal(seed, ids, k, Purpose",
        "normal(seed, range(len(ids)), k, Purpose",
        "test_continuous_bound.py",
    ),
    Mutation(
        "likelihood/estimate.py", "/ (count - 1) / count).sqrt()", "/ (count - 1)).sqrt()", "test_continuous_bound.py"
    ),
    Mutation(
        "likelihood/measured_variance.py",
        "(wanted - self.log_snr[-1]).clamp(min=0)",
        "(wanted - self.log_snr[-1]).clamp(min=0) / 2",
        "test_variational.py",
    ),
    Mutation("likelihood/measured_variance.py", "total / images.numel()", "total / len(images)", "test_variational.py"),
    # bits
    Mutation("process/binomial.py", "return t.alpha**2", "return t.alpha", "test_binomial.py"),
    Mutation(
        "process/binomial.py",
        "b * (1 - kept(s)) * (1 + kept(s)) / spread",
        "b * (1 - kept(s)) / spread",
        "test_binomial.py",
    ),
    Mutation(
        "process/binomial.py",
        "torch.erfinv(mean.clamp(-1, 1)) * 2**0.5",
        "torch.erfinv(mean.clamp(-1, 1))",
        "test_binomial.py",
    ),
    Mutation("process/binomial.py", "torch.erfinv(mean.clamp(-1, 1))", "torch.erfinv(mean)", "test_binomial.py"),
    Mutation(
        "process/erasing.py",
        "(-log_snr.to(torch.float64)).sigmoid()",
        "(-log_snr.to(torch.float64) / 2).sigmoid()",
        "test_schedule.py",
    ),
    Mutation(
        "denoising/binomial.py",
        "torch.tanh(self.logits(x_t, t) / 2)",
        "torch.tanh(self.logits(x_t, t))",
        "test_binomial.py",
    ),
    Mutation(
        "denoising/binomial.py",
        "truth - agrees * of_t + k * reachable",
        "truth + agrees * of_t + k * reachable",
        "test_binomial.py",
    ),
    Mutation(
        "denoising/binomial.py", "torch.where(i == 0, 1.0, s.alpha)", "torch.as_tensor(s.alpha)", "test_binomial.py"
    ),
    Mutation("denoising/binomial.py", "* steps).round() - 1", "* steps).round()", "test_binomial.py"),
    Mutation("denoising/binomial.py", "return self.steps * term", "return term", "test_binomial.py"),
    Mutation("likelihood/binomial.py", "* x_0[0].numel()", "", "test_binomial.py"),
    Mutation("sampling/solvers/binomial.py", "if s.sigma == 0 and self.last", "if self.last", "test_binomial.py"),
    Mutation(
        "sampling/solvers/binomial.py",
        "float(kernel.noisy) * x + float(kernel.clean) * clean",
        "float(kernel.clean) * x + float(kernel.noisy) * clean",
        "test_binomial.py",
    ),
    # a second distribution
    Mutation("guidance/bits.py", "(1 + a**2 - 2 * a * bit * sure)", "(1 + a**2)", "test_product.py"),
    Mutation("guidance/bits.py", "(clean + rho) / (1 + rho * clean)", "(clean + rho) / (1 + rho)", "test_product.py"),
    Mutation(
        "guidance/bits.py", "torch.where(rho.abs() == 1, rho, ", "torch.where(rho.abs() > 1, rho, ", "test_product.py"
    ),
    Mutation("guidance/bits.py", " * told[:, :, None] * told[:, None, :]", "", "test_product.py"),
    Mutation("guidance/product.py", "(alpha * self.values - x_t)", "(self.values - x_t)", "test_product.py"),
    Mutation("guidance/product.py", "self.known.width**2 * u", "self.known.width * u", "test_product.py"),
    Mutation(
        "guidance/product.py",
        "expand(now.sigma**2 / now.alpha, x_t) * self.score",
        "expand(now.sigma / now.alpha, x_t) * self.score",
        "test_product.py",
    ),
    Mutation(
        "guidance/product.py",
        "direction = left + ratio(",
        "direction = left - ratio(",
        "test_product.py",
    ),
    # the laws that `sumi explain` draws
    Mutation(
        "explain/unscaled.py",
        "((1 - beta) ** 0.5 if scaled else 1.0)",
        "((1 - beta) if scaled else 1.0)",
        "test_explain_laws.py",
    ),
    Mutation("explain/unscaled.py", "betas.cumsum(0)", "betas.sqrt().cumsum(0)", "test_explain_laws.py"),
    Mutation(
        "explain/reverse_kernel.py",
        "(2 * (a**2 * variance + v))",
        "(2 * (variance + v))",
        "test_explain_laws.py",
    ),
    Mutation(
        "explain/reverse_kernel.py",
        "(peaks / variance + a * x_t / v) / precision",
        "(peaks / variance + x_t / v) / precision",
        "test_explain_laws.py",
    ),
    Mutation(
        "explain/reverse_kernel.py",
        "lengths * (alpha**2 / variance)",
        "lengths * (alpha / variance)",
        "test_explain_laws.py",
    ),
    Mutation("process/schedule.py", "(-log_snr).sigmoid().sqrt()", "(-log_snr).sigmoid()", "test_explain_laws.py"),
    Mutation(
        "explain/recognition.py", "/ expand(deviation(t), images)", "/ expand(t.alpha, images)", "test_explain_laws.py"
    ),
    Mutation(
        "explain/recognition.py",
        "(t[k] - t[k - 1]) * (before - wanted) / (before - after)",
        "(t[k] - t[k - 1]) * (wanted - after) / (before - after)",
        "test_explain_laws.py",
    ),
    Mutation(
        "explain/parameterizations.py",
        'Plan("x₀", PredictClean(), SNRWeighting(), False)',
        'Plan("x₀", PredictClean(), ConstantWeighting(), False)',
        "test_explain_laws.py",
    ),
    Mutation(
        "explain/low_density.py",
        "return torch.cat([rungs().flip(0),",
        "return torch.cat([rungs()[:1],",
        "test_explain_laws.py",
    ),
    Mutation(
        "explain/low_density.py", "squares / (2 * variance)", "squares / (2 * variance**0.5)", "test_explain_laws.py"
    ),
    Mutation(
        "explain/low_density.py", "random.choice(2, count, p=SHARES)", "random.choice(2, count)", "test_explain_laws.py"
    ),
    # vectors
    Mutation(
        "networks/mlp.py",
        "return self.linear_out(h).to",
        "return self.linear_out(F.layer_norm(h, width)).to",
        "test_mlp.py",
    ),
    Mutation("networks/mlp.py", "F.layer_norm(h, width), 1 + scale", "F.layer_norm(h, width), scale", "test_mlp.py"),
    Mutation("networks/mlp.py", "chunk(2, dim=1)\n        h =", "chunk(2, dim=1)[::-1]\n        h =", "test_mlp.py"),
    Mutation("networks/unet.py", "2**n * torch.pi * x", "2 * n * torch.pi * x", "test_unet.py"),
    Mutation(
        "networks/unet.py",
        "[x, *(p.sin() for p in phases), *(p.cos() for p in phases), *beside]",
        "[x, *(p.sin() for p in phases), *(p.sin() for p in phases), *beside]",
        "test_unet.py",
    ),
    Mutation(
        "evaluation/kernel_distance.py",
        "lambda a, b: -torch.cdist(a, b,",
        "lambda a, b: -torch.cdist(a, b) * torch.cdist(a, b,",
        "test_evaluation_kernel_distance.py",
    ),
    Mutation(
        "evaluation/kernel_distance.py",
        "lambda a: a.new_zeros(len(a))",
        "lambda a: -a.new_ones(len(a))",
        "test_evaluation_kernel_distance.py",
    ),
    Mutation(
        "data/vectors.py",
        "centre, scale = values.mean(0), 2 * float",
        "centre, scale = values.mean(0), float",
        "test_data_vectors.py",
    ),
    Mutation(
        "data/vectors.py",
        "x = np.array(self.centre or 0.0) + self.scale *",
        "x = np.array(self.centre or 0.0) + scale *",
        "test_data_vectors.py",
    ),
    Mutation(
        "data/vectors.py",
        "{self.levels} {self.centre} {self.scale}",
        "{self.levels} {self.scale}",
        "test_data_vectors.py",
    ),
    Mutation(
        "data/vectors.py",
        "self.values.astype(np.float64).var(0).mean()",
        "self.values.astype(np.float64).var()",
        "test_data_vectors.py",
    ),
    Mutation("data/dataset.py", "held = fractions < held_out", "held = fractions > held_out", "test_data_vectors.py"),
    Mutation("data/builtin/vectors.py", "log(2 * pi * WIDTH**2)", "log(2 * pi * WIDTH) / 2", "test_data_vectors.py"),
    Mutation(
        "data/builtin/vectors.py",
        "angle = 1.5 * pi * (1 + 2 * draw.random(POINTS))",
        "angle = 1.5 * pi * (1 + 2 * draw.random(POINTS) ** 2)",
        "test_data_vectors.py",
    ),
    Mutation(
        "run.py", "torch.where(values > 0, 1.0, -1.0)", "torch.where(values > 1, 1.0, -1.0)", "test_data_vectors.py"
    ),
    Mutation("run.py", "(centre + self.scale * self.as_saved", "(self.scale * self.as_saved", "test_data_vectors.py"),
    Mutation(
        "trained.py", "return dataset.in_units(self.items.centre, self.items.scale)", "return dataset", "test_model.py"
    ),
    Mutation(
        "model.py",
        "end.clamp(-1, 1) if isinstance(self.items, ImageSpec) else end",
        "end.clamp(-1, 1)",
        "test_model.py",
    ),
    Mutation("model.py", "denoiser if wrap is None else wrap(denoiser)", "denoiser", "test_model.py"),
    Mutation(
        "measure_vectors.py",
        "alike = torch.from_numpy(beside.values)",
        "known = torch.from_numpy(beside.values)",
        "test_measure_vectors.py",
    ),
    Mutation(
        "measure_vectors.py",
        "energy_distance(drawn, real), energy_distance(alike, real)",
        "energy_distance(drawn, alike), energy_distance(alike, real)",
        "test_measure_vectors.py",
    ),
    Mutation(
        "evaluation/vector_pictures.py",
        "bins=bins, color=INK, weights=[1 / len(x)] * len(x)",
        "bins=bins, color=INK, density=True",
        "test_vector_pictures.py",
    ),
    Mutation(
        "trajectory.py",
        "model.start_noise(range(index, index + count), seed,",
        "model.start_noise(range(count), seed,",
        "test_vectors_cli.py",
    ),
    Mutation("trajectory.py", "reach_of([*path.x])", "reach_of([path.x[0]])", "test_vectors_cli.py"),
    # learned variances, losses from the bound, and what `sumi nll` tells
    Mutation("denoising/variance.py", "fraction = (said + 1) / 2", "fraction = said + 1", "test_variance.py"),
    Mutation("denoising/variance.py", "first = time * steps < 1.5", "first = time * steps < 0.5", "test_variance.py"),
    Mutation(
        "denoising/variance.py",
        "torch.as_tensor(posterior(earlier, later).clean) ** 2)",
        "torch.as_tensor(posterior(earlier, later).clean))",
        "test_variance.py",
    ),
    Mutation(
        "denoising/variance.py",
        "return scale * ((fraction * log_ratio).expm1() + expand(first.double(), said))",
        "return scale * (fraction * log_ratio).expm1()",
        "test_variance.py",
    ),
    Mutation("sampling/solvers/ddim.py", "of_clean**2 * denoised", "of_clean * denoised", "test_ddim.py"),
    Mutation(
        "sampling/solvers/ddim.py",
        "self._learned_std(denoised, posterior_std**2, of_clean)",
        "self._learned_std(denoised, posterior_std, of_clean)",
        "test_ddim.py",
    ),
    Mutation(
        "likelihood/training.py",
        "held = replace(denoised, clean=denoised.clean.detach())",
        "held = replace(denoised)",
        "test_likelihood_training.py",
    ),
    Mutation(
        "likelihood/training.py",
        "per_element = self.bound.steps / x_0[0].numel()",
        "per_element = 1 / x_0[0].numel()",
        "test_likelihood_training.py",
    ),
    Mutation("likelihood/training.py", "nats * (len(x_0) / few)", "nats", "test_likelihood_training.py"),
    Mutation(
        "likelihood/training.py",
        "_at(end.sigma, x_0) ** 2, 1.0",
        "_at(end.sigma, x_0), 1.0",
        "test_likelihood_training.py",
    ),
    Mutation(
        "process/learned.py",
        "self.ends.cpu().double()",
        "self.ends.detach().cpu().double()",
        "test_learned_schedule.py",
    ),
    Mutation("training/diffusion.py", "(places - 0.5)", "places", "test_likelihood_training.py"),
    Mutation(
        "kinds/diffusion.py",
        "None if config.data.dequantize else levels",
        "levels",
        "test_likelihood_training.py",
    ),
    Mutation(
        "kinds/diffusion.py",
        "bin_width=2 / (levels - 1)",
        "bin_width=2 / levels",
        "test_likelihood_training.py",
    ),
    Mutation("recipes/vdm.py", "fourier = (3, 4)", "fourier = (2, 3)", "test_recipes.py"),
    Mutation(
        "diffusion_config.py",
        'isinstance(solver, DDIM) and solver.variance == "learned"',
        'isinstance(solver, DDIM) and solver.variance == "large"',
        "test_recipes.py",
    ),
    Mutation("nll_figures.py", "dimensions, log(items.scale)", "dimensions, -log(items.scale)", "test_nll.py"),
    Mutation("nll_figures.py", "dimensions * log(2))", "dimensions * 1.0)", "test_nll.py"),
    Mutation(
        "nll_by_ode.py",
        "importance_weighted_bits(weights, 1) * log(2)",
        "importance_weighted_bits(weights, 1)",
        "test_nll.py",
    ),
    Mutation("nll_by_ode.py", "2 / (levels - 1) / BINS_IN_NOISE", "2 / (levels - 1) * 2", "test_nll.py"),
    Mutation(
        "nll.py",
        "ContinuousBound(schedule, start, levels, model.prior_std)",
        "ContinuousBound(schedule, start, levels)",
        "test_nll.py",
    ),
    Mutation("nll.py", "draws=max(1, evaluations // steps)", "draws=1", "test_nll.py"),
    Mutation(
        "nll.py",
        "snap(log_snr(schedule, min(network.grid, MEASURED_AT)), network.grid)",
        "snap(torch.linspace(1, 0, 101).double(), network.grid)",
        "test_nll.py",
    ),
    # evaluation: precision, recall, density, coverage
    Mutation(
        "evaluation/precision_recall.py",
        ".kthvalue(k + 1, dim=1)",
        ".kthvalue(k, dim=1)",
        "test_evaluation_precision_recall.py",
    ),
    Mutation(
        "evaluation/precision_recall.py",
        "inside = distance <= radius_real",
        "inside = distance < radius_real",
        "test_evaluation_precision_recall.py",
    ),
    Mutation(
        "evaluation/precision_recall.py",
        "recalled |= (distance <= radius[:, None]).any(0)",
        "recalled |= (distance <= radius_real).any(0)",
        "test_evaluation_precision_recall.py",
    ),
    Mutation(
        "evaluation/precision_recall.py", "held / (k * m)", "held / (k * n)", "test_evaluation_precision_recall.py"
    ),
    Mutation(
        "evaluation/precision_recall.py",
        "math.comb(real - 1, neighbours) / math",
        "math.comb(real, neighbours) / math",
        "test_evaluation_precision_recall.py",
    ),
    Mutation(
        "evaluation/precision_recall.py",
        "(larger * groups**-rate)",
        "(larger * groups**-(2 * rate))",
        "test_evaluation_precision_recall.py",
    ),
    Mutation(
        "evaluation/dependent_share.py",
        "value * (1 - value) + w / 4",
        "value * (1 - value) + w",
        "test_evaluation_precision_recall.py",
    ),
    # the Inception score
    Mutation(
        "evaluation/inception_score.py",
        "n * information - (n - 1) * float(left.mean())",
        "n * float(left.mean()) - (n - 1) * information",
        "test_evaluation_inception_score.py",
    ),
    Mutation(
        "evaluation/inception_score.py",
        "left -= (entropies.sum() - entropies) / (n - 1)",
        "left -= entropies.mean()",
        "test_evaluation_inception_score.py",
    ),
    Mutation(
        "evaluation/inception_score.py",
        "math.sqrt((n - 1) * float(left.var(correction=0)))",
        "math.sqrt(float(left.var(correction=0)))",
        "test_evaluation_inception_score.py",
    ),
    # moments in one pass
    Mutation(
        "evaluation/moments.py",
        "(a.count * b.count / safe)[:, None] * apart",
        "(a.count * b.count)[:, None] * apart",
        "test_evaluation_streaming_moments.py",
    ),
    Mutation(
        "evaluation/moments.py",
        "(a.count[:, None] * a.mean + b.count[:, None] * b.mean) / safe[:, None]",
        "(a.mean + b.mean) / 2",
        "test_evaluation_streaming_moments.py",
    ),
    Mutation(
        "evaluation/moments.py",
        "return self.scatter / (self.count[..., None, None] - 1)",
        "return self.scatter / self.count[..., None, None]",
        "test_evaluation_streaming_moments.py",
    ),
    Mutation(
        "evaluation/moments.py",
        "before = self.count % groups",
        "before = 0",
        "test_evaluation_streaming_moments.py",
    ),
    Mutation(
        "evaluation/moments.py",
        "(left * count / whole.count)[:, None]",
        "(left * count / left)[:, None]",
        "test_evaluation_streaming_moments.py",
    ),
    Mutation(
        "evaluation/moments.py",
        "g.scatter.sum(0) + apart.T @ (g.count[:, None] * apart)",
        "g.scatter.sum(0) + apart.T @ apart",
        "test_evaluation_streaming_moments.py",
    ),
    Mutation(
        "evaluation/streaming_moments.py",
        "vars(self.moments.groups).values():\n            digest",
        "list(vars(self.moments.groups).values())[:2]:\n            digest",
        "test_evaluation_streaming_moments.py",
    ),
    Mutation(
        "evaluation/frechet.py",
        "float(share @ values) - (groups - 1) * plug_in",
        "(groups - 1) * (float(values.mean()) - plug_in)",
        "test_evaluation_frechet.py",
    ),
    Mutation(
        "evaluation/frechet.py", "(1 - share) / share).mean())", "(1 - share)).mean())", "test_evaluation_frechet.py"
    ),
    Mutation("evaluation/frechet.py", "values[varies].sqrt()", "values[varies]", "test_evaluation_frechet.py"),
    # spectra
    Mutation(
        "evaluation/spectrum.py",
        "(images.shape[2] * images.shape[3])",
        "(images.shape[2] * images.shape[3]) ** 2",
        "test_evaluation_spectrum.py",
    ),
    Mutation(
        "evaluation/spectrum.py",
        "_lengths(height, width) * max(height, width)",
        "_lengths(height, width) * min(height, width)",
        "test_evaluation_spectrum.py",
    ),
    Mutation(
        "evaluation/spectrum.py",
        "biased - float(covariance.trace()), 2 * float",
        "biased, 2 * float",
        "test_evaluation_spectrum.py",
    ),
    Mutation("evaluation/spectrum.py", "slope = float(4 * apart", "slope = float(apart", "test_evaluation_spectrum.py"),
    # copies and classes
    Mutation(
        "evaluation/copy_rate.py",
        "distance[torch.arange(len(chosen)), chosen] = torch.inf",
        "distance[torch.arange(len(chosen)), chosen] = 0",
        "test_evaluation_copy_rate.py",
    ),
    Mutation("evaluation/copy_rate.py", "images.flip(3)", "images.flip(2)", "test_evaluation_copy_rate.py"),
    Mutation(
        "evaluation/copy_rate.py",
        "share(found.real - near, found.real))",
        "share(found.real, found.real))",
        "test_evaluation_copy_rate.py",
    ),
    Mutation("evaluation/copy_rate.py", ".mean(2).sqrt().mean(1)", ".mean(2).mean(1)", "test_evaluation_copy_rate.py"),
    Mutation(
        "evaluation/class_accuracy.py",
        "sum(w * b for w, b, _ in wanted)",
        "sum(b / len(wanted) for w, b, _ in wanted)",
        "test_evaluation_class_accuracy.py",
    ),
    Mutation(
        "evaluation/class_accuracy.py",
        "labels.cpu().long() * classes + answers",
        "answers * classes + labels.cpu().long()",
        "test_evaluation_class_accuracy.py",
    ),
    Mutation(
        "evaluation/class_accuracy.py",
        "alike = sum(w**2 / n for",
        "alike = sum(w**2 / n**2 for",
        "test_evaluation_class_accuracy.py",
    ),
    # inverse problems
    Mutation(
        "restoration/operators.py",
        "torch.where(mask.to(x.device), 0.0, x)",
        "torch.where(mask.to(x.device), x, 0.0)",
        "test_restoration_operators.py",
    ),
    Mutation(
        "restoration/operators.py",
        "self.adjoint(y) / float(self.weights.square().sum())",
        "self.adjoint(y) / float(self.weights.sum())",
        "test_restoration_operators.py",
    ),
    Mutation(
        "restoration/operators.py",
        "self.adjoint(self(x)), self.adjoint(y), self.iterations)",
        "self.adjoint(self(x)), self.inner.adjoint(self.outer.pseudo_inverse(y)), self.iterations)",
        "test_restoration_operators.py",
    ),
    Mutation(
        "restoration/separable.py", "factor + (factor - 1) / 2", "factor + factor / 2", "test_restoration_operators.py"
    ),
    Mutation(
        "restoration/separable.py",
        "((-0.5 * d + 2.5) * d - 4) * d + 2",
        "((-0.75 * d + 3.75) * d - 6) * d + 3",
        "test_restoration_operators.py",
    ),
    Mutation(
        "restoration/separable.py",
        "y, self.rows.T, self.columns.T)",
        "y, self.rows.T, self.inverses[1])",
        "test_restoration_operators.py",
    ),
    Mutation(
        "restoration/convolution.py", "self._transfer(y).conj())", "self._transfer(y))", "test_restoration_operators.py"
    ),
    Mutation(
        "restoration/convolution.py",
        "(torch.arange(n) - n // 2 for",
        "(torch.arange(n) - (n - 1) // 2 for",
        "test_restoration_operators.py",
    ),
    Mutation(
        "restoration/convolution.py",
        "torch.where(size < self.least * size.max(), 0.0, transfer)",
        "transfer",
        "test_restoration_operators.py",
    ),
    Mutation(
        "restoration/convolution.py", "radius - along * sin(", "radius + along * sin(", "test_restoration_operators.py"
    ),
    Mutation("restoration/convolution.py", "/ (2 * std**2)).exp()", "/ std**2).exp()", "test_restoration_operators.py"),
    Mutation("restoration/jpeg.py", "x * 127.5 - 0.5 ", "x * 127.5 ", "test_restoration_operators.py"),
    Mutation(
        "restoration/jpeg.py",
        "(multiples.round() - multiples).detach()",
        "(multiples.round() - multiples)",
        "test_restoration_operators.py",
    ),
    Mutation(
        "restoration/measurement.py",
        "x - operator.pseudo_inverse(operator(x)) + operator",
        "x + operator",
        "test_restoration_operators.py",
    ),
    Mutation(
        "restoration/posterior.py",
        "+ self.measurement.std**2 * u\n\n            clean",
        "+ self.measurement.std * u\n\n            clean",
        "test_restoration.py",
    ),
    Mutation(
        "restoration/posterior.py",
        "return data_std**2 * t.sigma**2 / (t.alpha**2 * data_std**2 + t.sigma**2)",
        "return data_std**2 * t.sigma**2 / (data_std**2 + t.sigma**2)",
        "test_restoration.py",
    ),
    Mutation(
        "restoration/posterior.py",
        "variance * operator(operator.adjoint(u)) + measurement.std**2 * u",
        "operator(operator.adjoint(u)) + measurement.std**2 * u",
        "test_restoration.py",
    ),
    Mutation(
        "restoration/posterior.py",
        "return back / (variance.reshape",
        "return back * (variance.reshape",
        "test_restoration.py",
    ),
    Mutation("restoration/posterior.py", "-distance / 2", "-distance", "test_twisted.py"),
    Mutation("restoration/replacement.py", "float(s.alpha) * known", "float(t.alpha) * known", "test_restoration.py"),
    Mutation("restoration/replacement.py", "float(up.variance) ** 0.5", "float(up.variance)", "test_restoration.py"),
    Mutation(
        "restoration/replacement.py",
        "range(1, steps - jump + 1, jump)",
        "range(0, steps - jump + 1, jump)",
        "test_restoration.py",
    ),
    Mutation("restoration/replacement.py", "resamplings - 1)", "resamplings)", "test_restoration.py"),
    Mutation("restoration/dps.py", "x_s - self.zeta * gradient", "x_s + self.zeta * gradient", "test_restoration.py"),
    Mutation("restoration/dps.py", ".flatten(1).norm(dim=1)", ".flatten(1).square().sum(1)", "test_restoration.py"),
    Mutation(
        "restoration/dps.py",
        "self.denoised if x_t is self.x and t is self.t else",
        "self.denoised if x_t is self.x and t is None else",
        "test_restoration.py",
    ),
    Mutation(
        "restoration/twisted.py",
        "float(kernel.clean) ** 2 * spread) ** 0.5",
        "float(kernel.clean) * spread) ** 0.5",
        "test_twisted.py",
    ),
    Mutation("restoration/twisted.py", "twist + 2 * std * z", "twist + std * z", "test_twisted.py"),
    Mutation("restoration/twisted.py", "+ correction - state.log_likelihood", "+ correction", "test_twisted.py"),
    Mutation("restoration/twisted.py", "+ correction - state", "- correction - state", "test_twisted.py"),
    Mutation("restoration/twisted.py", "missing - measurement.std * of_y", "missing", "test_twisted.py"),
    Mutation(
        "restoration/twisted.py",
        "chosen = chosen.gather(1, second.argsort(1))",
        "chosen = chosen.gather(1, second.argsort(1).sort(1).values)",
        "test_twisted.py",
    ),
    Mutation(
        "restoration/twisted.py",
        "torch.where(poor[:, None], 0.0, state.log_weight)",
        "state.log_weight",
        "test_twisted.py",
    ),
    Mutation(
        "restoration/twisted.py",
        "weights.cumsum(1), places, right=True",
        "weights.cumsum(1), places + 1 / count, right=True",
        "test_twisted.py",
    ),
    Mutation(
        "restoration/twisted.py",
        "1 / log_weight.softmax(1).square().sum(1)",
        "1 / log_weight.softmax(1).square().sum(1).sqrt()",
        "test_twisted.py",
    ),
    Mutation(
        "guidance/product.py",
        "expand(t.sigma**2 / t.alpha, point)",
        "expand(t.sigma / t.alpha, point)",
        "test_restoration.py",
    ),
    Mutation("guidance/product.py", "(of > rounding) & (to > 0)", "(of >= 0) & (to > 0)", "test_restoration.py"),
    # labels and guidance
    Mutation(
        "guidance/extrapolation.py",
        "better.clean + expand(scale - 1, x_t) * (better.clean - worse.clean)",
        "better.clean + expand(scale, x_t) * (better.clean - worse.clean)",
        "test_extrapolation.py",
    ),
    Mutation(
        "guidance/extrapolation.py",
        "better.clean + expand(scale - 1, x_t) * (better.clean - worse.clean)",
        "worse.clean + expand(scale - 1, x_t) * (better.clean - worse.clean)",
        "test_extrapolation.py",
    ),
    Mutation("guidance/interval.py", "(ratio <= self.high)", "(ratio >= self.high)", "test_extrapolation.py"),
    Mutation(
        "guidance/interval.py",
        "ratio = torch.as_tensor(now.sigma, dtype=torch.float64) / torch.as_tensor(now.alpha, dtype=torch.float64)",
        "ratio = torch.as_tensor(now.sigma, dtype=torch.float64)",
        "test_extrapolation.py",
    ),
    Mutation(
        "guidance/interval.py",
        "torch.where(counts, inside, outside)",
        "torch.where(counts, outside, inside)",
        "test_extrapolation.py",
    ),
    Mutation("guidance/extrapolation.py", "before / after, 1.0", "after / before, 1.0", "test_extrapolation.py"),
    Mutation(
        "guidance/extrapolation.py",
        "for x in (better.clean, clean))",
        "for x in (worse.clean, clean))",
        "test_extrapolation.py",
    ),
    Mutation("guidance/thresholding.py", ".clamp(-s, s) / s", ".clamp(-s, s)", "test_extrapolation.py"),
    Mutation(
        "guidance/thresholding.py",
        "self.percentile, dim=1).clamp(min=1.0)",
        "self.percentile, dim=1)",
        "test_extrapolation.py",
    ),
    Mutation("guidance/thresholding.py", ".abs().flatten(1).quantile", ".flatten(1).quantile", "test_extrapolation.py"),
    Mutation("conditioning/labels.py", "[:, 0] < self.dropout", "[:, 0] > self.dropout", "test_labels.py"),
    Mutation(
        "conditioning/labels.py",
        "torch.full((len(like),), self.classes,",
        "torch.full((len(like),), 0,",
        "test_labels.py",
    ),
    Mutation(
        "conditioning/labels.py",
        "torch.from_numpy(self.labels[items])",
        "torch.from_numpy(self.labels[: len(items)])",
        "test_labels.py",
    ),
    Mutation(
        "training/diffusion.py",
        'own = denoiser.network, getattr(denoiser, "conditioner", None)',
        "own = (denoiser.network,)",
        "test_labels.py",
    ),
    Mutation(
        "training/diffusion.py",
        "ConditionDraws(self.seed, step, positions.tolist())",
        "ConditionDraws(self.seed, step, items.tolist())",
        "test_labels.py",
    ),
    Mutation(
        "training/diffusion.py",
        "ConditionDraws(self.seed, step, positions.tolist())",
        "ConditionDraws(self.seed, 0, positions.tolist())",
        "test_labels.py",
    ),
    Mutation(
        "denoising/denoiser.py",
        "return self.denoiser.predict(x_t, c, self.condition)",
        "return self.denoiser.predict(x_t, c)",
        "test_labels.py",
    ),
    Mutation("networks/unet.py", "embedding + told.vector", "embedding * told.vector", "test_labels.py"),
    Mutation("networks/mlp.py", "embedding + told.vector", "told.vector", "test_labels.py"),
    Mutation(
        "model.py",
        "rows = slice(indices.start - start, indices.stop - start)",
        "rows = slice(0, len(indices))",
        "test_classifier_free.py",
    ),
    Mutation(
        "vocabulary.py",
        "[i % len(names) for i in indices]",
        "[i % len(names) for i in range(len(indices))]",
        "test_classifier_free.py",
    ),
    Mutation(
        "steered.py",
        "Extrapolation(better, worse, scale",
        "Extrapolation(worse, better, scale",
        "test_classifier_free.py",
    ),
    Mutation(
        "measure.py",
        "torch.from_numpy(train.labels[chosen])",
        "torch.from_numpy(chosen % len(train.label_names))",
        "test_classifier_free.py",
    ),
    Mutation(
        "evaluation/summary.py",
        "sample_classes.argmax(1) == sample_labels.cpu()",
        "sample_classes.argmin(1) == sample_labels.cpu()",
        "test_classifier_free.py",
    ),
    Mutation(
        "restore_files.py",
        ".pixels[0] >= 128",
        ".pixels[0] > 128",
        "test_restore.py",
    ),
    Mutation(
        "restore.py",
        "x = known.consistent(clamped)",
        "x = clamped",
        "test_restore.py",
    ),
    Mutation(
        "restore.py",
        "made.append(candidates(model, known, indices, how, shape).cpu())",
        "made.append(candidates(model, known, range(len(indices)), how, shape).cpu())",
        "test_restore.py",
    ),
    Mutation(
        "restore.py",
        "torch.arange(len(indices)) % len(known.y)",
        "torch.zeros(len(indices), dtype=torch.int64)",
        "test_trained_restoration.py",
    ),
    Mutation("restore.py", 'ANCESTRAL: Final = "ddpm"', 'ANCESTRAL: Final = "ddim"', "test_trained_restoration.py"),
    Mutation("restore_files.py", "BYTES.to_bytes(made.mean(0))", "BYTES.to_bytes(made[0])", "test_restore.py"),
    Mutation(
        "restore.py",
        "MomentMatching(denoiser, known, ITERATIONS)",
        "MomentMatching(denoiser, known, 1)",
        "test_restore.py",
    ),
    Mutation(
        "restore.py",
        "return torch.where(times == 1, 1 - 0.01 * (1 - times[times < 1].max()), times)",
        "return times",
        "test_restore.py",
    ),
    # what the report says of samples beside real images
    Mutation(
        "evaluation/beside_real.py",
        "for x in (samples, training))\n    return Compared(of_samples, of_training)\n\n\ndef scores",
        "for x in (samples, training))\n    return Compared(of_training, of_samples)\n\n\ndef scores",
        "test_evaluation_summary.py",
    ),
    Mutation(
        "evaluation/beside_real.py",
        "return Compared(inception_score(samples), inception_score(held_out))",
        "return Compared(inception_score(samples), inception_score(samples))",
        "test_evaluation_summary.py",
    ),
    Mutation(
        "evaluation/beside_real.py",
        "torch.argsort(ratios.ratio, stable=True)",
        "torch.argsort(ratios.ratio, stable=True, descending=True)",
        "test_evaluation_summary.py",
    ),
    Mutation(
        "evaluation/verdict.py", "if pair[0].high < pair[1].low", "if pair[0].low < pair[1].high", "test_report.py"
    ),
    Mutation(
        "evaluation/verdict.py", "wrong if balance.p_value < SIG", "wrong if balance.p_value > SIG", "test_report.py"
    ),
    Mutation("evaluation/verdict.py", "or evaluation.closeness < CLOSE", "or CLOSE > 0", "test_report.py"),
    Mutation("evaluation/sections.py", "int(samples.low > real.high) - int", "int", "test_report.py"),
    Mutation(
        "evaluation/summary.py",
        "and copies.found.ratios.p_value < SIGNIFICANT",
        "and copies.found.rate.low > 0",
        "test_report.py",
    ),
    Mutation("evaluation/charts.py", "if not (every <= 0).any():", "if not (every <= 0).all():", "test_report.py"),
    Mutation("sampled_moments.py", "seed=seed, start=first", "seed=seed, start=start", "test_sampled_moments.py"),
    Mutation("evaluation/report.py", "if len(cells) == 1 < columns:", "if len(cells) == 1:", "test_report.py"),
    Mutation(
        "evaluation/beside_real.py",
        "2 * (2 * reach + 1) ** 2 *",
        "(2 * reach + 1) ** 2 *",
        "test_evaluation_summary.py",
    ),
    Mutation("evaluation/measurements.py", "counts[other] else", "counts[one.label] else", "test_report.py"),
    # conditions
    Mutation("conditioning/masks.py", "kind < RECTANGLES, rectangle", "kind < FRAMES, rectangle", "test_conditions.py"),
    Mutation("conditioning/masks.py", "top * (1 - tall)", "top * tall", "test_conditions.py"),
    Mutation("conditioning/masks.py", "0.25 + 0.75 * high", "0.75 * high", "test_conditions.py"),
    Mutation(
        "conditioning/masks.py", "(breadth[..., None, None] / 2)", "(breadth[..., None, None])", "test_conditions.py"
    ),
    Mutation("conditioning/masks.py", "1e-12)).clamp(0, 1)", "1e-12))", "test_conditions.py"),
    Mutation("conditioning/image.py", ">= config.dropout", "< config.dropout", "test_conditions.py"),
    Mutation("conditioning/image.py", "(~mask).to(image)", "mask.to(image)", "test_conditions.py"),
    Mutation(
        "conditioning/image.py", "angle.cos() * image", "(1 - s)[:, None, None, None] * image", "test_conditions.py"
    ),
    Mutation("conditioning/image.py", "noise=s * told", "noise=s * 0 * told", "test_conditions.py"),
    Mutation("conditioning/image.py", "(1 - CLEAN)).clamp(min=0)", "1.0).clamp(min=0)", "test_conditions.py"),
    Mutation("conditioning/image.py", "antialias=True", "align_corners=True", "test_conditions.py"),
    Mutation("conditioning/values.py", "(values - self.mean) / self.std", "values / self.std", "test_conditions.py"),
    Mutation("conditioning/values.py", "* said[..., None]", "", "test_conditions.py"),
    Mutation("conditioning/values.py", "column[~column.isnan()]", "column.nan_to_num()", "test_conditions.py"),
    Mutation("conditioning/condition.py", "part[which]", "part", "test_conditions.py"),
    Mutation(
        "networks/layers.py",
        "        key, value = heads.permute(2, 0, 3, 1, 4)",
        "        value, key = heads.permute(2, 0, 3, 1, 4)",
        "test_conditions.py",
    ),
    Mutation(
        "training/diffusion.py",
        "self.condition.of(items, x_0, draws)",
        "self.condition.of(items, self.data.batch(items), draws)",
        "test_conditions.py",
    ),
    Mutation(
        "diffusion_config.py", 'if name != "dropout"', 'if name not in ("dropout", "factor")', "test_conditions.py"
    ),
    Mutation("conditioning/measured.py", "math.cos(math.pi / 2 * s) * y", "y", "test_trained_restoration.py"),
    Mutation(
        "conditioning/measured.py", "2 / math.pi * math.atan(std)", "math.atan(std)", "test_trained_restoration.py"
    ),
    Mutation(
        "conditioning/measured.py",
        "torch.equal(matrix, box_matrix(matrix.shape[1], factor))",
        "matrix.shape[0] * factor == matrix.shape[1]",
        "test_trained_restoration.py",
    ),
    Mutation(
        "conditioning/measured.py", "_share(std) <= config.noise", "std <= config.noise", "test_trained_restoration.py"
    ),
    Mutation("restore.py", "return TRAINED\n", "pass\n", "test_trained_restoration.py"),
    # what guided samples are not
    Mutation("explain/guided.py", "- 2 * stds.log()", "- stds.log()", "test_explain_laws.py"),
    Mutation("explain/guided.py", "(marginal + scale * of_class)", "(marginal + of_class)", "test_explain_laws.py"),
    Mutation(
        "explain/guided.py",
        "shares[parts] / shares[parts].sum(), schedule)\n",
        "shares[parts].flip(0), schedule)\n",
        "test_explain_laws.py",
    ),
    Mutation("explain/guided.py", "(axis[1] - axis[0]) / 2", "(axis[1] - axis[0])", "test_explain_laws.py"),
    # the trade-off of guidance
    Mutation(
        "trade_off.py", "replace(plain, classifier_scale=value)", "replace(plain, guidance=value)", "test_trade_off.py"
    ),
    Mutation("trade_off.py", "plain = replace(led, worse=None)", "plain = led", "test_trade_off.py"),
    Mutation("trade_off.py", "plain = replace(led, classifier=None)", "plain = led", "test_trade_off.py"),
    Mutation(
        "trade_off.py", "seed=seed, label=labels, steering", "seed=1, label=labels, steering", "test_trade_off.py"
    ),
    Mutation("trade_off.py", "tuple(sorted(set(scales)))", "tuple(scales)", "test_trade_off.py"),
    Mutation(
        "evaluation/sweep_measures.py", ".argmax(1) == self._asked", ".argmax(1) != self._asked", "test_trade_off.py"
    ),
    Mutation("evaluation/sweep_measures.py", "training[: len(held_out)]))", "training))", "test_evaluation_sweeps.py"),
    Mutation(
        "evaluation/class_accuracy.py", "asked.bincount(minlength", "labels.bincount(minlength", "test_trade_off.py"
    ),
    Mutation("evaluation/trade_off_section.py", '("lowest", lt)', '("lowest", gt)', "test_trade_off.py"),
    Mutation(
        "evaluation/trade_off_section.py", "e.low <= found.high and", "e.low <= found.low and", "test_trade_off.py"
    ),
    Mutation(
        "evaluation/charts.py",
        "[a.low, a.high], [b.value, b.value]",
        "[b.low, b.high], [b.value, b.value]",
        "test_trade_off.py",
    ),
    Mutation(
        "evaluation/charts.py",
        "np.arcsin(np.sqrt(np.clip(share, 0, 1)))",
        "np.arcsin(np.clip(share, 0, 1))",
        "test_trade_off.py",
    ),
    # sweeps over a sampler's settings
    Mutation("evaluation/exchange.py", "< 0.5", "< 0.05", "test_evaluation_exchange.py"),
    Mutation(
        "evaluation/exchange.py",
        "torch.ones_like(observed)",
        "torch.zeros_like(observed)",
        "test_evaluation_exchange.py",
    ),
    Mutation("evaluation/exchange.py", "torch.where(mask, first, second)", "second", "test_evaluation_exchange.py"),
    Mutation("evaluation/sweeps.py", "sets[0], sets[-1]", "sets[0], sets[1]", "test_evaluation_sweeps.py"),
    Mutation("evaluation/sweep_measures.py", "kept <= self._near", "kept >= self._near", "test_evaluation_sweeps.py"),
    Mutation(
        "evaluation/sweep_measures.py",
        '{"precision": precision, "recall": recall}',
        '{"precision": recall, "recall": precision}',
        "test_evaluation_sweeps.py",
    ),
    Mutation("evaluation/sweep_sections.py", "MOST_OF_IT * fall", "fall", "test_evaluation_sweeps.py"),
    Mutation("evaluation/sweep_sections.py", "if last > first", "if last < first", "test_evaluation_sweeps.py"),
    Mutation("evaluation/charts.py", "times * real[name]", "real[name]", "test_evaluation_sweeps.py"),
    Mutation("sweep.py", "min(k, grid)", "k", "test_sweep.py"),
    Mutation("sweep.py", 'config.steps, "ddim", eta', '50, "ddim", eta', "test_sweep.py"),
    Mutation("sweep.py", "eta=eta, seed=seed,", "eta=eta, seed=0,", "test_sweep.py"),
    # feature spaces from files
    Mutation(
        "evaluation/inception.py",
        "count_include_pad=self.zeros",
        "count_include_pad=not self.zeros",
        "test_feature_spaces.py",
    ),
    Mutation(
        "evaluation/inception.py",
        "_Pool(1, most=True, zeros=False) if original else means",
        "means",
        "test_feature_spaces.py",
    ),
    Mutation(
        "evaluation/inception.py",
        "row, column = Size(width, (1, 7)), Size(width, (7, 1))",
        "row, column = Size(width, (7, 1)), Size(width, (1, 7))",
        "test_feature_spaces.py",
    ),
    Mutation("evaluation/inception.py", "eps=1e-3", "eps=1e-1", "test_feature_spaces.py"),
    Mutation(
        "evaluation/inception.py",
        "self.biased = classes, not original",
        "self.biased = classes, original",
        "test_feature_spaces.py",
    ),
    Mutation(
        "evaluation/pretrained.py",
        "network.eval().requires_grad_(False)",
        "network.train().requires_grad_(False)",
        "test_feature_spaces.py",
    ),
    Mutation("evaluation/preprocessing.py", "antialias=True", "antialias=False", "test_feature_spaces.py"),
    Mutation("evaluation/preprocessing.py", "(have - want) // 2", "(have - want) // 3", "test_feature_spaces.py"),
    Mutation(
        "evaluation/preprocessing.py", "x = (images.float() + 1) / 2", "x = images.float()", "test_feature_spaces.py"
    ),
    Mutation(
        "evaluation/preprocessing.py", "return (x - mean) / std", "return x / std - mean", "test_feature_spaces.py"
    ),
    Mutation("evaluation/inception_weights.py", "weights_only=True", "weights_only=False", "test_feature_spaces.py"),
    Mutation(
        "evaluation/hugging_face.py",
        'if found["missing_keys"]:',
        'if found["mismatched_keys"]:',
        "test_hugging_face.py",
    ),
    Mutation("evaluation/seen.py", "features[: keep - len(kept)]", "features[:keep]", "test_measure_images.py"),
    Mutation(
        "evaluation/summary.py",
        "train_images[alike[: len(all_held_out)]]",
        "train_images[alike]",
        "test_measure_images.py",
    ),
    Mutation(
        "evaluation/loss_by_noise.py",
        "clean * torch.as_tensor(now.log_snr).exp()",
        "clean * torch.as_tensor(now.log_snr / 2).exp()",
        "test_explain.py",
    ),
    Mutation(
        "evaluation/loss_by_noise.py",
        "error = apart.square().mean(0).sqrt()",
        "error = 2 * apart.square().mean(0).sqrt()",
        "test_explain.py",
    ),
    Mutation(
        "evaluation/loss_by_noise.py",
        "images[i : i + batch_size], i, now.chosen(slice(i, i + batch_size))",
        "images[i : i + batch_size], i, now.chosen(slice(0, batch_size))",
        "test_explain.py",
    ),
    Mutation("evaluation/loss_by_noise.py", "edges[1:-1], right=True", "edges[:-1], right=True", "test_explain.py"),
    # image to image
    Mutation(
        "sampling/inversion.py", "float(s.sigma) / 2 * denoiser", "float(s.sigma) * denoiser", "test_image_to_image.py"
    ),
    Mutation(
        "sampling/inversion.py",
        "float(deviation(s) / deviation(t)) * (x - back)",
        "float(deviation(t) / deviation(s)) * (x - back)",
        "test_image_to_image.py",
    ),
    Mutation("sampling/inversion.py", "* (x - back)", "* (back - x)", "test_image_to_image.py"),
    Mutation(
        "sampling/inversion.py",
        "x_s, s, t, self.solver.init()",
        "x_s, t, s, self.solver.init()",
        "test_image_to_image.py",
    ),
    Mutation("sampling/sample.py", "        walk[0] = DATA", "        walk[0] = walk[0]", "test_image_to_image.py"),
    Mutation("sampling/sdedit.py", "tan(pi / 2 * strength)", "tan(pi / 4 * strength)", "test_image_to_image.py"),
    Mutation("sampling/sdedit.py", "-2 * log(ratio)", "-log(ratio)", "test_image_to_image.py"),
    Mutation("sampling/sdedit.py", "max(1, round(t * grid))", "round(t * grid)", "test_image_to_image.py"),
    Mutation("sampling/sdedit.py", "times[times < t]", "times[times <= t]", "test_image_to_image.py"),
    Mutation(
        "sampling/spherical.py",
        "length = (1 - w) * lengths[0] + w * lengths[1]",
        "length = w * lengths[0] + (1 - w) * lengths[1]",
        "test_image_to_image.py",
    ),
    Mutation("sampling/spherical.py", "sin(v * theta) / sin(theta)", "sin(v * theta)", "test_image_to_image.py"),
    Mutation("sampling/solvers/adams.py", "if after < inf else", "if after <= inf else", "test_image_to_image.py"),
    Mutation("model.py", "rest_of(method.times, t)", "method.times", "test_image_to_image.py"),
    Mutation("model.py", "Purpose.START, shape)", "Purpose.STEP, shape)", "test_image_to_image.py"),
    Mutation("restore_files.py", "alpha < 128", "alpha >= 128", "test_restore.py"),
    Mutation("restore_files.py", "np.ptp(colours, axis=(1, 2)).any()", "np.ptp(colours[0])", "test_restore.py"),
    Mutation("restore_files.py", "if not np.ptp(alpha):", "if alpha.min() == 255:", "test_restore.py"),
    Mutation("data/decode.py", "if layer is not Layer.SEEN:", "if layer is Layer.ALPHA:", "test_restore.py"),
    Mutation(
        "data/decode.py", "np.where(values == transparent, 0, 255)", "np.where(values == 0, 0, 255)", "test_restore.py"
    ),
    # restoration, steered
    Mutation("guidance/classifier.py", "create_graph=True", "create_graph=False", "test_steered_restoration.py"),
    Mutation(
        "guidance/classifier.py",
        "if torch.is_grad_enabled() and x_t.requires_grad:",
        "if False:",
        "test_steered_restoration.py",
    ),
    Mutation(
        "restore.py",
        "model.denoiser(said, how.guidance, free, size)",
        "model.denoiser(said, how.guidance, Steering(threshold='none'), size)",
        "test_steered_restoration.py",
    ),
    Mutation("restore.py", "replace(row, labels=said.labels)", "row", "test_steered_restoration.py"),
    Mutation("model.py", "told = replace(told, labels=None)", "pass", "test_steered_restoration.py"),
    Mutation("model.py", "told if told.parts() else None", "told", "test_steered_restoration.py"),
    Mutation("steered.py", "value is not None and steering.classifier is None", "False", "test_steered_restoration.py"),
    Mutation(
        "cli/steering.py",
        "scale = 1.0 if by_classifier else usual.guidance",
        "scale = usual.guidance",
        "test_steered_restoration.py",
    ),
    Mutation("cli/steering.py", "about | said_of(options)", "about", "test_steered_restoration.py"),
    # windows and perceptual distance
    Mutation("guidance/tiling.py", "size - tile, stride), size - tile]", "size - tile, stride)]", "test_tiling.py"),
    Mutation("guidance/tiling.py", "weights / total[places]", "weights", "test_tiling.py"),
    Mutation("guidance/tiling.py", "variance = tiling.blend(variance.expand_as(windows))", "pass", "test_tiling.py"),
    Mutation("windows.py", "side // factor // 2", "side // factor // 3", "test_windows.py"),
    Mutation(
        "windows.py",
        "part.repeat_interleave(count, 0)",
        "part.repeat(count, *[1] * (part.ndim - 1))",
        "test_windows.py",
    ),
    Mutation("model.py", "steering is None and not larger", "steering is None", "test_windows.py"),
    Mutation(
        "model.py", "max(1, batch_size // tiling_of(self.images.shape, size).count)", "batch_size", "test_windows.py"
    ),
    Mutation(
        "model.py", "Tiled(self.denoiser(said, guidance, steering)", "Tiled(self.denoiser(said)", "test_windows.py"
    ),
    Mutation(
        "evaluation/perceptual.py",
        ".square().sum(1).mean((1, 2))",
        ".square().sum((1, 2, 3))",
        "test_evaluation_perceptual.py",
    ),
    Mutation(
        "evaluation/perceptual.py",
        "values / (values.square()",
        "values / (1 + 0 * values.square()",
        "test_evaluation_perceptual.py",
    ),
    # the ADM U-Net, the classifier of noisy images, and its guidance
    Mutation(
        "networks/layers.py", "h, x = resized(h, size), resized(x, size)", "h, x = resized(h, size), x", "test_adm.py"
    ),
    Mutation("networks/layers.py", 'mode="area" if', 'mode="nearest" if', "test_adm.py"),
    Mutation("networks/layers.py", "return zip((1 + scales)", "return zip((scales)", "test_adm.py"),
    Mutation("networks/layers.py", "return self.skip(x) + self.conv_out", "return self.conv_out", "test_adm.py"),
    Mutation("networks/adm.py", "torch.cat([h, held.pop()], 1)", "torch.cat([held.pop(), h], 1)", "test_adm.py"),
    Mutation(
        "networks/adm.py", "embedding = embedding + told.vector", "embedding = embedding - told.vector", "test_adm.py"
    ),
    Mutation("networks/adm.py", "(side + 1) // 2 for side in h", "side // 2 for side in h", "test_adm.py"),
    Mutation(
        "networks/classifier.py",
        "tokens.mean(1, keepdim=True), tokens], 1) + self.place",
        "tokens.mean(1, keepdim=True), tokens], 1)",
        "test_adm.py",
    ),
    Mutation("networks/classifier.py", "tokens[:, :1]", "tokens[:, 1:2]", "test_adm.py"),
    Mutation("guidance/classifier.py", "scale * sigma**2 / alpha", "scale * sigma**2", "test_classifier_guidance.py"),
    Mutation(
        "guidance/classifier.py", "scale * sigma**2 / alpha", "scale * sigma / alpha", "test_classifier_guidance.py"
    ),
    Mutation(
        "guidance/classifier.py",
        "self.interval.choose(now, self.scale, 0.0)",
        "self.interval.choose(now, self.scale, 1.0)",
        "test_classifier_guidance.py",
    ),
    Mutation("guidance/classifier.py", "x_t / expand(deviation(now), x_t)", "x_t", "test_classifier_guidance.py"),
    Mutation("guidance/classifier.py", "(log_snr / 4)", "(log_snr / 2)", "test_classifier_guidance.py"),
    Mutation(
        "guidance/classifier.py",
        "exp(-self.highest / 2), exp(-self.lowest / 2)",
        "exp(-self.highest), exp(-self.lowest)",
        "test_classifier_guidance.py",
    ),
    # the classifier of noisy images
    Mutation(
        "training/classification.py",
        "(module.highest - module.lowest) * place",
        "module.highest * place",
        "test_noisy_classifier.py",
    ),
    Mutation(
        "training/classification.py", "self.labels[items]", "self.labels[: len(items)]", "test_noisy_classifier.py"
    ),
    Mutation("training/mirrored.py", "Purpose.FLIP) < 0.5", "Purpose.FLIP) < 0.0", "test_noisy_classifier.py"),
    Mutation(
        "noisy_classifier.py",
        "part.tolist(), k, Purpose.EVALUATION",
        "part.tolist(), 0, Purpose.EVALUATION",
        "test_noisy_classifier.py",
    ),
    Mutation("noisy_classifier.py", "labels.bincount().max()", "labels.bincount().min()", "test_noisy_classifier.py"),
    Mutation(
        "process/schedule.py",
        "log_snr.sigmoid().sqrt(), (-log_snr)",
        "log_snr.sigmoid(), (-log_snr)",
        "test_noisy_classifier.py",
    ),
    # steering
    Mutation(
        "steered.py",
        "worse = steering.worse.told(vocabulary.checked(said, steering.worse, shape))",
        "pass",
        "test_steering.py",
    ),
    Mutation(
        "steered.py",
        "interval_of(steering, usual).within(steering.classifier.interval)",
        "interval_of(steering, usual)",
        "test_steering.py",
    ),
    Mutation("steered.py", "return steering.interval\n", "return ALWAYS\n", "test_steering.py"),
    Mutation("steered.py", "else Interval(*usual.guidance_interval)", "else ALWAYS", "test_steering.py"),
    Mutation("steered.py", "usual.guidance_rescale if steering.rescale is None", "0.0 if True", "test_steering.py"),
    Mutation("model.py", "steering.threshold or sampling.threshold", '"static"', "test_steering.py"),
    Mutation("model.py", " {self.config.sampling.threshold}", "", "test_model.py"),
    Mutation("restore.py", 'replace(steering, threshold="none")', "steering", "test_restore.py"),
    Mutation("sampling/config.py", "0 <= ends[0] < ends[1]", "ends[0] < ends[1]", "test_config.py"),
    Mutation(
        "sampling/config.py", "not 0 <= self.guidance_rescale <= 1", "self.guidance_rescale < 0", "test_config.py"
    ),
    Mutation("guidance/interval.py", "max(self.low, other.low)", "min(self.low, other.low)", "test_steering.py"),
    Mutation(
        "guidance/classifier.py",
        "labels.to(x_t.device).clone()",
        "labels.to(x_t.device)",
        "test_classifier_guidance.py",
    ),
    Mutation("sample_files.py", "**(each[k] if each else {})", "", "test_steering.py"),
    Mutation("baselines/vae.py", "(2 * log_std).exp() - 1) / 2", "(2 * log_std).exp() + 1) / 2", "test_baselines.py"),
    Mutation("baselines/vae.py", "log_prior - log_q", "log_prior + log_q", "test_baselines.py"),
    Mutation("baselines/vae.py", "(mean + log_std.exp() * noise).to(x)", "(mean + noise).to(x)", "test_baselines.py"),
    Mutation("baselines/vae.py", "draw=number", "draw=0 * number", "test_baselines.py"),
    Mutation("baselines/gan.py", "{name: p.detach() for", "{name: p for", "test_baselines.py"),
    Mutation("baselines/gan.py", "torch.cat([x, fake]).detach()", "torch.cat([x, fake])", "test_baselines.py"),
    Mutation("baselines/gan.py", "F.softplus(made - real)", "F.softplus(real - made)", "test_baselines.py"),
    Mutation("baselines/gan.py", "self.penalty / 2", "self.penalty", "test_baselines.py"),
    Mutation("baselines/gan.py", "create_graph=True", "create_graph=False", "test_baselines.py"),
    Mutation("baselines/pixelcnn.py", "F.pad(self.left(x), (1, -1))", "self.left(x)", "test_baselines.py"),
    Mutation(
        "baselines/pixelcnn.py",
        "above = F.pad(self.rows_above(x), (0, 0, 1, -1))",
        "above = self.rows_above(x)",
        "test_baselines.py",
    ),
    Mutation(
        "baselines/pixelcnn.py", "features, x[:, :c]], dim=1", "features, x[:, :c] * 0], dim=1", "test_baselines.py"
    ),
    Mutation("baselines/pixelcnn.py", "x[:, :, : i + 1]", "x[:, :, :i]", "test_baselines.py"),
    Mutation("baselines/level_distribution.py", "x < half - 1", "x < -half - 1", "test_baselines.py"),
    Mutation(
        "baselines/level_distribution.py",
        "-torch.expm1(below - above)",
        "1 + torch.expm1(below - above)",
        "test_baselines.py",
    ),
    Mutation(
        "baselines/level_distribution.py",
        "u[:, 1:].to(cumulative).logit()",
        "u[:, 1:].to(cumulative)",
        "test_baselines.py",
    ),
    Mutation("nll_baseline.py", "unit.of_nats(-weights[:, 0])", "unit.of_nats(weights[:, 0])", "test_baselines.py"),
    # what stands in one place for many
    Mutation("process/schedule.py", "v[which] if isinstance(v, Tensor) else v", "v", "test_tiling.py"),
    Mutation("sampling/solvers/solver.py", "return self.solver.off_grid", "return False", "test_restoration.py"),
    Mutation("steered.py", 'option="--negative"', 'option="--label"', "test_steering.py"),
    Mutation("vocabulary.py", "values.get(name, torch.nan)", "values.get(name, 0.0)", "test_conditions.py"),
    Mutation("training/common.py", "if not 0 <= self.seed < 2**64", "if not 0 <= self.seed", "test_config.py"),
    Mutation(
        "restored.py",
        "How(n=CANDIDATES, seed=seed, start=CANDIDATES * k)",
        "How(n=CANDIDATES)",
        "test_trained_restoration.py",
    ),
]
