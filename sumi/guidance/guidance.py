"""How samples are steered beside what is said of them: which guidance, how strong, at which noise levels.

Classifier-free guidance, negative conditions and autoguidance extrapolate (`sumi.guidance.extrapolation`), a classifier
adds its gradient to what comes of that (`sumi.guidance.classifier`), and a threshold keeps x̂_0 in range at last.
"""

from dataclasses import dataclass, field

from sumi.denoising.denoiser import NetworkDenoiser
from sumi.errors import InputError
from sumi.guidance.classifier import NoisyClassifier
from sumi.guidance.extrapolation import Interval
from sumi.sampling.sampler import Threshold


@dataclass(frozen=True)
class Steering:
    """See the module docstring. Raises InputError for two things to be led away from."""

    guidance: float | None = field(
        default=None,
        metadata={"help": "w of extrapolation, 1: none; None: as configured, or 1 with a classifier"},
    )
    interval: Interval | None = field(
        default=None, metadata={"help": "noise levels at which all of it counts; None: the configuration's"}
    )
    rescale: float | None = field(
        default=None, metadata={"help": "φ in [0, 1]: 1 keeps the deviation of x̂_0; None: the configuration's"}
    )
    negative: str | None = field(default=None, metadata={"help": "a class to be led away from"})
    worse: NetworkDenoiser | None = field(default=None, metadata={"help": "a worse denoiser to be led away from"})
    classifier: NoisyClassifier | None = field(default=None, metadata={"help": "that leads towards the class"})
    classifier_scale: float = field(default=1.0, metadata={"help": "s of its gradient, 0: none"})
    threshold: Threshold | None = field(default=None, metadata={"help": "of x̂_0; None: the configuration's"})

    def __post_init__(self) -> None:
        if self.negative is not None and self.worse is not None:
            raise InputError("--negative, --worse: lead away from two things; give one of them")
