"""Labels as a condition: who is told what, which labels are left out, and what is trained by whom."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sumi import recipes
from sumi.boundary.settings import override
from sumi.conditioning.condition import Condition
from sumi.conditioning.conditioner import Conditioners
from sumi.conditioning.labels import LabelConditioner, LabelConditioning
from sumi.data.batch import Batch, batch_of
from sumi.data.config import DataConfig
from sumi.data.images import ImageSpec
from sumi.data.load import load as load_data
from sumi.data.vectors import VectorSpec
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.parameterization import PredictVelocity
from sumi.errors import InputError
from sumi.models.diffusion.build import build_denoiser
from sumi.models.diffusion.system import DiffusionConfig
from sumi.models.model import RunDescription
from sumi.networks.condition import NetworkCondition
from sumi.networks.mlp import MLPConfig
from sumi.networks.unet import UNetConfig
from sumi.process.binomial import Binomial
from sumi.process.continuous import VP
from sumi.process.schedule import noise_level
from sumi.randomness import Purpose, uniform
from sumi.training.run_folder import RunFolder
from sumi.training.trainer import Trainer
from sumi.training_run import Events, build_trainer, train
from tests.interrupted import killed_and_resumed
from tests.tiny_models import TINY, scrambled

SCHEDULE = VP().build()
DATA = load_data(DataConfig(source="digits"))
NO_PIXELS = torch.zeros(0)  # labels do not depend on them


class Counted:
    """Data whose item i is of class i % 10, and nothing else."""

    def labels_of(self, items: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(items % 10)


def labelled_batch(items, step: int, seed: int = 0) -> Batch:
    """Items at the positions of the same numbers."""
    numbers = np.array(items, dtype=np.int64)
    return Batch(Counted(), NO_PIXELS, numbers, numbers, step, seed)


def config_of(*settings: str) -> DiffusionConfig:
    return override(recipes.build("classifier-free", DataConfig(source="digits")), [*TINY, *settings])


def trainer_of(folder: Path, *settings: str, seed: int = 0) -> Trainer:
    config = replace(config_of(*settings), seed=seed)
    description = RunDescription(config, DATA.spec, "", 0.5)
    return build_trainer(description, DATA, RunFolder(folder), "cpu", Events())[0]


@pytest.fixture(params=["unet", "mlp"])
def labelled(request: pytest.FixtureRequest) -> tuple[NetworkDenoiser, tuple[int, ...]]:
    """A denoiser of three classes, and the shape of what it denoises."""
    if request.param == "unet":
        shape = (1, 8, 8)
        network = UNetConfig(widths=(32,), blocks=(1,), embedding=32).build(shape)
    else:
        shape = (5,)
        network = MLPConfig(width=16, blocks=2, embedding=32).build(shape)
    denoiser = NetworkDenoiser(
        network, SCHEDULE, PredictVelocity(), conditioner=Conditioners({"labels": LabelConditioner("abc", 32)})
    )
    return scrambled(denoiser).requires_grad_(False), shape


# --- the network is told


def test_each_sample_gets_its_own_label(labelled) -> None:
    """As alone; another label, or none, gives another answer; by any level, and by `predict` as by the whole."""
    denoiser, shape = labelled
    x = torch.randn(4, *shape, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([2, 0, 1, 2])
    for t in (0.4, torch.tensor([0.1, 0.4, 0.6, 0.9]).double()):
        together = denoiser.bind(Condition(labels=labels))(x, t).clean
        for k in range(4):
            one = t if isinstance(t, float) else t[k : k + 1]
            alone = [denoiser.bind(Condition(labels=torch.tensor([y])))(x[k : k + 1], one).clean for y in range(3)]
            torch.testing.assert_close(together[k : k + 1], alone[labels[k]], rtol=1e-5, atol=1e-5)
            assert all(float((alone[a] - alone[b]).abs().max()) > 1e-3 for a, b in ((0, 1), (0, 2), (1, 2)))
        c = denoiser.parameterization.coefficients(noise_level(SCHEDULE, t))
        message = Condition(labels=labels)
        assert torch.equal(denoiser.bind(message).predict(x, c), denoiser.predict(x, c, message))


def test_saying_nothing_is_the_null_label(labelled) -> None:
    """It is the last of the table, and no class's row takes part in it."""
    denoiser, shape = labelled
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
    unlabelled = denoiser(x, 0.5).clean
    assert torch.equal(denoiser.bind(Condition(labels=torch.tensor([3, 3])))(x, 0.5).clean, unlabelled)
    assert denoiser.conditioner.null(x)["labels"].tolist() == [3, 3]
    denoiser.conditioner["labels"].table.weight[:3] = 7.0
    assert torch.equal(denoiser(x, 0.5).clean, unlabelled)


