"""What is configured of every run, whatever kind of network it trains."""

from dataclasses import dataclass, field

from sumi.data.config import DataConfig
from sumi.errors import InputError
from sumi.training.config import TrainingConfig


@dataclass(frozen=True)
class CommonConfig:
    """The data, the seed and the training. Raises InputError for a seed that is none."""

    recipe: str = field(metadata={"help": "the recipe this began as"})
    data: DataConfig
    seed: int = field(default=0, metadata={"help": "all randomness of the run follows from it; 0 or more"})
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**64:
            raise InputError(f"seed: {self.seed} is not a whole number from 0 to 2^64 - 1")
