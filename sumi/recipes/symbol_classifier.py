"""A classifier of noised symbols (Schiff et al. 2024, "Simple guidance mechanisms for discrete diffusion models").

It guides models of the recipe ``symbols`` with the same process and data: to classes, or by ``values=logp`` to
numbers. Narrow, since guidance evaluates it for each symbol that each position could have; weight decay, dropout and a
falling learning rate keep it from learning its data by heart.
"""

from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.models.symbols.classifier import SymbolClassifierConfig
from sumi.networks.symbols import SymbolTransformerConfig
from sumi.training.config import TrainingConfig


def recipe(data: DataConfig, _: DataSpec) -> SymbolClassifierConfig:
    """Two blocks of width 64; -log p(y | x_t) at shares of kept symbols uniform in [0, 1]."""
    training = TrainingConfig(
        steps=3000, batch_size=128, learning_rate=2e-3, weight_decay=0.05, decay="cosine", sample_every=0
    )
    network = SymbolTransformerConfig(width=64, blocks=2, embedding=64, registers=1, dropout=0.1)
    return SymbolClassifierConfig(recipe="symbol-classifier", data=data, training=training, network=network)
