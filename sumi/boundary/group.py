"""The processes that train one model together, each on its own part of every batch.

`torchrun` starts them and says by the environment who they are; they meet by `torch.distributed`. Every process holds
the whole model and computes the gradient of its part, and the sum of all parts reaches every process, so that all take
the same step. Noise, times, dropout and the order of the data follow from (seed, step, position in the batch), so they
are the same whatever the number of processes. One process is a group of one, in which nothing here does anything.

Each process says twice a second that it lives. Where another has ended or stands still, the others end too, and name
it: an engine that waits for a lost process waits for ever.
"""

import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from inspect import signature
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from sumi.errors import InputError, SumiError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.distributed import ProcessGroup, Store

T = TypeVar("T")

BEAT: Final = 0.5
"""Seconds between two signs of life."""
SILENCE: Final = 16
"""Looks at the others, one a beat, without a new sign of life, after which a process counts as lost. They are counted,
not timed: where all were suspended together, nobody is."""


MEETING: Final = timedelta(minutes=30)
"""How long a process waits at the meeting for one that was started with it."""
PATIENCE: Final = timedelta(days=7)
"""How long it waits in an exchange: the first process alone may encode a large set for hours. One that is lost is
missed by its silence, long before."""
LEFT: Final = "left"
_MEETINGS: Final = count(1)
"""Processes may meet more than once in their lives, and what they said of themselves stays in the store."""


@dataclass(frozen=True)
class Group:
    """The process of number ``rank`` among ``size``. ``channel``: by which they exchange; None: that of all else."""

    rank: int = 0
    size: int = 1
    channel: "ProcessGroup | None" = field(default=None, compare=False, repr=False)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes the run folder and speaks."""
        return self.rank == 0

    def aside(self) -> "Group":
        """The same processes with a channel of their own, so that a thread of each can exchange while training does.

        All processes ask together.
        """
        if self.size == 1:
            return self
        import torch.distributed as dist

        return replace(self, channel=dist.new_group(backend="gloo", timeout=PATIENCE))

    def part(self, positions: int) -> slice:
        """Its own of so many ``positions``, which ``size`` divides."""
        share = positions // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def wrap(self, module: "nn.Module") -> "nn.Module":
        """``module``, which hands the mean gradient of all processes to each, in going back; itself in a group of one.

        The first process's weights become those of all.
        """
        if self.size == 1 or not any(parameter.requires_grad for parameter in module.parameters()):
            return module
        from torch.nn.parallel import DistributedDataParallel

        known = signature(DistributedDataParallel.__init__).parameters
        name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # until torch 2.12
        settings: dict[str, Any] = {name: False}  # every process computes its own
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")  # of channels_last
        return DistributedDataParallel(module, find_unused_parameters=True, **settings)

    def exchange(self, module: "nn.Module", now: bool) -> AbstractContextManager[None]:
        """Around going forth and back through `wrap`'s module: the gradients are exchanged ``now``, or later."""
        from torch.nn.parallel import DistributedDataParallel

        match module:
            case DistributedDataParallel() if not now:
                return module.no_sync()
        return nullcontext()

    def total(self, x: "Tensor") -> "Tensor":
        """The sum of all processes' ``x``, of one shape; the same bits in each. It carries no gradient."""
        if self.size == 1:
            return x
        import torch.distributed as dist

        x = x.detach().clone()
        dist.all_reduce(x, group=self.channel)
        return x

    def together(self, x: "Tensor") -> "Tensor":
        """The rows of all processes, (size n, …) of (n, …), in order of rank. It carries no gradient."""
        if self.size == 1:
            return x
        import torch
        import torch.distributed as dist

        rows = [torch.empty_like(x) for _ in range(self.size)]
        dist.all_gather(rows, x.detach().contiguous(), group=self.channel)
        return torch.cat(rows)

    def shared(self, make: "Callable[[range], Tensor]", whole: range, batch: int) -> "Tensor":
        """``make(whole)``: rows (n, …) on the CPU, of which each process makes every ``size``-th ``batch``, for all.

        Batches are those of one process that makes ``batch`` at a time, so the bits are the same.
        """
        if self.size == 1:
            return make(whole)
        import torch
        import torch.distributed as dist

        batches = [whole[first : first + batch] for first in range(0, len(whole), batch)]
        made: list[dict[int, Tensor]] = [{} for _ in range(self.size)]
        own = {part.start: make(part) for part in batches[self.rank :: self.size]}
        dist.all_gather_object(made, own, self.channel)
        rows = {first: part for one in made for first, part in one.items()}
        return torch.cat([rows[part.start] for part in batches])

    def all_of(self, work: "Callable[[], T]") -> "list[T]":
        """What ``work`` gives in each process, by rank. Where it raises a SumiError in any, it does so in all."""
        if self.size == 1:
            return [work()]
        import torch.distributed as dist

        own: tuple[T | None, SumiError | None] = None, None
        try:
            own = work(), None
        except SumiError as error:
            own = None, type(error)(str(error))
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, own, self.channel)
        for _, error in found:
            if error is not None:
                raise error
        return [value for value, _ in found]

    def largest(self, value: int) -> int:
        """The largest value that a process gives."""
        if self.size == 1:
            return value
        import torch
        import torch.distributed as dist

        found = torch.tensor(value)
        dist.all_reduce(found, op=dist.ReduceOp.MAX, group=self.channel)
        return int(found)

    def wait(self) -> None:
        """Until every process is here."""
        self.largest(0)

    @contextmanager
    def in_turn(self) -> Generator[None]:
        """The first process runs the block before the others do, which then find what it has written."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()


_ALONE: Final = Group()
_GROUP: ContextVar[Group] = ContextVar("group", default=_ALONE)


def group() -> Group:
    """The group that this process is in; of one, outside of `joined`."""
    return _GROUP.get()


@contextmanager
def entered(chosen: Group) -> Generator[None]:
    """`group` is ``chosen`` until the block ends, in this thread."""
    token = _GROUP.set(chosen)
    try:
        yield
    finally:
        _GROUP.reset(token)


def first_process() -> bool:
    """Whether a launcher's environment makes this the first of its processes; True without a launcher."""
    return _size() == 1 or os.environ.get("RANK", "0") == "0"


