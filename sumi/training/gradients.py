"""The gradients of a training step, from as many pieces of its batch as the memory makes necessary.

    for each piece:  items, times, noise by position → losses (autocast) → backward;   then unscale → clip

In float16 the loss is multiplied by a scale (`LossScale`), and a gradient that overflows is computed again from half.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import lru_cache, partial
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor, nn

from sumi.boundary.group import group
from sumi.data.batch import batch_of
from sumi.data.dataset import Dataset, Prepares
from sumi.errors import InputError
from sumi.networks.dropout import masks_by_position
from sumi.networks.recompute import recomputed
from sumi.objectives.objective import Objective
from sumi.randomness import Purpose, generator, keyed_order, permutation, windowed_order
from sumi.training.checkpoint import JSON
from sumi.training.config import TrainingConfig
from sumi.training.precision import AUTOCAST, LossScale, Precision
from sumi.training.sharding import average_loose, clip_sharded, rows_of

Computed: TypeAlias = tuple[Tensor, Tensor, list[Tensor]]
"""The mean loss of a batch, the norm of each part's gradient before clipping, and the losses of the batch's items."""


class Gradients:
    """Computes the gradients of ``parts``, the parameters that ``optimizer`` steps, each part clipped by itself.

    ``wrapped``: the objective as the processes share it; ``sharded``: also its weights. Items, flips, times, noise and
    dropout follow from (``seed``, step, position in the batch). ``pieces``: into how many a batch is divided,
    ``training.accumulation`` at first.
    """

    def __init__(
        self,
        config: TrainingConfig,
        objective: Objective,
        wrapped: nn.Module,
        data: Dataset,
        seed: int,
        optimizer: torch.optim.Optimizer,
        parts: Sequence[list[nn.Parameter]],
        *,
        flip: bool,
        precision: Precision,
        sharded: bool = False,
    ) -> None:
        self.config, self.model, self.wrapped, self.device = config, objective.model, wrapped, objective.device
        self.data, self.seed, self.flip, self.group = data, seed, flip, group()
        self.optimizer, self.parts, self.sharded = optimizer, parts, sharded
        self.dtype = AUTOCAST.get(precision)
        self.scale = LossScale() if precision == "fp16" else None
        self.pieces = config.accumulation
        self._shuffled = lru_cache(maxsize=2)(partial(permutation, seed, count=len(data)))

    def __call__(self, step: int, undo: Callable[[], None], say: Callable[[str], None]) -> Computed:
        """`compute`, with more pieces where memory does not suffice, and a smaller scale where float16 does not.

        ``undo``: called before a step is computed again; ``say`` gets a line for each change of the pieces. Raises
        InputError where an item alone does not fit, or a piece without ``training.micro_batch: auto``.
        """
        while True:
            try:
                loss, norms, each = self.compute(step)
            except torch.OutOfMemoryError:
                more = self._more_pieces()
            else:
                if self.scale is None or self.scale.answers(loss, norms):
                    return loss, norms, each
                undo()
                continue
            self.pieces = more
            self.optimizer.zero_grad(set_to_none=True)
            undo()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            say(f"step {step}: {self.config.batch_size // more} items at a time, as more do not fit")

    def compute(self, step: int) -> Computed:
        """The clipped gradients of a step."""
        config, size = self.config, self.group.size
        scale = 1.0 if self.scale is None else self.scale.value
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = config.learning_rate_at(step) * parameters["multiple"]
        # for a user's own network that uses torch's generator; the layers here do not
        torch.manual_seed(int(generator(self.seed, 0, step, Purpose.DROPOUT).integers(2**62)))
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        each: list[Tensor] = []
        pieces = np.split(np.arange(config.batch_size), self.pieces)
        for number, piece in enumerate(pieces, 1):
            positions = piece[self.group.part(len(piece))]
            items = self.items(step, positions)
            batch = batch_of(
                *(self.data, items, positions),
                step=step,
                seed=self.seed,
                flip=self.flip,
                noise=config.noise,
                device=self.device,
            )
            if number == len(pieces):
                self._prepare(step + 1, pieces)
            with self.group.exchange(self.wrapped, number == len(pieces)):
                with (
                    torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None),
                    masks_by_position(self.seed, step, positions.tolist()),
                    recomputed(self.model) if config.recompute else nullcontext(),
                ):
                    losses = self.wrapped(batch)
                loss = losses.sum() / config.batch_size
                (loss * size * scale).backward()  # of which the processes take the mean
            total += loss.detach()
            each.append(self.group.together(losses))
        total = self.group.total(total)
        if self.sharded:
            average_loose([weight for part in self.parts for weight in part])
        if self.scale is not None:
            trained = (weight for part in self.optimizer.param_groups for weight in part["params"])
            torch._foreach_div_(rows_of(weight.grad for weight in trained if weight.grad is not None), scale)
        if self.sharded:
            return total, clip_sharded(self.parts, config.gradient_clip, self.device), each
        clip = partial(nn.utils.clip_grad_norm_, max_norm=config.gradient_clip, foreach=True)
        return total, torch.stack([clip(part) for part in self.parts]), each

    def _prepare(self, step: int, pieces: Sequence[np.ndarray]) -> None:
        """What this process needs for the next step is read while this one is computed, where the data can."""
        match self.data:
            case Prepares() as data:
                own = np.concatenate([piece[self.group.part(len(piece))] for piece in pieces])
                data.prepare(self.items(step, own))
            case _:
                pass

    def items(self, step: int, positions: np.ndarray) -> np.ndarray:
        """The items at these positions of a step's batch, from an endless sequence of epochs, each in its own order."""
        count = len(self.data)
        epochs, places = np.divmod((step - 1) * self.config.batch_size + positions, count)
        found = np.empty(len(positions), np.int64)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            match self.config.order:
                case "shuffled":
                    found[here] = self._shuffled(epoch)[places[here]]
                case "keyed":
                    found[here] = keyed_order(self.seed, epoch, count, places[here])
                case "windowed":
                    found[here] = windowed_order(self.seed, epoch, count, places[here])
        return found

    def state(self) -> dict[str, JSON]:
        """What a checkpoint keeps of it, where it is not as at the beginning of a run."""
        found: dict[str, JSON] = {}
        if self.pieces != self.config.accumulation:
            found["pieces"] = self.pieces
        if self.scale is not None:
            found["loss_scale"] = {"value": self.scale.value, "steps": self.scale.steps}
        return found

    def load(self, state: Mapping[str, JSON]) -> None:
        """Go on as the run of a checkpoint's ``state`` did."""
        if self.config.micro_batch == "auto":
            self.pieces = cast("int", state.get("pieces", self.pieces))
        if self.scale is not None and "loss_scale" in state:
            self.scale = LossScale(**cast("dict[str, Any]", state["loss_scale"]))

    def _more_pieces(self) -> int:
        """Twice as many as now, or the next number that divides the batch: halves of 25 items are fifths.

        Raises InputError where there is an item in each, or where more are made by hand.
        """
        own, size = self.config.batch_size // self.group.size, self.config.batch_size
        what = f"a step of {size // self.pieces} items does not fit in the memory of {self.device}"
        more = next((count for count in range(2 * self.pieces, own + 1) if own % count == 0), None)
        if more is None:
            raise InputError(f"training.batch_size: {what}; give training.recompute=true, or a smaller network")
        if self.config.micro_batch != "auto":
            raise InputError(
                f"training.accumulation: {what}; give training.accumulation={more}, or training.micro_batch=auto"
            )
        return more
