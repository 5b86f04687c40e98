"""Training: from a recipe and data to a finished run folder."""

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from sumi import recipes
from sumi.boundary.arguments import classes, path, torch_defaults
from sumi.boundary.config import describe, own_classes, to_json
from sumi.boundary.files import short_name, write_whole
from sumi.boundary.group import group, joined
from sumi.boundary.progress import Count, Progress, counting_of, counting_one, in_notebook, training_progress
from sumi.boundary.settings import Settings, assignments
from sumi.data.cautions import cautions, scarcity
from sumi.data.config import MEMORY
from sumi.data.dataset import Dataset, left_out
from sumi.data.load import anywhere, has_file_names
from sumi.data.memory import require_batch
from sumi.data.open import materialised, open_data, reduced
from sumi.data.spec import DataSpec
from sumi.errors import InputError, printable
from sumi.evaluation.during_training import Checks
from sumi.interop.card import write_card
from sumi.models.adapter import save_adapter
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.start import BASE, begin, fitted_to_start
from sumi.models.model import NonfiniteSamples, RunDescription, Start, SystemConfig, TrainedModel, pick_device
from sumi.models.resuming import as_started, refuse_changes, refuse_existing, refuse_other_start, starting_model
from sumi.models.run import base_of, load, own_network, read_run
from sumi.models.size import TRAINED_COPIES, require_room
from sumi.networks.low_rank import RATE, additions
from sumi.networks.own import Network
from sumi.objectives.objective import Objective
from sumi.recipes.configure import configure, named, read_config_file, refuse_ignored
from sumi.training.checkpoint import holds_checkpoints
from sumi.training.lock import training_in
from sumi.training.metrics_log import Value
from sumi.training.run_folder import RunFolder
from sumi.training.trackers import tracker
from sumi.training.trainer import Trainer

ENCODING: Final = "encoding images"
"""The name of what an autoencoder or a CLIP does with the data before the training."""


@dataclass(frozen=True)
class Events:
    """Callbacks: ``say`` gets messages, ``progress`` the state of the training, ``counting`` how far data are read."""

    say: Callable[[str], None] = lambda _: None
    progress: Callable[[Progress], None] | None = None
    counting: Count | None = None


@contextmanager
def _events_shown(progress: Callable[[Progress], None] | bool | None) -> Generator[Events]:
    """The callbacks for the value of a ``progress`` argument (`sumi.boundary.progress`)."""
    if callable(progress):
        yield Events(progress=progress)
    elif in_notebook() if progress is None else progress:
        with counting_of() as counting, training_progress() as training:
            yield Events(lambda line: print(printable(line)), training, counting)
    else:
        yield Events()


