"""The command line: ``sumi COMMAND …``. Here are the options; the work is elsewhere, imported with the command.

Errors are one line, with exit code 2 for input that a person can mend and 1 for a failure on the way; a traceback comes
only with --debug. ``sumi --help`` answers without importing torch.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final, NoReturn

from sumi.errors import SumiError


class _Parser(argparse.ArgumentParser):
    """Argument errors in the one-line style of all others."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"sumi: {message} (see {self.prog} --help)\n")


def _train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe (see `sumi recipes`), or a JSON configuration file")
    parser.add_argument(
        "--data",
        metavar="PATH|NAME",
        help="digits, fashion, swiss-roll, ring-of-8, heartbeat, a folder of images, idx files, or a .npy file",
    )
    parser.add_argument("--out", metavar="RUN", help="run folder (default: runs/RECIPE-DATA)")
    parser.add_argument("--steps", type=int, metavar="N", help="optimizer steps (training.steps)")
    parser.add_argument("--seed", type=int, metavar="S", help="all randomness follows from it (default: 0)")
    _device(parser)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="section.field=value",
        help="any field of the configuration; may be repeated (`sumi recipes NAME` lists them)",
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last whole checkpoint")
    parser.add_argument(
        "--no-report", action="store_true", help="do not measure the model and write report.html at the end"
    )


def _sample(parser: argparse.ArgumentParser) -> None:
    _run(parser)
    parser.add_argument("-n", type=int, default=16, metavar="N", help="how many (default: 16)")
    parser.add_argument("--start", type=int, default=0, metavar="I", help="index of the first (default: 0)")
    parser.add_argument("--size", metavar="HxW", help="of larger pictures, made in windows (default: the model's)")
    parser.add_argument("--steps", type=int, metavar="K", help="sampler steps (default: the configuration's)")
    parser.add_argument(
        "--solver", metavar="NAME", help="such as ddim, or unipc@karras with a time grid (default: the configuration's)"
    )
    parser.add_argument("--eta", type=float, metavar="η", help="noise of the DDIM family: 0 deterministic, 1 ancestral")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="default: 0")
    parser.add_argument("--label", metavar="L", help="the class to draw, by its name, or all: one after the other")
    parser.add_argument(
        "--value",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        dest="values",
        help="a number that belongs to what is drawn, such as brightness=0.2; may be given again",
    )
    parser.add_argument(
        "--guidance", type=float, metavar="W", help="how much the label counts: 1 plain, 2 and more sharper"
    )
    _steering(parser)
    parser.add_argument("--batch-size", type=int, default=64, metavar="B", help="how many at a time; changes no noise")
    parser.add_argument("--checkpoint", type=int, metavar="STEP", help="default: the newest")
    _device(parser)
    parser.add_argument("--out", metavar="DIR", help="folder for the samples (default: inside the run folder)")
    parser.add_argument(
        "--trajectory", action="store_true", help="also a strip and an animation of image START emerging"
    )


def _inpaint(parser: argparse.ArgumentParser) -> None:
    _run(parser)
    parser.add_argument("image", metavar="IMAGE", help="an image file of the model's size or larger")
    parser.add_argument(
        "--mask", required=True, metavar="MASK", help="an image file as large as it: white is painted, black is kept"
    )
    _restoration(parser)


def _upscale(parser: argparse.ArgumentParser) -> None:
    _run(parser)
    parser.add_argument(
        "image", metavar="IMAGE", help="an image file of the model's size divided by the factor, or larger"
    )
    parser.add_argument(
        "--factor", type=int, metavar="F", help="times as large (default: what the run was trained for, else 2)"
    )
    _restoration(parser)


def _restore(parser: argparse.ArgumentParser) -> None:
    _run(parser)
    parser.add_argument("image", metavar="IMAGE", help="an image file: what is left of the picture")
    parser.add_argument(
        "--operator",
        required=True,
        metavar="NAME",
        help="what was done to it: blur:STD, motion:LENGTH:ANGLE, grey, box:FACTOR, bicubic:FACTOR, or jpeg:QUALITY "
        "(numbers may be left out)",
    )
    parser.add_argument(
        "--noise", type=float, metavar="S", help="its noise, of 255 (default: that of rounding for blurs, else 0)"
    )
    _restoration(parser)


def _vary(parser: argparse.ArgumentParser) -> None:
    _run(parser)
    parser.add_argument("image", metavar="IMAGE", help="an image file of the model's size or larger")
    parser.add_argument(
        "--strength",
        type=float,
        default=0.5,
        metavar="S",
        help="0: the image itself; 1/2: as much noise as image; 1: nothing of it (default: 0.5)",
    )
    parser.add_argument(
        "--solver", metavar="NAME", help="such as ddpm, or unipc@karras with a time grid (default: the configuration's)"
    )
    _candidates(parser)


