"""How much noise the methods of restoration take from held-out clips of a model of sound.

    python -m benchmarks.sound_denoising RUN [CLIPS]

Prints, for noise of two deviations and each method: the ratio of signal to noise, in dB, of the noisy clips, of one
candidate and of the mean of four, each the mean over clips with its 95 % interval; steps and label as in the docs.
"""

import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import Tensor

import sumi
from sumi.metrics.intervals import Estimate, mean_of
from sumi.models.diffusion.model import DiffusionModel
from sumi.operators.linear import Mask

NOISES = (0.01, 0.05)
METHODS = ("diffpir", "moment_matching", "pigdm")
STEPS, CANDIDATES = 20, 4


def ratio(clip: Tensor, made: Tensor) -> float:
    """10 lg of the power of the clip by that of the error."""
    return float(10 * (clip.square().mean() / (made - clip).square().mean()).log10())


def shown(e: Estimate) -> str:
    return f"{e.value:.1f} [{e.low:.1f}, {e.high:.1f}]"


def main(run: str, count: int = 20) -> None:
    """A row for each method and noise."""
    model = sumi.load(run, DiffusionModel)
    _, held_out = model.load_data().split(model.config.data.held_out)
    chosen = np.linspace(0, len(held_out) - 1, count).astype(int)
    clips, labels = held_out.batch(chosen), held_out.labels_of(chosen)
    print("| noise | method | noisy | one candidate | mean of four |\n| --- | --- | --- | --- | --- |")
    for noise in NOISES:
        for method in METHODS:
            found = list[tuple[float, float, float]]()
            for k, (clip, label) in enumerate(zip(clips, labels.tolist(), strict=True)):
                noisy = clip + noise * torch.randn(clip.shape, generator=torch.Generator().manual_seed(k))
                everything = Mask(torch.zeros(1, dtype=torch.bool))
                made = model.restore(noisy, everything, noise, n=CANDIDATES, steps=STEPS, method=method, label=label)
                one = float(np.mean([ratio(clip, each) for each in made]))
                found.append((ratio(clip, noisy), one, ratio(clip, made.mean(0))))
            cells = (shown(mean_of(torch.tensor(column))) for column in zip(*found, strict=True))
            print(f"| {noise:g} | {method} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
