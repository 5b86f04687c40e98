"""The schedule editor: which schedules can be drawn, in which ranges, and what one does to a picture.

x_t = alpha(t) x_0 + sigma(t) ε, with the same ε at all times
"""

import base64
import io
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sumi.errors import InputError
from sumi.process.schedules import (
    EDM,
    VE,
    VP,
    ConstantBeta,
    Cosine,
    CosineBeta,
    Flow,
    LinearBeta,
    QuadraticBeta,
    ScheduleConfig,
    SigmoidBeta,
    SubVP,
)
from sumi.studio.models import sheet_of

if TYPE_CHECKING:
    from sumi.process.schedule import Schedule

POINTS: Final = 121
"""Of a schedule's curves."""
SHOWN: Final = 8
"""Times at which the picture is noised, from 0 to 1."""
SIDE: Final = 64
"""Pixels of the picture."""
TILE: Final = (0, 0, 192, 192)
"""Of the first sample on the sheet of "characters"."""
MOST_STEPS: Final = 10_000
EDITED: Final = (
    LinearBeta,
    CosineBeta,
    QuadraticBeta,
    SigmoidBeta,
    ConstantBeta,
    VP,
    SubVP,
    Cosine,
    Flow,
    EDM,
    VE,
)
RANGES: Final = {
    "steps": (10, 4000),
    "beta_start": (1e-6, 0.05),
    "beta_end": (1e-3, 0.5),
    "beta": (1e-4, 0.5),
    "s": (1e-4, 1.0),
    "max_beta": (0.01, 0.9999),
    "width": (0.5, 12.0),
    "beta_min": (0.01, 5.0),
    "beta_max": (5.0, 60.0),
    "sigma_min": (1e-3, 0.5),
    "sigma_max": (1.0, 200.0),
    "rho": (1.0, 15.0),
}
"""From where to where a parameter is dragged, on a logarithmic scale."""


@dataclass(frozen=True)
class Drawing:
    """What is drawn: a ``schedule``, and the ``picture`` that it noises; None: a sample that comes with Sumi."""

    schedule: ScheduleConfig
    picture: str | None = None

    def __post_init__(self) -> None:
        if self.schedule.name not in [one.name for one in EDITED]:
            raise InputError(f"schedule: {self.schedule.name} cannot be drawn; choose one of the list")
        if (self.schedule.steps or 0) > MOST_STEPS:
            raise InputError(f"schedule.steps: {self.schedule.steps} are too many to draw; give {MOST_STEPS} or fewer")

    def shown(self, file: Path | None) -> dict[str, Any]:
        """`curves` of it, and ``row``: a PNG in base64 of the picture in ``file`` at `SHOWN` times, side by side."""
        schedule = self.schedule.build()
        return curves(schedule) | {"row": base64.b64encode(_row(schedule, self.schedule.steps, file)).decode()}


def edited() -> list[dict[str, Any]]:
    """Each schedule that can be drawn, as JSON: its name, what it is, and its parameters with their ranges."""
    return [
        {
            "name": one.name,
            "title": (one.__doc__ or one.name).splitlines()[0],
            "parameters": [
                {
                    "name": field.name,
                    "help": field.metadata["help"],
                    "value": field.default,
                    "low": RANGES[field.name][0],
                    "high": RANGES[field.name][1],
                    "whole": field.name == "steps",
                }
                for field in fields(one)
            ],
        }
        for one in EDITED
    ]


def curves(schedule: "Schedule") -> dict[str, list[Any]]:
    """alpha, sigma, ᾱ = alpha² and the log-SNR of a schedule along t; None where they are not finite."""
    import torch

    from sumi.process.schedule import noise_level

    t = torch.linspace(0, 1, POINTS, dtype=torch.float64)
    level = noise_level(schedule, t)
    alpha = torch.as_tensor(level.alpha)
    found = {"t": t, "alpha": alpha, "sigma": level.sigma, "alpha_bar": alpha**2, "log_snr": level.log_snr}
    plain = {name: torch.as_tensor(values).expand(POINTS).tolist() for name, values in found.items()}
    return {name: [v if abs(v) < 1e30 else None for v in values] for name, values in plain.items()}


def _row(schedule: "Schedule", steps: int | None, file: Path | None) -> bytes:
    """States at unit size where noise explodes; the times of a chain are those of its grid."""
    import numpy as np
    import torch
    from PIL import Image, ImageOps

    from sumi.data.files import picture_of
    from sumi.data.items import BYTES
    from sumi.models.diffusion.trajectory import size
    from sumi.process.gaussian import add_noise
    from sumi.process.schedule import noise_levels
    from sumi.randomness import Purpose, normal

    with Image.open(sheet_of("characters") if file is None else file) as opened:
        found = (opened.crop(TILE) if file is None else opened).convert("RGB")
    how = Image.Resampling.NEAREST if min(found.size) < SIDE else Image.Resampling.LANCZOS
    x_0 = np.asarray(ImageOps.fit(found, (SIDE, SIDE), how))
    image = torch.from_numpy(x_0.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    noise = normal(0, [0], 0, Purpose.START, tuple(image.shape[1:]))
    times = torch.linspace(0, 1, SHOWN, dtype=torch.float64)
    levels = noise_levels(schedule, times if steps is None else (times * steps).round() / steps)
    states = [image if level.t == 0 else add_noise(image, noise, level) / size(level) for level in levels]
    pixels = BYTES.to_bytes(torch.cat(states))
    out = io.BytesIO()
    picture_of(pixels.permute(1, 2, 0, 3).flatten(2)).save(out, "PNG", compress_level=1)
    return out.getvalue()
