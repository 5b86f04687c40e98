"""Checkpoints that survive a kill, a full disk and a flipped bit.

    checkpoints/00012000/  model.safetensors  ema.safetensors  optimizer.safetensors  state.json  manifest.json

Where weights are sharded, each process writes its own files in the place of the three (`sumi.training.shard_files`),
and any number of processes can read them.

A checkpoint is a folder named by its step, with an intact manifest and files of the sizes in the manifest. The manifest
holds the sha256 of each file and of itself. No pickle is written or read.

`sumi.training.saving` writes them, so that each name without a dot is either absent or intact, however a save ends. A
name with a dot is not a checkpoint, with one exception: saving the same step again takes two renames, and in between
the former checkpoint is ``.00012000.replaced``. It counts until an intact folder has the plain name.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sumi.boundary.config import parse_json
from sumi.boundary.files import contents
from sumi.boundary.group import group
from sumi.errors import InputError, SumiError
from sumi.training.manifest import STATE, TENSOR_FILES, Manifest, damaged, read_manifest, reading, verify
from sumi.training.sharding import is_sharded, rows

JSON: TypeAlias = "str | int | float | bool | list[JSON] | dict[str, JSON] | None"

_STEP = re.compile(r"\d{8,}", re.ASCII)
UNFINISHED = re.compile(r"\.(\d{8,})\.(saving|replaced|removing)", re.ASCII)
"""The name of what a save is at work on: its step, and what is done with it."""
OLDER_NAMES: Final = (
    (r"^companions\.", "auxiliary."),
    (r"^conditioner\.table\.", "conditioner.labels.table."),
    (r"^conditioner\.(mean|std|perceptron)\b", r"conditioner.values.\1"),
    (r"^conditioner\.noise_embedding\.", "conditioner.small.noise_embedding."),
    (r"^(?!network\.)(.*)\.told\.(weight|bias)", r"\1.other.\2"),  # of a PixelCNN
)
"""Tensor names in older run folders, and their present names."""
AVERAGED: Final = "averaged"
"""The entry of the state that says that the averaged weights are all there are, and in what: float32 or float16."""


@dataclass(frozen=True)
class Checkpoint:
    """What a training run needs to continue, as plain values.

    Attributes:
        step: optimizer steps done, 0 or more.
        model: weights by name, as ``state_dict`` gives them.
        ema: the averaged weights, likewise; may be empty.
        optimizer: the optimizer's tensors and further averages (`sumi.training.power_ema`) by name; may be empty.
        state: anything else, as JSON values with finite numbers.
    """

    step: int
    model: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, JSON]

    def averaged(self, half: bool = False) -> "Checkpoint":
        """Only the averaged weights, which are read as the weights too; ``half``: float32 is written as float16.

        Raises InputError if a weight is too large for float16, or is float16 already.
        """
        ema = {name: t.half() if half and t.dtype == torch.float32 else t for name, t in self.ema.items()}
        if half and any(tensor.dtype == torch.float16 for tensor in self.ema.values()):
            raise InputError("half: the network is in half precision already; leave it out")
        if wrong := not_finite(ema.items()):
            raise InputError(f"half: {wrong} is too large for half precision; leave it out")
        return Checkpoint(self.step, {}, ema, {}, {**self.state, AVERAGED: "float16" if half else "float32"})

    def nonfinite(self) -> str | None:
        """The first tensor with a value that is not finite, such as ``ema.network.conv_in.weight``; None: all are.

        Of sharded tensors all processes ask together, and get the same.
        """
        values = (
            (f"{part}.{name}", value) for part, tensors in self.parts().items() for name, value in tensors.items()
        )
        found = next((name for name, value in values if not rows(value).isfinite().all()), None)
        return next(filter(None, group().all_of(lambda: found)), None) if self.sharded else found

    @property
    def sharded(self) -> bool:
        """Whether each process holds only its rows."""
        return any(map(is_sharded, (tensor for part in self.parts().values() for tensor in part.values())))

    def parts(self) -> dict[str, dict[str, Tensor]]:
        """The tensors of model, ema and optimizer."""
        return {"model": self.model, "ema": self.ema, "optimizer": self.optimizer}


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU, after comparing every byte of it with its manifest.

    Raises:
        InputError: a file is missing or damaged; the message names it.
        SumiError: a file cannot be read.
    """
    manifest = verify_checkpoint(path)
    state = _read_state(path / STATE)
    if manifest.sharded:
        from sumi.training.shard_files import read_whole

        return Checkpoint(manifest.step, **read_whole(path, "model", "ema", "optimizer"), state=state)
    model, ema, optimizer = (_read_tensors(path / name) for name in TENSOR_FILES)
    if AVERAGED in state:
        model = ema = _widened(ema, state)
    return Checkpoint(manifest.step, model, ema, optimizer, state)


def load_weights(path: Path, name: Literal["model", "ema"]) -> dict[str, Tensor]:
    """Read one set of weights onto the CPU, verified, without reading the other.

    Raises:
        InputError: the manifest or the file is missing or damaged; the message names it.
        SumiError: the file cannot be read.
    """
    state, manifest = load_state(path), read_manifest(path)
    if manifest.sharded:
        from sumi.training.shard_files import read_whole

        verify_checkpoint(path)
        return read_whole(path, name)[name]
    file = path / f"{'ema' if AVERAGED in state else name}.safetensors"
    verify(file, manifest.files[file.name])
    return _widened(_read_tensors(file), state)


def load_state(path: Path) -> dict[str, JSON]:
    """Read only the state, verified. Raises InputError if it is missing or damaged, SumiError if it is unreadable."""
    file = path / STATE
    verify(file, read_manifest(path).files[file.name])
    return _read_state(file)


