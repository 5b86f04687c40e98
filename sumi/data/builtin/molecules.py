"""``qm7-small``: 2,000 molecules of QM7, the smallest, of H, C, N, O and S, with their energies.

``energy``: the heat of formation in kcal/mol (PBE0/def2-TZVP). Places are rounded to a thousandth of an ångström
(``scripts/pack_molecules.py``). A molecule's key is that of QM7's whole file: it falls on the same side of the split.
"""

from pathlib import Path
from typing import Final

import numpy as np

from sumi.data.config import DataConfig
from sumi.data.dataset import Progress
from sumi.data.molecule_files import from_arrays
from sumi.data.molecules import OTHER_FIELDS, MoleculeDataset

STEP: Final = 1e-3
"""Ångström: of the whole numbers that places are stored as."""
_FILE: Final = Path(__file__).parent / "qm7-small.npz"


def load_qm7_small(config: DataConfig, progress: Progress | None = None) -> MoleculeDataset:
    """2,000 molecules of up to 13 atoms."""
    del progress  # nothing here takes time
    config.refuse("molecules", OTHER_FIELDS)
    with np.load(_FILE, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["position"] = arrays["position"] * np.float64(STEP)
    arrays["offsets"] = np.concatenate([[0], np.cumsum(arrays.pop("sizes"), dtype=np.int64)])
    return from_arrays(arrays, "qm7", config.source)
