"""The files of a run folder, by name.

runs/NAME/
  config.json        the configuration, and the properties of the data
  metrics.jsonl      the training log (`sumi.training.metrics_log`)
  checkpoints/       one folder per checkpoint (`sumi.training.checkpoint`)
  skipped.txt        unusable data files, with the reasons
  samples/           a grid of samples by step, and the output of `sumi sample`
  report/            report.html and its figures
  nll/               likelihoods
  explain/           figures of what the model has learned
  compare/           solvers at equal numbers of evaluations
  tuned/             samplers tuned to a checkpoint (`sumi.models.diffusion.tuned`)
  restored/          output of inpaint, upscale and restore
  varied/            output of vary
  interpolated/      output of interpolate
  reconstructed/     output of reconstruct
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sumi.errors import InputError, writing


class RunFolder:
    """The paths of a run, and config.json as plain values."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.unfinished_config_file = self.path / ".config.json.new"
        self.metrics_file = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.skipped_file = self.path / "skipped.txt"
        self.samples = self.path / "samples"
        self.report = self.path / "report"
        self.nll = self.path / "nll"
        self.explain = self.path / "explain"
        self.compare = self.path / "compare"
        self.tuned = self.path / "tuned"
        self.restored = self.path / "restored"
        self.varied = self.path / "varied"
        self.interpolated = self.path / "interpolated"
        self.reconstructed = self.path / "reconstructed"

    def foreign(self) -> list[str]:
        """The names in the folder that do not belong to a run, sorted."""
        return sorted({path.name for path in self.path.iterdir()} - {path.name for path in vars(self).values()})

    def write_config(self, values: dict[str, Any]) -> None:
        """Make the folder and write config.json, atomically. Raises SumiError if it cannot."""
        with writing(self.config_file):
            self.path.mkdir(parents=True, exist_ok=True)
            with self.unfinished_config_file.open("w") as file:
                file.write(json.dumps(values, indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
            self.unfinished_config_file.replace(self.config_file)

    def read_config(self) -> dict[str, Any]:
        """The contents of config.json. Raises InputError if it is missing or not a JSON object."""
        try:
            data = json.loads(self.config_file.read_text())
        except (FileNotFoundError, NotADirectoryError):
            raise InputError(
                f"{self.path}: is not a run folder (it has no config.json); give a folder that `sumi train` made"
            ) from None
        except OSError as error:
            raise InputError(f"{self.config_file}: cannot be read ({error.strerror}); restore it") from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{self.config_file}: is not valid JSON ({error}); restore it or train again") from None
        if not isinstance(data, dict):
            raise InputError(f"{self.config_file}: is not a JSON object, as `sumi train` writes; restore it")
        return data

    def write_skipped(self, lines: Sequence[str]) -> None:
        """Write skipped.txt with every unused data file, if there are any."""
        if lines:
            with writing(self.skipped_file):
                text = "\n".join(lines) + "\n"
                (self.skipped_file).write_text(text, encoding="utf-8", errors="backslashreplace")
