"""``sumi export RUN --to FORM --out PATH``."""

import argparse
from typing import Final

from sumi.cli.options import add_run
from sumi.cli.terminal import say

FORMS: Final = ("diffusers", "onnx", "openvino", "program", "safetensors")


def add_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--to", required=True, choices=FORMS, help="what to write")
    parser.add_argument("--out", required=True, metavar="PATH", help="folder of diffusers, or file, to write")
    parser.add_argument("--half", action="store_true", help="of onnx: in half precision")
    parser.add_argument("--licence", metavar="NAME", help="of the data, for the card, such as CC BY 4.0")
    parser.add_argument("--checkpoint", type=int, metavar="STEP", help="which checkpoint (default: the newest)")


def run(options: argparse.Namespace) -> None:
    from sumi.interop.export import export
    from sumi.models.diffusion.model import DiffusionModel
    from sumi.models.run import load

    model = load(options.run, DiffusionModel, checkpoint=options.checkpoint, device="cpu")
    card, notes = export(model, options.to, options.out, half=options.half, licence=options.licence or "")
    for note in notes:
        say(note)
    say(f"{options.out}: written; its card is {card}")
