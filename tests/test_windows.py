"""Pictures larger than the model's: painted in, made larger and told about window by window."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sumi.cli.main import main
from sumi.conditioning.condition import Condition
from sumi.conditioning.image import masked
from sumi.errors import InputError
from sumi.kinds import load
from sumi.model import DiffusionModel
from sumi.restoration.separable import box
from sumi.restore import How, inpaint, upscale
from sumi.windows import denoiser_of_size, tiling_of
from tests.test_conditions import model_of
from tests.test_restore import planted
from tests.test_trained_restoration import echo, generator, saved

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
    made = inpaint(model, image, mask, How(n=40, steps=20, method=method))
    assert made.shape == (40, 1, *SIZE)
    assert torch.equal(made[:, :, ~mask], image[:, ~mask].expand(40, -1, -1))
    plain = model.sample(200, steps=20, solver="ddpm").flatten().double()
    painted = made[:, 0, mask].flatten().double()
    error = 5 * float(plain.std()) / len(painted) ** 0.5
    assert abs(float(painted.mean() - plain.mean())) <= error + 0.01
    assert float(painted.std()) == pytest.approx(float(plain.std()), rel=0.05)


def test_each_window_is_told_its_own_part_of_the_picture() -> None:
    """A network that echoes what it is told gives the picture back wherever it is known, at any size."""
    image, mask = picture(), hole()
    made = inpaint(echo("inpaint"), image, mask, How(n=2))
    assert torch.equal(made[:, :, ~mask], image[:, ~mask].expand(2, -1, -1))
    torch.testing.assert_close(made[:, :, mask], torch.full((2, 3, int(mask.sum())), 0.25))
    denoiser = denoiser_of_size(echo("inpaint"), SIZE, Condition(image=masked(image[None], mask)))
    told = denoiser(torch.zeros(1, 3, *SIZE), 0.5).clean[0]
    torch.testing.assert_close(told[:, ~mask], (image[:, ~mask] + 0.1).clamp(-1, 1))
    given = 0.5 * picture(3, (6, 10))
    larger = upscale(echo("upscale"), given, how=How(n=1))
    torch.testing.assert_close(box(12, 20, 2)(larger)[0], given, rtol=0, atol=1e-5)


def test_windows_overlap_by_half_and_a_label_is_that_of_all() -> None:
    model = planted(0.0)
    tiling = tiling_of(model, SIZE)
    assert tiling.corners == ([0, 4, 5], [0, 4, 8, 12, 13])
    assert tiling_of(model, (16, 24), 2).corners == ([0, 2, 4], [0, 2, 4, 6, 8])
    with pytest.raises(InputError, match="size: 7 × 21 is less than the 8 × 8 of the model"):
        tiling_of(model, (7, 21))


def test_files_of_any_larger_size_are_restored(tmp_path: Path, capsys) -> None:
    """Not square ones too; known pixels are the file's to the byte."""
    run = saved(tmp_path / "run", "inpaint")
    random = np.random.default_rng(0)
    pixels, mask = random.integers(0, 256, (*SIZE, 3), dtype=np.uint8), hole().numpy()
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray((255 * mask).astype(np.uint8)).save(tmp_path / "mask.png")
    out = tmp_path / "out"
    command = ["inpaint", str(run), f"{tmp_path}/a.png", "--mask", f"{tmp_path}/mask.png", "-n", "2"]
    assert main([*command, "--out", str(out)]) == 0
    found = np.asarray(Image.open(out / "00001.png"))
    assert found.shape == (*SIZE, 3)
    assert np.array_equal(found[~mask], pixels[~mask])
    for name, size in (("blur", SIZE), ("box:2", (2 * SIZE[0], 2 * SIZE[1]))):
        where = tmp_path / name.replace(":", "")
        asked = ["restore", str(run), f"{tmp_path}/a.png", "--operator", name, "-n", "1", "--out", str(where)]
        assert main(asked) == 0
        assert np.asarray(Image.open(where / "00000.png")).shape == (*size, 3)
    capsys.readouterr()
    Image.fromarray((255 * mask[:12]).astype(np.uint8)).save(tmp_path / "mask.png")
    assert main([*command, "--out", f"{out}2"]) == 2
    assert "mask.png: is of 21 × 12 pixels, and this takes 21 × 13; make it that size" in capsys.readouterr().err


def test_a_candidate_is_the_same_alone_and_in_a_batch(tmp_path: Path) -> None:
    model = load(saved(tmp_path / "run", "inpaint"), DiffusionModel)
    how = How(n=3)
    whole = inpaint(model, picture(), hole(), how)
    for k in range(3):
        alone = inpaint(model, picture(), hole(), replace(how, n=1, start=k))[0]
        torch.testing.assert_close(alone, whole[k], rtol=1e-3, atol=1e-3)


def test_a_pictures_label_is_that_of_its_own_windows() -> None:
    model = model_of("classifier-free")
    x, labels = picture().expand(2, -1, -1, -1), torch.tensor([0, 2])
    together = denoiser_of_size(model, SIZE, Condition(labels=labels), 1.0)(x, 0.5).clean
    for k in range(2):
        alone = denoiser_of_size(model, SIZE, Condition(labels=labels[k : k + 1]), 1.0)(x[k : k + 1], 0.5).clean
        torch.testing.assert_close(together[k : k + 1], alone, rtol=1e-4, atol=1e-4)
    assert float((together[0] - together[1]).abs().max()) > 0.01
