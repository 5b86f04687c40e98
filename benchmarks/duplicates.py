"""Are planted copies among photographs found, and what else is? The figures of docs/how-to/doctor.md.

    python -m benchmarks.duplicates FOLDER [--count N] [--size S]

Of the first N images of a folder, every tenth is copied in one of five ways, in turns: the same file, to half of its
size and back, as a JPEG of quality 50, mirrored, and mirrored and compressed. Prints how many were found by what was
done to them, and the pairs that were not planted, by name: they are to be looked at.
"""

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sumi.data.config import DataConfig
from sumi.data.load import load_images
from sumi.metrics.duplicates import duplicates, thumbnails

Change = Callable[[Image.Image], Image.Image]


def compressed(picture: Image.Image) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=50)
    return Image.open(file).convert("RGB")


def resized(picture: Image.Image) -> Image.Image:
    half = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS)
    return half.resize(picture.size, Image.Resampling.BICUBIC)


def mirrored(picture: Image.Image) -> Image.Image:
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


WAYS: dict[str, Change] = {
    "the same": lambda picture: picture,
    "resized": resized,
    "compressed": compressed,
    "mirrored": mirrored,
    "mirrored and compressed": lambda picture: compressed(mirrored(picture)),
}


def changed(image: Tensor, way: Change) -> Tensor:
    """An image (3, H, W) in [-1, 1] after one of the ways."""
    bytes_ = ((image.permute(1, 2, 0) + 1) * 127.5).round().to(torch.uint8).numpy()
    return torch.from_numpy(np.asarray(way(Image.fromarray(bytes_))).copy()).permute(2, 0, 1) / 127.5 - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--size", type=int, default=64)
    options = parser.parse_args()
    data = load_images(DataConfig(str(options.folder), size=options.size, channels=3))
    count = min(options.count, len(data))
    images = data.batch(np.arange(count))
    sources = list(range(0, count, 10))
    names = list(WAYS)
    copies = [changed(images[i], WAYS[names[k % len(names)]]) for k, i in enumerate(sources)]
    every = torch.cat([images, torch.stack(copies)])
    pairs = {(pair.first, pair.second) for pair in duplicates(thumbnails(every), lambda i: every[i])}
    for number, name in enumerate(names):
        planted = [(i, count + k) for k, i in enumerate(sources) if k % len(names) == number]
        print(f"{name}: {sum(pair in pairs for pair in planted)} of {len(planted)} found")
    others = sorted(pair for pair in pairs if pair[1] < count)
    print(f"not planted: {len(others)} pairs among {count} images")
    for first, second in others:
        print(f"  {data.keys[first]}  {data.keys[second]}")


if __name__ == "__main__":
    main()
