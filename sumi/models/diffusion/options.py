"""The options of all that samples: which items, on what condition, and how (`SamplingOptions`)."""

from collections.abc import Callable, Mapping
from typing import cast

from torch import Tensor

from sumi.conditioning.labels import Labels
from sumi.conditioning.text import Prompts
from sumi.sampling.sample import Callback
from sumi.sampling.sampler import SamplingOptions

Progress = Callable[[int, int], None] | bool
"""Counts items; True shows how many are done, False does not, and None does so in a notebook alone."""


class WalkOptions(SamplingOptions, total=False):
    """How samples are made, where they begin, and what sees them on the way."""

    callback: Callback | None
    x: Tensor | None
    t: float


class SampleOptions(WalkOptions, total=False):
    """What `DiffusionModel.sample` takes, but for n."""

    seed: int
    start: int
    label: Labels | None
    prompt: Prompts | None
    condition: Mapping[str, object] | None
    size: tuple[int, int] | None
    batch_size: int
    progress: Progress | None


def sampling_options(options: SampleOptions) -> SamplingOptions:
    """Those of ``options`` that are fields of `Sampling`, and unknown ones, which are refused there."""
    own = SampleOptions.__annotations__.keys() - SamplingOptions.__annotations__.keys()
    return cast(SamplingOptions, {name: value for name, value in options.items() if name not in own})
