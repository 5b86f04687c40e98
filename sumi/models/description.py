"""The run folder (`sumi.training.run_folder` names its parts) and config.json, which says what the run is.

What it trains is of one of several kinds, each with a configuration of its own (`Config`; `sumi.models.run` says what
each does).
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sumi.config import from_json, to_json
from sumi.data.dataset import Dataset
from sumi.data.spec import expect
from sumi.data.specs import SPECS
from sumi.errors import InputError, writing
from sumi.models.baselines.config import BaselineConfig
from sumi.models.classifier_config import NoisyClassifierConfig
from sumi.models.diffusion.config import RunConfig
from sumi.training.run_folder import RunPaths

FORMAT = 6

Config = RunConfig | NoisyClassifierConfig | BaselineConfig
"""What can be trained: the kinds of run, each a frozen dataclass with recipe, data, seed, training and identity."""


@dataclass(frozen=True)
class RunDescription:
    """What config.json holds.

    ``data_std``: the standard deviation of the data in the model's range, a scale that samplers go by.
    """

    config: Config
    items: SPECS
    data_fingerprint: str
    data_std: float
    format: int = FORMAT

    @classmethod
    def of(cls, config: Config, dataset: Dataset) -> "RunDescription":
        """That of a run on this data. Raises InputError for data of a kind that no run folder holds."""
        spec = expect(dataset.spec, SPECS, f"data: {dataset.spec.name} are not in sumi.data.specs; add their spec")
        return cls(config, spec, dataset.fingerprint(), dataset.std())

    @property
    def identity(self) -> str:
        """sha256 of all that the weights mean nothing without: the kind, its parts (`Config.identity`), the items."""
        parts = (self.config.name, *self.config.identity, self.items)
        return hashlib.sha256(json.dumps([to_json(part) for part in parts], sort_keys=True).encode()).hexdigest()


def upgraded(data: Any) -> Any:
    """The JSON of a run of format 5 as that of FORMAT; all else as it is."""
    if not isinstance(data, dict) or data.get("format") != 5:
        return data
    config = data.get("config")
    if not isinstance(config, dict):
        return data
    sampling = config.get("sampling")
    if isinstance(sampling, dict):
        names = {"guidance": "scale", "guidance_interval": "interval", "guidance_rescale": "rescale"}
        guidance = {names[name]: value for name, value in sampling.items() if name in names}
        others = {name: value for name, value in sampling.items() if name not in names}
        config = config | {"sampling": others | {"guidance": guidance}}
    return data | {"config": config, "format": FORMAT}


class RunFolder(RunPaths):
    """The paths of a run, and its description on disk."""

    def write(self, description: RunDescription) -> None:
        """Make the folder and write config.json, all at once or not at all. Raises SumiError where it cannot."""
        with writing(self.config_file):
            self.path.mkdir(parents=True, exist_ok=True)
            with self.unfinished_config_file.open("w") as file:
                file.write(json.dumps(to_json(description), indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
            self.unfinished_config_file.replace(self.config_file)

    def write_skipped(self, lines: Sequence[str]) -> None:
        """Write skipped.txt, which names every file of the data that is not used; nothing where all are."""
        if lines:
            with writing(self.skipped_file):
                text = "\n".join(lines) + "\n"
                self.skipped_file.write_text(text, encoding="utf-8", errors="backslashreplace")

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
        if isinstance(data, dict) and data.get("format") not in (5, FORMAT):
            raise InputError(
                f"{self.config_file}: has format {data.get('format')}, this version reads 5 and {FORMAT}; "
                "use the version of sumi that wrote it"
            )
        try:
            return from_json(RunDescription, upgraded(data))
        except InputError as error:
            raise InputError(f"{self.config_file}: is not what `sumi train` wrote ({error}); restore it") from None
