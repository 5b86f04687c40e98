"""Whether samples are as near to the end of their ODE as they state (`sumi.sampling.stated_error`).

    python benchmarks/stated_error.py                        20 mixtures; their ODE solved by DOP853 to 1e-11,
                                                             or from an infinite σ̂ in 1000 steps of `adams`
    python benchmarks/stated_error.py digits characters …    these runs too, against 1000 steps of `adams`

For each error that is asked for: the share of samples whose true distance is at most the stated one (95 % or more is
wanted), how many times the true distance is the stated one (the median; at most 5), and the evaluations of a sample.
Five families of mixtures, each on four schedules; samples of a run are of all its classes, guided as it is configured.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from mixture import FAMILIES, Mixture, Paths
from torch import Tensor

import sumi
from sumi.denoising.denoiser import CountingDenoiser, FunctionDenoiser
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.tuning import fine_method
from sumi.process.continuous import VP, Cosine, Flow
from sumi.process.exploding import EDM
from sumi.process.schedule import NoiseLevel, deviation, noise_level, noise_ratio
from sumi.sampling.sample import sample
from sumi.sampling.sampler import build_method
from sumi.sampling.solvers import SOLVERS
from sumi.sampling.stated_error import MOST_STEPS, on_grid, sample_to
from sumi.sampling.tuning import distance

SCHEDULES = (VP(), EDM(), Flow(), Cosine())
REFERENCE_STEPS = 1000


@dataclass(frozen=True)
class Samples:
    """Of one mixture or run at one error: what samples state, how far they are, and their evaluations, (N,) each."""

    stated: Tensor
    true: Tensor
    evaluations: Tensor

    def cells(self) -> tuple[str, ...]:
        share, times = (self.true <= self.stated).double().mean(), (self.stated / self.true).median()
        return (f"{100 * float(share):.1f} %", f"{float(times):.1f}", f"{int(self.evaluations.median())}")


def together(parts: Sequence[Samples]) -> Samples:
    return Samples(*(torch.cat([getattr(part, name) for part in parts]) for name in ("stated", "true", "evaluations")))


def of_mixture(mixture: Mixture, place: int, errors: Sequence[float], count: int, solver: str) -> list[Samples]:
    """Paths of the mixture on the schedule of this place, at each error."""
    schedule = SCHEDULES[place % len(SCHEDULES)].build()

    def clean(x_t: Tensor, t: NoiseLevel) -> Tensor:
        if not t.alpha:
            return mixture.mean.expand_as(x_t)
        return mixture.clean(x_t / t.alpha, t.sigma / t.alpha)

    end, draw = noise_level(schedule, 1.0), torch.Generator().manual_seed(place)
    begun = torch.randn(count, len(mixture.mean), generator=draw, dtype=torch.float64) * deviation(end, mixture.std)
    denoiser = CountingDenoiser(FunctionDenoiser(clean, schedule))
    if end.alpha:
        exact = Paths(mixture, begun / end.alpha, noise_ratio(end)).at(0.0)
    else:  # its path begins at an infinite σ̂
        fine = build_method("adams", REFERENCE_STEPS, schedule, data_std=mixture.std)
        exact = sample(denoiser, fine.solver, fine.times, begun)

    def walk(steps: int, rows: Tensor) -> tuple[Tensor, int]:
        method = build_method(solver, steps, schedule, data_std=mixture.std)
        before = denoiser.evaluations
        return sample(denoiser, on_grid(method.solver, steps), method.times, begun[rows]), denoiser.evaluations - before

    found = []
    for error in errors:
        stated = sample_to(walk, count, error, mixture.std, MOST_STEPS, SOLVERS[solver].order)
        found.append(Samples(stated.error, distance(stated.x, exact) / mixture.std, stated.evaluations))
    return found


def of_run(run: str, errors: Sequence[float], count: int, solver: str, prompt: str) -> list[Samples]:
    """Samples of all classes of the run, or of the prompt, at each error."""
    model = sumi.load(run, DiffusionModel)
    label = "all" if model.config.condition("labels") is not None else None
    given = {"label": label, "prompt": prompt if model.prompted else None}
    condition = model.condition_of(range(count), label, prompt=given["prompt"])
    fine, scale = fine_method(model, REFERENCE_STEPS), model.description.data_std
    ends = []
    with torch.inference_mode():
        begun = model.start_noise(range(count), 0)
        for rows in torch.arange(count).split(16):
            denoiser = model.denoiser(None if condition is None else condition.rows(rows))
            ends.append(sample(denoiser, fine.solver, fine.times, begun[rows]))
    exact, found = torch.cat(ends), []
    for error in errors:
        latents: list[Tensor] = []

        def keep(x: Tensor, latents: list[Tensor] = latents) -> Tensor:
            latents.append(x)
            return x

        made = model.walk(count, {**given, "solver": solver, "error": error, "batch_size": 16}, finish=keep)
        true = distance(torch.cat(latents), exact).double() / scale
        found.append(Samples(made.stated_error, true, made.evaluations))
    return found


def rows(options: argparse.Namespace) -> Iterator[tuple[str, list[Samples]]]:
    """What was sampled, and how it came out at each error."""
    everything = []
    for family, (name, settings) in enumerate(FAMILIES.items()):
        if options.mixtures == 0:
            break
        of_each = []
        for place in range(options.first, options.first + options.mixtures):
            mixture = Mixture(40 + 10 * family + place, **settings)
            of_each.append(of_mixture(mixture, place, options.errors, options.paths, options.solver))
        everything += of_each
        yield name, [together(parts) for parts in zip(*of_each, strict=True)]
    if everything:
        yield "all mixtures", [together(parts) for parts in zip(*everything, strict=True)]
    of_runs = []
    for run in options.runs:
        of_runs.append(of_run(run, options.errors, options.samples, options.solver, options.prompt))
        yield run, of_runs[-1]
    if len(of_runs) > 1:
        yield "all runs", [together(parts) for parts in zip(*of_runs, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", help="run folders, or names of models that come with the package")
    parser.add_argument("--errors", default="0.03,0.01,0.003", help="those that are asked for")
    parser.add_argument("--mixtures", type=int, default=4, help="of each family")
    parser.add_argument("--first", type=int, default=0, help="0 to 7 are those that the constants were chosen on")
    parser.add_argument("--paths", type=int, default=48, help="of each mixture")
    parser.add_argument("--samples", type=int, default=64, help="of each run")
    parser.add_argument("--solver", default="adams")
    parser.add_argument("--prompt", default="a red robot", help="for runs that take one")
    options = parser.parse_args()
    options.errors = [float(error) for error in options.errors.split(",")]
    torch.set_num_threads(1)
    print(
        "| | " + " | ".join(f"error {error:g}: within | stated/true | evaluations" for error in options.errors) + " |"
    )
    print("| --- |" + " --- | --- | --- |" * len(options.errors))
    for name, found in rows(options):
        print(f"| {name} | " + " | ".join(cell for one in found for cell in one.cells()) + " |", flush=True)


if __name__ == "__main__":
    main()
