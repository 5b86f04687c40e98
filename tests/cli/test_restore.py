"""`sumi inpaint`, `upscale` and `restore`: what is known stays, what is not is drawn from the posterior."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sumi.cli.main import main
from sumi.data.images import ImageSpec
from sumi.data.vectors import VectorSpec
from sumi.errors import InputError
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.pictures import ROUNDING, find_operator, read_mask
from sumi.models.diffusion.restoration import METHODS, candidates
from sumi.models.run import load
from sumi.operators.convolution import gaussian_blur
from sumi.operators.jpeg import JPEG
from sumi.operators.linear import Grey, Mask, Operator
from sumi.operators.separable import bicubic, box
from sumi.restoration.measurement import Measurement
from tests.tiny_models import HOLE, MEAN, STD, planted, untrained

THRESHOLDS = ("none", "static", "dynamic")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return untrained(tmp_path_factory.mktemp("restore") / "run", ImageSpec(1, 8, 8, 17, ()))


@pytest.fixture(scope="module")
def colours(tmp_path_factory) -> Path:
    return untrained(tmp_path_factory.mktemp("restore") / "colours", ImageSpec(3, 8, 8, 256, ()))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """Files to restore, in the current folder."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (8, 8), dtype=np.uint8)).save("image.png")
    Image.fromarray(random.integers(0, 256, (4, 4), dtype=np.uint8)).save("small.png")
    Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save("colour.png")
    Image.fromarray(random.integers(0, 256, (8, 8, 4), dtype=np.uint8)).save("holes.png")
    mask = np.full((8, 8), 127, np.uint8)
    mask[2:5, 3:7] = 128
    Image.fromarray(mask).save("mask.png")
    Image.new("L", (8, 8), 127).save("black.png")
    Image.new("L", (8, 8), 255).save("white.png")
    Path("text.png").write_text("none")
    return tmp_path


WHERE = np.zeros((8, 8), bool)
WHERE[2:5, 3:7] = True
PAINTED, KEPT = np.where(WHERE, 255, 0).astype(np.uint8), np.where(WHERE, 0, 255).astype(np.uint8)
SOFT = np.where(WHERE, 127, 128).astype(np.uint8)


def layers(*bands: np.ndarray | int) -> np.ndarray:
    return np.stack([np.broadcast_to(np.uint8(band), (8, 8)) for band in bands], -1)


def palette(*entries: tuple[int, ...], mode: str = "RGBA") -> Image.Image:
    """Entry 1 where to paint, entry 0 elsewhere."""
    image = Image.fromarray(WHERE.astype(np.uint8), "P")
    image.putpalette([band for entry in entries for band in entry], mode)
    return image


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(layers(PAINTED, PAINTED, PAINTED, 255)),  # opaque
        Image.fromarray(layers(PAINTED, PAINTED, PAINTED, 90)),  # alike everywhere
        Image.fromarray(layers(PAINTED, PAINTED, PAINTED, 0)),
        Image.fromarray(layers(PAINTED, 0)),
        palette((0, 0, 0, 7), (255, 255, 255, 7)),
        palette((20, 0, 0), (200, 190, 210), mode="RGB"),
        Image.fromarray(layers(0, 0, 0, KEPT)),  # one colour: a hole in black
        Image.fromarray(layers(255, 255, 255, KEPT)),  # and in white
        Image.fromarray(layers(30, 140, 90, SOFT)),
        Image.fromarray(layers(255, KEPT)),
        palette((9, 9, 9, 255), (9, 9, 9, 0)),
    ],
)
def test_of_a_mask_what_does_not_vary_says_nothing(image: Image.Image, tmp_path: Path) -> None:
    image.save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(str(tmp_path / "mask.png"), (8, 8)).numpy(), WHERE)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(layers(PAINTED, PAINTED, PAINTED, KEPT)),  # white under the hole
        Image.fromarray(layers(KEPT, KEPT, KEPT, KEPT)),
        Image.fromarray(layers(PAINTED, KEPT)),
        Image.fromarray(layers(PAINTED, 0, 110, KEPT)),  # colours of about one luminance are two colours
        palette((9, 9, 9, 255), (9, 9, 10, 0)),
    ],
)
def test_a_mask_that_varies_in_both_is_refused(image: Image.Image, tmp_path: Path) -> None:
    image.save(tmp_path / "mask.png")
    with pytest.raises(InputError, match=r"mask\.png: varies both in colour and in transparency"):
        read_mask(str(tmp_path / "mask.png"), (8, 8))


