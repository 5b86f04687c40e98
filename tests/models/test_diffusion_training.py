"""The diffusion task: what a training step sees is a function of (seed, step, position), and nothing is missing."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sumi import recipes
from sumi.boundary.settings import override
from sumi.data.batch import batch_of
from sumi.data.config import DataConfig
from sumi.data.images import ImageSpec
from sumi.data.load import load
from sumi.data.pixels import PixelRange
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.parameterization import PredictClean, PredictNoise
from sumi.denoising.weighting import ConstantWeighting, LikelihoodWeighting, SNRWeighting
from sumi.errors import InputError
from sumi.models.diffusion.build import build_denoiser
from sumi.models.model import RunDescription
from sumi.objectives.denoising import DenoisingLoss, DenoisingObjective
from sumi.objectives.objective import Objective
from sumi.objectives.schedule import VarianceMinimisingLoss
from sumi.objectives.times import (
    GridTimes,
    ImportanceSampler,
    ImportanceTimes,
    LogitNormalTimes,
    UniformTimes,
    stratified,
)
from sumi.process.chain import LinearBeta
from sumi.process.gaussian import add_noise
from sumi.process.schedule import noise_level
from sumi.randomness import Purpose, normal, uniform
from sumi.training.checkpoint import load_checkpoint
from sumi.training.run_folder import RunFolder
from sumi.training_run import Events, build_trainer, train
from tests.interrupted import killed_and_resumed

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


def objective_of(**options) -> DenoisingObjective:
    denoiser = NetworkDenoiser(Recorder(), SCHEDULE, PredictNoise(), 1000)
    return DenoisingObjective(denoiser, DenoisingLoss(SNRWeighting()), **{"times": GridTimes(), **options})


def losses_of(
    objective: Objective, step: int, positions: list[int], items: list[int], flip: bool = False, seed: int = 5
) -> torch.Tensor:
    return objective(batch_of(DATA, np.array(items), np.array(positions), step=step, seed=seed, flip=flip))


def shown(step: int, positions: list[int], items: list[int], **options) -> tuple[torch.Tensor, torch.Tensor]:
    objective = objective_of()
    losses_of(objective, step, positions, items, **options)
    return objective.model.network.x, objective.model.network.c_noise


def test_the_step_written_out() -> None:
    """x_t, the time told to the network and the loss, from the counters by hand."""
    objective = objective_of()
    denoiser, positions, items = objective.model, [3, 4, 9], [7, 0, 31]
    losses = losses_of(objective, 12, positions, items)
    t = (uniform(5, positions, 12, Purpose.TRAINING_TIME) * 1000).floor().add(1) / 1000
    noise = normal(5, positions, 12, Purpose.TRAINING_NOISE, (1, 8, 8))
    x_0 = PixelRange(17).to_model(DATA.images[items])
    assert torch.equal(denoiser.network.x, add_noise(x_0, noise, noise_level(SCHEDULE, t)))
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
    now = noise_level(SCHEDULE, t)
    noise = normal(5, positions, 3, Purpose.TRAINING_NOISE, (1, 8, 8))
    flipped = add_noise(PixelRange(17).to_model(DATA.images[items]).flip(-1), noise, now)
    changed = (plain != mirrored).flatten(1).any(1)
    assert torch.equal(mirrored[changed], flipped[changed])
    assert 160 < int(changed.sum()) < 240  # 400 fair coins: four standard deviations


@pytest.mark.parametrize("times", [GridTimes(), UniformTimes(), LogitNormalTimes()], ids=repr)
def test_stratified_times_are_of_the_whole_batch_whatever_its_parts(times) -> None:
    """One u_0 a step, u_i = u_0 + i/n at position i; every step has another u_0."""
    objective = objective_of(times=times, stratify=16)

    def condition(step: int, positions: list[int]) -> torch.Tensor:
        losses_of(objective, step, positions, positions)
        return objective.model.network.c_noise

    whole = condition(3, list(range(16)))
    first = uniform(5, [0], 3, Purpose.TRAINING_TIME).item()
    t = times.times(stratified(first, torch.arange(16), 16), SCHEDULE)
    torch.testing.assert_close(whole, (1000 * t - 1).float())
    assert torch.equal(torch.cat([condition(3, [0, 1, 2]), condition(3, list(range(3, 16)))]), whole)
    assert not torch.isclose(condition(4, list(range(16))), whole).any()


def test_divided_losses_estimate_the_integral_over_uniform_times() -> None:
    """The network answers 0 with constant weight: L = ‖x_0‖² at all t, so the mean of L/p is ‖x_0‖² for any p.

    By stratified times, whose mean over 4,000 has an error of 1/4000 for a density that falls to 0 at the ends.
    """
    denoiser, times = NetworkDenoiser(Recorder(), SCHEDULE, PredictClean()), LogitNormalTimes(0.3, 2)
    plain, divided = (
        losses_of(
            DenoisingObjective(denoiser, DenoisingLoss(ConstantWeighting()), times, stratify=4000, divide=divide),
            1,
            list(range(4000)),
            [0] * 4000,
        )
        for divide in (False, True)
    )
    assert plain.std() < 1e-6
    now = noise_level(
        SCHEDULE,
        times.times(stratified(uniform(5, [0], 1, Purpose.TRAINING_TIME).item(), torch.arange(4000), 4000), SCHEDULE),
    )
    torch.testing.assert_close(divided, (plain / times.density(now, SCHEDULE)).float())
    assert divided.mean().item() == pytest.approx(plain.mean().item(), rel=0.02)


def test_importance_sampling_sees_the_whole_batch_alike_in_any_parts() -> None:
    """The same times and the same history after three steps, in one part or in four; losses are kept undivided."""
    histories, times = [], []
    for parts in (1, 4):
        sampler = ImportanceTimes(steps=4, history=2).sampler()
        denoiser = NetworkDenoiser(Recorder(), LinearBeta(steps=4, beta_end=0.3).build(), PredictNoise(), 4)
        objective = DenoisingObjective(denoiser, DenoisingLoss(SNRWeighting()), sampler, divide=True)
        seen = []
        for step in (1, 2, 3):
            for positions in np.split(np.arange(32), parts):
                losses = losses_of(objective, step, positions, positions)
                seen.append(denoiser.network.c_noise)
                t = (seen[-1].double() + 1) / 1000
                undivided = losses * sampler.density(noise_level(denoiser.schedule, t), denoiser.schedule)
                kept = sampler.losses[(t * 4).round().long() - 1]
                assert bool(torch.isclose(kept, undivided[:, None].float()).any(1)[-1])
        histories.append(sampler.losses)
        times.append(torch.cat(seen))
    assert torch.equal(*times)
    torch.testing.assert_close(*histories, rtol=1e-6, atol=0)
    assert (
        len(set(sampler.density(noise_level(SCHEDULE, torch.tensor([0.25, 0.5, 0.75, 1.0])), SCHEDULE).tolist())) == 4
    )


# --- runs with all that is trained or kept count of beside the network

TINY = [
    "network.widths=32",
    "network.blocks=1",
    "network.embedding=32",
    "training.batch_size=16",
    "training.steps=16",
    "training.checkpoint_every=4",
    "training.sample_every=0",
    "training.warmup_steps=2",
    "sampling.steps=2",
    "schedule.steps=8",
    "schedule.beta_end=0.5",
]
SYSTEMS = {
    "uncertainty": ["weighting=uncertainty", "times.steps=8"],
    "importance": ["times=importance", "times.steps=8", "times.history=2"],
    "energy-edm": ["parameterization=energy", "weighting=edm", "times=log_normal", "stratified_times=true"],
    "learned_chain": ["schedule=learned_chain", "schedule.steps=8", "weighting=likelihood", "times.steps=8"],
    "learned": [
        "schedule=learned",
        "schedule.width=8",
        "weighting=likelihood",
        "times=uniform",
        "stratified_times=true",
    ],
    "flow": ["schedule=flow", "parameterization=flow", "weighting=flow", "times=logit_normal"],
}


def config_of(system: str):
    config = recipes.build("ddpm", DataConfig(source="digits"))
    settings = SYSTEMS[system]
    base = TINY[:-2] if any(s.startswith("schedule=") for s in settings) else TINY
    return override(config, [*base, "sampling.solver=ddim", "sampling.time_grid=uniform", *settings])


@pytest.mark.parametrize("system", SYSTEMS)
def test_killed_and_resumed_is_the_same_run(system: str, tmp_path: Path, monkeypatch) -> None:
    """Weights, averages, optimizer, learned uncertainty and schedule, and the history of losses, bit for bit."""
    config = config_of(system)
    model, whole = killed_and_resumed(config, tmp_path, monkeypatch, at=11)
    assert model.sample(2).shape == (2, 1, 8, 8)
    assert all(bool(v.isfinite().all()) for v in whole.model.values())


@pytest.mark.parametrize(
    ("settings", "loss", "divide", "stratify"),
    [
        ((), DenoisingLoss(SNRWeighting()), False, None),
        (("times=log_normal", "stratified_times=true"), DenoisingLoss(SNRWeighting()), False, 128),
        (("times=importance",), DenoisingLoss(SNRWeighting()), True, None),
        (("times=log_normal", "weighting=likelihood"), DenoisingLoss(LikelihoodWeighting()), True, None),
        (("schedule=learned", "times=uniform", "weighting=likelihood"), VarianceMinimisingLoss(), True, None),
    ],
)
def test_which_loss_is_divided_and_over_what_times_are_spread(settings, loss, divide, stratify, tmp_path: Path) -> None:
    """Importance sampling and the likelihood divide by the density of the times; the papers' other weights do not."""
    config = override(recipes.build("ddpm", DataConfig(source="digits")), settings)
    description = RunDescription(config, DATA.spec, "", 0.5)
    trainer, _ = build_trainer(description, DATA, RunFolder(tmp_path), "cpu", Events())
    objective = trainer.objective
    assert (objective.loss, objective.divide, objective.stratify) == (loss, divide, stratify)


