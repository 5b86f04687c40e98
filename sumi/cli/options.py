"""Options that several commands share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from sumi.boundary.files import typed
from sumi.cli.terminal import say

if TYPE_CHECKING:
    from sumi.models.model import TrainedModel


def add_run(parser: argparse.ArgumentParser) -> None:
    """RUN, and nothing more."""
    parser.add_argument("run", metavar="RUN", help="a run folder, or the name of a model that comes with Sumi")


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1, … (default: a GPU where there is one)")


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Which weights of a run, and where they are used."""
    parser.add_argument("--checkpoint", type=int, metavar="STEP", help="default: the newest")
    add_device(parser)


def add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="all randomness follows from it (default: 0)")


def add_steps(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, metavar="K", help="sampler steps (default: the configuration's)")


def add_solver(parser: argparse.ArgumentParser) -> None:
    """Of what samples with any solver."""
    parser.add_argument(
        "--solver", metavar="NAME", help="such as ddpm, or unipc@karras with a time grid (default: the configuration's)"
    )


def add_values(parser: argparse.ArgumentParser, what: str) -> None:
    """--value; ``what``: what it is a number of."""
    parser.add_argument(
        "--value",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        dest="values",
        help=f"{what}; may be given again",
    )


def add_fit(parser: argparse.ArgumentParser) -> None:
    """Of all commands that take a picture."""
    parser.add_argument(
        "--no-fit",
        dest="fit",
        action="store_false",
        help="refuse smaller pictures and other colours and take larger ones whole, instead of cropping, resizing and "
        "making them grey as training images were",
    )


def add_settings(parser: argparse.ArgumentParser, of: str, command: str) -> None:
    """--set; ``of``: whose fields they are, ``command``: what lists them."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="section.field=value",
        help=f"any field of {of}; may be repeated ({command} lists them)",
    )


SHORT: Final = 600
"""Seconds of training after which a full report hardly takes longer than that."""


def is_quick(report: str, model: TrainedModel, seconds: float) -> bool:
    """Whether a ``report`` of `add_end` is the quick one, after so many ``seconds`` of training, and says so.

    What makes no images has the full one alone.
    """
    of_images = model.evaluated_as == "images"
    if report == "quick" and not of_images:
        say(f"note: --report quick is of models that make images; of {model.evaluated_as} all is measured")
    if report == "auto" and of_images and seconds < SHORT:
        say(f"the report is a quick one, as the training was short: sumi evaluate {typed(model.folder)} measures all")
        return True
    return report == "quick" and of_images


def add_end(parser: argparse.ArgumentParser) -> None:
    """Of commands that train: whether to continue, and the report at the end."""
    parser.add_argument("--resume", action="store_true", help="continue from the last whole checkpoint")
    parser.add_argument(
        "--report",
        choices=("auto", "full", "quick", "none"),
        default="auto",
        help="at the end: full measures distances to real images; quick only shows samples and losses; auto (default) "
        f"is quick after less than {SHORT // 60} minutes of training",
    )
    parser.add_argument(
        "--no-report", action="store_const", const="none", dest="report", help="the same as --report none"
    )


def add_restoration(parser: argparse.ArgumentParser) -> None:
    """Of inpaint, upscale and restore."""
    parser.add_argument(
        "--method",
        metavar="NAME",
        help="trained, moment_matching, pigdm, diffpir, dps, ddnm, repaint or twisted (default: trained where the run "
        "is, else moment_matching; dps for jpeg, diffpir for noise on sound)",
    )
    add_candidates(parser)


def add_candidates(parser: argparse.ArgumentParser) -> None:
    """Which candidates, and how they are sampled."""
    parser.add_argument("-n", type=int, default=4, metavar="N", help="candidates (default: 4)")
    add_steps(parser)
    add_error(parser)
    add_seed(parser)
    add_label(parser)
    add_guidance(parser)
    add_fit(parser)


def add_error(parser: argparse.ArgumentParser) -> None:
    """Of what can state its error (`sumi.sampling.stated_error`)."""
    parser.add_argument(
        "--error",
        type=float,
        metavar="E",
        help="instead of --steps: as many as bring each sample that near to the end of the ODE, by estimate and in "
        "units of the data's standard deviation, such as 0.01",
    )


def add_label(parser: argparse.ArgumentParser) -> None:
    """The condition, the checkpoint and where to write."""
    parser.add_argument("--label", metavar="L", help="the class of the picture, by its name, where the model knows any")
    parser.add_argument("--prompt", metavar="TEXT", help="what the picture shows, where the model knows words")
    parser.add_argument(
        "--guidance", type=float, metavar="W", help="how much the label or the prompt counts (see `sumi sample`)"
    )
    add_checkpoint(parser)
    parser.add_argument("--out", metavar="DIR", help="folder for the images (default: inside the run folder)")


def add_guidance(parser: argparse.ArgumentParser) -> None:
    """The fields of `sumi.sampling.sampler.Guidance` but its scale, and the threshold (`sumi.cli.sampling`)."""
    parser.add_argument(
        "--guidance-interval",
        metavar="LOW,HIGH",
        help="sigma/alpha at which guidance counts, such as 0.3,5 (default: the run's)",
    )
    parser.add_argument(
        "--guidance-rescale", type=float, metavar="φ", help="0 to 1: keep the contrast (default: the run's)"
    )
    parser.add_argument(
        "--guidance-method",
        choices=("cfg", "cfg++", "apg"),
        help="cfg, cfg++ (its --guidance is 0 to 1) or apg (default: the run's)",
    )
    parser.add_argument(
        "--guidance-parallel", type=float, metavar="η", help="of apg: what is left of the part along x̂_0 (default: 0)"
    )
    parser.add_argument("--guidance-norm", type=float, metavar="R", help="of apg: the largest change (default: any)")
    parser.add_argument(
        "--guidance-momentum", type=float, metavar="β", help="of apg: of the change before, -1 to 1 (default: 0)"
    )
    parser.add_argument("--negative", metavar="L", help="guide away from this class or text, instead of from none")
    parser.add_argument("--worse", metavar="RUN", help="guide away from this worse run (autoguidance)")
    parser.add_argument(
        "--worse-checkpoint",
        type=int,
        metavar="STEP",
        help="which checkpoint of --worse (or of RUN) to guide away from",
    )
    parser.add_argument(
        "--classifier",
        metavar="RUN",
        help="guide by this run of `sumi train noisy-classifier` (of symbols: symbol-classifier)",
    )
    parser.add_argument("--classifier-scale", type=float, metavar="S", help="of its gradient: 0 none (default: 1)")
    parser.add_argument("--clip", metavar="RUN", help="guide towards --prompt by this run of `sumi train clip`")
    parser.add_argument("--clip-scale", type=float, metavar="S", help="of its gradient: 0 none (default: 1)")
    parser.add_argument(
        "--threshold", choices=("none", "static", "dynamic"), help="what keeps pixels in range (default: the run's)"
    )
