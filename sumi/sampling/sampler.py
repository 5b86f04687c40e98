"""How samples are made: a solver and its times, chosen by name, and guidance.

A `Sampling` is the ``sampling`` section of a run's configuration. Everything that samples takes its fields as options,
which replace the run's own for that call (`SamplingOptions`).
"""

from dataclasses import dataclass, field, fields, replace
from math import inf
from typing import Any, ClassVar, Final, Literal, TypedDict, cast, get_args

from torch import Tensor

from sumi.boundary.arguments import MOST_COUNT, listed, real, shown, whole
from sumi.boundary.config import nearest
from sumi.errors import InputError
from sumi.process.schedule import Schedule
from sumi.sampling.solvers import BIT_SOLVERS, SOLVERS
from sumi.sampling.solvers.adams import Adams
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.solvers.fitted import Fitted
from sumi.sampling.solvers.restart import Restart
from sumi.sampling.solvers.solver import Solver
from sumi.sampling.stated_error import LARGEST, SMALLEST
from sumi.sampling.time_grid import TIME_GRIDS, snap

NATURAL: Final = "natural"
NATURAL_GRIDS: Final = {
    "consistency": "renoised",
    "fitted": "fitted",
    **dict.fromkeys(
        (
            *("ddim", "ddpm", "ddpm_large", "ddpm_learned", "euler_maruyama", "predictor_corrector", "langevin"),
            *("mean_flow", *BIT_SOLVERS),
        ),
        "uniform",
    ),
}
"""The grid of a solver that is none of its own: where its paper has it. All others take `log_ratio`."""
BINOMIAL: Final = "binomial"
"""The one solver of bits."""
TUNED: Final = "tuned"
"""The solver that was fitted to one model and number of steps (`sumi.sampling.tuning`)."""
LEAST_STD: Final = 1e-3  # images that are all alike have none


@dataclass(frozen=True)
class Method:
    """A solver, its times (steps + 1,), and the name it goes by."""

    name: str
    solver: Solver[Any]
    times: Tensor

    @property
    def steps(self) -> int:
        return len(self.times) - 1


def find_solver(name: str | Solver[Any], where: str) -> tuple[str, Solver[Any], str]:
    """The solver called SOLVER or SOLVER@GRID: its name, itself, and the grid ("" where none is named).

    One that is given itself has the name of the first of its class, else of its class. Raises InputError that begins
    with ``where``.
    """
    known = SOLVERS | BIT_SOLVERS
    match name:
        case str():
            solver, at, grid = name.partition("@")
        case own:
            if isinstance(own, type) or not hasattr(own, "step"):
                raise InputError(f"{where}: {shown(own)} is no solver; give its name, or one, such as DDIM()")
            alike = (other for other, one in known.items() if type(one) is type(own))
            return next(alike, type(own).__name__), own, ""
    if solver not in known:
        raise InputError(f"{where}: there is no solver {solver!r}; {nearest(solver, SOLVERS)}")
    if at and grid not in TIME_GRIDS:
        raise InputError(f"{where}: there is no time grid {grid!r}; {nearest(grid, TIME_GRIDS)}")
    return solver, known[solver], grid


def refuse_off_grid(name: str, solver: Solver[Any], grid: int | None, where: str) -> None:
    """Raises InputError for a solver that needs other times than the ``grid`` that a network knows."""
    if grid is not None and solver.off_grid:
        known = ", ".join(other for other, one in SOLVERS.items() if not one.off_grid)
        raise InputError(
            f"{where}: {name} evaluates between the times of its grid, and the network knows only the {grid} of its "
            f"chain; choose from {known}"
        )


