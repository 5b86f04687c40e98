"""``sumi recipes [NAME]``."""

import argparse

from rich.table import Table

from sumi.cli.terminal import cell, say, show


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", nargs="?", metavar="NAME", help="print every field of this recipe")


def run(options: argparse.Namespace) -> None:
    from sumi.boundary.config import describe
    from sumi.data.config import DataConfig
    from sumi.recipes import RECIPES, build

    if options.recipe is None:
        for name, recipe in RECIPES.items():
            title = (__import__(recipe.__module__, fromlist=["recipe"]).__doc__ or "").splitlines()[0]
            say(f"{name:16} {title}")
        say("every field of one: sumi recipes NAME")
        return
    table = Table("field", "value", "meaning", box=None, pad_edge=False)
    for field, value, meaning in describe(build(options.recipe, DataConfig(source="PATH|NAME"))):
        table.add_row(cell(field), cell(value), cell(meaning))
    show(table)
