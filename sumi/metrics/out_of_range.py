"""Do precision and density mean anything for these samples? Not where the samples are far from all real images.

Precision counts the samples inside balls around the features of real images, and in many dimensions those balls cover
much of the space between real images. A network can also put what it never learned to distinguish where real images
are: colour noise has precision 0.86 in features learned of photographs, white digits on black 1.00. Two tests find such
samples; neither uses balls.

*By features.* The kernel distance (``kernel_distance``) in features that are centred and scaled to unit variance by
real images. Beyond ``FAR``, with its whole interval, the two sets have little in common.

*By pixels*, which no network has chosen. Of each image: brightness, the mean; contrast, log of the standard deviation;
the shares of its power in waves of four pixels and shorter, and in the longest waves, as logarithms; and of colour
images the saturation, log of the deviation of the channels from their mean. A sample is *out of range* where one of
these lies outside of Tukey's outer fences of real images (1977, "Exploratory data analysis"),

    [Q_1 - 3 (Q_3 - Q_1), Q_3 + 3 (Q_3 - Q_1)]

which hold all but 2 in a million of normal values. Real images are within but for a few percent, so a majority out of
range is no chance.

Inverted photographs have the statistics of photographs, and smooth noise nearly; only the features find these.
"""

from typing import Final

import torch
from torch import Tensor

from sumi.metrics.intervals import Estimate
from sumi.metrics.spectrum import FINE, frequencies, powers

FAR: Final = 0.5
"""A kernel distance of features of unit variance: blurred digits are near 1, noise above."""
FENCE: Final = 3.0
NARROWEST: Final = 0.05
"""The least distance of quartiles, so that rounding is not out of the range of images that are all alike."""
BROAD: Final = 1 / 16  # cycles per pixel
LEVEL: Final = 1 / 255


def pixel_statistics(images: Tensor) -> dict[str, Tensor]:
    """Brightness, contrast, detail, shape and, of several channels, colour of images (N, C, H, W): float64 (N,)."""
    x = images.double().cpu()
    height, width = x.shape[2:]
    brightness, power, length = x.mean((1, 2, 3)), powers(x), frequencies(height, width)
    power[:, 0, 0] = 0
    power /= height * width
    whole = power.sum((1, 2)) + LEVEL**2
    broad = max(BROAD, 1 / height, 1 / width) + 1e-12
    found = {
        "brightness": brightness,
        "contrast": whole.log() / 2,
        "fine detail": ((power[:, length >= FINE - 1e-12].sum(1) + LEVEL**2) / whole).log(),
        "broad shapes": ((power[:, length <= broad].sum(1) + LEVEL**2) / whole).log(),
    }
    if x.shape[1] > 1:
        apart = (x - x.mean(1, keepdim=True)).square().mean((1, 2, 3))
        found["colour"] = (apart + LEVEL**2).log() / 2
    return found


def out_of_range(samples: Tensor, real: Tensor) -> dict[str, float]:
    """The share of ``samples`` (m, C, H, W) outside of the range of ``real`` images (n, C, H, W), in [-1, 1].

    By statistic, and "any": the share that is out of range in one of them or more.
    """
    found, outside = dict[str, float](), torch.zeros(len(samples), dtype=torch.bool)
    of_real = pixel_statistics(real)
    for name, values in pixel_statistics(samples).items():
        low, high = of_real[name].quantile(torch.tensor([0.25, 0.75], dtype=torch.float64)).tolist()
        reach = FENCE * max(high - low, NARROWEST)
        beyond = (values < low - reach) | (values > high + reach)
        found[name] = float(beyond.double().mean())
        outside |= beyond
    return {**found, "any": float(outside.double().mean())}


def why_unseen(distance: Estimate, outside: dict[str, float]) -> str:
    """Why precision and density say nothing of the samples; "" where they do.

    ``distance``: the kernel distance to real images in features of unit variance; ``outside``: see `out_of_range`.
    """
    if outside["any"] > 1 / 2:
        worst = max((name for name in outside if name != "any"), key=lambda name: outside[name])
        return f"{outside['any']:.0%} of the samples are outside of the range of real images, most in {worst}"
    if distance.low > FAR:
        return "the samples are far from real images by kernel distance"
    return ""
