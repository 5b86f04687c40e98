"""Wrong numerics, each of which some test must notice: a sign, a root, an index, two coefficients swapped.

They stand in `mutations.jsonl`, one a line. `tests/test_mutations.py` makes each change in a copy of the package and
runs the named tests there: they must fail.
"""

import json
from pathlib import Path
from typing import Final, NamedTuple


class Mutation(NamedTuple):
    """``old``, which stands once in ``file`` (below sumi/), becomes ``new``; ``test`` (below tests/) finds it."""

    file: str
    old: str
    new: str
    test: str


TABLE: Final = Path(__file__).with_suffix(".jsonl")
MUTATIONS: Final = [Mutation(*json.loads(line)) for line in TABLE.read_text().splitlines() if line.startswith("[")]
