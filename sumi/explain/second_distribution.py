"""The model's distribution multiplied by a second one: known parts are kept, and the rest adapts.

For points, the first number is known to lie near a value (`sumi.restoration.product`); for bits, one bit is known to
be 1 (`sumi.restoration.bits`). This needs no training (Sohl-Dickstein et al. 2015, section 2.5).
"""

from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from sumi.denoising.denoiser import Denoiser
from sumi.figures.canvas import DATA, RED, SavedFigure, canvas, save
from sumi.figures.vectors import draw
from sumi.guidance.thresholding import StaticThreshold
from sumi.models.diffusion.model import DiffusionModel
from sumi.restoration.bits import ConditionedBits, known_bits
from sumi.restoration.product import Conditioned, KnownValues

SAMPLES: Final = 500
WIDTH: Final = 0.05
REACH: Final = 1.2


def draw_second_distribution(model: DiffusionModel, x_0: Tensor, path: Path) -> SavedFigure:
    """Samples of the model, and of its product with a second distribution; x_0 (M, D) are the data."""
    figure = canvas(9.5, 4.2)
    plain_axes, conditioned_axes = figure.subplots(1, 2)
    plain = model.sample(SAMPLES, batch_size=SAMPLES)
    if model.items.levels == 2:
        place = x_0.shape[1] // 2
        conditioned, says = _fix_bit(model, x_0, place)
        title = f"bit {place} known to be 1"
    else:
        value = float(x_0[:, 0].quantile(0.7))
        conditioned, says = _fix_number(model, x_0, value)
        title = f"first number known: {value:.2f} ± {WIDTH}"
        conditioned_axes.axvspan(value - WIDTH, value + WIDTH, color=RED, alpha=0.12, linewidth=0)
        if x_0.shape[1] > 1:
            conditioned_axes.scatter(x_0[:2000, 0], x_0[:2000, 1], s=1, color=DATA, alpha=0.3, zorder=0, linewidths=0)
    for axes, x, name in ((plain_axes, plain, "the model alone"), (conditioned_axes, conditioned, title)):
        draw(axes, x, model.items.levels, REACH * float(x_0.abs().max()))
        axes.set_title(name, fontsize=10)
    return save(figure, path, says)


def _fix_bit(model: DiffusionModel, x_0: Tensor, place: int) -> tuple[Tensor, str]:
    known = torch.zeros(x_0.shape[1:], dtype=torch.bool)
    known[place] = True
    table = known_bits(torch.ones_like(x_0[0]), known).to(model.device)
    conditioned = model.walk(SAMPLES, {"batch_size": SAMPLES}, wrap=lambda denoiser: ConditionedBits(denoiser, table))
    seen = {row.numpy().tobytes() for row in x_0}
    valid = sum(row.numpy().tobytes() in seen for row in conditioned) / SAMPLES
    kept = float((conditioned[:, place] == 1).double().mean())
    says = f"with bit {place} fixed to 1, {100 * kept:.0f} % have it, and {100 * valid:.1f} % occur in the data"
    return conditioned, says


def _fix_number(model: DiffusionModel, x_0: Tensor, value: float) -> tuple[Tensor, str]:
    known, values = torch.zeros(x_0.shape[1:], dtype=torch.bool), torch.zeros_like(x_0[0])
    known[0], values[0] = True, value
    second = KnownValues(values.to(model.device), known.to(model.device), WIDTH)
    reach = REACH * float(x_0.abs().max())  # a learned Jacobian is not a covariance everywhere

    def wrap(denoiser: Denoiser) -> Denoiser:
        return StaticThreshold(Conditioned(denoiser, second, 2), -reach, reach)

    conditioned = model.walk(SAMPLES, {"batch_size": SAMPLES}, wrap=wrap)
    return conditioned, _against_data(x_0, conditioned, value)


def _against_data(x_0: Tensor, conditioned: Tensor, value: float) -> str:
    """Mean and standard deviation of the first two numbers, and of the data weighted by the second distribution."""
    weight = (-(((x_0[:, 0] - value) / WIDTH) ** 2) / 2).exp().double()
    weight = weight / weight.sum()
    parts = []
    for column in range(min(2, x_0.shape[1])):
        x = x_0[:, column].double()
        mean = float((weight * x).sum())
        std = float((weight * (x - mean) ** 2).sum().sqrt())
        got = conditioned[:, column].double()
        parts.append(f"{float(got.mean()):.3f} ± {float(got.std()):.3f} (data: {mean:.3f} ± {std:.3f})")
    return f"the numbers are {' and '.join(parts)}"