@joined(trains=True)
@torch_defaults()
def train(
    recipe: str | Path | SystemConfig,
    *,
    data: object = None,
    out: Path | str | None = None,
    steps: int | None = None,
    seed: int | None = None,
    settings: Settings = (),
    device: str | torch.device | None = None,
    resume: bool = False,
    network: Network | None = None,
    parts: Iterable[type] = (),
    start: DiffusionModel | str | Path | None = None,
    progress: Callable[[Progress], None] | bool | None = None,
    events: Events | None = None,
) -> DiffusionModel | Any:
    """Train a model and return it; the run folder is ``out`` (``runs/RECIPE-DATA`` by default).

    Among the processes that `torchrun` starts, it trains with them (`sumi.boundary.group`).

    ``data``: a name, a path, an array, a list of images or a set of (image, label): anything `sumi.data.open_data`
    takes. ``settings``: one or several "section.field=value", or a mapping. ``network``: the user's own network, of
    which a copy is trained, or a function that makes one (`sumi.networks.own`). ``parts``: the user's own classes in a
    run to resume.
    ``start``: a run, or a model, whose averaged weights the training begins from (`sumi.models.diffusion.start`); with
    training.lora_rank they stay as they are, and what trains is added to them (`sumi.networks.low_rank`).
    ``resume``: continue from the newest intact checkpoint, if any; ``steps`` may be larger than before. ``progress``: a
    callback, or True to show progress and messages; None shows them only in a notebook. ``events``: separate callbacks
    instead. Raises InputError (a bad field, path or image folder; an existing run; a changed configuration),
    Interrupted after SIGINT or SIGTERM, SumiError for a failure on the way.
    """
    pick_device(device)  # a wrong name fails before the images are read
    recipe, out = named(recipe), None if out is None else path("out", out)
    data, parts = materialised(data), classes("parts", parts)

    given_settings = assignments(settings)
    of_network = tuple(one for one in given_settings if one.partition("=")[0].split(".")[0].strip() == "network")

    def configured(recipe: str | SystemConfig, settings: Settings = given_settings) -> SystemConfig:
        config = configure(recipe, data=data, steps=steps, seed=seed, settings=settings, network=network, parts=parts)
        return replace(config, data=anywhere(config.data))

    of_source = start is not None and network is None and str(recipe) in recipes.RECIPES
    others = tuple(one for one in given_settings if not (of_source and one in of_network))
    run = RunFolder(default_folder(configured(recipe, others)) if out is None else out)
    source = None
    if start is not None and not (resume and run.config_file.exists()):
        source = starting_model(start, network, parts)
        config = fitted_to_start(configured(recipe, others), source, of_network if of_source else None)
        refuse_ignored(config, others)
    else:
        config = configured(_started(run, recipe, parts) if resume else recipe)
        if config.training.lora_rank is not None and not (resume and run.config_file.exists()):
            raise InputError("training.lora_rank: adapts the weights of another run; give one to start from")
        if start is not None:
            refuse_other_start(read_run(run, parts).start, start)
    given = config.data.source if data is None or config.data.source != MEMORY else data
    if not group().first:
        progress, events = False, Events()
    with _events_shown(progress) if events is None else nullcontext(events) as events:
        run.refuse_foreign()
        group().wait()  # before the first process writes anything that the others must not find yet
        with training_in(run.path, events.say) if group().first else nullcontext():
            group().wait()  # until it has the lock
            return train_in(run, config, given, device=device, resume=resume, events=events, parts=parts, start=source)


def train_in(
    run: RunFolder,
    config: SystemConfig,
    given: object,
    *,
    device: str | torch.device | None = None,
    resume: bool = False,
    events: Events | None = None,
    parts: Iterable[type] = (),
    start: DiffusionModel | None = None,
) -> DiffusionModel | Any:
    """`train` with a whole configuration, in a run folder whose lock is held (`sumi.training.lock`).

    ``given``: the data as `sumi.data.open_data` takes them.
    """
    events = events or Events()
    refuse_existing(run, config.data, resume)
    if config.data.label_pattern is not None and not has_file_names(config.data):
        raise InputError(
            f"data.label_pattern: finds the class in a file's name, and {config.data.source} has none; leave it out"
        )
    dataset = open_data(given, config.data, progress=counting_one(events.counting, "reading images"))
    for line in (*dataset.notes, *dataset.skipped_report(limit=20)):
        events.say(line)
    model = _train_on(dataset, config, run, device, resume, events, parts, start)
    model.own_data = dataset
    if group().first:
        write_card(model)
    return model