def _interpolate(parser: argparse.ArgumentParser) -> None:
    _run(parser)
    parser.add_argument("a", metavar="A", help="an image file of the model's size or larger")
    parser.add_argument("b", metavar="B", help="another")
    parser.add_argument("-n", type=int, default=8, metavar="N", help="images, both ends among them (default: 8)")
    parser.add_argument("--steps", type=int, metavar="K", help="sampler steps (default: the configuration's)")
    parser.add_argument(
        "--solver", default="heun", metavar="NAME", help="heun, ddim, rk4, adams or adaptive (default: heun)"
    )
    _told(parser)


def _restoration(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--method",
        metavar="NAME",
        help="trained, moment_matching, pigdm, dps, ddnm or repaint (default: trained where the run is, else "
        "moment_matching; dps for jpeg)",
    )
    _candidates(parser)


def _candidates(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", type=int, default=4, metavar="N", help="candidates (default: 4)")
    parser.add_argument("--steps", type=int, metavar="K", help="sampler steps (default: the configuration's)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="default: 0")
    _told(parser)
    _steering(parser)


def _told(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--label", metavar="L", help="the class of the picture, by its name, where the model knows any")
    parser.add_argument("--guidance", type=float, metavar="W", help="how much the label counts (see `sumi sample`)")
    parser.add_argument("--checkpoint", type=int, metavar="STEP", help="default: the newest")
    _device(parser)
    parser.add_argument("--out", metavar="DIR", help="folder for the images (default: inside the run folder)")


def _steering(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--guidance-interval",
        metavar="LOW,HIGH",
        help="sigma/alpha at which guidance counts, such as 0.3,5 (default: the run's)",
    )
    parser.add_argument(
        "--guidance-rescale", type=float, metavar="φ", help="0 to 1: keep the contrast (default: the run's)"
    )
    parser.add_argument("--negative", metavar="L", help="guide away from this class, instead of from none")
    parser.add_argument("--worse", metavar="RUN", help="guide away from this worse run (autoguidance)")
    parser.add_argument("--worse-checkpoint", type=int, metavar="STEP", help="of --worse, or of RUN itself")
    parser.add_argument("--classifier", metavar="RUN", help="guide by this run of `sumi train noisy-classifier`")
    parser.add_argument("--classifier-scale", type=float, metavar="S", help="of its gradient: 0 none (default: 1)")
    parser.add_argument(
        "--threshold", choices=("none", "static", "dynamic"), help="what keeps pixels in range (default: the run's)"
    )


def _explain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "subject",
        metavar="SUBJECT",
        help="a schedule, such as linear or vp; a law: unscaled, reverse-kernel, recognition, parameterizations, "
        "low-density, guidance; or a run folder",
    )
    parser.add_argument("--data", metavar="PATH|NAME", help="images to noise (default: digits, or the run's own data)")
    parser.add_argument("--checkpoint", type=int, metavar="STEP", help="of a run; default: the newest")
    parser.add_argument(
        "--out", metavar="DIR", help="folder for the figures (default: explain/NAME, or in the run folder)"
    )


def _evaluate(parser: argparse.ArgumentParser) -> None:
    _run(parser)
    parser.add_argument("--data", metavar="PATH|NAME", help="default: the run's own data")
    parser.add_argument(
        "-n", type=int, metavar="N", help="samples to measure (default: as many as are held out, 500 to 2000)"
    )
    parser.add_argument(
        "--features",
        default="learned",
        metavar="PATH",
        help="the space to measure in: a file of Inception-v3 weights, a folder with DINOv2 or CLIP in Hugging Face's "
        "format, or learned: a network trained on the data (default)",
    )
    parser.add_argument(
        "--sweeps", action="store_true", help="also by how random sampling is, and by its steps (ten times the samples)"
    )
    parser.add_argument(
        "--trade-off", action="store_true", help="also by the scale of guidance, of a model that is told classes"
    )
    parser.add_argument("--scales", metavar="W,V,…", help="of --trade-off (default: 0,1,1.5,2,3,5)")
    parser.add_argument("--classifier", metavar="RUN", help="for --trade-off by this noisy-classifier, too")
    parser.add_argument("--worse", metavar="RUN", help="for --trade-off away from this worse run (autoguidance), too")
    parser.add_argument("--worse-checkpoint", type=int, metavar="STEP", help="of --worse, or of RUN itself")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="default: 0")
    parser.add_argument("--checkpoint", type=int, metavar="STEP", help="default: the newest")
    _device(parser)


def _nll(parser: argparse.ArgumentParser) -> None:
    _run(parser)
    parser.add_argument("--data", metavar="PATH|NAME", help="default: the run's own data")
    parser.add_argument("-n", type=int, default=256, metavar="N", help="held-out items (default: up to 256)")
    parser.add_argument(
        "--evaluations", type=int, default=100, metavar="K", help="noise levels for the bound of an item (default: 100)"
    )
    parser.add_argument(
        "--variance",
        choices=("small", "large", "learned", "measured"),
        help="of a chain's steps (default: learned where it is, else small)",
    )
    parser.add_argument("--no-ode", action="store_true", help="the bound alone")
    parser.add_argument(
        "--dequantize",
        choices=("uniform", "variational", "gaussian"),
        help="how pixels become points for the ODE (default: gaussian; uniform where data.dequantize was set)",
    )
    parser.add_argument(
        "--draws",
        type=int,
        metavar="K",
        help="of it, or of a VAE's latent, for each item (default: 1; 256 of a VAE's)",
    )
    parser.add_argument("--probes", type=int, default=1, metavar="K", help="for the ODE's trace (default: 1)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="default: 0")
    parser.add_argument("--checkpoint", type=int, metavar="STEP", help="default: the newest")
    _device(parser)


def _compare(parser: argparse.ArgumentParser) -> None:
    _run(parser)
    parser.add_argument(
        "--solvers", metavar="A,B,…", help="solvers, or SOLVER@GRID (default: adams and six known ones)"
    )
    parser.add_argument("--steps", metavar="K,L,…", help="numbers of network evaluations (default: 5,10,20,50)")
    parser.add_argument("-n", type=int, default=64, metavar="N", help="images of each (default: 64)")
    parser.add_argument(
        "--frechet", action="store_true", help="also the Fréchet distance to held-out images (needs the run's data)"
    )
    parser.add_argument(
        "--tune", type=int, metavar="K", help="fit a grid and coefficients for K steps, which `sample` then uses"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="default: 0")
    parser.add_argument("--checkpoint", type=int, metavar="STEP", help="default: the newest")
    _device(parser)


def _check(parser: argparse.ArgumentParser) -> None:
    del parser


def _recipes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", nargs="?", metavar="NAME", help="print every field of this recipe")


def _info(parser: argparse.ArgumentParser) -> None:
    _run(parser)


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", default="runs/demo", metavar="RUN", help="run folder, made anew (default: runs/demo)")
    _device(parser)


def _run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="run folder that `sumi train` made")


def _device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1, … (default: a GPU where there is one)")


COMMANDS: Final[dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]]] = {
    "train": ("train a model, measure it, and keep everything in a run folder", _train),
    "sample": ("make images, or vectors, with a trained model", _sample),
    "inpaint": ("paint what is missing of an image, with a trained model of images", _inpaint),
    "upscale": ("make an image larger, with a trained model of images", _upscale),
    "restore": ("undo blur, lost colour or compression, with a trained model of images", _restore),
    "vary": ("noise an image as far as you say and back: variations of it", _vary),
    "interpolate": ("the images between two, by way of the noise that they are made of", _interpolate),
    "evaluate": ("measure a trained model against held-out data and write its report", _evaluate),
    "nll": ("how probable held-out data are to a model: its bound in terms, and the ODE's likelihood", _nll),
    "compare": ("compare solvers on a trained model at equal evaluations, and tune one to it", _compare),
    "check": ("prove the maths here and now: each law, the deviation measured, and its bound", _check),
    "explain": ("draw a schedule, a law of diffusion, or what a run has learned", _explain),
    "recipes": ("list the recipes, or every field of one with its value and meaning", _recipes),
    "info": ("what a run folder holds", _info),
    "demo": ("train, sample and measure a model of handwritten digits in about two minutes", _demo),
}


