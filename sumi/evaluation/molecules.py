"""What is measured of a model of molecules."""

from dataclasses import dataclass

from sumi.metrics.intervals import Estimate
from sumi.metrics.molecules import MoleculeFigures


@dataclass(frozen=True)
class PropertyError:
    """The mean error of samples that were to have a value, in its units, and of what it is to be compared with.

    ``unconditional``: of samples that were not; ``judge``: of the judge, on real molecules (0 where it counts).
    """

    name: str
    conditional: Estimate
    unconditional: Estimate
    judge: float


@dataclass(frozen=True)
class MoleculeEvaluation:
    """``samples`` and ``real``: the figures of samples and of held-out molecules. Bond lengths in ångström: W1 of
    samples, and of as many training molecules, to the held-out ones."""

    seed: int
    samples: MoleculeFigures
    real: MoleculeFigures
    bond_lengths: float
    bond_lengths_real: float
    properties: tuple[PropertyError, ...] = ()
