"""Small pictures of a coloured square, with captions and attributes: what a network of seconds can learn."""

import itertools

import numpy as np

from sumi.data.image_set import ImageDataset

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 230), "white": (250, 250, 250)}
PLACES = {"top left": (0, 0), "top right": (0, 8), "bottom left": (8, 0), "bottom right": (8, 8)}
SIZES = {"small": 4, "large": 7}


def coloured(copies: int = 6, seed: int = 0) -> ImageDataset:
    """``copies`` of each of 32 pictures 16x16 of other noise; the class is the colour, and every caption tells all."""
    random = np.random.default_rng(seed)
    images, rows = [], []
    for copy, (colour, place, size) in itertools.product(range(copies), itertools.product(COLOURS, PLACES, SIZES)):
        image = random.integers(90, 120, (3, 16, 16))
        (down, right), side = PLACES[place], SIZES[size]
        image[:, down : down + side, right : right + side] = np.array(COLOURS[colour])[:, None, None]
        images.append(image.astype(np.uint8))
        rows.append((f"{copy}/{colour}-{place}-{size}", {"color": colour, "place": place, "size": size}))
    names = tuple(COLOURS)
    return ImageDataset(
        np.stack(images),
        np.array([names.index(row["color"]) for _, row in rows]),
        names,
        tuple(f"a {row['size']} {row['color']} square at the {row['place']}" for _, row in rows),
        tuple(key for key, _ in rows),
        attributes=tuple(row for _, row in rows),
    )
