"""What a report says to type next: a command, or, where no command can be given all of it, a line of Python.

Data that were in memory, and a network and other parts of one's own, are given in Python alone.
"""

import json
from pathlib import Path

from sumi.boundary.config import own_classes
from sumi.boundary.files import typed
from sumi.data.config import MEMORY
from sumi.models.model import TrainedModel
from sumi.models.run import own_network
from sumi.training.run_folder import RunFolder


def _in_python(model: TrainedModel, *, data: bool = True) -> str:
    """The arguments that no command takes, each after a comma; "" where there are none."""
    of_data = data and model.config.data.source == MEMORY
    of_network, of_parts = own_network(model.config) is not None, bool(own_classes(model.config))
    return ", data=…" * of_data + ", network=…" * of_network + ", parts=…" * of_parts


def _quoted(path: Path) -> str:
    """A path as Python takes it."""
    return json.dumps(str(path), ensure_ascii=False)


def _loaded(model: TrainedModel) -> str:
    return f"sumi.load({_quoted(model.folder)}{_in_python(model, data=False)})"


def continued(model: TrainedModel, steps: int) -> str:
    """Trains to so many steps."""
    if given := _in_python(model):
        return f'sumi.train("{model.config.recipe}", out={_quoted(model.folder)}, steps={steps}, resume=True{given})'
    return f"sumi train {model.config.recipe} --out {typed(model.folder)} --resume --steps {steps}"


def trained_again(model: TrainedModel) -> str:
    """Trains the same elsewhere."""
    file = RunFolder(model.folder).config_file
    if given := _in_python(model):
        return f'sumi.train({_quoted(file)}, out="ANOTHER"{given})'
    return f"sumi train {typed(file)} --out ANOTHER"


def sampled(model: TrainedModel, n: int, seed: int) -> str:
    """Makes n samples of a seed."""
    if _in_python(model, data=False):
        return f"{_loaded(model)}.sample({n}, seed={seed})"
    return f"sumi sample {typed(model.folder)} -n {n} --seed {seed}"


def evaluated(model: TrainedModel, n: int | None = None, seed: int | None = None) -> str:
    """Measures the model."""
    options = {name: value for name, value in (("n", n), ("seed", seed)) if value is not None}
    if _in_python(model):
        data = {"data": "…"} if model.config.data.source == MEMORY else {}
        return f"{_loaded(model)}.evaluate({', '.join(f'{k}={v}' for k, v in (data | options).items())})"
    words = (f" {'-n' if name == 'n' else '--seed'} {value}" for name, value in options.items())
    return f"sumi evaluate {typed(model.folder)}{''.join(words)}"
