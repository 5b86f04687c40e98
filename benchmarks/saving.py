"""How long the steps of a training wait for its checkpoints, saved in the background and at once.

    python -m benchmarks.saving [--steps 200] [--every 50]

Prints the share of the time that the training waits, and what one checkpoint holds.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from sumi.boundary.settings import override
from sumi.data.config import DataConfig
from sumi.data.load import load
from sumi.recipes import build
from sumi.training.trainer import Trainer


def waits(steps: int, every: int, settings: list[str]) -> str:
    """Of a DDPM of the built-in images."""
    dataset = load(DataConfig("fashion"))
    config = override(build("ddpm", DataConfig("fashion"), dataset.spec), settings)
    train, _ = dataset.split(0.1)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config.training, config.build(dataset.spec), train, 0, Path(folder))
        begin = time.perf_counter()
        trainer.run()
        whole = time.perf_counter() - begin
        size = sum(file.stat().st_size for file in next((Path(folder) / "checkpoints").iterdir()).iterdir())
    each = trainer.saves.waited / (steps // every)
    return (
        f"{trainer.saves.waited / whole:.2%} of {whole:.0f} s, {each:.3f} s a checkpoint of {size / 1e6:.0f} MB, "
        f"one in {every} steps of {whole / steps:.2f} s"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--every", type=int, default=50)
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = [
        *(f"training.steps={options.steps}", f"training.checkpoint_every={options.every}"),
        *("training.batch_size=32", "training.sample_every=0"),
    ]
    print(f"in the background: {waits(options.steps, options.every, settings)}")
    with patch("sumi.training.background._fits", return_value=False):
        print(f"at once: {waits(options.steps, options.every, settings)}")
