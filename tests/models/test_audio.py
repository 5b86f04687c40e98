"""Models of sound: trained, resumed bit for bit, sampled by label, and what they refuse."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import sumi
from sumi.autoencoders.mdct import STD, BandScale, mdct
from sumi.cli.main import main
from sumi.data.sound_files import comment_of, of_wav, to_levels, wav
from sumi.errors import InputError
from sumi.interop.card import model_card
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.sound import laid_over, measured, touched
from sumi.models.samples import Samples
from sumi.operators.linear import Mask
from sumi.operators.sound import LowPass, gap

TINY = {
    "audio": ["autoencoder.bands=16", "network.widths=16", "network.blocks=1", "network.embedding=8"],
    "diffwave": ["network.layers=3", "network.channels=8", "network.cycle=2", "network.embedding=8"],
}
QUICK = ["training.batch_size=8", "training.sample_every=0", "training.checkpoint_every=2", "sampling.steps=3"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Low and high tones, 12 of each."""
    folder = tmp_path_factory.mktemp("tones")
    for i in range(24):
        name = "low" if i < 12 else "high"
        (folder / name).mkdir(exist_ok=True)
        x = (0.2 + 0.02 * i) * np.sin(2 * np.pi * (300 if i < 12 else 900) * np.arange(1000 + 20 * i) / 4000)
        (folder / name / f"{i}.wav").write_bytes(wav(to_levels(x), 4000))
    return folder


