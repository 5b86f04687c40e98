"""The pictures of the studio in the documents are what its script makes of it."""

import sys
from pathlib import Path

import pytest
from PIL import Image

from scripts import photograph_studio
from scripts.browser import chromium


@pytest.mark.slow
@pytest.mark.skipif(chromium() is None, reason="no Chromium is here (make browser installs it)")
def test_every_picture_of_the_page_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sheets say how many seconds they took, and a training's length varies, so names and sizes are compared alone."""
    there = {file.name: Image.open(file).convert("L") for file in photograph_studio.IMAGES.glob("studio-*.png")}
    monkeypatch.setattr(photograph_studio, "IMAGES", tmp_path)
    monkeypatch.setattr(sys, "argv", ["photograph_studio"])
    photograph_studio.main()
    made = {file.name: Image.open(file).convert("L") for file in tmp_path.iterdir()}
    assert made.keys() == there.keys()
    for name, picture in made.items():
        assert picture.width == there[name].width, name
        assert abs(picture.height - there[name].height) < 200, name
