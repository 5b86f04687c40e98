"""Models of latents: exact where the maths is, resumed in either phase, whole in their folder, used like any other."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sumi
from sumi.autoencoders.autoencoder import AutoencoderNetwork
from sumi.autoencoders.scale import LatentScale
from sumi.boundary.config import to_json
from sumi.cli.main import main
from sumi.data import latents as latents_module
from sumi.data.config import DataConfig
from sumi.data.latents import LatentDataset, encoded
from sumi.data.load import load as load_data
from sumi.denoising.exact import gaussian_denoiser
from sumi.errors import InputError, SumiError
from sumi.models.autoencoder import AutoencoderModel
from sumi.models.diffusion.autoencoder import TrainedAutoencoder
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.restoration import candidates, method_for, within
from sumi.models.diffusion.space import DataSpace, LatentSpace
from sumi.models.model import RunDescription
from sumi.models.run import load
from sumi.objectives.reconstruction import ReconstructionLoss
from sumi.operators.linear import Mask
from sumi.operators.separable import box
from sumi.process.continuous import VP
from sumi.process.schedule import noise_level
from sumi.randomness import SampleNoise
from sumi.recipes.configure import configure
from sumi.restoration.measurement import Measurement, OfDecoded
from sumi.sampling.sample import sample
from sumi.sampling.sampler import Guidance
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.time_grid import uniform
from sumi.training import gradients
from sumi.training.checkpoint import load_checkpoint
from sumi.training.run_folder import RunFolder
from sumi.training_run import Events, build_trainer, train
from tests.interrupted import Crash
from tests.tiny_models import differ

AUTOENCODER = ["autoencoder.network.widths=32", "autoencoder.network.blocks=1", "autoencoder.batch_size=32"]
SMALL = [
    "network.widths=32",
    "network.blocks=1",
    "network.attention=",
    "network.embedding=32",
    "training.sample_every=0",
]
SHORT = ["training.batch_size=8", "training.checkpoint_every=2", "sampling.steps=5"]
QUICK = [*AUTOENCODER, *SMALL, *SHORT, "autoencoder.steps=4"]
WHOLE = configure("latent", data="digits", steps=4, settings=[*QUICK, "data.flip=true"])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    """Of the digits by class: 300 steps of the autoencoder, with half sizes, and 100 of the diffusion."""
    settings = [*AUTOENCODER, *SMALL, "autoencoder.steps=300", "training.batch_size=32", "conditioning=labels"]
    settings += ["autoencoder.loss.half_size=0.25"]  # latents so small are otherwise far from linear in the colours
    out = tmp_path_factory.mktemp("latent") / "run"
    return train("latent", data="digits", out=out, steps=100, settings=settings, device="cpu")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    """A run of four steps of each, with mirror images, which nothing has stopped."""
    return train(WHOLE, out=tmp_path_factory.mktemp("whole") / "run", device="cpu")


# exactness


class Linear(nn.Module):
    """An autoencoder of vectors seen as pictures (N, 4, 1, 1): two latents, z = E x and x = D z + b with E D = 1."""

    factor = 1

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        basis, _ = torch.linalg.qr(torch.randn(4, 2, dtype=torch.float64, generator=generator))
        self.basis, self.offset = basis, torch.tensor([0.3, -0.1, 0.2, 0.0], dtype=torch.float64)

    def encode(self, x: Tensor) -> Tensor:
        return ((x[:, :, 0, 0] - self.offset) @ self.basis)[:, :, None, None]

    def decode(self, z: Tensor) -> Tensor:
        return (z[:, :, 0, 0] @ self.basis.T + self.offset)[:, :, None, None]


def test_a_gaussian_in_latents_is_the_gaussian_of_pixels_by_a_linear_autoencoder() -> None:
    """Latents N(m, diag s²), standardised, sampled with their exact denoiser: the mean of pixels is D m + b, their
    covariance D diag(s²) Dᵀ. Pixels are linear in the noise; a step of DDIM shrinks standard normal data by the cosine
    of the angle between its levels (0.2 % here), which is divided out.
    """
    linear, scale = Linear(), LatentScale(2).double()
    mean, std = torch.tensor([0.7, -1.2], dtype=torch.float64), torch.tensor([2.0, 0.5], dtype=torch.float64)
    scale.set(mean, std)
    space = LatentSpace((2, 1, 1), linear, scale)  # pyrefly: ignore[bad-argument-type]
    denoiser = gaussian_denoiser(0.0, 1.0, VP().build())
    noise = torch.cat([torch.zeros(1, 2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)])[:, :, None, None]
    times = uniform(500)
    levels = noise_level(denoiser.schedule, times)
    angles = torch.atan2(torch.as_tensor(levels.sigma), torch.as_tensor(levels.alpha))
    ends = sample(denoiser, DDIM(eta=0.0), times, noise, SampleNoise(0, range(3), (2, 1, 1)))
    ends = ends / angles.diff().cos().prod()
    pixels = space.decode(ends)[:, :, 0, 0]
    centre, slopes = pixels[0], (pixels[1:] - pixels[0]).T
    torch.testing.assert_close(centre, linear.basis @ mean + linear.offset, rtol=0, atol=1e-8)
    covariance = linear.basis @ torch.diag(std**2) @ linear.basis.T
    torch.testing.assert_close(slopes @ slopes.T, covariance, rtol=0, atol=1e-8)
    torch.testing.assert_close(space.decode(space.encode(pixels[:, :, None, None]))[:, :, 0, 0], pixels)


def test_without_an_autoencoder_nothing_is_changed() -> None:
    space, x = DataSpace((1, 4, 4), bounded=True), torch.randn(2, 1, 4, 4)
    assert space.encode(x) is x
    assert space.decode(x) is x


# the latents of the data


def moments_of(x: Tensor) -> tuple[Tensor, Tensor]:
    """As an encoder would give: two channels of half the size, whose deviation depends on the picture."""
    small = torch.nn.functional.avg_pool2d(x, 2)
    return torch.cat([small, 2 * small + 1], 1), torch.cat([small.abs(), small.abs() + 0.5], 1)


def test_latents_are_written_once_and_standardised_over_the_whole_set(tmp_path: Path) -> None:
    digits, calls = load_data(DataConfig("digits")), []

    def posterior(x: Tensor) -> tuple[Tensor, Tensor]:
        calls.append(len(x))
        return moments_of(x)

    file = tmp_path / "latents" / "training.npy"
    latents = encoded(digits, posterior, file, {"autoencoder": "a"}, mirrored=True)
    assert (len(latents), latents.shape, sum(calls)) == (2 * len(digits), (2, 4, 4), 2 * len(digits))
    items = np.array([0, 5, len(digits) + 5])
    x = digits.batch(items % len(digits))
    x[2] = x[2].flip(-1)
    torch.testing.assert_close(latents.batch(items), torch.cat(moments_of(x), 1))
    assert torch.equal(latents.labels_of(items), digits.labels_of(items % len(digits)))
    assert len(set(latents.keys)) == len(latents)

    scale = LatentScale(2)
    scale.set(latents.mean, latents.std_by_channel)
    every = latents.batch(np.arange(len(latents)))
    noise = torch.randn(len(every), 2, 4, 4, generator=torch.Generator().manual_seed(0))
    draws = scale.sampled(every, noise)
    torch.testing.assert_close(draws.mean((0, 2, 3)), torch.zeros(2), rtol=0, atol=0.01)
    torch.testing.assert_close(draws.std((0, 2, 3)), torch.ones(2), rtol=0, atol=0.01)
    torch.testing.assert_close(scale.inverse(scale(noise)), noise)

    calls.clear()
    again = encoded(digits, posterior, file, {"autoencoder": "a"}, mirrored=True)
    assert not calls
    assert np.array_equal(again.moments, latents.moments)
    for changed in ({"made_of": {"autoencoder": "b"}}, {"made_of": {"autoencoder": "a"}, "mirrored": False}):
        given = {"made_of": {"autoencoder": "a"}, "mirrored": True, **changed}
        encoded(digits, posterior, file, given["made_of"], mirrored=given["mirrored"])
        assert calls, changed
        calls.clear()
    for name in ("training.npy", "training.json"):
        damaged = file.parent / name
        damaged.write_bytes(damaged.read_bytes()[:-1])
        again = encoded(digits, posterior, file, {"autoencoder": "a"}, mirrored=False)
        assert (sum(calls), bool(np.isfinite(again.moments).all())) == (len(digits), True)
        calls.clear()
    np.save(file, np.full(again.moments.shape, 7.0, np.float32))  # another encoder's, beside what this one wrote
    again = encoded(digits, posterior, file, {"autoencoder": "a"}, mirrored=False)
    assert sum(calls) == len(digits)
    assert float(again.moments.std()) > 0
    calls.clear()
    for part in (range(100), range(100, 200)):
        encoded(digits.subset(part), posterior, file, {"autoencoder": "a"}, mirrored=False)
        assert sum(calls) == 100  # as many images, but others
        calls.clear()


def test_latents_that_were_written_are_recognised_and_standardised_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits, file = load_data(DataConfig("digits")).subset(range(70)), tmp_path / "training.npy"

    def opened() -> LatentDataset:
        return encoded(digits, moments_of, file, {}, mirrored=False)

    with monkeypatch.context() as of_both:
        of_both.setattr(latents_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        with pytest.raises(InputError, match=r"has 0\.0 GB left, and the latents of 70 images take 0\.0 GB; free some"):
            opened()
    assert not file.exists()
    first = opened()
    with monkeypatch.context() as of_both:
        of_both.setattr(latents_module, "_statistics", None)  # would read all
        again = opened()
    stated = file.with_suffix(".json")
    older = {name: value for name, value in json.loads(stated.read_text()).items() if name not in ("mean", "std")}
    stated.write_text(json.dumps(older))
    for found in (again, opened()):
        assert torch.equal(found.mean, first.mean)
        assert torch.equal(found.std_by_channel, first.std_by_channel)
    assert json.loads(stated.read_text()) == older  # it was not encoded again


def test_latents_that_are_not_finite_are_never_kept(tmp_path: Path) -> None:
    digits = load_data(DataConfig("digits"))
    file = tmp_path / "training.npy"
    with pytest.raises(SumiError, match=r"^autoencoder: gives latents that are not finite for images 0 to 63; train"):
        encoded(digits, lambda x: (x / 0, x), file, {}, mirrored=False)
    assert not file.exists()


# training


def states(run: Path, step: int) -> list[dict[str, Tensor]]:
    folders = [run / "checkpoints" / f"{step:08d}", run / "parts" / "autoencoder" / "checkpoints" / "00000004"]
    return [getattr(load_checkpoint(folder), name) for folder in folders for name in ("model", "ema", "optimizer")]


def crash_at_call(of: object, name: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The training is killed at this call of ``of.name``, from 1."""
    before, count = getattr(of, name), iter(range(1, 100))

    def counted(*arguments: Any, **options: Any) -> Any:
        if next(count) == number:
            raise Crash
        return before(*arguments, **options)

    monkeypatch.setattr(of, name, counted)


