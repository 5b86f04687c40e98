"""Models of latents that are given pictures, small or grey: what their network sees, and what they make of it."""

from math import atan, cos, pi
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from sumi import recipes
from sumi.autoencoders.scale import LatentScale
from sumi.boundary.settings import override
from sumi.cli.main import main
from sumi.conditioning.condition import Condition
from sumi.conditioning.image import GreyConditioning, ImageConditioner, MaskedConditioning, SmallConditioning, known
from sumi.data.batch import batch_of
from sumi.data.config import DataConfig
from sumi.data.images import ImageSpec
from sumi.data.latents import Latents, encoded
from sumi.data.load import load as load_data
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.errors import InputError
from sumi.models.diffusion.build import build_denoiser
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.restoration import method_for
from sumi.models.diffusion.space import LatentSpace
from sumi.models.model import RunDescription
from sumi.networks.condition import NetworkCondition
from sumi.operators.linear import Grey, Mask, is_linear
from sumi.operators.separable import box
from sumi.process.gaussian import expand
from sumi.process.schedule import Schedule, noise_level
from sumi.recipes.configure import configure
from sumi.report.restoration import restored
from sumi.restoration.condition import trained_for
from sumi.restoration.measurement import OfDecoded
from sumi.training_run import train
from tests.interrupted import killed_and_resumed
from tests.tiny_models import CleanGivenTime, generator

