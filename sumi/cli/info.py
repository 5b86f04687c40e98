"""``sumi info RUN``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sumi.boundary.files import typed
from sumi.cli.options import add_run
from sumi.cli.terminal import say
from sumi.errors import InputError

if TYPE_CHECKING:
    from sumi.models.model import SystemConfig
    from sumi.training.run_folder import RunFolder


def add_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)


def run(options: argparse.Namespace) -> None:
    from sumi.boundary.config import describe
    from sumi.models.diffusion.start import BASE
    from sumi.models.run import own_network, read_run
    from sumi.training.checkpoint import checkpoint_step, find_checkpoints, verify_checkpoint
    from sumi.training.lock import trainer_of
    from sumi.training.metrics_log import read
    from sumi.training.run_folder import RunFolder
    from sumi.training_run import parameters

    folder = RunFolder(options.run)
    description = read_run(folder)
    config, items = description.config, description.items
    say(f"{folder.path}: {config.recipe} on {config.data.source}")
    say(f"{items.name:12} {items.describe()}")
    own = own_network(config)
    if config.composed:
        _stages(folder, config)
    elif own is not None:  # a run folder holds no code
        say(f"network      {own.description}")
    else:
        say(f"network      {parameters(config.build(items).model):,} parameters")
    if description.start is not None:
        begun = description.start
        teacher = "teacher" if "objective" in {f for f, v, _ in describe(config) if v != "denoising"} else "began from"
        say(f"{teacher:12} {begun.source}, step {begun.step}, weights {begun.weights[:12]}")
    if config.training.lora_rank is not None:
        base = folder.part(BASE)
        gone = "" if base.config_file.exists() else ", which is gone: restore it"
        say(f"adapts       {base.path}{gone}, by additions of rank {config.training.lora_rank} or less")
    phase = config.phase(folder)
    if phase is not None:
        say(f"phase        {phase}")
    found, skipped = find_checkpoints(folder.checkpoints)
    if not config.composed:
        steps = ", ".join(str(checkpoint_step(path)) for path in found) or "none"
        say(f"checkpoints  {steps} of {config.training.steps} steps")
    for path in found:
        try:
            verify_checkpoint(path)
        except InputError as error:
            if path.exists():  # else it was removed after a newer one was saved
                skipped.append(str(error))
    trainer = trainer_of(folder.path)
    if trainer is not None:
        say(f"training     by {trainer}")
    for line in skipped:
        if not line.startswith("skipped ."):
            say(f"  damaged: {line}")
        elif trainer is None:
            say(f"  left over: {line}")
    try:
        log = read(folder.metrics_file) if folder.metrics_file.exists() else []
        for line in [line for line in log if "event" not in line][-1:]:
            say(f"last line    step {line['step']}, loss {line['loss']}")
        skipped_steps = [str(line["step"]) for line in log if line.get("event") == "skipped"]
        if skipped_steps:
            say(f"skipped      {len(skipped_steps)} steps that were not finite: {', '.join(skipped_steps[-10:])}")
    except InputError as error:
        say(f"log          {error}")
    tuned = sorted(path.stem for path in folder.tuned.glob("*.json"))
    if tuned:
        say(f"tuned        {', '.join(tuned)} (checkpoint-steps)")
    if (folder.report / "report.html").exists():
        say(f"report       {folder.report / 'report.html'}")
    for field, value, _ in describe(config):
        say(f"  {field} = {value}")


def _stages(folder: RunFolder, config: SystemConfig) -> None:
    """How far each part is trained."""
    from sumi.models.run import read_run
    from sumi.training.checkpoint import checkpoint_step, find_checkpoints
    from sumi.training_run import parameters

    for name, part in ((name, folder.part(name)) for name in config.names):
        if not part.config_file.exists():
            say(f"{name:12} is not there; `sumi train {config.recipe} --out {typed(folder.path)} --resume` trains it")
            continue
        description = read_run(part)
        steps = max(map(checkpoint_step, find_checkpoints(part.checkpoints)[0]), default=0)
        size = parameters(description.config.build(description.items).model)
        say(f"{name:12} {size:,} parameters, {steps} of {description.config.training.steps} steps, in {part.path}")
