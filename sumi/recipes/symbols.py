"""Text diffusion: masked diffusion in continuous time (Sahoo et al. 2024, "MDLM"), of text and other symbols.

A bidirectional transformer fills in masks and is trained on the bound itself, the cross-entropy of masked symbols by
1/t; it is not told the time, since the masks show it. ``process=uniform`` is UDLM (Schiff et al. 2024), in which
symbols become other symbols, ``process=mixture`` has both. Conditions on classes and numbers are dropped for guidance:
``conditioning=labels`` or ``conditioning=values``.
"""

from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.models.symbols.system import SymbolSampling, SymbolsConfig
from sumi.sampling.symbols import AUTO
from sumi.training.config import TrainingConfig


def recipe(data: DataConfig, items: DataSpec) -> SymbolsConfig:
    """The paper's loss, schedule and times; small batches, Muon and a learning rate that falls to 0 learn fast.

    Samples are made a symbol a step, up to 64 steps, the surest first, sharper than learned, and corrected once.
    """
    training = TrainingConfig(
        steps=10_000,
        batch_size=128,
        optimizer="muon",
        learning_rate=1e-3,
        muon_learning_rate=0.006,
        decay="cosine",
        beta_2=0.99,
        ema_decay=0.999,
    )
    sampling = SymbolSampling(solver=AUTO, steps=min(64, items.shape[0]), temperature=0.8, corrections=1)
    return SymbolsConfig(recipe="symbols", data=data, training=training, certain_ends=True, sampling=sampling)
