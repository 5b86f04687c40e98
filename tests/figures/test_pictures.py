"""Pictures with words in them."""

import io

import numpy as np
import torch
from PIL import Image

from sumi.figures.pictures import film, strip


def test_a_line_break_in_a_label_is_shown_and_breaks_nothing() -> None:
    frames = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    shown, written = (strip(frames, labels=[label, "b"], scale=8) for label in ("a\nb", "a\\nb"))
    assert np.array_equal(np.asarray(shown), np.asarray(written))


def test_a_film_has_no_transparent_places() -> None:
    """Each frame is whole: nothing of an earlier one is seen through it."""
    clear = Image.new("RGBA", (60, 20), (0, 0, 0, 0))
    with Image.open(io.BytesIO(film([("one", clear), ("two", clear)], seconds=1.0))) as shown:
        assert shown.n_frames == 2
        for k in range(2):
            shown.seek(k)
            frame = np.asarray(shown.convert("RGBA"))
            assert (frame[..., 3] == 255).all()
            assert (frame[-20:] == 255).all()
