"""An autoencoder for latent diffusion (Rombach et al. 2022, section 3.1): a fourth of each side, KL-regularized."""

from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.models.autoencoder import AutoencoderConfig
from sumi.training.config import TrainingConfig


def recipe(data: DataConfig, _: DataSpec) -> AutoencoderConfig:
    """Four channels of latents; orthogonal steps, whose rate falls at the end."""
    training = TrainingConfig(steps=8000, batch_size=16, optimizer="muon", decay="cosine", sample_every=0)
    return AutoencoderConfig(recipe="autoencoder", data=data, training=training)
