"""Runs the notebooks of docs/notebooks, and keeps their pictures and lines: python -m scripts.notebooks [NOTEBOOK …]

The code cells of a notebook share one namespace, and run in the present folder. The value of the last line of a cell is
shown as Jupyter shows it: by its picture, else by its text. What a cell's metadata name as ``smaller`` is replaced
where a notebook runs in short, as the tests run them.
"""

import ast
import base64
import contextlib
import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

NOTEBOOKS = Path(__file__).resolve().parents[1] / "docs/notebooks"


def run(notebook: dict[str, Any], *, short: bool = False) -> dict[str, Any]:
    """The notebook with the outputs of its code cells. Raises what a cell raises, with a note of the cell."""
    names: dict[str, Any] = {"__name__": "__main__"}
    cells = []
    for count, cell in enumerate(notebook["cells"], 1):
        if cell["cell_type"] == "code":
            source = "".join(cell["source"])
            for old, new in cell["metadata"].get("smaller", {}).items() if short else ():
                if old not in source:
                    raise ValueError(f"cell {count}: smaller: {old} is not in it")
                source = source.replace(old, new)
            try:
                cell = {**cell, "outputs": outputs(source, names)}
            except Exception as error:
                error.add_note(f"in cell {count}:\n{source}")
                raise
        cells.append(cell)
    return {**notebook, "cells": cells}


def outputs(source: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    """Of one cell."""
    *first, last = ast.parse(source).body or [ast.Pass()]
    shown, printed = None, io.StringIO()
    with contextlib.redirect_stdout(printed):
        match last:
            case ast.Expr(value=value):
                exec(compile(ast.Module(first, []), "cell", "exec"), names)
                shown = eval(compile(ast.Expression(value), "cell", "eval"), names)
            case _:
                exec(compile(source, "cell", "exec"), names)
    text, found = printed.getvalue(), []
    if text:
        found.append({"output_type": "stream", "name": "stdout", "text": text.splitlines(keepends=True)})
    if shown is not None:
        picture = getattr(shown, "_repr_png_", lambda: None)()
        data = {"image/png": base64.b64encode(picture).decode()} if picture else {"text/plain": [repr(shown)]}
        found.append({"output_type": "display_data", "data": data, "metadata": {}})
    return found


def main() -> None:
    given = [Path(name).resolve() for name in sys.argv[1:]] or sorted(NOTEBOOKS.glob("*.ipynb"))
    for path in given:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            made = run(json.loads(path.read_text()))
        path.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")
        print(f"{path}: {path.stat().st_size / 1e3:,.0f} kB")


if __name__ == "__main__":
    main()
