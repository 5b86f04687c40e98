"""What a sampler costs outside the network: microseconds a step, side by side with other toolkits.

    python benchmarks/sampler_overhead.py               batch 1 and 64 of 3x32x32 images, 50 steps

The network is a function that returns one fixed tensor at once, so what is timed is the loop around it: coefficients,
the preconditioning of the network's output, the step itself. Deterministic samplers, CPU seconds of this process on one
thread, rounds interleaved (A B C A B C …), each run after an untimed one of its own, medians. The
floor is the bare arithmetic of such a step, x·a + e·b, in place. Toolkits that are not installed are left out by name.
"""

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator

os.environ.setdefault("TQDM_DISABLE", "1")
warnings.filterwarnings("ignore")

import torch
from stand_ins import k_diffusion_toolkit, lucidrains_toolkit
from torch import Tensor, nn

from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.parameterization import PredictNoise, PredictVelocity
from sumi.guidance.thresholding import StaticThreshold
from sumi.process.chain import LinearBeta
from sumi.sampling.sample import sample
from sumi.sampling.sampler import build_method
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.time_grid import snap, uniform

Run = Callable[[], object]


class Fixed(nn.Module):
    """A network that answers at once."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer
        self.channels = self.out_dim = 3
        self.self_condition = self.random_or_learned_sinusoidal_cond = False
        self.p = nn.Parameter(torch.zeros(1))

    def forward(self, *_: object, **__: object) -> Tensor:
        return self.answer


def floor(e: Tensor, x_0: Tensor, steps: int) -> Iterator[tuple[str, Run]]:
    @torch.inference_mode()
    def run() -> Tensor:
        x = x_0.clone()
        for _ in range(steps):
            x.mul_(0.999).add_(e, alpha=0.001)
        return x

    yield "floor: x*a + e*b", run


def ours(e: Tensor, x_0: Tensor, steps: int) -> Iterator[tuple[str, Run]]:
    for label, parameterization in (("ε", PredictNoise()), ("v", PredictVelocity())):
        denoiser = NetworkDenoiser(Fixed(e), LinearBeta().build(), parameterization, trained_steps=1000)
        for name, wrapped in ((label, denoiser), (f"{label}, thresholded", StaticThreshold(denoiser))):

            @torch.inference_mode()
            def run(denoiser=wrapped) -> Tensor:
                return sample(denoiser, DDIM(), snap(uniform(steps), 1000), x_0)

            yield f"sumi DDIM ({name})", run
    schedule = LinearBeta().build()
    denoiser = NetworkDenoiser(Fixed(e), schedule, PredictNoise(), trained_steps=1000)
    for name in ("adams", "dpmpp_2m", "unipc"):
        method = build_method(name, steps, schedule, grid=1000)

        @torch.inference_mode()
        def run_method(method=method) -> Tensor:
            return sample(denoiser, method.solver, method.times, x_0)

        yield f"sumi {name} (ε)", run_method


def diffusers(e: Tensor, x_0: Tensor, steps: int) -> Iterator[tuple[str, Run]]:
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

    for label, scheduler in (("DDIM", DDIMScheduler()), ("DPM++2M", DPMSolverMultistepScheduler())):

        @torch.no_grad()
        def run(scheduler=scheduler) -> Tensor:
            scheduler.set_timesteps(steps)
            x = x_0
            for t in scheduler.timesteps:
                x = scheduler.step(e, t, scheduler.scale_model_input(x, t)).prev_sample
            return x

        yield f"diffusers {label}", run


def azula(e: Tensor, x_0: Tensor, steps: int) -> Iterator[tuple[str, Run]]:
    from azula.denoise import KarrasDenoiser
    from azula.noise import VPSchedule
    from azula.sample import DDIMSampler

    denoiser = KarrasDenoiser(Fixed(e), VPSchedule())
    yield "azula DDIM", torch.no_grad()(lambda: DDIMSampler(denoiser, steps=steps, silent=True)(x_0))


def k_diffusion(e: Tensor, x_0: Tensor, steps: int) -> Iterator[tuple[str, Run]]:
    peer = k_diffusion_toolkit()
    layers, sampling = peer.layers, peer.sampling

    sigmas = sampling.get_sigmas_karras(steps, 0.002, 80.0)
    denoiser = layers.Denoiser(Fixed(e), sigma_data=0.5)
    yield "k-diffusion 2M", torch.no_grad()(lambda: sampling.sample_dpmpp_2m(denoiser, x_0, sigmas, disable=True))


def lucidrains(e: Tensor, x_0: Tensor, steps: int) -> Iterator[tuple[str, Run]]:
    diffusion = lucidrains_toolkit().GaussianDiffusion(
        Fixed(e), image_size=32, sampling_timesteps=steps, beta_schedule="linear", objective="pred_noise"
    )
    yield "lucidrains DDIM", lambda: diffusion.sample(len(x_0))


def measure(batch: int, steps: int, rounds: int) -> dict[str, float]:
    """Median CPU microseconds a step of each sampler."""
    generator = torch.Generator().manual_seed(0)
    e, x_0 = (torch.randn(batch, 3, 32, 32, generator=generator) for _ in range(2))
    runs: dict[str, Run] = {}
    for peer in (floor, ours, diffusers, azula, k_diffusion, lucidrains):
        try:
            runs |= dict(peer(0.1 * e, x_0, steps))
        except ImportError as error:
            print(f"{peer.__name__} is left out: {error}")
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            run()  # untimed: nobody pays for the caches that the one before left cold
            begin = time.process_time()
            run()
            seconds[name].append(time.process_time() - begin)
    return {name: statistics.median(values) / steps * 1e6 for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=25)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for batch in (1, 64):
        print(f"\nbatch {batch}, 3x32x32, {options.steps} steps, one thread")
        figures = measure(batch, options.steps, options.rounds)
        own = figures["sumi DDIM (ε)"]
        for name, figure in figures.items():
            print(f"  {name:28} {figure:8.1f} µs a step   {figure / own:5.2f} x sumi DDIM (ε)")


if __name__ == "__main__":
    main()
