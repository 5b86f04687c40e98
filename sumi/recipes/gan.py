"""GAN (Goodfellow et al. 2014, "Generative adversarial nets"), as a baseline.

With the loss, the gradient penalties and the optimizer of R3GAN (Huang et al. 2024, "The GAN is dead; long live the
GAN!"): no momentum, and a short average of squared gradients.
"""

from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.models.baselines.gan import GANConfig
from sumi.models.baselines.model import BaselineConfig
from sumi.training.config import TrainingConfig


def recipe(data: DataConfig, _: DataSpec) -> BaselineConfig:
    """Adversarial gradients are large, so only exploding ones are clipped."""
    training = TrainingConfig(
        steps=3000,
        batch_size=64,
        learning_rate=1e-3,
        beta_1=0.0,
        beta_2=0.99,
        gradient_clip=100.0,
        precision="fp32",
        ema_decay=0.999,
    )
    return BaselineConfig(recipe="gan", data=data, network=GANConfig(), training=training)
