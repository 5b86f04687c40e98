"""Checkpoints whose manifest is right and whose contents are not what a training saves."""

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sumi.training.manifest import FILES, MANIFEST, Manifest, Stamp

Tensors = dict[str, Tensor]


def _first(change: Callable[[Tensor], Tensor]) -> Callable[[Tensors], Tensors]:
    """The change of the first tensor with axes."""
    return lambda tensors: {**tensors, (k := next(k for k, v in sorted(tensors.items()) if v.ndim)): change(tensors[k])}


def _without(tensors: Tensors) -> Tensors:
    return {k: tensors[k] for k in sorted(tensors)[1:]}


def _header(text: str, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text.encode()


TENSORS: Final[dict[str, Callable[[Tensors], Tensors]]] = {
    "missing": _without,
    "extra": lambda tensors: {**tensors, "extra": torch.zeros(3)},
    "none": lambda _: {"other": torch.zeros(1)},
    "renamed": lambda tensors: {f"module.{k}": v for k, v in tensors.items()},
    "shape": _first(lambda v: torch.zeros(*v.shape, 2)),
    "scalar": _first(lambda _: torch.zeros(())),
    "float16": _first(lambda v: v.half()),
    "float64": _first(lambda v: v.double()),
    "integers": _first(lambda v: v.long()),
    "nan": _first(lambda v: torch.full_like(v, float("nan"))),
    "infinite": _first(lambda v: torch.full_like(v, float("inf"))),
}
BYTES: Final = {
    "empty": b"",
    "short": b"\0\0\0",
    "huge header": _header("{}", 2**60),
    "no JSON": _header("{{{{{{{{"),
    "deep": _header("[" * 100_000),
    "pickle": b"\x80\x02}q\x00.",
    "unknown dtype": _header('{"a":{"dtype":"F7","shape":[1],"data_offsets":[0,1]}}') + b"0",
    "outside": _header('{"a":{"dtype":"F32","shape":[1000],"data_offsets":[0,4000]}}') + b"0000",
    "negative": _header('{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}') + b"0000",
}
STATES: Final = {
    "no state": b"",
    "list": b"[]",
    "deep state": b"[" * 100_000,
    "digits": b'{"seed": ' + b"9" * 5000 + b"}",
    "nothing": b"{}",
    "identity of another": b'{"identity": "0000"}',
    "no text": b"\xff\xfe\xff",
}


def hostile_checkpoints(checkpoint: Path) -> dict[str, Callable[[], None]]:
    """By name, functions that put such contents into a checkpoint; each is for a fresh copy of it."""

    def written(file: str, contents: bytes) -> None:
        (checkpoint / file).write_bytes(contents)
        stamps = {
            name: Stamp(len(raw), hashlib.sha256(raw).hexdigest())
            for name, raw in ((name, (checkpoint / name).read_bytes()) for name in FILES)
        }
        (checkpoint / MANIFEST).write_bytes(Manifest(int(checkpoint.name), stamps).render())

    def tensors(file: str, change: Callable[[Tensors], Tensors]) -> None:
        path = checkpoint / file
        save_file({k: v.contiguous() for k, v in change(load_file(path)).items()}, path)
        written(file, path.read_bytes())

    def later_step(found: Tensors) -> Tensors:
        return {k: v + 1000 if k.endswith(".step") else v for k, v in found.items()}

    def state(**changes: object) -> None:
        file = checkpoint / "state.json"
        written(file.name, json.dumps(json.loads(file.read_bytes()) | changes).encode())

    found: dict[str, Callable[[], None]] = {}
    for part in ("model", "ema", "optimizer"):
        file = f"{part}.safetensors"
        found |= {f"{part}, {name}": lambda c=c, file=file: tensors(file, c) for name, c in TENSORS.items()}
        found |= {f"{part}, {name}": lambda c=c, file=file: written(file, c) for name, c in BYTES.items()}
    found |= {f"state, {name}": lambda c=c: written("state.json", c) for name, c in STATES.items()}
    found["optimizer, later step"] = lambda: tensors("optimizer.safetensors", later_step)
    found["state, another seed"] = lambda: state(seed=1)
    found["state, other data"] = lambda: state(data="0000")
    found["state, precision"] = lambda: state(precision=[8])
    return found
