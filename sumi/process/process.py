"""The processes, by name: how data are noised, and where sampling begins. One line per process."""

from typing import ClassVar, Protocol

from torch import Tensor

from sumi.process.binomial import Binomial
from sumi.process.gaussian import Gaussian
from sumi.process.schedule import NoiseLevel


class Process(Protocol):
    """Samples of q(x_t | x_0), and of the prior at t = 1, from standard normal noise of x's shape."""

    name: ClassVar[str]

    def noised(self, x_0: Tensor, noise: Tensor, t: NoiseLevel) -> Tensor: ...

    def start(self, noise: Tensor, std: float) -> Tensor: ...


ProcessConfig = Gaussian | Binomial
