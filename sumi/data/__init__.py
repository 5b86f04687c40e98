"""Data sets: from files or memory to items, and from there to the model's range and back.

    open_data(anything) -> Dataset          open.py
    load(DataConfig) -> Dataset             load.py, config.py, dataset.py
        a built-in set                      builtin/
        arrays of images, vectors or bits   arrays.py, vectors.py
        MNIST's idx files                   idx.py
        a folder of images                  listing.py, metadata.py, folder.py
        one image file                      decode.py, colour.py, integrity.py
    DataSpec: the type of one item          spec.py, specs.py; images.py and vectors.py: one file per data type
    PixelRange: levels <-> [-1, 1]          pixels.py

Loading is deterministic: the same files give the same items, keys and split everywhere. Unreadable files are skipped
and listed with the reason in ``Dataset.skipped_report``; changes to the rest are in ``notes``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sumi.data.open import open_data

__all__ = ["open_data"]


def __getattr__(name: str) -> Any:
    """Torch is imported with the first name that needs it."""
    if name not in __all__:
        raise AttributeError(f"module 'sumi.data' has no attribute {name!r}")
    from sumi.data.open import open_data

    return open_data
