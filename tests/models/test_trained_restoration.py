"""Models that were trained to restore: told the measurement and sampled, by the same commands."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sumi.cli.main import main
from sumi.conditioning.conditioner import Conditioners
from sumi.conditioning.image import (
    GreyConditioning,
    MaskedConditioning,
    SmallConditioning,
    known,
    masked,
)
from sumi.conditioning.labels import LabelConditioning
from sumi.data.config import DataConfig
from sumi.data.images import ImageSpec
from sumi.data.load import load as load_data
from sumi.errors import InputError
from sumi.figures.pictures import side_by_side
from sumi.models.diffusion.few_steps import Consistency, FewSteps, Progressive
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.restoration import candidates, method_for
from sumi.models.run import load
from sumi.objectives.direction import KeptTeacher
from sumi.operators.linear import Grey, Mask
from sumi.operators.separable import bicubic, box
from sumi.report import restoration as restored_module
from sumi.report.restoration import restored
from sumi.restoration.condition import condition_of, trained_for
from sumi.restoration.measurement import Measurement, OfDecoded
from sumi.sampling.sampler import Sampling
from tests.tiny_models import conditioned_model, differ, echo, generator, saved

MASK = torch.zeros(8, 8, dtype=torch.bool)
MASK[2:6, 3:7] = True


def image(channels: int = 3, side: int = 8) -> Tensor:
    return 1.6 * torch.rand(channels, side, side, generator=generator()) - 0.8


# --- what is told


@pytest.mark.parametrize(
    ("config", "operator", "std", "fits"),
    [
        (MaskedConditioning(), Mask(MASK), 0.0, True),
        (MaskedConditioning(), Mask(MASK), 0.1, False),
        (MaskedConditioning(), Mask(torch.rand(3, 8, 8, generator=generator()) < 0.5), 0.0, False),
        (MaskedConditioning(), box(8, 8, 2), 0.0, False),
        (SmallConditioning(2), box(8, 8, 2), 0.0, True),
        (SmallConditioning(4), box(8, 8, 2), 0.0, False),
        (SmallConditioning(2), bicubic(8, 8, 2), 0.0, False),
        (SmallConditioning(2), box(8, 8, 2), 0.1, False),
        (SmallConditioning(2, noise=0.5), box(8, 8, 2), 0.1, True),
        (SmallConditioning(2, noise=0.5), box(8, 8, 2), 0.99, True),
        (SmallConditioning(2, noise=0.5), box(8, 8, 2), 1.01, False),
        (GreyConditioning(), Grey(), 0.0, True),
        (GreyConditioning(), Mask(MASK), 0.0, False),
        (GreyConditioning(), OfDecoded(Grey(), torch.clone), 0.0, True),
        (SmallConditioning(2, noise=0.5), OfDecoded(box(8, 8, 2), torch.clone), 0.1, True),
        (MaskedConditioning(), OfDecoded(Mask(MASK), torch.clone), 0.0, False),
        (LabelConditioning(), Mask(MASK), 0.0, False),
    ],
)
def test_a_network_is_given_only_what_it_was_trained_for(config, operator, std: float, fits: bool) -> None:
    assert trained_for((config,), operator, std) == fits
    if not fits:
        y = operator(image()[None])
        with pytest.raises(InputError, match="was not trained for this measurement"):
            condition_of((config,), Measurement(operator, y, std))


def test_a_measurement_is_encoded_as_in_training() -> None:
    x_0 = image()[None]
    mask = Mask(MASK)
    message = condition_of((MaskedConditioning(),), Measurement(mask, x_0))
    assert torch.equal(message["masked"], masked(x_0, MASK))
    for config, operator in ((SmallConditioning(2), box(8, 8, 2)), (GreyConditioning(), Grey())):
        message = condition_of((config,), Measurement(operator, operator(x_0)))
        torch.testing.assert_close(message[config.name], known(operator(x_0)), rtol=1e-5, atol=1e-6)


def test_a_noisy_small_image_is_scaled_to_the_noise_of_training() -> None:
    """cos φ (y + s n) = cos φ y + sin φ n: that of the share 2φ/π, with tan φ = s."""
    y, std = box(8, 8, 2)(image()[None]), 0.3
    message = condition_of((SmallConditioning(2, noise=0.5),), Measurement(box(8, 8, 2), y, std))
    share = float(message["small_noise"])
    assert share == pytest.approx(2 / math.pi * math.atan(std), rel=1e-6)
    angle = math.pi / 2 * share
    torch.testing.assert_close(message["small"][:, :3], math.cos(angle) * y)
    assert math.sin(angle) / math.cos(angle) == pytest.approx(std, rel=1e-6)


# --- what comes out


def test_what_is_painted_in_is_the_networks_and_the_rest_the_pictures() -> None:
    """The answer of Echo is known: a quarter where nothing is known; the known pixels are exact despite its tenth."""
    given = image()
    made = echo("inpaint").inpaint(given, MASK, 3, seed=5)
    assert torch.equal(made[:, :, ~MASK], given[:, ~MASK].expand(3, -1, -1))
    torch.testing.assert_close(made[:, :, MASK], torch.full((3, 3, 16), 0.25))


def test_a_larger_picture_is_the_networks_brought_to_the_given_means() -> None:
    """Echo answers the enlarged picture plus a tenth; the nearest with the given means is what comes out."""
    model, given = echo("upscale"), 0.5 * image(3, 4)
    made = model.upscale(given, n=2)
    operator = box(8, 8, 2)
    torch.testing.assert_close(operator(made), given.expand(2, -1, -1, -1), rtol=0, atol=1e-5)
    conditioner = model.network_denoiser.conditioner
    assert isinstance(conditioner, Conditioners)
    answer = conditioner(condition_of((SmallConditioning(2),), Measurement(operator, given[None]))).image[:, :3] + 0.1
    wanted = answer - operator.pseudo_inverse(operator(answer)) + operator.pseudo_inverse(given[None])
    torch.testing.assert_close(made, wanted.expand(2, -1, -1, -1), rtol=0, atol=1e-5)


def test_of_several_pictures_each_candidate_gets_its_own() -> None:
    model, operator = echo("upscale"), box(8, 8, 2)
    given = torch.stack([0.5 * image(3, 4), -0.3 * image(3, 4)])
    together = candidates(model, Measurement(operator, given), 2)
    torch.testing.assert_close(together, torch.cat([model.upscale(y, n=1) for y in given]))


def test_a_grey_picture_keeps_its_luma() -> None:
    given = 0.5 * image(1)
    made = echo("colourise").restore(given, Grey(), n=2)
    torch.testing.assert_close(Grey()(made), given.expand(2, -1, -1, -1), rtol=0, atol=1e-5)


def test_noise_is_given_and_the_means_are_not_kept() -> None:
    """Where y is noisy, the answer is the network's alone."""
    model, given = echo("upscale", "conditioning.noise=0.5"), 0.5 * image(3, 4)
    operator = box(8, 8, 2)
    made = model.restore(given, operator, 0.2, 1)
    conditioner = model.network_denoiser.conditioner
    message = condition_of((SmallConditioning(2, noise=0.5),), Measurement(operator, given[None], 0.2))
    network_condition = conditioner(message)
    wanted = (network_condition.image[:, :3] + 0.1 + network_condition.vector[:, :1, None, None]).clamp(-1, 1)
    torch.testing.assert_close(made, wanted, rtol=0, atol=1e-5)