COLOURS = ImageSpec(3, 8, 8, 256, ("a", "b"))
AUTOENCODER = [
    "autoencoder.network.widths=32",
    "autoencoder.network.blocks=1",
    "autoencoder.steps=2",
    "autoencoder.batch_size=8",
]
NETWORK = ["network.widths=32", "network.blocks=1", "network.attention=", "network.embedding=32"]
SHORT = ["training.batch_size=16", "training.sample_every=0", "sampling.steps=4"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    """Given pictures of a quarter of the sides, noised or not, grey pictures, or their class: two steps on digits of
    three channels.
    """
    settings = [*AUTOENCODER, *NETWORK, *SHORT, "data.channels=3", "conditioning=small,grey,labels"]
    settings += ["conditioning.small.factor=4", "conditioning.small.noise=0.4"]
    return train("latent", data="digits", out=tmp_path_factory.mktemp("latent") / "run", steps=2, settings=settings)


def picture(model: DiffusionModel, index: int = 17) -> Tensor:
    return model.load_images().batch(np.array([index]))[0]


# --- what the network sees


def folded(config: SmallConditioning | GreyConditioning, factor: int) -> ImageConditioner:
    """Of images of 24 × 24 whose latents are ``factor`` times as small."""
    return config.build(Latents((4, 24 // factor, 24 // factor), (), (3, 24, 24)), 16)


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
@pytest.mark.parametrize("config", [GreyConditioning(), *map(SmallConditioning, (2, 3, 4, 6, 8, 12))])
def test_a_picture_comes_to_the_latents_sides_and_no_value_is_lost(
    config: SmallConditioning | GreyConditioning, factor: int
) -> None:
    conditioner, k = folded(config, factor), getattr(config, "factor", 1)
    channels = 1 if config.name == "grey" else 3
    z = torch.zeros(2, 4, 24 // factor, 24 // factor)
    assert conditioner.null(z)[config.name].shape == (2, channels + 1, 24 // k, 24 // k)
    assert conditioner.null(z)[config.name].unique().tolist() == [0]
    given = known(torch.randn(2, channels, 24 // k, 24 // k, generator=generator()))
    seen = conditioner(Condition({config.name: given})).image
    assert seen.shape == (2, conditioner.shape.channels, *z.shape[2:])
    if factor % k == 0:  # folded alone: each latent's place has the values of its square as channels
        square = factor // k
        for c in range(channels):
            for row, column in ((0, 0), (1, 2), (24 // factor - 1, 0)):
                here = given[:, c, row * square : (row + 1) * square, column * square : (column + 1) * square]
                channel = seen[:, c * square**2 : (c + 1) * square**2, row, column]
                assert torch.equal(channel, here.flatten(1))
    if k % factor == 0:  # enlarged alone, and known all over
        assert seen.shape[1] == channels + 1
        torch.testing.assert_close(seen[:, -1], torch.ones_like(seen[:, -1]))


def test_in_training_the_condition_is_of_the_image_that_was_encoded_mirrored_or_not(tmp_path: Path) -> None:
    digits = load_data(DataConfig("digits", channels=3)).subset(range(60))

    def posterior(x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, :, ::2, ::2], torch.zeros_like(x[:, :, ::2, ::2])

    data = encoded(digits, posterior, tmp_path / "training.npy", {}, mirrored=True)
    items, places = np.array([3, 3 + len(digits), 40, 0]), np.arange(4)
    batch = batch_of(data, items, places, step=1, seed=0)
    x = digits.batch(items % len(digits))
    x[1] = x[1].flip(-1)
    assert torch.equal(batch.x[:, :3], x[:, :, ::2, ::2])  # the moments are of these
    latents = Latents((3, 4, 4), (), (3, 8, 8))
    small = SmallConditioning(4, dropout=0.0).build(latents, 16).of_data(batch, batch.x[:, :3], 0)
    torch.testing.assert_close(small["small"], known(box(8, 8, 4)(x)))
    grey = GreyConditioning(0.0).build(latents, 16).of_data(batch, batch.x[:, :3], 0)
    torch.testing.assert_close(grey["grey"], known(Grey()(x)))
    of_pictures = batch_of(digits, items[2:], places[2:], step=1, seed=0)  # held-out ones, which are not encoded before
    again = GreyConditioning(0.0).build(latents, 16).of_data(of_pictures, batch.x[2:, :3], 0)
    assert torch.equal(again["grey"], grey["grey"][2:])


def test_killed_and_resumed_it_is_the_same(
    model: DiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With mirror images, noise on small pictures, and pictures left out."""
    settings = [*NETWORK, *SHORT, f"autoencoder.source={model.folder / 'parts' / 'autoencoder'}"]
    settings += ["data.channels=3", "data.flip=true", "training.checkpoint_every=1"]
    settings += ["conditioning=small,grey,labels", "conditioning.small.noise=0.5"]
    killed_and_resumed(configure("latent", data="digits", steps=2, settings=settings), tmp_path, monkeypatch, at=2)


# --- exactness


class Blocks(nn.Module):
    """A linear autoencoder of images (N, 3, H, W): four latents of each 2 × 2 block u, z = Bᵀu and u = B z."""

    factor = 2

    def __init__(self) -> None:
        super().__init__()
        basis, _ = torch.linalg.qr(torch.randn(12, 4, generator=generator()))
        self.basis = basis

    def encode(self, x: Tensor) -> Tensor:
        return torch.einsum("ul,nuhw->nlhw", self.basis, pixel_unshuffle(x, 2))

    def decode(self, z: Tensor) -> Tensor:
        return pixel_shuffle(torch.einsum("ul,nlhw->nuhw", self.basis, z), 2)


class Posterior(nn.Module):
    """E[z_0 | z_t, y] of standard normal latents, where y = M z_0 + m + s n is of each place alone.

    It sees cos φ y with tan φ = s: ``shown`` M (channels, 4), ``mean`` m (channels,), ``std`` s.
    """

    def __init__(self, schedule: Schedule, shown: Tensor, mean: Tensor, std: float) -> None:
        super().__init__()
        self.schedule, self.mean, self.cosine = schedule, mean, cos(atan(std))
        if std:
            covariance = torch.linalg.inv(torch.eye(4) + shown.T @ shown / std**2)
            self.inverse = covariance @ shown.T / std**2
        else:
            self.inverse = torch.linalg.pinv(shown)
            covariance = torch.eye(4) - self.inverse @ shown
        self.variances, self.axes = torch.linalg.eigh(covariance)
        self.anchor = nn.Parameter(torch.zeros(()))

    def forward(self, z_t: Tensor, t: Tensor, condition: NetworkCondition) -> Tensor:
        now = noise_level(self.schedule, t)
        y = condition.image[:, : len(self.mean)] / self.cosine - self.mean[:, None, None]
        mean = torch.einsum("lc,nchw->nlhw", self.inverse, y)
        alpha, sigma = (torch.as_tensor(expand(v, z_t)).float() for v in (now.alpha, now.sigma))
        variances = self.variances[:, None, None]
        along = torch.einsum("lk,nlhw->nkhw", self.axes, z_t - alpha * mean)
        gain = alpha * variances / (alpha**2 * variances + sigma**2)
        return mean + torch.einsum("lk,nkhw->nlhw", self.axes, gain * along)


@pytest.mark.parametrize(("name", "std"), [("small", 0.3), ("small", 0.0), ("grey", 0.0)])
def test_of_a_gaussian_and_a_linear_autoencoder_it_is_the_posterior_mean(name: str, std: float) -> None:
    """Pictures x = D z + b with z ~ N(0, I), of which y = A x + s n is given: from no noise at all a solver of the ODE
    ends at E[x | y], which is here that of dense matrices. The first step begins at t = 1 - 1/20000, where alpha is
    5e-5: so far is its start from no noise.
    """
    settings = [*AUTOENCODER, f"conditioning={name}", *(["conditioning.noise=0.5"] if name == "small" else [])]
    config = override(recipes.build("latent", DataConfig(source="digits")), settings)
    blocks, scale, schedule = Blocks(), LatentScale(4), config.schedule.build()
    scale.set(torch.tensor([0.3, -0.2, 0.1, 0.0]), torch.tensor([0.6, 0.4, 0.5, 0.2]))
    space = LatentSpace((4, 4, 4), blocks, scale)  # pyrefly: ignore[bad-argument-type]
    operator = box(8, 8, 2) if name == "small" else Grey()

    decoded = space.decode(torch.cat([torch.zeros(1, 64), torch.eye(64)]).view(-1, 4, 4, 4))
    b, d = decoded[0].flatten(), (decoded[1:] - decoded[0]).flatten(1).T
    of_unit = operator(torch.eye(192).view(-1, 3, 8, 8)).flatten(1).T
    z = torch.randn(1, 4, 4, 4, generator=generator(1))
    exact = operator(space.decode(z))
    y = exact + std * torch.randn(exact.shape, generator=generator(2))
    m = of_unit @ d
    gain = torch.linalg.pinv(m) if not std else m.T @ torch.linalg.inv(m @ m.T + std**2 * torch.eye(len(m)))
    wanted = (b + d @ gain @ (y.flatten() - of_unit @ b)).view(3, 8, 8)
    assert float(wanted.abs().max()) < 1

    one = box(2, 2, 2) if name == "small" else Grey()  # of the pictures of a block alone, in the order of its channels
    alone = one(space.decode(torch.cat([torch.zeros(1, 4), torch.eye(4)])[..., None, None])).flatten(1)
    network = Posterior(schedule, (alone[1:] - alone[0]).T, alone[0], std)
    conditioner = build_denoiser(config, COLOURS).conditioner
    denoiser = NetworkDenoiser(network, schedule, CleanGivenTime(), None, False, conditioner)
    model = DiffusionModel(RunDescription(config, COLOURS, "none", 1.0), denoiser, 1, Path("none"))
    model.__dict__["space"] = space
    how = {"x": torch.zeros(1, 4, 4, 4), "solver": "ddim", "time_grid": "uniform", "steps": 200}
    made = model.restore(y[0], operator, std, 1, **how)
    torch.testing.assert_close(made[0], wanted, rtol=0, atol=1e-4)


# --- what comes out


def test_what_is_given_is_measured_of_the_pictures_exactly(model: DiffusionModel) -> None:
    """Whatever the decoder loses, and by a method of an untrained network, too."""
    x = picture(model)[None]
    for operator in (Grey(), box(8, 8, 4), box(8, 8, 2)):
        y = operator(x)[0]
        assert method_for(model, operator) == ("dps" if y.shape == (3, 4, 4) else "trained")
        made = model.restore(y, operator, n=3, seed=1)
        torch.testing.assert_close(operator(made), y.expand(3, -1, -1, -1), rtol=0, atol=1e-4)
        assert float(made.abs().max()) <= 1
        assert float((made[0] - made[1]).abs().max()) > 0.01
        alone = model.restore(y, operator, n=1, seed=1, start=2)[0]
        torch.testing.assert_close(alone, made[2], rtol=1e-3, atol=1e-3)
    small = box(8, 8, 4)(x)[0]
    assert torch.equal(model.upscale(small, n=2), model.restore(small, box(8, 8, 4), n=2))
    with pytest.raises(InputError, match=r"^method: this run was not trained for that"):
        model.upscale(box(8, 8, 2)(x)[0], 2, method="trained")


def test_a_network_is_given_the_measured_pictures_themselves(
    model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Tensor]] = []
    forward = ImageConditioner.forward

    def recorded(self: ImageConditioner, condition: Condition) -> NetworkCondition:
        seen.append(dict(condition))
        return forward(self, condition)

    monkeypatch.setattr(ImageConditioner, "forward", recorded)
    x, std = picture(model)[None], 0.2
    model.restore(Grey()(x)[0], Grey(), n=1, label="3")
    given = next(one for one in seen if bool(one["grey"].any()))
    torch.testing.assert_close(given["grey"][:1], known(Grey()(x)))
    assert given["labels"].unique().tolist() == [3]
    assert not bool(given["small"].any())
    seen.clear()
    y = box(8, 8, 4)(x)
    model.restore(y[0], box(8, 8, 4), std, n=1)
    given = next(one for one in seen if bool(one["small"].any()))
    cosine = torch.tensor([cos(atan(std))] * 3 + [1.0]).view(-1, 1, 1)
    torch.testing.assert_close(given["small"][:1], known(y) * cosine)
    torch.testing.assert_close(given["small_noise"][:1], torch.full((1,), 2 / pi * atan(std)))


def test_masked_pixels_are_followed_through_the_decoder(model: DiffusionModel) -> None:
    """They are no masked latents, which other networks are given, and stay as they are to the bit."""
    mask, x = torch.zeros(8, 8, dtype=torch.bool), picture(model)[None]
    mask[:3] = True
    through = OfDecoded(Mask(mask), model.space.decode)
    assert not is_linear(through)
    assert not trained_for((MaskedConditioning(), *model.config.conditioning), through, 0.0)
    made = model.restore(Mask(mask)(x)[0], Mask(mask), n=1, steps=2)
    assert torch.equal(made[:, :, ~mask], x[:, :, ~mask])


def test_larger_pictures_are_made_in_windows_that_fit_what_is_given(model: DiffusionModel) -> None:
    """Windows of 4 × 4 latents and of 2 × 2 given pixels begin at the same places: multiples of 4 pixels."""
    y = torch.rand(3, 3, 4, generator=generator()) - 0.5
    made = model.upscale(y, n=1)
    assert made.shape == (1, 3, 12, 16)
    torch.testing.assert_close(box(12, 16, 4)(made)[0], y, rtol=0, atol=1e-4)
    with pytest.raises(InputError, match=r"fills in what it is given; use inpaint, upscale or restore$"):
        model.sample(1, size=(12, 16))


def test_the_commands_and_the_report_use_it(
    model: DiffusionModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random, run = np.random.default_rng(0), str(model.folder)
    small, grey = tmp_path / "small.png", tmp_path / "grey.png"
    Image.fromarray(random.integers(0, 256, (2, 2, 3), dtype=np.uint8)).save(small)
    Image.fromarray(random.integers(0, 256, (8, 8), dtype=np.uint8)).save(grey)
    assert main(["upscale", run, str(small), "-n", "1", "--out", str(tmp_path / "up")]) == 0
    assert "(trained, 4 steps)" in capsys.readouterr().out
    pixels = np.asarray(Image.open(tmp_path / "up" / "00000.png"), np.float64)
    means = pixels.reshape(2, 4, 2, 4, 3).mean((1, 3))
    assert float(np.abs(means - np.asarray(Image.open(small))).max()) <= 0.5 + 1e-2  # half a level of rounding
    given = ["--operator", "grey", "--label", "3", "-n", "1", "--out", str(tmp_path / "col")]
    assert main(["restore", run, str(grey), *given]) == 0
    assert "(trained, 4 steps)" in capsys.readouterr().out
    (section,) = restored(model, model.load_images().subset(range(10)), tmp_path, 0)
    assert "upscaled 4×" in section.figures[0].caption
    assert (tmp_path / "restored.png").exists()


# --- what is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["conditioning=small", "conditioning.factor=3"],
            "conditioning.factor: 3 does not divide the images' sides, 8",
        ),
        (["conditioning=grey"], "conditioning: grey needs colour images, and these are grey; set data.channels=3"),
        (
            ["conditioning=small", "autoencoder=affine"],
            r"conditioning: small is of images in \[-1, 1\], and autoencoder=affine has none",
        ),
        (
            ["network.widths=32,32,32", "network.blocks=1,1,1"],
            "network.widths: 3 levels are too many for images of 2x2; give at most 2, or larger images: these are the "
            "latents of images of 8x8, divided by the autoencoder's factor 4; data.size=16 would do",
        ),
        (
            ["network=edm2", "network.widths=64,64,64", "data.size=24"],
            r"network=edm2: takes images of multiples of 4, not \(4, 6, 6\); give others: these are the latents of "
            "images of 24x24, divided by the autoencoder's factor 4; data.size=32 would do",
        ),
        (
            ["network=transformer", "network.patch=4"],
            "network.patch: 4 is larger than images of 2x2; give at most 2, or larger images: these are the latents of "
            "images of 8x8, divided by the autoencoder's factor 4; data.size=16 would do",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_the_words_of_what_was_set(
    settings: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        train("latent", data="digits", out=tmp_path / "run", settings=settings)
    assert not (tmp_path / "run" / "config.json").exists()
