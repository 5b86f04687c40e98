"""Every mutation of `tests.mutations` is possible, and noticed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutations import MUTATIONS, Mutation

ROOT = Path(__file__).parents[1]
NAMES = [f"{number}-{m.file}" for number, m in enumerate(MUTATIONS)]


def test_there_are_enough() -> None:
    assert len(MUTATIONS) >= 120
    assert len({(m.file, m.old, m.new) for m in MUTATIONS}) == len(MUTATIONS)


def test_what_is_changed_stands_there_once() -> None:
    texts = {file: (ROOT / "sumi" / file).read_text() for file in {mutation.file for mutation in MUTATIONS}}
    assert [m for m in MUTATIONS if texts[m.file].count(m.old) != 1] == []
    assert {m.test for m in MUTATIONS if not (ROOT / "tests" / m.test).exists()} == set()


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS, ids=NAMES)
def test_a_mutation_is_noticed(mutation: Mutation, tmp_path: Path) -> None:
    for part in ("sumi", "tests", "benchmarks", "docs", "pyproject.toml"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, tmp_path / part)
    file = tmp_path / "sumi" / mutation.file
    file.write_text(file.read_text().replace(mutation.old, mutation.new))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert run("-c", "import sumi; print(sumi.__file__)").stdout.startswith(str(tmp_path))  # it is the copy that runs
    both = ("-m", "slow or not slow")
    tested = run("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *both, f"tests/{mutation.test}")
    assert tested.returncode == 1, f"{mutation} went unnoticed:\n{tested.stdout[-2000:]}"
    assert "failed" in tested.stdout  # a failing law, not a file that cannot be imported
