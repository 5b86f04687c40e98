"""What compiling the blocks of a network saves (`training.compile`), for docs/results/speed.md.

    python -m benchmarks.compiling [RECIPE=DATA …] [--steps 20] [--rounds 5]

CPU seconds of a training step as written and compiled, in turns, one thread; the medians, and after how many steps the
wait for the compiler is made up for (the wait is of the first step, by the clock on the wall). Data are built-in sets.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from sumi.boundary.settings import override
from sumi.data.config import DataConfig
from sumi.data.load import load
from sumi.recipes import build
from sumi.training.trainer import Trainer

SYSTEMS = ("jit=characters", "symbols=qm9-smiles", "dit=characters", "ddpm=fashion", "molecules=qm7-small")
SETTINGS = {
    "jit": ("data.size=64", "training.batch_size=32"),
    "dit": ("data.size=32", "training.batch_size=32"),
    "symbols": ("certain_ends=false",),
}


def trainer(recipe: str, source: str, choice: str, folder: str) -> Trainer:
    """Of the recipe's configuration, with blocks compiled or not."""
    data = load(DataConfig(source))
    settings = (*SETTINGS.get(recipe, ()), "training.sample_every=0", f"training.compile={choice}")
    config = override(build(recipe, DataConfig(source), data.spec), settings)
    train, _ = load(config.data).split(config.data.held_out)
    objective = config.build(train.spec)
    objective.fit(train)
    return Trainer(config.training, objective.train(), train, 0, Path(folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="*", default=SYSTEMS, metavar="RECIPE=DATA", help=", ".join(SYSTEMS))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| training | a step as written, CPU s | compiled | ratio | wait, s | repaid after steps |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in options.systems:
        recipe, _, source = name.partition("=")
        with tempfile.TemporaryDirectory() as folder:
            ways = {choice: trainer(recipe, source, choice, folder) for choice in ("off", "on")}
            waits = {}
            for choice, way in ways.items():
                begin = time.perf_counter()
                way.take_step(1)
                waits[choice] = time.perf_counter() - begin
            times: dict[str, list[float]] = {choice: [] for choice in ways}
            for turn in range(options.rounds):
                for choice, way in ways.items():
                    begin = time.process_time()
                    for step in range(options.steps):
                        way.take_step(2 + turn * options.steps + step)
                    times[choice].append((time.process_time() - begin) / options.steps)
        written, compiled = (statistics.median(times[choice]) for choice in ways)
        wait = waits["on"] - waits["off"]
        repaid = f"{wait / (written - compiled):,.0f}" if compiled < written else "never"
        row = [f"{recipe}, {source}", f"{written:.3f}", f"{compiled:.3f}", f"{written / compiled:.2f}", f"{wait:.0f}"]
        print(f"| {' | '.join([*row, repaid])} |", flush=True)


if __name__ == "__main__":
    main()
