"""Trainings on sets of images for equal CPU seconds, and what was measured of them, kept in one folder.

A training's seconds are CPU seconds of its steps, whose time is measured before (`benchmarks.equal_time`). What was
measured stands in results.json of the folder, and is not measured again; a training that was stopped goes on.
"""

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from benchmarks.equal_time import Enough, Stopwatch
from sumi.data.config import DataConfig
from sumi.data.dataset import Dataset, everything
from sumi.data.load import load as load_data
from sumi.evaluation.images import learn_features
from sumi.metrics.features.network import FeatureNetwork
from sumi.metrics.intervals import Estimate
from sumi.training_run import Events, train

REAL = 4000
COMPILING = 3
"""First steps of a training that a compiler may be at work in."""


@dataclass(frozen=True)
class Set:
    """Images of a ``name`` at ``source``, of ``size`` pixels, whose trainings are kept in ``folder``/``name``."""

    name: str
    source: str
    folder: Path
    size: int = 64

    @property
    def settings(self) -> tuple[str, ...]:
        return (f"data.size={self.size}", "training.sample_every=0")

    @cached_property
    def parts(self) -> tuple[Dataset, Dataset]:
        """Up to 4000 of the images to train on, evenly spaced, and those held out."""
        config = DataConfig(source=self.source, size=self.size)
        training, held_out = load_data(config).split(config.held_out)
        every = np.linspace(0, len(training) - 1, min(REAL, len(training))).round().astype(np.int64)
        return training.subset(every), held_out

    @cached_property
    def judge(self) -> tuple[FeatureNetwork, Tensor]:
        """The classifier whose features distances are measured in, and its features of the training images."""
        file = self.folder / self.name / "features.safetensors"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            learn_features(self.parts[0]).save(file)
        network = FeatureNetwork.load(file)
        return network, network.features(everything(self.parts[0]))

    def kept(self, key: str, measure: Callable[..., dict[str, Any]], *of: object) -> dict[str, Any]:
        """What was found under ``key`` before, or is now, by ``measure(*of)``."""
        results = self.folder / "results.json"
        known = json.loads(results.read_text()) if results.exists() else {}
        if key not in known:
            found = measure(*of)
            known = json.loads(results.read_text()) if results.exists() else {}  # others may have written
            results.parent.mkdir(parents=True, exist_ok=True)
            results.write_text(json.dumps({**known, key: found}, indent=1, ensure_ascii=False) + "\n")
            return found
        return known[key]

    def trained(self, recipe: str, name: str, seconds: float, settings: tuple[str, ...], points: int = 1) -> Path:
        """The run of so many CPU seconds, with ``points`` checkpoints; one that was stopped goes on."""
        run = self.run(f"{name} {seconds:g}")
        found = self.kept(f"step {run}", step_time, recipe, self.source, (*self.settings, *settings))
        return self.trained_for(
            recipe, run, points * max(1, round(seconds / found["seconds"] / points)), settings, points
        )

    def run(self, name: str) -> Path:
        """The folder of the training called ``name``."""
        return self.folder / self.name / "-".join(re.findall("[a-zA-Z0-9.]+", name))

    def trained_for(self, recipe: str, run: Path, steps: int, settings: tuple[str, ...], points: int = 1) -> Path:
        """``run`` after so many steps, with ``points`` checkpoints; one that was stopped goes on."""
        settings = (*self.settings, *settings)
        more = (f"training.checkpoint_every={steps // points}", f"training.keep_checkpoints={points}")
        flags = " ".join(f"--set {setting}" for setting in (*settings, *more))
        print(
            f"sumi train {recipe} --data {self.source} --steps {steps} {flags} --out {run}", file=sys.stderr, flush=True
        )
        if not (run / "trained").exists():
            try:
                train(recipe, data=self.source, out=run, steps=steps, settings=(*settings, *more), resume=run.exists())
            except BaseException:
                if not (run / "config.json").exists():
                    shutil.rmtree(run, ignore_errors=True)
                raise
            (run / "trained").touch()
        return run


def step_time(recipe: str, source: str, settings: tuple[str, ...]) -> dict[str, float]:
    """CPU seconds of a step, of a training that is stopped after some seconds."""
    watch = Stopwatch(5.0, left_out=COMPILING)
    with tempfile.TemporaryDirectory() as folder:
        try:
            settings = (*settings, "training.log_every=1", "training.checkpoint_every=1000000")
            train(
                recipe,
                data=source,
                out=Path(folder) / "run",
                steps=10**6,
                settings=settings,
                events=Events(progress=watch),
            )
        except Enough:
            return {"seconds": watch.per_step}
    raise AssertionError("a million steps were over in a few seconds")


def shown(e: dict[str, float]) -> str:
    return f"{e['value']:.1f} [{e['low']:.1f}, {e['high']:.1f}]"


def figures(e: Estimate) -> dict[str, float]:
    return {"value": e.value, "low": e.low, "high": e.high}
