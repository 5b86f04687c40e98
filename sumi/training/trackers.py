"""Where a run's numbers are shown besides metrics.jsonl: TensorBoard, Weights & Biases, MLflow or trackio.

    track(step, numbers)      picture(step, png)      close()

Each is imported when a run names it. A run that is resumed continues its curves: it is found by its ``key``, a hash of
its folder. What has no step order there (Weights & Biases) gets the step as a number of its own.
"""

import hashlib
from collections.abc import Mapping
from importlib import import_module
from io import BytesIO
from math import isfinite
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias

import numpy as np
from PIL import Image

from sumi.errors import InputError, SumiError, shortened
from sumi.training.metrics_log import Value

TrackerName: TypeAlias = Literal["none", "tensorboard", "wandb", "mlflow", "trackio"]
PROJECT: Final = "sumi"
SAMPLES: Final = "samples"
"""The name of the grids of samples."""


class Tracker(Protocol):
    """What a training tells: numbers by name, and grids of samples as PNG."""

    def track(self, step: int, numbers: Mapping[str, float]) -> None: ...

    def picture(self, step: int, png: bytes) -> None: ...

    def close(self) -> None: ...


class Untracked:
    """metrics.jsonl alone."""

    def track(self, step: int, numbers: Mapping[str, float]) -> None:
        del step, numbers

    def picture(self, step: int, png: bytes) -> None:
        del step, png

    def close(self) -> None:
        pass


class TensorBoard:
    """Event files in RUN/tensorboard; what a run had written after the step it resumes at is not shown."""

    def __init__(self, folder: Path, step: int) -> None:
        _imported("tensorboard")
        writer = import_module("torch.utils.tensorboard").SummaryWriter
        self._writer = writer(str(folder / "tensorboard"), purge_step=step + 1 if step else None)

    def track(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, number in numbers.items():
            self._writer.add_scalar(name, number, step)

    def picture(self, step: int, png: bytes) -> None:
        self._writer.add_image(SAMPLES, np.asarray(_opened(png)), step, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A run of the project ``sumi``."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._wandb = _imported("wandb")
        self._run = self._wandb.init(
            project=PROJECT, name=folder.name, id=key(folder), resume="allow", dir=str(folder), config=dict(settings)
        )
        self._run.define_metric("*", step_metric="step")

    def track(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log({"step": step, **numbers})

    def picture(self, step: int, png: bytes) -> None:
        self._run.log({"step": step, SAMPLES: self._wandb.Image(_opened(png))})

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """A run of the experiment ``sumi``, found again by its tag."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._mlflow = _imported("mlflow")
        self._mlflow.set_experiment(PROJECT)
        tag = {"sumi.run": key(folder)}
        query = f"tags.`sumi.run` = '{key(folder)}'"
        match self._mlflow.search_runs(filter_string=query, max_results=1, output_format="list"):
            case [before, *_]:
                self._mlflow.start_run(run_id=before.info.run_id)
            case _:
                self._mlflow.start_run(run_name=folder.name, tags=tag)
                self._mlflow.log_dict(dict(settings), "config.json")

    def track(self, step: int, numbers: Mapping[str, float]) -> None:
        # a plus is not allowed in names there
        self._mlflow.log_metrics({name.replace("+", ""): number for name, number in numbers.items()}, step=step)

    def picture(self, step: int, png: bytes) -> None:
        self._mlflow.log_image(_opened(png), artifact_file=f"{SAMPLES}/{step:08d}.png")

    def close(self) -> None:
        self._mlflow.end_run()


class Trackio:
    """A run of the project ``sumi`` on this machine."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._trackio = _imported("trackio")
        name = f"{folder.name}-{key(folder)}"
        self._run = self._trackio.init(project=PROJECT, name=name, resume="allow", config=dict(settings))

    def track(self, step: int, numbers: Mapping[str, float]) -> None:
        self._trackio.log(dict(numbers), step=step)

    def picture(self, step: int, png: bytes) -> None:
        self._trackio.log({SAMPLES: self._trackio.Image(_opened(png))}, step=step)

    def close(self) -> None:
        self._trackio.finish()


def tracker(name: TrackerName, folder: Path, settings: Mapping[str, Any], step: int) -> Tracker:
    """The tracker called ``name`` of the run in ``folder`` with these ``settings``, which continues after ``step``.

    Raises InputError where it is not installed, and SumiError where it cannot begin.
    """
    try:
        match name:
            case "none":
                return Untracked()
            case "tensorboard":
                return TensorBoard(folder, step)
            case "wandb":
                return WeightsAndBiases(folder, settings)
            case "mlflow":
                return MLflow(folder, settings)
            case "trackio":
                return Trackio(folder, settings)
    except SumiError:
        raise
    except Exception as error:  # whatever another program raises
        raise SumiError(
            f"training.tracker: {name} cannot begin ({shortened(error)}); set training.tracker=none to go on without"
        ) from error


def numbers_of(line: Mapping[str, Value]) -> dict[str, float]:
    """The finite numbers of a line of metrics.jsonl but its step, under train/ or the name of its event."""
    group, found = line.get("event", "train"), dict[str, float]()
    for name, value in line.items():
        match value:
            case bool():
                pass
            case int() | float() if name != "step" and isfinite(value):
                found[f"{group}/{name}"] = value
            case _:
                pass
    return found


def key(folder: Path) -> str:
    """What finds the run in this folder again."""
    return hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]


def _imported(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise InputError(
            f"training.tracker: {name} is not installed; pip install 'sumi[{name}]', or set training.tracker=none"
        ) from None


def _opened(png: bytes) -> Image.Image:
    return Image.open(BytesIO(png)).convert("RGB")
