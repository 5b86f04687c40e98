"""VAE (Kingma & Welling 2014, "Auto-encoding variational Bayes"), as a baseline.

Residual convolutional networks, a Gaussian latent, and a decoder with a learned standard deviation for each value.
"""

from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.models.baselines.model import BaselineConfig
from sumi.models.baselines.vae import VAEConfig
from sumi.training.config import TrainingConfig


def recipe(data: DataConfig, _: DataSpec) -> BaselineConfig:
    """The learning rate falls to 0; float32, since bfloat16 would be too coarse for nearly certain values."""
    training = TrainingConfig(
        steps=3000, batch_size=64, learning_rate=3e-3, decay="cosine", precision="fp32", ema_decay=0.999
    )
    return BaselineConfig(recipe="vae", data=data, network=VAEConfig(), training=training)
