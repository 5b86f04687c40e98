"""Pictures larger than the model's: sampled, painted in, made larger and told about window by window."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sumi import recipes
from sumi.cli.main import main
from sumi.conditioning.condition import Condition
from sumi.conditioning.image import masked
from sumi.data.config import DataConfig
from sumi.data.images import ImageSpec
from sumi.data.vectors import VectorSpec
from sumi.errors import InputError
from sumi.guidance.tiling import tiling_of
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.model import RunDescription
from sumi.models.run import load
from sumi.operators.separable import box
from sumi.sampling.sampler import Guidance
from tests.tiny_models import class_model, conditioned_model, echo, generator, new_classifier, planted, saved, untrained

SIZE = (13, 21)


def picture(channels: int = 3, size: tuple[int, int] = SIZE) -> torch.Tensor:
    return 1.6 * torch.rand(channels, *size, generator=generator()) - 0.8


def hole(size: tuple[int, int] = SIZE) -> torch.Tensor:
    mask = torch.zeros(size, dtype=torch.bool)
    mask[3:10, 2:19] = True
    return mask


@pytest.mark.parametrize("method", [None, "dps", "ddnm", "repaint"])
def test_a_larger_picture_of_independent_pixels_is_painted_as_a_small_one(method: str | None) -> None:
    """The model's pixels are N(m, s²) and independent: known ones are exact, the others as the model's."""
    model = planted(0.0)
    image, mask = 0.3 * picture(1), hole()
    made = model.inpaint(image, mask, 40, steps=20, method=method)
    assert made.shape == (40, 1, *SIZE)
    assert torch.equal(made[:, :, ~mask], image[:, ~mask].expand(40, -1, -1))
    plain = model.sample(200, steps=20, solver="ddpm").flatten().double()
    painted = made[:, 0, mask].flatten().double()
    error = 5 * float(plain.std()) / len(painted) ** 0.5
    assert abs(float(painted.mean() - plain.mean())) <= error + 0.01
    assert float(painted.std()) == pytest.approx(float(plain.std()), rel=0.05)


def test_each_window_gets_its_own_part_of_the_picture() -> None:
    """A network that echoes what it is told gives the picture back wherever it is known, at any size."""
    image, mask = picture(), hole()
    made = echo("inpaint").inpaint(image, mask, 2)
    assert torch.equal(made[:, :, ~mask], image[:, ~mask].expand(2, -1, -1))
    torch.testing.assert_close(made[:, :, mask], torch.full((2, 3, int(mask.sum())), 0.25))
    denoiser = echo("inpaint").denoiser(Condition(masked=masked(image[None], mask)), size=SIZE)
    condition = denoiser(torch.zeros(1, 3, *SIZE), 0.5).clean[0]
    torch.testing.assert_close(condition[:, ~mask], (image[:, ~mask] + 0.1).clamp(-1, 1))
    given = 0.5 * picture(3, (6, 10))
    larger = echo("upscale").upscale(given, n=1)
    torch.testing.assert_close(box(12, 20, 2)(larger)[0], given, rtol=0, atol=1e-5)


def test_windows_overlap_by_half_and_a_label_is_that_of_all() -> None:
    shape = planted(0.0).images.shape
    tiling = tiling_of(shape, SIZE)
    assert tiling.corners == ([0, 4, 5], [0, 4, 8, 12, 13])
    assert tiling_of(shape, (16, 24), 2).corners == ([0, 2, 4], [0, 2, 4, 6, 8])
    latents, small = (tiling_of((3, 12, 12), (20, 28), factor, 4) for factor in (2, 4))  # of one unit: the same windows
    assert [[2 * corner for corner in corners] for corners in latents.corners] == [[0, 4, 8], [0, 4, 8, 12, 16]]
    assert [[4 * corner for corner in corners] for corners in small.corners] == [[0, 4, 8], [0, 4, 8, 12, 16]]
    with pytest.raises(InputError, match="size: 7 × 21 is less than the 8 × 8 of the model"):
        tiling_of(shape, (7, 21))


def test_files_of_any_larger_size_are_restored(tmp_path: Path, capsys) -> None:
    """Not square ones too; known pixels are the file's to the byte."""
    run = saved(tmp_path / "run", "inpaint")
    random = np.random.default_rng(0)
    pixels, mask = random.integers(0, 256, (*SIZE, 3), dtype=np.uint8), hole().numpy()
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray((255 * mask).astype(np.uint8)).save(tmp_path / "mask.png")
    out = tmp_path / "out"
    command = ["inpaint", str(run), f"{tmp_path}/a.png", "--mask", f"{tmp_path}/mask.png", "-n", "2"]
    command += ["--no-fit"]
    assert main([*command, "--out", str(out)]) == 0
    found = np.asarray(Image.open(out / "00001.png"))
    assert found.shape == (*SIZE, 3)
    assert np.array_equal(found[~mask], pixels[~mask])
    for name, size in (("blur", SIZE), ("box:2", (2 * SIZE[0], 2 * SIZE[1]))):
        where = tmp_path / name.replace(":", "")
        requested = ["restore", str(run), f"{tmp_path}/a.png", "--operator", name, "-n", "1", "--no-fit"]
        assert main([*requested, "--out", str(where)]) == 0
        assert np.asarray(Image.open(where / "00000.png")).shape == (*size, 3)
    capsys.readouterr()
    Image.fromarray((255 * mask[:12]).astype(np.uint8)).save(tmp_path / "mask.png")
    assert main([*command, "--out", f"{out}2"]) == 2
    assert (
        "mask.png: is of 12x21 (height x width) pixels, and this takes 13x21 (height x width); make it that size"
        in capsys.readouterr().err
    )


