"""A model on pictures larger than those it was trained on: its denoiser in windows that overlap by half.

What is said of a picture is said of each of its windows, and an image that it is told is cut as the picture is
(`sumi.guidance.tiling`).
"""

from sumi.conditioning.condition import Condition
from sumi.denoising.denoiser import Denoiser
from sumi.guidance.steering import Steering
from sumi.guidance.tiling import Tiled, Tiling
from sumi.model import DiffusionModel


def tiling_of(model: DiffusionModel, size: tuple[int, int], factor: int = 1) -> Tiling:
    """The windows of ``model`` on pictures of ``size`` (H, W), all ``factor`` times as small.

    Raises InputError where the size is less than the model's.
    """
    _, height, width = model.images.shape
    stride = tuple(max(side // factor // 2, 1) for side in (height, width))
    small = size[0] // factor, size[1] // factor
    return Tiling(small, (height // factor, width // factor), (stride[0], stride[1]))


def denoiser_of_size(
    model: DiffusionModel,
    size: tuple[int, int],
    condition: Condition | None = None,
    guidance: float | None = None,
    steering: Steering | None = None,
) -> Denoiser:
    """As `DiffusionModel.denoiser`, of pictures of ``size`` (H, W). Raises InputError."""
    if size == model.images.shape[1:]:
        return model.denoiser(condition, guidance, steering)
    windows = tiling_of(model, size)
    if condition is not None:
        condition = _cut(model, size, windows, condition)
    return Tiled(model.denoiser(condition, guidance, steering), windows)


def _cut(model: DiffusionModel, size: tuple[int, int], windows: Tiling, condition: Condition) -> Condition:
    parts = {name: part.repeat_interleave(windows.count, 0) for name, part in condition.parts().items()}
    if condition.image is not None:
        parts["image"] = tiling_of(model, size, size[0] // condition.image.shape[2]).cut(condition.image)
    return Condition(**parts)
