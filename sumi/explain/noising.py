"""Noising an image in many small steps and in one jump gives the same distribution."""

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from sumi.figures.canvas import SavedFigure, canvas, name_row, save, show_image
from sumi.process.gaussian import add_noise, transition
from sumi.process.schedule import NoiseLevel, Schedule, deviation, noise_levels
from sumi.randomness import Purpose, normal

SHOWN = 10


def walk(x_0: Tensor, schedule: Schedule, steps: int, seed: int) -> list[tuple[NoiseLevel, Tensor]]:
    """x_0 (C, H, W) through all ``steps`` transitions: each noise level with its state, from t = 0."""
    grid = list(noise_levels(schedule, torch.arange(steps + 1, dtype=torch.float64) / steps))
    x = x_0
    states = [(grid[0], x)]
    for k, (s, t) in enumerate(pairwise(grid)):
        step = transition(s, t)
        noise = normal(seed, [0], k, Purpose.STEP, x_0.shape)[0]
        x = step.scale * x + float(step.variance) ** 0.5 * noise
        states.append((t, x))
    return states


def draw_noising(image: Tensor, schedule: Schedule, steps: int, path: Path, *, seed: int = 0) -> SavedFigure:
    """One image (C, H, W) in [-1, 1] at ten times: above by small steps, below by one jump each.

    For variance exploding schedules, states are shown scaled to unit size.
    """
    walked = walk(image, schedule, steps, seed)
    shown = [round(k * steps / SHOWN) for k in range(SHOWN + 1)]
    figure = canvas(12, 2.5)
    axes = figure.subplots(2, len(shown))
    jump_noise = normal(seed, [0], 0, Purpose.START, image.shape)[0]
    for column, k in enumerate(shown):
        level, by_steps = walked[k]
        by_jump = add_noise(image, jump_noise, level)
        for row, x in ((0, by_steps), (1, by_jump)):
            show_image(axes[row][column], x / max(1.0, float(deviation(level))))
        axes[0][column].set_title(f"t = {float(level.t):.1f}", fontsize=9)
    name_row(axes[0][0], f"{steps} steps")
    name_row(axes[1][0], "one jump")
    level, end = walked[-1]
    expected = add_noise(image, torch.zeros_like(image), level)
    spread = float((end - expected).square().mean().sqrt())
    error = float(level.sigma) / (2 * image.numel()) ** 0.5
    says = f"the pixel standard deviation is {spread:.3f} ± {error:.3f}, theory says {level.sigma:.3f}"
    return save(figure, path, f"{steps} small steps (top) and one jump (bottom) give the same distribution: {says}")
