"""Writing checkpoints so that a kill, a full disk or a faulty one loses none; `sumi.training.checkpoint` reads them.

1. the files are written into ``.00012000.saving``, hashed as they leave memory and fsynced; then the manifest, then
   the folder;
2. everything is read back from the disk and compared with those hashes;
3. one rename gives the folder its name, and the parent is fsynced;
4. only then are older checkpoints removed: first renamed to ``.00010000.removing``, so that none is ever partial.

However a save ends, each name without a dot is either absent or intact. A name with a dot is not a checkpoint, with one
exception: a rename cannot replace a folder that is not empty, so saving the same step again takes two renames, and in
between the former checkpoint is ``.00012000.replaced``. It counts until an intact folder has the plain name.

Tensors are streamed one at a time, row by row, in the safetensors format, so a save needs memory for one extra tensor,
and neither memory format nor shared storage matters.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import safe_open

from sumi.errors import InputError, SumiError
from sumi.training.checkpoint import (
    JSON,
    UNFINISHED,
    Checkpoint,
    checkpoint_step,
    find_checkpoints,
    is_complete,
    verify_checkpoint,
)
from sumi.training.manifest import MANIFEST, REMEDIES, STATE, TENSOR_FILES, Manifest, Stamp
from sumi.training.tensor_file import stream


def save_checkpoint(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Write ``folder/00012000``, verify it, and only then remove older checkpoints beyond the ``keep`` newest.

    Checkpoints of a later step are left alone and not counted: after a return to an earlier step they may be the
    unreadable ones. Leftovers of an interrupted save are cleared first. Only one process at a time may save into a
    folder; any number may read.

    Args:
        folder: the ``checkpoints`` folder of a run; created if needed.
        checkpoint: tensors on any device, in any memory format; shared storage is written once for each name.
        keep: the number of checkpoints to keep, including this one, at least 1.

    Returns:
        The new checkpoint's folder.

    Raises:
        InputError: ``keep``, the step, a dtype or a value of ``state`` cannot be saved.
        SumiError: writing failed, or the data read back differ from those written. No older checkpoint is lost.
    """
    state = state_text(checkpoint.state)
    with placing(folder, checkpoint.step, keep) as saving:
        _write_files(saving, checkpoint, state)
        _read_back(saving)
    return folder / f"{checkpoint.step:08d}"


@contextmanager
def placing(folder: Path, step: int, keep: int) -> Generator[Path]:
    """A new folder for the files of a new checkpoint of ``step``, which has its name once the context ends well."""
    if keep < 1:
        raise InputError(f"keep: {keep} checkpoints cannot be kept; give 1 or more")
    if step < 0:
        raise InputError(f"step: {step} is negative; count steps from 0")
    final = folder / f"{step:08d}"
    with _writing(folder):
        if not folder.is_dir():
            folder.mkdir(parents=True)
            sync_folder(folder.parent)
        try:
            _settle(folder)
            saving = folder / f".{final.name}.saving"
            saving.mkdir()
            yield saving
            _put_in_place(saving, final)
            older = [path for path in find_checkpoints(folder)[0] if checkpoint_step(path) < step]
            for path in older[: max(0, len(older) - (keep - 1))]:
                _remove(path)
        except Exception:
            with suppress(OSError, SumiError):
                _settle(folder)
            raise


def remove_later(folder: Path, step: int) -> None:
    """Remove the checkpoints in ``folder`` of a later step, which a run that returns to ``step`` makes again."""
    with _writing(folder):
        for path in find_checkpoints(folder)[0]:
            if checkpoint_step(path) > step:
                _remove(path)


def _write_files(folder: Path, checkpoint: Checkpoint, state: bytes) -> None:
    tensors = (checkpoint.model, checkpoint.ema, checkpoint.optimizer)
    stamps = {name: write_new(folder / name, stream(part)) for name, part in zip(TENSOR_FILES, tensors, strict=True)}
    stamps[STATE] = write_new(folder / STATE, [state])
    write_new(folder / MANIFEST, [Manifest(checkpoint.step, stamps).render()])
    sync_folder(folder)


def state_text(state: dict[str, JSON]) -> bytes:
    for name, value in state.items():
        try:
            same = json.loads(json.dumps(value, allow_nan=False)) == value
        except (TypeError, ValueError):
            same = False
        if not same:
            shown = " ".join(repr(value).split())[:60]
            raise InputError(f"state.{name}: {shown} does not survive JSON; give finite numbers and strings")
    return (json.dumps(state, indent=2) + "\n").encode()


def write_new(file: Path, pieces: Iterable[bytes | memoryview]) -> Stamp:
    """Write a new file and fsync it; the hash is computed from memory, so it can reveal a faulty disk."""
    sha256, size = hashlib.sha256(), 0
    with _writing(file), file.open("xb") as stream:
        for piece in pieces:
            stream.write(piece)
            sha256.update(piece)
            size += len(piece)
        stream.flush()
        os.fsync(stream.fileno())
        if hasattr(os, "posix_fadvise"):  # drop the cached pages, so that the read-back comes from the disk
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return Stamp(size, sha256.hexdigest())


def _read_back(saving: Path) -> None:
    try:
        verify_checkpoint(saving)
    except InputError as error:
        raise SumiError(f"{error}; it was just written, so test the disk (older checkpoints are kept)") from error
    for name in TENSOR_FILES:
        with safe_open(saving / name, framework="pt"):  # raises unless the library reads the header
            pass


def _put_in_place(saving: Path, final: Path) -> None:
    replaced = final.with_name(f".{final.name}.replaced")
    if is_complete(final):
        final.rename(replaced)
    elif final.exists():
        _remove(final)
    saving.rename(final)
    sync_folder(final.parent)
    if replaced.exists():
        shutil.rmtree(replaced)


def _remove(path: Path) -> None:
    removing = path.rename(path.with_name(f".{path.name}.removing"))
    shutil.rmtree(removing)


def _settle(folder: Path) -> None:
    """Clean up after a dead save: restore a replaced checkpoint that has no successor, remove the other leftovers."""
    for entry in sorted(folder.iterdir()):
        unfinished = UNFINISHED.fullmatch(entry.name)
        if not unfinished:
            continue
        final = folder / unfinished[1]
        if unfinished[2] == "replaced" and is_complete(entry) and not is_complete(final):
            if final.exists():
                _remove(final)
            entry.rename(final)
        else:
            shutil.rmtree(entry)


def sync_folder(folder: Path) -> None:
    """Fsync the names in ``folder``, where the system opens folders, as Windows does not. Raises OSError."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: this file system cannot sync a folder
            raise
    finally:
        os.close(descriptor)


@contextmanager
def _writing(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        remedy = REMEDIES.get(error.errno or 0, "check the disk")
        raise SumiError(
            f"{path}: cannot be written: {error.strerror or error}; {remedy} and resume (older checkpoints are kept)"
        ) from error
