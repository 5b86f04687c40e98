"""Why many noise levels: scores cannot be learned in empty regions, and Langevin dynamics cannot cross them.

Song & Ermon 2019, section 3.2 and figures 2 and 3. Data: 1/5 N((-5, -5), I) + 4/5 N((5, 5), I). A single small noise
level has two faults:

    inaccurate scores   a loss that is a mean over p(x) does not constrain the score where p is nearly 0
    slow mixing         far apart, ∇ log(π_1 p_1 + π_2 p_2) ≈ ∇ log p_k in each half: the weights π_k drop out of the
                        score, so chains end in the half where they began

Many levels cure both: the largest noise fills the plane, and as it shrinks the chains settle on the peaks in the right
proportion. To separate the sampler's error from the network's, everything is repeated with the exact score.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

from sumi.boundary.progress import Count, Progress
from sumi.data.batch import Batch
from sumi.data.vectors import VectorDataset
from sumi.denoising.denoiser import Denoiser, NetworkDenoiser
from sumi.denoising.exact import mixture_denoiser
from sumi.denoising.parameterization import PredictPreconditioned
from sumi.denoising.weighting import SNRWeighting
from sumi.figures.canvas import GREY, INK, RED, SavedFigure, canvas, save
from sumi.networks.mlp import MLPConfig
from sumi.objectives.denoising import DenoisingLoss
from sumi.objectives.objective import Objective
from sumi.process.exploding import Ladder
from sumi.process.schedule import NoiseLevel, Schedule, noise_level
from sumi.randomness import Purpose, generator, normal, uniform
from sumi.sampling.sample import sample
from sumi.sampling.solvers.langevin import AnnealedLangevin
from sumi.training.config import TrainingConfig
from sumi.training.trainer import Trainer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEANS: Final = ((-5.0, -5.0), (5.0, 5.0))
SHARES: Final = (0.2, 0.8)
REACH: Final = 8.0  # the square of uniform starts
LADDER: Final = Ladder(sigma_min=0.3, sigma_max=20.0, steps=10)
SPREAD: Final = (1 + 0.16 * 100) ** 0.5  # deviation of a coordinate of the data: within a peak, and of its centre


def exact_denoiser(schedule: Schedule) -> Denoiser:
    """E[x_0 | x_t] of the mixture, for x_t (N, 2) in float64."""
    means, shares = torch.tensor(MEANS, dtype=torch.float64), torch.tensor(SHARES, dtype=torch.float64)
    return mixture_denoiser(means, torch.ones_like(shares), shares, schedule)


def log_density(x: Tensor, sigma: float) -> Tensor:
    """log p(x) of the data with noise ``sigma``, x (N, 2) float64: (N,)."""
    means, shares = torch.tensor(MEANS, dtype=torch.float64), torch.tensor(SHARES, dtype=torch.float64)
    variance = 1 + sigma**2
    squares = (x[:, None] - means).square().sum(-1)
    return (shares.log() - squares / (2 * variance)).logsumexp(1) - float(np.log(2 * np.pi * variance))


BATCH: Final = 256


class PointsObjective(Objective[NetworkDenoiser]):
    """Denoising score matching on fresh samples of the mixture, at times chosen uniformly from ``times`` (K,).

    Of the batch only the size is used; samples are functions of (seed, step).
    """

    def __init__(self, denoiser: NetworkDenoiser, times: Tensor) -> None:
        super().__init__(denoiser)
        self.points_at, self.loss = times, DenoisingLoss(SNRWeighting())

    def forward(self, batch: Batch) -> Tensor:
        random, count = generator(batch.seed, 0, batch.step, Purpose.TRAINING_TIME), len(batch.items)
        x_0 = torch.from_numpy(random.standard_normal((count, 2)))
        x_0 += torch.tensor(MEANS)[torch.from_numpy(random.choice(2, count, p=SHARES))]
        t = self.points_at[torch.from_numpy(random.integers(len(self.points_at), size=count))]
        noise = normal(batch.seed, [0], batch.step, Purpose.TRAINING_NOISE, (count, 2))[0]
        return self.loss(self.model, x_0.float(), t, noise)


def learn(times: Tensor, *, steps: int, seed: int = 0, progress: Callable[[Progress], None] | None = None) -> Denoiser:
    """A perceptron trained at these times of the ladder, with averaged weights."""
    config = TrainingConfig(
        steps=steps,
        batch_size=BATCH,
        learning_rate=3e-3,
        decay="cosine",
        precision="fp32",
        sample_every=0,
        checkpoint_every=steps,
    )
    with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(seed)
        network = MLPConfig(width=64, blocks=2, embedding=32).build((2,))
        denoiser = NetworkDenoiser(network, LADDER.build(), PredictPreconditioned(SPREAD))
        counted = VectorDataset(np.zeros((BATCH, 2), np.float32), tuple(map(str, range(BATCH))))
        objective = PointsObjective(denoiser, times)
        trainer = Trainer(config, objective, counted, seed, Path(folder), on_progress=progress)
        trainer.run()
    denoiser.load_state_dict(trainer.ema.tensors())
    return denoiser.eval().requires_grad_(False)


def rungs() -> Tensor:
    """The times of the ladder's levels, smallest noise first: float64 (L,)."""
    return torch.arange(1, LADDER.steps + 1, dtype=torch.float64) / LADDER.steps


