"""What samples state of themselves, as their files carry it: an estimated error, and the evaluations that it took.

    00000.png, .wav, …   stated_error and evaluations of the one sample, with all else that the file says of it
    a picture of many    the worst and the median of these errors, the most and the median of the evaluations
    arrays of many       an array of each, in the .npz, or as stated_error.npy and evaluations.npy next to the .npy

They are known once a sample is made, and are no settings (`MEASURED`). While samples are made in parts, what those of a
part state lies next to it, as PART.json.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sumi.boundary.files import write_text

ERROR, EVALUATIONS = "stated_error", "evaluations"
STATED: Final = (ERROR, EVALUATIONS)
MEASURED: Final = frozenset(
    {*STATED, f"{ERROR}_worst", f"{ERROR}_median", f"{EVALUATIONS}_most", f"{EVALUATIONS}_median"}
)
"""Facts of a file that are none of its settings."""

Facts = Mapping[str, object]


def stated_in(facts: Facts) -> dict[str, float]:
    """What a sample states, of all that is known of it: both numbers, or none."""
    match facts:
        case {"stated_error": float() as error, "evaluations": int() as evaluations}:
            return {ERROR: error, EVALUATIONS: evaluations}
        case _:
            return {}


def summary(each: Sequence[Facts]) -> dict[str, object]:
    """Of many samples, by what is known of each: {} where one of them states nothing."""
    found = columns(each)
    if not found:
        return {}
    errors, evaluations = (found[name].tolist() for name in STATED)
    return {
        f"{ERROR}_worst": max(errors),
        f"{ERROR}_median": float(f"{median(errors):.3g}"),
        f"{EVALUATIONS}_most": max(evaluations),
        f"{EVALUATIONS}_median": median(evaluations),
    }


def columns(each: Sequence[Facts]) -> dict[str, NDArray[Any]]:
    """The errors, float64 (N,), and the evaluations, int64 (N,), by name: {} where one of them states nothing."""
    stated = [*map(stated_in, each)]
    if not stated or not all(stated):
        return {}
    return {
        name: np.array([one[name] for one in stated], kind) for name, kind in zip(STATED, (float, int), strict=True)
    }


def keep_stated(part: Path, each: Sequence[Facts]) -> None:
    """Put what the samples of a ``part`` state next to it, before it is there itself; nothing where they do not."""
    stated = [*map(stated_in, each)]
    if all(stated):
        write_text(part.with_suffix(".json"), json.dumps(stated) + "\n")


def kept_stated(part: Path, count: int) -> list[Facts]:
    """What `keep_stated` put there of the ``count`` samples of a part; nothing of any, where that is not whole."""
    try:
        found = json.loads(part.with_suffix(".json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        found = None
    match found:
        case [*each] if len(each) == count and all(isinstance(one, dict) for one in each):
            return each
        case _:
            return [{}] * count
