"""What it costs to start from images and to read them: decoded in memory, mapped from a file, and in which order.

    python -m benchmarks.loader [--files 5000] [--mapped 200000] [--tars 20000]

Prints images a second on one core, seconds to start, and the memory that the process takes. Where webdataset and
`datasets` are installed (`make peers`), they read the same files: batches of 128 uint8 images of 3×32×32, in this
process, without workers.
"""

import argparse
import importlib.util
import io
import itertools
import os
import resource
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sumi.data.config import DataConfig
from sumi.data.image_set import ImageDataset
from sumi.data.load import load
from sumi.data.mapped import Stored, mapped
from sumi.randomness import keyed_order, permutation, windowed_order

SIDE, BATCH = 32, 128


def timed(work: Callable[[], object]) -> tuple[float, object]:
    begun = time.perf_counter()
    found = work()
    return time.perf_counter() - begun, found


def megabytes() -> float:
    """The most memory of its own that this process has taken so far; mapped pages are the system's."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def of_files(folder: Path, count: int) -> None:
    """A folder of PNG files: decoding them, and starting again."""
    generator = np.random.default_rng(0)
    for k in range(count):
        place = folder / f"{k % 10}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(place / f"{k:07d}.png")
    for store in ("memory", "mapped", "mapped"):
        seconds, _ = timed(lambda: load(DataConfig(str(folder), size=SIDE, store=store)))  # noqa: B023
        print(f"{count:,} PNG files, data.store={store}: {seconds:.2f} s, {count / seconds:,.0f} images/s")


def of_tars(folder: Path, count: int) -> None:
    """Tar files of 10,000 PNG files each, of few different images: the first start, those after it, and batches."""
    generator, held = np.random.default_rng(0), []
    for _ in range(100):
        file = io.BytesIO()
        Image.fromarray(generator.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(file, "PNG")
        held.append(file.getvalue())
    folder.mkdir()
    for first in range(0, count, 10_000):
        with tarfile.open(folder / f"{first // 10_000:05d}.tar", "w") as archive:
            for k in range(first, min(first + 10_000, count)):
                entry = tarfile.TarInfo(f"{k:08d}.png")
                entry.size = len(held[k % 100])
                archive.addfile(entry, io.BytesIO(held[k % 100]))
    for store in ("mapped", "streamed"):
        for which in ("first", "second"):
            begun = time.perf_counter()
            data = load(DataConfig(str(folder), size=SIDE, store=store))
            train, _ = data.split(0.1)
            data.fingerprint(), data.std()
            seconds = time.perf_counter() - begun
            print(f"{count:,} PNG files in tars, data.store={store}, {which} start: {seconds:.2f} s")
        assert isinstance(train, ImageDataset)
        for name, order in (("keyed", keyed_order), ("windowed", windowed_order)):
            batches = [order(0, 0, len(train), np.arange(k * BATCH, (k + 1) * BATCH)) for k in range(50)]
            seconds, _ = timed(lambda: [train.batch(items) for items in batches])  # noqa: B023
            print(f"  {name}: {len(batches) * BATCH / seconds:,.0f} images/s")


def batches_a_second(what: str, batches: Iterator[NDArray[np.uint8]], count: int = 50) -> None:
    """Of ``count`` batches after the first, which may have more to do."""
    begun, first = time.perf_counter(), next(batches)
    start = time.perf_counter() - begun
    assert first.dtype == np.uint8
    assert first.size == BATCH * 3 * SIDE**2
    seconds, found = timed(lambda: sum(len(batch) for batch in itertools.islice(batches, count)))
    assert found == count * BATCH
    print(f"  {what}: first batch after {start:.2f} s, {count * BATCH / seconds:,.0f} images/s")


def of_webdataset(folder: Path) -> None:
    """The tar files of `of_tars`, shuffled in a buffer of 1,000."""
    if importlib.util.find_spec("webdataset") is None:
        print("webdataset is not installed: make peers")
        return
    import webdataset

    tars = sorted(map(str, folder.glob("*.tar")))
    read = webdataset.WebDataset(tars, shardshuffle=len(tars), empty_check=False).shuffle(1000).decode("rgb8")
    print(f"webdataset {webdataset.__version__}, of the same tars")
    batches_a_second("decoded each time", (images for (images,) in read.to_tuple("png").batched(BATCH, partial=False)))


def of_datasets(files: Path, scratch: Path, count: int) -> None:
    """The files of `of_files` by `imagefolder`, and ``count`` arrays in its own format, both in a random order."""
    if importlib.util.find_spec("datasets") is None:
        print("datasets is not installed: make peers")
        return
    import datasets

    datasets.disable_progress_bars()
    generator, cache = np.random.default_rng(0), str(scratch / "datasets")

    def orders(total: int) -> Iterator[NDArray[np.int64]]:
        return (generator.integers(0, total, BATCH) for _ in itertools.count())

    for which in ("first", "second"):
        seconds, found = timed(
            lambda: datasets.load_dataset("imagefolder", data_dir=str(files), split="train", cache_dir=cache)
        )
        print(f"datasets {datasets.__version__}, of the same PNG files, {which} start: {seconds:.2f} s")
    assert isinstance(found, datasets.Dataset)
    decoded = (np.stack([np.asarray(image) for image in found[items]["image"]]) for items in orders(len(found)))
    batches_a_second("decoded each time", decoded)
    features = datasets.Features({"image": datasets.Array3D((3, SIDE, SIDE), "uint8")})

    def arrays() -> Iterator[dict[str, NDArray[np.uint8]]]:
        return ({"image": generator.integers(0, 256, (3, SIDE, SIDE), np.uint8)} for _ in range(count))

    kept = datasets.Dataset.from_generator(arrays, features=features, cache_dir=cache).with_format(
        "numpy", dtype=np.uint8
    )
    print(f"datasets, {count:,} arrays in its own file")
    batches_a_second("mapped", (kept[items]["image"] for items in orders(count)))


def of_a_mapped_file(count: int) -> None:
    """A file of many images: start, and batches in both orders."""

    def fill(images: NDArray[np.uint8]) -> Stored:
        for first in range(0, count, 10_000):
            images[first : first + 10_000] = np.random.default_rng(first).integers(
                0, 256, (min(10_000, count - first), 3, SIDE, SIDE), np.uint8
            )
        return Stored(tuple(f"{k:08d}.png" for k in range(count)), Counter(), (), False, 0.5)

    mapped(f"benchmark-{count}", (count, 3, SIDE, SIDE), fill)
    before = megabytes()
    seconds, (rows, stored) = timed(lambda: mapped(f"benchmark-{count}", (count, 3, SIDE, SIDE), fill))
    data = ImageDataset(rows, None, (), None, stored.keys)
    print(f"{count:,} mapped images ({count * 3 * SIDE**2 / 1e9:.2f} GB): opened in {seconds:.2f} s")
    for what, work in (("divided", lambda: data.split(0.1)), ("hashed", data.fingerprint), ("deviation", data.std)):
        print(f"  {what} in {timed(work)[0]:.2f} s")
    for name, order in (
        ("shuffled", lambda places: permutation(0, 0, count)[places]),
        ("keyed", lambda places: keyed_order(0, 0, count, places)),
    ):
        first, _ = timed(lambda: data.batch(order(np.arange(BATCH))))  # noqa: B023
        batches = [order(np.arange(k * BATCH, (k + 1) * BATCH)) for k in range(100)] if name == "keyed" else []
        seconds, _ = timed(lambda: [data.batch(items) for items in batches])  # noqa: B023
        rate = f", {len(batches) * BATCH / seconds:,.0f} images/s" if batches else ""
        print(f"  {name}: first batch of an epoch after {first:.3f} s{rate}")
    print(f"  memory: {megabytes() - before:,.0f} MB more than before")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=5_000)
    parser.add_argument("--mapped", type=int, default=200_000)
    parser.add_argument("--tars", type=int, default=20_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["SUMI_CACHE"] = f"{scratch}/cache"
        of_files(Path(scratch) / "photos", options.files)
        of_tars(Path(scratch) / "tars", options.tars)
        of_webdataset(Path(scratch) / "tars")
        of_datasets(Path(scratch) / "photos", Path(scratch), min(options.mapped, 20_000))
        of_a_mapped_file(options.mapped)
