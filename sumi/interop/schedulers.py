"""Schedulers of diffusers: what they say of the noise and of what the network predicts, there and back.

A scheduler is noise levels, prediction type, times and a solver in one. Taken from it are the schedule, the
parameterization, whether x̂_0 is clamped, and the network's time input; how to sample is chosen here.

    DDPM, DDIM, DPM-Solver …      a chain of β;  time input i = 0 … T - 1 of level (i + 1)/T
    EDM's                         σ from σ_min to σ_max;  time input ln σ/4
    flow matching                 (1 - t) x_0 + t ε;  time input T t

A chain that ends without any signal (``rescale_betas_zero_snr``) ends here with ᾱ_T = 2^-24, as Euler's scheduler of
diffusers has it: the next number to 0 that has a logarithm.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor

from sumi.denoising.parameterization import (
    ParameterizationConfig,
    PredictClean,
    PredictFlow,
    PredictNoise,
    PredictPreconditioned,
    PredictVelocity,
)
from sumi.errors import InputError
from sumi.guidance.thresholding import DynamicThreshold
from sumi.process.chain import CosineBeta, LinearBeta, ListedBeta, QuadraticBeta, SigmoidBeta
from sumi.process.continuous import Flow
from sumi.process.exploding import EDM
from sumi.process.schedule import Schedule
from sumi.process.schedules import ScheduleConfig
from sumi.sampling.sampler import Threshold

LEAST_SIGNAL: Final = 2.0**-24
"""ᾱ_T of a chain that ends without signal."""
PREDICTIONS: Final = {"epsilon": PredictNoise(), "v_prediction": PredictVelocity(), "sample": PredictClean()}
CLAMPING: Final = ("DDPMScheduler", "DDIMScheduler")
"""Those that clamp x̂_0 where their file does not say."""
CHAIN_DEFAULTS: Final = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear", "num_train_timesteps": 1000}


@dataclass(frozen=True)
class Scheduler:
    """What a scheduler says. ``grid``: T, where the network knows the times of a chain alone; ``notes``: what of it is
    done otherwise here.

    The network's time input is ``time_scale`` · c_noise + ``time_offset``.
    """

    schedule: ScheduleConfig
    parameterization: ParameterizationConfig
    grid: int | None
    time_scale: float
    time_offset: float
    threshold: Threshold
    notes: tuple[str, ...] = ()


def read_scheduler(config: Mapping[str, Any], where: str) -> Scheduler:
    """Of a scheduler_config.json. Raises InputError, beginning with ``where``, for one that is not known here."""
    kind = str(config.get("_class_name", ""))
    if kind.startswith("EDM"):
        return _edm(config, where)
    if kind.startswith("FlowMatch"):
        length = int(config.get("num_train_timesteps", 1000))
        return Scheduler(Flow(), PredictFlow(), None, length / 1000, length / 1000, "none")
    if "betas" not in kind and not {"beta_schedule", "trained_betas", "beta_start"} & config.keys():
        raise InputError(
            f"{where}: {kind or 'a scheduler without a class'} has no β, no EDM's σ and no flow; import the network "
            "with a mapping instead"
        )
    return _chain(config, where)


def _chain(config: Mapping[str, Any], where: str) -> Scheduler:
    schedule = _betas(CHAIN_DEFAULTS | {k: v for k, v in config.items() if v is not None}, where)
    steps, stated = schedule.steps, str(config.get("prediction_type", "epsilon"))
    if stated not in PREDICTIONS:
        raise InputError(f"{where}: prediction_type {stated} is not known; it is one of {', '.join(PREDICTIONS)}")
    threshold, notes = _threshold(config)
    return Scheduler(schedule, PREDICTIONS[stated], steps, steps / 1000, steps / 1000 - 1, threshold, notes)


def _threshold(config: Mapping[str, Any]) -> tuple[Threshold, tuple[str, ...]]:
    """What keeps x̂_0 in range, and a note where the scheduler does so in another way.

    A dynamic threshold divides by the quantile ``dynamic_thresholding_ratio`` of |x̂_0|, at least 1 and at most
    ``sample_max_value``; where that is 1, as by default, it is a clamp.
    """
    if config.get("thresholding"):
        ratio, most = float(config.get("dynamic_thresholding_ratio", 0.995)), float(config.get("sample_max_value", 1.0))
        if most <= 1:
            return "static", ()
        here = DynamicThreshold.percentile
        note = (
            f"its scheduler divides x̂_0 by their {ratio:g} quantile, at most {most:g}; here it is the {here:g} quantile"
        )
        return "dynamic", (f"{note} without a most",)
    if config.get("clip_sample", config.get("_class_name") in CLAMPING):
        most = float(config.get("clip_sample_range") or 1.0)
        if most == 1:
            return "static", ()
        note = f"its scheduler clamps x̂_0 to ±{most:g}; here they are "
        return ("none", (f"{note}not clamped",)) if most > 1 else ("static", (f"{note}clamped to ±1",))
    return "none", ()


def _betas(config: Mapping[str, Any], where: str) -> Any:
    steps, start, end = int(config["num_train_timesteps"]), float(config["beta_start"]), float(config["beta_end"])
    match config.get("trained_betas"), config["beta_schedule"]:
        case list() | tuple() as betas, _:
            found: Any = ListedBeta(tuple(float(beta) for beta in betas))
        case _, "linear":
            found = LinearBeta(steps, start, end)
        case _, "scaled_linear":
            found = QuadraticBeta(steps, start, end)
        case _, "squaredcos_cap_v2":
            found = CosineBeta(steps)
        case _, "sigmoid":
            found = SigmoidBeta(steps, start, end)
        case _, other:
            raise InputError(f"{where}: beta_schedule {other} is not known here; give its β as trained_betas")
    if config.get("rescale_betas_zero_snr"):
        return ListedBeta(tuple(zero_terminal_snr(found.build().betas(found.steps)).tolist()))
    return found


def zero_terminal_snr(betas: Tensor) -> Tensor:
    """β of the chain whose √ᾱ is shifted and scaled to end at 0 and begin as before (Lin et al. 2024, algorithm 1).

    float64 (T,) both; the last ᾱ is 2^-24.
    """
    root = (1 - betas.double()).cumprod(0).sqrt()
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    alpha_bar = root.square().clamp(min=LEAST_SIGNAL)
    return 1 - alpha_bar / torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])


def _edm(config: Mapping[str, Any], where: str) -> Scheduler:
    stated = config.get("prediction_type", "epsilon")
    if stated != "epsilon":
        raise InputError(f"{where}: prediction_type {stated} of EDM is not known here; it is epsilon")
    schedule = EDM(
        float(config.get("sigma_min", 0.002)), float(config.get("sigma_max", 80.0)), float(config.get("rho", 7.0))
    )
    return Scheduler(schedule, PredictPreconditioned(float(config.get("sigma_data", 0.5))), None, 1.0, 0.0, "none")


Family = Literal["chain", "edm", "flow"]


@dataclass(frozen=True)
class Written:
    """A scheduler for diffusers. ``exact``: whether its noise levels are those of the run at every time it has."""

    family: Family
    config: dict[str, Any]
    exact: bool


def write_scheduler(
    schedule: Schedule, parameterization: ParameterizationConfig, steps: int | None, threshold: Threshold
) -> Written:
    """The scheduler whose noise levels are those of ``schedule``. Raises InputError where diffusers has none.

    ``steps``: T of a chain; None in continuous time, of which a chain takes the times i/1000.
    """
    times = torch.linspace(0.0, 1.0, 9, dtype=torch.float64)[1:]
    alpha, sigma = schedule.alpha(times), schedule.sigma(times)
    if torch.equal(alpha, 1 - times) and torch.allclose(sigma, times, atol=1e-12):
        return Written("flow", {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000}, True)
    if torch.equal(alpha, torch.ones_like(alpha)):
        data = parameterization.sigma_data if isinstance(parameterization, PredictPreconditioned) else 0.5
        least, most = (float(schedule.sigma(torch.tensor(t, dtype=torch.float64))) for t in (0.0, 1.0))
        config = {"_class_name": "EDMEulerScheduler", "sigma_min": least, "sigma_max": most, "sigma_data": data}
        return Written("edm", config | {"prediction_type": "epsilon"}, True)
    if not torch.allclose(alpha.square() + sigma.square(), torch.ones_like(alpha), atol=1e-9):
        raise InputError(
            "schedule: alpha² + sigma² is neither 1 nor 1 + sigma², and no scheduler of diffusers has such levels; "
            "export to onnx or safetensors"
        )
    betas = schedule.betas(steps or 1000).clamp(max=0.999999)
    config: dict[str, Any] = {
        "_class_name": "DDIMScheduler",
        "num_train_timesteps": steps or 1000,
        "trained_betas": betas.tolist(),
        "prediction_type": "epsilon",
        "clip_sample": threshold == "static",
        "thresholding": threshold == "dynamic",
        "timestep_spacing": "trailing",
        "set_alpha_to_one": True,
    }
    return Written("chain", config, steps is not None)
