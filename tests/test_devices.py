"""Recipes on a device other than the CPU, without one: nothing mixes devices or waits for it in the inner loops."""

from pathlib import Path

import pytest
import torch

from sumi import recipes
from sumi.boundary.config import describe
from sumi.boundary.settings import override
from sumi.data.config import DataConfig
from sumi.data.load import load
from sumi.metrics.features import learned
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.model import RunDescription
from sumi.training.trainer import Trainer
from tests.pretended_gpu import DEVICE, pretended_gpu

SMALL = {
    "network.widths": "32",
    "network.blocks": "1",
    "network.embedding": "32",
    "training.batch_size": "4",
    "training.precision": "fp32",
    "training.ema_lengths": "[0.1]",
}
OWN = {
    "guided": {"network.head_width": "32", "network.attention": ""},
    "noisy-classifier": {"network.head_width": "32", "network.attention": ""},
    "jit": {"network.width": "32", "network.blocks": "2"},
}
COPIES = {"nonequilibrium": 9, "vdm": 31}
"""Of numbers to the host, in a step: none but of learned schedules, whose coefficients are computed on the CPU."""
WALKS = {"ncsn", "energy"}
"""Annealed Langevin dynamics of a thousand steps, whatever the steps."""


def small(name: str, data) -> object:
    config = recipes.build(name, DataConfig("digits"), data.spec)
    fields = {field for field, _, _ in describe(config)}
    settings = {field: value for field, value in {**SMALL, **OWN.get(name, {})}.items() if field in fields}
    return override(config, [f"{field}={value}" for field, value in settings.items()]).of_data(data)


@pytest.fixture(scope="module")
def digits():
    return load(DataConfig("digits"))


@pytest.mark.parametrize(
    "name",
    [
        *("ddpm", "improved-ddpm", "classifier-free", "guided", "noisy-classifier", "inpaint", "upscale"),
        *("nonequilibrium", "ncsn", "energy", "score-sde", "vdm", "edm", "flow", "jit", "consistency", "mean-flow"),
        *("vae", "gan", "pixelcnn"),
    ],
)
def test_a_step_and_a_sampler_keep_to_the_device_and_do_not_wait_for_it(name: str, digits, tmp_path: Path) -> None:
    config, (train, _) = small(name, digits), digits.split(0.1)
    description = RunDescription.of(config, digits)
    objective = config.build(digits.spec)
    objective.fit(train)
    with pretended_gpu() as gpu:
        trainer = Trainer(config.training, objective.to(DEVICE).train(), train, 0, tmp_path)

        def step(number: int) -> None:
            trainer.gradients.compute(number)
            trainer.ema.update(0.9)
            trainer.averages.update(number)

        assert [gpu.counted(lambda: step(number)) for number in (1, 2)] == [COPIES.get(name, 0)] * 2  # noqa: B023
        model = config.wrap(description, trainer.ema.module, 2, tmp_path)
        match model:
            case DiffusionModel() if name not in WALKS:
                few, more = (gpu.counted(lambda: model.sample(2, steps=steps)) for steps in (2, 5))  # noqa: B023
                assert few == more  # those of the finished images
            case _:
                pass


AUTOENCODERS = {
    "kl": [],
    "vq": ["network.regularizer=vq"],
    "fsq": ["network.regularizer=fsq"],
    "adversarial": ["loss.adversarial=0.1", "loss.adversarial_start=0"],
    "changed": ["loss.half_size=0.25", "loss.turned=0.25"],
    "features": ["loss.features=0.1", "loss.feature_network=learned"],
}


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_a_step_of_an_autoencoder_keeps_to_the_device_and_does_not_wait_for_it(
    name: str, digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learned, "MOST_STEPS", 2)
    own = ["network.widths=32", "network.blocks=1", "training.precision=fp32", "training.batch_size=4"]
    built = recipes.build("autoencoder", DataConfig("digits"), digits.spec)
    config, (train, _) = override(built, [*own, *AUTOENCODERS[name]]).of_data(digits), digits.split(0.1)
    objective = config.build(digits.spec)
    objective.fit(train)
    with pretended_gpu() as gpu:
        trainer = Trainer(config.training, objective.to(DEVICE).train(), train, 0, tmp_path)
        assert [gpu.counted(lambda: trainer.gradients.compute(number)) for number in (1, 2)] == [0, 0]  # noqa: B023


def test_what_the_pretended_device_refuses() -> None:
    with pretended_gpu() as gpu:
        x = torch.ones(3, device=DEVICE)
        with pytest.raises(RuntimeError, match="meta"):
            x + torch.ones(3)
        for read in (x.sum().item, x.nonzero, x[0].__bool__):
            with pytest.raises((RuntimeError, NotImplementedError), match=r"[Mm]eta"):
                read()
        assert [gpu.counted(copy) for copy in (x.cpu, x.tolist, lambda: x.to("cpu", torch.float64))] == [1, 1, 1]
        assert gpu.counted(lambda: x * 2) == 0