def test_sixteen_bits_with_a_transparent_grey_are_a_mask_that_varies_in_both(tmp_path: Path) -> None:
    file = tmp_path / "mask.png"
    Image.fromarray(PAINTED.astype(np.uint16) * 257).save(file, transparency=0)
    with pytest.raises(InputError, match="varies both in colour and in transparency"):
        read_mask(str(file), (8, 8))
    Image.fromarray(PAINTED.astype(np.uint16) * 257).save(file, transparency=7)  # nowhere
    assert np.array_equal(read_mask(str(file), (8, 8)).numpy(), WHERE)


def pixels(path: Path | str) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(float)


# the posterior


@pytest.mark.parametrize("method", [None, "dps"])
def test_methods_clamp_outside_of_their_slopes_however_the_run_keeps_range(method: str | None, monkeypatch) -> None:
    """Of pixels about 0.95 much of x̂_0 is out of range: a slope taken within a clamp would be 0 there."""
    monkeypatch.setattr("tests.cli.test_restore.MEAN", 0.95)
    image = 0.8 + 0.2 * torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(1))
    runs = [planted(0.6, f"sampling.threshold={name}") for name in THRESHOLDS]
    free, static, dynamic = (run.inpaint(image, HOLE, 2, method=method) for run in runs)
    assert torch.equal(free, static)
    assert torch.equal(free, dynamic)


def test_moment_matching_draws_from_a_gaussians_posterior() -> None:
    """Of the K known pixels their mean is what matters; the covariance has two eigenvalues, as many as iterations.

    256 candidates: 4 standard errors of the mean, and a tenth of the deviation, of which ancestral steps take half.
    """
    rho, known = 0.6, 48
    image = MEAN + STD * (1 + torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(1)))
    made = planted(rho).inpaint(image, HOLE, 256, steps=300, batch_size=256)
    above = float((image[0] - MEAN)[~HOLE].mean())
    mean = MEAN + rho * known / (1 - rho + rho * known) * above
    common = STD**2 * rho * (1 - rho) / (1 - rho + rho * known)
    painted = made[:, 0, HOLE]
    assert float(painted.mean()) == pytest.approx(mean, abs=4 * (common / 256 + STD**2 * (1 - rho) / 4096) ** 0.5)
    assert float(painted.std()) == pytest.approx((common + STD**2 * (1 - rho)) ** 0.5, rel=0.1)


@pytest.mark.parametrize("method", ["moment_matching", "pigdm"])
def test_noise_of_the_measurement_is_reckoned_with(method: str) -> None:
    """Independent pixels, squares of four known with noise as large as their own deviation: half-way to the mean."""
    image = torch.full((1, 4, 4), MEAN + 2 * STD)
    made = planted(0.0).restore(image, box(8, 8, 2), STD / 2, 32, steps=200, method=method)
    averages = box(8, 8, 2)(made)
    deviation = STD / 2 / 2**0.5
    assert float(averages.mean()) == pytest.approx(MEAN + STD, abs=4 * deviation / (32 * 16) ** 0.5)
    assert float(averages.std()) == pytest.approx(deviation, rel=0.12)


# what is known


@pytest.mark.parametrize("method", METHODS)
def test_known_pixels_are_the_images_own_to_the_byte(method: str, run: Path, folder: Path) -> None:
    """127 is kept and 128 is painted; the digits' model has 17 levels, and the image all 256."""
    command = ["inpaint", str(run), "image.png", "--mask", "mask.png", "--out", "out", "-n", "3", "--method", method]
    assert main(command) == 0
    given, painted = pixels("image.png"), pixels("mask.png") > 127
    made = [pixels(f"out/{i:05d}.png") for i in range(3)]
    assert all((image[~painted] == given[~painted]).all() for image in made)
    assert all((image[painted] != given[painted]).mean() > 0.5 for image in made)
    assert (made[0][painted] != made[1][painted]).mean() > 0.2


@pytest.mark.parametrize("method", METHODS)
def test_what_is_made_larger_has_the_given_pixels_for_means(method: str, run: Path, folder: Path) -> None:
    """To half a level, of which each pixel is rounded, though values outside of [-1, 1] were cut off."""
    assert main(["upscale", str(run), "small.png", "--out", "out", "--method", method]) == 0
    for index in range(4):
        means = pixels(f"out/{index:05d}.png").reshape(4, 2, 4, 2).mean((1, 3))
        assert np.abs(means - pixels("small.png")).max() <= 0.5 + 1e-9