@dataclass(frozen=True)
class Ends:
    """The chains' ends (N, 2), and the share in the smaller peak's half, with its standard error."""

    x: Tensor
    share: float
    error: float


def run_chains(denoiser: Denoiser, times: Tensor, *, chains: int, iterations: int, seed: int = 0) -> Ends:
    """Langevin dynamics from uniform starts in the square, ``iterations`` divided evenly over ``times`` but the last.

    ``times``: falling to 0, float64 (K + 1,); a single level and 0 is plain Langevin dynamics.
    """
    start = torch.stack([uniform(seed, range(chains), axis, Purpose.START) for axis in range(2)], 1)

    def noise(step: int, purpose: Purpose, draw: int = 0, /) -> Tensor:
        return normal(seed, [0], step, purpose, (chains, 2), draw=draw)[0]

    solver = AnnealedLangevin(corrections=iterations // (len(times) - 1), denoise=False)
    with torch.inference_mode():
        x = sample(denoiser, solver, times, (REACH * (2 * start - 1)).float(), noise)
    smaller = float((x.sum(1) < 0).double().mean())
    return Ends(x, smaller, (smaller * (1 - smaller) / chains) ** 0.5)


@dataclass(frozen=True)
class ScoreError:
    """A learned score on a lattice (n², 2) over the square, at one noise level.

    ``relative``: |ŝ - s| at each point, over the root mean square of |s|. ``dense``: the fewest lattice points with
    95 % of p's mass. ``of_dense``, ``of_rest``, ``of_all``: root mean square of the error relative to that of s in each
    region.
    """

    places: Tensor
    sigma: float
    exact: Tensor
    learned: Tensor
    dense: Tensor

    @property
    def relative(self) -> Tensor:
        return (self.learned - self.exact).norm(dim=1) / self.exact.square().sum(1).mean().sqrt()

    def over(self, region: Tensor) -> float:
        """Root mean square of ŝ - s relative to that of s in a region, bool (n²,)."""
        error, size = (v[region].square().sum(1).mean().sqrt() for v in (self.learned - self.exact, self.exact))
        return float(error / size)

    @property
    def of_dense(self) -> float:
        return self.over(self.dense)

    @property
    def of_rest(self) -> float:
        return self.over(~self.dense)

    @property
    def of_all(self) -> float:
        return self.over(torch.ones_like(self.dense))


def score_error(denoiser: Denoiser, now: NoiseLevel, *, side: int = 41) -> ScoreError:
    """The error of the denoiser's score on a lattice of ``side``² points."""
    line = torch.linspace(-REACH, REACH, side, dtype=torch.float64)
    places = torch.cartesian_prod(line, line)
    with torch.inference_mode():
        exact, learned = exact_denoiser(denoiser.schedule)(places, now).score, denoiser(places.float(), now).score
    density = log_density(places, float(now.sigma)).exp()
    ranked, order = density.sort(descending=True)
    dense = torch.zeros_like(density, dtype=torch.bool)
    dense[order] = ranked.cumsum(0) - ranked < 0.95 * ranked.sum()
    return ScoreError(places, float(now.sigma), exact, learned.double(), dense)


@dataclass(frozen=True)
class LowDensity:
    """Score errors of networks of one and of many levels, each at its chains' first level; and the chains' ends."""

    one: ScoreError
    many: ScoreError
    ends: dict[str, Ends]


def measure_low_density(
    *, steps: int = 1500, chains: int = 1000, iterations: int = 1000, seed: int = 0, count: Count | None = None
) -> LowDensity:
    """Train on the ladder's smallest level and on all levels; run chains with both and with the exact score."""

    count = count or (lambda *_: None)
    networks = []
    for what, times in (("learning one level", rungs()[:1]), ("learning ten levels", rungs())):

        def progress(p: Progress, what: str = what) -> None:
            count(what, p.step, p.steps)

        networks.append(learn(times, steps=steps, seed=seed, progress=progress))
        count(what, steps, steps)
    one, many = networks
    exact = exact_denoiser(one.schedule)
    lowest, all_levels = torch.tensor([float(rungs()[0]), 0.0], dtype=torch.float64), annealing()
    ends = {
        name: run_chains(denoiser, times, chains=chains, iterations=iterations, seed=seed)
        for name, denoiser, times in (
            ("one level, exact score", exact, lowest),
            ("one level, learned score", one, lowest),
            ("ten levels, exact score", exact, all_levels),
            ("ten levels, learned score", many, all_levels),
        )
    }
    first, last = (noise_level(one.schedule, float(rungs()[k])) for k in (0, -1))
    return LowDensity(score_error(one, first), score_error(many, last), ends)


def annealing() -> Tensor:
    """The ladder's times from the largest noise to the smallest, then 0: float64 (L + 1,)."""
    return torch.cat([rungs().flip(0), torch.zeros(1, dtype=torch.float64)])


def draw_low_density(found: LowDensity, path: Path) -> SavedFigure:
    """Above: score fields and errors on the square; below: the chains' ends, with the exact and learned scores."""
    figure = canvas(13, 7)
    above, below = figure.subplots(2, 4, sharex="row", sharey="row")
    one, many = found.one, found.many
    for axes, score, name in ((above[0], one.exact, "exact score"), (above[1], one.learned, "learned score")):
        _draw_density(axes, one)
        side = round(len(one.places) ** 0.5)
        arrows, at = (v.reshape(side, side, 2)[2::4, 2::4].reshape(-1, 2).T for v in (score, one.places))
        axes.quiver(*at, *arrows, color=INK, scale=90, width=0.008, pivot="mid")
        axes.set_title(f"{name} at σ = {one.sigma:g}", fontsize=10)
    for axes, error, name in ((above[2], one, "trained on this level"), (above[3], many, "trained on ten levels")):
        side = round(len(error.places) ** 0.5)
        shown = axes.imshow(
            error.relative.reshape(side, side).T,
            origin="lower",
            extent=(-REACH, REACH, -REACH, REACH),
            cmap="magma_r",
            vmin=0,
            vmax=1,
        )
        numbers = (
            f"{error.of_dense:.2f} in the data's region, {error.of_rest:.2f} elsewhere"
            if error is one
            else f"{error.of_all:.2f} on the whole square"
        )
        axes.set_title(f"error at σ = {error.sigma:g}, {name}\n{numbers}", fontsize=10)
    figure.colorbar(shown, ax=above[3], label="|ŝ - s| / rms |s|", shrink=0.8, extend="max")
    for axes, (name, ends) in zip(below, found.ends.items(), strict=True):
        square = [-REACH, REACH, REACH, -REACH, -REACH]
        axes.plot(square, [-REACH, -REACH, REACH, REACH, -REACH], color=GREY, linestyle="--", linewidth=1)
        axes.scatter(*ends.x.T, s=3, color=RED if "one" in name else INK, alpha=0.4, linewidths=0)
        axes.set_title(f"{name}\n{100 * ends.share:.0f} : {100 * (1 - ends.share):.0f}", fontsize=10)
        axes.set_xlim(-9, 9)
        axes.set_ylim(-9, 9)
        axes.set_aspect("equal")
    below[0].set_ylabel("Langevin from uniform starts;\nthe data is 20 : 80")
    shares = "; ".join(f"{name} {ends.share:.3f} ± {ends.error:.3f}" for name, ends in found.ends.items())
    return save(
        figure,
        path,
        f"share of chains that end at the peak with 0.2 of the data: {shares}. Relative error of the learned score at "
        f"σ = {one.sigma:g}: {one.of_dense:.2f} in the data's region, {one.of_rest:.2f} elsewhere; "
        f"at σ = {many.sigma:g}: {many.of_all:.2f} everywhere",
    )


def _draw_density(axes: "Axes", error: ScoreError) -> None:
    side = round(len(error.places) ** 0.5)
    density = log_density(error.places, error.sigma).exp().reshape(side, side).T
    line = error.places[:side, 1]
    axes.contourf(line, line, density, levels=8, cmap="Greys", alpha=0.7)
    axes.set_aspect("equal")
