"""DiT (Peebles & Xie 2023, "Scalable diffusion models with transformers").

A transformer on patches of latents in place of the U-Net, in the process of DDPM: linear β in 1000 steps, the network
predicts ε. The paper's network also learns the variance: ``variance=learned sampling.solver=ddpm_learned``.
"""

from dataclasses import replace

from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.models.diffusion.autoencoder import TrainedAutoencoder
from sumi.models.diffusion.system import DiffusionConfig
from sumi.networks.transformer import TransformerConfig
from sumi.recipes import ddpm


def recipe(data: DataConfig, spec: DataSpec) -> DiffusionConfig:
    """Patches of 2x2 latents, as the paper's best networks have; latents have no threshold."""
    base = ddpm.recipe(data, spec)
    return replace(
        base,
        recipe="dit",
        autoencoder=TrainedAutoencoder(),
        network=TransformerConfig(patch=2),
        sampling=replace(base.sampling, threshold="none"),
    )