def own_shard() -> tuple[int, int]:
    """(k, K): this is the k-th, from 1, of the K processes that a launcher has started; (1, 1) without one."""
    return _number("RANK", 0) + 1, _size()


def restarted() -> bool:
    """Whether `torchrun` started the processes again after one was lost."""
    return _size() > 1 and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


def local_rank() -> int:
    """The number of this process on its machine, which is that of its GPU."""
    return _number("LOCAL_RANK", 0)


@contextmanager
def joined(trains: bool = False) -> Generator[Group]:
    """Join the processes that a launcher has started, if there are several, until the block ends.

    ``trains``: whether what is lost with one of them is a training, which can be resumed. Raises InputError for an
    environment that does not say who they are, SumiError where one of them is lost.
    """
    import torch.distributed as dist

    given = dist.is_available() and dist.is_initialized()
    if group() is not _ALONE or not (given or _size() > 1):
        yield group()
        return
    watch = None if given else _Watch(*_meet(), trains)
    rank, size = dist.get_rank(), dist.get_world_size()
    token = _GROUP.set(Group(rank, size))
    try:
        yield group()
    except SumiError as error:
        if watch is not None:
            error.repeated = watch.is_of_first(str(error))
        raise
    except RuntimeError:  # such as that of an exchange with a process that is gone
        lost: list[int] = [] if watch is None else watch.lost()
        if not lost:
            raise
        raise SumiError(_sentence(lost, size, trains)) from None
    finally:
        _GROUP.reset(token)
        if watch is not None:
            watch.leave()
            dist.destroy_process_group()


