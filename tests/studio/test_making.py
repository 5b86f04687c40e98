"""What the studio makes is what the command line makes."""

import io
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sumi.cli.main import main
from tests.studio.conftest import made


def pixels(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in sorted(folder.glob("[0-9]*.png"))]


def mask(page, size: int = 8) -> str:
    """An uploaded mask whose left half is painted."""
    picture = Image.new("L", (size, size))
    picture.paste(255, (0, 0, size // 2, size))
    file = io.BytesIO()
    picture.save(file, "PNG")
    answer = page.post("/api/uploads", content=file.getvalue(), headers={"content-type": "image/png"})
    return answer.json()["picture"]


ACTS = [
    {"type": "sample"},
    {"type": "sample", "start": 3},
    {"type": "vary", "picture": "{}/1", "strength": 0.4},
    {"type": "blend", "picture": "{}/0", "other": "{}/2"},
    {"type": "paint", "picture": "{}/0", "mask": "mask"},
    {"type": "enlarge", "picture": "{}/3"},
]


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act["type"])
def test_a_command_makes_the_same_pictures_bit_for_bit(studio, page, finished, tmp_path, act) -> None:
    first = made(page, finished, seed=7, label="3", guidance=1.5)
    act = {
        name: value.format(first["id"]) if name != "type" and isinstance(value, str) else value
        for name, value in act.items()
    }
    act |= {"mask": mask(page)} if "mask" in act else {}
    found = made(page, finished, act=act, seed=5, label="8", guidance=2.5, steps=3)
    program, *arguments = shlex.split(found["command"])
    assert program == "sumi"
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    other = pixels(tmp_path / "out")
    assert len(other) == found["count"]
    for one, two in zip(pixels(studio.folder.pictures / found["id"]), other, strict=True):
        assert np.array_equal(one, two)


def test_a_picture_says_all_that_made_it(studio, page, finished) -> None:
    found = made(page, finished, seed=2, label="1", guidance=3.0)
    file = page.get(f"/pictures/{found['id']}/2.png?save=1")
    assert "attachment" in file.headers["content-disposition"]
    about = json.loads(Image.open(io.BytesIO(file.content)).info["sumi"])
    expected = {
        "run": "digits",
        "seed": 2,
        "label": "1",
        "guidance": 3.0,
        "steps": 2,
        "index": 2,
        "act": {"type": "sample", "start": 0},
    }
    assert expected.items() <= about.items()
    assert about["command"] == found["command"]
    assert studio.folder.history()[-1].id == found["id"]


def test_the_picture_emerges(studio, page, finished) -> None:
    found = made(page, finished, n=3)
    row = Image.open(io.BytesIO(page.get(f"/api/jobs/{found['id']}/preview").content))
    assert row.size == (24, 8)  # three beside each other


def test_what_cannot_be_made_is_one_line(page, finished) -> None:
    cases = {
        "there is no 'nobody'": {"model": "nobody"},
        "is not there": {"act": {"type": "vary", "picture": "0123456789ab/0"}},
        "not the name of a picture": {"act": {"type": "vary", "picture": "../../etc/passwd"}},
        "n: 17 is too large": {"n": 17},
        "steps: 0 is out of range": {"steps": 0},
        "strength": {"act": {"type": "vary", "picture": 3, "strength": 0.5}},
    }
    for words, change in cases.items():
        request = {"model": "digits", "act": {"type": "sample"}, **change}
        answer = page.post("/api/make", json=request)
        assert answer.status_code == 400
        assert words in answer.json()["error"] or words == "strength"
    answer = page.post("/api/make", json={"model": "digits", "act": {"type": "sample"}, "label": "eleven"})
    job = finished(answer.json()["id"])
    assert job["state"] == "failed"
    assert "eleven" in job["message"]


def test_an_upload_is_decoded_and_written_anew(studio, page) -> None:
    file = io.BytesIO()
    picture = Image.new("RGB", (3000, 20), "red")
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "secret"  # turned, and a description
    picture.save(file, "JPEG", exif=exif)
    name = page.post("/api/uploads", content=file.getvalue(), headers={"content-type": "image/jpeg"}).json()["picture"]
    with Image.open(studio.folder.picture(name)) as kept:
        assert kept.format == "PNG"
        assert kept.height == 1024
        assert not kept.getexif()
    assert b"secret" not in studio.folder.picture(name).read_bytes()
    for wrong in (b"", b"GIF89a", b"%PDF-1.4 ...", b"<svg xmlns='http://www.w3.org/2000/svg'/>"):
        assert page.post("/api/uploads", content=wrong, headers={"content-type": "image/png"}).status_code == 400


def test_uploads_of_every_kind_look_as_the_same_files_do_in_data(studio, page) -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    clear = Image.new("P", (8, 8))
    clear.putpalette([0, 0, 0] + [255, 0, 0] * 255)
    kind = {"content-type": "image/png"}
    for picture, mean, options in (
        (Image.fromarray(ramp), 127.5, {}),  # 16 bits
        (clear, 255, {"transparency": 0}),
        (Image.new("LA", (8, 8), (0, 0)), 255, {}),
    ):
        file = io.BytesIO()
        picture.save(file, "PNG", **options)
        name = page.post("/api/uploads", content=file.getvalue(), headers=kind).json()["picture"]
        with Image.open(studio.folder.picture(name)) as kept:
            assert abs(np.asarray(kept).mean() - mean) < 0.1
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\x0c\0\xff\xff\xff\xff")
    assert page.post("/api/uploads", content=file.getvalue(), headers=kind).status_code == 201  # its Exif is damaged
