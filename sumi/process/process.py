"""The processes, by name: what noising does to data, and where sampling begins. One line a process."""

from typing import ClassVar, Protocol

from torch import Tensor

from sumi.process.binomial import Binomial
from sumi.process.gaussian import Gaussian
from sumi.process.schedule import NoiseLevel


class Process(Protocol):
    """A draw of q(x_t | x_0), and of what is left of the data at t = 1, from standard normal noise of x's shape."""

    name: ClassVar[str]

    def noised(self, x_0: Tensor, noise: Tensor, t: NoiseLevel) -> Tensor: ...

    def start(self, noise: Tensor, std: float) -> Tensor: ...


ProcessConfig = Gaussian | Binomial
