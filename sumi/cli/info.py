"""``sumi info RUN``."""

import argparse

from sumi.cli.terminal import say
from sumi.config import describe
from sumi.model import build_denoiser
from sumi.run import RunFolder
from sumi.training.checkpoint import checkpoint_step, find_checkpoints
from sumi.training.metrics_log import read
from sumi.training_run import parameters


def run(options: argparse.Namespace) -> None:
    folder = RunFolder(options.run)
    description = folder.read()
    config, images = description.config, description.images
    say(f"{folder.path}: {config.recipe} on {config.data.source}")
    classes = f", classes {', '.join(images.label_names)}" if images.label_names else ""
    say(f"images       {images.channels}x{images.height}x{images.width}, {images.levels} levels{classes}")
    say(f"network      {parameters(build_denoiser(config, images)):,} parameters")
    found, skipped = find_checkpoints(folder.checkpoints)
    steps = ", ".join(str(checkpoint_step(path)) for path in found) or "none"
    say(f"checkpoints  {steps} of {config.training.steps} steps")
    for line in skipped:
        say(f"  damaged: {line}")
    lines = read(folder.metrics_file) if folder.metrics_file.exists() else []
    if lines:
        say(f"last line    step {lines[-1]['step']}, loss {lines[-1]['loss']:.4f}")
    if (folder.report / "report.html").exists():
        say(f"report       {folder.report / 'report.html'}")
    for field, value, _ in describe(config):
        say(f"  {field} = {value}")