def test_candidates_are_ancestral_samples_of_what_the_network_is_given(tmp_path: Path) -> None:
    """Where y is noisy nothing is projected, and they are `DiffusionModel.sample`'s; or by another solver."""
    model = load(saved(tmp_path / "up", "upscale", "conditioning.noise=0.5"), DiffusionModel)
    given, operator = 0.5 * image(3, 4), box(8, 8, 2)
    message = condition_of(model.config.conditioning, Measurement(operator, given[None], 0.2)).rows(
        torch.zeros(2).long()
    )
    for solver, named in (("ddpm", None), ("adams", "adams")):
        wanted = model.sample(2, steps=4, solver=solver, seed=3, condition=message)
        torch.testing.assert_close(model.restore(given, operator, 0.2, 2, steps=4, seed=3, solver=named), wanted)


# --- the commands


def test_the_same_commands_use_a_run_that_was_trained_for_them(tmp_path: Path, capsys) -> None:
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    Image.fromarray(random.integers(0, 256, (2, 2, 3), dtype=np.uint8)).save(tmp_path / "small.png")
    Image.fromarray(random.integers(0, 256, (8, 8), dtype=np.uint8)).save(tmp_path / "grey.png")
    Image.fromarray((255 * MASK.numpy()).astype(np.uint8)).save(tmp_path / "mask.png")
    out = str(tmp_path / "out")
    painted = saved(tmp_path / "in", "inpaint")
    assert main(["inpaint", str(painted), f"{tmp_path}/a.png", "--mask", f"{tmp_path}/mask.png", "--out", out]) == 0
    assert "(trained, 2 steps)" in capsys.readouterr().out
    for k in range(4):
        found = np.asarray(Image.open(tmp_path / f"out/{k:05d}.png"))
        assert np.array_equal(found[~MASK.numpy()], picture[~MASK.numpy()])
    larger = saved(tmp_path / "up", "upscale", "conditioning.factor=4")
    assert main(["upscale", str(larger), f"{tmp_path}/small.png", "--out", f"{out}2"]) == 0
    assert "(trained, 2 steps)" in capsys.readouterr().out
    coloured = saved(tmp_path / "col", "colourise")
    assert main(["restore", str(coloured), f"{tmp_path}/grey.png", "--operator", "grey", "--out", f"{out}3"]) == 0
    assert "(trained, 2 steps)" in capsys.readouterr().out
    requested = ["upscale", str(painted), f"{tmp_path}/small.png", "--factor", "4", "--method", "trained"]
    assert main([*requested, "--out", f"{out}4"]) == 2
    assert "--method: this run was not trained for that" in capsys.readouterr().err
    assert not Path(f"{out}4").exists()
    assert main([*requested[:-2], "-n", "1", "--out", f"{out}4"]) == 0  # without being trained for it
    assert "(moment_matching, 2 steps)" in capsys.readouterr().out


