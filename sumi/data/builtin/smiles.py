"""``qm9-smiles``: 10,000 small molecules as SMILES strings of up to 27 characters, with their logP.

A sample of QM9 (Ramakrishnan et al. 2014), which enumerates molecules of up to nine atoms of C, N, O and F besides
hydrogen. Packed by ``scripts/pack_smiles.py``; ``ATTRIBUTION.md`` has the origin.
"""

import lzma
from pathlib import Path

from sumi.data.config import DataConfig
from sumi.data.dataset import Progress
from sumi.data.symbol_files import from_table
from sumi.data.symbols import SymbolDataset


def load_smiles(config: DataConfig, progress: Progress | None = None) -> SymbolDataset:
    """The strings, and the column ``logp``."""
    del progress  # it takes no time
    text = lzma.decompress((Path(__file__).parent / "qm9-smiles.csv.xz").read_bytes()).decode("ascii")
    return from_table(text.splitlines(), config, "qm9-smiles")
