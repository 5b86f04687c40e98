"""Autoencoders as a system: trained, resumed bit for bit, measured, and used from Python and the command line."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import sumi
from sumi.cli.main import main
from sumi.errors import InputError
from sumi.evaluation.autoencoder import _fine_share, codes_used
from sumi.metrics.features import learned
from sumi.metrics.features.efficientnet import is_installed
from sumi.metrics.psnr import psnr
from sumi.models.autoencoder import AutoencoderModel
from sumi.models.run import load
from sumi.recipes.configure import configure
from tests.interrupted import killed_and_resumed
from tests.lpips_weights import lpips_file

TINY = ["network.widths=16", "network.blocks=1", "training.batch_size=8", "training.warmup_steps=0"]
AUTOENCODERS = {
    "kl": ["loss.adversarial=0.5", "loss.adversarial_start=0.3"],
    "vq": ["network.regularizer=vq", "network.regularizer.codes=16"],
    "fsq": ["network.regularizer=fsq", "loss.half_size=0.5"],
}


def trained(run: Path, kind: str = "kl", steps: int = 4, **options: object) -> AutoencoderModel:
    settings = [*TINY, *AUTOENCODERS[kind], "training.checkpoint_every=2"]
    return sumi.train("autoencoder", data="digits", out=run, steps=steps, settings=settings, device="cpu", **options)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> AutoencoderModel:
    """Of the digits, after 150 steps."""
    settings = ["network.widths=32", "network.blocks=1", "training.batch_size=32", "training.learning_rate=3e-3"]
    out = tmp_path_factory.mktemp("autoencoder") / "run"
    return sumi.train("autoencoder", data="digits", out=out, steps=150, settings=settings, device="cpu")


@pytest.mark.parametrize("kind", AUTOENCODERS)
def test_killed_and_resumed_it_is_the_same_bit_for_bit(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The discriminator with its optimizer, and the codebook with its counts, are in the checkpoint."""
    settings = [*TINY, *AUTOENCODERS[kind], "training.checkpoint_every=2"]
    config = configure("autoencoder", data="digits", steps=5, settings=settings)
    _, last = killed_and_resumed(config, tmp_path, monkeypatch, at=4)
    held = {
        "kl": "discriminator.body.0.weight",
        "vq": "autoencoder.regularizer.seen_sums",
        "fsq": "autoencoder.encoder",
    }
    assert any(name.startswith(held[kind]) for name in last.model)


def colours(count: int = 24) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3), np.uint8))


