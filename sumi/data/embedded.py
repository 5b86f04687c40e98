"""Images with the vectors that a CLIP gives them and their texts; as items, the images or the vectors themselves.

The vectors of pictures are moved and scaled as a whole, x = (v - centre)/scale, to a mean of 0 and a mean variance of
1: of unit length they would have variances of 1/D, far below the noise of any schedule.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sumi.data.image_set import ImageDataset
from sumi.data.spec import DataSpec, unlike
from sumi.data.vectors import VectorSpec


@dataclass(frozen=True, eq=False)
class EmbeddedDataset:
    """``pictures`` and ``texts``: float32 (N, D) of unit length, of the ``images`` and what is said of them.

    ``vectors``: how the pictures' are read where they are the items; None: the images are.
    """

    images: ImageDataset
    pictures: NDArray[np.float32]
    texts: NDArray[np.float32]
    vectors: VectorSpec | None = None

    def as_vectors(self, held_out: float) -> "EmbeddedDataset":
        """The pictures' vectors as items, in units of those to train on."""
        seen = self.split(held_out)[0].pictures.astype(np.float64)
        scale = max(float(np.sqrt(seen.var(0).mean())), 1e-6)
        return replace(self, vectors=VectorSpec(seen.shape[1], None, tuple(seen.mean(0).tolist()), scale))

    @property
    def spec(self) -> DataSpec:
        return self.images.spec if self.vectors is None else self.vectors

    @property
    def shape(self) -> tuple[int, ...]:
        return self.spec.shape

    @property
    def label_names(self) -> tuple[str, ...]:
        return self.spec.label_names

    @property
    def columns(self) -> tuple[str, ...]:
        return self.images.columns

    @property
    def keys(self) -> tuple[str, ...]:
        return self.images.keys

    @property
    def notes(self) -> tuple[str, ...]:
        return self.images.notes

    @property
    def splits(self) -> tuple[str, ...] | None:
        """Of the images."""
        return self.images.splits

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, items: NDArray[np.int64]) -> Tensor:
        """See `Dataset.batch`."""
        if self.vectors is None:
            return self.images.batch(items)
        v = self.pictures[items].astype(np.float64)
        return torch.from_numpy(((v - np.array(self.vectors.centre)) / self.vectors.scale).astype(np.float32))

    def labels_of(self, items: NDArray[np.int64]) -> Tensor:
        """See `Dataset.labels_of`."""
        return self.images.labels_of(items)

    def column(self, name: str) -> NDArray[np.float64]:
        """See `Dataset.column`."""
        return self.images.column(name)

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> "EmbeddedDataset":
        """See `Dataset.subset`."""
        chosen = np.asarray(indices, dtype=np.int64)
        images = self.images.subset(chosen)
        return replace(self, images=images, pictures=self.pictures[chosen], texts=self.texts[chosen])

    def split(self, held_out: float) -> "tuple[EmbeddedDataset, EmbeddedDataset]":
        """(train, held out), as the images are divided."""
        place = {key: number for number, key in enumerate(self.keys)}
        train, held = (self.subset([place[key] for key in part.keys]) for part in self.images.split(held_out))
        return train, held

    def fitted_to(self, spec: DataSpec, source: str) -> "EmbeddedDataset":
        """Itself. Raises InputError for a model of other items."""
        if spec != self.spec:
            raise unlike(self.spec, spec, source)
        return self

    def std(self) -> float:
        """See `Dataset.std`."""
        return self.images.std() if self.vectors is None else 1.0

    def fingerprint(self) -> str:
        """Of the images."""
        return self.images.fingerprint()

    def skipped_report(self, limit: int | None = None) -> tuple[str, ...]:
        """See `Dataset.skipped_report`."""
        return self.images.skipped_report(limit)