def test_the_label_is_added_to_the_embedding_of_the_noise_level(labelled) -> None:
    """A label whose vector is zero changes nothing, to the bit, of a network that is told nothing."""
    denoiser, shape = labelled
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
    denoiser.conditioner["labels"].table.weight[1] = 0.0
    plain = NetworkDenoiser(denoiser.network, SCHEDULE, PredictVelocity())
    assert torch.equal(denoiser.bind(Condition(labels=torch.tensor([1, 1])))(x, 0.5).clean, plain(x, 0.5).clean)
    with pytest.raises(InputError, match="condition: this model was trained without"):
        plain.bind(Condition(labels=torch.tensor([1, 1])))


# --- labels are left out


def test_a_label_is_left_out_by_seed_step_and_position_alone() -> None:
    """u(seed, step, position) < p: the same in any batch, in any order, whatever the item."""
    labels = LabelConditioner("0123456789", 4, dropout=0.3)
    places = uniform(5, range(64), 7, Purpose.CONDITION_DROPOUT)
    given = labels.of_data(labelled_batch(range(64), 7, seed=5), NO_PIXELS, 0)["labels"]
    for k in (0, 13, 63):
        alone = labels.of_data(labelled_batch([k], 7, seed=5), NO_PIXELS, 0)["labels"]
        assert torch.equal(alone, given[k : k + 1])
    assert torch.equal(given == 10, places < 0.3)
    assert torch.equal(given[places >= 0.3], torch.arange(64)[places >= 0.3] % 10)
    assert given.dtype == torch.int64


@pytest.mark.parametrize("dropout", [0.0, 0.1, 0.5])
def test_the_share_that_is_left_out_is_the_one_asked_for(dropout: float) -> None:
    """Of 10,000, within four standard deviations; none at 0."""
    labels = LabelConditioner("0123456789", 4, dropout=dropout)
    given = labels.of_data(labelled_batch(range(10_000), 1), NO_PIXELS, 0)["labels"]
    share = float((given == 10).double().mean())
    assert abs(share - dropout) <= 4 * (dropout * (1 - dropout) / 10_000) ** 0.5


def test_what_training_tells_the_network(tmp_path: Path, monkeypatch) -> None:
    """Each item's own class, left out by the counter: in any parts of the batch, and others at another step or seed."""
    seen: list[torch.Tensor] = []
    forward = LabelConditioner.forward

    def record(self: LabelConditioner, condition: Condition) -> NetworkCondition:
        seen.append(condition["labels"])
        return forward(self, condition)

    monkeypatch.setattr(LabelConditioner, "forward", record)

    def given(step: int, positions: list[int], seed: int = 0) -> torch.Tensor:
        trainer = trainer_of(tmp_path, "conditioning.dropout=0.5", seed=seed)
        items = np.array(positions) * 3
        seen.clear()
        trainer.objective(batch_of(trainer.data, items, np.array(positions), step=step, seed=seed))
        dropped = uniform(seed, positions, step, Purpose.CONDITION_DROPOUT) < 0.5
        assert torch.equal(seen[0], torch.where(dropped, 10, torch.from_numpy(trainer.data.labels[items])))
        return seen[0]

    whole = given(3, list(range(32)))
    assert torch.equal(torch.cat([given(3, [0, 1, 2]), given(3, list(range(3, 32)))]), whole)
    assert not torch.equal(given(4, list(range(32))) == 10, whole == 10)
    assert not torch.equal(given(3, list(range(32)), seed=1) == 10, whole == 10)


def test_the_null_vector_learns_from_what_is_left_out_and_the_classes_from_the_rest(tmp_path: Path) -> None:
    """Gradients of the table's rows: those of the labels told, and no other. With dropout 0 never the null's."""
    for dropout in (0.0, 0.5):
        trainer = trainer_of(tmp_path, f"conditioning.dropout={dropout}", "sampling.guidance=1")
        module, items = scrambled(trainer.model), np.arange(16)
        trainer.objective(batch_of(trainer.data, items, items, step=1, seed=0)).sum().backward()
        left_out = uniform(0, range(16), 1, Purpose.CONDITION_DROPOUT) < dropout
        given = torch.where(left_out, 10, torch.from_numpy(trainer.data.labels[items]))
        moved = module.conditioner["labels"].table.weight.grad.abs().sum(1) > 0
        assert torch.equal(moved, torch.isin(torch.arange(11), given))
        assert bool(moved[10]) == (dropout > 0)


