"""Write the reference pages, docs/reference/, from the package itself: names, commands, options, fields, recipes.

    python -m scripts.reference [FOLDER]

Signatures are the source's own text (`ast`), docstrings are taken as they stand, and what only a running package knows
(options, defaults, meanings of fields, the registries) is read from the imported one. Nothing here lists names by hand,
so a new class, option or recipe is on its page as soon as it exists; tests/test_reference.py looks for every one.
"""

import argparse
import ast
import dataclasses
import inspect
import pkgutil
import re
import shutil
import sys
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import sumi
from sumi.boundary.config import describe, stored_fields
from sumi.cli.main import build_parser
from sumi.data.config import DataConfig
from sumi.models.run import SYSTEMS
from sumi.recipes import RECIPES, build
from sumi.sampling.solvers import BIT_SOLVERS, SOLVERS
from sumi.sampling.time_grid import TIME_GRIDS

FOLDER = Path("docs/reference")
Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = ast.ClassDef | Function


# Docstrings and tables as Markdown


def prose(docstring: str | None) -> str:
    """A docstring as Markdown: lists and formulas set apart, and nothing outside of code read as mark-up."""
    lines: list[str] = []
    for line in inspect.cleandoc(docstring or "").splitlines():
        item, before = re.match(r"\s*(-|\d\.) ", line), lines[-1] if lines else ""
        if item and before.strip() and not re.match(r"\s*(-|\d\.) |\s{2,}\S", before):
            lines.append("")
        if re.match(r"    \S", line) and re.fullmatch(r"(Raises|Returns|Args):", before.strip()):
            lines[-1] = f"**{before.strip()[:-1]}**"
            line = line.strip()
        lines.append(line if line.startswith("    ") else escaped(line))
    return "\n".join(lines)


def escaped(text: str) -> str:
    """Text in which ``*``, ``<`` and ``[x](`` outside of backticks mean themselves."""
    parts = re.split(r"(`+[^`]*`+)", text)
    return "".join(
        part if i % 2 else part.replace("<", "&lt;").replace("*", r"\*").replace("](", r"]\(")
        for i, part in enumerate(parts)
    )


def cell(text: str) -> str:
    """One cell of a table."""
    return " ".join(text.split()).replace("|", r"\|")


def code(text: str) -> str:
    """Code in a cell of a table, or nothing."""
    return f"`{cell(text)}`" if text else ""


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# Python: modules, classes, functions, constants


def modules() -> list[str]:
    """Every module of the package by its full name, none whose name begins with an underscore."""
    found = [sumi.__name__]
    found += [info.name for info in pkgutil.walk_packages(sumi.__path__, f"{sumi.__name__}.")]
    return [name for name in found if not any(part.startswith("_") for part in name.split("."))]


@cache
def parsed(module: str) -> ast.Module:
    """The source of a module as a tree."""
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def is_public(name: str) -> bool:
    return not name.startswith("_") or name == "__call__"


def signature(node: Definition) -> str:
    """A class with its bases, or a function with its arguments, as in the source, broken where it is long."""
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        return f"class {node.name}({bases})" if bases else f"class {node.name}"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    line = f"{node.name}({ast.unparse(node.args)}){returns}"
    if len(line) <= 88:
        return line
    return f"{node.name}(\n    " + ",\n    ".join(_arguments(node.args)) + f",\n){returns}"


