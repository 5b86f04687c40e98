"""Every mutation of `tests.mutations` is possible, and noticed."""

import shutil
from pathlib import Path

import pytest

from tests.forks import Forks
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


@pytest.fixture(scope="module")
def forks() -> Forks:
    return Forks()


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS, ids=NAMES)
def test_a_mutation_is_noticed(mutation: Mutation, forks: Forks, tmp_path: Path) -> None:
    for part in ("sumi", "tests", "benchmarks", "docs", "pyproject.toml"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, tmp_path / part)
    file = tmp_path / "sumi" / mutation.file
    file.write_text(file.read_text().replace(mutation.old, mutation.new))
    both = ("-m", "slow or not slow")
    status, printed = forks.run(tmp_path, "-x", "-q", "-p", "no:cacheprovider", *both, f"tests/{mutation.test}")
    assert status == 1, f"{mutation} went unnoticed:\n{printed[-2000:]}"
    assert "failed" in printed or "ERROR at setup" in printed  # of a law, and not of a file that cannot be imported
