"""How far samplers land from the exact end of the probability-flow ODE, at equal numbers of network evaluations.

    python benchmarks/solver_accuracy.py                      our default solver and other toolkits' best
    python benchmarks/solver_accuracy.py --ours               every deterministic solver of sumi
    python benchmarks/solver_accuracy.py --families all       on other mixtures too (`mixture.FAMILIES`)

The network is the exact denoiser of a mixture of 10 Gaussians in 64 dimensions, so all error is the solver's. Every
sampler starts on exact paths at its own first noise level and is compared with their exact ends at sigma = 0: root mean
square over dimensions, relative to the data's standard deviation; the median over all paths of all mixtures, and the
95th percentile. Two ranges of noise: variance preserving (β from 0.1 to 20, or the chain of 1000 linear β) and EDM's
(sigma from 80 to 0.002). The constants of our solver were chosen on mixtures 0, 1, 5, 7 and 9 (some with other
deviations), not on those shown here.
"""

import argparse
import os
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from math import sqrt

os.environ.setdefault("TQDM_DISABLE", "1")
warnings.filterwarnings("ignore")

import numpy as np
import torch
from mixture import FAMILIES, Mixture, Paths
from stand_ins import k_diffusion_toolkit
from torch import Tensor

from sumi.denoising.denoiser import FunctionDenoiser
from sumi.process.continuous import VP
from sumi.process.exploding import EDM
from sumi.process.schedule import NoiseLevel, Schedule, noise_level
from sumi.sampling.gaussian import Gaussian
from sumi.sampling.sample import sample
from sumi.sampling.solvers import SOLVERS
from sumi.sampling.solvers.adams import Adams
from sumi.sampling.solvers.fitted import Fitted
from sumi.sampling.solvers.gaussian_adams import GaussianAdams
from sumi.sampling.solvers.solver import Solver
from sumi.sampling.time_grid import TIME_GRIDS

Sampler = Callable[[Mixture, Tensor, int], tuple[Tensor, Paths]]
"""(mixture, standard normal noise, evaluations) → where it ends in x̂, and the exact paths it began on."""
BETAS = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
CHAIN = ((1 - (1 - BETAS).cumprod(0)) / (1 - BETAS).cumprod(0)).sqrt()  # sigma/alpha at the chain's 1000 times


@cache
def paths(mixture: Mixture, noise_id: int, sigma: float, preserving: bool) -> Paths:
    """The exact paths that begin with the noise of `noise_of` at ``sigma``."""
    scale = sqrt(1 + sigma**2) if preserving else sigma
    return Paths(mixture, noise_of(mixture, noise_id) * scale, sigma)


def noise_of(mixture: Mixture, count: int) -> Tensor:
    draw = torch.Generator().manual_seed(len(mixture.means) + count)
    return torch.randn(count, mixture.means.shape[1], generator=draw, dtype=torch.float64)


def of_chain(t: float) -> float:
    """sigma/alpha of the linear chain at a time 0 … 999, between its times too."""
    return float(np.exp(np.interp(t, np.arange(1000), CHAIN.log().numpy())))


