"""``sumi recipes [NAME]``."""

import argparse

from rich.table import Table

from sumi.cli.terminal import cell, say, show


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", nargs="?", metavar="NAME", help="print every field of this recipe")


def run(options: argparse.Namespace) -> None:
    from sumi.boundary.config import describe
    from sumi.data.config import DataConfig
    from sumi.recipes import RECIPES, build, title

    if options.recipe is None:
        width = max(map(len, RECIPES))
        for name in RECIPES:
            say(f"{name:{width}} {title(name)}")
        say("every field of one: sumi recipes NAME")
        return
    table = Table("field", "value", "meaning", box=None, pad_edge=False)
    for field, value, meaning in describe(build(options.recipe, DataConfig(source="PATH|NAME"))):
        table.add_row(cell(field), cell(value), cell(meaning))
    show(table)
