"""Run tests of copies of the project, each in a fork of one process that has imported what all of them wait for.

    forks = Forks()
    status, printed = forks.run(folder, "tests/test_sampling.py", "-x")

A fork imports `sumi` from the folder, and only there: nothing of it is imported before.
"""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Final

import pytest

IMPORTED: Final = ("torch", "torch.func", "torch.distributed", "numpy", "PIL.Image", "safetensors.torch", "scipy.stats")
NOT_THE_COPY: Final = 99


class Forks:
    """The process; it ends with this one. ``run`` gives the exit status of pytest and what it printed."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        )

    def run(self, folder: Path, *arguments: str) -> tuple[int, str]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(folder, *arguments, sep="\t", file=self.process.stdin, flush=True)
        status = int(self.process.stdout.readline())
        return status, (folder / "printed.txt").read_text()


def work() -> None:
    """Read folders with arguments of pytest from standard input, and answer with exit statuses."""
    for name in IMPORTED:
        import_module(name)
    assert "sumi" not in sys.modules
    answers = os.dup(1)
    for line in sys.stdin:
        folder, *arguments = line.rstrip("\n").split("\t")
        if (child := os.fork()) == 0:
            os.chdir(folder)
            printed = os.open("printed.txt", os.O_WRONLY | os.O_CREAT)
            os.dup2(printed, 1)
            os.dup2(printed, 2)
            sys.path.insert(0, folder)
            copied = str(import_module("sumi").__file__).startswith(folder)
            status = int(pytest.main(arguments)) if copied else NOT_THE_COPY
            sys.stdout.flush()
            os._exit(status)
        os.write(answers, f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n".encode())


if __name__ == "__main__":
    sys.path[0] = ""  # not the folder of this file, whose tests are those of the project and not of its copy
    work()
