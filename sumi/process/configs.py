"""Every schedule that a configuration can name."""

from sumi.process.chain import ConstantBeta, CosineBeta, LinearBeta, ListedBeta, QuadraticBeta, SigmoidBeta
from sumi.process.continuous import VP, Cosine, Flow, SubVP
from sumi.process.exploding import EDM, VE, Ladder

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
    | VE
    | EDM
    | Ladder
)
"""``build()`` makes the schedule; ``steps`` is T of a chain or ladder, None in continuous time."""