def test_parameters_next_to_the_network_are_trained_and_kept(tmp_path: Path) -> None:
    """u moves and is averaged; the history counts every loss and is copied, into a saved model too."""
    train(config_of("uncertainty"), out=tmp_path / "uncertainty")
    checkpoint = load_checkpoint(tmp_path / "uncertainty/checkpoints/00000016")
    series = "auxiliary.uncertainty.series"
    assert float(checkpoint.model[series].abs().sum()) > 0
    assert 0 < float(checkpoint.ema[series].abs().sum()) != float(checkpoint.model[series].abs().sum())
    assert f"{series}.exp_avg" in checkpoint.optimizer
    model = train(config_of("importance"), out=tmp_path / "importance")
    checkpoint = load_checkpoint(tmp_path / "importance/checkpoints/00000016")
    model.save(tmp_path / "saved")
    saved = load_checkpoint(tmp_path / "saved/checkpoints/00000016")
    assert int(checkpoint.model["auxiliary.times.counts"].sum()) == 16 * 16
    assert bool((checkpoint.model["auxiliary.times.losses"] > 0).all())
    for name in ("auxiliary.times.counts", "auxiliary.times.losses"):
        assert torch.equal(checkpoint.ema[name], checkpoint.model[name])
        assert torch.equal(saved.model[name], checkpoint.model[name])
    assert isinstance(model.network_denoiser.auxiliary["times"], ImportanceSampler)


