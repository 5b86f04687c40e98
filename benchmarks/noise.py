"""What a training step's noise costs: by each generator, next to torch's own, and as a share of the step.

    python -m benchmarks.noise [--batch 128] [--rounds 15]

Prints µs a sample on one thread, the median of interleaved rounds, in CPU time.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from sumi import randomness
from sumi.boundary.settings import override
from sumi.data import philox
from sumi.data.batch import NoiseName
from sumi.data.config import DataConfig
from sumi.data.load import load
from sumi.randomness import Purpose
from sumi.recipes import build
from sumi.training.trainer import Trainer

SHAPES = ((3, 32, 32), (3, 64, 64), (4, 32, 32), (3, 256, 256))


def seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def of_generators(batch: int, rounds: int) -> None:
    """A table: rows are shapes, columns the generators."""
    names = ("philox", "numpy", "torch.randn")
    print(f"µs a sample in a batch of {batch} | " + " | ".join(names))
    for shape in SHAPES:
        count = max(1, min(batch, 2**24 // torch.Size(shape).numel()))
        places = list(range(count))
        ways: dict[str, Callable[[], object]] = {
            "philox": lambda: philox.normal(0, places, 1, Purpose.TRAINING_NOISE, shape),  # noqa: B023
            "numpy": lambda: randomness.normal(0, places, 1, Purpose.TRAINING_NOISE, shape),  # noqa: B023
            "torch.randn": lambda: torch.randn(count, *shape),  # noqa: B023
        }
        times: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(rounds):
            for name in names:
                times[name].append(seconds(ways[name]) / count * 1e6)
        shown = " | ".join(f"{statistics.median(times[name]):.1f}" for name in names)
        print(f"{'x'.join(map(str, shape))} | {shown}")


def of_a_step(noise: NoiseName, rounds: int) -> None:
    """The share of the noise in the steps of a DDPM of the built-in images."""
    dataset = load(DataConfig("fashion"))
    config = override(build("ddpm", DataConfig("fashion"), dataset.spec), [f"training.noise={noise}"])
    train, _ = dataset.split(0.1)
    objective = config.build(dataset.spec)
    objective.fit(train)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config.training, objective.train(), train, 0, Path(folder))
        trainer.take_step(1)
        whole = statistics.median(seconds(lambda: trainer.take_step(step)) for step in range(2, 2 + rounds))  # noqa: B023
    count, places = config.training.batch_size, list(range(config.training.batch_size))
    make = philox.normal if noise == "philox" else randomness.normal
    own = statistics.median(
        seconds(lambda: make(0, places, step, Purpose.TRAINING_NOISE, dataset.shape))  # noqa: B023
        for step in range(rounds)
    )
    parameters = sum(weight.numel() for weight in objective.parameters())
    print(
        f"{noise}: {own * 1e3:.2f} ms of a step of {whole * 1e3:.0f} ms, {own / whole:.2%} "
        f"({count} images {dataset.shape}, {parameters:,} parameters)"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    of_generators(options.batch, options.rounds)
    for name in ("philox", "numpy"):
        of_a_step(name, min(options.rounds, 5))
