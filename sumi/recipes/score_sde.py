"""Score SDE (Song et al. 2021, "Score-based generative modeling through stochastic differential equations").

Noising in continuous time, variance preserving; ``--set schedule=sub_vp`` and ``schedule=ve`` give the paper's other
two SDEs. The error of ε̂ has the same weight at every level; ``weighting=likelihood`` trains on a bound of the
likelihood instead (Song, Durkan, Murray & Ermon 2021). The probability-flow ODE gives the likelihood itself.
"""

from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.models.diffusion.system import DiffusionConfig
from sumi.objectives.times import UniformTimes
from sumi.process.continuous import VP
from sumi.sampling.sampler import Sampling


def recipe(data: DataConfig, _: DataSpec) -> DiffusionConfig:
    """The variance preserving SDE from t = 1e-5, sampled by its ODE; ``predictor_corrector`` is the paper's sampler."""
    return DiffusionConfig(
        recipe="score-sde",
        data=data,
        schedule=VP(),
        times=UniformTimes(start=1e-5),
        stratified_times=True,
        sampling=Sampling(solver="adams", steps=50),
    )