def check_tensors(file: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raises InputError, naming ``file`` and the tensor, unless names, shapes and dtypes are the ``expected``."""
    for name in sorted({*tensors} ^ {*expected}):
        wrong = "is missing" if name in expected else "belongs to another network"
        raise unfit(file, f"{name} {wrong}")
    for name, wanted in expected.items():
        found = tensors[name]
        if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            raise unfit(file, f"{name} is {_form(found)} instead of {_form(wanted)}")


def unfit(file: Path, what: str) -> InputError:
    """The error for an undamaged file with contents that do not belong in it."""
    return InputError(f"{file}: is not what this run saved ({what}); use another checkpoint, or restore it")


def not_finite(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    """The name of the first tensor with a NaN or an infinity, if any."""
    return next((name for name, tensor in tensors if not bool(torch.isfinite(tensor).all())), None)


def verify_checkpoint(path: Path) -> Manifest:
    """The manifest, once every byte is compared with it. Raises InputError, naming the file, if one differs."""
    manifest = read_manifest(path)
    for name, stamp in manifest.files.items():
        verify(path / name, stamp)
    return manifest


def find_checkpoints(folder: Path) -> tuple[list[Path], list[str]]:
    """The complete checkpoints in ``folder``, by step, and a line with the reason for each folder that is not one.

    Complete means an intact manifest, of the step in the folder's name, and files of the right sizes. The contents are
    verified when they are loaded. A folder that does not exist has no checkpoints. While a run is trained, they come
    and go: when one goes while it is looked at, all are looked at again.
    """
    while True:
        found = _find(folder)
        if found is not None:
            return found


def holds_checkpoints(folder: Path) -> bool:
    """Whether there is any checkpoint in ``folder``, be it damaged; what an unfinished save left is none."""
    complete, skipped = find_checkpoints(folder)
    return bool(complete) or any(not line.startswith("skipped .") for line in skipped)


def _find(folder: Path) -> tuple[list[Path], list[str]] | None:
    complete: list[Path] = []
    skipped: list[str] = []
    if not folder.exists():
        return complete, skipped
    with reading(folder):
        entries = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    for entry in entries:
        unfinished = UNFINISHED.fullmatch(entry.name)
        try:
            if unfinished and (unfinished[2] != "replaced" or is_complete(folder / unfinished[1])):
                raise InputError(f"{entry}: belongs to an unfinished save; the next save removes it")
            _inspect(entry)
        except SumiError as error:
            if not entry.exists():
                return None
            skipped.append(f"skipped {entry.name}: {error}")
        else:
            complete.append(entry)
    return sorted(complete, key=checkpoint_step), skipped


def load_latest(
    folder: Path,
    check: Callable[[Path, Checkpoint], None] = lambda *_: None,
    read: Callable[[Path], Checkpoint] = load_checkpoint,
) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that loads, is finite and passes ``check``, or None, and a line for each one skipped.

    Args:
        folder: the ``checkpoints`` folder of a run.
        check: raises InputError for a checkpoint whose contents do not fit.
        read: reads one, as `load_checkpoint` does.

    Raises:
        InputError: there are checkpoints but none loads; restarting silently would lose the run.
    """
    complete, skipped = find_checkpoints(folder)
    for path in reversed(complete):
        try:
            checkpoint = read(path)
            if bad := checkpoint.nonfinite():
                raise InputError(f"{path}: {bad} is not finite; use another checkpoint")
            check(path, checkpoint)
            return checkpoint, skipped
        except SumiError as error:
            skipped.append(f"skipped {path.name}: {error}")
    if complete:
        raise InputError(f"{folder}: none of the {len(complete)} checkpoints can be used; {skipped[-1]}")
    return None, skipped


def checkpoint_step(path: Path) -> int:
    """The step in the name of a checkpoint's folder.

    Raises:
        InputError: the folder's name is not a step.
    """
    unfinished = UNFINISHED.fullmatch(path.name)
    name = unfinished[1] if unfinished else path.name
    if not _STEP.fullmatch(name):
        raise InputError(f"{path}: the name is not a step, such as 00012000; rename it or move it away")
    return int(name)


def _inspect(path: Path) -> None:
    """Raise an InputError with the reason if ``path`` is not a complete checkpoint."""
    step = checkpoint_step(path)
    manifest = read_manifest(path)
    if manifest.step != step:
        raise InputError(f"{path}: holds step {manifest.step}; name it {manifest.step:08d}")
    for name, stamp in manifest.files.items():
        with reading(path / name):
            size = (path / name).stat().st_size
        if size != stamp.size:
            raise damaged(path / name, f"has {size} bytes instead of {stamp.size}")


def is_complete(path: Path) -> bool:
    """Whether there is a complete checkpoint in ``path``."""
    try:
        _inspect(path)
    except InputError:
        return False
    return True


def _read_tensors(file: Path) -> dict[str, Tensor]:
    try:
        with reading(file):
            tensors = load_file(file)
    except (SafetensorError, ValueError, KeyError, AttributeError, OverflowError, MemoryError) as error:
        raise unfit(file, f"no tensors: {' '.join(str(error).split())[:100]}") from error
    for older, newer in OLDER_NAMES:
        tensors = {re.sub(older, newer, name): tensor for name, tensor in tensors.items()}
    return tensors


def _widened(tensors: dict[str, Tensor], state: Mapping[str, JSON]) -> dict[str, Tensor]:
    half = state.get(AVERAGED) == "float16"
    return {name: t.float() if half and t.dtype == torch.float16 else t for name, t in tensors.items()}


def _read_state(file: Path) -> dict[str, JSON]:
    with reading(file):
        text = contents(file)
    match parse_json(text, file, "use another checkpoint, or restore it"):
        case dict() as state:
            return state
    raise unfit(file, "no JSON object")


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {[*tensor.shape]}"
