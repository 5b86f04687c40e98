"""Fitting a time grid and a multistep method's coefficients to a model, from a few reference trajectories.

For a given grid, each step's weights w are fitted in order, from the sampler's own state (not the reference's) to the
reference at the next time,

    min_w Σ_n ‖x̂_ref(s) - (x̂_0 + σ̂_s ε_t + Σ_j w_j (ε_j - ε_t))‖_n,

so later steps correct the errors of earlier ones. The sum is over distances, not their squares, which the few paths
near a boundary between modes would dominate: least squares reweighted by inverse distances (Weiszfeld 1937), with a
small pull toward Adams' weights. The grid is found by coordinate search: points move one by one, by ever smaller parts
of the way to their neighbours, while the mean distance at the data falls. The reference is the same model with many
steps; the fit is evaluated on held-out trajectories. (Fitted grids: Watson et al. 2021; fitted coefficients: Zheng et
al. 2023, "DPM-Solver-v3".)
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from sumi.denoising.denoiser import Denoiser
from sumi.process.schedule import DATA, NoiseLevel, noise_levels, noise_ratio
from sumi.sampling.sample import sample
from sumi.sampling.solvers.adams import Adams
from sumi.sampling.solvers.solver import StepNoise
from sumi.sampling.solvers.tuned import Tuned

Progress = Callable[[int, int], None]

REWEIGHTINGS = 4
LEAST, TINY = 0.05, 1e-30  # no path counts more than twenty average ones


@dataclass(frozen=True)
class Reference:
    """Trajectories with many steps: ``times`` (K + 1,) and ``states`` (K + 1, N, …)."""

    times: Tensor
    states: Tensor

    def at(self, index: int) -> Tensor:
        return self.states[index]

    @property
    def data(self) -> Tensor:
        return self.states[-1]


@dataclass(frozen=True)
class Fit:
    """A grid and its solver, with the mean distance at the data over the trajectories of the fit."""

    times: Tensor
    solver: Tuned
    error: float


def reference(denoiser: Denoiser, adams: Adams, times: Tensor, x: Tensor) -> Reference:
    """The trajectories of ``x`` (N, …) at ``times[0]`` through all of ``times``."""
    states = [x]
    sample(denoiser, adams, times, x, callback=lambda _, __, state: states.append(state))
    return Reference(times, torch.stack(states))


def distance(x: Tensor, reference_data: Tensor) -> Tensor:
    """Root mean square over the elements of each sample: (N,)."""
    return (x - reference_data).flatten(1).square().mean(1).sqrt()


def fit(denoiser: Denoiser, adams: Adams, known: Reference, start: Tensor, progress: Progress | None = None) -> Fit:
    """The best grid, with times among ``known``'s, and coefficients for the number of steps of ``start``.

    ``start``: the initial grid (steps + 1,).
    """
    indices = _indices(known.times, start)
    best = _fit_weights(denoiser, adams, known, indices)
    reach = max(len(known.times) // (2 * len(indices)), 1)
    rounds = reach.bit_length()
    for number in range(rounds):
        for k in range(1, len(indices) - 1):
            for move in (-reach, reach):
                trial = list(indices)
                while trial[k - 1] < trial[k] + move < trial[k + 1]:
                    trial[k] += move
                    found = _fit_weights(denoiser, adams, known, trial)
                    if found.error >= best.error:
                        break
                    best, indices = found, list(trial)
            if progress is not None:
                progress(number * (len(indices) - 2) + k, rounds * (len(indices) - 2))
        reach = max(reach // 2, 1)
    return best


def _indices(known: Tensor, times: Tensor) -> list[int]:
    """Distinct indices of the times in ``known`` nearest to ``times``; first and last stay."""
    found = [int((known - t).abs().argmin()) for t in times[:-1]] + [len(known) - 1]
    for k in range(1, len(found)):
        found[k] = max(found[k], found[k - 1] + 1)
    for k in reversed(range(len(found) - 1)):
        found[k] = min(found[k], found[k + 1] - 1)
    return found


def _fit_weights(denoiser: Denoiser, adams: Adams, known: Reference, indices: list[int]) -> Fit:
    times = known.times[indices]
    walk = list(noise_levels(denoiser.schedule, times))
    walk[-1] = DATA
    rows: list[tuple[float, ...]] = []
    x, state = known.at(0), ()
    silent = StepNoise(None, 0)
    past: tuple[float, ...] = ()
    for k, (t, s) in enumerate(pairwise(walk)):
        nodes = (noise_ratio(t), *past)
        prior = adams.weights(nodes[: adams.order], noise_ratio(s))[1:]
        prior += (0.0,) * (k - len(prior))
        plain = Tuned((*rows, (0.0,) * k))
        reached, after = plain.step(denoiser, x, t, s, state, silent)
        row = _solve(known.at(indices[k + 1]) - reached, after, prior, s)
        for w, earlier in zip(row, state, strict=True):
            reached = reached + float(s.alpha) * w * (earlier - after[0])
        rows.append(row)
        x, state, past = reached, after, nodes
    error = float(distance(x, known.data).mean())
    return Fit(times, Tuned(tuple(rows)), error)


def _solve(
    missing: Tensor, evaluations: tuple[Tensor, ...], prior: tuple[float, ...], s: NoiseLevel, ridge: float = 1e-4
) -> tuple[float, ...]:
    """The weights, near ``prior``, with which the evaluations' differences best fit the remaining distance."""
    if not prior:
        return ()
    count, alpha = len(missing), float(s.alpha)
    columns = torch.stack([(e - evaluations[0]).reshape(count, -1) for e in evaluations[1:]], 2).double() * alpha
    wanted = missing.reshape(count, -1, 1).double()
    near = torch.tensor(prior, dtype=torch.float64, device=columns.device)[:, None]
    found = near
    for _ in range(REWEIGHTINGS):
        away = (wanted - columns @ found).square().mean((1, 2), keepdim=True).sqrt()
        weighted = columns / away.clamp(min=LEAST * float(away.mean()) + TINY)
        gram = torch.einsum("ndi,ndj->ij", weighted, columns)
        damping = ridge * gram.diagonal().mean() * torch.eye(len(prior), dtype=torch.float64, device=gram.device)
        left = torch.einsum("ndi,ndk->ik", weighted, wanted - columns @ near)
        found = near + torch.linalg.solve(gram + damping, left)
    return tuple(found[:, 0].tolist())
