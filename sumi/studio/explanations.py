"""What is explained with sliders: a picture in noise, and a cloud of points in the plane.

x_t = alpha x_0 + sigma ε, and what a model makes of it, x̂_0 = D(x_t, t)
dx/dt of the probability-flow ODE, moved by the score ∇ log p(x_t) of a cloud whose denoiser is exact
"""

import io
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sumi.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from sumi.models.diffusion.model import DiffusionModel

_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Noising:
    """Which ``picture`` is noised to the time ``t`` by which model; None: a sample of the model's own."""

    model: str
    t: float
    picture: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.t <= 1:
            raise InputError(f"t: {self.t:g} is out of range; give a time from 0 (data) to 1 (noise)")

    def row(self, model: "DiffusionModel", file: Path | None) -> bytes:
        """A PNG of x_0, x_t and x̂_0 side by side; x_t at unit size where noise explodes. Raises InputError."""
        import torch

        from sumi.boundary.arguments import torch_defaults
        from sumi.data.files import picture_of
        from sumi.models.diffusion.trajectory import size
        from sumi.process.schedule import noise_level
        from sumi.randomness import Purpose, normal

        with _one_at_a_time, torch_defaults(), torch.inference_mode():
            x_0 = model.sample(1, progress=False) if file is None else model.read("picture", file)[None]
            z_0 = model.space.encode(_cut(x_0, model).to(model.device))
            network, denoiser = model.gaussian_denoiser(), model.denoiser()
            steps = network.trained_steps
            level = noise_level(network.schedule, self.t if steps is None else round(self.t * steps) / steps)
            noise = normal(0, [0], 0, Purpose.START, tuple(z_0.shape[1:]), device=model.device)
            z_t = network.process.noised(z_0, noise, level)
            clean = denoiser(z_t, level).clean if level.t > 0 else z_0
            shown = torch.cat([model.glimpse(one) for one in (z_0, z_t / size(level), clean)])
        pixels = model.pixels.to_bytes(shown)
        out = io.BytesIO()
        picture_of(pixels.permute(1, 2, 0, 3).flatten(2)).save(out, "PNG")
        return out.getvalue()


def _cut(x: "Tensor", model: "DiffusionModel") -> "Tensor":
    """The top left corner of the model's size; a picture is larger only where it was enlarged."""
    _, height, width = model.images.shape
    return x[..., :height, :width]


CLOUDS: Final = ("ring-of-8", "swiss-roll")
SCHEDULES: Final = ("flow", "vp", "continuous_cosine")
STATES: Final = 41
"""Times at which a plane is shown, from noise to data."""
PARTICLES: Final = 240
ARROWS: Final = 15
"""On a side of the grid."""
REACH: Final = 1.8
"""The plane is shown from minus this to this."""
_CENTRES: Final = 400
_WIDTH: Final = 0.03
"""Of the Gaussian around each of the points that stand for the swiss roll."""


@lru_cache(maxsize=len(CLOUDS) * len(SCHEDULES))
def plane_of(cloud: str, schedule: str) -> dict[str, Any]:
    """Particles on the probability-flow ODE of a cloud whose denoiser is exact, and the score that moves them.

    ``t`` (K,), ``x`` (K, PARTICLES, 2), ``score`` (K, ARROWS², 2) at the grid ``at`` (ARROWS², 2); and ``data``, points
    of the cloud. Raises InputError for a name that is not of CLOUDS or SCHEDULES.
    """
    import numpy as np
    import torch

    from sumi.boundary.config import from_json
    from sumi.data.builtin.vectors import WIDTH, ring_centres
    from sumi.data.config import DataConfig
    from sumi.data.open import open_data
    from sumi.denoising.exact import mixture_denoiser
    from sumi.process.schedule import deviation, noise_level
    from sumi.process.schedules import ScheduleConfig
    from sumi.randomness import Purpose, normal
    from sumi.sampling.sample import sample
    from sumi.sampling.solvers import Heun

    if cloud not in CLOUDS or schedule not in SCHEDULES:
        raise InputError(f"plane: there is no {cloud[:30]!r} with {schedule[:30]!r}; reload the page")
    data = open_data(cloud, DataConfig(cloud))
    few = data.batch(np.arange(0, len(data), len(data) // _CENTRES)[:_CENTRES])
    centres = torch.as_tensor(ring_centres(), dtype=torch.float32) if cloud == "ring-of-8" else few
    wide = WIDTH if cloud == "ring-of-8" else _WIDTH
    own = from_json(ScheduleConfig, {"type": schedule}).build()
    count = len(centres)
    denoiser = mixture_denoiser(centres, torch.full((count,), wide), torch.full((count,), 1 / count), own)
    times = torch.linspace(1, 0, STATES, dtype=torch.float64)
    start = normal(0, range(PARTICLES), 0, Purpose.START, (2,)) * float(deviation(noise_level(own, 1.0)))
    x = [start]
    sample(denoiser, Heun(), times, start, callback=lambda _step, _level, state: x.append(state))
    side = torch.linspace(-REACH, REACH, ARROWS)
    at = torch.cartesian_prod(side, side)
    score = [denoiser(at, noise_level(own, max(0.02, float(t)))).score for t in times]
    listed = {"t": times, "x": torch.stack(x), "score": torch.stack(score), "at": at, "data": few}
    plain = {name: values.double().mul(1000).round().div(1000).tolist() for name, values in listed.items()}
    return {"reach": REACH, **plain}