def test_every_operator_is_undone_as_far_as_it_says(colours: Path, folder: Path) -> None:
    """Grey and bicubic are met exactly, to rounding; blur, whose given pixels were rounded, to its noise and more."""
    assert main(["restore", str(colours), "image.png", "--operator", "grey", "--out", "grey", "-n", "2"]) == 0
    made = torch.from_numpy(pixels("grey/00001.png")).permute(2, 0, 1)[None]
    assert float((Grey()(made)[0, 0] - torch.from_numpy(pixels("image.png"))).abs().max()) <= 0.51
    for operator in ("blur", "blur:0.5", "motion:3:45", "motion", "jpeg", "jpeg:50"):
        assert main(["restore", str(colours), "colour.png", "--operator", operator]) == 0
    assert len(list((colours / "restored").iterdir())) == 6


def test_operators_are_undone_one_after_the_other(colours: Path, folder: Path) -> None:
    """Made small and then grey: a candidate has those grey values for means. With JPEG last it is no longer linear."""
    assert main(["restore", str(colours), "small.png", "--operator", "box:2+grey", "--out", "out", "-n", "1"]) == 0
    made = torch.from_numpy(pixels("out/00000.png")).permute(2, 0, 1)[None]
    assert float((Grey()(box(8, 8, 2)(made))[0, 0] - torch.from_numpy(pixels("small.png"))).abs().max()) <= 0.51
    operator, shape, noise = find_operator("blur:0.5+box:2", (1, 8, 8))
    x = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(operator(x), box(8, 8, 2)(gaussian_blur(0.5)(x)))
    assert (shape, noise) == ((1, 4, 4), ROUNDING)
    lossy, *_ = find_operator("blur:0.5+jpeg:90", (1, 8, 8))
    torch.testing.assert_close(lossy(x), JPEG(90)(gaussian_blur(0.5)(x)))
    assert not isinstance(lossy, Operator)


@pytest.mark.parametrize("settings", [["schedule=cosine"], ["schedule=flow", "parameterization=flow", "times=uniform"]])
def test_a_blur_is_undone(settings: list[str]) -> None:
    """Even where the schedule ends with no data at all (flow). What a Gaussian of half a pixel keeps, comes back."""
    truth = MEAN + STD * torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(2))
    blurred = gaussian_blur(0.5)(truth[None])[0]
    made = planted(0.3, *settings).restore(blurred, gaussian_blur(0.5), 0.002)
    assert float((gaussian_blur(0.5)(made) - blurred).square().mean().sqrt()) < 0.02
    assert float((made - truth).square().mean().sqrt()) < STD / 2


def test_a_candidate_is_the_same_alone_and_in_a_batch_and_again(run: Path, folder: Path) -> None:
    assert main(["inpaint", str(run), "image.png", "--mask", "mask.png", "-n", "1", "--out", "one"]) == 0
    assert main(["inpaint", str(run), "image.png", "--mask", "mask.png", "-n", "5", "--out", "five"]) == 0
    assert main(["inpaint", str(run), "image.png", "--mask", "mask.png", "-n", "5", "--out", "five"]) == 0
    assert (pixels("one/00000.png") == pixels("five/00000.png")).all()
    model = planted(0.5)
    image, hole = torch.full((1, 8, 8), 0.1), HOLE
    together = model.inpaint(image, hole, steps=10)
    apart = torch.cat([model.inpaint(image, hole, 1, steps=10, start=i) for i in range(4)])
    in_pairs = model.inpaint(image, hole, steps=10, batch_size=2)
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-5)
    torch.testing.assert_close(together, in_pairs, rtol=0, atol=1e-5)
    assert not torch.equal(together, model.inpaint(image, hole, steps=10, seed=1))


@pytest.mark.parametrize("method", [None, "twisted"])
def test_several_pictures_are_restored_together_as_each_alone(method: str | None) -> None:
    """Row k has the k-th picture's measurement and the noise of its own index, and of particles its own group."""
    model, operator = planted(0.6), box(8, 8, 2)
    given = torch.tensor([0.4, -0.3, 0.1]).view(3, 1, 1, 1).expand(3, 1, 4, 4)
    together = candidates(model, Measurement(operator, given), 3, method, {"steps": 10})
    apart = [model.restore(y, operator, n=1, start=i, method=method, steps=10) for i, y in enumerate(given)]
    torch.testing.assert_close(together, torch.cat(apart), rtol=0, atol=1e-5)
    few = model.restore(given[0], operator, n=3, method=method, steps=10, batch_size=1)
    torch.testing.assert_close(few, model.restore(given[0], operator, n=3, method=method, steps=10), rtol=0, atol=1e-5)