def test_the_companions_of_the_network_and_a_learned_schedule_are_trained(tmp_path: Path) -> None:
    """Each is clipped for itself and none decays; of the default recipe there is the network alone."""

    def parts(config) -> list[tuple[set[str], float]]:
        description = RunDescription(config, DATA.spec, "", 0.5)
        trainer, _ = build_trainer(description, DATA, RunFolder(tmp_path), "cpu", Events())
        names = {parameter: name for name, parameter in trainer.model.named_parameters()}
        return [
            ({names[p].split(".")[0] for p in group["params"]}, group["weight_decay"])
            for group in trainer.optimizer.param_groups
        ]

    def decaying(system: str) -> list[tuple[set[str], float]]:
        return parts(override(config_of(system), ["training.weight_decay=0.1"]))

    assert decaying("importance") == [({"network"}, 0.1)]
    assert decaying("uncertainty") == [({"network"}, 0.1), ({"auxiliary"}, 0.0)]
    assert decaying("learned") == decaying("learned_chain") == [({"network"}, 0.1), ({"schedule"}, 0.0)]


def test_learned_schedules_learn(tmp_path: Path) -> None:
    for system in ("learned", "learned_chain"):
        config = config_of(system)
        trained = train(config, out=tmp_path / system).network_denoiser.schedule
        new = config.schedule.build()
        pairs = zip(trained.parameters(), new.parameters(), strict=True)
        moved = [float((a - b).detach().abs().max()) for a, b in pairs]
        assert all(m > 1e-5 for m in moved), system


def test_identity_holds_all_that_has_weights_and_stays_what_it_was() -> None:
    """Another weighting leaves the weights what they are, unless it has some itself. The hash is that of format 4."""
    config = recipes.build("ddpm", DataConfig(source="digits"))
    images = ImageSpec(1, 8, 8, 17, ("0", "1"))

    def identity(*settings: str) -> str:
        return RunDescription(override(config, settings), images, "", 0.5).identity

    plain = identity()
    assert plain == "95c0be9f7d157e904e98ad7e18d08f7a4fee8506c815c53aed031f2a3124c187"
    assert identity("weighting=edm") == identity("stratified_times=true") == plain
    settings = ("weighting=uncertainty", "times=importance", "times=uniform", "parameterization=edm")
    assert len({plain, *(identity(s) for s in settings)}) == 5
    assert identity("parameterization=edm") != identity("parameterization=edm", "parameterization.sigma_data=1.0")


def test_ddpm_has_no_companions() -> None:
    """The weights of the default recipe are the network's alone, so its checkpoints are what they were."""
    denoiser = build_denoiser(recipes.build("ddpm", DataConfig(source="digits")), ImageSpec(1, 8, 8, 17, ()))
    assert all(name.startswith("network.") for name in denoiser.state_dict())


@pytest.mark.parametrize(
    ("recipe", "answer"),
    [
        ("classifier-free", r"^sampling\.guidance\.negative: there is no class owl; choose from 0, 1"),
        ("ddpm", r"^sampling\.guidance\.negative: the network knows no classes; set conditioning=labels$"),
    ],
)
def test_a_negative_class_that_is_none_is_refused_before_anything_is_written(
    recipe: str, answer: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=answer):
        train(recipe, data="digits", settings="sampling.guidance.negative=owl", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    recipes.build("classifier-free", DataConfig(source="digits")).check(ImageSpec(1, 8, 8, 17, ()))
    named = override(recipes.build("classifier-free", DataConfig(source="digits")), ["sampling.guidance.negative=3"])
    named.check(ImageSpec(1, 8, 8, 17, ("3", "4")))


def test_times_outside_the_schedule_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    config = config_of("energy-edm")
    with pytest.raises(InputError, match=r"^times\.mean: "):
        train(override(config, ["times.mean=40.0"]), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
