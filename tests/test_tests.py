"""The order of the tests themselves."""

import ast
import io
import tokenize
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


def imported(path: Path) -> set[str]:
    """Full names of all that a file imports, of modules and of what is in them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = ("tests", *path.relative_to(TESTS).parts[: -node.level]) if node.level else ()
            module = ".".join((*above, *filter(None, [node.module])))
            found |= {module} | {f"{module}.{name.name}" for name in node.names}
    return found


def test_no_test_file_imports_another() -> None:
    """What two of them need stands in a module of its own: `tests/tiny_models.py`, `tests/oracles.py` and the like."""
    files = [p for p in TESTS.rglob("*.py") if p.name != "__init__.py"]
    modules = {".".join(("tests", *p.relative_to(TESTS).with_suffix("").parts)): p for p in files}
    of_tests = {module for module, p in modules.items() if p.name.startswith("test_")}
    assert len(of_tests) > 100
    assert {module: found for module, p in modules.items() if (found := imported(p) & of_tests)} == {}


WORDS = {"told", "said", "steered", "kinds", "drawn", "beside"}


@pytest.mark.parametrize("folder", ["sumi", "tests", "benchmarks", "scripts"])
def test_names_are_of_the_fields_own_words(folder: str) -> None:
    """None of the words that this project once had for a condition, an error, guidance, types, noise and settings."""
    private = set[str]()
    for path in (TESTS.parent / folder).rglob("*.py"):
        tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
        names = (token.string for token in tokens if token.type == tokenize.NAME)
        private |= {name for name in names if WORDS & set(name.lower().split("_"))}
    assert private == set()
