"""A denoiser of ours as a network of diffusers, where no class of the library has its shape.

It gives what its scheduler expects, whatever our network predicts:

    chain   time i = 0 … T - 1        ε̂ at the level (i + 1)/T
    flow    time 1000 t               û = (x_t - x̂_0)/t
    edm     time ln σ/4, input c_in x F of x̂_0 = c_skip x + c_out F

This module imports diffusers; `sumi.interop.to_diffusers` writes the folders that name it.
"""

from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor

from sumi.boundary.config import from_json
from sumi.conditioning.condition import Condition
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.parameterization import PredictPreconditioned
from sumi.models.model import RunDescription
from sumi.models.run import systems
from sumi.process.gaussian import expand
from sumi.process.schedule import noise_level

__all__ = ["ConfigMixin", "ModelMixin", "SumiDenoiser"]


class SumiDenoiser(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """See the top of this module. ``run``: the contents of config.json; ``family``: of the scheduler; ``trained``: for
    so many steps."""

    @register_to_config
    def __init__(
        self,
        sample_size: Any = 32,
        in_channels: int = 3,
        out_channels: int = 3,
        family: str = "chain",
        steps: int = 1000,
        sigma_data: float = 0.5,
        trained: int = 0,
        run: Any = None,
    ) -> None:
        super().__init__()
        del sample_size, in_channels, out_channels, trained  # which pipelines read in the configuration
        description = from_json(RunDescription, dict(run), known=systems())
        self.denoiser: NetworkDenoiser = description.config.build(description.items).model
        self.family, self.steps, self.sigma_data = family, steps, sigma_data

    def forward(
        self, sample: Tensor, timestep: Any, class_labels: Tensor | None = None, return_dict: bool = True
    ) -> Any:
        """What the scheduler expects of ``sample`` (N, C, H, W) at its ``timestep``, a number or (N,)."""
        time = torch.as_tensor(timestep, dtype=torch.float64).reshape(-1).cpu()
        labels = None if class_labels is None else Condition(labels=class_labels)
        match self.family:
            case "chain":
                found = self.denoiser(sample, ((time + 1) / self.steps).expand(len(sample)), labels).noise
            case "flow":
                t = (time / 1000).expand(len(sample))
                found = (sample - self.denoiser(sample, t, labels).clean) / expand(t, sample)
            case _:
                log_snr = -8 * time
                level = noise_level(self.denoiser.schedule, self.denoiser.schedule.time(log_snr).expand(len(sample)))
                c = PredictPreconditioned(self.sigma_data).coefficients(level)
                x = sample / expand(c.c_in, sample)
                clean = self.denoiser(x, level, labels).clean
                found = (clean - expand(c.c_skip, x) * x) / expand(c.c_out, x)
        return UNet2DOutput(sample=found) if return_dict else (found,)
