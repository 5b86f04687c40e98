"""The configuration of a classifier of noisy images, which guides diffusion models of whatever schedule.

It is trained at log-SNR spread evenly over a range; what noise does beyond that tells no classes apart, or hides none.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from sumi.errors import InputError
from sumi.models.common import CommonConfig
from sumi.networks.classifier import ClassifierConfig


@dataclass(frozen=True)
class NoisyClassifierConfig(CommonConfig):
    """The full configuration of a classifier of noisy images."""

    name: ClassVar[str] = "classifier"

    lowest: float = field(default=-8.0, metadata={"help": "log-SNR of the noisiest images it is trained on"})
    highest: float = field(default=8.0, metadata={"help": "log-SNR of the cleanest"})
    network: ClassifierConfig = field(default_factory=ClassifierConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not -20 <= self.lowest < self.highest <= 20:
            raise InputError(
                f"lowest, highest: {self.lowest:g} to {self.highest:g} is no range of log-SNR; give lowest below "
                "highest, between -20 and 20"
            )

    @property
    def identity(self) -> tuple[object, ...]:
        """All that the weights mean nothing without."""
        return self.lowest, self.highest, self.network
