"""The training loop, one for every recipe.

An *objective* (`sumi.objectives.objective`) maps a batch to one loss per item. All of its randomness is a function of
(seed, step, position), and so is the order of the data. A run is therefore a function of its configuration and data
alone: stopped anywhere and resumed from a checkpoint it takes the same steps, bit for bit on the same number of
threads, and there is no generator state to save.

    for each step:  loss of the batch, in `accumulation` parts → clip → optimizer → EMA → log, sample, save

Of several processes (`sumi.boundary.group`) each computes its share of every part, and all take the same step with the
sum of their gradients. The first one logs, samples and saves.

A step whose loss or gradient is not finite is skipped: weights, optimizer and EMA stay as they were, and counters, data
and noise go on. It is computed a second time to find the layer (`sumi.training.nonfinite`), and named in the log. In
float16 a gradient that overflows is no such step: it is computed again from a smaller loss (`LossScale`).

Gradients of auxiliary modules are clipped separately from the network's, and their weights do not decay. The logged
norm is that of the network's gradient.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Final, NoReturn, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor, nn

from sumi.boundary.group import group
from sumi.boundary.progress import Progress, duration
from sumi.data.dataset import Dataset
from sumi.errors import InputError, SumiError, shortened
from sumi.networks.low_rank import frozen, without
from sumi.objectives.objective import Objective
from sumi.training.background import BackgroundSaves
from sumi.training.checkpoint import (
    JSON,
    Checkpoint,
    check_tensors,
    checkpoint_step,
    find_checkpoints,
    load_checkpoint,
    load_latest,
    unfit,
)
from sumi.training.compiling import compile_blocks, uncompiled
from sumi.training.config import TrainingConfig
from sumi.training.ema import EMA
from sumi.training.gradients import Gradients
from sumi.training.interruption import Interrupted, StopRequest
from sumi.training.meter import MEASURED, Meter
from sumi.training.metrics_log import MetricsLog, Value
from sumi.training.nonfinite import OF_GRADIENT, watching
from sumi.training.optimizer import build_optimizer, load_optimizer, optimizer_tensors
from sumi.training.power_ema import PowerEMAs
from sumi.training.precision import AUTOCAST, resolve_precision
from sumi.training.run_folder import RunFolder
from sumi.training.saving import remove_later
from sumi.training.sharding import ShardedEMA, hollow_of, shard
from sumi.training.throughput import Throughput
from sumi.training.trackers import Tracker, Untracked, numbers_of

Taken: TypeAlias = tuple[Tensor, Tensor] | None
"""The loss and the norms of a step, or None where it was skipped."""
SHOWN: Final = 5
"""How many samples of a skipped step are named on the terminal; the log names all."""


class Trainer:
    """Trains ``objective`` on ``data`` and keeps ``folder`` (metrics.jsonl, checkpoints/) up to date.

    ``flip``: mirror images left to right, half of the time. ``identity``: what the weights belong to; a checkpoint with
    another identity, of other data (``fingerprint``) or of another seed is refused. ``on_sample(model, step)`` is
    called with the averaged weights every ``sample_every`` steps and at the end; ``on_progress`` about ten times per
    second; ``on_message`` gets a line for each skipped step. ``on_check(model, step)`` measures the averaged weights
    every ``check_every`` steps, but not at the end, and returns what goes into the log.
    """

    def __init__(
        self,
        config: TrainingConfig,
        objective: Objective,
        data: Dataset,
        seed: int,
        folder: Path,
        *,
        flip: bool = False,
        identity: str = "",
        fingerprint: str = "",
        on_progress: Callable[[Progress], None] | None = None,
        on_sample: Callable[[nn.Module, int], None] | None = None,
        on_message: Callable[[str], None] = lambda _: None,
        on_check: Callable[[nn.Module, int], Mapping[str, Value]] | None = None,
    ) -> None:
        self.config, self.objective, self.model = config, objective, objective.model
        self.data, self.seed, self.flip = data, seed, flip
        paths = RunFolder(folder)
        self.checkpoints, self.log = paths.checkpoints, MetricsLog(paths.metrics_file)
        self.snapshots = paths.averages
        self.tracker: Tracker = Untracked()
        self.identity, self.fingerprint = identity, fingerprint
        self.on_progress, self.on_sample = on_progress, on_sample
        self.on_message, self.on_check = on_message, on_check
        self.device, self.group = objective.device, group()
        self._check_share()
        self.sharded = config.shard == "full" and self.group.size > 1
        self.saves = BackgroundSaves(self.group.aside() if self.sharded else None)
        if self.sharded:
            hollow, self.wrapped = hollow_of(self.model), objective
            shard(objective)
            self.ema = ShardedEMA(self.model, hollow)
        else:
            self.wrapped, self.ema = self.group.wrap(objective), EMA(self.model)
        self.compiled = compile_blocks(config, objective)
        self.precision = resolve_precision(config.precision, self.device)
        self.step = self.resumed = self.skipped = self.skipped_in_a_row = 0
        self.frozen = frozen(self.model)
        self.averages = PowerEMAs(self.model, config.ema_lengths)
        self.parts = objective.parameter_groups()
        self.optimizer = build_optimizer(config, self.model, self.parts, self.precision)
        self.gradients = Gradients(
            *(config, objective, self.wrapped, data, seed, self.optimizer, self.parts),
            flip=flip,
            precision=self.precision,
            sharded=self.sharded,
        )

    def resume(self) -> list[str]:
        """Continue from the newest intact checkpoint, if any; metrics.jsonl is cut back to it.

        A saved model (`TrainedModel.save`) has only weights: the weights and their average start from them, with a new
        optimizer. Returns messages for the user, one per line: skipped damaged checkpoints, a new optimizer, and
        changes of the setup after which the run is no longer bit-identical. Raises InputError for a checkpoint of
        another precision or network.
        """
        checkpoint, skipped = load_latest(self.checkpoints, self._check_contents, self._read)
        lines = [f"skipped a damaged checkpoint: {line}" for line in skipped]
        if checkpoint is not None:
            before = checkpoint.state.get("precision", self.precision)
            if before != self.precision:
                raise InputError(
                    f"training.precision: the run was trained in {before}, but would continue in {self.precision}; "
                    f"set training.precision={before}"
                )
            strict = not self.frozen
            self.model.load_state_dict(checkpoint.model, strict=strict)
            self.ema.load(checkpoint.ema, strict=strict)
            self.averages.load(checkpoint.optimizer)
            if checkpoint.optimizer:
                load_optimizer(self.optimizer, self.model, checkpoint.optimizer)
            elif "precision" not in checkpoint.state:
                lines.append("the run has only weights, as a saved model does: the optimizer starts from zero")
            self.step = self.resumed = checkpoint.step
            self.skipped = cast("int", checkpoint.state.get("skipped", 0))
            self.skipped_in_a_row = cast("int", checkpoint.state.get("skipped_in_a_row", 0))
            self.gradients.load(checkpoint.state)
            lines += [
                f"{name} was {checkpoint.state[name]}, is {now}: the run continues, but is not bit-identical"
                for name, now in self._setup().items()
                if checkpoint.state.get(name, now) != now
            ]
        if self.group.first:
            self.log.cut_back(self.step)
            remove_later(self.snapshots, self.step)
        return lines

    def _read(self, path: Path) -> Checkpoint:
        if not self.sharded:
            return load_checkpoint(path)
        from sumi.training.sharded_checkpoint import load_rows

        return load_rows(path, self._checkpoint())

    def _check_contents(self, path: Path, checkpoint: Checkpoint) -> None:
        """Raises InputError for a checkpoint that this training did not save."""
        state = checkpoint.state
        if state.get("identity") != self.identity:
            raise InputError(
                f"{path}: was trained with another schedule, parameterization, network or data than the configuration "
                "has now; restore config.json, or train in a new folder"
            )
        for name, now in self._origin().items():
            if state.get(name, now) != now:
                raise InputError(
                    f"{path}: was trained with another {name} ({state[name]}, and now {now}); restore config.json and "
                    "the data, or train in a new folder"
                )
        if state.get("precision", self.precision) not in ("fp32", *AUTOCAST):
            raise unfit(path / "state.json", f"precision {str(state['precision'])[:40]}")
        for name, tensors in (("model", checkpoint.model), ("ema", checkpoint.ema)):
            check_tensors(path / f"{name}.safetensors", tensors, without(self.model.state_dict(), self.frozen))
        if checkpoint.optimizer:
            file = path / "optimizer.safetensors"
            own = optimizer_tensors(self.optimizer, self.model)
            check_tensors(file, checkpoint.optimizer, {**own, **self.averages.tensors()})
            for name in own:
                tensor = checkpoint.optimizer[name]
                if name.endswith(".step") and not 0 <= float(tensor) <= checkpoint.step:
                    raise unfit(file, f"{name} is not from 0 to {checkpoint.step}")

    def run(self) -> None:
        """Train to the configured number of steps.

        Raises Interrupted after SIGINT or SIGTERM, with the last step saved; SumiError after ``skip_limit`` steps in a
        row without a finite loss and gradient, with the weights before them saved, or if weights are not finite.
        """
        config, meter = self.config, Meter(self.config, len(self.parts), self.device)
        throughput = Throughput(self.device, AUTOCAST.get(self.precision, torch.float32))
        self.objective.train()
        if self.compiled and self.step < config.steps:
            self.on_message("blocks are compiled in the first step, which takes some seconds longer")
        with StopRequest() as stop, torch.random.fork_rng(devices=_generators_of(self.device)), self.saves:
            while self.step < config.steps:
                take = partial(self.take_step, self.step + 1)
                if meter.taken or config.steps - self.step < MEASURED:
                    taken = take()
                else:
                    taken = self._counted(throughput, take)
                self.saves.check()
                self.step += 1
                self.averages.update(self.step)
                meter.add(taken)
                if (each := meter.each(self.step)) is not None:
                    left = config.steps - self.step
                    rest = f"about {duration(left * each)}, without samples on the way"
                    self.on_message(f"{left:,} steps at {each:.3g} s a step: {rest}")
                    if (used := throughput.line(each)) is not None:
                        self.on_message(used)
                if self.skipped_in_a_row >= min(config.skip_limit, config.steps):
                    self._give_up()
                # read once, as a signal may come between any two lines; one that a process gets is for all
                signal_number = self.group.largest(stop.signal_number or 0) or None
                last = signal_number is not None or self.step == config.steps
                if last or self.step % config.log_every == 0:
                    self.note(meter.line(self.step))
                if self.on_progress and meter.due():
                    self.on_progress(meter.progress(self.step))
                if config.ema_lengths and self.step % config.ema_snapshot_every == 0:
                    self._save_snapshot()
                if last or self.step % config.checkpoint_every == 0:
                    # a row of skipped steps must not displace the checkpoints before it
                    self._save(keep=config.keep_checkpoints + self.skipped_in_a_row)
                if last:
                    self.saves.wait()
                if signal_number is not None:
                    raise Interrupted(signal_number, f"stopped after step {self.step}, which is saved; resume it")
                # after the save, so that an error in sampling does not lose the step
                if self.on_check and not last and config.check_every and self.step % config.check_every == 0:
                    self._check()
                sampled = last or (config.sample_every and self.step % config.sample_every == 0)
                if self.on_sample and sampled:
                    with self.ema.whole() as averaged:
                        if self.group.first:
                            self.on_sample(averaged, self.step)

    def _counted(self, throughput: Throughput, take: Callable[[], Taken]) -> Taken:
        """A step whose operations are counted: where blocks are compiled, in a pass of its own before it."""
        if not self.compiled:
            return throughput.counted(take)
        with self._as_written():
            throughput.counted(partial(self.gradients.compute, self.step + 1))
        self.ema.restore_buffers()
        return take()

    def _as_written(self) -> AbstractContextManager[None]:
        """Without compiled blocks, of which nothing can be seen from outside."""
        return uncompiled() if self.compiled else nullcontext()

    def take_step(self, step: int) -> Taken:
        """One optimizer step: the loss and norms of `Gradients`, or None if the step was skipped."""
        loss, norms, _ = self.gradients(step, self.ema.restore_buffers, self.on_message)
        if not all(map(isfinite, torch.cat([loss[None], norms]).tolist())):
            return self._skip(step)
        self.optimizer.step()
        self.ema.update(self.config.ema_decay_at(step))
        self.skipped_in_a_row = 0
        return loss, norms

    def _skip(self, step: int) -> None:
        """Undo a step whose loss or gradient is not finite, and log its samples and the first layer at fault."""
        self.ema.restore_buffers()
        with self._as_written(), watching(self.objective) as own:
            loss, norms, each = self.gradients.compute(step)
        # gradients last: those that processes exchange are not finite in any, and only one has computed the cause
        of_all = [place for of_one in self.group.all_of(lambda: own) for place in of_one]
        places = sorted(of_all, key=lambda place: place.startswith(OF_GRADIENT))
        self.ema.restore_buffers()
        self.optimizer.zero_grad(set_to_none=True)
        self.skipped += 1
        self.skipped_in_a_row += 1
        found = {"the loss": loss, "the norm of the gradient": norms.sum()}
        places += [name for name, value in found.items() if not isfinite(float(value))]
        layer = places[0] if places else None
        items = self.gradients.items(step, np.arange(self.config.batch_size))
        bad = ~torch.cat(each).isfinite().cpu().numpy()
        names = [self.data.keys[item] for item in (items[bad] if bad.any() else items)]
        self.note({"step": step, "event": "skipped", "layer": layer, "items": ", ".join(names)})
        what = f"{layer} is not finite" if layer else "it was not finite once and is now, so test the machine's memory"
        more = f", … ({len(names)} in all)" if len(names) > SHOWN else ""
        self.on_message(f"step {step} is skipped: {what}; its samples: {', '.join(names[:SHOWN])}{more}")

    def _give_up(self) -> NoReturn:
        """Save the weights before a row of skipped steps, if any are worth it, and raise SumiError."""
        count, earlier = self.skipped_in_a_row, self._last_saved()
        what = f"training: the loss or its gradient was not finite in {count} steps in a row, up to step {self.step}"
        if self.skipped == self.step or self._checkpoint().nonfinite():
            where, back = self._where(), ""
        else:
            self.skipped_in_a_row = 0  # resumed, it may skip as many again
            self._save(keep=self.config.keep_checkpoints + count)
            self.saves.wait()
            saved = self.checkpoints / f"{self.step:08d}"
            where = f"step {self.step} is saved"
            to = f"continue from step {earlier}" if earlier else "start afresh"
            back = f"; if that fails, delete {saved} to {to}"
        raise SumiError(
            f"{what}; {where}; resume it with a training.learning_rate below {self.config.learning_rate:g}, or with a "
            f"training.skip_limit above {self.config.skip_limit}{back}"
        )

    def _last_saved(self) -> int | None:
        self.saves.wait()
        found, _ = find_checkpoints(self.checkpoints)
        return max((checkpoint_step(path) for path in found), default=None)

    def _where(self) -> str:
        saved = self._last_saved()
        return f"the last checkpoint is {saved}" if saved else "there is no checkpoint yet"

    def _setup(self) -> dict[str, JSON]:
        """What determines the bits of a run besides the configuration."""
        return {
            "precision": self.precision,
            "threads": torch.get_num_threads(),
            "device": self.device.type,
            "torch": str(torch.__version__),
            "processes": self.group.size,
            "sharded": self.sharded,
            "compiled": self.compiled,
        }

    def _origin(self) -> dict[str, JSON]:
        """What else a run follows from: its seed and its data."""
        return {"seed": self.seed, "data": self.fingerprint}

    def _checkpoint(self) -> Checkpoint:
        counts: dict[str, JSON] = {"skipped": self.skipped, "skipped_in_a_row": self.skipped_in_a_row}
        return Checkpoint(
            step=self.step,
            model=without(self.model.state_dict(), self.frozen),
            ema=without(self.ema.tensors(), self.frozen),
            optimizer={**optimizer_tensors(self.optimizer, self.model), **self.averages.tensors()},
            state={**self._setup(), **counts, **self.gradients.state(), **self._origin(), "identity": self.identity},
        )

    def _check_share(self) -> None:
        """Raises InputError where the processes cannot have equal parts of a batch."""
        items, parts, size = self.config.batch_size, self.config.accumulation, self.group.size
        if size > 1 and self.config.micro_batch == "auto":
            raise InputError("training.micro_batch: auto is for one process; give training.accumulation instead")
        if items % (parts * size):
            of_parts = f" in {parts} parts (training.accumulation)" if parts > 1 else ""
            raise InputError(
                f"training.batch_size: {size} processes cannot share {items} items{of_parts} equally; give a multiple "
                f"of {parts * size}"
            )

    def _check(self) -> None:
        with self.ema.whole() as averaged:
            if self.group.first and self.on_check and (found := self.on_check(averaged, self.step)):
                self.note({"step": self.step, "event": "check", **found})

    def note(self, line: Mapping[str, Value]) -> None:
        """Write a line of the log, once for all processes."""
        if self.group.first:
            self.log.append(line)
            self._show(lambda: self.tracker.track(self.step, numbers_of(line)))

    def picture(self, png: bytes) -> None:
        """Show a grid of samples of this step where the run is tracked."""
        self._show(lambda: self.tracker.picture(self.step, png))

    def _show(self, what: Callable[[], None]) -> None:
        """Tell the tracker; where that fails, such as without a network, the training goes on without it."""
        try:
            what()
        except Exception as error:  # whatever another program raises
            self.tracker = Untracked()
            self.on_message(
                f"training.tracker: {self.config.tracker} has failed ({shortened(error)}); from step {self.step} on "
                f"{self.log.path} alone has the numbers"
            )

    def _save(self, keep: int) -> None:
        """Save a checkpoint, and keep so many. Raises SumiError if a tensor is not finite."""
        self._write(self.checkpoints, self._checkpoint(), keep, self.step == self.config.steps)

    def _save_snapshot(self) -> None:
        """Save the averages of `ema_lengths`, all of which are kept. Raises SumiError if one is not finite."""
        state: dict[str, JSON] = {**self._origin(), "identity": self.identity}
        self._write(
            self.snapshots, Checkpoint(self.step, {}, {}, self.averages.tensors(), state), self.config.steps, True
        )

    def _write(self, folder: Path, checkpoint: Checkpoint, keep: int, for_use: bool) -> None:
        """``for_use``: not only to be resumed from, so that the files are those of one process."""
        if bad := checkpoint.nonfinite():
            raise SumiError(
                f"training: {bad} is not finite after step {self.step}, which is not saved; {self._where()}; resume it "
                f"with a training.learning_rate below {self.config.learning_rate:g}"
            )
        if self.sharded and for_use:
            from sumi.training.sharded_checkpoint import save_whole

            self.saves.wait()
            save_whole(folder, checkpoint, keep)
        elif self.sharded or self.group.first:
            self.saves.save(folder, checkpoint, keep)


def _generators_of(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []
