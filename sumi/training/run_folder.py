"""The files of a run folder, by name.

runs/NAME/
  config.json        the configuration, and the properties of the data
  metrics.jsonl      the training log (`sumi.training.metrics_log`)
  checks.json        the last checks on held-out images (`sumi.evaluation.during_training`)
  checkpoints/       one folder per checkpoint (`sumi.training.checkpoint`)
  tensorboard/, wandb/  what trackers keep (`sumi.training.trackers`)
  averages/          snapshots of power-function averages (`sumi.training.power_ema`), one folder per step
  skipped.txt        unusable data files, with the reasons
  preview.json       of an autoencoder: colours of latents, fitted once it is trained
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
  parts/NAME/        a run folder of a model that this one needs, such as an autoencoder
  adapter.safetensors  what low-rank adaptation adds to parts/base, alone (`sumi.models.adapter`)
  latents/           the training data as the autoencoder encodes them; may be deleted

The name of a model that comes with Sumi stands for its run folder in the package, where nothing is ever written: what
commands make of it goes to out/NAME/ in the present folder.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from sumi.boundary.config import parse_json
from sumi.boundary.files import contents, refuse_folder, write_text
from sumi.errors import InputError, writing
from sumi.figures.files import is_own
from sumi.pretrained.shipped import names, shipped
from sumi.training.checkpoint import find_checkpoints
from sumi.training.lock import LOCK
from sumi.training.saving import sync_folder

_PICTURES: Final = r"(grid|strip|picture|mean|before-after)\.png|emerging\.webp|vectors\.npy"
_FIGURES: Final = (
    r"report/(report\.html|(evaluation|accuracy|autoencoder)\.json|(loss|accuracy)\.svg|(emerging|learning)\.webp"
    r"|(samples|neighbours|strip|trade-off|restored)\.png)"
    r"|nll/(nll\.json|bound\.png)|compare/(comparison\.(json|png)|guidance\.json)"
    r"|explain/(schedule|noising|correction|unscaled|reverse|loss_by_noise|second_distribution|density|energy|samples"
    r"|held_out|accuracy)\.png"
)
"""Those that did not always say that Sumi made them."""
_OWN: Final = re.compile(
    r"(.*/)?\.[^/]+\.(new|cut)"
    r"|(config|preview)\.json|README\.md|adapter\.safetensors|metrics\.jsonl|skipped\.txt|\.lock"
    r"|(checkpoints|averages)/\.?\d{8,}(\.saving|\.replaced|\.removing)?/[a-z]+\.(safetensors|json)"
    r"|tensorboard/events\.out\.[^/]+|wandb/.*"
    r"|samples/\d{8,}\.png|tuned/\d{8,}-\d+\.json"
    rf"|(samples|restored|varied|interpolated)/[^/]+/({_PICTURES})"
    r"|samples/\d{8,}-[^/]+/(samples\.(npz|npy|tar)(\.json|\.parts/\d{8,}\.(npy|json))?"
    r"|(labels|stated_error|evaluations)\.npy)"
    rf"|{_FIGURES}"
)
"""The files of a run, relative to its folder, besides pictures that say that Sumi made them."""
_PLACES: Final = ("samples", "restored", "varied", "interpolated", "report", "nll", "explain", "compare")

SEAL: Final = "sha256"
"""The first field of config.json: the hash of the others, whatever the whitespace and the order."""


class RunFolder:
    """The paths of a run, and config.json as plain values.

    ``path``: as it was given; ``shipped``: where it is, if it is a model that comes with Sumi.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.shipped = shipped(self.path)
        place, made = self.shipped or self.path, self.path if self.shipped is None else Path("out") / self.path
        self.config_file = place / "config.json"
        self.metrics_file = place / "metrics.jsonl"
        self.checks_file = place / "checks.json"
        self.checkpoints = place / "checkpoints"
        self.averages = place / "averages"
        self.tensorboard = place / "tensorboard"
        self.wandb = place / "wandb"
        self.skipped_file = place / "skipped.txt"
        self.preview_file = place / "preview.json"
        self.samples = made / "samples"
        self.report = made / "report"
        self.nll = made / "nll"
        self.explain = made / "explain"
        self.compare = made / "compare"
        self.tuned = made / "tuned"
        self.restored = made / "restored"
        self.varied = made / "varied"
        self.interpolated = made / "interpolated"
        self.reconstructed = made / "reconstructed"
        self.parts = place / "parts"
        self.latents = made / "latents"
        self.adapter_file = place / "adapter.safetensors"

    def part(self, name: str) -> "RunFolder":
        """The run folder of a model that this one needs."""
        return RunFolder(self.parts / name)

    def sampled(self, step: int) -> Path:
        """The grid of samples after this step of training."""
        return self.samples / f"{step:08d}.png"

    @property
    def source(self) -> str:
        """What finds it from any folder: its absolute path, or the name of a model that comes with Sumi."""
        return str(self.path if self.shipped else self.path.resolve())

    @property
    def names(self) -> tuple[str, ...]:
        """What may be in the folder."""
        return tuple(path.name for path in vars(self).values() if path not in (self.path, self.shipped))

    def foreign(self) -> list[str]:
        """What is in the folder that no command of Sumi put there, such as any link; sorted, relative to it."""
        return sorted(path.relative_to(self.path).as_posix() for path in self.path.rglob("*") if not self._is_own(path))

    def _is_own(self, path: Path) -> bool:
        name, *inner = path.relative_to(self.path).parts
        if path.is_dir() and not path.is_symlink():
            return name in self.names
        known = _OWN.fullmatch("/".join((name, *inner))) is not None
        return not path.is_symlink() and (known or (bool(inner) and name in _PLACES and is_own(path)))

    def refuse_foreign(self) -> None:
        """Raises InputError where training would write over what `sumi train` did not.

        That is a config.json of something else, and without one, anything that has a name of the run's. Files that are
        empty count as left over from a write that was cut off.
        """
        if self.shipped:
            raise InputError(f"out: {self.path} is the name of a model that comes with Sumi; give another folder")
        refuse_folder(self.path)
        parts = (RunFolder(part) for part in self.parts.glob("*"))  # which are trained before the run has a config.json
        if self.is_described() or find_checkpoints(self.checkpoints)[0] or any(part.is_described() for part in parts):
            return
        for name in self.names:
            if _holds_anything(self.path / name):
                raise InputError(
                    f"out: {self.path} holds {name}, which `sumi train` did not write; give another folder"
                )

    def refuse_to_clear(self) -> None:
        """Raises InputError if there is a file of somebody else's."""
        if foreign := self.foreign():
            raise InputError(f"out: {self.path} holds {foreign[0]}, which no demo wrote; give another folder")

    def clear(self) -> None:
        """Remove all files of a demo's run; config.json goes last, so that a folder cleared in part is still the run's.

        Raises as `refuse_to_clear`, before anything is removed; SumiError if it cannot.
        """
        self.refuse_to_clear()
        with writing(self.path):
            for path in self.path.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name not in (LOCK, self.config_file.name):
                    path.unlink()
            self.config_file.unlink(missing_ok=True)

    def is_described(self) -> bool:
        """Whether config.json is one that `write_config` wrote, of whatever format."""
        try:
            return {"config", "items", "format"} <= json.loads(contents(self.config_file)).keys()
        except (OSError, ValueError, RecursionError, AttributeError):
            return False

    def write_config(self, values: dict[str, Any]) -> None:
        """Make the folder and write config.json with its hash. Raises SumiError if it cannot.

        With checkpoints/ the folder is seen to be that of a run, so that its samples are never taken for data.
        """
        with writing(self.config_file):
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            sync_folder(self.path)
        write_text(self.config_file, json.dumps({SEAL: _sha256(values), **values}, indent=2) + "\n")

    def read_config(self) -> dict[str, Any]:
        """The contents of config.json. Raises InputError if it is missing, changed, or not a JSON object."""
        try:
            text = contents(self.config_file)
        except (FileNotFoundError, NotADirectoryError):
            raise InputError(
                f"{self.path}: is not a run folder (it has no config.json); give a folder that `sumi train` made"
                f"{', or one of ' + ', '.join(names()) if names() else ''}"
            ) from None
        except OSError as error:
            raise InputError(f"{self.config_file}: cannot be read ({error.strerror}); restore it") from None
        match unsealed(parse_json(text, self.config_file, "restore it or train again"), self.config_file):
            case dict() as data:
                return data
        raise InputError(f"{self.config_file}: is not a JSON object, as `sumi train` writes; restore it")

    def write_skipped(self, lines: Sequence[str]) -> None:
        """Write skipped.txt with every unused data file, if there are any."""
        if lines:
            write_text(self.skipped_file, "\n".join(lines) + "\n")


def _holds_anything(path: Path) -> bool:
    if path.is_dir():
        return any(path.iterdir())
    return path.exists() and path.stat().st_size > 0


def unsealed(data: Any, file: Path) -> Any:
    """The contents of a config.json without their hash, which older files lack.

    Raises InputError if they are not those that were hashed.
    """
    match data:
        case {"sha256": seal, **values}:
            if seal != _sha256(values):
                raise InputError(
                    f"{file}: is not what was saved (its sha256 differs); restore it, or, if you changed it yourself, "
                    f'remove its line "{SEAL}"'
                )
            return values
    return data


def _sha256(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
