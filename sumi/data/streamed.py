"""Images that lie in tar files and are decoded each time they are used: sets that fit neither memory nor the disk.

    place in the set → tar, offset, size → bytes → pixels

They are indexed as an array would be. Before the first training all are read once, to know which can be; what was found
is kept (`sumi.data.kept`). What the next step needs is decoded while this one is computed (`Pictures.prepare`).
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sumi.data.decode import THREADS, UnreadableImage, decode
from sumi.data.frame import Frame
from sumi.data.members import Member
from sumi.errors import InputError

COLUMNS: Final = 4
"""Of a row of ``table``: which of the tars, the offset and the size of the image in it, the tar's time of change."""


class Pictures:
    """N images in ``tars``, where ``table`` int64 (N, 4) says, as an array uint8 (N, channels, H, W).

    ``names``: of the members, for messages. All are decoded by the rules of `sumi.data.decode` to ``frame``.
    """

    dtype: Any = np.dtype(np.uint8)
    ndim: int = 4

    def __init__(
        self,
        tars: Sequence[Path],
        table: NDArray[np.int64],
        names: Sequence[str],
        frame: Frame,
        channels: int,
        background: str,
    ) -> None:
        self.tars, self.table, self.names = tuple(tars), table, names
        self.frame, self.background = frame, background
        self.shape: tuple[int, ...] = (len(table), channels, frame.height, frame.width)
        self._ahead: dict[int, Future[dict[int, NDArray[np.uint8]]]] = {}

    @staticmethod
    def of(files: Sequence[Member], frame: Frame, channels: int, background: str) -> "Pictures":
        """Of members of tars."""
        tars = list(dict.fromkeys(member.tar for member in files))
        number = {tar: k for k, tar in enumerate(tars)}
        rows = [(number[one.tar], one.offset, one.size, one.changed) for one in files]
        table = np.array(rows, np.int64).reshape(-1, COLUMNS)
        return Pictures(tars, table, [member.name for member in files], frame, channels, background)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, items: Any) -> NDArray[np.uint8]:
        """Images (n, C, H, W) at places int64 (n,), or (C, H, W) at one. Raises InputError where one is gone."""
        if np.ndim(items) == 0:
            return self._decoded(int(items))
        wanted = np.asarray(items).tolist()
        found = {**self._begun([item for item in wanted if item not in self._ahead]), **self._ahead}
        images = np.empty((len(wanted), *self.shape[1:]), np.uint8)
        for image, item in zip(images, wanted, strict=True):
            image[:] = found[item].result()[item]
        return images

    def prepare(self, items: NDArray[np.int64]) -> None:
        """Begin to decode the images that are asked for next, and forget those before."""
        self._ahead = self._begun(items.tolist())

    def _begun(self, items: list[int]) -> dict[int, Future[dict[int, NDArray[np.uint8]]]]:
        """By place, what decodes it: a share for each thread, as waking for each small image costs as much as it."""
        each = list(dict.fromkeys(items))
        found: dict[int, Future[dict[int, NDArray[np.uint8]]]] = {}
        share = max(1, -(-len(each) // THREADS))
        for first in range(0, len(each), share):
            some = each[first : first + share]
            found |= dict.fromkeys(some, self._threads.submit(self._all_decoded, some))
        return found

    def _all_decoded(self, items: list[int]) -> dict[int, NDArray[np.uint8]]:
        return {item: self._decoded(item) for item in items}

    def _decoded(self, item: int) -> NDArray[np.uint8]:
        tar, offset, size, changed = self.table[item].tolist()
        member = Member(self.tars[tar], self.names[item], offset, size, changed)
        channels = self.shape[1]
        try:
            if member.tar.stat().st_mtime_ns != changed:
                raise InputError(f"data.source: {member.tar} has changed since the start; start again")
            pixels = decode(member, self.frame, 1 if channels == 1 else None, background=self.background).pixels
        except (OSError, UnreadableImage) as error:
            raise InputError(
                f"data.source: {member} could be read before, and cannot now ({error}); copy the tar again"
            ) from None
        return pixels if len(pixels) == channels else np.broadcast_to(pixels, self.shape[1:])  # one channel fills three

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(THREADS)


class Survey:
    """Takes the place of the array that images are decoded into: keeps the sums that their deviation follows from."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.count = 0
        self.total, self.squares = np.zeros(shape), np.zeros(shape)

    def __setitem__(self, item: int, pixels: NDArray[np.uint8]) -> None:
        del item
        self.count += 1
        self.total += pixels
        self.squares += np.square(pixels, dtype=np.float64)

    def std(self, channels: int) -> float:
        """As `sumi.data.image_set.deviation`, of the first ``channels``, of 256 levels."""
        mean, square = (each[:channels] / self.count for each in (self.total, self.squares))
        return float(np.sqrt(max((square - np.square(mean)).mean(), 0.0)) * 2 / 255)
