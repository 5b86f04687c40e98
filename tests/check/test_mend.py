"""What an audit finds is put right in a new run; the old one stays as it is."""

import re
from collections.abc import Callable
from dataclasses import replace
from math import log
from pathlib import Path

import pytest
import torch

from sumi import load
from sumi.autoencoders.scale import LatentScale
from sumi.boundary.config import to_json
from sumi.boundary.settings import override
from sumi.check.audit.mend import _rescale_latents, corrected, energy_distance, mend
from sumi.check.audit.reading import Alternative, Clock, Frame, Reading, alternatives
from sumi.check.audit.search import Change
from sumi.cli.main import main
from sumi.data.spec import expect
from sumi.data.vectors import VectorSpec
from sumi.denoising.parameterization import (
    ParameterizationConfig,
    PredictFlow,
    PredictNoise,
    PredictPreconditioned,
    PredictSmoothFlow,
    PredictVelocity,
    Reread,
)
from sumi.errors import InputError
from sumi.interop.sources import open_source
from sumi.models.diffusion.autoencoder import AffineData
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.space import AffineSpace
from sumi.process.schedule import NoiseLevel, noise_level
from sumi.training.checkpoint import Checkpoint
from sumi.training.run_folder import RunFolder
from sumi.training.saving import save_checkpoint
from sumi.training_run import train
from tests.diffusers_folders import folder, unet


@pytest.fixture(scope="module")
def digits() -> DiffusionModel:
    return load("digits", DiffusionModel, device="cpu")


def stated(model: DiffusionModel, folder: Path, *settings: str) -> DiffusionModel:
    """The model's weights in a run of other settings."""
    description = replace(model.description, config=override(model.config, settings))
    description.config.wrap(description, model.module, model.step, model.folder).save(folder)
    return load(folder, DiffusionModel, device="cpu")


