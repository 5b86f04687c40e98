"""Pack 10,000 molecules of QM9 as SMILES strings with their logP into one small file, which the package carries.

    python -m scripts.pack_smiles qm9_smiles.csv.gz sumi/data/builtin/qm9-smiles.csv.xz

The source has a line "smiles" and one string a line; 10,000 of them are drawn by NumPy's generator of seed 9 and kept
in their order. logP is Crippen's estimate by rdkit (Wildman & Crippen 1999), rounded to hundredths.
"""

import argparse
import gzip
import lzma
from pathlib import Path

import numpy as np
from rdkit.Chem import MolFromSmiles
from rdkit.Chem.Crippen import MolLogP

COUNT, SEED, LONGEST = 10_000, 9, 28


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    with gzip.open(options.source, "rt", encoding="ascii") as file:
        strings = [line.strip() for line in file][1:]
    short = [string for string in strings if len(string) <= LONGEST and MolFromSmiles(string) is not None]
    chosen = np.sort(np.random.default_rng(SEED).choice(len(short), COUNT, replace=False))
    rows = [f"{short[i]},{MolLogP(MolFromSmiles(short[i])):.2f}" for i in chosen]
    options.out.write_bytes(lzma.compress("\n".join(["smiles,logp", *rows, ""]).encode("ascii"), preset=9))
    print(f"{len(rows)} of {len(strings)} strings, {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
