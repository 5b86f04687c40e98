"""The network with plain tensors in and out, for formats that know no classes of ours, and what a sampler must know.

    F(x, c_noise, labels, …)      x (N, …) scaled by c_in, c_noise (N,), each part of the condition by its name

`about` is what else it takes to sample: for a row of times from t = 1 to 0, alpha, sigma and the four coefficients

    x̂_0 = c_skip x_t + c_out F(c_in x_t, c_noise),        ε̂ = (x_t - alpha x̂_0)/sigma

with the null value of each condition, the classes, and whether x̂_0 is clamped.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from sumi.conditioning.condition import Condition
from sumi.conditioning.frozen_encoder import FrozenEncoder
from sumi.conditioning.word_table import WordTable
from sumi.data.spec import expect
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.parameterization import PredictEnergy
from sumi.errors import InputError
from sumi.models.diffusion.model import DiffusionModel
from sumi.process.schedule import DATA, noise_levels
from sumi.sampling.time_grid import TIME_GRIDS, snap

ROWS: Final = 240
"""Intervals of the table of times: a number that many numbers of steps divide."""


class PlainNetwork(nn.Module):
    """See the top of this module. ``names``: of the parts of the condition, in order."""

    def __init__(self, denoiser: NetworkDenoiser, shape: tuple[int, ...]) -> None:
        super().__init__()
        if denoiser.span is not None or denoiser.parameterization == PredictEnergy():
            raise InputError("to: a network of two times, or of an energy, is not exported; choose another run")
        for part in denoiser.modules():
            match part:
                case FrozenEncoder() | WordTable():
                    raise InputError("to: its text encoder is not part of the run; export to diffusers")
                case _:
                    pass
        self.network, self.conditioner = denoiser.network, denoiser.conditioner
        one = torch.zeros(1, *shape, device=next(denoiser.parameters()).device)
        self.names = tuple(_null(denoiser, one))

    def forward(self, x: Tensor, c_noise: Tensor, *parts: Tensor) -> Tensor:
        if self.conditioner is None:
            return self.network(x, c_noise)
        given = Condition(dict(zip(self.names, parts, strict=True)))
        return self.network(x, c_noise, self.conditioner(given))


def example(model: DiffusionModel, count: int) -> tuple[Tensor, ...]:
    """Inputs of `PlainNetwork` for ``count`` samples: noise, times and the null condition."""
    generator = torch.Generator().manual_seed(count)
    x = torch.randn(count, *model.space.shape, generator=generator)
    c_noise = torch.linspace(-1.0, 1.0, count)
    return x, c_noise, *(part.contiguous() for part in _null(model.gaussian_denoiser(), x).values())


def _null(denoiser: NetworkDenoiser, like: Tensor) -> dict[str, Tensor]:
    """The parts of the null condition; none of a network without a condition."""
    if denoiser.conditioner is None:
        return {}
    return dict(expect(denoiser.conditioner.null(like), Condition, "condition: is none"))


@contextmanager
def traceable() -> Iterator[None]:
    """Within this context attention is written out, and nothing is differentiated."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        yield


def about(model: DiffusionModel) -> dict[str, Any]:
    """What a sampler must know, as JSON has it."""
    denoiser, description = model.gaussian_denoiser(), model.description
    steps = min(ROWS, denoiser.trained_steps or ROWS)
    times = TIME_GRIDS["log_ratio"](denoiser.schedule, steps, max(description.data_std, 1e-3))
    if denoiser.trained_steps is not None:
        times = snap(times, denoiser.trained_steps)
    rows = []
    for level in noise_levels(denoiser.schedule, times[:-1]):
        c = denoiser.parameterization.coefficients(level)
        rows.append([float(v) for v in (level.t, level.alpha, level.sigma, c.c_in, c.c_skip, c.c_out, c.c_noise)])
    rows.append([float(v) for v in (DATA.t, DATA.alpha, DATA.sigma, 0.0, 1.0, 0.0, 0.0)])
    return {
        "format": 1,
        "shape": list(model.space.shape),
        "classes": list(model.items.label_names),
        "null": {n: p[0].tolist() for n, p in _null(denoiser, torch.zeros(1, *model.space.shape)).items()},
        "learned_variance": denoiser.learned_variance,
        "data_std": description.data_std,
        "clamp": model.config.sampling.threshold != "none",
        "columns": ["t", "alpha", "sigma", "c_in", "c_skip", "c_out", "c_noise"],
        "table": rows,
    }
