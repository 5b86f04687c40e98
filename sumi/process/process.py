"""The processes by name: ``noised`` samples q(x_t | x_0), ``start`` the prior at t = 1. One line per process."""

from sumi.process.binomial import Binomial
from sumi.process.gaussian import Gaussian

ProcessConfig = Gaussian | Binomial
