"""``sumi doctor``."""

import argparse
from pathlib import Path

from sumi.cli.options import add_device, add_settings
from sumi.cli.terminal import counting_of, say
from sumi.errors import InputError, SumiError


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", metavar="PATH|NAME", help="the data to train on, as `sumi train` takes them")
    parser.add_argument(
        "--recipe", default="ddpm", metavar="R", help="a recipe, or a JSON configuration file (default: ddpm)"
    )
    add_settings(parser, "the configuration", "`sumi recipes NAME`")
    add_device(parser)
    parser.add_argument("--out", metavar="DIR", help="folder for pictures and doctor.json (default: doctor-DATA)")


def run(options: argparse.Namespace) -> None:
    if options.data is None and options.device is None:
        raise InputError("data: is missing; give what to train on, or --device to compare a device with the CPU")
    if options.device is not None:
        if options.data is None:
            for name, given in (
                ("recipe", options.recipe != "ddpm"),
                ("settings", options.settings),
                ("out", options.out),
            ):
                if given:
                    raise InputError(f"{name}: is of the data to train on, and none are given; add --data")
        _compare(options.device)
    if options.data is not None:
        _examine(options)


def _compare(device: str) -> None:
    from sumi.check.device import compare_device

    laws = compare_device(device)
    for law in laws:
        verdict = "" if law.holds else ": TOO MUCH"
        say(f"{law.statement}: relative error {law.deviation:.1e}, bound {law.bound:.0e}{verdict}")
    if not all(law.holds for law in laws):
        raise SumiError(f"device: {device} computes something else than the CPU; do not train on it")


def _examine(options: argparse.Namespace) -> None:
    from sumi.check.doctor import examine

    out = None if options.out is None else Path(options.out)
    with counting_of() as count:
        for finding in examine(
            options.data, options.recipe, settings=options.settings, out=out, device=options.device, progress=count
        ):
            for number, line in enumerate(finding.says):
                say(f"warning: {line}" if finding.warns and not number and finding.name != "data" else line)
