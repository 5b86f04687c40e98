"""Sharded tensors as files: each process writes and reads its rows (`torch.distributed.checkpoint`).

Files are safetensors, with the place of their rows in the header, so any number of processes can read them, or one all:

    shard-00002-model-00001-of-00003.safetensors        process 1: 1 the weights, 2 their averages, 3 the optimizer

A tensor that is not sharded is the same in all processes, and one of them writes it.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
import torch.distributed.checkpoint as dcp
from safetensors import safe_open
from torch import Tensor
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from sumi.boundary.group import group
from sumi.errors import SumiError
from sumi.training.manifest import REMEDIES, Stamp, stamp_of
from sumi.training.sharding import rows

PARTS: Final = ("model", "ema", "optimizer")
Tensors = Mapping[str, Mapping[str, Tensor]]
"""By part, and then by name."""


def write_shards(folder: Path, tensors: Tensors) -> dict[str, Stamp]:
    """Write this process's rows into new files in ``folder``, all processes together; the files' stamps, by name.

    What is read back from the disk is compared with the memory, bit for bit. Raises SumiError.
    """
    flat = _apart(_flat(tensors))
    numbers = {name: 1 + PARTS.index(name.partition(".")[0]) for name in flat}
    writer = dcp.HuggingFaceStorageWriter(str(folder), fqn_to_index_mapping=numbers, save_distributed=True)
    try:
        dcp.save(flat, storage_writer=writer, process_group=group().channel)
    except dcp.CheckpointException as error:
        raise _failure(folder, error) from error
    found: dict[str, Stamp] = {}
    for file in sorted(folder.glob(f"shard-{group().rank + 1:05d}-*.safetensors")):
        found[file.name] = stamp_of(file)
        with safe_open(file, framework="pt") as written:
            for name in written.keys():  # noqa: SIM118  # it is no mapping
                if not _same(written.get_tensor(name), rows(flat[name]).cpu()):
                    raise SumiError(f"{file}: {name} is not what was written; test the disk (older ones are kept)")
    return found


def _apart(flat: dict[str, Tensor]) -> dict[str, Tensor]:
    """``flat`` with copies of those tensors that share memory with one before, which safetensors does not write."""
    known, found = set[int](), dict[str, Tensor]()
    for name, tensor in flat.items():
        place = rows(tensor).untyped_storage().data_ptr()
        found[name] = tensor.clone() if place in known else tensor
        known.add(place)
    return found


def _same(a: Tensor, b: Tensor) -> bool:
    a, b = (x.contiguous().reshape(-1).view(torch.uint8) for x in (a, b))
    return torch.equal(a, b)


def _failure(folder: Path, error: dcp.CheckpointException) -> SumiError:
    rank, (cause, _) = next(iter(error.failures.items()))
    remedy = REMEDIES.get(getattr(cause, "errno", 0) or 0, "check the disk")
    why = " ".join(str(cause).split())[:100]
    return SumiError(f"{folder}: process {rank} cannot write: {why}; {remedy} and resume (older checkpoints are kept)")


def shapes_in(folder: Path) -> dict[str, dict[str, Tensor]]:
    """Tensors of the shapes and dtypes in ``folder``, without values, by part and name."""
    return _parted(
        {
            name: torch.empty(about.size, dtype=about.properties.dtype, device="meta")
            for name, about in dcp.HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata.items()
            if isinstance(about, TensorStorageMetadata)
        }
    )


def read_rows(folder: Path, tensors: Tensors) -> None:
    """Fill sharded ``tensors``, of the shapes in ``folder``, all processes together: each reads its rows."""
    dcp.load(_flat(tensors), storage_reader=dcp.HuggingFaceStorageReader(str(folder)))


def read_whole(folder: Path, *names: str) -> dict[str, dict[str, Tensor]]:
    """All rows of these parts, in one process, on the CPU."""
    shapes = shapes_in(folder)
    found = {name: {key: torch.empty_like(t, device="cpu") for key, t in shapes[name].items()} for name in names}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        dcp.load(_flat(found), storage_reader=dcp.HuggingFaceStorageReader(str(folder)), no_dist=True)
    return found


def _flat(tensors: Tensors) -> dict[str, Tensor]:
    return {f"{name}.{key}": tensor.detach() for name, own in tensors.items() for key, tensor in own.items()}


def _parted(flat: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    found: dict[str, dict[str, Tensor]] = {name: {} for name in PARTS}
    for name, tensor in flat.items():
        of, _, key = name.partition(".")
        found[of][key] = tensor
    return found