NO_OPTIONS: Final = {"run", "recipe", "image", "a", "b", "subject", "command", "debug", "version"}
"""What a command is given without an option's name."""
OPTIONS: Final = {"settings": "set", "values": "value"}
"""Options that are not called as what they set."""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = _Parser(prog="sumi", description="Train, sample, measure and explain diffusion models.")
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.add_argument("--debug", action="store_true", help="show a traceback for errors")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, (summary, add_options) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        add_options(command)
        command.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.version:
        from sumi import __version__

        print(__version__)
        return 0
    if options.command is None:
        parser.print_help()
        return 0
    # threads that wait by spinning take a busy machine's cores from each other: a hundredfold loss was seen
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        import_module(f"sumi.cli.{options.command}").run(options)
    except SumiError as error:
        if options.debug:
            traceback.print_exc()
        else:
            print(f"sumi: {with_option(str(error), options)}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("sumi: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # nobody should see this line; it is better than sixty
        if options.debug:
            traceback.print_exc()
        else:
            print(
                f"sumi: unexpected {type(error).__name__}: {_first_line(error)} (--debug shows where)", file=sys.stderr
            )
        return 1
    return 0


def with_option(message: str, options: argparse.Namespace) -> str:
    """An error of the library, which begins with a field, with the command's option for that field instead.

    guidance.interval: … → --guidance-interval: …, where the command has such an option.
    """
    field, colon, rest = message.partition(":")
    section, _, own = field.rpartition(".")
    names = [own] if not section else [f"{section}_{own}", own, section] if section == "guidance" else []
    for name in names:
        if hasattr(options, name) and name not in NO_OPTIONS:
            return f"{'-' if len(name) == 1 else '--'}{OPTIONS.get(name, name).replace('_', '-')}{colon}{rest}"
    return message


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no message"])[0]


if __name__ == "__main__":
    sys.exit(main())