def test_particles_draw_of_the_posterior() -> None:
    """Pixels N(m, d²), known with noise s: N(m + (y - m) d²/(d² + s²), d² s²/(d² + s²)); unknown ones as they were.

    To 4.5 standard errors of 40 candidates, and 1 % of bias of 30 steps.
    """
    y, s = torch.full((1, 8, 8), 0.4), 0.2
    made = planted(0.0).restore(Mask(HOLE)(y), Mask(HOLE), s, 40, method="twisted")
    share = STD**2 / (STD**2 + s**2)
    known, free = (MEAN + share * (0.4 - MEAN), s * share**0.5), (MEAN, STD)
    for values, (mean, std) in ((made[:, 0, ~HOLE], known), (made[:, 0, HOLE], free)):
        assert float(values.mean()) == pytest.approx(mean, abs=4.5 * std / values.numel() ** 0.5)
        assert float(values.std()) == pytest.approx(std, rel=0.01 + 4.5 / (2 * values.numel()) ** 0.5)


def test_what_particles_do_not_do_is_refused() -> None:
    image, large = torch.zeros(1, 8, 8), torch.zeros(1, 12, 8)
    hole = torch.nn.functional.pad(HOLE, (0, 0, 0, 4))
    with pytest.raises(InputError, match="solver: twisted walks a chain of its own"):
        planted(0.5).inpaint(image, HOLE, method="twisted", solver="heun")
    with pytest.raises(InputError, match="size: twisted restores pictures of the model's own size"):
        planted(0.5).inpaint(large, hole, method="twisted")


def test_files_say_how_they_were_made_and_stay(run: Path, folder: Path, capsys) -> None:
    command = ["inpaint", str(run), "image.png", "--mask", "mask.png", "--out", "out"]
    assert main(command) == 0
    about = json.loads(Image.open("out/00002.png").text["sumi"])
    assert (about["method"], about["image"], about["seed"], about["index"]) == ("moment_matching", "image.png", 0, 2)
    assert {p.name for p in Path("out").iterdir()} == {
        *(f"{i:05d}.png" for i in range(4)),
        "grid.png",
        "before-after.png",
        "mean.png",
    }
    mean = np.mean([pixels(f"out/{i:05d}.png") for i in range(4)], 0)
    assert float(np.abs(pixels("out/mean.png") - mean).max()) <= 1  # of each, half a level is lost to rounding
    assert json.loads(Image.open("out/mean.png").text["sumi"])["count"] == 4
    before = np.asarray(Image.open("out/before-after.png").convert("RGB")).reshape(-1, 3)
    assert (before == (235, 94, 40)).all(1).any()
    Image.fromarray(pixels("mask.png").astype(np.uint8).T).save("mask.png")  # other pixels of the same name
    capsys.readouterr()
    assert main(command) == 2
    assert "made with other settings" in capsys.readouterr().err
    assert main(command[:-2]) == 0
    assert "restored/00000001-inpaint-image-" in capsys.readouterr().out


# mistakes

MISTAKES = [
    ("inpaint RUN small.png --mask mask.png --no-fit", "small.png: is of 4x4 pixels, and this takes 8x8 and more"),
    ("inpaint RUN image.png --mask small.png", "--mask: small.png: is of 4x4 pixels, and this takes 8x8"),
    ("inpaint RUN image.png --mask black.png", "black all over"),
    ("inpaint RUN image.png --mask white.png", "white all over"),
    ("inpaint RUN image.png --mask holes.png", "holes.png: varies both in colour and in transparency"),
    ("inpaint RUN colour.png --mask mask.png --no-fit", "has colours"),
    ("inpaint RUN text.png --mask mask.png", "is no image"),
    ("inpaint RUN nowhere.png --mask mask.png", "nowhere.png: cannot be read"),
    ("inpaint RUN image.png --mask nowhere.png", "--mask: nowhere.png: cannot be read"),
    ("inpaint RUN image.png --mask mask.png --method pidgm", "did you mean pigdm?"),
    ("inpaint RUN image.png --mask mask.png -n 0", "-n: 0"),
    ("inpaint RUN image.png --mask mask.png --steps 0", "steps"),
    ("inpaint RUN image.png --mask mask.png --seed -1", "seed: -1"),
    ("inpaint RUN image.png --mask mask.png --label 3", "was trained without"),
    ("inpaint RUN image.png --mask mask.png --guidance 3", "--guidance"),
    ("restore RUN small.png --operator blur --no-fit", "small.png: is of 4x4 pixels, and this takes 8x8 and more"),
    ("upscale RUN small.png --factor 3", "--factor 3"),
    ("upscale RUN small.png --factor 1", "--factor 1"),
    ("restore RUN image.png --operator blurr", "did you mean blur?"),
    ("restore RUN image.png --operator blur:x", "blur:STD"),
    ("restore RUN image.png --operator blur+", "--operator: there is no"),
    ("restore RUN image.png --operator blur:1:2", "blur:STD"),
    ("restore RUN image.png --operator blur:-1", "--operator: blur:-1: std: -1.0 is out of range; give more than 0"),
    ("restore RUN image.png --operator box:3", "does not divide"),
    ("restore RUN image.png --operator box:1.5", "box:FACTOR"),
    ("restore RUN image.png --operator jpeg:0", "quality: 0"),
    ("restore RUN image.png --operator grey", "needs a model of colour images"),
    ("restore RUN image.png --operator jpeg --method ddnm", "--method: ddnm needs a linear operator"),
    ("restore RUN image.png --operator blur --method ddnm", "--noise: ddnm takes a measurement without"),
    ("restore RUN image.png --operator blur --noise -1", "--noise: -1 is out of range; give 0 to 255"),
    ("restore RUN image.png --operator blur --noise 1e300", "--noise: 1e+300 is out of range; give 0 to 255"),
    ("restore RUN image.png --operator blur --noise nan", "--noise: nan is out of range; give 0 to 255"),
    ("restore RUN image.png --operator blur:1e300", "--operator: blur:1e300: std: 1e+300 is out of range"),
    ("restore RUN image.png --operator motion:1e9:0", "--operator: motion:1e9:0: length: 1000000000.0 is out of range"),
    ("restore RUN image.png --operator box:2+blur:0", "--operator: box:2+blur:0: std: 0.0 is out of range"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "answer"), MISTAKES, ids=[c for c, _ in MISTAKES])
