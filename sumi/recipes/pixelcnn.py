"""PixelCNN (van den Oord et al. 2016, "Pixel recurrent neural networks"), as a baseline.

Gated, without a blind spot, and with a mixture of logistics for many levels (Salimans et al. 2017, "PixelCNN++").
"""

from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.models.baselines.model import BaselineConfig
from sumi.models.baselines.pixelcnn import PixelCNNConfig
from sumi.training.config import TrainingConfig


def recipe(data: DataConfig, _: DataSpec) -> BaselineConfig:
    """The learning rate falls to 0; without dropout it overfits small sets."""
    network = PixelCNNConfig(width=32, blocks=4, dropout=0.3)
    training = TrainingConfig(
        steps=3000, batch_size=64, learning_rate=3e-3, decay="cosine", precision="fp32", ema_decay=0.999
    )
    return BaselineConfig(recipe="pixelcnn", data=data, network=network, training=training)