def _meet() -> "tuple[Store, int, int]":
    import torch
    import torch.distributed as dist

    size, rank = _size(), _number("RANK", -1)
    if not 0 <= rank < size:
        raise InputError(f"RANK: {rank} is none of {size} processes (WORLD_SIZE); start them with torchrun")
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        store = dist.PrefixStore(f"sumi/{next(_MEETINGS)}", _store())
        store.set(f"here/{rank}", "")
        store.wait([f"here/{other}" for other in range(size)], MEETING)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    except (ValueError, RuntimeError) as error:
        line = str(error).splitlines()[0]
        raise SumiError(f"the {size} processes cannot meet ({line}); start them with torchrun") from None
    return store, rank, size


@cache
def _store() -> "Store":
    import torch.distributed as dist

    return next(iter(dist.rendezvous("env://", timeout=timedelta(minutes=5))))[0]


class _Watch:
    """Says that this process lives, and ends it where another is silent for `SILENCE` looks."""

    def __init__(self, store: "Store", rank: int, size: int, trains: bool) -> None:
        self.store, self.rank, self.size, self.trains = store, rank, size, trains
        self.over = threading.Event()
        self.looks = 0
        self.seen = dict.fromkeys(range(size), ("", 0))
        self._set(f"alive/{rank}", "0")
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def leave(self) -> None:
        """Say that this process has left, so that nobody misses it."""
        self.over.set()
        self.thread.join()
        self._set(f"alive/{self.rank}", LEFT)
        others = [rank for rank in range(self.size) if rank != self.rank] if self.rank == 0 else []
        for _ in range(4):  # without a launcher the first process keeps the store, which the others need to the end
            if all(self._get(f"alive/{rank}") == LEFT for rank in others):
                break
            time.sleep(BEAT)

    def is_of_first(self, line: str) -> bool:
        """Whether the first process, another than this, ends with the same ``line``."""
        if self.rank == 0:
            self._set("error", line)
            return False
        for _ in range(6):
            if self._get("error") == line:
                return True
            self.over.wait(BEAT)
        return False

    def lost(self) -> list[int]:
        """The other processes that have left or are silent, after a wait in which those that live speak."""
        start = self.looks + 1
        while self.looks < start + 3:
            self.over.wait(BEAT)
        others = {rank: seen for rank, seen in self.seen.items() if rank != self.rank}
        return [rank for rank, (value, look) in others.items() if value == LEFT or look <= start]

    def _run(self) -> None:
        while not self.over.wait(BEAT):
            self.looks += 1
            self._set(f"alive/{self.rank}", str(self.looks))
            for rank, (before, look) in self.seen.items():
                value = self._get(f"alive/{rank}")
                if value != before:
                    self.seen[rank] = value, self.looks
                elif value != LEFT and self.looks - look > SILENCE and rank != self.rank:
                    _end(_sentence([rank], self.size, self.trains))

    def _set(self, key: str, value: str) -> None:
        with _launcher_there(self.trains):
            self.store.set(key, value)

    def _get(self, key: str) -> str:
        with _launcher_there(self.trains):
            return self.store.get(key).decode() if self.store.check([key]) else ""


@contextmanager
def _launcher_there(trains: bool) -> Generator[None]:
    """It keeps the store; where it has ended, the processes can find each other no longer."""
    try:
        yield
    except RuntimeError:
        what, how = ("training: ", " with --resume") if trains else ("", "")
        _end(f"{what}the launcher of the processes, or process 0, has ended; start all again{how}")


def _end(line: str) -> NoReturn:
    """End this process: its main thread may wait in an exchange, which no signal ends."""
    print(f"sumi: {line}", file=sys.stderr, flush=True)
    os._exit(1)


def _sentence(lost: list[int], size: int, trains: bool) -> str:
    which, have = " and ".join(map(str, lost)), "has" if len(lost) == 1 else "have"
    found = f"of processes 0 to {size - 1}, {which} {have} ended, or no longer answers"
    if not trains:
        return f"{found}; start all again"
    return f"training: {found}; the last checkpoint is kept: start all again with --resume"


def _size() -> int:
    return _number("WORLD_SIZE", 1)


def _number(name: str, default: int) -> int:
    given = os.environ.get(name, "")
    if not given:
        return default
    if not given.isdecimal():
        raise InputError(f"{name}: {given} is no number of a process; start them with torchrun")
    return int(given)