def test_the_labels_vectors_belong_to_the_network(tmp_path: Path) -> None:
    """One group with its weight decay and its norm, and beside it what stands beside every network."""

    def groups(*settings: str) -> list[tuple[set[str], float]]:
        trainer = trainer_of(tmp_path, "training.weight_decay=0.1", *settings)
        names = {parameter: name for name, parameter in trainer.model.named_parameters()}
        assert [len(p) for p in trainer.parts] == [len(g["params"]) for g in trainer.optimizer.param_groups]
        return [
            ({names[p].split(".")[0] for p in group["params"]}, group["weight_decay"])
            for group in trainer.optimizer.param_groups
        ]

    own = ({"network", "conditioner"}, 0.1)
    assert groups() == [own]
    assert groups("weighting=uncertainty") == [own, ({"auxiliary"}, 0.0)]
    learned = ("schedule=learned", "schedule.width=8", "weighting=likelihood", "times=uniform")
    assert groups(*learned) == [own, ({"schedule"}, 0.0)]


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("weighting=uncertainty",),
        ("variance=learned", "sampling.solver=ddpm_learned"),
        ("schedule=learned", "schedule.width=8", "weighting=likelihood", "times=uniform"),
        ("schedule=flow", "parameterization=flow", "weighting=flow", "times=logit_normal"),
    ],
    ids=lambda s: " ".join(s) or "the recipe",
)
def test_every_loss_takes_labels_and_a_killed_run_resumes_bit_for_bit(settings, tmp_path: Path, monkeypatch) -> None:
    """The table is trained, averaged and kept; samples of a class can be drawn of what was trained."""
    config = config_of(*settings)
    model, whole = killed_and_resumed(config, tmp_path, monkeypatch, at=7)
    table = "conditioner.labels.table.weight"
    assert table in whole.ema
    assert f"{table}.exp_avg" in whole.optimizer
    assert whole.model[table].shape == (11, 32)
    assert float(whole.optimizer[f"{table}.exp_avg"].abs().sum(1).min()) > 0  # all classes, and none
    assert bool(model.sample(2, label="7", guidance=2.0).isfinite().all())


# --- what takes no labels says so


def test_data_without_classes_are_refused(tmp_path: Path) -> None:
    """A folder of images that are in no folders of classes; points of the plane; before anything is written."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for k in range(4):
        Image.new("L", (8, 8), 20 * k).save(photos / f"{k}.png")
    for source in (str(photos), "swiss-roll"):
        with pytest.raises(InputError, match=r"^conditioning: labels need data with classes, and these have none"):
            train("classifier-free", data=source, out=tmp_path / "run", settings=["training.steps=1"])
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="conditioning: labels need data with classes"):
        build_denoiser(override(config_of(), ["network=mlp"]), VectorSpec(2, None))


def test_energies_and_bits_take_no_labels() -> None:
    with pytest.raises(InputError, match="conditioning: parameterization=energy takes none; set conditioning=none"):
        config_of("parameterization=energy", "schedule=linear")
    bits = recipes.build("nonequilibrium", DataConfig(source="heartbeat"))
    assert bits.process == Binomial()
    with pytest.raises(InputError, match="conditioning: process=binomial has no labels; set conditioning=none"):
        override(bits, ["conditioning=labels"])


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_a_share_that_is_none_is_refused(dropout: float) -> None:
    with pytest.raises(InputError, match=r"conditioning.dropout: .* is not in \[0, 1\)"):
        LabelConditioning(dropout)


def test_only_a_model_with_labels_has_another_identity() -> None:
    """Its weights are other ones; how many labels were left out in training does not change what they mean."""
    images = ImageSpec(1, 8, 8, 17, ("0", "1"))

    def identity(*settings: str) -> str:
        return RunDescription(config_of(*settings), images, "", 0.5).identity

    assert identity("conditioning=none") != identity()
    assert identity("conditioning.dropout=0.5") == identity()
    without = build_denoiser(config_of("conditioning=none"), images)
    assert not any(name.startswith("conditioner") for name in without.state_dict())
