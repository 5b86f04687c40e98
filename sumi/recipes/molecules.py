"""Molecules in space (Hoogeboom et al. 2022, "Equivariant diffusion for molecule generation in 3D").

Places and elements of atoms are denoised together by an E(3)-equivariant network, in the subspace of zero mean. Instead
of the paper's chain of 1000 steps, the preconditioning of Karras et al. 2022 and a sampler of 32 steps; a smaller
network, and Muon, which in a short training learns as much in half the steps: at a rate of 0.012, as at 0.05 the loss
stands still until the rate has fallen. Distances are described by Gaussians that are 0.07 Å apart where there is little
noise: a single and a double bond differ by more.
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
    """Noise from 0.005 to 27 Å; most of the training where bonds are decided, about 0.6 Å."""
    return MoleculesConfig(
        recipe="molecules",
        data=data,
        schedule=EDM(sigma_max=10.0),
        network=PairNetworkConfig(),
        times=LogNormalTimes(mean=-1.5, std=1.3),
        sampling=Sampling(solver="adams", steps=32, threshold="none"),
        training=TrainingConfig(
            batch_size=64,
            optimizer="muon",
            learning_rate=1e-3,
            muon_learning_rate=0.012,
            precision="bf16",
            decay="cosine",
        ),
    )