def _train_on(
    dataset: Dataset,
    config: SystemConfig,
    run: RunFolder,
    device: str | torch.device | None,
    resume: bool,
    events: Events,
    parts: Iterable[type],
    start: DiffusionModel | None = None,
) -> DiffusionModel | Any:
    known = (*parts, type(config), *own_classes(config), type(dataset.spec))
    before = read_run(run, known) if resume and run.config_file.exists() else None
    if before is not None:
        dataset = as_started(dataset, before.items)

    def train_part(part: SystemConfig, folder: RunFolder) -> TrainedModel:
        refuse_existing(folder, part.data, resume)
        if not config.composed:
            build_objective(config, dataset.spec, pick_device(device))  # refuses what does not fit before, not after
            if group().first:
                run.write_config(to_json(RunDescription.of(config, dataset)))
        events.say(f"training {folder.path.name} {'' if config.composed else 'first, '}in {folder.path}")
        own = reduced(dataset, part.data.reduce // config.data.reduce)
        with group().in_turn():
            encoding = counting_one(events.counting, ENCODING)
            own = config.data_of(part, own, run, pick_device(device), encoding)
        return _train_on(own, part, folder, device, resume, events, ())

    config = config.continued(None if before is None else before.config).of_data(dataset)
    group().wait()  # all have seen the folder as it was
    if config.composed:
        return _train_parts(dataset, config, run, device, before, events, train_part, start)
    preparing = config.prepares and config == config.continued(None)  # it has no autoencoder yet
    if before is None:
        config.check(dataset.spec)
    description, changed = RunDescription.of(config, dataset), list[str]()
    if before is not None and preparing:
        changed = refuse_changes(before, description, events.say)
    config = config.with_parts(dataset.spec, run, train_part)
    description = replace(description, config=config)
    if before is not None and not preparing:
        changed = refuse_changes(before, description, events.say)
    begun = before.start if before is not None else None
    own = own_network(config)
    network = None if own is None else own.network
    adapts = config.training.lora_rank is not None
    if begun is not None and not adapts and not holds_checkpoints(run.checkpoints):
        start = starting_model(begun.source, network, known, begun)
    if start is not None and begun is None:
        begun = Start(RunFolder(start.folder).source, start.step, start.digest)
    description = replace(description, start=begun)
    if adapts:
        with group().in_turn():  # the others load what the first one has saved
            if start is not None and not run.part(BASE).config_file.exists():
                start.save(run.part(BASE).path)
            start = base_of(run.path, description, network, known)
    if preparing:
        build_objective(config, description.items, pick_device(device))
        if group().first:
            run.write_config(to_json(description))  # it can be resumed while the data are encoded
    trainer, kept = build_trainer(description, dataset, run, device, events, start)
    for line in (*cautions(dataset, kept), *scarcity(kept)):
        events.say(line)
    lines = trainer.resume()  # before anything is written, as it may raise
    if group().first:
        settings = {name: str(value) for name, value, _ in describe(config)}
        trainer.tracker = tracker(config.training.tracker, run.path, settings, trainer.step)
    if changed and trainer.step:
        lines.append(f"changed from step {trainer.step + 1} on: {'; '.join(changed)}")
        trainer.note({"step": trainer.step, "event": "changed", "settings": "; ".join(changed)})
    group().wait()
    if group().first:
        run.write_config(to_json(description))
        run.write_skipped(dataset.skipped_report())
    if resume:
        lines.append(f"continues from step {trainer.step}" if trainer.step else "there is no checkpoint; starts afresh")
    for line in lines:
        events.say(line)
    left = left_out(dataset)
    events.say(
        f"{len(kept)} {description.items.name} {description.items.shape} to train on, "
        f"{len(dataset) - len(kept) - left} held out{f', {left} left out' if left else ''}; "
        f"{parameters(trainer.model):,} parameters; {trainer.device}, {trainer.precision}"
    )
    try:
        trainer.run()
    finally:
        trainer.tracker.close()
    if trainer.skipped:
        events.say(f"{trainer.skipped} of {trainer.step} steps were skipped: {run.metrics_file} names their samples")
    with group().in_turn():  # the others load what the first one has saved
        model = load(run.path, device=str(trainer.device), network=network, parts=known)
        if group().first:
            model.finish(kept)
    if adapts and group().first:
        size = save_adapter(model, run.adapter_file).stat().st_size
        share = size / sum(weight.numel() * weight.itemsize for weight in model.module.parameters())
        events.say(f"adapter: {run.adapter_file}, {size / 1e6:.3g} MB, {share:.1%} of the weights")
    return model


def _train_parts(
    dataset: Dataset,
    config: SystemConfig,
    run: RunFolder,
    device: str | torch.device | None,
    before: RunDescription | None,
    events: Events,
    train_part: Callable[[SystemConfig, RunFolder], TrainedModel],
    start: DiffusionModel | None,
) -> Any:
    """A run that is its parts alone: described first, so that it can be resumed in any of them."""
    if start is not None:
        raise InputError(f"start: a run of {config.recipe} has parts; train one of them from it")
    if before is None:
        config.check(dataset.spec)
    description = RunDescription.of(config, dataset)
    if before is not None:
        refuse_changes(before, description, events.say)
    group().wait()
    if group().first:
        run.write_config(to_json(description))
        run.write_skipped(dataset.skipped_report())
    config.with_parts(dataset.spec, run, train_part)
    return load(run.path, device=None if device is None else str(device))


def build_trainer(
    description: RunDescription,
    dataset: Dataset,
    run: RunFolder,
    device: str | torch.device | None,
    events: Events,
    start: DiffusionModel | None = None,
) -> tuple[Trainer, Dataset]:
    """The trainer of a run and its training data; ``start``: whose weights it begins from. Raises InputError."""
    config = description.config
    place = pick_device(device)
    kept, held_out = dataset.split(config.data.held_out)
    objective = build_objective(config, description.items, place)
    training_data = config.training_data(kept, run, place, counting_one(events.counting, ENCODING))
    objective.fit(training_data)
    if start is not None:
        rank = config.training.lora_rank
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed % 2**63)
            taken = begin(objective.model, dataset.spec, start, config.training)
        source = start.folder if description.start is None else description.start.source
        events.say(f"starts from {source}, step {start.step}: {taken}")
        if rank is not None:
            added = sum(weight.numel() for weight in additions(objective.model))
            rate = RATE * config.training.learning_rate
            share = added / sum(p.numel() for p in objective.model.parameters() if not p.requires_grad)
            events.say(
                f"adapts them by {added:,} numbers of additions of rank {rank} or less, {share:.1%} of the weights, "
                f"with learning rate {rate:g}"
            )
    objective = objective.to(place)
    config.attach(objective, run, place)

    def write_preview(averaged: nn.Module, step: int) -> None:
        try:
            preview = config.wrap(description, averaged, step, run.path).preview()
        except NonfiniteSamples as error:
            events.say(f"step {step:,}: {error}")
        else:
            if preview is not None:
                trainer.picture(preview)
                events.say(f"step {step:,}: {write_whole(run.sampled(step), preview)}")

    checks = Checks(kept, held_out, events.say, run.checks_file)

    def check(averaged: nn.Module, step: int) -> dict[str, Value]:
        return checks(config.wrap(description, averaged, step, run.path), trainer.resumed)

    trainer = Trainer(
        config.training,
        objective,
        training_data,
        config.seed,
        run.path,
        flip=config.data.flip and training_data is kept,  # latents are there both ways
        identity=description.identity,
        fingerprint=description.data_fingerprint,
        on_progress=events.progress,
        on_sample=write_preview,
        on_message=events.say,
        on_check=check,
    )
    return trainer, kept


def build_objective(config: SystemConfig, items: DataSpec, place: torch.device) -> Objective:
    """What is trained, with its first weights, on the CPU. Raises InputError where it fits not the data, or memory."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed % 2**63)  # weights are initialized on the CPU
        objective = config.build(items)
    if place.type == "cpu":
        require_room(parameters(objective), TRAINED_COPIES)
        require_batch(config.training.batch_size // config.training.accumulation, items.shape)
    return objective


def default_folder(config: SystemConfig) -> Path:
    """runs/RECIPE-DATA."""
    return Path("runs") / short_name(f"{config.recipe}-{Path(config.data.source).resolve().name}")


def parameters(module: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def _started(run: RunFolder, recipe: str | SystemConfig, parts: Iterable[type]) -> str | SystemConfig:
    """The configuration of a run that was started: options that are left out keep their earlier values."""
    if not isinstance(recipe, str) or not run.config_file.exists():
        return recipe
    config = read_run(run, parts).config
    if not recipe.endswith(".json") and recipe != config.recipe:
        raise InputError(f"recipe: the run was started as {config.recipe}, not {recipe}; give that or another folder")
    return config if not recipe.endswith(".json") else read_config_file(Path(recipe), parts)
