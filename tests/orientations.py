"""How a camera stores a picture that it was turned for."""

from collections.abc import Callable

import numpy as np

# What a file stores where the picture is u: the side of the picture on which the stored first row and the stored first
# column lie (Exif 2.3, table 6), as array operations.
STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda u: u,  # top, left
    2: lambda u: u[:, ::-1],  # top, right
    3: lambda u: u[::-1, ::-1],  # bottom, right
    4: lambda u: u[::-1],  # bottom, left
    5: lambda u: u.swapaxes(0, 1),  # left, top
    6: lambda u: u[:, ::-1].swapaxes(0, 1),  # right, top
    7: lambda u: u[::-1, ::-1].swapaxes(0, 1),  # right, bottom
    8: lambda u: u[::-1].swapaxes(0, 1),  # left, bottom
}
