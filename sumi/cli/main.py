"""The command line: ``sumi COMMAND …``. Each command is a module ``sumi.cli.COMMAND`` with its options and its work.

Errors are one line, with exit code 2 for input that a person can mend and 1 for a failure on the way; a traceback comes
only with --debug. Help answers without importing torch: a command imports it when it runs.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext, suppress
from importlib import import_module
from typing import Any, Final, NoReturn

from sumi.cli.streams import all_written, libraries_kept_apart, output_error, own_output, tell
from sumi.errors import InputError, SumiError, printable


class _Parser(argparse.ArgumentParser):
    """Argument errors in the one-line style of all others; ``flags``: each option by the name of what it sets."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self.flags: dict[str, str] = {}
        super().__init__(*arguments, **settings)

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        action = super().add_argument(*names, **settings)
        if action.option_strings:
            self.flags[action.dest] = action.option_strings[-1]
        return action

    def error(self, message: str) -> NoReturn:
        self.exit(2, printable(f"sumi: {message} (see {self.prog} --help)") + "\n")


COMMANDS: Final = {
    "train": "train a model, measure it, and keep everything in a run folder",
    "distil": "make a trained model one of one to four steps",
    "teach": "teach a model of captions a new word, from 3 to 10 pictures",
    "sample": "make images, or vectors, with a trained model",
    "inpaint": "paint what is missing of an image, with a trained model of images",
    "upscale": "make an image larger, with a trained model of images",
    "restore": "undo blur, lost colour or compression, with a trained model of images",
    "vary": "make variations of an image (SDEdit)",
    "interpolate": "morph between two images",
    "reconstruct": "encode and decode images with a trained autoencoder",
    "evaluate": "measure a trained model against held-out data, or images against images, and write the report",
    "nll": "how probable held-out data are to a model: its bound in terms, and the ODE's likelihood",
    "compare": "compare solvers on a trained model at equal evaluations, and tune one to it",
    "import": "make a run of a model of another toolkit: diffusers, tensors with a mapping",
    "watch": "a live page of a run in training: losses, samples as they come, time left",
    "ema": "average a run's weights over another length after training, or compare lengths",
    "export": "write a run for other toolkits: diffusers, ONNX, OpenVINO, torch.export, one file of weights",
    "card": "the model card of a run, in Hugging Face's format",
    "push": "upload a run with its card to a hub",
    "pull": "download a run from a hub",
    "check": "prove the maths here and now: each law, the deviation measured, and its bound",
    "doctor": "before a long training: what is in the data, copies, memory, time, and whether a network learns",
    "audit": "measure what a model really is and what is wrong with it: prediction, time, schedule, layers, copies",
    "mend": "put right what an audit finds in a model, where that needs no training, in a new run",
    "explain": "draw a schedule, a law of diffusion, or what a run has learned",
    "recipes": "list the recipes, or every field of one with its value and meaning",
    "models": "list the trained models that come with Sumi, or print the card of one",
    "info": "what a run folder holds",
    "studio": "make pictures, train, and look at models on a page in the browser",
    "demo": "pictures by prompts, then train, sample and measure a model of characters, in about three minutes",
}


def build_parser(chosen: Collection[str] = tuple(COMMANDS)) -> argparse.ArgumentParser:
    """The parser of all commands, with the options of the ``chosen`` ones."""
    parser = _Parser(prog="sumi", description="Train, sample, measure and explain diffusion models.")
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.add_argument("--debug", action="store_true", help="show a traceback for errors")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name in chosen:
            import_module(f"sumi.cli.{name}").add_options(command)
        command.set_defaults(flags=command.flags)
        command.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    with own_output(), nullcontext() if "--debug" in given else libraries_kept_apart():
        try:
            code = _run(given)
        except SystemExit as stop:  # help, options that are none, or a closed pipe
            raise SystemExit(stop.code if all_written() else stop.code or 1) from None
        return code if all_written() else code or 1


def _run(given: Sequence[str]) -> int:
    parser = build_parser([word for word in given if not word.startswith("-")][:1])
    options = parser.parse_args(given)
    if options.version or options.command is None:
        _say_plainly(parser, options)
        return 0
    # threads that wait by spinning take a busy machine's cores from each other: a hundredfold loss was seen
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        _refuse_empty(options)
        import_module(f"sumi.cli.{options.command}").run(options)
    except SumiError as error:
        if not error.repeated:
            _tell_error(with_options(str(error), options.flags), options)
        return error.exit_code
    except KeyboardInterrupt:
        tell("sumi: interrupted")
        return 130
    except Exception as error:  # nobody should see this line; it is better than sixty
        if output_error() is None:
            name = type(error).__name__
            line = f"unexpected {name}: {_first_line(error)} (--debug shows where)"
            if name == "OutOfMemoryError":  # torch's, which nothing here imports
                less = "a smaller --batch-size, or " if "batch_size" in options else ""
                line = f"the memory of {options.device or 'the GPU'} does not suffice; give {less}--device cpu"
            _tell_error(line, options)
        return 1
    return 0


def _say_plainly(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """The version, or the help. What cannot be written is reported at the end (`all_written`)."""
    from sumi import __version__

    with suppress(OSError):
        print(__version__ if options.version else parser.format_help().rstrip())


def _refuse_empty(options: argparse.Namespace) -> None:
    """An option that is given as nothing, as a shell makes of a variable that is not set, is not one left out."""
    for name, value in vars(options).items():
        if value == "":
            raise InputError(f"{name}: is empty; give a value, or leave it out")


def _tell_error(line: str, options: argparse.Namespace) -> None:
    for text in traceback.format_exc().splitlines() if options.debug else [f"sumi: {line}"]:
        tell(text)


def with_options(message: str, flags: Mapping[str, str]) -> str:
    """An error of the library, which begins with the fields that it is about, with a command's options for them.

    ``flags``: the options by the name of what they set. "guidance.interval: …" becomes "--guidance-interval: …", and
    "steps 0, seed -1: …" becomes "--steps 0, --seed -1: …". What a command has no option for stays as it is.
    """
    fields, colon, rest = message.partition(":")
    found = []
    for part in fields.split(", "):
        field, space, value = part.partition(" ")
        section, _, own = field.rpartition(".")
        names = [f"{section}_{own}", own, section] if section in ("guidance", "restart") else [field]
        flag = next((flags[name] for name in names if name in flags), None)
        if flag is None:
            return message
        found.append(f"{flag}{space}{value}")
    return ", ".join(found) + colon + rest


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no message"])[0]


if __name__ == "__main__":
    sys.exit(main())
