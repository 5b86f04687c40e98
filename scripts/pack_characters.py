"""Pack what ``scripts/make_characters.py`` wrote to FOLDER into one small file, which the package carries.

    python -m scripts.pack_characters FOLDER sumi/data/builtin/characters.xz

Every picture keeps `COLOURS` colours of its own, in the order of how often they occur, and an index a pixel; all
indices go through one xz stream, so that parts which occurred before cost next to nothing. The layout is in
`sumi.data.builtin.characters.unpack`.
"""

import argparse
import json
import lzma
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLOURS = 32
FILTER = {"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 1 << 27, "lc": 0, "lp": 0, "pb": 0}


def pictures(folder: Path, about: Mapping[str, Any], count: int) -> Iterator[NDArray[np.uint8]]:
    """The ``count`` pictures of the mosaics in ``folder``, uint8 (H, W, 3), in their order."""
    size, columns, per_file = about["size"], about["per_row"], about["per_file"]
    for first in range(0, count, per_file):
        with Image.open(folder / f"images-{first // per_file:03d}.webp") as image:
            mosaic = np.asarray(image.convert("RGB"))
        for j in range(min(per_file, count - first)):
            top, left = j // columns * size, j % columns * size
            yield mosaic[top : top + size, left : left + size]


def reduced(picture: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(indices uint8 (H, W), palette uint8 (COLOURS, 3)) of a picture uint8 (H, W, 3), most frequent colour first."""
    image = Image.fromarray(picture).quantize(
        COLOURS, method=Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE
    )
    indices = np.asarray(image)
    found = np.array(image.getpalette()[: 3 * COLOURS], np.uint8).reshape(-1, 3)
    palette = np.pad(found, ((0, COLOURS - len(found)), (0, 0)))
    order = np.argsort(-np.bincount(indices.ravel(), minlength=COLOURS), kind="stable")
    place = np.empty(COLOURS, np.uint8)
    place[order] = np.arange(COLOURS)
    return place[indices], palette[order]


def pack(
    each: Iterator[NDArray[np.uint8]], rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any]
) -> tuple[bytes, float]:
    """The packed file, and the root of the mean square error of its pixels."""
    indices, palettes, error = [], [], 0.0
    for picture in each:
        index, palette = reduced(picture)
        indices.append(index)
        palettes.append(palette)
        error += np.square(palette[index].astype(float) - picture).mean() / len(rows)
    header = json.dumps({**about, "count": len(rows), "colours": COLOURS, "bytes": None}).encode()
    parts = (
        struct.pack("<I", len(header)),
        header,
        np.stack(indices).tobytes(),
        np.stack(palettes).transpose(2, 1, 0).tobytes(),
        "\n".join(json.dumps(row, separators=(",", ":")) for row in rows).encode(),
    )
    return lzma.compress(b"".join(parts), format=lzma.FORMAT_XZ, filters=[FILTER]), float(np.sqrt(error))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    about = json.loads((options.folder / "about.json").read_text())
    rows = [json.loads(line) for line in (options.folder / "captions.jsonl").read_text().splitlines()]
    content, error = pack(pictures(options.folder, about, len(rows)), rows, about)
    options.out.write_bytes(content)
    print(f"{len(rows)} pictures, {len(content)} bytes, {20 * np.log10(255 / error):.2f} dB")


if __name__ == "__main__":
    main()
