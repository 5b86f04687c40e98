"""How a model is evaluated: which data, how many samples, in which features, and by what besides."""

from dataclasses import dataclass

from sumi.errors import InputError
from sumi.evaluation.guidance import GuidanceSweep
from sumi.features.open import LEARNED
from sumi.progress import Count


@dataclass(frozen=True)
class Options:
    """The options of an evaluation.

    ``data``: compare with the held-out part of other data (all that `sumi.data.open_data` takes). ``n``: how many
    samples. ``features``: the space to measure images in, "learned" or the path of a network (see `open_space`).
    ``sweeps``: also by how random sampling is, and by its number of steps. ``guidance``: also by these kinds of
    guidance (`sumi.evaluation.guidance.guidance_sweep`). ``progress(what, done, total)``.
    """

    data: object = None
    n: int | None = None
    seed: int = 0
    features: str = LEARNED
    sweeps: bool = False
    guidance: GuidanceSweep | None = None
    progress: Count | None = None

    def refuse(self, what: str, *names: str) -> None:
        """Raises InputError where an option of ``names`` is given, which the evaluation of ``what`` does not have."""
        for name in names:
            if getattr(self, name) != getattr(Options, name):
                raise InputError(f"{name}: the evaluation of {what} has none; leave it out")
