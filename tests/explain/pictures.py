"""What a drawn figure must be."""

from pathlib import Path

import numpy as np
from PIL import Image


def assert_is_a_picture(path: Path) -> None:
    picture = np.asarray(Image.open(path).convert("L"), dtype=float)
    assert picture.shape[0] > 200
    assert picture.std() > 5  # something is drawn
