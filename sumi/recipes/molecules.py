"""Molecules in space (Hoogeboom et al. 2022, "Equivariant diffusion for molecule generation in 3D").

Places and elements of atoms are denoised together by an E(3)-equivariant network, in the subspace of zero mean. What
differs from the paper serves a training of an hour on one core: the preconditioning of Karras et al. 2022 instead of a
chain of 1000 steps, and a stochastic sampler of 200, which corrects its own errors; a network whose pairs of atoms keep
features of their own (`sumi.networks.pairs`); most of the training at noise of 0.1 to 1 Å, where bonds are decided; and
Muon.
"""

from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.models.molecules.system import MoleculesConfig
from sumi.networks.pairs import PairNetworkConfig
from sumi.objectives.times import LogNormalTimes
from sumi.process.exploding import EDM
from sumi.sampling.sampler import Sampling
from sumi.training.config import TrainingConfig


def recipe(data: DataConfig, _: DataSpec) -> MoleculesConfig:
    """Noise from 0.005 to 27 Å; half of the training between 0.18 and 0.7 Å."""
    return MoleculesConfig(
        recipe="molecules",
        data=data,
        schedule=EDM(sigma_max=10.0),
        network=PairNetworkConfig(),
        times=LogNormalTimes(mean=-2.0, std=1.0),
        sampling=Sampling(solver="dpmpp_2m_sde", steps=200, threshold="none"),
        training=TrainingConfig(
            batch_size=64,
            optimizer="muon",
            learning_rate=2e-3,
            muon_learning_rate=0.025,
            precision="bf16",
            decay="cosine",
        ),
    )
