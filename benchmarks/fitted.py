"""Grids and weights for few steps, fitted to several networks at once, and how near they come on others.

    python benchmarks/fitted.py [digits fashion …]                   measure: models that come with Sumi, and runs
    python benchmarks/fitted.py RUN RUN … --fit FILE --steps 5,7     fit them to runs, and write the table

Measured are median distances to the end of the model's ODE over the data's standard deviation, of `adams`, `unipc` and
`dpmpp_2m` on `log_ratio` and of `fitted`, and the ratio of the last to the least of the others. None is conditioned.

The table that comes with Sumi (sumi/sampling/fitted.json) was fitted to five runs, each about 7 minutes on one core
with Muon in batches of 32: 20,000 images of CIFAR-10 (`flow`), MNIST (`ddpm`), flowers at 32x32 (`edm`), and emoji at
32x32 (`edm`, and `text-to-image`); the U-Nets of colours have three levels of 32, 48 and 64 channels. Of the models
that come with Sumi one has seen images of these sets: `flowers`, in latents. Its exact walks had 121 levels from 60 to
0.02, and are less exact than those here: of MNIST they end up to 0.3 off.

Each step's numbers are fitted in order, from the sampler's own states to the exact ones at the same σ̂, by least squares
over all trajectories of all networks, reweighted by inverse distances (`sumi.sampling.tuning`). Then points of the
grid, at first that of the table as it is, move one by one while the mean logarithm of the distance, over that of the
nearest of the three, falls.
"""

import argparse
import json
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

import sumi
from sumi.denoising.denoiser import Denoiser
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.tuning import fine_method
from sumi.process.schedule import DATA, NoiseLevel, noise_levels
from sumi.sampling.fitted import few_steps
from sumi.sampling.sample import sample
from sumi.sampling.sampler import LEAST_STD, build_method
from sumi.sampling.solvers.adams import Adams
from sumi.sampling.tuning import LEAST, REWEIGHTINGS, RIDGE, SHARED, distance, typical

PLAIN = ("adams", "unipc", "dpmpp_2m")
MODELS = ("digits", "fashion", "characters", "flowers")
LEVELS = torch.logspace(3, math.log10(0.002), 197, dtype=torch.float64)
"""σ̂, over the data's deviation, of the exact walk; a grid has some of those between `HIGHEST` and `LOWEST`."""
HIGHEST, LOWEST = 70.0, 0.02
REACHES = (8, 4, 2)


@dataclass(frozen=True)
class Walk:
    """A network's trajectories through its start, `LEVELS` and the data: ``states`` (K + 1, N, …)."""

    denoiser: Denoiser
    std: float
    levels: list[NoiseLevel]
    states: Tensor
    nearest: dict[int, float]
    """The typical distance of the nearest plain solver, by steps."""

    def features(self, x: Tensor, start: int, end: int, past: list[Tensor]) -> tuple[Tensor, list[Tensor], Tensor]:
        """DDIM's state, what the numbers of a row are factors of, and ε."""
        s = self.levels[end]
        denoised, alpha = self.denoiser(x, self.levels[start]), float(s.alpha)
        clean, noise = denoised.clean * alpha, denoised.noise
        terms = [*((one - noise) * (alpha * self.std) for one in past), clean, noise * (alpha * self.std)]
        return clean.add(noise, alpha=float(s.sigma)), terms, noise


def walk_of(name: str, count: int, seed: int, steps: list[int]) -> Walk:
    model = sumi.load(name, DiffusionModel)
    std, denoiser, known = max(model.description.data_std, LEAST_STD), model.denoiser(), model.network_denoiser
    times = denoiser.schedule.time(-2 * (LEVELS * std).log())
    if known.trained_steps is not None:
        times = (times * known.trained_steps).round().clamp(1, known.trained_steps - 1) / known.trained_steps
    levels = list(noise_levels(denoiser.schedule, torch.cat([times.new_ones(1), times, times.new_zeros(1)])))
    levels[-1] = DATA
    adams, x = Adams(data_std=std), model.start_noise(range(count), seed)
    states, history = [x], adams.init()
    for t, s in pairwise(levels):
        if s.t != t.t:
            x, history = adams.step(denoiser, x, t, s, history, None)  # type: ignore[arg-type]
        states.append(x)
    nearest = {}
    for n in steps:
        methods = [build_method(p, n, denoiser.schedule, data_std=std, grid=known.trained_steps) for p in PLAIN]
        ends = [sample(denoiser, method.solver, method.times, states[0]) for method in methods]
        nearest[n] = min(typical(distance(end, x)) / std for end in ends)
    return Walk(denoiser, std, levels, torch.stack(states), nearest)


def solved(missing: list[Tensor], terms: list[list[Tensor]], prior: list[float]) -> list[float]:
    """The numbers with which the terms best fit what is missing, of all networks together, near ``prior``."""
    near, sums = torch.tensor(prior, dtype=torch.float64), []
    for wanted, columns in zip(missing, terms, strict=True):
        y = wanted.flatten(1).double()
        a = torch.stack([column.flatten(1) for column in columns], 2).double()
        sums.append((y.square().sum(1), torch.einsum("ndj,nd->nj", a, y), torch.einsum("ndi,ndj->nij", a, a)))
    found = near
    for _ in range(REWEIGHTINGS):
        whole, right = torch.zeros(len(near), len(near), dtype=torch.float64), torch.zeros_like(near)
        for square, side, gram in sums:
            away = square - 2 * side @ found + torch.einsum("i,nij,j->n", found, gram, found)
            away = away.clamp(min=0).sqrt()
            mean = float(away.mean()) + 1e-30  # all networks count alike
            share = 1 / away.clamp(min=LEAST * mean) / mean
            whole += torch.einsum("n,nij->ij", share, gram)
            right += torch.einsum("n,ni->i", share, side)
        own = whole.diagonal()
        damping = RIDGE * torch.diag(own + SHARED * own.mean())
        found = near + torch.linalg.solve(whole + damping, right - whole @ near)
    return found.tolist()