def test_a_mistake_gets_one_line_and_nothing_is_written(command: str, answer: str, run: Path, folder, capsys) -> None:
    before = sorted(p for place in (run, folder) for p in place.rglob("*"))
    assert main(command.replace("RUN", str(run)).split()) == 2
    printed = capsys.readouterr().err
    assert answer in printed
    assert len(printed.strip().splitlines()) == 1
    assert sorted(p for place in (run, folder) for p in place.rglob("*")) == before


def test_a_picture_that_is_not_varied_says_what_does_not_count(run: Path, folder: Path, capsys) -> None:
    for more, notes in (("", 0), ("--steps 3", 1)):
        assert main(f"vary {run} image.png --strength 0 -n 1 {more}".split()) == 0
        assert capsys.readouterr().out.count("note: strength 0 gives back what was given") == notes


@pytest.mark.parametrize(("recipe", "source", "width"), [("ddpm", "ring-of-8", 2), ("nonequilibrium", "heartbeat", 20)])
def test_vectors_and_bits_are_refused(recipe: str, source: str, width: int, folder: Path, capsys) -> None:
    items = VectorSpec(width, 2 if source == "heartbeat" else None)
    vectors = untrained(folder / "vectors", items, recipe, source)
    assert main(["upscale", str(vectors), "small.png"]) == 2
    assert "is a model of vectors" in capsys.readouterr().err


@pytest.mark.parametrize(
    "ask",
    [
        lambda model: model.inpaint(torch.zeros(1, 8, 7), HOLE),
        lambda model: model.inpaint(torch.zeros(1, 8, 8), HOLE[:7]),
        lambda model: model.upscale(torch.zeros(1, 3, 8), 2),
        lambda model: model.restore(torch.zeros(1, 8, 8), bicubic(8, 8, 2)),
        lambda model: model.restore(torch.zeros(1, 8, 8), JPEG(20), method="pigdm"),
        lambda model: model.inpaint(torch.zeros(1, 8, 8), HOLE, batch_size=0),
    ],
)
def test_shapes_and_numbers_that_do_not_fit(ask: Callable[[DiffusionModel], object]) -> None:
    with pytest.raises(InputError) as refused:
        ask(planted(0.0))
    assert "\n" not in str(refused.value)


def test_in_python_a_name_is_the_operator_with_the_noise_of_rounding(colours: Path) -> None:
    model = load(colours, DiffusionModel, device="cpu")
    image = torch.rand(3, 8, 8) * 2 - 1
    for name, operator, noise in (("blur:0.8", gaussian_blur(0.8), ROUNDING), ("grey", Grey(), 0.0)):
        given = Grey()(image[None])[0] if name == "grey" else image
        named = model.restore(given, name, n=1, steps=2)
        assert torch.equal(named, model.restore(given, operator, noise, n=1, steps=2))
    assert not torch.equal(
        model.restore(image, "blur:0.8", 0.2, n=1, steps=2), model.restore(image, "blur:0.8", n=1, steps=2)
    )
