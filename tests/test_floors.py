"""The house: a floor imports only floors below it, and nobody goes in circles."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "sumi"
# from the ground up; floors of one set do not know each other unless listed in MAY
FLOORS = [
    {"errors"},
    {"config"},
    {"process"},
    {"denoising"},
    {"sampling"},
    {"guidance"},
    {"likelihood", "restoration"},
    {"networks", "data"},
    {"conditioning"},
    {"training", "evaluation"},
    {"diffusion_config", "classifier_config", "baselines"},
    {"run"},
    {"trained", "recipes"},
    {"tuned", "build", "vocabulary"},
    {"steered", "windows"},
    {"model", "noisy_classifier", "baseline_model"},
    {"kinds"},
    {"steer"},
    {"sample_files", "trajectory", "training_run", "measured", "restore"},
    {"restore_files", "restored", "report_sections", "sweep", "explain", "check"},
    {"trade_off"},
    {"image_report", "measure_vectors", "measure_classifier", "nll_figures"},
    {"nll_by_ode", "nll_baseline"},
    {"nll"},
    {"measure", "sampled_moments"},
    {"tune"},
    {"compare"},
    {"cli"},
]
BLIND = {
    "conditioning": {"process", "denoising", "sampling", "guidance"},
    "networks": {"process", "denoising", "sampling", "guidance"},
    "data": {"process", "denoising", "sampling"},
}
LEVEL = {name: number for number, floor in enumerate(FLOORS) for name in floor}


def floor_of(module: str) -> str:
    return module.split(".")[1]


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


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_file_imports_only_floors_below_its_own(path: Path) -> None:
    own = path.relative_to(ROOT).with_suffix("").parts[0]
    assert own in LEVEL, f"{own} has no floor: say in FLOORS where it stands"
    for module in imports(path):
        if module == "sumi":  # its version
            continue
        other = floor_of(module)
        assert other == own or LEVEL[other] < LEVEL[own], f"{path.name} imports {module}"
        assert other not in BLIND.get(own, set()), f"{own} knows no {other}"


def test_within_a_floor_nobody_goes_in_circles() -> None:
    names = {p: ".".join(("sumi", *p.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__") for p in FILES}
    graph = {names[p]: {m for m in imports(p) if m in names.values()} for p in FILES}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " → ".join((*path, module))
        if module not in done:
            for other in graph[module]:
                visit(other, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())
