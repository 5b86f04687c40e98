"""How scattered the code is: how many files of sumi an action passes through, and the sizes of the tree.

A file counts for an action when a function of it is called while the action runs (`sys.setprofile`). Importing does not
count: everything runs once before, untraced. Counts of calls read by hand differ: they may stop where the work is
handed on (a schedule, a data set, the progress line), and take branches that a run does not.

python benchmarks/paths.py [--names]        of the package that Python imports: PYTHONPATH=CHECKOUT chooses another
"""

import ast
import contextlib
import inspect
import io
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from PIL import Image

import sumi
from sumi.cli.main import main
from sumi.training.trainer import Trainer

SUMI = Path(sumi.__file__).parent
TESTS = SUMI.parent / "tests"
SETTINGS = "network.widths=32 network.blocks=1 network.embedding=32 training.batch_size=16 sampling.steps=3"


def traced(action: Callable[[], Any]) -> tuple[set[str], Any]:
    """The files of sumi whose functions ``action`` calls, and its result."""
    files: set[str] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(f"{SUMI}/") and code.co_name != "<module>":
            files.add(code.co_filename[len(str(SUMI)) + 1 :])

    threading.setprofile(note)
    sys.setprofile(note)
    result = action()
    sys.setprofile(None)
    threading.setprofile(None)
    return files, result


def passed(action: Callable[[], Any]) -> set[str]:
    """The files that ``action`` enters when it is done for the second time."""
    action()
    return traced(action)[0]


def command(*words: object) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        assert main([str(word) for word in words]) == 0


def training_step(run: list[object]) -> set[str]:
    """What the third step of `sumi train` enters, from the call of the trainer's step on."""
    found, step_of = [], Trainer.take_step

    def step(self: Trainer, number: int) -> Any:
        found.append(traced(lambda: step_of(self, number)))
        return found[-1][1]

    Trainer.take_step = step  # pyrefly: ignore
    command(*run)
    Trainer.take_step = step_of
    return found[2][0]


def actions(folder: Path) -> Iterator[tuple[str, set[str]]]:
    """Each action with the files it enters, on a tiny model of the digits' classes."""
    settings = [word for one in SETTINGS.split() for word in ("--set", one)]
    train: list[object] = ["train", "classifier-free", "--data", "digits", "--steps", 4, *settings, "--device", "cpu"]
    numbers = iter(range(100))
    yield "a training step", training_step([*train, "--out", folder / "run"])
    yield "sumi train", passed(lambda: command(*train, "--out", folder / f"run{next(numbers)}"))
    model = sumi.load(folder / "run")
    yield "model.sample(2)", passed(lambda: model.sample(2))
    yield 'model.sample(2, label="3", guidance=2)', passed(lambda: model.sample(2, label="3", guidance=2.0))
    sample: list[object] = ["sample", folder / "run", "-n", 2, "--label", 3]
    yield "sumi sample --label 3", passed(lambda: command(*sample, "--out", folder / f"made{next(numbers)}"))
    yield "sumi evaluate", passed(lambda: command("evaluate", folder / "run", "-n", 40))
    yield "sumi nll", passed(lambda: command("nll", folder / "run", "-n", 4))
    Image.fromarray(np.full((8, 8), 99, np.uint8)).save(folder / "grey.png")
    restore: list[object] = ["restore", folder / "run", folder / "grey.png", "--operator", "blur:1"]
    yield "sumi restore", passed(lambda: command(*restore, "-n", 1))


def sizes() -> Iterator[tuple[str, int]]:
    """The figures of the tree as it stands."""
    text = {path: path.read_text() for folder in (SUMI, TESTS) for path in folder.rglob("*.py")}
    package, tests = ({p: t for p, t in text.items() if folder in p.parents} for folder in (SUMI, TESTS))
    yield "files at the top of sumi", len(list(SUMI.glob("*.py")))
    yield "lines of sumi", sum(t.count("\n") for t in package.values())
    yield "lines of tests", sum(t.count("\n") for t in tests.values())
    yield "isinstance in sumi", sum(len(re.findall(r"\bisinstance\(", t)) for t in package.values())
    arguments = [*inspect.signature(sumi.DiffusionModel.sample).parameters.values()][1:]
    yield "arguments spelt out in sample", sum(one.kind is not one.VAR_KEYWORD for one in arguments)
    borrow = re.compile(r"^from tests\.[\w.]*test_\w+ |^from tests[\w.]* import .*\btest_", re.M)
    yield "test files that import another", sum(1 for t in tests.values() if borrow.search(t))
    named = [name for t in package.values() for node in ast.walk(ast.parse(t)) for name in identifiers(node)]
    for word in ("told", "said", "steered", "kinds", "drawn", "beside"):
        yield f"identifiers with {word!r}", sum(word in name.lower().split("_") for name in named)


def identifiers(node: ast.AST) -> list[str]:
    return [name for field in ("id", "attr", "arg", "name") if isinstance(name := getattr(node, field, None), str)]


if __name__ == "__main__":
    for title, count in sizes():
        print(f"{count:6}  {title}", flush=True)
    with tempfile.TemporaryDirectory() as place:
        for title, found in actions(Path(place)):
            print(f"{len(found):6}  files: {title}", *(sorted(found) if "--names" in sys.argv else ()), flush=True)
