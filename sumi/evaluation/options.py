"""The options of an evaluation: data, number of samples, features, sweeps."""

from dataclasses import dataclass

from sumi.boundary.progress import Count
from sumi.errors import InputError
from sumi.evaluation.guidance import GuidanceSweep
from sumi.metrics.features.open import LEARNED
from sumi.models.attributes import JudgeModel
from sumi.models.clip import ClipModel
from sumi.models.symbols.classifier import SymbolClassifierModel


@dataclass(frozen=True)
class Options:
    """The options of an evaluation.

    ``data``: compare with the held-out part of other data (anything `sumi.data.open_data` takes). ``split``: of images,
    compare with this one of the data's own splits, instead of those that are held out. ``n``: number of
    samples. ``features``: the space to measure images in, "learned" or the path of a network (see `open_space`).
    ``sweeps``: also sweep the sampler's randomness and number of steps, and the length of the weights' average, where
    the run has snapshots. ``guidance``: also sweep guidance scales
    (`sumi.evaluation.guidance.guidance_sweep`). ``quick``: of images, only show samples and losses, and measure no
    distances. ``judge`` and ``clip``: of a text-to-image model, also measure what it makes of captions
    (`sumi.evaluation.prompts`); the ``judge`` of a model of symbols reads what it was asked for
    (`sumi.evaluation.symbols`). ``range``: of two sets of images, the lowest and the highest possible value of arrays
    whose type does not say, such as (0, 1) of floats. ``progress(what, done, total)``.
    """

    data: object = None
    n: int | None = None
    seed: int = 0
    features: str = LEARNED
    sweeps: bool = False
    guidance: GuidanceSweep | None = None
    progress: Count | None = None
    quick: bool = False
    judge: JudgeModel | SymbolClassifierModel | None = None
    clip: ClipModel | None = None
    range: tuple[float, float] | None = None
    split: str | None = None

    def refuse(self, what: str, *names: str) -> None:
        """Raises InputError if an option of ``names`` is set; the evaluation of ``what`` has none of them."""
        for name in names:
            if getattr(self, name) != getattr(Options, name):
                raise InputError(f"{name}: does not apply to the evaluation of {what}; leave it out")
