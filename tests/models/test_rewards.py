"""Rewards by a classifier, a CLIP and a judge, and what samples of a model become by them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from sumi import recipes
from sumi.cli.main import main
from sumi.data.config import DataConfig
from sumi.data.images import ImageSpec
from sumi.errors import InputError
from sumi.models.attributes import JudgeConfig, JudgeModel
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.model import RunDescription
from sumi.models.rewards import reward_of
from sumi.process.schedule import DATA
from sumi.sampling.sampler import Guidance
from tests.tiny_models import class_model, differ, new_classifier


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> DiffusionModel:
    place = tmp_path_factory.mktemp("rewards")
    model = class_model(place / "run", recipe="ddpm")
    model.save(model.folder)
    new_classifier(place).save(place / "classifier")
    return model


def bright(images: torch.Tensor) -> torch.Tensor:
    return 40 * images.flatten(1).mean(1)


def judge(folder: Path) -> JudgeModel:
    """Untrained, with random weights."""
    config = recipes.build("judge", DataConfig(source="digits"))
    config = replace(config, attributes=(("colour", "blue", "red"), ("eyes", "one", "two")))
    assert isinstance(config, JudgeConfig)
    description = RunDescription(config, ImageSpec(1, 8, 8, 17, ()), "none", 0.5)
    module = config.build(description.items).model
    torch.nn.init.normal_(module.out.weight, std=0.5, generator=torch.Generator().manual_seed(1))
    return config.wrap(description, module, 1, folder)


def test_rewards_are_log_probabilities_of_the_target(model: DiffusionModel, tmp_path: Path) -> None:
    x = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(2)).clamp(-1, 1)
    classifier = new_classifier(tmp_path)
    found = reward_of(model, classifier, "dog")(x)
    torch.testing.assert_close(found, classifier.classifier.logits(x, DATA).log_softmax(1)[:, 1])
    reader = judge(tmp_path)
    colour, eyes = (head.log_softmax(1) for head in reader.module(x))
    torch.testing.assert_close(reward_of(model, reader, "eyes=two,colour=blue")(x), colour[:, 1] + eyes[:, 2])
    for target, answer in (("eyes=three", "eyes is none of 'three'; choose from one, two"), ("nose=1", "no attribute")):
        with pytest.raises(InputError, match=rf"^target: .*{answer}"):
            reward_of(model, reader, target)
    with pytest.raises(InputError, match=r"^target: there is no class owl"):
        reward_of(model, classifier, "owl")
    with pytest.raises(InputError, match=r"^reward: .* judges no pictures"):
        reward_of(model, model, "dog")


def test_samples_by_particles_have_more_reward_and_one_particle_is_the_solver(model: DiffusionModel) -> None:
    """Of any batches alike; the solver is ddpm where none is named."""
    given = {"seed": 3, "steps": 6}
    plain = model.sample(24, solver="ddpm", **given)
    one = model.steer(bright, 24, particles=1, solver="ddpm", **given)
    assert torch.equal(one, plain)
    assert torch.equal(model.steer(bright, 24, particles=1, **given), plain)
    eight = model.steer(bright, 24, particles=8, **given)
    assert float(bright(eight).mean()) > float(bright(plain).mean()) + 0.5 * float(bright(plain).std())
    assert differ(eight, model.steer(bright, 24, particles=8, scale=0, **given))
    few = model.steer(bright, 2, particles=8, start=5, batch_size=8, **given)
    torch.testing.assert_close(few, eight[5:7], rtol=0, atol=1e-4)
    for options, answer in (
        ({"solver": "adams"}, "^solver: adams draws no noise"),
        ({"error": 0.1}, "^error: is of samples that take one way"),
        ({"x": plain[:2]}, "^x: is where one sample begins"),
        ({"particles": 0}, "^particles: 0 is out of range"),
    ):
        with pytest.raises(InputError, match=answer):
            model.steer(bright, 2, **options)


def test_labels_are_those_of_samples_and_not_of_particles(tmp_path: Path) -> None:
    """With "all" and a reward of nothing the class of each sample is the one that it has without particles."""
    conditioned = class_model(tmp_path)
    given = {"label": "all", "solver": "ddpm", "threshold": "none"}
    labels: list[torch.Tensor] = []
    inside = conditioned.network_denoiser.conditioner
    inside.register_forward_pre_hook(lambda _, known: labels.append(known[0]["labels"]))
    conditioned.steer(lambda x: 0 * bright(x), 3, particles=2, guidance=1, **given)
    assert labels[0].tolist() == [0, 0, 1, 1, 2, 2]


def test_larger_pictures_have_whole_groups_of_particles(model: DiffusionModel) -> None:
    """In four windows, of which a batch of one has one group."""
    given = {"particles": 3, "size": (12, 12), "seed": 3, "steps": 3}
    many, alone = model.steer(bright, 3, **given), model.steer(bright, 1, start=2, batch_size=1, **given)
    torch.testing.assert_close(alone[0], many[2], rtol=0, atol=1e-4)


def test_the_command_line_steers_and_each_file_says_how(model: DiffusionModel, tmp_path: Path, capsys) -> None:
    run, out = str(model.folder), tmp_path / "out"
    by = ["--reward", str(model.folder.parent / "classifier"), "--target", "dog"]
    given = ["sample", run, "-n", "2", "--reward-scale", "3", "--particles", "3"]
    assert main([*given, *by, "--out", str(out)]) == 0
    about = json.loads(Image.open(out / "00000.png").text["sumi"])
    assert (about["target"], about["reward_scale"], about["particles"]) == ("dog", 3.0, 3)
    assert about["potential"] == "difference"  # what is left out counts, too
    assert "(ddpm, 4 steps)" in capsys.readouterr().out
    for options, answer in (
        (given, "--reward-scale: is of steering; add --reward"),
        ([*given, *by[:2]], "--reward: is of steering; add --target"),
        ([*given, *by, "--trajectory"], "--trajectory: follows one sample"),
        ([*given, *by, "--solver", "adams"], "--solver: adams draws no noise"),
        ([*given, *by[:3], "owl"], "--target: there is no class owl"),
    ):
        assert main(options) == 2
        assert answer in capsys.readouterr().err


def test_momentum_of_guidance_is_refused_where_particles_are_guided(tmp_path: Path) -> None:
    conditioned, momentum = class_model(tmp_path), Guidance(scale=3.0, method="apg", momentum=-0.5)
    own = conditioned.config
    conditioned.config = replace(own, sampling=replace(own.sampling, guidance=momentum))
    with pytest.raises(InputError, match=r"^guidance.momentum: remembers what particles had before"):
        conditioned.steer(bright, 2, label=0)
    assert len(conditioned.steer(bright, 2, steps=2)) == 2  # without a condition nothing is guided
