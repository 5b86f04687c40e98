"""Text diffusion: masked diffusion in continuous time (Sahoo et al. 2024, "MDLM"), of text and other symbols.

A bidirectional transformer fills in masks and is trained on the bound itself, the cross-entropy of masked symbols by
1/t; it is not told the time, since the masks show it. ``process=uniform`` is UDLM (Schiff et al. 2024), in which
symbols become other symbols, ``process=mixture`` has both. Conditions on classes and numbers are dropped for guidance:
``conditioning=labels`` or ``conditioning=values``.
"""

from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.models.symbols.system import SymbolsConfig
from sumi.training.config import TrainingConfig


def recipe(data: DataConfig, _: DataSpec) -> SymbolsConfig:
    """The paper's loss, schedule and times; small batches, Muon and a learning rate that falls to 0 learn fast."""
    training = TrainingConfig(
        steps=10_000,
        batch_size=64,
        optimizer="muon",
        learning_rate=1.5e-3,
        decay="cosine",
        beta_2=0.99,
        ema_decay=0.999,
    )
    return SymbolsConfig(recipe="symbols", data=data, training=training)