def _arguments(arguments: ast.arguments) -> list[str]:
    """Each argument with its annotation and default; ``/`` and ``*`` where they stand."""
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    shown = [_argument(a, d) for a, d in zip(positional, defaults, strict=True)]
    if arguments.posonlyargs:
        shown.insert(len(arguments.posonlyargs), "/")
    if arguments.vararg:
        shown.append("*" + _argument(arguments.vararg, None))
    elif arguments.kwonlyargs:
        shown.append("*")
    shown += [_argument(a, d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    return shown + (["**" + _argument(arguments.kwarg, None)] if arguments.kwarg else [])


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    note = f": {ast.unparse(argument.annotation)}" if argument.annotation else ""
    equals = " = " if note else "="
    return argument.arg + note + (f"{equals}{ast.unparse(default)}" if default is not None else "")


def _decorators(node: Definition) -> set[str]:
    return {ast.unparse(decorator).partition("(")[0].rpartition(".")[2] for decorator in node.decorator_list}


def constants(body: list[ast.stmt]) -> Iterator[tuple[str, str, str]]:
    """(name, value, docstring) of what a module assigns by a public name."""
    for statement, following in zip_longest(body, body[1:]):
        if isinstance(statement, ast.AnnAssign):
            targets: list[ast.expr] = [statement.target]
        elif isinstance(statement, ast.Assign):
            targets = statement.targets
        else:
            continue
        names = [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
        text = ast.unparse(statement.value) if statement.value is not None else ""
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            about = str(following.value.value)
        else:
            about = ""
        for name in names:
            if is_public(name) and not name.startswith("__"):
                yield name, text if len(text) <= 200 else "…", about


def documented_function(node: Function, others: list[Function], level: int) -> str:
    """A function or method: its signature, those of its overloads, and its docstring."""
    overloads = [other for other in others if other.name == node.name and "overload" in _decorators(other)]
    variants = _decorators(node)
    if variants & {"property", "cached_property"}:
        lines = f"{node.name}: {ast.unparse(node.returns) if node.returns else 'Any'}"
    else:
        lines = "\n".join(signature(one) for one in [*overloads, node])
    of = next((f"{kind} " for kind in ("classmethod", "staticmethod") if kind in variants), "")
    text = prose(ast.get_docstring(node))
    return f"{'#' * level} `{node.name}`\n\n```python\n{of and '@' + of.strip() + chr(10)}{lines}\n```\n\n{text}\n"


def documented_class(node: ast.ClassDef, cls: type, level: int) -> str:
    """A class: its docstring, its fields with defaults and meanings, and its public methods."""
    parts = [f"{'#' * level} `{node.name}`\n\n```python\n{signature(node)}\n```\n", prose(ast.get_docstring(node))]
    if dataclasses.is_dataclass(cls):
        parts.append(fields_table(cls))
    functions = [statement for statement in node.body if isinstance(statement, Function)]
    for function in functions:
        again = _decorators(function) & {"overload", "setter"}
        if function.name == "__init__" or (is_public(function.name) and not again):
            parts.append(documented_function(function, functions, level + 1))
    return "\n\n".join(part for part in parts if part.strip()) + "\n"


def fields_table(cls: Any) -> str:
    """The fields of a dataclass: name, type, default, meaning (the last where any has one)."""
    owner = {name: base for base in reversed(cls.__mro__) for name in vars(base).get("__annotations__", {})}
    rows = [
        [code(f.name), code(_annotation(owner.get(f.name, cls), f.name)), code(_default(f)), escaped(cell(_meaning(f)))]
        for f in dataclasses.fields(cls)
    ]
    width = 4 if any(row[3] for row in rows) else 3
    return table(("field", "type", "default", "meaning")[:width], (row[:width] for row in rows)) if rows else ""


def _meaning(f: Any) -> str:
    return str(f.metadata.get("help", ""))


def _annotation(cls: type, name: str) -> str:
    """A field's type as the source has it."""
    for node in ast.walk(parsed(cls.__module__)):
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__:
            for statement in node.body:
                if isinstance(statement, ast.AnnAssign) and ast.unparse(statement.target) == name:
                    return ast.unparse(statement.annotation)
    return ""


def _default(f: Any) -> str:
    if f.default is not dataclasses.MISSING:
        return re.sub(r"<function .*?>|<.*? at 0x.*?>", "…", repr(f.default))
    if f.default_factory is not dataclasses.MISSING:
        if hasattr(f.default_factory, "name"):
            return f.default_factory.name
        return getattr(f.default_factory, "__name__", "…").replace("<lambda>", "…") + "()"
    return ""


def documented_module(name: str) -> str:
    """A module: its docstring, then constants, classes and functions in the order of the source."""
    tree, module = parsed(name), import_module(name)
    parts = [f"## `{name}`", prose(ast.get_docstring(tree))]
    values = list(constants(tree.body))
    if values:
        rows = [[code(key), code(value), escaped(cell(about))] for key, value, about in values]
        parts.append(table(("constant", "value", "meaning"), rows))
    functions = [statement for statement in tree.body if isinstance(statement, Function)]
    for statement in tree.body:
        if isinstance(statement, ast.ClassDef) and is_public(statement.name):
            parts.append(documented_class(statement, getattr(module, statement.name), 3))
        elif isinstance(statement, Function) and is_public(statement.name):
            if "overload" in _decorators(statement):
                continue
            parts.append(documented_function(statement, functions, 3))
    return "\n\n".join(part for part in parts if part.strip()) if len(parts) > 2 or parts[1] else ""


def rooms() -> dict[str, list[str]]:
    """The modules of each folder of the package, and of the files that are in none (under ``sumi``)."""
    found: dict[str, list[str]] = {}
    for name in modules():
        room = name.split(".")[1] if name.count(".") and find_spec(".".join(name.split(".")[:2])) else "sumi"
        is_folder = room != "sumi" and find_spec(f"sumi.{room}").submodule_search_locations is not None  # type: ignore[union-attr]
        found.setdefault(room if is_folder else "sumi", []).append(name)
    return found


def room_page(room: str, names: list[str]) -> str:
    what = "the top of the package" if room == "sumi" else f"`sumi.{room}`"
    title = "sumi" if room == "sumi" else f"sumi.{room}"
    head = f"# {title}\n\nLook up every public class, function and constant of {what}, module by module.\n"
    return head + "\n" + "\n\n".join(filter(None, map(documented_module, names))) + "\n"


def face_page() -> str:
    """The names that ``import sumi`` gives."""
    parts = [
        "# The Python face\n",
        "Look up what `import sumi` gives: the names that most programs need. "
        "All other modules are under [all modules](python/sumi.md).\n",
    ]
    for name in sumi.__all__:
        value = getattr(sumi, name)
        if inspect.ismodule(value):
            text = prose(value.__doc__)
            shown = [key for key in getattr(value, "__all__", vars(value)) if is_public(key) and key[:2] != "__"]
            parts.append(f"## `sumi.{name}`\n\n{text}\n\n" + ", ".join(f"`{key}`" for key in shown) + "\n")
            continue
        tree = parsed(value.__module__)
        body = [statement for statement in tree.body if isinstance(statement, Definition)]
        node = [one for one in body if one.name == value.__name__][-1]
        home = f"From `{value.__module__}`."
        if isinstance(node, ast.ClassDef):
            lines = [documented_class(node, value, 2), *inherited(value)]
            parts.append("\n".join(lines))
        else:
            functions = [one for one in body if isinstance(one, Function)]
            parts.append(documented_function(node, functions, 2))
        parts[-1] = parts[-1].replace(f"## `{name}`", f"## `sumi.{name}`", 1) + f"\n{home}\n"
    return "\n".join(parts)


def inherited(cls: type) -> Iterator[str]:
    """The public methods that a class has from its bases in the package and does not define itself."""
    seen = set(vars(cls))
    for base in cls.__mro__[1:]:
        if not base.__module__.startswith("sumi."):
            continue
        for node in parsed(base.__module__).body:
            if isinstance(node, ast.ClassDef) and node.name == base.__name__:
                functions = [one for one in node.body if isinstance(one, Function)]
                for function in functions:
                    if is_public(function.name) and function.name not in seen:
                        seen.add(function.name)
                        yield documented_function(function, functions, 3)


# The command line


def commands_page() -> str:
    """Every command with its usage, arguments and options."""
    parser = build_parser()
    parts = [
        "# Commands\n",
        "Look up every command of `sumi` and every option, as `sumi COMMAND --help` prints them.\n",
        f"```text\n{_usage(parser)}\n```\n",
        _options(parser),
    ]
    for name, command in subcommands(parser).items():
        parts.append(f"## `sumi {name}`\n\n{escaped(command.description or '')}\n")
        parts.append(f"```text\n{_usage(command)}\n```\n")
        parts.append(_options(command))
    return "\n".join(parts) + "\n"


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands of the command line."""
    [choices] = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(choices)


def _usage(parser: argparse.ArgumentParser) -> str:
    formatter = argparse.HelpFormatter(parser.prog, width=88, max_help_position=24)
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups, prefix="")
    return formatter.format_help().strip()


def _options(parser: argparse.ArgumentParser) -> str:
    rows = []
    for action in parser._actions:
        if action.help == argparse.SUPPRESS or isinstance(action, argparse._SubParsersAction):
            continue
        metavar = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
        takes = "" if action.nargs == 0 else f" {metavar}"
        flags = ", ".join(f"`{cell(flag + takes)}`" for flag in action.option_strings) or f"`{metavar}`"
        rows.append([flags, escaped(cell(action.help or ""))])
    return table(("option", "meaning"), rows) + "\n"


# Configurations and what their fields may be


@dataclass
class _Section:
    """A configuration class, and the fields that take it."""

    cls: Any
    paths: list[str] = field(default_factory=list)


def sections() -> list[_Section]:
    """Every configuration class that config.json may hold, in the order in which it is met."""
    found: dict[Any, _Section] = {}

    def visit(cls: Any, path: str) -> None:
        section = found.setdefault(cls, _Section(cls))
        if path in section.paths:
            return
        section.paths.append(path)
        for f in stored_fields(cls):
            for option in _alternatives(get_type_hints(cls)[f.name]):
                if dataclasses.is_dataclass(option):
                    visit(option, f"{path}.{f.name}" if path else f.name)

    for system in _alternatives(SYSTEMS):
        visit(system, "")
    return list(found.values())


def _alternatives(hint: Any) -> list[Any]:
    """The types of a union, also of those in a list, or the one type."""
    if get_origin(hint) is tuple:
        return _alternatives(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return [one for option in get_args(hint) for one in _alternatives(option)]
    return [hint]


def _allowed(hint: Any) -> str:
    """What a field takes, in words."""
    names = []
    for option in _alternatives(hint):
        if dataclasses.is_dataclass(option):
            names.append(f"[`{getattr(option, 'name', option.__name__)}`](#{_anchor(option)})")
        elif get_origin(option) is Literal:
            names += [f"`{choice}`" for choice in get_args(option)]
        else:
            words = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "none"}
            names.append(words.get(option, f"`{option}`"))
    shown = ", ".join(names[:-1]) + (" or " if len(names) > 1 else "") + names[-1]
    return f"a list of: {shown}" if get_origin(hint) is tuple else shown


def _anchor(cls: Any) -> str:
    return cls.__name__.lower()


def configuration_page() -> str:
    """Every field of every configuration, with what it takes, its default and its meaning."""
    parts = [
        "# Configuration\n",
        "Look up every field that `--set section.field=value`, a configuration file or a run's `config.json` may have. "
        "A field that takes one of several classes is set by the class's name, such as `--set schedule=cosine`, and "
        "the fields of that class below it, such as `--set schedule.s=0.01`. `sumi recipes NAME` prints the values "
        "that a recipe gives.\n",
    ]
    for section in sections():
        cls, hints = section.cls, get_type_hints(section.cls)
        name = getattr(cls, "name", None)
        where = ", ".join(f"`{path}={name}`" if name else f"`{path}`" for path in section.paths if path)
        parts.append(f"## `{name or section.paths[0]}` {{ #{_anchor(cls)} }}\n")
        parts.append((f"Set by {where}. " if where else "What is trained. ") + f"`{cls.__module__}.{cls.__name__}`\n")
        parts.append(prose(inspect.getdoc(cls)) + "\n")
        rows = []
        for f in stored_fields(cls):
            default = code(_default(f)) or "must be given"
            rows.append([code(f.name), cell(_allowed(hints[f.name])), default, escaped(cell(_meaning(f)))])
        parts.append((table(("field", "takes", "default", "meaning"), rows) if rows else "It has no fields.") + "\n")
    return "\n".join(parts)


def recipes_page() -> str:
    """Every recipe: its docstring, and its values where they are not the defaults."""
    parts = [
        "# Recipes\n",
        "Look up what each recipe is, and every value that it sets to something else than the default of the "
        "[configuration](configuration.md). `sumi recipes NAME` prints all values.\n",
    ]
    for name, recipe in RECIPES.items():
        parts.append(f"## `{name}`\n\n{prose(sys.modules[recipe.__module__].__doc__)}\n")
        config = build(name, DataConfig(source="PATH|NAME"))
        usual = {key: value for key, value, _ in describe(type(config)(recipe=name, data=config.data))}
        rows = [
            [code(key), code(value), escaped(cell(meaning))]
            for key, value, meaning in describe(config)
            if usual.get(key) != value and key not in ("recipe", "data.source")
        ]
        parts.append((table(("field", "value", "meaning"), rows) if rows else "All values are the defaults.") + "\n")
    return "\n".join(parts)


def schedules_page() -> str:
    """Every schedule that can be named."""
    from sumi.process.schedules import ScheduleConfig

    parts = ["# Schedules\n", "Look up every noise schedule: `--set schedule=NAME`, `sumi explain NAME`.\n"]
    for cls in _alternatives(ScheduleConfig):
        parts.append(f"## `{cls.name}`\n\n`{cls.__module__}.{cls.__name__}`\n\n{prose(inspect.getdoc(cls))}\n")
        parts.append(fields_table(cls) + "\n")
    return "\n".join(parts)


def solvers_page() -> str:
    """Every solver and every time grid by name."""
    parts = ["# Solvers and time grids\n", "Look up every name of `--solver NAME` and `--solver NAME@GRID`.\n"]
    for name, solver in (SOLVERS | BIT_SOLVERS).items():
        cls = type(solver)
        parts.append(f"## `{name}`\n\n`{cls.__module__}.{cls.__name__}`\n\n{prose(inspect.getdoc(cls))}\n")
        values = [[code(f.name), code(repr(getattr(solver, f.name)))] for f in dataclasses.fields(cls)]
        parts.append(table(("field", "value"), values) + "\n" if values else "")
    parts.append("## Time grids\n")
    module = import_module("sumi.sampling.time_grid")
    parts.append(prose(module.__doc__) + "\n")
    rows = [[code(name), escaped(cell(getattr(module, name).__doc__ or ""))] for name in TIME_GRIDS]
    parts.append(table(("grid", "meaning"), rows) + "\n")
    return "\n".join(parts)


def index_page() -> str:
    lines = [
        "# Reference\n",
        "Look up one thing exactly. These pages are generated from the package, so they are complete and current.\n",
        "- [The Python face](face.md): what `import sumi` gives",
        "- [Commands](commands.md): every command and option",
        "- [Configuration](configuration.md): every field, its default and meaning",
        "- [Recipes](recipes.md), [Schedules](schedules.md), [Solvers and time grids](solvers.md)",
        "\nEvery public name, by folder of the package:\n",
    ]
    for room, names in rooms().items():
        about = (ast.get_docstring(parsed(names[0])) or "").splitlines()[:1]
        lines.append(f"- [`{names[0]}`](python/{room}.md)" + (f": {escaped(about[0])}" if about else ""))
    return "\n".join(lines) + "\n"


def pages() -> dict[str, str]:
    """The text of every page by its path in the reference's folder."""
    made = {
        "index.md": index_page(),
        "face.md": face_page(),
        "commands.md": commands_page(),
        "configuration.md": configuration_page(),
        "recipes.md": recipes_page(),
        "schedules.md": schedules_page(),
        "solvers.md": solvers_page(),
    }
    return made | {f"python/{room}.md": room_page(room, names) for room, names in rooms().items()}


def write(folder: Path) -> int:
    """Write every page; returns how many. Of FOLDER, which holds nothing else, older pages are removed first."""
    made = pages()
    if folder == FOLDER:
        shutil.rmtree(folder, ignore_errors=True)
    for name, text in made.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return len(made)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    print(f"{write(target)} pages in {target}")