def test_a_candidate_is_the_same_alone_and_in_a_batch(tmp_path: Path) -> None:
    model = load(saved(tmp_path / "in", "inpaint"))
    whole = model.inpaint(image(), MASK, 3)
    assert method_for(model, Mask(MASK)) == "trained"
    for k in range(3):
        torch.testing.assert_close(model.inpaint(image(), MASK, 1, start=k)[0], whole[k], rtol=1e-3, atol=1e-3)
    assert float((whole[0] - whole[1]).abs().max()) > 0.01


def test_a_condition_is_heard_with_what_is_measured() -> None:
    spec = ImageSpec(3, 8, 8, 256, ("cat", "dog"))
    model = conditioned_model("inpaint", "conditioning=masked,labels", spec=spec)
    plain, dog, same = (
        model.inpaint(image(), MASK, 2, **given) for given in ({}, {"label": "dog"}, {"condition": {"labels": 1}})
    )
    assert torch.equal(dog, same)
    assert differ(plain, dog)
    with pytest.raises(InputError, match="there is no class number 9"):
        model.inpaint(image(), MASK, 2, condition={"labels": 9})


@pytest.mark.parametrize("objective", [Consistency(), Progressive(teacher=KeptTeacher("run"), steps=2)])
def test_a_model_of_few_steps_that_was_trained_to_restore_does_so_by_its_own_solver(objective: FewSteps) -> None:
    """Any other would be of another field; and one that is no mean has no measurement followed by its slope."""
    base = conditioned_model("inpaint")
    config = replace(base.config, objective=objective, sampling=Sampling(solver=objective.solver, steps=2))
    model = DiffusionModel(replace(base.description, config=config), base.module, 1, Path("none"))
    made = model.inpaint(image(), MASK, 2)
    assert torch.equal(made, model.inpaint(image(), MASK, 2, solver=objective.solver))
    assert differ(made, base.inpaint(image(), MASK, 2, solver="ddpm", steps=2))
    if objective == Consistency():
        with pytest.raises(InputError, match=r"^method: moment_matching needs the mean of x_0 given x_t"):
            model.inpaint(image(), MASK, 2, method="moment_matching", solver="consistency")


@pytest.mark.parametrize("recipe", ["inpaint", "upscale", "colourise"])
def test_the_report_shows_pictures_restored(recipe: str, tmp_path: Path, monkeypatch) -> None:
    """Candidates measure what is given of the held-out pictures, to a level; other runs have no such section."""
    data = load_data(DataConfig(source="digits", channels=3))
    model, seen = echo(recipe), {}

    def record(groups: list[tuple[str, Tensor]]) -> Image.Image:
        seen.update(groups)
        return side_by_side(groups)

    monkeypatch.setattr(restored_module, "side_by_side", record)
    requested = []

    name = "inpaint" if recipe == "inpaint" else "restore"
    own = getattr(DiffusionModel, name)

    def recorded(model: DiffusionModel, y: Tensor, operator, *, n: int, seed: int, start: int) -> Tensor:
        requested.append((seed, start, n))
        return own(model, y, operator, n=n, seed=seed, start=start)

    monkeypatch.setattr(DiffusionModel, name, recorded)
    (section,) = restored(model, data.subset(range(20)), tmp_path, 3)
    assert requested == [(3, 2 * k, 2) for k in range(6)]  # no noise serves twice
    assert section.title == "Restoration"
    assert list(seen) == ["input", "candidate 1", "candidate 2", "original"]
    truth = seen["original"].float()
    middle = torch.zeros(8, 8, dtype=torch.bool)
    middle[2:6, 2:6] = True
    operator = {"inpaint": Mask(middle), "upscale": box(8, 8, 2), "colourise": Grey()}[recipe]
    assert len(truth) == 6
    for name in ("candidate 1", "candidate 2"):
        assert float((operator(seen[name].float()) - operator(truth)).abs().max()) <= 1
    assert (tmp_path / "restored.png").exists()
    plain = echo("inpaint")
    object.__setattr__(plain.config, "conditioning", ())
    assert restored(plain, data.subset(range(20)), tmp_path, 0) == []
