"""What a person should know before a long training: the data, what the network will see, memory, time, and whether it
learns.

    data       items, classes, splits, what is left out and why, copies among the images (`sumi.metrics.duplicates`)
    sheet      sixteen items exactly as a batch holds them: fitted, grey or in colour, mirrored
    size       parameters, and the bytes of weights, gradients, averaged weights and AdamW's two averages
    learning   steps on one batch, its times and noise: a loss that stays says that something is wrong
    time       a few real steps
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from sumi.boundary.files import refuse_folder, short_name, write_text
from sumi.boundary.progress import Count, counting_one, duration
from sumi.boundary.settings import Settings
from sumi.data.batch import batch_of
from sumi.data.cautions import cautions, scarcity
from sumi.data.dataset import Dataset, escaped, evenly, every_label, left_out
from sumi.data.images import ImageSpec
from sumi.data.load import anywhere
from sumi.data.open import materialised, open_data
from sumi.errors import InputError
from sumi.figures.files import write_picture
from sumi.figures.pictures import neighbours, png
from sumi.metrics.duplicates import Pair, duplicates, thumbnails
from sumi.models.diffusion.system import DiffusionConfig
from sumi.models.model import RunDescription, SystemConfig, TrainedModel
from sumi.recipes.configure import configure
from sumi.training.run_folder import RunFolder
from sumi.training.trainer import Trainer
from sumi.training_run import Events, build_trainer, parameters

SEEN: Final = 16
TIMED: Final = 5
"""How many steps are timed."""
REPEATED: Final = 40
"""How many steps are taken on one batch."""
LEARNED: Final = 0.7
"""The share of its first loss to which that of one batch should fall in them."""
NAMED: Final = 5
_CHUNK: Final = 256


@dataclass(frozen=True)
class Finding:
    """``says``: lines of text; ``facts``: the same as numbers, for doctor.json; ``warns``: whether to look at it."""

    name: str
    says: tuple[str, ...]
    facts: dict[str, Any]
    warns: bool = False


def examine(
    data: object,
    recipe: str | Path | SystemConfig = "ddpm",
    *,
    settings: Settings = (),
    out: Path | None = None,
    device: str | torch.device | None = None,
    progress: Count | None = None,
) -> Iterator[Finding]:
    """Findings on the data and the recipe, as they are made; pictures and doctor.json go into ``out`` (./doctor-DATA).

    Trains in a folder that is removed at the end. Raises InputError for what `sumi.training_run.train` refuses.
    """
    data = materialised(data)
    config = configure(recipe, data=data, settings=settings)
    config = replace(config, data=anywhere(config.data))
    out = default_folder(config) if out is None else out
    refuse_folder(out)
    found: dict[str, Any] = {}
    for finding in _findings(data, config, out, device, progress):
        found[finding.name] = {**finding.facts, "says": finding.says, "warns": finding.warns}
        yield finding
    write_text(out / "doctor.json", json.dumps(found, indent=1) + "\n")


def _findings(
    data: object, config: SystemConfig, out: Path, device: str | torch.device | None, progress: Count | None
) -> Iterator[Finding]:
    dataset = open_data(
        config.data.source if isinstance(data, str | Path) else data,
        config.data,
        progress=counting_one(progress, "reading images"),
    )
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder) / "run")
        ready = config.continued(None).with_parts(dataset.spec, run, _refuse_training)
        ready.check(dataset.spec)
        events = Events(counting=progress)
        trainer, kept = build_trainer(RunDescription.of(_steady(ready), dataset), dataset, run, device, events)
        yield _data(dataset, kept, config)
        yield _sheet(kept, config, out)
        if isinstance(kept.spec, ImageSpec):
            yield _copies(dataset, kept.spec, out, counting_one(progress, "comparing images"))
        yield _size(trainer)
        yield _learning(trainer, config, counting_one(progress, "steps on one batch"))
        yield _time(trainer, config, counting_one(progress, "timing steps"))


def default_folder(config: SystemConfig) -> Path:
    """doctor-DATA."""
    return Path(short_name(f"doctor-{Path(config.data.source).resolve().name}"))


def _refuse_training(part: SystemConfig, _folder: RunFolder) -> TrainedModel:
    raise InputError(f"{part.name}: has to be trained first, and nothing is trained here; give {part.name}.source=RUN")


def _steady(config: SystemConfig) -> SystemConfig:
    """The full learning rate from the first step on, as the steps taken here are all in the warm-up."""
    return replace(config, training=replace(config.training, warmup_steps=0, decay="constant"))


def _data(dataset: Dataset, kept: Dataset, config: SystemConfig) -> Finding:
    spec = dataset.spec
    named = zip(spec.label_names, _counts(dataset), strict=True)
    classes = {escaped(name): count for name, count in named}
    left = left_out(dataset)
    held_out = len(dataset) - len(kept) - left
    lines = [
        f"{len(dataset)} {spec.name} {'x'.join(map(str, spec.shape))} of {config.data.source}: "
        f"{len(kept)} to train on, {held_out} held out" + (f", {left} left out" if left else "")
    ]
    if classes:
        lines.append(f"{len(classes)} classes: {', '.join(f'{name} {count}' for name, count in classes.items())}")
    notes = (*dataset.notes, *cautions(dataset, kept))
    few, skipped = scarcity(kept), dataset.skipped_report()
    facts = {
        "items": len(dataset),
        "shape": list(spec.shape),
        "levels": spec.levels,
        "classes": classes,
        "training": len(kept),
        "held_out": held_out,
        "left_out": left,
        "notes": [*notes, *few],
        "skipped": list(skipped),
    }
    return Finding("data", (*lines, *notes, *few, *dataset.skipped_report(limit=20)), facts, bool(few or skipped))


def _counts(dataset: Dataset) -> list[int]:
    names = dataset.spec.label_names
    return np.bincount(every_label(dataset).numpy(), minlength=len(names)).tolist() if names else []


def _sheet(kept: Dataset, config: SystemConfig, out: Path) -> Finding:
    items = evenly(len(kept), SEEN)
    x = batch_of(kept, items, np.arange(len(items)), step=1, seed=config.seed, flip=config.data.flip).x
    path = write_picture(out / "seen.png", kept.spec.picture(x, "as the network sees them"))
    keys = [kept.keys[i] for i in items]
    return Finding("sheet", (f"{path}: {len(items)} {kept.spec.name} as the network sees them",), {"items": keys})


def _copies(dataset: Dataset, spec: ImageSpec, out: Path, progress: Callable[[int, int], None] | None) -> Finding:
    chunks = [np.arange(k, min(k + _CHUNK, len(dataset))) for k in range(0, len(dataset), _CHUNK)]
    thumbs = torch.cat([thumbnails(dataset.batch(chunk)) for chunk in chunks])
    pairs = duplicates(
        thumbs, lambda i: dataset.batch(np.array([i]))[0], progress=progress or (lambda _done, _all: None)
    )
    facts = [
        {"first": dataset.keys[p.first], "second": dataset.keys[p.second], "distance": p.distance, "same": p.same,
         "mirrored": p.mirrored}
        for p in pairs
    ]  # fmt: skip
    if not pairs:
        return Finding("copies", ("no image is there twice",), {"pairs": facts})
    same = sum(p.same and not p.mirrored for p in pairs)
    mirrored = sum(p.mirrored for p in pairs)
    some = [pairs[k] for k in evenly(len(pairs), 2 * SEEN)]
    path = write_picture(out / "copies.png", _side_by_side(dataset, spec, some))
    lines = [
        f"{len(pairs)} pairs of images are the same or nearly: {same} in every pixel, {mirrored} mirrored, "
        f"{len(pairs) - same - mirrored} otherwise; look at {path}"
    ]
    lines += [f"  {escaped(dataset.keys[p.first])} and {escaped(dataset.keys[p.second])}" for p in pairs[:NAMED]]
    lines += [f"  and {len(pairs) - NAMED} more, in doctor.json"] if len(pairs) > NAMED else []
    return Finding("copies", tuple(lines), {"pairs": facts}, warns=True)


def _side_by_side(dataset: Dataset, spec: ImageSpec, pairs: list[Pair]) -> bytes:
    firsts, seconds = (
        spec.pixels.to_bytes(dataset.batch(np.array(places)))
        for places in ([p.first for p in pairs], [p.second for p in pairs])
    )
    return png(neighbours(firsts, seconds, [p.distance for p in pairs], titles=("image", "copy")))


def _size(trainer: Trainer) -> Finding:
    weights = sum(p.numel() * p.element_size() for p in trainer.model.parameters())
    total = 5 * weights  # and its gradient, its average, and AdamW's two averages of the gradient
    count = parameters(trainer.model)
    line = f"{count:,} parameters: {total / 2**20:,.0f} MiB of weights, gradients, averages and optimizer"
    facts = {"parameters": count, "weights_bytes": weights, "training_bytes": total}
    return Finding("size", (f"{line}; activations come on top",), facts)


def _time(trainer: Trainer, config: SystemConfig, progress: Callable[[int, int], None] | None) -> Finding:
    begin = time.perf_counter()
    for step in range(1, TIMED + 1):
        trainer.take_step(step)
        if progress is not None:
            progress(step, TIMED)
    each, steps = (time.perf_counter() - begin) / TIMED, config.training.steps
    line = f"{steps:,} steps at {each:.3g} s a step: about {duration(steps * each)} on {trainer.device}"
    facts: dict[str, Any] = {"device": str(trainer.device), "seconds_per_step": each, "steps": steps}
    facts["seconds"] = steps * each
    if trainer.device.type == "cuda":
        facts["peak_bytes"] = torch.cuda.max_memory_allocated(trainer.device)
        line += f"; {facts['peak_bytes'] / 2**20:,.0f} MiB of its memory were used"
    return Finding("time", (f"{line}, without samples on the way",), facts)


def _learning(trainer: Trainer, config: SystemConfig, progress: Callable[[int, int], None] | None) -> Finding:
    trainer.objective.train()
    losses: list[float] = []
    for number in range(REPEATED):
        taken = trainer.take_step(1)  # the same items, times and noise
        losses.append(float("nan") if taken is None else float(taken[0]))
        if progress is not None:
            progress(number + 1, REPEATED)
    first, last = losses[0], float(np.mean(losses[-3:]))
    facts: dict[str, Any] = {"losses": losses}
    says = f"on one batch the loss went from {first:.4g} to {last:.4g} in {REPEATED} steps"
    if not isinstance(config, DiffusionConfig):  # a bound does not go to nothing, and a game has no loss to lower
        return Finding("learning", (says,), facts)
    if last <= LEARNED * first:
        return Finding("learning", (f"{says}: it learns",), facts)
    why = f"{says}, where it should have fallen to {LEARNED:g} of it or less: check training.learning_rate"
    return Finding("learning", (why,), facts, warns=True)
