"""Pictures with words in them."""

import numpy as np
import torch

from sumi.figures.pictures import strip


def test_a_line_break_in_a_label_is_shown_and_breaks_nothing() -> None:
    frames = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    shown, written = (strip(frames, labels=[label, "b"], scale=8) for label in ("a\nb", "a\\nb"))
    assert np.array_equal(np.asarray(shown), np.asarray(written))
