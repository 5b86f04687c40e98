"""All kinds of data: what the ``items`` of a run folder may be."""

from sumi.data.audio import AudioSpec
from sumi.data.images import ImageSpec
from sumi.data.molecules import MoleculeSpec
from sumi.data.symbols import SymbolSpec
from sumi.data.vectors import VectorSpec

SPECS = ImageSpec | VectorSpec | MoleculeSpec | AudioSpec | SymbolSpec
