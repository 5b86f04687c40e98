"""Every schedule that a configuration can name."""

from sumi.process.chain import ConstantBeta, CosineBeta, LinearBeta, ListedBeta, QuadraticBeta, SigmoidBeta
from sumi.process.continuous import VP, Cosine, Erasing, Flow, SubVP
from sumi.process.exploding import EDM, VE, Ladder
from sumi.process.learned import Learned, LearnedChain

__all__ = [
    "EDM",
    "VE",
    "VP",
    "ConstantBeta",
    "Cosine",
    "CosineBeta",
    "Erasing",
    "Flow",
    "Ladder",
    "Learned",
    "LearnedChain",
    "LinearBeta",
    "ListedBeta",
    "QuadraticBeta",
    "ScheduleConfig",
    "SigmoidBeta",
    "SubVP",
]

ScheduleConfig = (
    LinearBeta
    | ConstantBeta
    | CosineBeta
    | QuadraticBeta
    | SigmoidBeta
    | ListedBeta
    | VP
    | SubVP
    | Cosine
    | Flow
    | Erasing
    | VE
    | EDM
    | Ladder
    | Learned
    | LearnedChain
)
"""``build()`` makes the schedule; ``steps`` is the length of its grid, None in continuous time."""
