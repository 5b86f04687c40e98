"""Predicting ε, x_0 or v, compared at equal compute.

Network, data, initial weights, order, times, noise, number of steps and learning rate are the same; only the meaning of
the output differs, and with it the loss. The output's plain error is a weight on the error of x̂_0
(`sumi.denoising.weighting`): SNR for ε, 1 for x_0, SNR + 1 for v. To separate the effect of weighting, x_0 and v are
also trained with SNR, the weight of ε.

Errors on held-out images are compared as

    E‖ε̂ - ε‖² = SNR · E‖x̂_0 - x_0‖²;

their ratio at a noise level is the same in x_0. Where x_t is nearly data, x̂_0 ≈ x_t is easy in terms of ε̂, and hard
for a network that must reproduce the image. Where x_t is nearly noise it is the reverse: x̂_0 is the difference of x_t
and ε̂, divided by a small alpha. v is ε at one end and -x_0 at the other (Salimans & Ho 2022, section 4).
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from sumi.boundary.progress import Count, Progress
from sumi.data.config import DataConfig
from sumi.data.dataset import evenly_spaced
from sumi.data.load import load_images
from sumi.denoising.parameterization import ParameterizationConfig, PredictClean, PredictNoise, PredictVelocity
from sumi.denoising.weighting import ConstantWeighting, SNRWeighting, VelocityWeighting, WeightingConfig
from sumi.evaluation.images import learn_features
from sumi.evaluation.loss_by_noise import LossByNoise, loss_by_noise
from sumi.figures.canvas import INK, RED, SavedFigure, canvas, name_lines, save
from sumi.metrics.features.network import FeatureNetwork
from sumi.metrics.frechet import frechet_distance
from sumi.metrics.intervals import Estimate
from sumi.models.diffusion.system import DiffusionConfig
from sumi.networks.unet import UNetConfig
from sumi.training.config import TrainingConfig
from sumi.training_run import Events, train

STEPS, SAMPLES, HELD_OUT = 600, 500, 0.25
TIMES = (1, 3, 10, *range(50, 1001, 50))  # of 1000
BLUE = "#2f6690"


@dataclass(frozen=True)
class Plan:
    """What to train; ``own``: whether the loss is the plain error of the output."""

    says: str
    parameterization: ParameterizationConfig
    weighting: WeightingConfig
    own: bool

    @property
    def label(self) -> str:
        return self.says if self.own else f"{self.says}, weight SNR"


PLANS: Final = (
    Plan("ε", PredictNoise(), SNRWeighting(), True),
    Plan("x₀", PredictClean(), ConstantWeighting(), True),
    Plan("v", PredictVelocity(), VelocityWeighting(), True),
    Plan("x₀", PredictClean(), SNRWeighting(), False),
    Plan("v", PredictVelocity(), SNRWeighting(), False),
)
COLOURS: Final = {"ε": INK, "x₀": RED, "v": BLUE}


def configuration(plan: Plan, source: str, *, steps: int = STEPS, seed: int = 0) -> DiffusionConfig:
    """The configuration of a plan: a small U-Net, batches of 64, float32; only output and weight differ."""
    return DiffusionConfig(
        recipe="parameterizations",
        data=DataConfig(source=source, held_out=HELD_OUT),
        seed=seed,
        parameterization=plan.parameterization,
        weighting=plan.weighting,
        network=UNetConfig(widths=(32, 64), blocks=(1, 1)),
        training=TrainingConfig(
            steps=steps, batch_size=64, precision="fp32", sample_every=0, checkpoint_every=steps, keep_checkpoints=1
        ),
    )


@dataclass(frozen=True)
class Measured:
    """Held-out errors by noise level, and the Fréchet distance of samples to held-out images."""

    plan: Plan
    losses: LossByNoise
    distance: Estimate


def compare(
    source: str = "digits",
    *,
    steps: int = STEPS,
    samples: int = SAMPLES,
    seed: int = 0,
    plans: Sequence[Plan] = PLANS,
    count: Count | None = None,
) -> list[Measured]:
    """Train and evaluate every plan in a temporary folder. Raises InputError for data that are not images."""
    count = count or (lambda *_: None)
    dataset = load_images(DataConfig(source=source, held_out=HELD_OUT))
    learned, held_out = dataset.split(HELD_OUT)
    network = learn_features(learned, count, seed=seed)
    images = evenly_spaced(held_out, SAMPLES)
    real = network.features(images)
    return [
        _measure(configuration(plan, source, steps=steps, seed=seed), plan, images, network, real, samples, count)
        for plan in plans
    ]


def _measure(
    config: DiffusionConfig,
    plan: Plan,
    images: torch.Tensor,
    network: FeatureNetwork,
    real: torch.Tensor,
    samples: int,
    count: Count,
) -> Measured:
    def progress(p: Progress) -> None:
        count(f"training {plan.label}", p.step, p.steps)

    with tempfile.TemporaryDirectory() as folder:
        model = train(config, out=Path(folder) / "run", device="cpu", events=Events(progress=progress))
        count(f"training {plan.label}", config.training.steps, config.training.steps)
        times = torch.tensor(TIMES, dtype=torch.float64) / 1000
        losses = loss_by_noise(model.network_denoiser, images, times, seed=config.seed)
        made = model.sample(samples, steps=50, seed=config.seed)
    return Measured(plan, losses, frechet_distance(network.features(made), real))


def excess(measured: list[Measured]) -> list[list[float]]:
    """Each plan's error at each time, relative to the best plan's there."""
    table = torch.tensor([m.losses.mse_clean for m in measured], dtype=torch.float64)
    return (table / table.amin(0)).tolist()


def draw_parameterizations(measured: list[Measured], steps: int, path: Path) -> SavedFigure:
    """Held-out errors by log-SNR, their ratio to the best, and the samples' distance with its 95 % interval."""
    figure = canvas(13, 4.2)
    errors, ratios, distances = figure.subplots(1, 3, width_ratios=[1, 1, 0.8])
    over = excess(measured)
    for m, ratio in zip(measured, over, strict=True):
        colour, line = COLOURS[m.plan.says], "-" if m.plan.own else "--"
        if m.plan.own:
            errors.semilogy(m.losses.log_snr, m.losses.mse_noise, line, color=colour, marker=".", label=m.plan.label)
        ratios.semilogy(m.losses.log_snr, ratio, line, color=colour, marker=".", markersize=4, label=m.plan.label)
    for axes, title in (
        (errors, "error of ε̂ = SNR · error of x̂₀, by what is predicted"),
        (ratios, "error relative to the best at that level"),
    ):
        axes.invert_xaxis()
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("log-SNR   (data → noise)")
        axes.grid(alpha=0.25)
        name_lines(axes)
    ratios.set_yticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
    for place, m in enumerate(reversed(measured)):
        d, colour = m.distance, COLOURS[m.plan.says]
        fill = colour if m.plan.own else "white"
        distances.plot([d.low, d.high], [place, place], color=colour, linewidth=2)
        distances.plot([d.value], [place], "o", color=colour, markerfacecolor=fill, zorder=3)
    distances.set_yticks(range(len(measured)), [m.plan.label for m in reversed(measured)])
    distances.set_ylim(-0.6, len(measured) - 0.4)
    distances.set_xlim(0, None)
    distances.set_title("Fréchet distance of samples, 95 %", fontsize=10)
    distances.grid(alpha=0.25, axis="x")
    figure.suptitle(f"{steps} steps each, held-out images, one seed", fontsize=10)
    return save(figure, path, _says(measured, over))


def _says(measured: list[Measured], over: list[list[float]]) -> str:
    worst = ", ".join(
        f"{m.plan.label} {max(ratio):.3g} (at t = {t:.3g})"
        for m, ratio in zip(measured, over, strict=True)
        for t in [m.losses.t[ratio.index(max(ratio))]]
    )
    distances = [m.distance for m in measured]
    found = ", ".join(
        f"{m.plan.label} {d.value:.2f} ({d.low:.2f} to {d.high:.2f})" for m, d in zip(measured, distances, strict=True)
    )
    alike = max(d.low for d in distances) < min(d.high for d in distances)
    verdict = "samples do not differ significantly" if alike else "samples differ"
    return f"worst error relative to the best at that time: {worst}; {verdict}, Fréchet distance {found}"