def build_method(
    name: str | Solver[Any],
    steps: int,
    schedule: Schedule,
    *,
    time_grid: str = NATURAL,
    data_std: float = 0.5,
    grid: int | None = None,
    eta: float | None = None,
    bits: bool = False,
) -> Method:
    """The method that these names and numbers stand for.

    ``name``: a solver, or SOLVER@GRID for a time grid other than ``time_grid``, or a solver itself. ``grid``: T where
    the network knows only the times i/T, else None. ``eta`` overrides DDIM's η. ``bits``: whether the process is
    binomial. Raises InputError: an unknown name, too many steps or fewer than 1, an η for a solver that has none, a
    solver of the other process, and one that needs times which the network does not know.
    """
    wanted, solver, other_grid = find_solver(name, "solver")
    named = solver is not name
    if bits and eta is not None:
        raise InputError("eta: is of Gaussian noise, and this model flips bits; leave it out")
    if named and bits != (wanted in BIT_SOLVERS):
        takes = (
            f"bits take {', '.join(BIT_SOLVERS)}" if bits else "is for bits; choose one for Gaussian noise, as adams"
        )
        raise InputError(f"solver: {name}: {takes}")
    if eta is not None:
        check_eta(name)
    match solver:
        case Adams() if named:
            solver = replace(solver, data_std=max(data_std, LEAST_STD))
        case Fitted() if named:
            solver = replace(solver, data_std=max(data_std, LEAST_STD), steps=steps)
        case DDIM() if eta is not None:
            solver = replace(solver, eta=eta)
    name = str(name) if named else wanted
    refuse_off_grid(name, solver, grid, "solver")
    if time_grid == NATURAL:
        time_grid = NATURAL_GRIDS.get(wanted, "log_ratio")
    times = TIME_GRIDS[other_grid or time_grid](schedule, steps, max(data_std, LEAST_STD))
    return Method(name, solver, times if grid is None else snap(times, grid))


Threshold = Literal["none", "static", "dynamic"]
"""What keeps x̂_0 in [-1, 1]: nothing, a clamp, or a scale of its own for each sample (`sumi.guidance.thresholding`)."""

GuidanceMethod = Literal["cfg", "cfg++", "apg"]
"""Extrapolation (`sumi.guidance.extrapolation`), `sumi.guidance.renoising`, or `sumi.guidance.projection`."""
PLUS_PLUS: Final = "cfg++"

_GRIDS = (NATURAL, *TIME_GRIDS)


def check_eta(solver: str | Solver[Any]) -> None:
    """Raises InputError for a solver whose η cannot be chosen."""
    if solver == TUNED:
        raise InputError("eta: tuned draws no noise; leave it out, or choose ddim")
    if str(solver).partition("@")[0] != "ddim":
        raise InputError(f"eta: {solver} has its own; leave it out, or choose ddim")


