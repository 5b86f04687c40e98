"""Tensors as one safetensors file, streamed: a save needs memory for one extra tensor.

Neither memory format nor shared storage matters: each tensor's values are written row by row. Those of a sharded
tensor come from all processes (`gather`).
Source: https://github.com/huggingface/safetensors#format
"""

import json
from collections.abc import Iterator

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.training.sharding import whole

_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def stream(tensors: dict[str, Tensor], about: dict[str, str] | None = None) -> Iterator[bytes | memoryview]:
    """The safetensors file of ``tensors``, piece by piece: the header's length, the header, each tensor's rows.

    ``about``: texts by name, for the header. Wide dtypes come first, so that every tensor is aligned to its element
    size. Raises InputError for a dtype that the format lacks.
    """
    header: dict[str, dict[str, object]] = {} if about is None else {"__metadata__": {**about}}
    names = _order(tensors)
    start = 0
    for name in names:
        dtype, shape = tensors[name].dtype, [*tensors[name].shape]
        if dtype not in _DTYPES:
            raise InputError(f"{name}: a tensor of {dtype} cannot be saved; convert it to a real dtype first")
        stop = start + tensors[name].numel() * tensors[name].element_size()
        header[name] = {"dtype": _DTYPES[dtype], "shape": shape, "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little")
    yield text
    for name in names:
        rows = whole(tensors[name]).detach().to("cpu").contiguous()
        yield rows.reshape(-1).view(torch.uint8).numpy().data


def gather(tensors: dict[str, Tensor]) -> None:
    """Give this process's rows of sharded ``tensors`` to the one that is at work on their `stream`."""
    for name in _order(tensors):
        whole(tensors[name])


def _order(tensors: dict[str, Tensor]) -> list[str]:
    return sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
