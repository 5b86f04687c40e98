"""``sumi check``."""

import argparse

from rich.table import Table

from sumi.cli.terminal import counting, say, show
from sumi.errors import SumiError


def add_options(parser: argparse.ArgumentParser) -> None:
    del parser


def run(options: argparse.Namespace) -> None:
    from sumi.check.check import check
    from sumi.check.peer import installed

    del options
    table = Table("law", box=None, pad_edge=False)
    for name in ("deviation", "bound", "", "diffusers"):
        table.add_column(name, justify="right")
    broken = total = 0
    with counting("measuring") as progress:
        for number, (part, laws) in enumerate(check()):
            progress(number + 1, 2)
            table.add_row(f"[bold]{part}[/bold]")
            for law in laws:
                total += 1
                broken += not law.holds
                verdict = "holds" if law.holds else "[bold red]FAILS[/bold red]"
                theirs = "" if law.peer is None else f"{law.peer:.1e}"
                table.add_row(f"  {law.statement}", f"{law.deviation:.1e}", f"{law.bound:.1e}", verdict, theirs)
    show(table)
    if not installed():
        say("diffusers is not installed: nothing to compare with")
    if broken:
        raise SumiError(f"{broken} of {total} laws fail here; do not trust this installation")
    say(f"all {total} laws hold")
