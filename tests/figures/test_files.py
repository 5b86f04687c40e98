"""Pictures that Sumi made are written over, and those of others are not."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sumi.errors import InputError
from sumi.figures.canvas import canvas, png_of, save
from sumi.figures.files import write_picture
from sumi.figures.pictures import animation, png
from sumi.figures.vectors import picture


def own() -> dict[str, bytes]:
    """A picture of each maker in `sumi.figures`."""
    image = Image.new("RGB", (4, 4))
    moving = animation([image, Image.new("RGB", (4, 4), "red")])
    return {
        "a.png": png(image),
        "b.png": png_of(canvas(1, 1), dpi=20),
        "c.png": picture([("", torch.zeros(3, 2))], None),
        "d.webp": moving,
    }


def foreign() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_own_pictures_are_written_over(tmp_path: Path) -> None:
    for name, contents in own().items():
        for _ in range(2):
            assert write_picture(tmp_path / name, contents).read_bytes() == contents


@pytest.mark.parametrize("contents", [foreign(), b"a thesis", foreign()[:-20]], ids=["picture", "text", "cut off"])
def test_nobody_elses_file_is_written_over(tmp_path: Path, contents: bytes) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(contents)
    with pytest.raises(InputError, match=r"holds a\.png, which sumi did not make"):
        save(canvas(1, 1), file, "a figure")
    assert file.read_bytes() == contents


@pytest.mark.parametrize("contents", [b"", own()["a.png"][:5], own()["a.png"][:30]], ids=["empty", "begun", "header"])
def test_what_a_write_that_was_cut_off_left_is_written_over(tmp_path: Path, contents: bytes) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(contents)
    assert write_picture(file, own()["a.png"]).read_bytes() == own()["a.png"]


def test_in_a_run_folder_the_names_are_the_runs(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.json").write_text("{}")
    file = tmp_path / "explain/a.png"
    file.parent.mkdir()
    file.write_bytes(foreign())
    assert write_picture(file, own()["a.png"]).read_bytes() == own()["a.png"]
