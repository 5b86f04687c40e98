"""Whether the moments of the training data help a solver of few steps on trained networks (`GaussianAdams`).

    python benchmarks/moments.py                       the models that come with the package whose data do, too
    python benchmarks/moments.py digits runs/demo …    these models, and runs

The mean and the covariance (its largest directions, and one variance for the rest) are those of training items as the
model denoises them. For each number of evaluations: the distance to the end of the model's ODE, over the data's
standard deviation, of `adams` without and with them: the median over the samples, and the 95th percentile in brackets.
All methods begin with the same noise, none is conditioned, and `adams` solves the ODE in ``--reference`` steps.
"""

import argparse

import torch
from torch import Tensor

import sumi
from sumi.data.dataset import evenly_spaced
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.tuning import fine_method
from sumi.sampling.gaussian import Gaussian
from sumi.sampling.sample import sample
from sumi.sampling.sampler import LEAST_STD
from sumi.sampling.solvers.adams import Adams
from sumi.sampling.solvers.gaussian_adams import GaussianAdams
from sumi.sampling.tuning import distance

MODELS = ("digits", "fashion", "characters")


def moments(model: DiffusionModel, items: int, rank: int) -> Gaussian:
    """Of evenly spaced training items."""
    train, _ = model.load_images().split(model.config.data.held_out)
    some = evenly_spaced(train, items)
    return Gaussian.of_data(torch.cat([model.space.encode(part) for part in some.split(64)]), rank)


@torch.inference_mode()
def distances(model: DiffusionModel, options: argparse.Namespace) -> dict[int, tuple[str, str]]:
    """Without and with moments, by the number of evaluations."""
    scale, denoiser = max(model.description.data_std, LEAST_STD), model.denoiser()
    x = model.start_noise(range(options.samples), options.seed)
    fine = fine_method(model, options.reference)
    end = sample(denoiser, fine.solver, fine.times, x)
    plain = Adams(data_std=scale)
    known = GaussianAdams(moments(model, options.items, options.rank), plain)

    def cell(made: Tensor) -> str:
        away = distance(made, end) / scale
        return f"{float(away.median()):.2g} ({float(away.quantile(0.95)):.2g})"

    found = {}
    for steps in options.steps:
        times = model.method(steps=steps, solver="adams").times
        found[steps] = tuple(cell(sample(denoiser, solver, times, x)) for solver in (plain, known))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, help="run folders, or names of models that come with Sumi")
    parser.add_argument("--steps", default="5,7,10,20")
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--items", type=int, default=1000, help="training items that the moments are of")
    parser.add_argument("--rank", type=int, default=64, help="directions of the covariance")
    parser.add_argument("--reference", type=int, default=200, help="steps that the ODE is solved in")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.steps = [int(steps) for steps in options.steps.split(",")]
    torch.set_num_threads(1)
    print("| model | " + " | ".join(f"{steps}: `adams` | with moments" for steps in options.steps) + " |")
    print("| --- |" + " --- | --- |" * len(options.steps))
    for name in options.models:
        found = distances(sumi.load(name, DiffusionModel), options)
        print(f"| {name} | " + " | ".join(cell for pair in found.values() for cell in pair) + " |", flush=True)


if __name__ == "__main__":
    main()