@pytest.mark.parametrize(
    ("of", "name", "call", "phase"),
    [
        (gradients, "batch_of", 1, "the autoencoder is trained, 0 of 4 steps, in"),
        (gradients, "batch_of", 3, "the autoencoder is trained, 2 of 4 steps, in"),
        (AutoencoderModel, "posterior", 3, "the data are encoded"),
        (gradients, "batch_of", 5, "the latents are learned"),
        (gradients, "batch_of", 7, "the latents are learned"),
    ],
)
@pytest.mark.parametrize("resumed", ["by its name", "by its configuration"])
def test_killed_in_any_phase_and_resumed_it_is_the_same(
    of: object,
    name: str,
    call: int,
    phase: str,
    resumed: str,
    whole: DiffusionModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    crash_at_call(of, name, call, monkeypatch)
    with pytest.raises(Crash):
        train(WHOLE, out=run, device="cpu")
    monkeypatch.undo()
    assert main(["info", str(run)]) == 0
    assert f"phase        {phase}" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"^resume: the configuration differs \(network\.embedding: 32 → 64\)"):
        train("latent", out=run, resume=True, settings="network.embedding=64", device="cpu")
    train("latent" if resumed == "by its name" else WHOLE, out=run, resume=True, device="cpu")
    for one, other in zip(states(whole.folder, 4), states(run, 4), strict=True):
        assert one.keys() == other.keys()
        assert [name for name in one if not torch.equal(one[name], other[name])] == []
    assert (run / "config.json").read_text() == (whole.folder / "config.json").read_text()
    with pytest.raises(InputError, match="already holds a run"):
        train(WHOLE, out=run, device="cpu")


