"""What makes a denoiser one of few steps, as a run is configured: consistency tuning, mean flow, progressive
distillation.

Each is an objective like that of denoising: the network, schedule, conditions and latents are those of the settings.
A run that is distilled begins with the weights of another one (`sumi.distillation`), and may keep that as its teacher.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from sumi.data.spec import DataSpec
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.errors import InputError
from sumi.models.diffusion.build import build_denoiser
from sumi.objectives.consistency import ConsistencyObjective, Gap
from sumi.objectives.direction import KeptTeacher, NoTeacher, TeacherChoice
from sumi.objectives.mean_flow import MeanFlowObjective, Ways
from sumi.objectives.progressive import ProgressiveObjective
from sumi.objectives.times import LogitNormalTimes, LogNormalTimes
from sumi.process.continuous import Flow

if TYPE_CHECKING:
    from sumi.models.diffusion.config import DiffusionSettings

_TEACHER = {"help": "whose way is learned: none, that of the data; kept, another run's, with its guidance"}


def _denoiser(settings: "DiffusionSettings", items: DataSpec, *, spans: bool = False) -> NetworkDenoiser:
    match build_denoiser(settings, items, spans=spans):
        case NetworkDenoiser() as denoiser:
            return denoiser
        case _:
            raise InputError("objective: few steps are learned of Gaussian noise; set process=gaussian")


def _check_count(name: str, value: float, least: float) -> None:
    if value < least:
        raise InputError(f"objective.{name}: {value:g} is too small; give {least:g} or more")


def _check_share(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise InputError(f"objective.{name}: {value:g} is not in [0, 1)")


@dataclass(frozen=True)
class FewSteps(ABC):
    """An objective of few steps. ``solver`` follows it; ``has_mean``: x̂_0 is the mean of x_0 given x_t."""

    name: ClassVar[str]
    solver: ClassVar[str]
    has_mean: ClassVar[bool] = True

    teacher: TeacherChoice = field(default_factory=NoTeacher, metadata=_TEACHER)

    @property
    def without_ode(self) -> str:
        """Why its x̂_0 are of no ODE of its own, in words that follow the name of a run; "": they are."""
        return ""

    @abstractmethod
    def check(self, settings: "DiffusionSettings") -> None:
        """Raises InputError for settings that it does not go with."""


@dataclass(frozen=True)
class Consistency(FewSteps):
    """Consistency tuning, or consistency training from nothing (`sumi.objectives.consistency`)."""

    name: ClassVar[str] = "consistency"
    solver: ClassVar[str] = "consistency"
    has_mean: ClassVar[bool] = False

    times: LogNormalTimes = field(
        default_factory=lambda: LogNormalTimes(-1.1, 2.0), metadata={"help": "of the later neighbour"}
    )
    factor: float = field(default=2.0, metadata={"help": "by which the gap of neighbours shrinks from stage to stage"})
    first_stage: int = field(default=2, metadata={"help": "the gap begins at n(σ̂)/factor^first_stage, 0 or more"})
    last_stage: int = field(default=6, metadata={"help": "and ends at n(σ̂)/factor^last_stage"})
    at_end: float = field(default=0.02, metadata={"help": "share of items at t = 1, where sampling begins, in [0, 1)"})

    def __post_init__(self) -> None:
        if not self.factor > 1:
            raise InputError(f"objective.factor: {self.factor:g} makes no gap smaller; give more than 1, such as 2")
        if not 0 <= self.first_stage <= self.last_stage:
            raise InputError(
                f"objective.first_stage: {self.first_stage} to last_stage = {self.last_stage} is no range; give such "
                "as 2 and 6"
            )
        _check_share("at_end", self.at_end)

    @property
    def without_ode(self) -> str:
        return "is a consistency model, which gives the end of the ODE"

    def check(self, settings: "DiffusionSettings") -> None:
        """It goes with every schedule."""

    def build(self, settings: "DiffusionSettings", items: DataSpec) -> ConsistencyObjective:
        """A new denoiser with this objective. Raises InputError as `build_denoiser`."""
        gap = Gap(self.factor, self.first_stage, self.last_stage)
        denoiser = _denoiser(settings, items)
        return ConsistencyObjective(denoiser, self.times, gap, settings.training.steps, at_end=self.at_end)


@dataclass(frozen=True)
class MeanFlow(FewSteps):
    """Mean flow, from a trained flow or from nothing (`sumi.objectives.mean_flow`)."""

    name: ClassVar[str] = "mean_flow"
    solver: ClassVar[str] = "mean_flow"

    form: Literal["plain", "improved"] = field(
        default="improved", metadata={"help": "whose velocity the derivative follows: the data's or the network's"}
    )
    t: LogitNormalTimes = field(
        default_factory=lambda: LogitNormalTimes(-0.6, 1.6), metadata={"help": "where a way begins"}
    )
    s: LogitNormalTimes = field(
        default_factory=lambda: LogitNormalTimes(-4.0, 1.6), metadata={"help": "where it ends, if that is earlier"}
    )
    same: float = field(default=0.5, metadata={"help": "share of items with s = t, which learn v, in [0, 1)"})
    power: float = field(default=1.0, metadata={"help": "p: squared errors are divided by (‖Δ‖² + floor)^p, ≥ 0"})
    floor: float = field(default=0.01, metadata={"help": "c of that, > 0"})
    width: float = field(
        default=0.0, metadata={"help": "of times over which the derivative is a slope; 0: exact (torch.func.jvp)"}
    )

    def __post_init__(self) -> None:
        _check_share("same", self.same)
        _check_count("power", self.power, 0)
        if not 0 <= self.width <= 0.1:
            raise InputError(f"objective.width: {self.width:g} is not in [0, 0.1]; give such as 0.005, or 0")
        if not self.floor > 0:
            raise InputError(f"objective.floor: {self.floor:g} is not positive; the paper's value is 0.01")

    def check(self, settings: "DiffusionSettings") -> None:
        """Raises InputError for a schedule that is not the straight line."""
        if settings.schedule != Flow():
            raise InputError(
                f"objective: mean_flow goes along the straight line of schedule=flow, and this is "
                f"{settings.schedule.name}; choose consistency, or begin from a run of flow"
            )

    def build(self, settings: "DiffusionSettings", items: DataSpec) -> MeanFlowObjective:
        """A new denoiser of two times with this objective. Raises InputError as `build_denoiser`."""
        denoiser = _denoiser(settings, items, spans=True)
        return MeanFlowObjective(
            denoiser, Ways(self.t, self.s, self.same), self.form, self.power, self.floor, self.width
        )


@dataclass(frozen=True)
class Progressive(FewSteps):
    """One halving of progressive distillation (`sumi.objectives.progressive`)."""

    name: ClassVar[str] = "progressive"
    solver: ClassVar[str] = "ddim"

    steps: int = field(default=8, metadata={"most": 10_000, "help": "of the student, 1 or more"})
    within: int = field(default=2, metadata={"most": 1000, "help": "steps of the teacher in one of the student's"})

    def __post_init__(self) -> None:
        _check_count("steps", self.steps, 1)
        _check_count("within", self.within, 1)

    @property
    def without_ode(self) -> str:
        return f"was distilled to {self.steps} steps"

    def check(self, settings: "DiffusionSettings") -> None:
        """Raises InputError without a teacher, and for more steps than a chain has."""
        match self.teacher:
            case NoTeacher():
                raise InputError("objective.teacher: progressive has nothing to learn without one; use `sumi distil`")
            case KeptTeacher():
                pass
        grid, taken = settings.times.grid, self.steps * self.within
        if grid is not None and taken > grid:
            raise InputError(
                f"objective.steps: {self.steps} times within = {self.within} are more than the {grid} times that the "
                f"teacher knows; give {max(1, grid // self.within)} or fewer"
            )

    def build(self, settings: "DiffusionSettings", items: DataSpec) -> ProgressiveObjective:
        """A new denoiser with this objective. Raises InputError as `build_denoiser`."""
        return ProgressiveObjective(_denoiser(settings, items), self.steps, self.within)