def test_a_sound_run_is_not_mended(digits: DiffusionModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to mend"):
        mend(digits, tmp_path / "mended", n=16)
    assert not (tmp_path / "mended").exists()


def change_to(model: DiffusionModel, words: str, x: torch.Tensor | None = None) -> Change:
    denoiser = model.gaussian_denoiser()
    now = Reading(denoiser.schedule, denoiser.parameterization)
    return Change(next(a for a in alternatives(now, 1000, x) if words in a.words), now, 0.5, 0.01, ())


@pytest.mark.parametrize(
    ("words", "time"),
    [
        ("one index later", lambda _: 300.0),
        ("one index earlier", lambda _: 298.0),
        ("t from 0 to 1", lambda _: 0.3),
        ("1000 (1 - t)", lambda _: 700.0),
        ("ln(sigma/alpha)/4", lambda level: log(level.sigma / level.alpha) / 4),
        ("the log-SNR", lambda level: float(level.log_snr)),
    ],
)
def test_a_time_input_is_stated_by_the_parameterization(
    digits: DiffusionModel, words: str, time: Callable[[NoiseLevel], float]
) -> None:
    config, _ = corrected(digits.config, change_to(digits, words))
    assert isinstance(config.parameterization, Reread)
    level = noise_level(digits.gaussian_denoiser().schedule, 0.3)
    found, plain = (p.coefficients(level) for p in (config.parameterization, PredictNoise()))
    assert found.c_noise == pytest.approx(time(level), abs=1e-8)
    assert (found.c_out, found.c_skip) == (plain.c_out, plain.c_skip)


def test_a_sign_is_stated_by_the_parameterization(digits: DiffusionModel) -> None:
    config, _ = corrected(digits.config, change_to(digits, "x_0 - ε"))
    assert config.parameterization == Reread(PredictFlow(), gain=-1.0)


def changed(digits: DiffusionModel, stated: ParameterizationConfig, words: str) -> ParameterizationConfig:
    """The parameterization after a change of the digits, as if they were stated to be ``stated``."""
    now = Reading(digits.gaussian_denoiser().schedule, stated)
    taken = next(a for a in alternatives(now, 1000, torch.zeros(1, 1, 8, 8)) if words in a.words)
    config, _ = corrected(replace(digits.config, parameterization=stated), Change(taken, now, 0.5, 0.01, ()))
    return config.parameterization


def test_a_time_input_is_put_right_on_top_of_the_one_that_is_stated(digits: DiffusionModel) -> None:
    read = Reread(PredictNoise(), 0.5, 3.0)
    assert changed(digits, read, "one index later") == Reread(PredictNoise(), 0.5, 4.0)
    now = Reading(digits.gaussian_denoiser().schedule, read)
    twice = Alternative("clock", "time unit", "", replace(now, clock=Clock("", "stated", 2.0, 1.0)))
    config, _ = corrected(replace(digits.config, parameterization=read), Change(twice, now, 0.5, 0.01, ()))
    assert config.parameterization == Reread(PredictNoise(), 1.0, 7.0)


def test_another_prediction_keeps_the_time_input_that_is_stated(digits: DiffusionModel) -> None:
    read = Reread(PredictNoise(), 0.001, 0.001)
    assert changed(digits, read, "v = ") == Reread(PredictVelocity(), 0.001, 0.001)
    assert changed(digits, read, "x_0 - ε") == Reread(PredictFlow(), 0.001, 0.001, -1.0)
    assert changed(digits, read, "EDM's F") == PredictPreconditioned()
    assert changed(digits, read, "the index 0") == PredictNoise()


def test_a_network_of_another_time_input_is_given_the_time_and_refused_where_none_fits(digits: DiffusionModel) -> None:
    assert changed(digits, PredictSmoothFlow(), "t from 0 to 1") == Reread(PredictSmoothFlow(), 0.25, 0.5)
    with pytest.raises(InputError, match="no time input that a run can state"):
        changed(digits, PredictPreconditioned(), "t from 0 to 1")
    with pytest.raises(InputError, match="no time input that a run can state"):
        changed(digits, PredictNoise(), "sigma/alpha itself")


def test_another_parameterization_is_read_with_another_time_and_gain(digits: DiffusionModel) -> None:
    level = noise_level(digits.gaussian_denoiser().schedule, 0.3)
    read, plain = (p.coefficients(level) for p in (Reread(PredictNoise(), 0.001, 0.001, -2.0), PredictNoise()))
    assert read.c_noise == pytest.approx(0.3, abs=1e-12)
    assert read.c_out == -2 * plain.c_out
    assert read.c_skip == plain.c_skip


def test_squared_alphas_are_stated_by_the_list_of_beta(digits: DiffusionModel) -> None:
    config, _ = corrected(digits.config, change_to(digits, "square root of the stated alpha"))
    t = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    torch.testing.assert_close(config.schedule.build().alpha(t), digits.gaussian_denoiser().schedule.alpha(t).sqrt())


def test_another_range_is_stated_by_an_affine_autoencoder(digits: DiffusionModel) -> None:
    config, _ = corrected(digits.config, change_to(digits, "in [0, 1]", torch.zeros(1, 1, 8, 8)))
    assert config.autoencoder == AffineData(0.5, 0.5)
    x = torch.rand(5, 3, 2, 2) * 2 - 1
    space = AffineSpace((3, 2, 2), 0.5, 0.5, (2, 0, 1))
    torch.testing.assert_close(space.encode(x)[:, 0], 0.5 * x[:, 2] + 0.5)
    torch.testing.assert_close(space.decode(space.encode(x)), x)
    assert torch.equal(Frame("", 0.5, 0.5, (2, 0, 1))(x), space.encode(x))


def test_a_model_in_another_range_gives_samples_in_the_usual_one(digits: DiffusionModel, tmp_path: Path) -> None:
    plain, twice = (
        stated(digits, tmp_path / name, *settings, "sampling.threshold=none")
        for name, settings in (("plain", []), ("twice", ["autoencoder=affine", "autoencoder.scale=2"]))
    )
    ends: list[torch.Tensor] = []
    plain.sample(2, label=3, steps=5, callback=lambda _step, _level, x: ends.append(x))
    made = twice.sample(2, label=3, steps=5)
    torch.testing.assert_close(torch.Tensor(made), (ends[-1] / 2).clamp(-1, 1))


def test_the_energy_distance_is_that_of_two_gaussians() -> None:
    draw = torch.Generator().manual_seed(0)
    a, b = (torch.randn(2000, 1, generator=draw) for _ in range(2))
    assert energy_distance(a, b) < 0.06
    assert energy_distance(a, b + 2) == pytest.approx(1.394, abs=0.03)  # 2E|N(2, 2)| - 2E|N(0, 2)|, numerically


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    """A small model of points on a ring, whose schedule is that of Stable Diffusion and ends with signal left."""
    settings = ["schedule=quadratic", "schedule.beta_start=0.00085", "schedule.beta_end=0.012", "network=mlp"]
    settings += ["parameterization=velocity", "weighting=velocity", "training.steps=250", "training.batch_size=128"]
    settings += ["network.blocks=2", "network.width=64", "training.learning_rate=3e-3", "training.ema_decay=0.95"]
    settings += ["sampling.steps=20", "training.sample_every=0"]
    out = tmp_path_factory.mktemp("ring") / "run"
    return train("ddpm", data="ring-of-8", out=out, settings=settings, device="cpu", progress=False)


def test_a_wrong_prediction_type_is_mended_and_the_run_stays(ring: DiffusionModel, tmp_path: Path) -> None:
    wrong = stated(ring, tmp_path / "wrong", "parameterization=noise")
    before = (tmp_path / "wrong" / "config.json").read_bytes()
    found = mend(wrong, tmp_path / "mended")
    assert found.done == ("prediction: v = alpha ε - sigma x_0",)
    assert found.before.faults[0] == "prediction type"
    assert found.after.faults == ()
    assert found.after.error < 0.7 * found.before.error
    assert found.after.distance < 0.1 * found.before.distance
    assert found.model.config.parameterization == PredictVelocity()
    again = load(tmp_path / "mended", DiffusionModel, device="cpu")
    torch.testing.assert_close(again.sample(2), ring.sample(2))
    assert (tmp_path / "wrong" / "config.json").read_bytes() == before


def test_a_scale_is_put_right_once_whatever_else_is(ring: DiffusionModel, tmp_path: Path) -> None:
    """The search goes on from the scale that it found, so a later change is read with it too."""
    items = replace(expect(ring.items, VectorSpec, ""), scale=0.125)
    config = override(ring.config, ["parameterization=noise"])
    description = replace(ring.description, items=items, config=config, data_std=ring.description.data_std / 0.125)
    config.wrap(description, ring.module, ring.step, ring.folder).save(tmp_path / "wrong")
    found = mend(load(tmp_path / "wrong", DiffusionModel, device="cpu"), tmp_path / "mended")
    assert [words.partition(":")[0] for words in found.done] == ["data", "prediction"]
    assert found.model.description.data_std == pytest.approx(ring.description.data_std, rel=0.15)
    assert found.after.faults == ()


def test_a_schedule_that_ends_with_signal_is_mended(
    ring: DiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sumi.check.audit.denoising.VISIBLE", 0.02)  # of points, which have no brightness
    found = mend(ring, tmp_path / "mended")
    assert found.done == ("schedule: rescaled to end with no signal",)
    assert (found.before.faults, found.after.faults) == (("terminal signal",), ())
    assert found.before.last_alpha == pytest.approx(0.0683, abs=1e-4)
    assert found.after.last_alpha == pytest.approx(2**-12)
    assert found.after.error < 1.05 * found.before.error


def test_a_network_that_is_worse_on_a_rescaled_schedule_keeps_its_own_levels(
    ring: DiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sumi.check.audit.denoising.VISIBLE", 0.02)
    monkeypatch.setattr("sumi.check.audit.mend.MATERIAL", 1e9)  # as if it were
    found = mend(ring, tmp_path / "mended")
    assert found.after.faults == ()
    assert found.after.error == pytest.approx(found.before.error, rel=1e-6)
    before, after = (model.sample(200, solver="ddim", steps=20, progress=False) for model in (ring, found.model))
    assert energy_distance(before, after) < 0.05


def test_an_average_that_lags_is_mended_by_the_raw_weights(ring: DiffusionModel, tmp_path: Path) -> None:
    good = ring.module.state_dict()
    early = {name: 0.7 * value for name, value in good.items()}  # with much of zeros, where training began
    run = RunFolder(tmp_path / "wrong")
    run.write_config(to_json(ring.description))
    state = {"identity": ring.description.identity}
    save_checkpoint(run.checkpoints, Checkpoint(3, good, early, {}, state), keep=1)
    found = mend(load(tmp_path / "wrong", DiffusionModel, device="cpu"), tmp_path / "mended")
    assert found.before.faults[-1] == "average lags"
    assert "weights: the raw ones" in found.done
    assert found.after.faults == ()
    assert found.after.error < found.before.error
    for name, value in load(tmp_path / "mended", DiffusionModel, device="cpu").module.state_dict().items():
        assert torch.equal(value, good[name])


@pytest.mark.slow
def test_a_solver_is_tuned_for_few_steps(ring: DiffusionModel, tmp_path: Path) -> None:
    found = mend(ring, tmp_path / "mended", tuned=(5,))
    numbers = re.fullmatch(r"5 steps: distance to the exact end (\S+), tuned (\S+)", found.done[0])
    assert numbers is not None
    assert float(numbers[2]) < float(numbers[1])
    assert load(tmp_path / "mended", DiffusionModel, device="cpu").is_tuned(5)


def test_the_scale_of_latents_is_mended_in_the_space_that_they_are_kept_in(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    autoencoder = diffusers.AutoencoderKL(
        block_out_channels=(8, 8), norm_num_groups=4, latent_channels=2, scaling_factor=0.3,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    ).eval()  # fmt: skip
    place = folder(tmp_path / "d", unet(in_channels=2, out_channels=2), diffusers.DDIMScheduler(), vae=autoencoder)
    source = open_source(place, device="cpu")
    model, images = source.diffusion, torch.rand(2, 3, 16, 16) * 2 - 1
    before = model.space.encode(images)
    config, words = corrected(model.config, change_to(model, "multiplied by 4", torch.zeros(1, 2, 8, 8)))
    assert (config, words) == (model.config, "data: multiplied by 4")
    _rescale_latents(model, Frame("", 4.0))
    torch.testing.assert_close(model.space.encode(images), 4 * before)
    torch.testing.assert_close(model.space.decode(4 * before), model.space.decode(model.space.encode(images)))


@pytest.mark.slow
def test_latents_without_their_scale_factor_are_found_by_audit_and_put_right_by_mend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run keeps a quarter of their deviation, so what enters the network is four times as large as it knows."""
    settings = ["autoencoder.network.widths=32", "autoencoder.network.blocks=1", "autoencoder.batch_size=32"]
    settings += ["network.widths=32", "network.blocks=1", "network.attention=", "network.embedding=32"]
    settings += ["autoencoder.steps=300", "training.batch_size=32", "training.sample_every=0", "sampling.steps=20"]
    model = train("latent", data="digits", out=tmp_path / "run", steps=400, settings=settings, device="cpu")
    scale = model.module.auxiliary["latents"]
    assert isinstance(scale, LatentScale)
    right = scale.std.clone()
    scale.std.mul_(0.25)
    wrong, mended = tmp_path / "wrong", tmp_path / "mended"
    model.save(wrong)
    main(["audit", str(wrong)])
    assert "scale factor" in capsys.readouterr().out.splitlines()[-1]
    assert main(["mend", str(wrong), "--out", str(mended)]) == 0
    printed = capsys.readouterr().out
    assert "mended  data: multiplied by" in printed
    rows = {name: re.search(rf"{name}.*?(\S.*?) {{2,}}(\S+) *\n", printed) for name in ("faults", "error", "distance")}
    assert all(rows.values()), printed
    (faulty, sound), (before, after), (far, near) = (row.groups() for row in rows.values() if row is not None)
    assert ("scale factor" in faulty, sound) == (True, "none")
    assert float(after) < 0.5 * float(before.split()[-1])
    assert float(near) < float(far.split()[-1])
    found = load(mended, DiffusionModel, device="cpu").module.auxiliary["latents"]
    assert isinstance(found, LatentScale)
    torch.testing.assert_close(found.std, right, rtol=0.15, atol=0)
