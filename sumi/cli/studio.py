"""``sumi studio [RUN …]``."""

import argparse
from pathlib import Path

from sumi.cli.terminal import say
from sumi.errors import InputError


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="run folders, or folders of them (default: runs, if it is there)"
    )
    parser.add_argument(
        "--data", action="append", default=[], metavar="PATH", help="data to train on; may be given again"
    )
    parser.add_argument("--out", default="studio", metavar="DIR", help="folder for all it makes (default: studio)")
    parser.add_argument("--port", type=int, default=8917, metavar="P", help="0: any that is free (default: 8917)")
    parser.add_argument("--no-browser", dest="browser", action="store_false", help="print the link alone")


def run(options: argparse.Namespace) -> None:
    import signal
    import threading
    import webbrowser

    try:
        from sumi.studio.server import listening, serve
    except ModuleNotFoundError as error:
        raise InputError(f"studio: needs {error.name}; install it by: pip install 'sumi[studio]'") from None
    from sumi.studio.safety import new_token
    from sumi.studio.studio import Studio

    places = [Path(path) for path in options.runs or ["runs"]]
    for place in places:
        if options.runs and not place.is_dir():
            raise InputError(f"runs: {place} is not a folder; give run folders, or a folder of them")

    data = [Path(path) for path in options.data]
    for path in data:
        if not path.exists():
            raise InputError(f"data: {path} is not there; give a folder or a file to train on")

    def ready(link: str) -> None:
        say(f"the studio is open: {link}")
        say("press Ctrl-C to close it; trainings go on")
        threading.Thread(target=__import__, args=("torch",), daemon=True).start()  # while the page opens
        if options.browser:
            threading.Thread(target=webbrowser.open, args=(link,), daemon=True).start()  # may never return

    with listening(options.port) as at:
        try:
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
            serve(Studio(places, Path(options.out), data), at, new_token(), ready)
        except KeyboardInterrupt:
            pass  # the server gives the signal on, or takes it for itself
        say("the studio is closed")
