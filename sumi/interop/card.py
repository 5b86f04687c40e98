"""Model cards: what is to be known about a model before it is used, as Hugging Face's README.md.

A table of fields between two lines of ``---``, which the hub reads, and then the text: what the model makes, its data
with their fingerprint and licence, how it was trained, the figures of its last evaluation with their 95 % intervals and
the share of copies of training images, the hash of its weights, and how to load it. What is not known is said to be so.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sumi import __version__
from sumi.boundary.config import differences, to_json
from sumi.boundary.files import write_text
from sumi.errors import InputError
from sumi.models.cascade import CascadeModel
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.model import GenerativeModel, TrainedModel
from sumi.models.unclip import UnclipModel
from sumi.pretrained.shipped import read_card
from sumi.training.run_folder import RunFolder

CARD: Final = "README.md"
UNKNOWN: Final = "unknown"
HUB_NAMES: Final = {"CC BY 4.0": "cc-by-4.0", "CC0": "cc0-1.0", "CC0 1.0": "cc0-1.0", "MIT": "mit"}
"""Licences that the hub writes otherwise."""
_NOT_MEASURES: Final = ("copies", "held_out_loss", "training_loss", "generalization", "sweeps", "trade_off")


@dataclass(frozen=True)
class Figure:
    """A measured number with its 95 % interval."""

    name: str
    value: float
    low: float
    high: float


def figures_of(folder: RunFolder) -> tuple[Figure, ...]:
    """The figures of the last evaluation of a run; none without one. Raises InputError where its file is damaged."""
    found = _evaluation(folder)
    return tuple(_estimates({name: part for name, part in found.items() if name not in _NOT_MEASURES}, ""))


def _evaluation(folder: RunFolder) -> dict[str, Any]:
    file = folder.report / "evaluation.json"
    if not file.exists():
        return {}
    try:
        return dict(json.loads(file.read_text()))
    except (ValueError, TypeError) as error:
        raise InputError(f"{file}: cannot be read ({error}); evaluate the run again") from None


def _estimates(data: Any, name: str) -> Iterator[Figure]:
    match data:
        case {"value": int() | float() as value, "low": int() | float() as low, "high": int() | float() as high}:
            yield Figure(name, value, low, high)
        case dict():
            for key, part in data.items():
                yield from _estimates(part, f"{name} {key}".strip().replace("_", " "))
        case _:
            pass


def _copies(folder: RunFolder) -> str:
    """The share of copies among samples, in words."""
    match _evaluation(folder).get("copies"):
        case {"found": {"ratios": {"share": share, "expected": expected, "samples": samples}}}:
            return (
                f"{share:.1%} of {samples} samples are as near to a training image as the nearest {expected:.1%} of "
                "real images are."
            )
        case _:
            return "Not measured: `sumi evaluate` does."


def model_card(
    model: TrainedModel, *, name: str = "", licence: str = "", load: str = "", notes: Sequence[str] = ()
) -> str:
    """The card of ``model`` as Markdown.

    ``licence``: of the data; "": that of a model that comes with Sumi, else unknown. ``load``: the lines of Python that
    load what the card is with; "": those of a run folder. ``notes``: sentences on what was exported.
    """
    description, folder = model.description, RunFolder(model.folder)
    name, config = name or model.folder.name, description.config
    known = read_card(folder.path.name) if folder.shipped is not None else None
    licence = licence or (known.licence if known else UNKNOWN)
    figures = figures_of(folder)
    load = load or f'import sumi\n\nmodel = sumi.load("{name}")'
    if isinstance(model, GenerativeModel) and "sumi.load" in load:
        load += "\nimages = model.sample(16, seed=0)"
    plain = type(config)(config.recipe, config.data)
    settings = [line for line in differences(to_json(plain), to_json(config)) if not line.startswith("data.")]
    return "\n".join(
        [
            *_header(model, name, licence, figures),
            f"# {name}",
            "",
            f"{known.makes if known else model.items.name + ' ' + model.items.describe()}. Made with "
            f"[Sumi](https://pypi.org/project/sumi/) {__version__} by the recipe `{config.recipe}`.",
            "",
            "## Load it",
            "",
            "```python",
            load,
            "```",
            "",
            *[f"- {note}" for note in notes],
            *([""] if notes else []),
            "## Data",
            "",
            f"- source: {Path(config.data.source).name}",
            f"- licence: {licence}",
            f"- fingerprint: `{description.data_fingerprint or UNKNOWN}`",
            "",
            "## Training",
            "",
            f"- steps: {model.step:,}; seed: {config.seed}",
            f"- parameters: {sum(p.numel() for p in model.module.parameters()):,}",
            f"- sha256 of the weights and of how they are read: `{model.digest}`",
            *([f"- command: `{known.command}`"] if known else []),
            *[f"- `{line}`" for line in settings],
            "",
            "## Figures",
            "",
            *_measured(figures, known.figures if known else {}),
            "",
            f"Copies of training images: {_copies(folder)}",
            "",
        ]
    )


def write_card(model: TrainedModel) -> Path:
    """The card of a run into its folder: its path."""
    file = Path(model.folder) / CARD
    write_text(file, model_card(model))
    return file


def _measured(figures: Sequence[Figure], stated: dict[str, str]) -> list[str]:
    if not figures and not stated:
        return ["Not measured: `sumi evaluate` does."]
    rows = [f"| {f.name} | {f.value:.4g} | {f.low:.4g} to {f.high:.4g} |" for f in figures]
    rows += [f"| {name} | {value} | |" for name, value in stated.items()]
    return ["| figure | value | 95 % interval |", "| --- | --- | --- |", *rows]


def _task(model: TrainedModel) -> str:
    """What it is for, in the hub's names."""
    match model:
        case DiffusionModel(prompted=True) | CascadeModel(prompted=True) | UnclipModel(prompted=True):
            return {"images": "text-to-image", "audio": "text-to-audio"}.get(model.items.name, "other")
        case GenerativeModel() if model.items.name == "images":
            return "unconditional-image-generation"
        case _:
            return "other"


def _header(model: TrainedModel, name: str, licence: str, figures: Sequence[Figure]) -> list[str]:
    """The fields that the hub reads, as YAML of JSON's subset: every text is a JSON string."""
    task = _task(model)
    fields: dict[str, Any] = {
        "license": HUB_NAMES.get(licence, licence.lower() if licence != UNKNOWN else UNKNOWN),
        "library_name": "sumi",
        "pipeline_tag": task,
        "tags": ["diffusion", "sumi", model.config.recipe],
    }
    if figures:
        metrics = [
            {"type": f.name, "name": f"{f.name}, 95 % {f.low:.4g} to {f.high:.4g}", "value": f.value} for f in figures
        ]
        data = {"name": Path(model.config.data.source).name, "type": model.items.name}
        results = [{"task": {"type": task}, "dataset": data, "metrics": metrics}]
        fields["model-index"] = [{"name": name, "results": results}]
    return ["---", *(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items()), "---", ""]
