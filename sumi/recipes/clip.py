"""CLIP (Radford et al. 2021, "Learning transferable visual models from natural language supervision").

With SigLIP's loss (Zhai et al. 2023), which suits small batches better, a small convolutional network and a text
transformer of two layers. No augmentation changes colours, as the captions name them.
"""

from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.models.clip import ClipConfig
from sumi.training.config import TrainingConfig


def recipe(data: DataConfig, _: DataSpec) -> ClipConfig:
    """Batches of 256 pairs, a falling learning rate, and averaged weights of a short memory."""
    training = TrainingConfig(
        steps=1500, batch_size=256, weight_decay=0.1, decay="cosine", ema_decay=0.99, sample_every=0
    )
    return ClipConfig(recipe="clip", data=data, training=training)
