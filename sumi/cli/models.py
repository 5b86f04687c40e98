"""``sumi models [NAME]``."""

import argparse

from sumi.cli.terminal import say


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="NAME", help="print the card of this model")


def run(options: argparse.Namespace) -> None:
    from sumi.pretrained.shipped import PLACE, SHEET, names, read_card, size

    if options.model is not None:
        card = read_card(options.model)
        for name, value in {**vars(card), "figures": ""}.items():
            say(f"{name.replace('_', ' '):14} {value}".rstrip())
        for name, value in card.figures.items():
            say(f"  {name}: {value}")
        say(f"samples        {PLACE / options.model / SHEET}")
        return
    for name in names():
        card = read_card(name)
        say(f"{name:14} {card.makes} ({size(name) / 1e6:.1f} MB, {card.licence})")
        say(f"{'':14} {PLACE / name / SHEET}")
    say("the card of one: sumi models NAME; pictures: sumi sample NAME")
