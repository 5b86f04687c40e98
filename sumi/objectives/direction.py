"""Which way the ODE goes from x_t: what models of few steps are trained along.

    data     x̂_0 = x_0, the clean data of x_t themselves: right in the mean over all x_0 that may have made x_t
    teacher  x̂_0 of a trained denoiser, guided: of D(x_t, y) and D(x_t), combined as its run guides, with scale w

With either, x_t is carried to an earlier time s by x_s = alpha_s x̂_0 + sigma_s ε̂, ε̂ = (x_t - alpha_t x̂_0)/sigma_t. The
teacher has less variance and carries guidance; the data know what the teacher got wrong.
"""

from dataclasses import dataclass, field
from math import inf
from typing import ClassVar, Final, Protocol

import torch
from torch import Tensor

from sumi.conditioning.condition import Condition
from sumi.conditioning.guidance import GUIDANCE
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.errors import InputError
from sumi.process.gaussian import expand
from sumi.process.schedule import NoiseLevel


class Direction(Protocol):
    """x̂_0 (N, …) at x_t (N, …), of which x_0 are the clean data, or one possibility."""

    def __call__(self, x_t: Tensor, t: NoiseLevel, x_0: Tensor, condition: Condition | None, /) -> Tensor: ...


@dataclass(frozen=True)
class OfData:
    """The data's own."""

    def __call__(self, _x_t: Tensor, _t: NoiseLevel, x_0: Tensor, _: Condition | None, /) -> Tensor:
        return x_0


class Combination(Protocol):
    """x̂_0 (N, …) of those ``better``, with the condition, and ``worse``, without, at w (N,)."""

    def __call__(self, better: Tensor, worse: Tensor, scale: Tensor, now: NoiseLevel, /) -> Tensor: ...


@dataclass(frozen=True)
class OfTeacher:
    """That of a trained denoiser. ``scale`` w holds where the condition names none; ``interval``: of σ̂ at which."""

    denoiser: NetworkDenoiser
    combination: Combination
    scale: float = 1.0
    interval: tuple[float, float] = (0.0, inf)

    @torch.no_grad()
    def __call__(self, x_t: Tensor, t: NoiseLevel, _: Tensor, condition: Condition | None, /) -> Tensor:
        teacher, own = self.denoiser, None if condition is None else condition.without(GUIDANCE)
        if not own or teacher.conditioner is None:
            return teacher(x_t, t).clean
        conditional = teacher(x_t, t, own).clean
        scale = self._scale(x_t, t, condition)
        if bool((scale == 1).all()):
            return conditional
        kept = Condition({name: own[name] for name in teacher.conditioner.stays if name in own})
        return self.combination(conditional, teacher(x_t, t, kept or None).clean, scale, t)

    def _scale(self, x_t: Tensor, t: NoiseLevel, condition: Condition | None) -> Tensor:
        """w of each sample, float64 (N,): of the condition, where it is one of the network's inputs."""
        scale = torch.full((len(x_t),), self.scale, dtype=torch.float64)
        if condition is not None and GUIDANCE in condition:
            scale = condition[GUIDANCE].cpu().double().nan_to_num(nan=1.0)
        low, high = self.interval
        noise = (torch.as_tensor(t.log_snr).double() / -2).exp()
        return torch.where((noise > low) & (noise <= high), scale, 1.0)


def carried(x_t: Tensor, clean: Tensor, t: NoiseLevel, s: NoiseLevel) -> Tensor:
    """x_s of one straight step from x_t with x̂_0 = ``clean`` (N, …); sigma_t > 0."""
    of_x = torch.as_tensor(s.sigma / t.sigma)
    return expand(of_x, x_t) * x_t + expand(s.alpha - of_x * t.alpha, x_t) * clean


@dataclass(frozen=True)
class NoTeacher:
    """The direction is that of the data; a run may still have begun from another's weights."""

    name: ClassVar[str] = "none"


@dataclass(frozen=True)
class KeptTeacher:
    """The direction is that of another run, whose averaged weights are kept in this one."""

    name: ClassVar[str] = "kept"

    source: str = field(default="", metadata={"help": "the run of the teacher"})
    guidance: float = field(default=1.0, metadata={"help": "its guidance scale, which the student learns; 1: none"})
    weights: str = field(default="", metadata={"help": "sha256 of the teacher's weights; not to be set"})

    def __post_init__(self) -> None:
        if not self.source:
            raise InputError("objective.teacher.source: is missing; give a run folder")


TeacherChoice = NoTeacher | KeptTeacher
UNTAUGHT: Final = OfData()
