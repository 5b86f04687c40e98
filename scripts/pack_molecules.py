"""Packs the smallest molecules of QM7 into the file of the built-in set ``qm7-small``.

    python -m scripts.pack_molecules QM7.NPZ OUT.NPZ

QM7.NPZ has the arrays of `sumi.data.molecule_files`. Of molecules of one size the first come first.
"""

import sys
from pathlib import Path

import numpy as np

from sumi.data.builtin.molecules import STEP

COUNT = 2000


def pack(source: Path, out: Path, count: int = COUNT) -> None:
    """Write the ``count`` smallest molecules of ``source``, in its order."""
    with np.load(source, allow_pickle=False) as file:
        numbers, positions, offsets = file["atomic_number"], file["position"], file["offsets"]
        ids, energy = file["molecule_id"], file["energy"][:, 0]
    sizes = np.diff(offsets)
    chosen = np.sort(np.argsort(sizes, kind="stable")[:count])
    rows = np.concatenate([np.arange(offsets[i], offsets[i + 1]) for i in chosen])
    np.savez_compressed(
        out,
        atomic_number=numbers[rows].astype(np.uint8),
        position=np.round(positions[rows] / STEP).astype(np.int16),
        sizes=sizes[chosen].astype(np.uint8),
        molecule_id=ids[chosen].astype(np.int16),
        energy=energy[chosen].astype(np.float32),
    )


if __name__ == "__main__":
    pack(Path(sys.argv[1]), Path(sys.argv[2]))
