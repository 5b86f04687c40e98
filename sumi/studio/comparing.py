"""Solvers of a model compared at equal numbers of network evaluations: a request, its call, and its command."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sumi.boundary.config import parse_json
from sumi.boundary.files import contents
from sumi.errors import InputError

if TYPE_CHECKING:
    from sumi.models.diffusion.model import DiffusionModel

MOST_COMPARED: Final = 12
FILE: Final = "comparison.json"


@dataclass(frozen=True)
class Comparing:
    """``solvers`` of a ``model`` at numbers of ``evaluations``, on ``n`` images; None: those of `sumi compare`."""

    model: str
    solvers: tuple[str, ...] | None = None
    evaluations: tuple[int, ...] = (5, 10, 20)
    n: int = field(default=16, metadata={"most": 1024})
    frechet: bool = False
    seed: int = field(default=0, metadata={"most": 2**31})

    def __post_init__(self) -> None:
        for name in ("solvers", "evaluations"):
            if len(getattr(self, name) or ()) > MOST_COMPARED:
                raise InputError(f"{name}: are more than {MOST_COMPARED}; give fewer")
        if any(not 1 <= count <= 250 for count in self.evaluations):
            raise InputError("evaluations: are out of range; give numbers from 1 to 250")

    def compare(self, model: "DiffusionModel", out: Path, progress: Callable[[str, int, int], None]) -> dict[str, Any]:
        """The rows, as `sumi compare` writes them; they are kept in ``out``. Raises InputError."""
        from sumi.evaluation.solvers import compare, write_comparison

        found = compare(
            model, self.solvers, self.evaluations, n=self.n, frechet=self.frechet, seed=self.seed, progress=progress
        )
        write_comparison(found, out)
        return compared_in(out)

    def command(self, run: str) -> str:
        """The command that does the same."""
        words = ["sumi", "compare", run, "--steps", ",".join(map(str, self.evaluations)), "-n", str(self.n)]
        words += [] if self.solvers is None else ["--solvers", ",".join(self.solvers)]
        words += ["--frechet"] if self.frechet else []
        return shlex.join([*words, "--seed", str(self.seed)])


def compared_in(*folders: Path) -> dict[str, Any]:
    """The comparison in the first of the folders that has one, as `sumi compare` writes it; {} where none has."""
    for folder in folders:
        if (folder / FILE).is_file():
            found: dict[str, Any] = parse_json(contents(folder / FILE), folder / FILE, "remove it and compare again")
            return found
    return {}
