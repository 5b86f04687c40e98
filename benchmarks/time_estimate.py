"""How well the time of a training is told: what is said after 20 steps, against what the rest then takes.

    python -m benchmarks.time_estimate [--steps N]

Prints a row for each of five trainings, without samples on the way, as the estimate leaves them out.
"""

import argparse
import re
import tempfile
import time
from pathlib import Path

from sumi.training.trainer import MEASURED
from sumi.training_run import Events, train

RUNS = {
    "ddpm, digits": ("ddpm", "digits", ()),
    "edm, fashion at 28 px": ("edm", "fashion", ("training.batch_size=32",)),
    "jit, characters at 32 px": ("jit", "characters", ("data.reduce=2", "training.batch_size=32")),
    "molecules, qm7-small": ("molecules", "qm7-small", ()),
    "symbols, qm9-smiles": ("symbols", "qm9-smiles", ()),
}


def measured(recipe: str, data: str, settings: tuple[str, ...], steps: int) -> tuple[float, float]:
    """Seconds of the steps after the twentieth: as estimated, and as they were."""
    estimates: list[tuple[float, float]] = []
    seen: list[tuple[float, int]] = []

    def say(line: str) -> None:
        if match := re.search(r"([\d,]+) steps at ([\d.e+-]+) s a step: about", line):
            estimates.append((time.perf_counter(), int(match[1].replace(",", "")) * float(match[2])))

    events = Events(say, lambda now: seen.append((time.perf_counter(), now.step)))
    own = (*settings, "training.sample_every=0", "training.check_every=0", f"training.log_every={steps}")
    with tempfile.TemporaryDirectory() as folder:
        train(recipe, data=data, out=Path(folder) / "run", steps=steps, settings=own, device="cpu", events=events)
    (begun, estimate), (last, step) = estimates[0], seen[-1]
    return estimate, (last - begun) * (steps - MEASURED) / (step - MEASURED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=120)
    options = parser.parse_args()
    print("| training | estimated, s | took, s | ratio |")
    print("| --- | --- | --- | --- |")
    for name, (recipe, data, settings) in RUNS.items():
        estimate, took = measured(recipe, data, settings, options.steps)
        print(f"| {name} | {estimate:.1f} | {took:.1f} | {took / estimate:.2f} |", flush=True)


if __name__ == "__main__":
    main()
