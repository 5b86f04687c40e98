"""The notebooks run, and what is checked in shows what they make."""

import json
from pathlib import Path

import pytest

from scripts.notebooks import NOTEBOOKS, outputs, run

ALL = sorted(NOTEBOOKS.glob("*.ipynb"))


def test_there_are_three() -> None:
    assert [path.stem for path in ALL] == ["from-noise-to-guidance", "make-it-yours", "ten-minutes"]


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In short, every cell that shows something shows the same sort of thing as the one that is checked in."""
    monkeypatch.chdir(tmp_path)
    kept = json.loads(path.read_text())
    made = run(kept, short=True)
    for before, after in zip(kept["cells"], made["cells"], strict=True):
        assert before["cell_type"] == after["cell_type"]
        sorts = [[sorted(one.get("data", ["text"])) for one in cell.get("outputs", [])] for cell in (before, after)]
        assert sorts[0] == sorts[1], "".join(before["source"])
    assert path.stat().st_size < 1e6
    assert '"image/png"' in path.read_text()


def test_a_cell_shows_its_last_value_and_what_it_prints() -> None:
    names: dict[str, object] = {}
    assert outputs("x = 2\nprint(x)", names) == [{"output_type": "stream", "name": "stdout", "text": ["2\n"]}]
    assert outputs("x + 1", names)[0]["data"] == {"text/plain": ["3"]}
    assert outputs("None", names) == []
    with pytest.raises(ZeroDivisionError) as caught:
        run({"cells": [{"cell_type": "code", "metadata": {}, "source": ["1 / 0"]}]})
    assert "in cell 1" in caught.value.__notes__[0]
