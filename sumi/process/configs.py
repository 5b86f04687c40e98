"""Every schedule that a configuration can name."""

from sumi.process.chain import ConstantBeta, CosineBeta, LinearBeta, ListedBeta, QuadraticBeta, SigmoidBeta
from sumi.process.continuous import VP, Flow

ScheduleConfig = LinearBeta | ConstantBeta | CosineBeta | QuadraticBeta | SigmoidBeta | ListedBeta | VP | Flow
"""``build()`` makes the schedule; ``steps`` is T of a chain, None in continuous time."""
