"""The diffusion task: what a training step sees is a function of (seed, step, position), and nothing is missing."""

import numpy as np
import pytest
import torch

from sumi.data.config import DataConfig
from sumi.data.load import load
from sumi.data.pixels import PixelRange
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.objective import DenoisingLoss
from sumi.denoising.parameterization import PredictNoise
from sumi.denoising.time_sampling import GridTimes
from sumi.denoising.weighting import SNRWeighting
from sumi.errors import SumiError
from sumi.process.chain import LinearBeta
from sumi.process.forward import add_noise
from sumi.process.noise import Purpose, normal, uniform
from sumi.process.schedule import level
from sumi.training.diffusion import DiffusionTask

SCHEDULE = LinearBeta().build()
DATA = load(DataConfig(source="digits")).subset(list(range(40)))


class Recorder(torch.nn.Module):
    """A network that answers 0 and remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
        self.x, self.c_noise = x, c_noise
        return x * self.weight


def task_and_denoiser(flip: bool = False, seed: int = 5) -> tuple[DiffusionTask, NetworkDenoiser]:
    loss = DenoisingLoss(SNRWeighting())
    task = DiffusionTask(DATA, loss, GridTimes(), seed, torch.device("cpu"), flip)
    return task, NetworkDenoiser(Recorder(), SCHEDULE, PredictNoise(), 1000)


def shown(step: int, positions: list[int], items: list[int], **options) -> tuple[torch.Tensor, torch.Tensor]:
    task, denoiser = task_and_denoiser(**options)
    task.loss(denoiser, step, np.array(positions), np.array(items))
    return denoiser.network.x, denoiser.network.c_noise


def test_the_step_written_out() -> None:
    """x_t, the time told to the network and the loss, from the counters by hand."""
    task, denoiser = task_and_denoiser()
    positions, items = [3, 4, 9], [7, 0, 31]
    losses = task.loss(denoiser, 12, np.array(positions), np.array(items))
    t = (uniform(5, positions, 12, Purpose.TRAINING_TIME) * 1000).floor().add(1) / 1000
    noise = normal(5, positions, 12, Purpose.TRAINING_NOISE, (1, 8, 8))
    x_0 = PixelRange(17).to_model(DATA.images[items])
    assert torch.equal(denoiser.network.x, add_noise(x_0, noise, level(SCHEDULE, t)))
    torch.testing.assert_close(denoiser.network.c_noise, (1000 * t - 1).float())
    torch.testing.assert_close(losses, noise.square().flatten(1).mean(1), rtol=1e-6, atol=0)


def test_step_position_and_seed_each_change_time_and_noise_and_nothing_else_does() -> None:
    base = shown(1, [0, 1], [4, 4])
    for other in (shown(2, [0, 1], [4, 4]), shown(1, [2, 3], [4, 4]), shown(1, [0, 1], [4, 4], seed=6)):
        assert not torch.isclose(other[0], base[0]).all(dim=(1, 2, 3)).any()
        assert not torch.isclose(other[1], base[1]).any()
    again = shown(1, [1], [4])
    assert torch.equal(again[0][0], base[0][1])
    assert torch.equal(again[1][0], base[1][1])


def test_half_of_the_images_are_mirrored_left_to_right() -> None:
    positions = list(range(400))
    items = [k % 40 for k in positions]
    plain, mirrored = shown(3, positions, items)[0], shown(3, positions, items, flip=True)[0]
    t = (uniform(5, positions, 3, Purpose.TRAINING_TIME) * 1000).floor().add(1) / 1000
    now = level(SCHEDULE, t)
    noise = normal(5, positions, 3, Purpose.TRAINING_NOISE, (1, 8, 8))
    flipped = add_noise(PixelRange(17).to_model(DATA.images[items]).flip(-1), noise, now)
    changed = (plain != mirrored).flatten(1).any(1)
    assert torch.equal(mirrored[changed], flipped[changed])
    assert 160 < int(changed.sum()) < 240  # 400 fair coins: four standard deviations


def test_it_trains_denoisers_only() -> None:
    with pytest.raises(SumiError, match="trains a NetworkDenoiser"):
        task_and_denoiser()[0].loss(torch.nn.Linear(1, 1), 1, np.array([0]), np.array([0]))
