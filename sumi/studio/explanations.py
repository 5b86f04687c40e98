"""What a model does to one picture at a time t: x_t = alpha x_0 + sigma ε, and x̂_0 = D(x_t, t)."""

import io
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sumi.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from sumi.models.diffusion.model import DiffusionModel

POINTS: Final = 121
"""Of a schedule's curves."""
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


def schedule_of(model: "DiffusionModel") -> dict[str, list[Any]]:
    """alpha, sigma and the log-SNR of its schedule along t; None where they are not finite."""
    import torch

    from sumi.process.schedule import noise_level

    t = torch.linspace(0, 1, POINTS, dtype=torch.float64)
    level = noise_level(model.network_denoiser.schedule, t)
    curves = {"t": t, "alpha": level.alpha, "sigma": level.sigma, "log_snr": level.log_snr}
    plain = {name: torch.as_tensor(values).expand(POINTS).tolist() for name, values in curves.items()}
    return {name: [v if abs(v) < 1e30 else None for v in values] for name, values in plain.items()}
