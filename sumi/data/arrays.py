"""Sets that come as one array of grey images (idx files, the built-in sets), in the size and channels asked for."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sumi.data.config import DataConfig
from sumi.data.dataset import ImageDataset, Progress
from sumi.data.decode import fit
from sumi.data.memory import require_memory


def from_grey_array(
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8] | None,
    label_names: tuple[str, ...],
    keys: tuple[str, ...],
    config: DataConfig,
    *,
    levels: int = 256,
    notes: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> ImageDataset:
    """uint8 (N, H, W) of ``levels`` values -> a data set.

    With ``config.size`` the images are fitted to that square as files are; in-between values then arise, so a set of
    fewer levels is spread over 256 first. With ``config.channels`` = 3 the grey is repeated.

    Raises:
        InputError: the result does not fit into memory.
    """
    count, height, width = images.shape
    side = config.size
    channels = config.channels or 1
    require_memory(count, (channels, side or height, side or width), config.source)
    if side is not None and (height, width) != (side, side):
        spread = np.round(np.arange(levels) * 255 / (levels - 1)).astype(np.uint8)
        fitted = np.empty((count, side, side), np.uint8)
        for i, image in enumerate(images):
            fitted[i] = np.asarray(fit(Image.fromarray(spread[image]), side))
            if progress is not None and ((i + 1) % 1000 == 0 or i + 1 == count):
                progress(i + 1, count)
        said = f"all {count} images were resized from {width}x{height} to {side}x{side}"
        notes = (*notes, said if levels == 256 else f"{said}, which makes their {levels} levels 256")
        images, levels = fitted, 256
    return ImageDataset(
        images=np.repeat(images[:, None], channels, axis=1),
        labels=None if labels is None else labels.astype(np.int64),
        label_names=label_names,
        captions=None,
        keys=keys,
        levels=levels,
        notes=notes,
    )
