"""The models that a studio offers: those that come with Sumi, and the runs that it was started with or trained.

Each has a key, which requests name; no request names a path. The one that was used last stays loaded, until nothing is
made for a while (`Models.let_go`).
"""

import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sumi.errors import InputError, SumiError
from sumi.pretrained.shipped import PLACE, PROMPTS, SHEET, names, read_card
from sumi.studio.jobs import give_back

if TYPE_CHECKING:
    from sumi.models.diffusion.model import DiffusionModel
    from sumi.training.run_folder import RunFolder

MOST_RUNS: Final = 500
EXAMPLES: Final = 12
MOST_LINES: Final = 600
SHOWN: Final = {
    "samples": re.compile(r"[0-9]{8,}\.png"),
    "report": re.compile(r"report\.html|[a-z_-]{1,40}\.(png|svg|webp)"),
    "explain": re.compile(r"[a-z0-9_-]{1,40}\.png"),
    "compare": re.compile(r"[a-z0-9_-]{1,40}\.png"),
}
"""The folders of a run whose files are shown, and the names of those files."""


@dataclass(frozen=True)
class Run:
    """``path``: as commands take it; ``shipped``: whether it comes with Sumi."""

    key: str
    path: str
    shipped: bool


class Models:
    """Finds, describes and loads them; methods may be called from any thread."""

    def __init__(self, places: Sequence[Path], own: Path) -> None:
        self.places, self.own = [place.resolve() for place in places], own
        self._loaded: tuple[str, float, DiffusionModel] | None = None
        self._described: dict[str, tuple[float, dict[str, Any]]] = {}
        self._lock = threading.Lock()

    def runs(self) -> dict[str, Run]:
        """Every run by its key: shipped ones first, then those of the places, then those trained here."""
        found = {name: Run(name, name, True) for name in sorted(names(), key=lambda name: name != "characters")}
        for folder in (*self._folders(self.places), *self._folders([self.own.resolve()])):
            key = base = "".join(c if c.isalnum() else "-" for c in folder.name) or "run"
            number = 1
            while key in found and found[key].path != str(folder):
                number += 1
                key = f"{base}-{number}"
            found.setdefault(key, Run(key, str(folder), False))
        return found

    @staticmethod
    def _folders(places: Iterable[Path]) -> list[Path]:
        """The run folders that the places are, or hold."""
        found: list[Path] = []
        for place in places:
            inside = [place] if (place / "config.json").is_file() else sorted(place.glob("*/"))
            found += [one for one in inside[:MOST_RUNS] if (one / "config.json").is_file() and not one.is_symlink()]
        return found

    def find(self, key: str) -> Run:
        """The run of a key. Raises InputError."""
        if (found := self.runs().get(key)) is None:
            raise InputError(f"model: there is no {key[:60]!r} here; choose one of the list")
        return found

    def folder(self, key: str) -> "RunFolder":
        """Its run folder. Raises InputError."""
        return _folder_of(self.find(key))

    def load(self, key: str) -> "DiffusionModel":
        """The newest checkpoint of a model of images. Raises InputError."""
        from sumi.models.diffusion.model import DiffusionModel
        from sumi.models.run import load

        run = self.find(key)
        stamp = _stamp(run)
        with self._lock:
            match self._loaded:
                case (name, of, model) if (name, of) == (key, stamp):
                    return model
            self._loaded = None
            model = load(run.path, DiffusionModel)
            _ = model.images
            self._loaded = key, stamp, model
        return model

    def let_go(self) -> None:
        """Forget the model that is loaded, and give its memory back."""
        with self._lock:
            self._loaded = None
        give_back()

    def listed(self) -> list[dict[str, Any]]:
        """Each run as JSON; one that cannot be read says why."""
        return [self._describe(run) for run in self.runs().values()]

    def _describe(self, run: Run) -> dict[str, Any]:
        """What a page needs to know of a run."""
        stamp = _stamp(run)
        with self._lock:
            kept = self._described.get(run.key)
        if kept is None or kept[0] != stamp:
            facts: dict[str, Any] = {"key": run.key, "path": run.path, "shipped": run.shipped, "makes": False}
            try:
                facts |= _facts(_folder_of(run)) | (_card(run.key) if run.shipped else {})
            except SumiError as error:
                facts["error"] = str(error)
            kept = stamp, facts
            with self._lock:
                self._described[run.key] = kept
        return kept[1]


def _folder_of(run: Run) -> "RunFolder":
    from sumi.training.run_folder import RunFolder

    return RunFolder(run.path)


