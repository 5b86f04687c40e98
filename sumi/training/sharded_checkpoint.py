"""Checkpoints of a training whose weights are shared out among processes (`sumi.training.sharding`).

On the way each process saves its rows; at the end of the training, and for averages that are kept, the first one writes
what one process would. Either can be continued by any number of processes, sharded or not. All functions are called by
all processes together, and what one of them raises, all raise.
"""

from contextlib import ExitStack
from pathlib import Path

import torch

from sumi.boundary.group import group
from sumi.training.checkpoint import Checkpoint, check_tensors, load_checkpoint, load_state
from sumi.training.manifest import MANIFEST, STATE, Manifest, read_manifest, verify
from sumi.training.saving import placing, save_checkpoint, state_text, sync_folder, write_new
from sumi.training.shard_files import read_rows, shapes_in, write_shards
from sumi.training.sharding import all_placed
from sumi.training.tensor_file import gather


def save_whole(folder: Path, checkpoint: Checkpoint, keep: int) -> None:
    """As `save_checkpoint`, of sharded tensors, all processes together: the first one writes what all give it.

    No process ever holds more than one whole tensor.
    """
    if group().first:
        save_checkpoint(folder, checkpoint, keep)
    else:
        for tensors in checkpoint.parts().values():
            gather(tensors)
    group().wait()


def save_shards(folder: Path, checkpoint: Checkpoint, keep: int) -> None:
    """As `save_checkpoint`, of sharded tensors, all processes together: each writes its rows, in files of its own."""
    state, saving = state_text(checkpoint.state), folder / f".{checkpoint.step:08d}.saving"
    with ExitStack() as stack:

        def begin() -> None:
            if group().first:
                stack.enter_context(placing(folder, checkpoint.step, keep))

        def end() -> None:
            if group().first:
                stamps[STATE] = write_new(saving / STATE, [state])
                write_new(saving / MANIFEST, [Manifest(checkpoint.step, stamps).render()])
                sync_folder(saving)
                stack.close()

        group().all_of(begin)
        written = group().all_of(lambda: write_shards(saving, checkpoint.parts()))
        stamps = {name: own[name] for own in written for name in sorted(own)}
        group().all_of(end)


def load_rows(path: Path, like: Checkpoint) -> Checkpoint:
    """As `load_checkpoint`, all processes together, with tensors that are sharded as those of ``like``.

    Of shards each process reads its rows, and verifies its share of the files; a checkpoint in the form of one process
    each reads whole. Raises InputError for a damaged file, and for shards of other tensors than ``like`` has.
    """
    manifest, size = read_manifest(path), group().size
    if not manifest.sharded:
        found = load_checkpoint(path)
        own = {name: all_placed(found.parts()[name], part) for name, part in like.parts().items()}
        return Checkpoint(found.step, **own, state=found.state)
    own = [*manifest.files.items()][group().rank :: size]
    group().all_of(lambda: [verify(path / name, stamp) for name, stamp in own])
    for name, shapes in shapes_in(path).items():
        check_tensors(path, shapes, like.parts()[name])
    found = {name: {key: torch.zeros_like(t) for key, t in part.items()} for name, part in like.parts().items()}
    read_rows(path, found)
    return Checkpoint(manifest.step, **found, state=load_state(path))
