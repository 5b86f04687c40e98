"""How near a tuned solver comes to the end of a model's ODE, next to the nearest of three that are not tuned.

    python benchmarks/tuned.py                         the models that come with the package
    python benchmarks/tuned.py digits runs/demo …      these models, and runs

For each number of evaluations: the median distance to the end of the model's ODE, over the data's standard deviation,
of `adams`, `unipc` and `dpmpp_2m` on `log_ratio`, of the solver that `sumi compare --tune` would fit, and the ratio of
the last to the least of the others. The solver is fitted to ``--trajectories``, and all are measured on as many others.
None is conditioned, and `adams` solves the ODE in ``--reference`` steps. Nothing is written.
"""

import argparse

import torch

import sumi
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.tuning import fine_method
from sumi.sampling.sample import sample
from sumi.sampling.sampler import LEAST_STD, build_method
from sumi.sampling.solvers.adams import Adams
from sumi.sampling.tuning import distance, fit, reference

MODELS = ("digits", "fashion", "characters")
PLAIN = ("adams", "unipc", "dpmpp_2m")


@torch.inference_mode()
def rows(name: str, options: argparse.Namespace) -> None:
    """A row for each number of evaluations, printed as it is found."""
    model = sumi.load(name, DiffusionModel)
    scale, denoiser = max(model.description.data_std, LEAST_STD), model.denoiser()
    fine, count = fine_method(model, options.reference), options.trajectories
    adams = fine.solver
    assert isinstance(adams, Adams)
    seen = reference(denoiser, adams, fine.times, model.start_noise(range(count), options.seed))
    x = model.start_noise(range(count, 2 * count), options.seed)
    end = sample(denoiser, adams, fine.times, x)
    for steps in options.steps:
        known = model.network_denoiser.trained_steps
        methods = [
            build_method(plain, steps, denoiser.schedule, data_std=model.description.data_std, grid=known)
            for plain in PLAIN
        ]
        found = fit(denoiser, adams, seen, fine_method(model, steps).times)
        ways = [*((method.solver, method.times) for method in methods), (found.solver, found.times)]
        away = [float(distance(sample(denoiser, *way, x), end).median()) / scale for way in ways]
        cells = " | ".join(f"{one:.2g}" for one in away)
        print(f"| {name}, {steps} | {cells} | {away[-1] / min(away[:-1]):.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, help="run folders, or names of models that come with Sumi")
    parser.add_argument("--steps", default="5,7,10")
    parser.add_argument("--trajectories", type=int, default=64)
    parser.add_argument("--reference", type=int, default=200, help="steps that the ODE is solved in")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.steps = [int(steps) for steps in options.steps.split(",")]
    torch.set_num_threads(1)
    print("| evaluations | `adams` | `unipc` | `dpmpp_2m` | tuned | tuned over the nearest |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in options.models:
        rows(name, options)


if __name__ == "__main__":
    main()
