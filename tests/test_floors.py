"""The house: a floor imports only floors below it, and nobody goes in circles."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "sumi"
# from the ground up; files of one floor do not import each other's folders
FLOORS = [
    {"errors"},
    {"boundary", "pretrained", "randomness"},
    {"process", "operators", "networks"},
    {"denoising", "autoencoders"},
    {"sampling", "metrics"},
    {"figures"},
    {"data"},
    {"conditioning", "likelihood"},
    {"objectives", "restoration", "guidance"},
    {"training"},
    {"models"},
    {"recipes", "evaluation", "interop"},
    {"training_run"},
    {"distillation"},
    {"explain", "check"},
    {"report"},
    {"studio"},
    {"cli"},
    {"__main__"},
]
# what a folder reaches by no way at all
BLIND = {
    "networks": {"process", "denoising", "sampling", "guidance"},
    "data": {"process", "denoising", "sampling"},
    "conditioning": {"process", "denoising", "sampling", "guidance"},
    "evaluation": {"report"},
}
LEVEL = {name: number for number, floor in enumerate(FLOORS) for name in floor}


# a model can evaluate itself by way of `sumi`, which knows all floors; what it is given and gives back, for types alone
FACE = {("models", "sumi.evaluation.guidance"), ("models", "sumi.evaluation.result")}


def floor_of(module: str) -> str:
    return module.split(".")[1]


@cache
def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("sumi"):
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                place = ROOT.parent.joinpath(*inner.split("."))
                found.add(inner if place.is_dir() or place.with_suffix(".py").exists() else node.module)
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names if name.name.startswith("sumi.")}
    return found


FILES = sorted(p for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py")


def test_few_files_and_folders_stand_at_the_top() -> None:
    folders = {path.relative_to(ROOT).parts[0] for path in FILES if path.parent != ROOT}
    assert len(list(ROOT.glob("*.py"))) <= 6
    assert len(folders) <= 26


def test_a_file_imports_only_floors_below_its_own() -> None:
    wrong: list[str] = []
    for path in FILES:
        own = path.relative_to(ROOT).with_suffix("").parts[0]
        assert own in LEVEL, f"{own} has no floor: say in FLOORS where it stands"
        for module in imports(path) - {"sumi"}:  # its version, and its lazy names
            if (own, module) in FACE and module in for_types_only(path):
                continue
            other = floor_of(module)
            if not (other == own or LEVEL[other] < LEVEL[own]):
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert wrong == []


# a model loads the runs that guide it, and they hold models: the import stands where they are loaded
LATE = {
    ("sumi.models.diffusion.trained_denoiser", "sumi.models.guides"),
    ("sumi.models.symbols.model", "sumi.models.guides"),
}


@cache
def for_types_only(path: Path) -> set[str]:
    """What is imported for a type checker alone."""
    blocks = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.If)]
    froms = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    return {node.module for node in froms if node.module}


def test_within_a_floor_nobody_goes_in_circles() -> None:
    names = {p: ".".join(("sumi", *p.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__") for p in FILES}
    graph = {
        names[p]: {m for m in imports(p) - for_types_only(p) if m in names.values() and (names[p], m) not in LATE}
        for p in FILES
    }
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " → ".join((*path, module))
        if module not in done:
            for other in graph[module]:
                visit(other, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("folder", BLIND)
def test_a_folder_reaches_nothing_that_it_is_blind_to(folder: str) -> None:
    """Not by a detour either: all that is imported with it counts."""
    files = {p: ".".join(("sumi", *p.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__") for p in FILES}
    graph = {files[p]: {m for m in imports(p) if m in files.values()} for p in FILES}
    reached: dict[str, tuple[str, ...]] = {m: (m,) for m in graph if floor_of(m) == folder}
    waiting = list(reached)
    while waiting:
        module = waiting.pop()
        for other in graph[module] - reached.keys():
            reached[other] = (*reached[module], other)
            waiting.append(other)
    for module, way in reached.items():
        assert floor_of(module) not in BLIND[folder], " → ".join(way)