@pytest.mark.parametrize("network", ["learned", pytest.param("efficientnet", marks=pytest.mark.slow), "lpips"])
def test_resumed_with_features_it_is_the_same_bit_for_bit(
    network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if network == "efficientnet" and not is_installed():
        pytest.skip("not installed")
    chosen = str(lpips_file(tmp_path)) if network == "lpips" else network
    folder = tmp_path / "images"
    folder.mkdir()
    for k, image in enumerate(colours()):
        Image.fromarray(image).save(folder / f"{k}.png")
    settings = [*TINY, "data.size=64", "loss.features=1", f"loss.feature_network={chosen}"]
    config = configure("autoencoder", data=folder, steps=4, settings=[*settings, "training.checkpoint_every=2"])
    with pytest.MonkeyPatch.context() as quick:
        for name in ("FEWEST_STEPS", "MOST_STEPS"):
            quick.setattr(learned, name, 2)
        model, _ = killed_and_resumed(config, tmp_path, monkeypatch, at=4)
    loss = model.config.loss
    assert (loss.feature_network, len(loss.feature_weights)) == (chosen, 0 if network == "learned" else 64)
    plain = sumi.train("autoencoder", data=folder, steps=4, out=tmp_path / "plain", settings=settings[:-2])
    assert not torch.equal(plain.autoencoder.decoder.last.weight, model.autoencoder.decoder.last.weight)


def test_a_network_of_features_that_is_changed_or_gone_is_refused(tmp_path: Path) -> None:
    file = lpips_file(tmp_path)
    settings = [*TINY, "loss.features=1", f"loss.feature_network={file}"]
    given = {"data": colours(), "out": tmp_path / "run", "device": "cpu"}
    model = sumi.train("autoencoder", steps=1, settings=settings, **given)
    lpips_file(tmp_path, seed=1)
    with pytest.raises(InputError, match=r"^loss\.feature_network: .*lpips\.pth has other weights than the run was tr"):
        sumi.train("autoencoder", steps=2, resume=True, **given)
    file.unlink()
    with pytest.raises(InputError, match=r"^loss\.feature_network: .*lpips\.pth: no such file"):
        sumi.train("autoencoder", steps=2, resume=True, **given)
    with pytest.raises(InputError, match=r"^loss\.feature_network: .*lpips\.pth: no such file"):
        sumi.train(
            "latent",
            steps=2,
            data=colours(),
            out=tmp_path / "latent",
            settings=["autoencoder.loss.features=1", f"autoencoder.loss.feature_network={file}", "autoencoder.steps=1"],
        )
    assert load(model.folder, AutoencoderModel).reconstruct(colours(1)).shape == (1, 3, 64, 64)  # needs it no more
    lpips_file(tmp_path)
    assert sumi.train("autoencoder", steps=2, resume=True, **given).step == 2


def test_it_gives_held_out_pictures_back(model: AutoencoderModel) -> None:
    """A mean of the training images alone has 9 dB."""
    _, held_out = model.load_images().split(model.config.data.held_out)
    images = held_out.batch(np.arange(len(held_out)))
    made = model.reconstruct(images)
    assert (made.shape, made.dtype, float(made.abs().max()) <= 1) == (images.shape, torch.float32, True)
    assert float(psnr(made, images).mean()) > 17
    latents = model.encode(images)
    assert latents.shape == (len(images), 4, 4, 4)
    assert torch.equal(model.decode(latents), made)
    assert torch.equal(model.reconstruct(images, batch_size=7), model.reconstruct(images, batch_size=7))
    pixels = ((images + 1) * 127.5).round().byte().numpy()
    assert torch.equal(model.encode(list(pixels)), model.encode(pixels))
    torch.testing.assert_close(model.encode(pixels), model.encode(torch.from_numpy(pixels) / 127.5 - 1))


def test_pictures_of_any_size_are_continued_by_their_edge(model: AutoencoderModel) -> None:
    x = torch.rand(1, 1, 9, 15) * 2 - 1
    whole = torch.nn.functional.pad(x, (0, 1, 0, 1), mode="replicate")
    assert torch.equal(model.reconstruct(x), model.reconstruct(whole)[:, :, :9, :15])


def test_large_pictures_are_encoded_and_decoded_in_tiles(
    model: AutoencoderModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Group norms see a tile alone: the result is near that at once, and not the same."""
    x = model.load_images().batch(np.arange(12)).view(1, 3, 4, 8, 8).permute(0, 1, 3, 2, 4).reshape(1, 1, 24, 32)
    at_once, latents = model.reconstruct(x), model.encode(x)
    seen: list[tuple[int, ...]] = []
    hook = model.autoencoder.encoder.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape[2:])))
    monkeypatch.setattr("sumi.models.autoencoder.TILE", 16)
    in_tiles = model.reconstruct(x)
    hook.remove()
    assert set(seen) == {(16, 16)}
    assert len(seen) == 6
    assert in_tiles.shape == x.shape
    assert (in_tiles - at_once).square().mean() < 0.25 * (x - at_once).square().mean()
    assert model.encode(x).shape == latents.shape
    assert model.decode(latents).shape == x.shape


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda m: m.encode(torch.zeros(1, 3, 8, 8)), r"^images: are of shape \(1, 3, 8, 8\); give \(N, 1, H, W\)$"),
        (
            lambda m: m.encode(torch.zeros(1, 1, 9, 8)),
            r"^images: are of 9x8, and this autoencoder takes multiples of 2",
        ),
        (lambda m: m.reconstruct(torch.zeros(1, 1, 1, 8)), r"^images: are of 1x8, smaller than the factor 2"),
        (lambda m: m.encode(torch.zeros(1, 1, 8, 8).byte()), r"^images: is a tensor of torch.uint8, .* x / 127.5 - 1"),
        (lambda m: m.reconstruct(torch.full((1, 1, 8, 8), 2.0)), r"^images: values from 2 to 2 are beyond \[-1, 1\]"),
        (lambda m: m.posterior(np.full((1, 1, 8, 8), np.nan)), r"^images: not every value is finite"),
        (lambda m: m.encode(torch.zeros(1, 8, 8)), r"^images: are of shape \(1, 8, 8\); give \(N, 1, H, W\)$"),
        (lambda m: m.encode(torch.zeros(1, 1, 8, 8), batch_size=0), r"^batch_size: 0 is out of range"),
        (lambda m: m.decode(torch.full((1, 4, 4, 4), float("nan"))), r"^latents: not every value is finite"),
        (lambda m: m.decode(torch.zeros(1, 3, 4, 4)), r"^latents: are of shape \(1, 3, 4, 4\); give \(N, 4, h, w\)$"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(model: AutoencoderModel, use, message: str) -> None:
    with pytest.raises(InputError, match=message):
        use(model)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty steps for the features of the Fréchet distance, where its value does not matter."""
    for name in ("FEWEST_STEPS", "MOST_STEPS"):
        monkeypatch.setattr(learned, name, 20)


@pytest.mark.usefixtures("short")
def test_it_is_measured(model: AutoencoderModel) -> None:
    measured = model.evaluate(progress=False)
    figures = json.loads((model.folder / "report" / "autoencoder.json").read_text())
    _, held_out = model.load_images().split(model.config.data.held_out)
    images = held_out.batch(np.arange(len(held_out)))
    assert figures["psnr"]["value"] == pytest.approx(float(psnr(model.reconstruct(images), images).mean()), abs=1e-3)
    assert (figures["images"], figures["compression"], figures["codes_used"]) == (len(held_out), 1.0, None)
    assert figures["latent_std"] == pytest.approx(model.encode(images).std((0, 2, 3)).tolist(), rel=1e-3)
    assert 0 < figures["fine_pixels"] < figures["fine"] <= 1  # of 4x4 latents, all frequencies are fine
    page = (model.folder / "report" / "report.html").read_text()
    assert f"{figures['psnr']['value']:.1f} dB" in page
    assert str(measured).startswith("It gives held-out images back with")


def test_fine_detail_is_the_power_from_a_quarter_of_a_cycle_on() -> None:
    """A constant counts nothing; waves of 1/8 and 3/8 cycles, of amplitudes 2 and 1, have powers 4 to 1."""
    place = torch.arange(16.0) * 2 * torch.pi
    rows = 5 + 2 * (place / 8).cos() + (place * 3 / 8).cos()
    assert _fine_share(rows.expand(3, 2, 16, 16)) == pytest.approx(1 / 5, abs=1e-6)


@pytest.mark.usefixtures("short")
def test_used_codes_are_counted(tmp_path: Path) -> None:
    model = trained(tmp_path / "run", "vq")
    measured = model.evaluate(progress=False)
    figures = json.loads((model.folder / "report" / "autoencoder.json").read_text())
    assert figures["codes"] == 16
    regularizer, digits = model.autoencoder.regularizer, model.load_images()
    codes = regularizer.codes(model.encode(digits.batch(np.arange(len(digits)))))
    assert codes is not None
    assert figures["codes_used"] == len(codes.unique()) / 16  # of any image
    parts = digits.split(model.config.data.held_out)
    assert codes_used(model, parts[1:]) <= codes_used(model, parts) == figures["codes_used"]
    assert "of 16 occur in the images" in str(measured)


def test_an_option_it_does_not_have_is_refused(model: AutoencoderModel) -> None:
    with pytest.raises(InputError, match=r"^n: does not apply to the evaluation of autoencoders"):
        model.evaluate(n=5)


def test_the_command_reconstructs_files(model: AutoencoderModel, tmp_path: Path, capsys) -> None:
    pictures = []
    for k, size in enumerate([(8, 8), (13, 21)]):
        values = np.random.default_rng(k).integers(0, 256, size[::-1], dtype=np.uint8)
        Image.fromarray(values).save(tmp_path / f"p{k}.png")
        pictures.append(str(tmp_path / f"p{k}.png"))
    out = tmp_path / "out"
    assert main(["reconstruct", str(model.folder), *pictures, "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    for k, line in enumerate(lines):
        x = torch.from_numpy(np.array(Image.open(pictures[k]))).float()[None, None] / 127.5 - 1
        assert line.startswith(f"{pictures[k]}: PSNR {float(psnr(model.reconstruct(x), x)):.1f} dB, wrote ")
        with Image.open(out / f"p{k}.png") as made:
            assert made.size == Image.open(pictures[k]).size
            assert json.loads(made.info["sumi"])["image"] == pictures[k]
    assert len(lines) == 2
    assert main(["reconstruct", str(model.folder), str(tmp_path / "none.png")]) == 2
    assert "none.png: cannot be read" in capsys.readouterr().err
    other = tmp_path / "other" / Path(pictures[0]).name
    assert main(["reconstruct", str(model.folder), pictures[0], str(other), "--out", str(tmp_path / "apart")]) == 2
    assert "would be written under one name" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "apart").exists()


def test_a_run_of_another_kind_is_refused(model: AutoencoderModel, tmp_path: Path) -> None:
    other = tmp_path / "vae"
    quick = ["network.widths=16", "training.batch_size=4", "training.sample_every=0"]
    sumi.train("vae", data="digits", out=other, steps=1, settings=quick, device="cpu")
    with pytest.raises(InputError, match="and this is for autoencoders"):
        load(other, AutoencoderModel)
    assert main(["sample", str(model.folder)]) == 2


def test_the_ratio_of_signal_to_noise() -> None:
    """10 log₁₀ (255² / squared error) in bytes: an error of 1 level is 48.13 dB."""
    x = torch.zeros(1, 1, 4, 4)
    assert float(psnr(x + 2 / 255, x)) == pytest.approx(20 * math.log10(255), abs=1e-4)
    assert float(psnr(x, x)) == math.inf
