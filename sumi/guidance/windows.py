"""Pictures larger than those a model was trained on, in windows that overlap by half.

What is said of a picture is said of each of its windows, and an image that the model is told is cut as the picture is
(`sumi.guidance.tiling`).
"""

from sumi.conditioning.condition import Condition
from sumi.guidance.tiling import Tiling


def tiling_of(shape: tuple[int, int, int], size: tuple[int, int], factor: int = 1) -> Tiling:
    """The windows of ``shape`` (C, H, W) on pictures of ``size`` (H, W), all ``factor`` times as small.

    Raises InputError where the size is less than the shape's.
    """
    _, height, width = shape
    stride = tuple(max(side // factor // 2, 1) for side in (height, width))
    small = size[0] // factor, size[1] // factor
    return Tiling(small, (height // factor, width // factor), (stride[0], stride[1]))


def said_of_windows(condition: Condition, shape: tuple[int, int, int], size: tuple[int, int]) -> Condition:
    """What is said of pictures of ``size``, as said of each of their windows of ``shape``. Raises InputError."""
    count = tiling_of(shape, size).count
    parts = {name: part.repeat_interleave(count, 0) for name, part in condition.parts().items()}
    if condition.image is not None:
        parts["image"] = tiling_of(shape, size, size[0] // condition.image.shape[2]).cut(condition.image)
    return Condition(**parts)
