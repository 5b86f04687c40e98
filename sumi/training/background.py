"""Saving while the training goes on: a step waits for a copy of what is saved, and one thread writes the copy.

    wait for the save before this → copy the tensors → go on;      the thread: `sumi.training.saving.save_checkpoint`

What is written, and in which order, is the same as without the thread, so a kill loses what it would have lost then:
the save that it interrupts. An error of the thread is raised in the training, at its next step or save. Where memory
does not hold the copy, the step waits for the whole save.

Of weights that processes share each one's thread writes its rows, and the threads exchange by a channel of their own.
An error is then raised at the next save, by all processes in the same step.
"""

import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Final

from torch import Tensor

from sumi.boundary.group import Group, entered, group
from sumi.data.memory import available_memory
from sumi.training.checkpoint import Checkpoint
from sumi.training.saving import save_checkpoint

MARGIN: Final = 2
"""How many times the copy's memory must be available."""


class BackgroundSaves:
    """Saves checkpoints, those of one step at a time; a context that ends when all is written.

    ``among``: the processes that save together, each its rows, by a channel of their own (`Group.aside`); None: this
    process saves all. ``waited``: seconds that its caller has waited so far.
    """

    def __init__(self, among: Group | None = None) -> None:
        self.among, self.waited = among, 0.0
        self._thread = ThreadPoolExecutor(1, "saving")
        self._pending: list[Future[None]] = []
        self._step = 0  # that they are of

    def save(self, folder: Path, checkpoint: Checkpoint, keep: int) -> None:
        """As `save_checkpoint`, of the tensors as they are now; called by all that save together. Raises as `wait`."""
        if checkpoint.step != self._step:
            self.wait()
        begun, self._step = time.perf_counter(), checkpoint.step
        fits = _fits(checkpoint)
        if self.among is not None:  # all in the background, or none
            fits = not group().largest(not fits)
        if fits:
            self._pending.append(self._thread.submit(self._write, folder, snapshot(checkpoint), keep))
        else:
            self._write(folder, checkpoint, keep)
        self.waited += time.perf_counter() - begun

    def _write(self, folder: Path, checkpoint: Checkpoint, keep: int) -> None:
        if self.among is None:
            save_checkpoint(folder, checkpoint, keep)
            return
        from sumi.training.sharded_checkpoint import save_shards

        with entered(self.among):
            save_shards(folder, checkpoint, keep)

    def check(self) -> None:
        """Without waiting. Raises what a save of this process alone raised, once all have ended."""
        if self.among is None and self._pending and all(save.done() for save in self._pending):
            self.wait()

    def wait(self) -> None:
        """Until all is written. Raises what a save raised, once."""
        begun = time.perf_counter()
        wait(self._pending)
        ended = self._pending.copy()
        self._pending.clear()
        self.waited += time.perf_counter() - begun
        for save in ended:
            save.result()

    def __enter__(self) -> "BackgroundSaves":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.wait()
        except Exception:
            if error is None:  # else it is the first one that counts
                raise


def snapshot(checkpoint: Checkpoint) -> Checkpoint:
    """A copy on the CPU, which later steps do not change."""
    model, ema, optimizer = map(_copied, (checkpoint.model, checkpoint.ema, checkpoint.optimizer))
    return Checkpoint(checkpoint.step, model, ema, optimizer, checkpoint.state)


def _copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def _fits(checkpoint: Checkpoint) -> bool:
    parts = (checkpoint.model, checkpoint.ema, checkpoint.optimizer)
    size, available = sum(tensor.nbytes for part in parts for tensor in part.values()), available_memory()
    return available is None or MARGIN * size < available