@pytest.fixture(scope="module", params=["audio", "diffwave"])
def model(request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    out = tmp_path_factory.mktemp("runs") / request.param
    settings = [*TINY[request.param], *QUICK, "data.seconds=0.25"]
    return sumi.train(request.param, data=str(data), steps=4, out=out, settings=settings)


def test_it_is_explained_by_its_samples_next_to_held_out_clips(model: DiffusionModel, tmp_path: Path, capsys) -> None:
    assert main(["explain", str(model.folder), "--out", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["held_out.png", "samples.png"]
    assert "samples by" in capsys.readouterr().out


def test_resumed_training_is_the_same_to_the_bit(model: DiffusionModel, tmp_path: Path) -> None:
    again = tmp_path / "run"
    shutil.copytree(model.folder, again)
    shutil.rmtree(again / "checkpoints" / "00000004")
    sumi.train(
        model.config.recipe,
        data=model.config.data.source,
        steps=4,
        out=again,
        resume=True,
        settings=[*TINY[model.config.recipe], *QUICK, "data.seconds=0.25"],
    )
    one, other = (load_file(f / "checkpoints/00000004/model.safetensors") for f in (model.folder, again))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_samples_are_sound_of_the_data_rate_and_a_loaded_model_makes_the_same(model: DiffusionModel) -> None:
    made = model.sample(2, label="high", seed=3, batch_size=2)
    assert isinstance(made, Samples)
    assert (made.shape, made.rate) == ((2, 1, 1024), 4000)
    assert bool(made.isfinite().all())
    assert torch.equal(sumi.load(model.folder).sample(2, label=0, seed=3), made)
    assert torch.allclose(model.sample(1, label=0, seed=3, start=1), made[1:], atol=1e-5)
    assert made._repr_html_().count("<audio controls") == 2


def test_a_model_of_bands_keeps_their_scale_and_denoises_them(model: DiffusionModel) -> None:
    if model.config.recipe != "audio":
        return
    bands = model.module.auxiliary["bands"]
    assert isinstance(bands, BandScale)
    train, _ = model.load_data().split(0.1)
    x = train.batch(np.arange(len(train)))
    z = model.space.encode(x)
    assert model.space.shape == z.shape[1:] == (1, 16, 64)
    assert z.square().mean((0, 1, 3)).sqrt() == pytest.approx(torch.full((16,), STD), abs=1e-4)
    assert (model.space.decode(z) - x).abs().max() < 1e-6
    assert model.description.data_std == STD


def test_variations_of_no_strength_are_the_clip_itself(model: DiffusionModel, data: Path) -> None:
    clip = data / "low" / "3.wav"
    x = model.read("clip", str(clip))
    assert torch.equal(model.vary(str(clip), 0.0, 2), x.expand(2, 1, 1024))
    assert model.vary(str(clip), 0.5, 2, steps=2).shape == (2, 1, 1024)
    assert np.array_equal(x[0, :900].numpy(), of_wav(clip.read_bytes())[0][0, :900].astype(np.float32))


def test_what_is_of_pictures_is_refused(model: DiffusionModel, data: Path) -> None:
    with pytest.raises(InputError, match="is a model of audio, and this is for images"):
        model.upscale(torch.zeros(1, 8, 8))
    with pytest.raises(InputError, match=r"size: .* is a model of audio, which have none"):
        model.sample(1, size=(32, 32))
    source = str(data) if model.config.recipe == "diffwave" else "digits"
    with pytest.raises(InputError, match=r"network=unet: takes images|autoencoder: mdct is of sound"):
        sumi.train(model.config.recipe, data=source, steps=1, out=data / "none", settings=["network=unet"])


def test_the_length_is_a_condition(data: Path, tmp_path: Path) -> None:
    settings = [*TINY["audio"], *QUICK, "conditioning=labels,values", "conditioning.values.names=seconds"]
    model = sumi.train("audio", data=str(data), steps=2, out=tmp_path / "run", settings=settings)
    short, long = (
        model.sample(2, label="low", condition={"values": {"seconds": seconds}}, seed=1) for seconds in (0.1, 0.25)
    )
    assert not torch.equal(short, long)


def test_a_gap_is_filled_and_all_else_stays_to_the_bit(model: DiffusionModel, data: Path) -> None:
    clip = model.read("clip", str(data / "high" / "20.wav"))
    made = model.restore(clip, gap(1024, 400, 500), n=2, label="high", steps=3)
    assert made.shape == (2, 1, 1024)
    assert bool(made.isfinite().all())
    known = torch.ones(1024, dtype=torch.bool)
    known[400:500] = False
    assert torch.equal(made[:, :, known], clip[:, known].expand(2, 1, -1))
    assert not torch.equal(made[0, 0, 400:500], made[1, 0, 400:500])


def test_what_is_below_a_limit_stays_what_is_above_is_not_seen_and_noise_is_measured(
    model: DiffusionModel, data: Path
) -> None:
    clip = model.read("clip", str(data / "high" / "20.wav"))
    made = model.restore(clip, LowPass(0.5), n=1, steps=3)
    assert torch.allclose(LowPass(0.5)(made), LowPass(0.5)(clip[None]), atol=1e-5)
    assert torch.allclose(made, model.restore(LowPass(0.5)(clip[None])[0], LowPass(0.5), n=1, steps=3), atol=1e-4)
    assert not torch.allclose(made, LowPass(0.5)(made), atol=1e-3)
    noisy = clip + 0.05 * torch.randn(clip.shape, generator=torch.Generator().manual_seed(0))
    assert model.restore(noisy, Mask(torch.zeros(1, dtype=torch.bool)), 0.05, n=1, steps=3).shape == (1, 1, 1024)


def test_noise_is_taken_from_sound(data: Path, tmp_path: Path) -> None:
    """A denoiser of Gaussian bands, and sound of such: candidates and their mean have the errors of the posterior.

    By importance sampling: each band value by itself, its prior's draws weighed by the noisy one. Also what is away
    from a gap, or below a limit.
    """
    settings = [*TINY["audio"], *QUICK, "data.seconds=0.25", "conditioning=none", "sampling.guidance=1"]
    model = sumi.train("audio", data=str(data), steps=1, out=tmp_path / "run", settings=settings)
    with torch.no_grad():
        model.module.network.conv_out.weight.zero_()  # of EDM's preconditioning: the denoiser of N(0, σ_data²)
    chance, space = torch.Generator().manual_seed(0), model.space
    z = STD * torch.randn(1, *space.shape, generator=chance)
    x = space.decode(z)
    noise = 0.5 * float(x.square().mean().sqrt())
    noisy = x + noise * torch.randn(x.shape, generator=chance)
    draws = STD * torch.randn(4000, *space.shape, generator=chance)
    weights = (-0.5 * ((mdct(noisy, 16) - space.scale.values(draws)) / noise).square()).softmax(0)
    values = (weights * space.scale.values(draws)).sum(0)
    least = float((values - mdct(x, 16)).square().mean()) / noise**2  # of the posterior's mean
    all_known = Mask(torch.zeros(1, dtype=torch.bool))
    made = model.restore(noisy[0], all_known, noise, n=24, steps=24)
    of_one, of_mean = (float((c - x).square().mean()) / noise**2 for c in (made, made.mean(0)))
    assert of_mean == pytest.approx(least, rel=0.25)
    assert of_one < 1.6 * of_mean + 0.1
    assert of_one < 0.6  # of the noise's power
    holes = gap(1024, 400, 500)
    known = (torch.arange(1024) < 368) | (torch.arange(1024) >= 532)  # blocks that it does not touch
    weights = measured(model, noisy, holes, noise).operator.weights[0, 0]
    assert torch.equal(weights.any(0), ~touched(holes.mask, 16))
    below = measured(model, noisy, LowPass(0.5), noise).operator.weights[0, 0].any(1)
    assert below.tolist() == [True] * 7 + [False] * 9
    filled = model.restore(noisy[0], holes, noise, n=4, steps=24)
    assert float((filled - x)[..., known].square().mean()) < 0.8 * noise**2
    low = LowPass(0.5)
    extended = model.restore(low(noisy)[0], low, noise, n=4, steps=24)
    assert float((LowPass(0.35)(extended - x)).square().mean()) < float(LowPass(0.35)(noisy - x).square().mean())


def test_bands_whose_windows_see_above_the_limit_are_painted(model: DiffusionModel) -> None:
    """What a low pass leaves in the bands that count as known is what the whole sound has there."""
    if model.config.recipe != "audio":
        pytest.skip("a model of waveforms has no bands")
    x = 0.1 * torch.randn(1, 1, 1024, generator=torch.Generator().manual_seed(0))
    known = ~measured(model, x, LowPass(0.5), 0.0).operator.mask[:, 0]
    one, two = (model.space.encode(sound) for sound in (x, LowPass(0.5)(x)))
    apart = ((one - two).square().mean((0, 1, 3)) / one.square().mean((0, 1, 3))).sqrt()
    assert float(apart[known].max()) < 0.3 < float(apart[int(known.sum())])
    assert int(known.sum()) == 7  # of 16


def test_a_card_says_that_sound_comes_from_words(tmp_path: Path) -> None:
    settings = [*TINY["audio"], *QUICK, "data.seconds=0.25", "conditioning=text"]
    assert '"text-to-audio"' in model_card(
        sumi.train("audio", data="spoken-digits", steps=1, out=tmp_path / "run", settings=settings)
    )


def test_what_was_done_may_be_named(model: DiffusionModel, data: Path) -> None:
    clip = data / "low" / "3.wav"
    by_name, whole = (model.restore(str(clip), one, n=1, steps=2) for one in ("band:1000", LowPass(0.5)))
    assert torch.equal(by_name, whole)
    with pytest.raises(InputError, match=r"^operator: 3 is no function of sound; give one, or gap:START"):
        model.restore(str(clip), 3)
    with pytest.raises(InputError, match=r"^noise: says how much there is"):
        model.restore(str(clip), "noise")


def test_a_gap_that_leaves_nothing_is_refused(model: DiffusionModel) -> None:
    if model.config.recipe == "audio":
        with pytest.raises(InputError, match="mask: leaves no whole block of sound to keep"):
            model.restore(torch.zeros(1, 1024), Mask(torch.arange(1024) % 8 == 0), n=1)
    with pytest.raises(InputError, match="gap: samples 0 to 1024 are no part of 1024"):
        gap(1024, 0, 1024)


def test_blocks_whose_windows_a_gap_touches_are_painted() -> None:
    mask = torch.zeros(80, dtype=torch.bool)
    mask[32:36] = True  # of the first half of block 2, which the window of block 1 sees
    assert touched(mask, 16).tolist() == [False, True, True, False, False]
    mask[36:41] = True
    assert touched(mask, 16).tolist() == [False, True, True, True, False]


def test_what_is_laid_over_meets_the_known_sound_without_a_step() -> None:
    clip, made = torch.ones(1, 1, 40), torch.zeros(2, 1, 40)
    mask = (torch.arange(40) >= 10) & (torch.arange(40) < 30)
    found = laid_over(made, clip, mask, 4)
    assert found[0, 0, 8:16].tolist() == pytest.approx([1, 1, 0.8, 0.6, 0.4, 0.2, 0, 0])
    assert found[1, 0, 24:32].tolist() == pytest.approx([0, 0, 0.2, 0.4, 0.6, 0.8, 1, 1])


def test_the_commands_write_files_that_play(model: DiffusionModel, data: Path, capsys: pytest.CaptureFixture) -> None:
    run, clip = str(model.folder), str(data / "low" / "2.wav")
    assert main(["sample", run, "--label", "low", "-n", "2", "--steps", "2"]) == 0
    assert "wrote 2 clips of 0.256 s" in capsys.readouterr().out
    assert main(["restore", run, clip, "--operator", "gap:0.05:0.03", "-n", "1", "--steps", "2"]) == 0
    folder = next((model.folder / "restored").iterdir())
    assert sorted(p.name for p in folder.iterdir()) == ["00000.wav", "given.wav", "grid.png"]
    assert (of_wav((folder / "given.wav").read_bytes())[0][0, 200:320] == 0).all()
    long = data / "long.wav"
    long.write_bytes(wav(np.zeros(8000, np.int16), 8000))
    assert main(["restore", run, str(long), "--operator", "gap:0.05:0.03", "-n", "1", "--steps", "2"]) == 0
    assert "long.wav is of 1 s; its first 0.256 s are used" in capsys.readouterr().out
    long.unlink()
    assert main(["vary", run, clip, "--strength", "0", "-n", "2"]) == 0
    folder = next((model.folder / "varied").iterdir())
    assert sorted(p.name for p in folder.iterdir()) == ["00000.wav", "00001.wav", "given.wav", "grid.png"]
    given, varied = (of_wav((folder / name).read_bytes())[0] for name in ("given.wav", "00001.wav"))
    assert np.array_equal(given, varied)
    assert comment_of(folder / "00001.wav")["steps"] == 0
    assert main(["vary", run, clip, "--strength", "0.5", "-n", "1", "--steps", "8", "--out", str(data / "half")]) == 0
    t = float(model.at_strength(0.5).t)
    assert comment_of(data / "half" / "00000.wav")["steps"] == sum(time < t for time in model.method(steps=8).times)
    shutil.rmtree(data / "half")
    for label in ("low", "high"):
        assert main(["vary", run, clip, "--label", label, "--guidance", "2", "-n", "1", "--steps", "2"]) == 0
    assert len(list((model.folder / "varied").iterdir())) == 3
    other = str(data / "low" / "1.wav")
    assert main(["interpolate", run, clip, other, "-n", "3", "--steps", "2"]) == 0
    folder = next((model.folder / "interpolated").iterdir())
    assert sorted(p.name for p in folder.iterdir()) == ["00000.wav", "00001.wav", "00002.wav", "given.wav", "grid.png"]
    both = of_wav((folder / "given.wav").read_bytes())[0]
    assert np.array_equal(both[0, :1024], given[0])
    assert both.shape == (1, 2048)
    about = comment_of(folder / "00001.wav")
    assert (about["clips"], about["index"], about["steps"], about["b"]) == (3, 1, 2, other)
    capsys.readouterr()
    if model.config.recipe == "audio":
        assert main(["nll", run]) == 2
        assert "the likelihood of sound is not known to a model of its transform" in capsys.readouterr().err
    for command, why in (
        (["restore", run, clip, "--operator", "blur"], "--operator: blur is nothing that is done to sound; give gap:"),
        (
            ["restore", run, clip, "--operator", "gap:0.25:0.1"],
            "gap:0.25:0.1: clips are of 0.256 s; give a gap within",
        ),
        (["restore", run, clip, "--operator", "band:9000"], "--operator: band:9000: give hertz between 0 and 2000"),
        (["restore", run, clip, "--operator", "noise"], "--noise: says how much there is"),
        (["vary", run, str(folder / "grid.png")], "grid.png: is no WAV file"),
        (["upscale", run, clip], "is a model of audio, and this is for images"),
        (["inpaint", run, clip, "--mask", clip], "is a model of audio, and this is for images"),
        (["sample", run, "--size", "64x64"], "is a model of audio, which have none"),
        (["sample", run, "--format", "npz"], "sound is written as wav"),
    ):
        assert main(command) == 2
        assert why in capsys.readouterr().err


def test_clips_state_their_error_and_so_does_their_picture(model: DiffusionModel, data: Path, tmp_path: Path) -> None:
    run, clip, stated = str(model.folder), str(data / "low" / "2.wav"), ("--error", "0.3", "-n", "2")
    commands = [["sample", run, "--solver", "adams"]]
    if model.config.sampling.solver == "adams":  # a restoration has the run's own
        commands.append(["restore", run, clip, "--operator", "gap:0.05:0.03"])
    for command in commands:
        out = tmp_path / command[0]
        assert main([*command, *stated, "--out", str(out)]) == 0
        each = [comment_of(out / f"0000{i}.wav") for i in range(2)]
        assert all(one["error"] == 0.3 and "steps" not in one for one in each)
        with Image.open(out / "grid.png") as picture:
            of_both = json.loads(picture.info["sumi"])
        assert of_both["stated_error_worst"] == max(one["stated_error"] for one in each)
        assert of_both["evaluations_most"] == max(one["evaluations"] for one in each)


def test_an_evaluation_measures_and_its_page_plays(model: DiffusionModel) -> None:
    result = sumi.evaluate(model, n=8, data=None)
    found = result.evaluation
    if found is None:
        assert "Too few to measure" in result.verdict
    page = result.page.read_text()
    assert page.count('<audio controls preload="none" src="data:audio/wav;base64,') == 8 + len(
        model.load_data().split(0.1)[1]
    )
    assert "http" not in page.replace("http://www.w3.org", "").replace("https://www.w3.org", "")
    with pytest.raises(InputError, match="sweeps: does not apply to the evaluation of audio"):
        sumi.evaluate(model, sweeps=True)
