"""A classifier of noisy images (Dhariwal & Nichol 2021, section 4), which guides models of any schedule.

It overfits images without noise, so it has weight decay (0.05, as in the authors' code) and a falling learning rate.
"""

from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.models.classifier import NoisyClassifierConfig
from sumi.training.config import TrainingConfig


def recipe(data: DataConfig, _: DataSpec) -> NoisyClassifierConfig:
    """The ADM's encoder with attention pooling; cross-entropy at log-SNR uniform from -8 to 8."""
    training = TrainingConfig(steps=3000, weight_decay=0.05, decay="cosine", sample_every=0)
    return NoisyClassifierConfig(recipe="noisy-classifier", data=data, training=training)