def of_adams(indices: list[int], k: int) -> list[float]:
    """Weights of `adams` for the step k, a and b of 0."""
    nodes = [150.0, *(float(LEVELS[i - 1]) for i in indices[1:-1]), 0.0]
    past = tuple(reversed(nodes[: k + 1]))
    found = list(Adams(data_std=1.0).weights(past[: Adams.order], nodes[k + 1])[1:])
    return [*found, *([0.0] * (k - len(found))), 0.0, 0.0]


def fitted_rows(walks: list[Walk], indices: list[int]) -> tuple[float, list[list[float]]]:
    """How far the ends are, as the mean logarithm over the nearest plain solver's, and the numbers of each step."""
    states, past, rows = [walk.states[0] for walk in walks], [list[Tensor]() for _ in walks], []
    for k, (start, end) in enumerate(pairwise(indices)):
        found = [walk.features(x, start, end, old) for walk, x, old in zip(walks, states, past, strict=True)]
        missing = [walk.states[end] - plain for walk, (plain, _, _) in zip(walks, found, strict=True)]
        rows.append(solved(missing, [terms for _, terms, _ in found], of_adams(indices, k)))
        for place, (plain, terms, noise) in enumerate(found):
            for number, term in zip(rows[-1], terms, strict=True):
                plain = plain + number * term
            states[place], past[place] = plain, [noise, *past[place]]
    steps = len(indices) - 1
    away = [
        math.log(typical(distance(x, walk.states[-1])) / walk.std / walk.nearest[steps])
        for walk, x in zip(walks, states, strict=True)
    ]
    return sum(away) / len(away), rows


def first_indices(steps: int) -> list[int]:
    """Of the levels nearest to those of the table as it is, or of `log_ratio`; all different."""
    near, far = 0.05, 100.0
    v = torch.linspace(0, math.log(near / far), steps + 1, dtype=torch.float64)[1:-1].exp()
    known = few_steps().get(steps)
    noise = ((far * v - near) / (1 - v)).clamp(LOWEST, HIGHEST).tolist() if known is None else known.grid[:-1]
    found = [0, *(1 + int((LEVELS / one).log().abs().argmin()) for one in noise), len(LEVELS) + 1]
    for k in range(1, len(found)):
        found[k] = max(found[k], found[k - 1] + 1)
    return found


def search(walks: list[Walk], steps: int) -> dict[str, list[float] | list[list[float]]]:
    indices = first_indices(steps)
    within = tuple(1 + int((LEVELS / end).log().abs().argmin()) for end in (HIGHEST, LOWEST))
    best, rows = fitted_rows(walks, indices)
    for reach in REACHES:
        for k in range(1, steps):
            for move in (-reach, reach):
                trial = list(indices)
                while trial[k - 1] < trial[k] + move < trial[k + 1] and within[0] <= trial[k] + move <= within[1]:
                    trial[k] += move
                    away, found = fitted_rows(walks, trial)
                    if away >= best:
                        break
                    best, rows, indices = away, found, list(trial)
    print(
        f"{steps} steps: {math.exp(best):.2f} times as far as the nearest of the others, on what it is fitted to",
        flush=True,
    )
    return {
        "grid": [round(float(LEVELS[i - 1]), 4) for i in indices[1:-1]],
        "rows": [[round(number, 5) for number in row] for row in rows],
    }


def measure(name: str, steps: list[int], count: int, reference: int, seed: int) -> None:
    """A row for each number of steps, printed as it is found."""
    model = sumi.load(name, DiffusionModel)
    std, denoiser = max(model.description.data_std, LEAST_STD), model.denoiser()
    x, fine = model.start_noise(range(count, 2 * count), seed), fine_method(model, reference)
    end = sample(denoiser, fine.solver, fine.times, x)
    for n in steps:
        away = []
        for solver in (*PLAIN, "fitted"):
            grid = model.network_denoiser.trained_steps
            method = build_method(solver, n, denoiser.schedule, data_std=std, grid=grid)
            away.append(float(distance(sample(denoiser, method.solver, method.times, x), end).median()) / std)
        cells = " | ".join(f"{one:.2g}" for one in away)
        print(f"| {name}, {n} | {cells} | {away[-1] / min(away[:-1]):.2f} |", flush=True)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, help="run folders, or names of models that come with Sumi")
    parser.add_argument("--steps", default="5,7,10")
    parser.add_argument("--fit", metavar="FILE", type=Path, help="fit a table to the models, and write it here")
    parser.add_argument("--trajectories", type=int, help="of each model (default: 32 to measure, 24 to fit)")
    parser.add_argument("--reference", type=int, default=200, help="steps that the ODE is measured in")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    steps = [int(n) for n in options.steps.split(",")]
    torch.set_num_threads(1)
    if options.fit:
        walks = [walk_of(name, options.trajectories or 24, options.seed, steps) for name in options.models]
        lines = list[str]()
        for n in steps:
            lines.append(f'"{n}": {json.dumps(search(walks, n))}')
            options.fit.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        return
    print("| evaluations | `adams` | `unipc` | `dpmpp_2m` | `fitted` | `fitted` over the nearest |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in options.models:
        measure(name, steps, options.trajectories or 32, options.reference, options.seed)


if __name__ == "__main__":
    main()