@dataclass(frozen=True)
class Guidance:
    """How samples are guided towards a condition, or away from a worse denoiser (`sumi.guidance.guidance`).

    ``negative``: a class to guide away from, instead of from no class. ``worse``: a worse denoiser to guide away from:
    a run folder, a model of one, or a `NetworkDenoiser`. ``classifier``: a run folder of a noisy classifier, a model of
    one, or a `NoisyClassifier`. ``clip``: a run folder of a CLIP, or a model of one, which guides towards the prompt.
    ``interval`` holds for all kinds of guidance, ``method`` for those with a ``scale``, which is λ of cfg++;
    ``parallel``, ``norm`` and ``momentum`` are of apg alone. Raises InputError for values out of range, and for both a
    negative class and a worse denoiser.
    """

    shorthand: ClassVar[str] = "scale"

    scale: float = field(
        default=1.0, metadata={"help": "of classifier-free guidance (w) where a condition is given; 1: none"}
    )
    interval: tuple[float, ...] | None = field(
        default=None, metadata={"help": "LOW,HIGH in sigma/alpha at which guidance counts, such as 0.3,5; none: all"}
    )
    rescale: float = field(
        default=0.0, metadata={"help": "0 to 1: how far guided x̂_0 keep the contrast of unguided ones"}
    )
    negative: str | None = field(default=None, metadata={"help": "a class to guide away from, instead of from none"})
    classifier_scale: float = field(default=1.0, metadata={"help": "of a classifier's gradient (s); 0: none"})
    clip_scale: float = field(default=1.0, metadata={"help": "of a CLIP's gradient (s); 0: none"})
    worse: object = field(default=None, metadata={"stored": False})
    classifier: object = field(default=None, metadata={"stored": False})
    clip: object = field(default=None, metadata={"stored": False})
    method: GuidanceMethod = field(default="cfg", metadata={"help": "cfg, cfg++ (its scale is λ, 0 to 1) or apg"})
    parallel: float = field(default=0.0, metadata={"help": "of apg: what is left of the part along x̂_0, 0 to 1 (η)"})
    norm: float | None = field(default=None, metadata={"help": "of apg: the largest length of a change (r); none: any"})
    momentum: float = field(default=0.0, metadata={"help": "of apg: of the evaluation before, -1 to 1 (β)"})

    def __post_init__(self) -> None:
        for name in ("scale", "rescale", "classifier_scale", "clip_scale", "parallel", "momentum"):
            object.__setattr__(self, name, real(f"guidance.{name}", getattr(self, name)))
        if self.interval is not None:
            object.__setattr__(self, "interval", _interval(self.interval))
        if not 0 <= self.rescale <= 1:
            raise InputError(f"guidance.rescale: {self.rescale} is not between 0 and 1; 0 is none")
        if self.negative is not None and self.worse is not None:
            raise InputError("guidance.negative: worse is given too, and both say what to guide away from; give one")
        if self.method not in get_args(GuidanceMethod):
            known = get_args(GuidanceMethod)
            raise InputError(f"guidance.method: there is no {self.method!r}; {nearest(str(self.method), known)}")
        if self.method == PLUS_PLUS and not 0 <= self.scale <= 1:
            raise InputError(f"guidance.scale: {self.scale:g} is out of range; that of cfg++ is 0 to 1, such as 0.6")
        if self.norm is not None:
            object.__setattr__(self, "norm", real("guidance.norm", self.norm))
        check_projection(self.parallel, self.norm, self.momentum)

    @property
    def extrapolates(self) -> bool:
        """Whether it needs a second denoiser besides the one that is guided."""
        return self.scale != 1 or self.method == PLUS_PLUS

    @property
    def has_ode(self) -> bool:
        """Whether more steps come nearer to the end of an ODE, as an estimate of its distance needs."""
        return not self.extrapolates or self.is_field

    @property
    def is_field(self) -> bool:
        """Whether its method makes x̂_0 of x_t and the noise level alone, and not of the steps before."""
        return self.method == "cfg" or (self.method == "apg" and self.momentum == 0)


def check_projection(parallel: float, norm: float | None, momentum: float) -> None:
    """Raises InputError for numbers that cannot be."""
    if norm is not None and not norm > 0:
        raise InputError(f"guidance.norm: {norm:g} is not positive; leave it out for any length")
    if not -1 < momentum < 1:
        raise InputError(f"guidance.momentum: {momentum:g} is not between -1 and 1; the paper's values are -0.75 to 0")
    if not 0 <= parallel <= 1:
        raise InputError(f"guidance.parallel: {parallel:g} is not between 0 (left out) and 1 (all of it)")


def _interval(given: object) -> tuple[float, float]:
    """LOW, HIGH; the latter may be infinite. Raises InputError."""
    name = "guidance.interval"
    ends = [inf if end == inf else real(name, end) for end in listed(name, given)]
    if len(ends) != 2 or not 0 <= ends[0] < ends[1]:
        shown_ends = ",".join(f"{end:g}" for end in ends)
        raise InputError(f"{name}: {shown_ends} is not LOW,HIGH with 0 ≤ LOW < HIGH; write 0.3,5")
    return ends[0], ends[1]


class SamplingOptions(TypedDict, total=False):
    """Fields of `Sampling` that replace those of a run, or a whole one; None: the run's.

    ``guidance``: a number is its scale; ``restart``: a number is its repeats. ``eta`` alone chooses DDIM.
    """

    sampling: "Sampling | None"
    solver: str | Solver[Any] | None
    steps: int | None
    error: float | None
    time_grid: str | None
    eta: float | None
    guidance: float | Guidance | None
    threshold: Threshold | None
    restart: int | Restart | None


