"""Sumi: train, sample, guide, measure and explain diffusion models.

model = sumi.train("ddpm", data="photos/", steps=20_000)
model = sumi.load("runs/photos")
images = model.sample(16, steps=50, seed=0)

And without a model, a schedule, a solver and any denoiser:

denoiser = sumi.FunctionDenoiser(lambda x_t, level: 0 * x_t, sumi.schedules.CosineBeta().build())
x = sumi.sample(denoiser, sumi.solvers.DDIM(), sumi.time_grids.uniform(10), torch.randn(4, 3, 32, 32))
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sumi.denoising.denoiser import FunctionDenoiser
    from sumi.distillation import distil
    from sumi.models.diffusion.model import DiffusionModel
    from sumi.models.run import load
    from sumi.process import schedules
    from sumi.recipes.configure import configure
    from sumi.report.evaluate import evaluate
    from sumi.sampling import solvers
    from sumi.sampling import time_grid as time_grids
    from sumi.sampling.sample import sample
    from sumi.sampling.sampler import Guidance, Sampling
    from sumi.training_run import train

__version__ = "0.1.0"
__all__ = [
    "DiffusionModel",
    "FunctionDenoiser",
    "Guidance",
    "Sampling",
    "configure",
    "distil",
    "evaluate",
    "load",
    "sample",
    "schedules",
    "solvers",
    "time_grids",
    "train",
]

_HOMES = {
    "DiffusionModel": "sumi.models.diffusion.model",
    "FunctionDenoiser": "sumi.denoising.denoiser",
    "Guidance": "sumi.sampling.sampler",
    "Sampling": "sumi.sampling.sampler",
    "configure": "sumi.recipes.configure",
    "distil": "sumi.distillation",
    "evaluate": "sumi.report.evaluate",
    "load": "sumi.models.run",
    "sample": "sumi.sampling.sample",
    "train": "sumi.training_run",
}
_MODULES = {
    "schedules": "sumi.process.schedules",
    "solvers": "sumi.sampling.solvers",
    "time_grids": "sumi.sampling.time_grid",
}


if not TYPE_CHECKING:  # to which every name would be there

    def __getattr__(name: str) -> Any:
        """Torch is imported with the first name that needs it."""
        home = _HOMES.get(name) or _MODULES.get(name)
        if home is None:
            raise AttributeError(f"module 'sumi' has no attribute {name!r}")
        from importlib import import_module

        module = import_module(home)
        found = globals()[name] = module if name in _MODULES else getattr(module, name)
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__} - {"Any", "TYPE_CHECKING"})
