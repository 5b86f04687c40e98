"""Signal and noise over time: β (or sigma for variance exploding schedules), ᾱ, and SNR."""

from pathlib import Path

import torch

from sumi.figures.canvas import INK, SavedFigure, canvas, save
from sumi.process.schedule import Schedule


def draw_schedule(schedule: Schedule, steps: int, path: Path) -> SavedFigure:
    """Three panels over t: β of each of the ``steps``, ᾱ = alpha², and log10 of SNR = alpha²/sigma².

    Where alpha stays 1 and β is 0, sigma and its logarithm replace β and ᾱ.
    """
    t = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    alpha_bar = schedule.alpha(t).square()
    decades = schedule.log_snr(t) / torch.log(torch.tensor(10.0))
    figure = canvas(11, 3.2)
    sigma = schedule.sigma(t)
    exploding = bool((alpha_bar == 1).all())
    panels = [
        ("sigma: standard deviation of the noise", sigma)
        if exploding
        else ("β: variance added by a step", schedule.betas(steps)),
        ("log₁₀ sigma", sigma.log10()) if exploding else ("ᾱ = alpha²: share of the data's variance", alpha_bar),
        ("log₁₀ SNR = log₁₀ alpha²/sigma²", decades),
    ]
    for axes, (title, values) in zip(figure.subplots(1, 3), panels, strict=True):
        axes.plot(t.numpy(), values.numpy(), color=INK)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("t   (0 data, 1 noise)")
        axes.grid(alpha=0.25)
    if exploding:
        first, last = float(sigma[0]), float(sigma[-1])
        return save(figure, path, f"sigma rises from {first:.3g} to {last:.3g} ({steps} steps); alpha is 1")
    half = float(alpha_bar[max(0, round(steps / 2) - 1)])
    return save(figure, path, f"ᾱ is {half:.4g} at t = 0.5 and {float(alpha_bar[-1]):.3g} at t = 1 ({steps} steps)")