def test_a_candidate_is_the_same_alone_and_in_a_batch(tmp_path: Path) -> None:
    model = load(saved(tmp_path / "run", "inpaint"), DiffusionModel)
    whole = model.inpaint(picture(), hole(), 3)
    for k in range(3):
        alone = model.inpaint(picture(), hole(), 1, start=k)[0]
        torch.testing.assert_close(alone, whole[k], rtol=1e-3, atol=1e-3)


def test_a_pictures_label_is_that_of_its_own_windows() -> None:
    model = conditioned_model("classifier-free")
    x, labels = picture().expand(2, -1, -1, -1), torch.tensor([0, 2])
    together = model.denoiser(Condition(labels=labels), guidance=1.0, size=SIZE)(x, 0.5).clean
    for k in range(2):
        alone = model.denoiser(Condition(labels=labels[k : k + 1]), guidance=1.0, size=SIZE)(x[k : k + 1], 0.5).clean
        torch.testing.assert_close(together[k : k + 1], alone, rtol=1e-4, atol=1e-4)
    assert float((together[0] - together[1]).abs().max()) > 0.01


# --- samples


def test_independent_pixels_are_sampled_on_a_large_picture_as_on_small_ones() -> None:
    """By a solver that draws no noise, a pixel comes of its own noise alone."""
    model = planted(0.0)
    x = model.start_noise(range(4), 5)
    canvas = torch.cat([torch.cat([x[0], x[1]], 2), torch.cat([x[2], x[3]], 2)], 1)[None]
    small = model.walk(4, {"solver": "ddim"}, x=x)
    large = model.walk(1, {"solver": "ddim", "size": (16, 16)}, x=canvas)
    torch.testing.assert_close(large[0, :, :8], torch.cat([small[0], small[1]], 2), rtol=0, atol=1e-5)
    torch.testing.assert_close(large[0, :, 8:], torch.cat([small[2], small[3]], 2), rtol=0, atol=1e-5)


