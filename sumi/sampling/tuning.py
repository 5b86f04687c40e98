"""Fitting a time grid and a multistep method's coefficients to a model, from a few reference trajectories.

For a given grid, each step's numbers w, a and b (`sumi.sampling.solvers.tuned`) are fitted in order, from the sampler's
own state (not the reference's) to the reference at the next time,

    min Σ_n ‖x_ref(s) - ((1 + a) alpha_s x̂_0 + (sigma_s + b) ε_t + alpha_s Σ_j w_j (ε_j - ε_t))‖_n,

so later steps correct the errors of earlier ones. Each band of frequencies has its own. The sum is over distances, not
their squares, which the few paths near a boundary between modes would dominate: least squares reweighted by inverse
distances (Weiszfeld 1937), with a small pull toward Adams' weights. What is still missing on average, in low
frequencies, is added, as far as it is larger than its own standard error. The grid is found by coordinate search:
points move one by one, by ever smaller parts of the way to their neighbours, twice over, while the typical distance at
the data falls. The reference is the same model with many steps; the fit is evaluated on held-out trajectories. (Fitted
grids: Watson et al. 2021; fitted coefficients: Zheng et al. 2023, "DPM-Solver-v3", also by pixel.)
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from sumi.denoising.denoiser import Denoiser
from sumi.process.schedule import DATA, noise_levels, noise_ratio
from sumi.sampling.bands import Bands
from sumi.sampling.sample import sample
from sumi.sampling.solvers.adams import Adams
from sumi.sampling.solvers.tuned import Row, Tuned, evaluated, moved

Progress = Callable[[int, int], None]

BANDS, PASSES = 5, 2
REWEIGHTINGS = 5
RIDGE, SHARED = 1e-3, 1e-3
CAUTION = 4.0  # squared standard errors that a mean is reduced by
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
    """A grid and its solver, with the `typical` distance at the data over the trajectories of the fit."""

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


def typical(distances: Tensor) -> float:
    """The geometric mean, which a few paths that end in another mode do not decide."""
    return float((distances + TINY).log().mean().exp())


def fit(denoiser: Denoiser, adams: Adams, known: Reference, start: Tensor, progress: Progress | None = None) -> Fit:
    """The best grid, with times among ``known``'s, and coefficients for the number of steps of ``start``.

    ``start``: the initial grid (steps + 1,).
    """
    indices = _indices(known.times, start)
    best = _fit_weights(denoiser, adams, known, indices)
    widest = max(len(known.times) // (2 * len(indices)), 1)
    reaches = [widest >> halvings for halvings in range(widest.bit_length())] * PASSES
    for number, reach in enumerate(reaches):
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
                progress(number * (len(indices) - 2) + k, len(reaches) * (len(indices) - 2))
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
    bands = Bands.of(tuple(known.data.shape[1:]), BANDS)
    weights, means = list[tuple[Row, ...]](), list[Row]()
    x, state = known.at(0), ()
    past: tuple[float, ...] = ()
    for k, (t, s) in enumerate(pairwise(walk)):
        nodes = (noise_ratio(t), *past)
        prior = adams.weights(nodes[: adams.order], noise_ratio(s))[1:]
        prior += (0.0,) * (k + 2 - len(prior))
        plain, terms, epsilon = evaluated(denoiser, x, t, s, state, bands)
        wanted = bands.transformed(known.at(indices[k + 1]))
        rows = _solve(wanted - plain, terms, prior, bands)
        reached = moved(plain, terms, rows, (), bands)
        weights.append(rows)
        if bands.are_cut:
            lowest = bands.lowest(reached)
            mean = shrunk_mean(bands.lowest(wanted) - lowest)
            means.append(tuple(mean.flatten().tolist()))
            lowest.add_(mean.to(lowest))
        x, state, past = bands.restored(reached), (epsilon, *state), nodes
    return Fit(times, Tuned(tuple(weights), tuple(means)), typical(distance(x, known.data)))


def _solve(missing: Tensor, terms: list[Tensor], prior: Row, bands: Bands) -> tuple[Row, ...]:
    """The numbers of each band, near ``prior``, with which the ``terms`` best fit what is ``missing`` (N, …).

    A number is pulled to its prior by `RIDGE` of its own term's square in its band, and a little of that in all bands,
    of which some may be empty.
    """
    near = torch.tensor(prior, dtype=torch.float64)
    squares, sides, grams = list[Tensor](), list[Tensor](), list[Tensor]()
    for mask in bands.masks():
        wanted = missing[:, mask].double()
        columns = torch.stack([term[:, mask] for term in terms], 2).double()
        squares.append(wanted.square().sum(1))
        sides.append(torch.einsum("ndj,nd->nj", columns, wanted))
        grams.append(torch.einsum("ndi,ndj->nij", columns, columns))
    square, side, gram = (torch.stack(each, 1).cpu() for each in (squares, sides, grams))  # (N, bands, …)
    found = near.expand(len(grams), -1)
    for _ in range(REWEIGHTINGS):
        fitted = torch.einsum("bi,nbij,bj->n", found, gram, found)
        away = (square.sum(1) - 2 * torch.einsum("bi,nbi->n", found, side) + fitted).clamp(min=0).sqrt()
        share = 1 / away.clamp(min=LEAST * float(away.mean()) + TINY)
        whole, right = torch.einsum("n,nbij->bij", share, gram), torch.einsum("n,nbi->bi", share, side)
        own = whole.diagonal(dim1=1, dim2=2)
        damping = RIDGE * torch.diag_embed(own + SHARED * own.mean(0) + TINY)
        found = near + torch.linalg.solve(whole + damping, right - whole @ near)
    return tuple(tuple(row) for row in found.tolist())


def shrunk_mean(missing: Tensor) -> Tensor:
    """The mean over items (N, …), float64, less what its standard error may be of it."""
    mean, variance = missing.double().mean(0), missing.double().var(0) / len(missing)
    return mean * mean.square() / (mean.square() + CAUTION * variance + TINY)
