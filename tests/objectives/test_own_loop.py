"""A training loop of one's own around an objective, which is a module: hooks fire, and DDP trains all that learns."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

import sumi
from sumi.data import open_data
from sumi.data.batch import Batch, batch_of
from sumi.objectives.objective import Objective
from sumi.training.ema import EMA

SMALL = ("network.widths=32", "network.blocks=1", "network.embedding=32")
LEARNED = {
    "conditioners and uncertainty": ("classifier-free", ("weighting=uncertainty",), ("conditioner", "uncertainty")),
    "a schedule": ("vdm", (), ("schedule",)),
}
ITEMS = 8


def built(recipe: str, *settings: str) -> tuple[Objective, Callable[[int, np.ndarray], Batch]]:
    """An objective of a seed, and the batch of a step at some of its positions."""
    config = sumi.configure(recipe, data="digits", settings=[*SMALL, *settings])
    data, _ = open_data("digits").split(0.1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        objective = config.build(data.spec)
        for p in objective.parameters():  # the last layer is zero at first, and no gradient would pass
            nn.init.normal_(p, std=0.05)
    objective.fit(data)
    return objective, lambda step, rows: batch_of(data, rows, rows, step=step, seed=0)


def gradients(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


def on_one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    try:
        for case, (recipe, settings, _) in LEARNED.items():
            objective, batch = built(recipe, *settings)
            half = ITEMS // 2
            wrapped = DistributedDataParallel(objective)  # kept until after backward, in which it reduces
            wrapped(batch(1, np.arange(rank * half, (rank + 1) * half))).mean().backward()
            torch.save(gradients(objective), f"{folder}/{case} {rank}.pt")
    finally:
        torch.distributed.destroy_process_group()


def test_two_processes_have_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    """Of the network and of all that is learned besides: what is not inside the wrapped module is not reduced."""
    spawn(on_one_of_two, (str(tmp_path),), nprocs=2)
    for case, (recipe, settings, parts) in LEARNED.items():
        objective, batch = built(recipe, *settings)
        objective(batch(1, np.arange(ITEMS))).mean().backward()
        whole = gradients(objective)
        assert all(any(part in name and bool(g.any()) for name, g in whole.items()) for part in ("network", *parts))
        for rank in range(2):
            found = torch.load(tmp_path / f"{case} {rank}.pt", weights_only=True)
            assert found.keys() == whole.keys()
            for name, gradient in found.items():
                near = 1e-4 * float(whole[name].abs().max())
                assert torch.allclose(gradient, whole[name], rtol=1e-3, atol=near), name


@pytest.mark.parametrize("case", LEARNED)
def test_hooks_fire_on_the_objective_and_on_the_denoiser(case: str) -> None:
    recipe, settings, _ = LEARNED[case]
    objective, batch = built(recipe, *settings)
    seen: list[str] = []
    objective.register_forward_hook(lambda *_: seen.append("objective"))
    objective(batch(1, np.arange(2)))
    assert seen == ["objective"]
    denoiser = objective.model
    denoiser.register_forward_hook(lambda *_: seen.append("denoiser"))
    denoiser.network.register_forward_hook(lambda *_: seen.append("network"))
    denoiser(torch.zeros(1, 1, 8, 8), 0.5)
    assert seen[1:] == ["network", "denoiser"]


def test_a_loop_of_ones_own_learns_what_the_trainer_would(tmp_path: Path) -> None:
    """The same batches, optimizer and average: the same weights, bit for bit."""
    settings = [*SMALL, "training.batch_size=16", "training.precision=fp32", "training.warmup_steps=0"]
    settings += [
        "training.gradient_clip=1e9",
        "training.weight_decay=0",
        "network.dropout=0",
        "training.sample_every=0",
    ]
    config = sumi.configure("ddpm", data="digits", steps=3, settings=settings)
    trained = sumi.train(config, out=tmp_path / "run", device="cpu")

    data, _ = open_data("digits").split(config.data.held_out)
    torch.manual_seed(config.seed)
    objective = config.build(data.spec)
    average, training = EMA(objective.model), config.training
    betas = (training.beta_1, training.beta_2)
    optimizer = torch.optim.AdamW(objective.parameters(), training.learning_rate, betas, weight_decay=0, fused=True)
    order = sumi.randomness.permutation(config.seed, 0, count=len(data))
    for step in range(1, 4):
        positions = np.arange(16)
        items = order[(step - 1) * 16 + positions]
        batch = batch_of(
            data, items, positions, step=step, seed=config.seed, flip=config.data.flip, noise=training.noise
        )
        losses = objective(batch)
        optimizer.zero_grad()
        (losses.sum() / 16).backward()
        nn.utils.clip_grad_norm_(objective.parameters(), 1e9, foreach=True)
        optimizer.step()
        average.update(training.ema_decay_at(step))
    assert all(torch.equal(average.module.state_dict()[k], v) for k, v in trained.module.state_dict().items())