def test_a_large_sample_is_the_same_alone_and_in_a_batch_and_has_its_own_label(tmp_path: Path) -> None:
    model, classifier = class_model(tmp_path), new_classifier(tmp_path).classifier
    windows = tiling_of(model.images.shape, SIZE).count
    made: list[torch.Tensor] = []
    for guidance in (None, Guidance(2.0, negative="dog"), Guidance(classifier=classifier, classifier_scale=20.0)):
        how = {"label": "all", "guidance": guidance, "size": SIZE, "solver": "ddpm", "seed": 4}
        whole = model.sample(3, **how)
        assert whole.shape == (3, 1, *SIZE)
        assert all(float((whole - other).abs().max()) > 0.01 for other in made)  # what guides is not lost
        made.append(whole)
        torch.testing.assert_close(model.sample(3, batch_size=2 * windows, **how), whole, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(model.sample(1, start=2, **how)[0], whole[2], rtol=1e-3, atol=1e-3)
        one = model.sample(1, start=2, **(how | {"label": "cat"}))[0]
        assert float((one - whole[2]).abs().max()) > 0.01
    seen: list[int] = []
    model.sample(3, size=SIZE, batch_size=2 * windows + 1, callback=lambda step, now, x: seen.append(len(x)))
    assert set(seen) == {1, 2}


def test_a_tuned_solver_is_for_the_models_own_size_alone(tmp_path: Path, monkeypatch) -> None:
    model = class_model(tmp_path)
    assert torch.equal(model.sample(2, size=(8, 8)), model.sample(2))
    monkeypatch.setattr(DiffusionModel, "is_tuned", lambda self, steps: True)
    assert model.sample(1, size=SIZE).shape == (1, 1, *SIZE)
    for size in (None, (8, 8)):
        with pytest.raises(InputError, match="tune again"):  # there is no such file
            model.sample(1, size=size)


def test_large_samples_are_files_that_say_their_size(tmp_path: Path) -> None:
    class_model(tmp_path).save(tmp_path / "run")
    command = ["sample", str(tmp_path / "run"), "-n", "2", "--label", "fox", "--trajectory"]
    assert main([*command, "--size", "12x20"]) == 0
    folder = tmp_path / "run/samples/00000007-adams-4-seed0-12x20-fox"
    image = Image.open(folder / "00001.png")
    assert image.size == (20, 12)
    assert json.loads(image.text["sumi"])["size"] == "12x20"
    assert (folder / "strip.png").exists()
    assert main([*command, "--size", "8x8"]) == 0
    assert "size" not in json.loads(Image.open(folder.parent / "00000007-adams-4-seed0-fox/00001.png").text["sumi"])


@pytest.mark.parametrize(
    ("recipe", "size", "answer"),
    [
        ("classifier-free", "6x20", "size: 6 × 20 is less than the 8 × 8 of the model; give at least as much"),
        ("classifier-free", "6,20", "--size 6,20: is not of the form HxW, height first; write 48x64"),
        ("inpaint", "16x16", "fills in what it is given; use inpaint, upscale or restore"),
        ("vae", "16x16", "--size: a run of vae has none; leave it out"),
        ("vectors", "16x16", "is a model of vectors, which have none; leave it out"),
        ("classifier-free", "16x16 --solver tuned", "--solver: tuned: there is none for 4 steps"),
    ],
)
def test_a_size_that_cannot_be_is_refused_in_a_line(
    recipe: str, size: str, answer: str, tmp_path: Path, capsys
) -> None:
    match recipe:
        case "vectors":
            untrained(tmp_path / "run", VectorSpec(2, None), "edm", "ring-of-8")
        case "vae":
            config = recipes.build("vae", DataConfig(source="digits"))
            description = RunDescription(config, ImageSpec(1, 8, 8, 17, ()), "none", 0.5)
            module = config.build(description.items).model
            config.wrap(description, module, 1, tmp_path / "run").save(tmp_path / "run")
        case "inpaint":
            saved(tmp_path / "run", "inpaint")
        case _:
            class_model(tmp_path).save(tmp_path / "run")
    assert main(["sample", str(tmp_path / "run"), "-n", "1", "--size", *size.split()]) == 2
    printed = capsys.readouterr().err
    assert answer in printed
    assert len(printed.strip().splitlines()) == 1
