"""The reference is complete: every public name, option, field, recipe, schedule, solver and grid is on its page."""

import dataclasses
import inspect
import pkgutil
import re
from functools import cache
from importlib import import_module

import pytest

import sumi
from scripts.reference import pages, sections, subcommands
from sumi.boundary.config import stored_fields
from sumi.cli.main import COMMANDS, build_parser
from sumi.process.schedules import ScheduleConfig
from sumi.recipes import RECIPES
from sumi.sampling.solvers import BIT_SOLVERS, SOLVERS
from sumi.sampling.time_grid import TIME_GRIDS

MODULES = [info.name for info in pkgutil.walk_packages(sumi.__path__, "sumi.") if "._" not in info.name]


all_pages = cache(pages)
sections_of_page = cache(lambda name: sections_of(page(name)))


def page(name: str) -> str:
    return all_pages()[name]


def sections_of(text: str) -> dict[str, str]:
    """The text under each heading of the second level."""
    parts = re.split(r"^## (.+)$", text, flags=re.M)
    return {title.partition(" {")[0].strip("`"): body for title, body in zip(parts[1::2], parts[2::2], strict=True)}


def headings(text: str) -> set[str]:
    return set(re.findall(r"^#+ `([\w.]+)`", text, flags=re.M))


@pytest.mark.parametrize("module", MODULES)
def test_every_public_class_method_and_function_has_a_heading(module: str) -> None:
    room = module.split(".")[1]
    name = f"python/{room}.md" if f"python/{room}.md" in all_pages() else "python/sumi.md"
    text = sections_of_page(name).get(module, "")  # an empty module has no section
    found = headings(text)
    for key, value in vars(import_module(module)).items():
        if key.startswith("_") or getattr(value, "__module__", None) != module:
            continue
        if inspect.isclass(value) and value.__name__ == key:
            assert key in found
            fields = inspect.get_annotations(value)  # a field's default may be a function, too
            members = {k: v for k, v in vars(value).items() if not k.startswith("_") and k not in fields}
            assert {k for k, v in members.items() if inspect.isfunction(v) or isinstance(v, property)} <= found
            if dataclasses.is_dataclass(value):
                assert all(f"| `{f.name}` |" in text for f in dataclasses.fields(value))
        elif inspect.isfunction(value) and value.__name__ == key:
            assert key in found


def test_the_names_of_import_sumi_are_on_the_page_of_the_python_face() -> None:
    assert {f"sumi.{name}" for name in sumi.__all__} <= headings(page("face.md"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_a_command_is_listed_under_it(command: str) -> None:
    text = sections_of(page("commands.md"))[f"sumi {command}"]
    for action in subcommands(build_parser())[command]._actions:
        for flag in action.option_strings if action.help != "==SUPPRESS==" else []:
            assert re.search(rf"`{re.escape(flag)}[` ]", text)


def test_every_field_of_every_configuration_is_listed_with_a_default_and_a_meaning() -> None:
    parts = re.split(r"^## ", page("configuration.md"), flags=re.M)
    for section in sections():
        [body] = [part for part in parts if f"{{ #{section.cls.__name__.lower()} }}" in part]
        for field in stored_fields(section.cls):
            [row] = [line for line in body.splitlines() if line.startswith(f"| `{field.name}` |")]
            _, takes, default, meaning = (cell.strip() for cell in row[1:-1].replace(r"\|", "/").split("|"))
            assert takes
            assert default
            assert meaning, f"{section.cls.__name__}.{field.name}: add metadata={{'help': …}}"


def test_every_recipe_schedule_solver_and_time_grid_is_listed() -> None:
    assert set(RECIPES) == set(sections_of(page("recipes.md")))
    assert {config.name for config in ScheduleConfig.__args__} == set(sections_of(page("schedules.md")))
    assert set(SOLVERS | BIT_SOLVERS) <= set(sections_of(page("solvers.md")))
    assert all(f"| `{name}` |" in page("solvers.md") for name in TIME_GRIDS)
