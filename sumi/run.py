"""The run folder: everything that a training run is, as files.

runs/NAME/
  config.json        what to train: recipe, data, parts, training; and what the data turned out to be
  metrics.jsonl      one object a line
  checkpoints/       one folder a checkpoint (`sumi.training.checkpoint`)
  samples/           a grid of samples, by step
  report/            report.html and its figures
  tuned/             samplers fitted to a checkpoint (`sumi.tuned`)
"""

import hashlib
import json
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sumi.config import from_json, to_json
from sumi.data.config import DataConfig
from sumi.denoising.parameterization import ParameterizationConfig, PredictNoise
from sumi.denoising.time_sampling import GridTimes, ImportanceTimes, TimeSamplerConfig, UniformTimes
from sumi.denoising.weighting import LearnedUncertainty, LikelihoodWeighting, SNRWeighting, WeightingConfig
from sumi.errors import InputError, SumiError
from sumi.networks.unet import UNetConfig
from sumi.process.chain import LinearBeta
from sumi.process.configs import ScheduleConfig
from sumi.process.learned import Learned, LearnedChain
from sumi.sampling.config import SamplingConfig
from sumi.sampling.method import find_solver, refuse_off_grid
from sumi.training.config import TrainingConfig

FORMAT = 2


@contextmanager
def writing(path: Path) -> Generator[None]:
    """What cannot be written below ``path`` is a SumiError that names it."""
    try:
        yield
    except OSError as error:
        raise SumiError(
            f"{path}: cannot be written ({error.strerror or error}); write elsewhere, or make room"
        ) from error


@dataclass(frozen=True)
class RunConfig:
    """The full configuration of a run: which parts, with which settings."""

    recipe: str = field(metadata={"help": "the recipe this began as"})
    data: DataConfig
    seed: int = field(default=0, metadata={"help": "all randomness of the run follows from it; 0 or more"})
    schedule: ScheduleConfig = field(default_factory=LinearBeta)
    parameterization: ParameterizationConfig = field(default_factory=PredictNoise)
    weighting: WeightingConfig = field(default_factory=SNRWeighting)
    times: TimeSamplerConfig = field(default_factory=GridTimes)
    stratified_times: bool = field(
        default=False, metadata={"help": "spread the times of each batch evenly; the loss then varies less"}
    )
    network: UNetConfig = field(default_factory=UNetConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**64:
            raise InputError(f"seed: {self.seed} is not a whole number from 0 to 2^64 - 1")
        if self.times.grid is not None and self.schedule.steps is None:
            raise InputError(f"times: schedule={self.schedule.name} is continuous and has no grid; set times=uniform")
        if isinstance(self.schedule, Learned | LearnedChain):
            self._check_learned()
        if isinstance(self.weighting, LearnedUncertainty) and isinstance(self.times, ImportanceTimes):
            raise InputError("times: weighting=uncertainty makes all times count alike; set times=grid")
        if self.times.grid is not None:
            self._check_grid(self.times.grid)

    def _check_grid(self, grid: int) -> None:
        """A network that learns a chain's own times is trained on all of them, and sampled at no others."""
        steps = self.schedule.steps
        if grid != steps:
            fewer = f" and sampling.steps={min(steps or grid, 50)}" if self.sampling.steps > (steps or grid) else ""
            raise InputError(
                f"times.steps: {grid} differs from schedule.steps = {steps}; a chain is trained on its own grid: "
                f"set times.steps={steps}{fewer}, or times=uniform"
            )
        if self.sampling.steps > grid:
            raise InputError(
                f"sampling.steps: {self.sampling.steps} is more than times.steps = {grid}, the times the network will "
                "know; set it lower"
            )
        _, solver, _ = find_solver(self.sampling.solver, "sampling.solver")
        refuse_off_grid(self.sampling.solver, solver, grid, "sampling.solver")

    def _check_learned(self) -> None:
        """A schedule is learned by the bound alone, each kind from the times at which it is known how."""
        name = self.schedule.name
        if not isinstance(self.weighting, LikelihoodWeighting):
            raise InputError(
                f"weighting: schedule={name} is learned by the bound, not by {self.weighting.name}; "
                "set weighting=likelihood"
            )
        if self.schedule.steps is None and not isinstance(self.times, UniformTimes):
            raise InputError(f"times: schedule={name} is learned from uniform times; set times=uniform")
        if self.schedule.steps is not None and self.times.grid is None:
            raise InputError(f"times: schedule={name} is learned on its own grid; set times=grid")


@dataclass(frozen=True)
class ImageSpec:
    """What the model's images are."""

    channels: int
    height: int
    width: int
    levels: int
    label_names: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.height, self.width


@dataclass(frozen=True)
class RunDescription:
    """What config.json holds.

    ``data_std``: the standard deviation of the data in [-1, 1], a scale that samplers go by.
    """

    config: RunConfig
    images: ImageSpec
    data_fingerprint: str
    data_std: float
    format: int = FORMAT

    @property
    def identity(self) -> str:
        """sha256 of all that the weights mean nothing without: schedule, parameterization, times, network, images.

        And the weighting, where it has weights of its own.
        """
        config = self.config
        parts: tuple[object, ...] = (
            config.schedule,
            config.parameterization,
            config.times,
            config.network,
            self.images,
        )
        if isinstance(config.weighting, LearnedUncertainty):
            parts = (*parts, config.weighting)
        return hashlib.sha256(json.dumps([to_json(part) for part in parts]).encode()).hexdigest()


class RunFolder:
    """The paths of a run, and its description on disk."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.samples = self.path / "samples"
        self.report = self.path / "report"

    def write(self, description: RunDescription) -> None:
        """Make the folder and write config.json, all at once or not at all. Raises SumiError where it cannot."""
        temporary = self.path / ".config.json.new"
        with writing(self.config_file):
            self.path.mkdir(parents=True, exist_ok=True)
            with temporary.open("w") as file:
                file.write(json.dumps(to_json(description), indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.config_file)

    def write_skipped(self, lines: Sequence[str]) -> None:
        """Write skipped.txt, which names every file of the data that is not used; nothing where all are."""
        if lines:
            with writing(self.path / "skipped.txt"):
                text = "\n".join(lines) + "\n"
                (self.path / "skipped.txt").write_text(text, encoding="utf-8", errors="backslashreplace")

    def read(self) -> RunDescription:
        """The description. Raises InputError where this is no run folder or config.json is not understood."""
        try:
            data = json.loads(self.config_file.read_text())
        except (FileNotFoundError, NotADirectoryError):
            raise InputError(
                f"{self.path}: is not a run folder (it has no config.json); give a folder that `sumi train` made"
            ) from None
        except OSError as error:
            raise InputError(f"{self.config_file}: cannot be read ({error.strerror}); restore it") from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{self.config_file}: is not valid JSON ({error}); restore it or train anew") from None
        if isinstance(data, dict) and data.get("format") != FORMAT:
            raise InputError(
                f"{self.config_file}: has format {data.get('format')}, this version reads {FORMAT}; "
                "use the version of sumi that wrote it"
            )
        try:
            return from_json(RunDescription, data)
        except InputError as error:
            raise InputError(f"{self.config_file}: is not what `sumi train` wrote ({error}); restore it") from None
