"""A judge, which reads the attributes of pictures, to measure what a text-to-image model makes of its prompts.

As the attributes are read by a network that saw real pictures alone (Heusel et al. 2017 measure by such a network's
features), so they count for a generated picture what they would for a real one. It is trained on all splits of the
data.
"""

from dataclasses import replace

from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.models.attributes import JudgeConfig
from sumi.training.config import TrainingConfig


def recipe(data: DataConfig, _: DataSpec) -> JudgeConfig:
    """A head for each attribute; a falling learning rate, and averaged weights of a short memory."""
    training = TrainingConfig(
        steps=1200, batch_size=64, learning_rate=2e-3, weight_decay=0.05, decay="cosine", ema_decay=0.99, sample_every=0
    )
    return JudgeConfig(recipe="judge", data=replace(data, own_splits=False), training=training)
