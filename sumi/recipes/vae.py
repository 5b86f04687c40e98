"""VAE (Kingma & Welling 2014, "Auto-encoding variational Bayes"), to compare diffusion with.

Residual convolutional networks, a Gaussian latent, and a decoder that says how sure it is of each value.
"""

from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.models.baselines.model import BaselineConfig
from sumi.models.baselines.vae import VAEConfig
from sumi.training.config import TrainingConfig


def recipe(data: DataConfig, _: DataSpec) -> BaselineConfig:
    """A rate that falls to 0; in bfloat16 the bound of nearly certain values would be rough."""
    training = TrainingConfig(
        steps=3000, batch_size=64, learning_rate=3e-3, decay="cosine", precision="fp32", ema_decay=0.999
    )
    return BaselineConfig(recipe="vae", data=data, network=VAEConfig(), training=training)
