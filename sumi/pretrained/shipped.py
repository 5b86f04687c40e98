"""The models that come with Sumi: run folders in the folder of this file, each with a card and a sheet of samples."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sumi.errors import InputError

PLACE: Final = Path(__file__).parent
CARD: Final = "card.json"
SHEET: Final = "sheet.png"
PROMPTS: Final = "prompts.txt"
"""Of a model with prompts: what its sheet shows, one a line."""


@dataclass(frozen=True)
class Card:
    """What is to be known about a model before it is used.

    ``makes``: in one line; ``command``: what trained it, in ``seconds`` on ``machine``; ``data_sha256``: the
    fingerprint of its data; ``figures``: name to value with its interval, in words.
    """

    makes: str
    data: str
    data_sha256: str
    licence: str
    command: str
    seconds: float
    machine: str
    figures: dict[str, str]


def names() -> list[str]:
    """The names of the models that come with Sumi, sorted."""
    return sorted(file.parent.name for file in PLACE.glob(f"*/{CARD}"))


def shipped(run: Path) -> Path | None:
    """The folder of the model with this bare name, unless a run folder of somebody's has the same."""
    if run.name != str(run) or run.name not in names() or (run / "config.json").exists():
        return None
    return PLACE / run


def read_card(name: str) -> Card:
    """The card of a model of `names`. Raises InputError if there is none, or if it is damaged."""
    file = PLACE / name / CARD
    if name not in names():
        raise InputError(f"{name}: is not a model that comes with Sumi; there are: {', '.join(names()) or 'none'}")
    try:
        return Card(**json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{file}: cannot be read ({error}); install Sumi again") from None


def size(name: str) -> int:
    """Bytes of all files of a model of `names`."""
    return sum(file.stat().st_size for file in (PLACE / name).rglob("*") if file.is_file())