def own(schedule: Schedule, solver: Callable[[Mixture, int], Solver], grid: str, cost: int = 1) -> Sampler:
    """``solver``: of a mixture and a number of steps."""

    def run(mixture: Mixture, noise: Tensor, evaluations: int) -> tuple[Tensor, Paths]:
        end = noise_level(schedule, 1.0)
        begin = paths(mixture, len(noise), float(end.sigma) / float(end.alpha), float(end.sigma) <= 1)

        def clean(x_t: Tensor, t: NoiseLevel) -> Tensor:
            return mixture.clean(x_t / t.alpha, t.sigma / t.alpha)

        steps = max(1, (evaluations + cost - 1) // cost)
        times = TIME_GRIDS[grid](schedule, steps, mixture.std)
        start = begin.at(float(end.sigma) / float(end.alpha)) * end.alpha
        mixture.evaluations = 0
        return sample(FunctionDenoiser(clean, schedule), solver(mixture, steps), times, start), begin

    return run


def ours() -> Iterator[tuple[str, str, Sampler]]:
    for range_name, schedule in (("VP", VP().build()), ("EDM", EDM().build())):
        yield "sumi adams", range_name, own(schedule, lambda m, _: Adams(data_std=m.std), "log_ratio")
        yield "sumi fitted", range_name, own(schedule, lambda m, n: Fitted(n, m.std), "fitted")

        def carried(m: Mixture, _: int) -> Solver:
            return GaussianAdams(Gaussian.of_moments(m.mean, m.covariance), Adams(data_std=m.std))

        yield "sumi adams, moments given", range_name, own(schedule, carried, "log_ratio")


def all_of_ours() -> Iterator[tuple[str, str, Sampler]]:
    costs = {"heun": 2, "rk4": 4}
    for range_name, schedule in (("VP", VP().build()), ("EDM", EDM().build())):
        for name in DETERMINISTIC:
            for grid in ("log_snr", "karras", "log_ratio"):
                yield (
                    f"sumi {name} {grid}",
                    range_name,
                    own(schedule, lambda _, __, name=name: SOLVERS[name], grid, costs.get(name, 1)),
                )


DETERMINISTIC = ("ddim", "heun", "rk4", "lms", "dpmpp_2m", "dpmpp_3m", "dpmpp_2s", "dpmpp_3s", "unipc", "unipc_3")


def diffusers() -> Iterator[tuple[str, str, Sampler]]:
    import diffusers as toolkit

    base = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}

    def chain(name: str, options: dict, cost: int, peek: bool) -> Sampler:
        def run(mixture: Mixture, noise: Tensor, evaluations: int) -> tuple[Tensor, Paths]:
            scheduler = getattr(toolkit, name)(**base, **options)
            scheduler.set_timesteps((evaluations + cost - 1) // cost)
            tabled = hasattr(scheduler, "sigmas")
            exploding = name in ("HeunDiscreteScheduler", "LMSDiscreteScheduler", "EulerDiscreteScheduler")
            first = float(scheduler.sigmas[0]) if tabled else of_chain(float(scheduler.timesteps[0]))
            begin = paths(mixture, len(noise), of_chain(999), True)
            x = begin.at(first) / (1 if exploding else sqrt(1 + first**2))
            mixture.evaluations = 0
            for i, t in enumerate(scheduler.timesteps):
                sigma = float(scheduler.sigmas[i]) if tabled and peek else of_chain(float(t))
                scaled = scheduler.scale_model_input(x, t).double() * sqrt(1 + sigma**2)
                x = scheduler.step(mixture.epsilon(scaled, sigma), t, x, return_dict=False)[0]
            return x.double(), begin

        return run

    for label, name, options, cost in (
        ("DDIM trailing", "DDIMScheduler", {"clip_sample": False, "timestep_spacing": "trailing"}, 1),
        ("Heun karras", "HeunDiscreteScheduler", {"use_karras_sigmas": True}, 2),
        ("DPM++2M lu_lambdas", "DPMSolverMultistepScheduler", {"solver_order": 2, "use_lu_lambdas": True}, 1),
        ("DPM++3M karras", "DPMSolverMultistepScheduler", {"solver_order": 3, "use_karras_sigmas": True}, 1),
        ("UniPC3 karras", "UniPCMultistepScheduler", {"solver_order": 3, "use_karras_sigmas": True}, 1),
        ("DEIS3", "DEISMultistepScheduler", {"solver_order": 3}, 1),
    ):
        yield f"diffusers {label}", "VP", chain(name, options, cost, peek=False)
        if label.endswith(("karras", "lambdas")):
            yield f"diffusers {label}, exact sigma", "VP", chain(name, options, cost, peek=True)


def k_diffusion() -> Iterator[tuple[str, str, Sampler]]:
    sampling = k_diffusion_toolkit().sampling

    def run_with(function: Callable, options: dict, cost: int) -> Sampler:
        def run(mixture: Mixture, noise: Tensor, evaluations: int) -> tuple[Tensor, Paths]:
            sigmas = sampling.get_sigmas_karras((evaluations + cost - 1) // cost, 0.002, 80.0).double()
            begin = paths(mixture, len(noise), 80.0, False)
            mixture.evaluations = 0
            return function(
                lambda x, sigma: mixture.clean(x, sigma), begin.at(80.0), sigmas, disable=True, **options
            ), begin

        return run

    for name, options, cost in (
        ("heun", {}, 2),
        ("lms", {}, 1),
        ("dpmpp_2m", {}, 1),
        ("dpmpp_3m_sde", {"eta": 0.0}, 1),
    ):
        yield f"k-diffusion {name} karras", "EDM", run_with(getattr(sampling, f"sample_{name}"), options, cost)


def azula() -> Iterator[tuple[str, str, Sampler]]:
    import azula.sample as samplers
    from azula.denoise import Denoiser, DiracPosterior
    from azula.noise import Schedule as Noise

    class Preserving(Noise):
        def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
            log_alpha = -(19.9 * t**2 / 4 + 0.1 * t / 2)
            return log_alpha.exp(), (-(2 * log_alpha).expm1()).sqrt()

    class Karras(Noise):
        def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
            low, high = 0.002 ** (1 / 7), 80.0 ** (1 / 7)
            return torch.ones_like(t), (low + t * (high - low)) ** 7

    class Exact(Denoiser):
        def __init__(self, mixture: Mixture, schedule: Noise) -> None:
            super().__init__()
            self.mixture, self.schedule = mixture, schedule

        def forward(self, x_t: Tensor, t: Tensor, **_: object) -> DiracPosterior:
            alpha, sigma = self.schedule(t)
            return DiracPosterior(self.mixture.clean(x_t / alpha, sigma / alpha))

    def run_with(name: str, order: int, schedule: Noise, stop: float) -> Sampler:
        def run(mixture: Mixture, noise: Tensor, evaluations: int) -> tuple[Tensor, Paths]:
            alpha, sigma = (float(v) for v in schedule(torch.tensor(1.0, dtype=torch.float64)))
            begin = paths(mixture, len(noise), sigma / alpha, sigma <= 1)
            options = {"start": 1.0, "stop": stop, "steps": evaluations, "dtype": torch.float64, "silent": True}
            sampler = getattr(samplers, f"{name}Sampler")(Exact(mixture, schedule), order=order, **options)
            mixture.evaluations = 0
            x = sampler(begin.at(sigma / alpha) * alpha)
            return x / schedule(torch.tensor(stop, dtype=torch.float64))[0], begin

        return run

    for name, order in (("zAB", 4), ("zEAB", 3), ("xEAB", 3), ("vAB", 3)):
        yield f"azula {name}{order}", "VP", run_with(name, order, Preserving(), 1e-3)
        yield f"azula {name}{order}", "EDM", run_with(name, order, Karras(), 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[21, 22, 23], help="which mixtures")
    parser.add_argument("--paths", type=int, default=128, help="how many of each")
    parser.add_argument("--evaluations", type=int, nargs="+", default=[5, 10, 20, 50, 100])
    parser.add_argument("--ours", action="store_true", help="every deterministic solver of sumi instead of the peers")
    parser.add_argument("--families", nargs="+", choices=[*FAMILIES, "all"], default=[next(iter(FAMILIES))])
    options = parser.parse_args()
    torch.set_num_threads(1)
    for family in FAMILIES if "all" in options.families else options.families:
        print(f"\n{family}: ", end="")
        of_family([Mixture(seed, **FAMILIES[family]) for seed in options.seeds], options)


def of_family(mixtures: list[Mixture], options: argparse.Namespace) -> None:
    """The rows of these mixtures."""
    stds = ", ".join(f"{m.std:.3f}" for m in mixtures)
    print(
        f"mixtures {options.seeds} (standard deviations {stds}), {options.paths} paths each: median (95th percentile)"
    )
    samplers: list[tuple[str, str, Sampler]] = []
    for source in (ours, all_of_ours) if options.ours else (ours, diffusers, k_diffusion, azula):
        try:
            samplers += source()
        except ImportError as error:
            print(f"{source.__name__} is left out: {error}")
    print(f"{'':46}" + "".join(f"{n:>22}" for n in options.evaluations))
    for range_name in ("VP", "EDM"):
        print(f"{range_name} range")
        for name, where, sampler in samplers:
            if where == range_name:
                cells = [cell(sampler, mixtures, options.paths, n) for n in options.evaluations]
                print(f"  {name:44}" + "".join(f"{text:>22}" for text in cells), flush=True)


def cell(sampler: Sampler, mixtures: list[Mixture], count: int, evaluations: int) -> str:
    """The errors of one sampler at one number of evaluations, with the number it really took where that differs."""
    errors = []
    for mixture in mixtures:
        end, exact = sampler(mixture, noise_of(mixture, count), evaluations)
        taken = mixture.evaluations
        errors.append((end - exact.at(0.0)).square().mean(1).sqrt() / mixture.std)
    pooled = torch.cat(errors)
    note = "" if taken == evaluations else f" [{taken}]"
    return f"{float(pooled.median()):.1e} ({float(pooled.quantile(0.95)):.0e}){note}"


if __name__ == "__main__":
    main()