def _stamp(run: Run) -> float:
    """When its checkpoints changed."""
    folder = _folder_of(run)
    places = (folder.checkpoints, folder.config_file)
    return max((place.stat().st_mtime for place in places if place.exists()), default=0.0)


def _card(name: str) -> dict[str, Any]:
    card, prompts = read_card(name), PLACE / name / PROMPTS
    lines = prompts.read_text("utf-8").splitlines() if prompts.exists() else []
    return {"about": card.makes, "licence": card.licence, "figures": card.figures, "examples": lines[:EXAMPLES]}


def sheet_of(name: str) -> Path:
    """The sheet of samples of a shipped model."""
    return PLACE / name / SHEET


def log_of(folder: "RunFolder") -> dict[str, list[dict[str, Any]]]:
    """The training log of a run: ``losses`` of the training, of long ones at most `MOST_LINES` evenly spaced lines,
    and ``checks`` on held-out images.

    Of a check: ``held_out``, [log-SNR, loss, its 95 % interval] from noise to data, ``copies`` among so many
    ``samples``, and ``rises_since``, where there are such. Raises InputError.
    """
    from sumi.evaluation.during_training import RISES, held_out_losses
    from sumi.training.metrics_log import read

    log = read(folder.metrics_file) if folder.metrics_file.exists() else []
    lines = [line for line in log if "loss" in line]
    every = max(1, -(-len(lines) // MOST_LINES))
    checks = [
        {name: line[name] for name in ("step", "copies", "samples", RISES) if name in line}
        | {"held_out": [[at, *astuple(loss)] for at, loss in sorted(held_out_losses(line).items())]}
        for line in log
        if line.get("event") == "check"
    ]
    return {"losses": lines[::-1][::every][::-1], "checks": checks}  # the last one among them


def shown_of(folder: "RunFolder") -> dict[str, list[str]]:
    """The pictures and pages of a run that can be looked at, by their place."""
    places = {place: getattr(folder, place) for place in SHOWN}
    return {
        place: sorted(path.name for path in where.glob("*") if SHOWN[place].fullmatch(path.name))
        for place, where in places.items()
        if where.is_dir()
    }


def file_of(folder: "RunFolder", place: str, name: str) -> Path:
    """One of `shown_of`. Raises InputError for anything else."""
    if place in SHOWN and SHOWN[place].fullmatch(name):
        file: Path = getattr(folder, place) / name
        if file.is_file() and not file.is_symlink():
            return file
    raise InputError(f"file: there is no {place[:20]}/{name[:60]} of this run; reload the page")


def _facts(folder: "RunFolder") -> dict[str, Any]:
    """From its configuration, without loading weights. Raises InputError."""
    from sumi.data.images import ImageSpec
    from sumi.models.diffusion.system import DiffusionConfig
    from sumi.models.run import read_run
    from sumi.training.checkpoint import checkpoint_step, find_checkpoints

    description = read_run(folder)
    config, items = description.config, description.items
    steps = [checkpoint_step(path) for path in find_checkpoints(folder.checkpoints)[0]]
    facts: dict[str, Any] = {
        "recipe": config.recipe,
        "data": Path(config.data.source).name,
        "about": f"{items.name} {items.describe()}",
        "step": max(steps, default=0),
        "steps": config.training.steps,
        "examples": [],
    }
    match config, items:
        case DiffusionConfig(), ImageSpec(channels=1 | 3, height=height, width=width) if steps:
            conditions = {condition.name for condition in config.conditioning}
            labels = items.label_names if "labels" in conditions else ()
            facts |= {
                "makes": not conditions & {"masked", "small", "grey"},
                "size": [height, width],
                "channels": items.channels,
                "prompted": "text" in conditions,
                "labels": [name for name in labels if name],
                "sampling": {
                    "steps": config.sampling.steps,
                    "guidance": config.sampling.guidance.scale,
                    "solver": str(config.sampling.solver),
                },
                "solvers": list(_solvers(config)),
                "paints": str(config.sampling.solver) != "mean_flow",
            }
        case _:
            pass
    return facts


def _solvers(config: Any) -> tuple[str, ...]:
    """The solvers to choose from: of a model of few steps its own alone."""
    from sumi.sampling.solvers import SOLVERS

    own = str(config.sampling.solver)
    few_steps, special = ("mean_flow", "consistency"), ("mean_flow", "consistency", "ddpm_learned")
    return (own,) if own in few_steps else tuple(name for name in SOLVERS if name not in special)