@dataclass(frozen=True)
class Sampling:
    """How samples are made. Raises InputError for unknown names and values out of range.

    ``solver``: one of SOLVERS, SOLVER@GRID for another ``time_grid``, or "tuned", or a solver itself, which
    no file holds. ``eta``: η of DDIM; None: the solver's own.
    """

    solver: str | Solver[Any] = field(default="adams", metadata={"help": f"one of {', '.join(SOLVERS)}"})
    steps: int = field(default=50, metadata={"help": "intervals of the time grid, 1 or more"})
    error: float | None = field(
        default=None,
        metadata={"help": "the estimated distance to the ODE's end to reach, over the data's std; none: by steps"},
    )
    time_grid: str = field(default=NATURAL, metadata={"help": f"one of {', '.join(_GRIDS)} (the solver's own)"})
    eta: float | None = field(
        default=None, metadata={"help": "noise of ddim: 0 deterministic, 1 ancestral; none: the solver's own"}
    )
    guidance: Guidance = field(
        default_factory=Guidance, metadata={"help": "how a condition, or a worse model, guides sampling"}
    )
    threshold: Threshold = field(
        default="static", metadata={"help": "what keeps every x̂_0 in [-1, 1] while sampling: none, static or dynamic"}
    )
    restart: Restart = field(
        default_factory=Restart,
        metadata={"help": "how often samples, not restorations, go back up to more noise, and where"},
    )

    def __post_init__(self) -> None:
        if self.solver != TUNED:
            find_solver(self.solver, "solver")
        if self.time_grid not in _GRIDS:
            raise InputError(f"time_grid: there is no {self.time_grid!r}; {nearest(str(self.time_grid), _GRIDS)}")
        if self.eta is not None:
            object.__setattr__(self, "eta", real("eta", self.eta))
            check_eta(self.solver)
        if self.threshold not in get_args(Threshold):
            raise InputError(
                f"threshold: there is no {self.threshold!r}; {nearest(str(self.threshold), get_args(Threshold))}"
            )
        object.__setattr__(self, "steps", whole("steps", self.steps, least=1, most=MOST_COUNT))
        if self.error is not None:
            object.__setattr__(self, "error", real("error", self.error))
            if not SMALLEST <= self.error <= LARGEST:
                raise InputError(
                    f"error: {self.error:g} is out of range; give {SMALLEST:g} to {LARGEST:g}, such as 0.01"
                )
            if self.solver == TUNED:
                raise InputError("error: tuned is of one number of steps; choose another solver, such as adams")
            if self.restart.repeats:
                raise InputError("error: restart draws noise, so no sample has one end to be near to; give steps")

    def replaced(self, options: SamplingOptions) -> "Sampling":
        """This with ``options``. Raises InputError for unknown ones, naming the nearest, and as the class does."""
        given = given_options(options)
        match given.pop("sampling", self):
            case Sampling() as own:
                pass
            case other:
                raise InputError(f"sampling: {shown(other)} is no Sampling; give sumi.Sampling(…)")
        if "steps" in given:
            if "error" in given:
                raise InputError("steps: error chooses their number; give one of the two")
            given["error"] = None
        if "eta" in given:
            given.setdefault("solver", "ddim")
        elif str(given.get("solver", own.solver)).partition("@")[0] != "ddim":
            given["eta"] = None  # the run's is that of its own solver
        match given.get("guidance"):
            case None | Guidance():
                pass
            case scale:
                given["guidance"] = replace(own.guidance, scale=real("guidance.scale", scale))
        match given.get("restart"):
            case None | Restart():
                pass
            case repeats:
                given["restart"] = replace(own.restart, repeats=cast(int, repeats))
        return replace(own, **cast(dict[str, Any], given))


def given_options(options: SamplingOptions) -> dict[str, object]:
    """The options that are not None. Raises InputError for a name that is none."""
    known = ("sampling", *(f.name for f in fields(Sampling)))
    for name in options:
        if name not in known:
            raise InputError(f"{name}: there is no such option; {nearest(name, known)}")
    return {name: value for name, value in options.items() if value is not None}