def test_an_encoding_that_was_killed_with_a_given_autoencoder_is_resumed(
    whole: DiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, run = whole.folder / "parts" / "autoencoder", tmp_path / "run"
    given = [*SMALL, *SHORT, f"autoencoder.source={source}"]
    crash_at_call(AutoencoderModel, "posterior", 3, monkeypatch)
    with pytest.raises(Crash):
        train("latent", data="digits", out=run, steps=2, settings=given, device="cpu")
    monkeypatch.undo()
    model = train("latent", out=run, resume=True, device="cpu")
    assert (model.step, model.config.autoencoder.weights) == (2, whole.config.autoencoder.weights)


def test_a_configuration_gets_what_the_run_has_recorded_of_its_autoencoder() -> None:
    given = TrainedAutoencoder(loss=ReconstructionLoss(features=1.0))
    recorded = replace(given, loss=replace(given.loss, feature_network="learned"), weights="a")
    assert given.continued(recorded) == recorded
    assert recorded.continued(None) == replace(recorded, weights="")
    other = replace(given, network=AutoencoderNetwork(widths=(32,), blocks=(1,)))  # which the run does not have
    assert other.continued(recorded).network == other.network
    taken = replace(other, source="a", weights="a")
    assert replace(given, source="a").continued(taken) == taken


def test_a_network_that_does_not_fit_is_refused_before_an_autoencoder_is_trained(
    whole: DiffusionModel, tmp_path: Path
) -> None:
    source = whole.folder / "parts" / "autoencoder"
    for number, more in enumerate(([*AUTOENCODER, "autoencoder.steps=1"], [f"autoencoder.source={source}"])):
        run, deep = tmp_path / str(number), ["network.widths=32,32,32,32", "network.blocks=1,1,1,1"]
        with pytest.raises(InputError, match=r"^network\.widths: 4 levels are too many"):
            train("latent", data="digits", out=run, settings=[*deep, *more], device="cpu")
        assert not (run / "config.json").exists()


def test_an_autoencoder_is_trained_with_what_the_machine_and_the_data_make_necessary(tmp_path: Path) -> None:
    chosen = ["micro_batch=auto", "recompute=true", "skip_limit=3", "tracker=tensorboard", "order=windowed"]
    config = configure("latent", data="digits", settings=[f"training.{one}" for one in chosen])
    spec, run, taken = load_data(DataConfig("digits")).spec, RunFolder(tmp_path), list[Any]()

    def begin(part: Any, _: RunFolder) -> Any:
        taken.append(part)
        raise Crash

    def begun() -> str:
        with pytest.raises(Crash):
            config.with_parts(spec, run, begin)
        return taken[-1].training.order

    assert begun() == "windowed"
    own = taken[-1].training
    assert (own.micro_batch, own.recompute, own.skip_limit, own.tracker) == ("auto", True, 3, "tensorboard")
    earlier = replace(taken[-1], training=replace(own, order="shuffled"))
    run.part("autoencoder").write_config(to_json(RunDescription(earlier, spec, "", 1.0)))
    assert begun() == "shuffled"  # it goes on as it was begun


def test_the_encoding_is_shown_as_such(whole: DiffusionModel, tmp_path: Path) -> None:
    shown: list[tuple[str, int, int]] = []
    settings = [*SMALL, *SHORT, f"autoencoder.source={whole.folder / 'parts' / 'autoencoder'}"]
    events = Events(counting=lambda *now: shown.append(now))
    train("latent", data="digits", out=tmp_path / "run", steps=1, settings=settings, device="cpu", events=events)
    count = len(whole.load_images().split(whole.config.data.held_out)[0])
    assert shown[-1] == ("encoding images", count, count)


def test_mirror_images_are_encoded_and_latents_never_mirrored(model: DiffusionModel, tmp_path: Path) -> None:
    shutil.copytree(model.folder, tmp_path / "run")
    flipped = replace(model.config, data=replace(model.config.data, flip=True))
    description, digits = replace(model.description, config=flipped), model.load_images()
    trainer, kept = build_trainer(description, digits, RunFolder(tmp_path / "run"), "cpu", Events())
    assert (len(trainer.data), trainer.flip) == (2 * len(kept), False)


def test_the_autoencoder_of_a_run_is_taken_and_the_folder_is_whole(model: DiffusionModel, tmp_path: Path) -> None:
    source = tmp_path / "autoencoder"
    shutil.copytree(model.folder / "parts" / "autoencoder", source)
    out = tmp_path / "run"
    taken = train("latent", data="digits", out=out, steps=1, settings=[*SMALL, *SHORT, f"autoencoder.source={source}"])
    assert taken.config.autoencoder.weights == model.config.autoencoder.weights
    assert not (out / "parts" / "autoencoder" / "metrics.jsonl").exists()  # weights alone
    expected = taken.sample(2, seed=3)
    shutil.rmtree(source)
    shutil.move(out, tmp_path / "moved")
    assert torch.equal(load(tmp_path / "moved", DiffusionModel, device="cpu").sample(2, seed=3), expected)
    load(tmp_path / "moved", DiffusionModel, device="cpu").save(tmp_path / "saved")
    saved = load(tmp_path / "saved", DiffusionModel, device="cpu")
    assert torch.equal(saved.sample(2, seed=3), expected)
    z = torch.randn(2, 4, 4, 4)
    assert torch.equal(saved.glimpse(z), model.glimpse(z))  # the preview goes with the autoencoder
    assert not torch.equal(saved.glimpse(z), saved.seen(z))


def test_settings_of_an_autoencoder_that_is_taken_are_refused(model: DiffusionModel, tmp_path: Path) -> None:
    part, more = model.folder / "parts" / "autoencoder", "autoencoder.batch_size=8"
    with pytest.raises(InputError, match=r"^autoencoder\.batch_size: has no effect, as the autoencoder of .* is taken"):
        configure("latent", data="digits", settings=[f"autoencoder.source={part}", more])
    with pytest.raises(InputError, match=r"^autoencoder\.batch_size: has no effect, as the autoencoder of .* is taken"):
        train("latent", data="digits", out=tmp_path / "run", start=model, settings=[*SMALL, more], device="cpu")
    assert configure("latent", data="digits", settings=more).autoencoder.batch_size == 8


def test_an_autoencoder_that_is_gone_or_another_is_named(
    model: DiffusionModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(model.folder, run)
    shutil.rmtree(run / "parts")
    capsys.readouterr()
    assert main(["reconstruct", str(run), "a.png"]) == 2
    assert "parts/autoencoder: is gone, and the run is of its latents; restore it" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"parts/autoencoder: is gone, and the run is of its latents; restore it$"):
        load(run, DiffusionModel, device="cpu").sample(1)
    other = train(
        "autoencoder",
        data="digits",
        out=tmp_path / "other",
        steps=1,
        settings=["network.widths=32", "network.blocks=1"],
    )
    shutil.copytree(other.folder, run / "parts" / "autoencoder")
    with pytest.raises(InputError, match=r"parts/autoencoder: is not the autoencoder that the run was trained with"):
        load(run, DiffusionModel, device="cpu").sample(1)
    with pytest.raises(InputError, match=r"parts/autoencoder: is not the autoencoder that the run was trained with"):
        train("latent", data="digits", out=run, steps=101, resume=True, device="cpu")


def test_sides_that_the_factor_does_not_divide_are_named(model: DiffusionModel, tmp_path: Path) -> None:
    part = model.folder / "parts" / "autoencoder"
    for settings, why in (
        (
            ["autoencoder.network.widths=32,64,128", "autoencoder.network.blocks=1,1,1", "data.size=12"],
            r"network.widths: 3",
        ),
        (
            [f"autoencoder.source={part}", "data.size=9"],
            f"source: {part} divides sides by 2, which images of 9x9 do not",
        ),
    ):
        with pytest.raises(InputError, match=rf"^autoencoder.{why}"):
            train("latent", data="digits", out=tmp_path / "a", steps=1, settings=[*SMALL, *settings], device="cpu")


def test_an_autoencoder_of_other_images_is_refused(model: DiffusionModel, tmp_path: Path) -> None:
    source = model.folder / "parts" / "autoencoder"
    colours = list(np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), np.uint8))
    with pytest.raises(
        InputError, match=r"^autoencoder\.source: .*is of images of 1 channels, and these data are of s"
    ):
        train("latent", data=colours, out=tmp_path / "a", settings=[*SMALL, f"autoencoder.source={source}"])
    odd = list(np.random.default_rng(0).integers(0, 256, (20, 9, 9), np.uint8))
    with pytest.raises(InputError, match=r"which images of 9x9 do not allow"):
        train("latent", data=odd, out=tmp_path / "b", settings=QUICK)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("sampling.threshold=static", r"^sampling\.threshold: static is of pixels"),
        ("data.dequantize=true", r"^data\.dequantize: is of pixels"),
        ("autoencoder.steps=0", r"^autoencoder\.steps: 0 is too few"),
    ],
)
def test_what_has_no_meaning_in_latents_is_refused(setting: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        configure("latent", data="digits", settings=[setting])


# use


def test_samples_are_the_same_alone_and_in_a_batch(model: DiffusionModel) -> None:
    made = model.sample(5, seed=2, label="3", batch_size=2)
    assert (made.shape, float(made.abs().max()) <= 1) == ((5, 1, 8, 8), True)
    torch.testing.assert_close(model.sample(1, seed=2, start=4, label="3"), made[4:], rtol=1e-4, atol=1e-4)
    assert not torch.equal(model.sample(5, seed=2, label="4"), made)
    assert model.sample(2, size=(12, 16)).shape == (2, 1, 12, 16)
    with pytest.raises(InputError, match=r"^size: 9x16 is not of multiples of 2, as the autoencoder needs$"):
        model.sample(2, size=(9, 16))
    for size in ((6, 8), (8, 6)):  # of pixels, though 3 × 4 latents are denoised
        with pytest.raises(
            InputError, match=rf"^size: {size[0]} × {size[1]} is less than the 8 × 8 of the model; give"
        ):
            model.sample(2, size=size)


def picture(model: DiffusionModel) -> Tensor:
    return model.load_images().batch(np.array([17]))[0]


def test_variations_and_interpolation_begin_and_end_at_what_is_given_back(model: DiffusionModel) -> None:
    x = picture(model)
    assert torch.equal(model.vary(x, 0.0, 1)[0], x)
    back = load(model.folder / "parts" / "autoencoder", device="cpu").reconstruct(x[None])[0]
    near, far = ((model.vary(x, s, 2, steps=20) - back).square().mean() for s in (0.1, 0.9))
    assert near < 0.25 * far
    noise = model.invert(x[None], steps=100)
    assert noise.shape == (1, 4, 4, 4)
    torch.testing.assert_close(model.decode(noise, steps=100)[0], back, rtol=0, atol=0.05)
    between = model.interpolate(x, -x, 3, steps=20)
    assert between.shape == (3, 1, 8, 8)


def test_known_pixels_are_pasted_exactly(model: DiffusionModel) -> None:
    x, mask = picture(model), torch.zeros(8, 8, dtype=torch.bool)
    mask[1:5, 2:7] = True
    for method in (None, "repaint", "ddnm", "twisted"):
        made = model.inpaint(x, mask, 3, method=method, steps=10)
        assert torch.equal(made[:, :, ~mask], x[None].expand(3, -1, -1, -1)[:, :, ~mask])
        assert made[:, :, mask].std(0).max() > 0.01
    checks = torch.ones(8, 8, dtype=torch.bool)
    checks[::2, ::2] = False
    with pytest.raises(InputError, match=r"^mask: leaves no whole latent to keep"):
        model.inpaint(x, checks)


def test_a_network_is_given_the_known_latents(model: DiffusionModel, tmp_path: Path) -> None:
    """It is then asked in place of a method, knows nothing of what is painted over, and all of what is kept."""
    source = f"autoencoder.source={model.folder / 'parts' / 'autoencoder'}"
    settings = [*SMALL, source, "training.batch_size=32", "conditioning=masked", "conditioning.dropout=0.1"]
    run = train("latent", data="digits", out=tmp_path / "run", steps=30, settings=settings, device="cpu")
    x, mask = picture(run), torch.zeros(8, 8, dtype=torch.bool)
    mask[2:6, 2:8] = True
    assert method_for(run, Mask(mask)) == "trained"
    seen: list[Tensor] = []
    run.module.conditioner["masked"].register_forward_pre_hook(lambda _, given: seen.append(given[0]["masked"]))
    made = run.inpaint(x, mask, 2, steps=4)
    assert torch.equal(made[:, :, ~mask], x[:, ~mask].expand(2, 1, -1))
    known, z = torch.ones(4, 4), run.space.encode(x[None])[0]
    known[1:3, 1:] = 0
    with_condition = next(one for one in seen if float(one.abs().max()) > 0)
    torch.testing.assert_close(with_condition[0], torch.cat([z, torch.ones(1, 4, 4)]) * known)
    assert not torch.equal(made, run.inpaint(-x, mask, 2, steps=4))
    assert not torch.equal(made, run.inpaint(x, mask, 2, steps=4, method="moment_matching"))


def test_a_guide_of_pixels_or_of_other_latents_is_refused(model: DiffusionModel, tmp_path: Path) -> None:
    short = ["network.widths=32", "network.blocks=1", "network.attention=", "network.head_width=32"]
    classifier = train("noisy-classifier", data="digits", out=tmp_path / "c", steps=1, settings=short, device="cpu")
    with pytest.raises(InputError, match=r"^guidance.classifier: .* knows pixels, and the model denoises latents"):
        model.sample(1, label="3", guidance=Guidance(2.0, classifier=classifier))
    settings = ["network.widths=32", "network.blocks=1", "network.embedding=32", "conditioning=labels"]
    pixels = train("flow", data="digits", out=tmp_path / "p", steps=1, settings=settings, device="cpu")
    settings = [*AUTOENCODER, *SMALL, "autoencoder.steps=1", "training.batch_size=32", "conditioning=labels"]
    other = train("latent", data="digits", out=tmp_path / "o", steps=1, settings=settings, device="cpu")
    for worse in (pixels, other):
        with pytest.raises(InputError, match=r"^guidance.worse: .* denoises other latents than the model"):
            model.sample(1, label="3", guidance=Guidance(2.0, worse=worse))


def test_what_is_measured_of_the_picture_is_followed_through_the_decoder(model: DiffusionModel) -> None:
    """And a picture that is restored measures it exactly."""
    x, shrink = picture(model), box(8, 8, 2)
    small = shrink(x[None])[0]
    restored = model.upscale(small, 2, 1, steps=30)
    torch.testing.assert_close(shrink(restored)[0], small, rtol=0, atol=1e-4)
    guided = candidates(model, Measurement(OfDecoded(shrink, model.space.decode), small[None]), 4, None, {"steps": 30})
    torch.testing.assert_close(restored, within(Measurement(shrink, small[None]), guided[:1]), rtol=0, atol=1e-4)
    free = model.sample(4, steps=30)
    errors = [(shrink(made) - small).square().mean() for made in (guided, free)]
    assert errors[0] < 0.5 * errors[1]
    with pytest.raises(InputError, match="needs a linear operator of pixels; choose dps"):
        model.upscale(small, 2, 1, method="pigdm")


@pytest.mark.slow
def test_a_transformer_learns_latents_and_samples_other_sizes(model: DiffusionModel, tmp_path: Path) -> None:
    """The recipe `dit`, velocity predicted, on the autoencoder of another run: 400 steps bring
    the mean of samples of a class near that of its images; a shape that it was not trained on is in the same units."""
    settings = [
        f"autoencoder.source={model.folder / 'parts' / 'autoencoder'}",
        *("parameterization=velocity", "conditioning=labels", "training.sample_every=0", "training.warmup_steps=20"),
        *("network.patch=1", "network.width=64", "network.blocks=2", "network.embedding=32"),
        *("training.batch_size=32", "training.optimizer=muon"),
    ]
    made = train("dit", data="digits", out=tmp_path / "run", steps=400, settings=settings, device="cpu")
    digits = made.load_images()
    zeros = digits.batch(np.flatnonzero(digits.labels_of(np.arange(len(digits))).numpy() == 0))
    x = made.sample(64, label="0", steps=10)
    plain = digits.batch(np.arange(500)).mean(0)
    assert (x.mean(0) - zeros.mean(0)).square().mean() < 0.5 * (plain - zeros.mean(0)).square().mean()
    other = made.sample(4, label="0", size=(8, 12), steps=10)
    assert other.shape == (4, 1, 8, 12)
    assert float(other.std()) == pytest.approx(float(x.std()), rel=0.5)


def test_states_on_the_way_are_previewed_in_the_colours_of_what_is_decoded(model: DiffusionModel) -> None:
    """Of images' latents the preview explains most of what squares of 2·2 pixels vary by; an older autoencoder
    has none, and states are decoded."""
    z = model.space.encode(model.load_images().batch(np.arange(200)))
    seen, glimpsed = (torch.nn.functional.avg_pool2d(x, 2) for x in (model.seen(z), model.glimpse(z)))
    assert glimpsed.shape == seen.shape
    assert (glimpsed - seen).square().mean() < 0.5 * seen.var()
    assert torch.equal(model.glimpse(z)[:, :, ::2, ::2], glimpsed)
    assert model.space.preview is not None
    plain = model.space.preview(model.space.scale.inverse(z))  # of latents as the autoencoder has them
    assert torch.equal(model.space.glimpse(z)[:, :, :: model.space.factor, :: model.space.factor], plain)
    assert differ(plain, model.space.preview(z))
    older = replace(model.space, preview=None)
    assert torch.equal(older.glimpse(z), older.decode(z))


def test_the_likelihood_of_pixels_is_refused_by_name(model: DiffusionModel) -> None:
    with pytest.raises(InputError, match=r"^autoencoder: the likelihood of pixels is not known to a model of latents"):
        model.bits_per_dim(picture(model)[None])


def test_the_command_line_trains_with_a_given_autoencoder_and_reconstructs(
    model: DiffusionModel, tmp_path: Path, capsys
) -> None:
    out, source = tmp_path / "run", model.folder / "parts" / "autoencoder"
    settings = [f"--set={setting}" for setting in (*SMALL, *SHORT)]
    given = ["--autoencoder", str(source), "--steps", "2", "--out", str(out), "--no-report"]
    assert main(["train", "latent", "--data", "digits", *given, *settings, "--set", "autoencoder.steps=4"]) == 2
    assert f"autoencoder.steps: has no effect, as the autoencoder of {source} is taken" in capsys.readouterr().err
    assert not out.exists()
    assert main(["train", "latent", "--data", "digits", *given, *settings]) == 0
    assert main(["train", "latent", "--out", str(out), "--resume", "--set", "autoencoder.network.widths=32"]) == 2
    assert "autoencoder.network.widths: has no effect" in capsys.readouterr().err
    config = json.loads((out / "config.json").read_text())["config"]
    assert config["autoencoder"]["weights"] == model.config.autoencoder.weights
    assert main(["sample", str(out), "-n", "2", "--out", str(tmp_path / "made")]) == 0
    assert main(["reconstruct", str(out), str(tmp_path / "made" / "00000.png"), "--out", str(tmp_path / "back")]) == 0
    assert (tmp_path / "back" / "00000-before-after.png").exists()
    assert main(["train", "ddpm", "--data", "digits", "--autoencoder", str(source), "--out", str(tmp_path / "no")]) == 2
    assert "autoencoder" in capsys.readouterr().err


def test_its_configuration_says_what_was_trained(model: DiffusionModel) -> None:
    chosen = model.config.autoencoder
    assert isinstance(chosen, TrainedAutoencoder)
    assert chosen.network == AutoencoderNetwork(widths=(32,), blocks=(1,))
    assert (len(chosen.weights), model.description.data_std) == (64, 1.0)
    assert sumi.load(model.folder / "parts" / "autoencoder").digest == chosen.weights
