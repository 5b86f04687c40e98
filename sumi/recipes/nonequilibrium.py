"""Deep unsupervised learning using nonequilibrium thermodynamics (Sohl-Dickstein et al. 2015).

The first diffusion models: few steps (40), trained on the variational bound itself, which also learns the schedule for
fixed β_1 and ᾱ_T. Points and images take the Gaussian kernel. Bits take the binomial one, which keeps or resamples a
bit, on the paper's schedule, which erases the same share of the information in every step. (The paper learns variances
too; here they are the posterior's.)
"""

from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.denoising.parameterization import PredictClean
from sumi.denoising.weighting import LikelihoodWeighting
from sumi.models.diffusion.system import DiffusionConfig
from sumi.objectives.times import GridTimes
from sumi.process.binomial import Binomial
from sumi.process.continuous import Erasing
from sumi.process.learned import LearnedChain
from sumi.sampling.sampler import BINOMIAL, Sampling

STEPS = 40


def recipe(data: DataConfig, spec: DataSpec) -> DiffusionConfig:
    """The paper's two processes, each trained on its bound and sampled by the same chain."""
    if spec.levels == 2:
        return DiffusionConfig(
            recipe="nonequilibrium",
            data=data,
            process=Binomial(),
            schedule=Erasing(steps=STEPS),
            parameterization=PredictClean(),
            weighting=LikelihoodWeighting(),
            times=GridTimes(STEPS),
            sampling=Sampling(solver=BINOMIAL, steps=STEPS, threshold="none"),
        )
    return DiffusionConfig(
        recipe="nonequilibrium",
        data=data,
        schedule=LearnedChain(steps=STEPS, beta_start=1e-3, beta_end=0.2),
        weighting=LikelihoodWeighting(),
        times=GridTimes(STEPS),
        sampling=Sampling(solver="ddpm", steps=STEPS),
    )
