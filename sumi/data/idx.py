"""MNIST's idx files, as they are distributed (gzip or not).

    images   00 00 08 03 | N | height | width | N·height·width bytes        (big-endian 32-bit counts)
    labels   00 00 08 01 | N | N bytes

A folder stands for its ``train`` pair: the ``t10k`` pair is the official test set, read only when its path is given.
"""

import gzip
import math
import re
import struct
import zlib
from io import BufferedIOBase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sumi.data.config import DataConfig
from sumi.data.dataset import Progress
from sumi.data.image_set import ImageDataset, from_images
from sumi.data.memory import require_memory
from sumi.errors import InputError

_IMAGES = re.compile(r"(?P<set>[^.].*)-images[.-]idx3-ubyte(\.gz)?")
_GZIP_MAGIC = b"\x1f\x8b"


def find_idx(source: Path) -> Path | None:
    """The file of images that ``source`` (a folder or a file) stands for; None where it holds none.

    Raises:
        InputError: a folder holds several sets and none is called ``train``.
    """
    if source.is_file():
        return source if _IMAGES.fullmatch(source.name) else None
    found = sorted(path for path in source.iterdir() if _IMAGES.fullmatch(path.name))
    train = [path for path in found if path.name.startswith("train-")]
    if len(train or found) > 1 and len({_set_name(path) for path in train or found}) > 1:
        names = ", ".join(path.name for path in found)
        raise InputError(f"data.source: {source} holds several idx sets ({names}); give the path of one file")
    return (train or found or [None])[0]


def load_idx(path: Path, config: DataConfig, *, progress: Progress | None = None) -> ImageDataset:
    """Read a file of images and, where it lies beside them, its file of labels. Keys are ``train/00012``.

    Raises:
        InputError: a file is damaged or truncated, the two disagree, or memory does not suffice.
    """
    images = _read(path, dimensions=3)
    count = len(images)
    if count < 2:
        raise InputError(f"data.source: {path} holds {count} image(s); at least 2 images are needed")
    labels_path = _labels_file(path)
    notes: tuple[str, ...] = ()
    labels, label_names = None, ()
    if labels_path is None:
        notes = (f"no labels lie beside {path.name}: there are no classes",)
    else:
        labels = _read(labels_path, dimensions=1)
        if len(labels) != count:
            raise InputError(f"{labels_path}: {len(labels)} labels for {count} images in {path.name}; fetch both anew")
        label_names = tuple(str(i) for i in range(int(labels.max()) + 1))
    others = sorted({_set_name(other) for other in path.parent.iterdir() if _IMAGES.fullmatch(other.name)})
    notes += tuple(
        f"{name}-images was left alone: give its path to use it" for name in others if name != _set_name(path)
    )
    keys = tuple(f"{_set_name(path)}/{i:05d}" for i in range(count))
    return from_images(images[:, None], labels, label_names, keys, config, notes=notes, progress=progress)


def _set_name(path: Path) -> str:
    match = _IMAGES.fullmatch(path.name)
    return match["set"] if match else path.name


def _labels_file(path: Path) -> Path | None:
    for separator in "-.":
        for suffix in ("", ".gz"):
            labels = path.with_name(f"{_set_name(path)}-labels{separator}idx1-ubyte{suffix}")
            if labels.is_file():
                return labels
    return None


def _read(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array in one idx file, of the number of dimensions asked for."""
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == _GZIP_MAGIC
            file.seek(0)
            if zipped:
                with gzip.GzipFile(fileobj=file) as stream:
                    return _read_stream(stream, path, dimensions)
            return _read_stream(file, path, dimensions)
    except EOFError as error:
        raise InputError(f"{path}: is truncated (its gzip stream ends early); fetch it anew") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: is damaged ({error}); fetch it anew") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); mend its permissions") from error


def _read_stream(stream: BufferedIOBase, path: Path, dimensions: int) -> NDArray[np.uint8]:
    header = stream.read(4 + 4 * dimensions)
    magic = bytes((0, 0, 8, dimensions))
    if not header.startswith(magic):
        raise InputError(f"{path}: begins with {header[:4].hex(' ')} where idx has {magic.hex(' ')}; fetch it anew")
    if len(header) < 4 + 4 * dimensions:
        raise InputError(f"{path}: is truncated (it ends within its header); fetch it anew")
    shape = struct.unpack(f">{dimensions}I", header[4:])
    require_memory(shape[0], shape[1:], str(path))
    expected = math.prod(shape)
    body = bytearray()  # grows with the file: a damaged header may announce more than could be set aside
    while len(body) <= expected and (chunk := stream.read(1 << 24)):
        body += chunk
    if len(body) != expected:
        found = f"{len(body)} bytes" if len(body) < expected else "more"
        raise InputError(f"{path}: its header announces {expected} bytes and {found} follow; fetch it anew")
    if expected == 0:
        raise InputError(f"{path}: is empty (its header announces {'x'.join(map(str, shape))}); fetch it anew")
    return np.frombuffer(body, np.uint8).reshape(shape)
