"""``sumi import SOURCE --out RUN``."""

import argparse

from sumi.boundary.files import typed
from sumi.cli.options import add_device, add_settings
from sumi.cli.terminal import say


def add_claims(parser: argparse.ArgumentParser) -> None:
    """SOURCE, and what is claimed of it."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a folder of diffusers, a .safetensors or .pt file, file.py:NAME of a function (x, time), or a run",
    )
    parser.add_argument(
        "--mapping",
        metavar="FILE",
        help="JSON that says what the source is: network, shape, schedule, parameterization",
    )
    add_settings(parser, "the mapping", "docs/how-to/exchange.md")


def add_options(parser: argparse.ArgumentParser) -> None:
    add_claims(parser)
    parser.add_argument("--out", required=True, metavar="RUN", help="run folder to write")
    add_device(parser)


def run(options: argparse.Namespace) -> None:
    from sumi.interop.sources import import_run, read_claims

    source = import_run(
        options.source,
        options.out,
        claims=read_claims(options.mapping),
        settings=options.settings,
        device=options.device,
    )
    for note in source.notes:
        say(f"note: {note}")
    for name, value in source.model.facts().items():
        say(f"{name:12} {value}")
    guides = "classifier" in source.model.config.name
    out = typed(options.out)
    say(f"next: sumi sample {'RUN --classifier ' * guides}{out}, or sumi info {out}")
