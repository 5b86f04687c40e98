"""Samples on disk: each batch as it is made, and the same call goes on where another was cut off."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sumi.data import files
from sumi.data.files import Writing, made_in_parts, remove_parts, write_grid, write_images, write_samples, write_vectors
from sumi.errors import InputError, SumiError
from sumi.figures.pictures import CELL, LINE

ABOUT = {"run": "run", "seed": 0, "digest": "d"}


def images(batch: range) -> Tensor:
    """Noise by index, uint8 (n, 3, 4, 4)."""
    parts = [np.random.default_rng(index).integers(0, 256, (3, 4, 4), dtype=np.uint8) for index in batch]
    return torch.from_numpy(np.stack(parts))


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def sample(folder: Path, made: list[range], *, until: int = 100, about: dict | None = None) -> tuple[Path | None, int]:
    """Samples 2 … 11 in batches of 4; ``made`` gets those that are made, and at ``until`` it stops."""

    def make(batch: range) -> Tensor:
        if batch.stop > until:
            raise KeyboardInterrupt
        made.append(batch)
        return images(batch)

    return write_samples(folder, make, range(2, 12), Writing(4, "", about or ABOUT))


def test_a_call_that_was_cut_off_goes_on_and_gives_the_same_files(tmp_path: Path) -> None:
    whole, made = list[range](), list[range]()
    grid, there = sample(tmp_path / "whole", whole)
    assert grid is not None
    assert (grid.name, there, whole) == ("grid.png", 0, [range(2, 6), range(6, 10), range(10, 12)])
    with pytest.raises(KeyboardInterrupt):
        sample(tmp_path / "run", made, until=7)
    assert sorted(written(tmp_path / "run")) == [f"0000{k}.png" for k in (2, 3, 4, 5)]
    made.clear()
    assert sample(tmp_path / "run", made)[1] == 4
    assert made == [range(6, 10), range(10, 12)]
    assert written(tmp_path / "run") == written(tmp_path / "whole")


@pytest.mark.parametrize("length", [0, 10, 100, -5])
def test_an_empty_or_partial_file_is_made_again(tmp_path: Path, length: int) -> None:
    sample(tmp_path, [])
    before, file = written(tmp_path), tmp_path / "00003.png"
    file.write_bytes(before["00003.png"][:length])
    made = list[range]()
    assert sample(tmp_path, made)[1] == 9
    assert made == [range(2, 6)]  # the whole batch, so that it is made alike
    assert written(tmp_path) == before


def test_how_paths_are_typed_makes_no_other_samples_and_other_weights_do(tmp_path: Path) -> None:
    sample(tmp_path, [])
    assert sample(tmp_path, [], about={**ABOUT, "run": "../elsewhere/run/"})[1] == 10
    for other in ({"digest": "e"}, {"seed": 1}, {"steps": 3}):
        before = written(tmp_path)
        with pytest.raises(InputError, match=r"00002\.png, which was made with other settings"):
            sample(tmp_path, [], about={**ABOUT, **other})
        assert written(tmp_path) == before


@pytest.mark.parametrize("name", ["00007.png", "grid.png"])
def test_a_file_of_somebody_else_is_seen_before_anything_is_made(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / name)
    before, made = written(tmp_path), list[range]()
    with pytest.raises(InputError, match=f"holds {name}"):
        sample(tmp_path, made)
    assert (made, written(tmp_path)) == ([], before)


def test_other_files_and_other_indices_stay_when_samples_are_added(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    write_images(tmp_path, images(range(2)), start=20, about={"seed": 5})
    sample(tmp_path, [])
    assert len(written(tmp_path)) == 14
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_the_grid_of_many_has_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_IN_GRID", 3)
    sample(tmp_path / "many", [])
    write_images(tmp_path / "few", images(range(2, 5)), start=2, about=ABOUT)
    many, few = (np.asarray(Image.open(tmp_path / name / "grid.png")) for name in ("many", "few"))
    np.testing.assert_array_equal(many, few)


def test_an_empty_file_of_vectors_is_written_over_and_a_full_one_is_not(tmp_path: Path) -> None:
    picture = (tmp_path / "p.png", Image.new("L", (2, 2)))
    picture[1].save(picture[0])
    folder, vectors = tmp_path / "v", np.arange(4.0).reshape(2, 2)
    folder.mkdir()
    (folder / "vectors.npy").touch()
    write_vectors(folder, vectors, picture[0].read_bytes(), ABOUT)
    np.testing.assert_array_equal(np.load(folder / "vectors.npy"), vectors)
    (folder / "picture.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"vectors\.npy, which was made with other settings"):
        write_vectors(folder, vectors + 1, picture[0].read_bytes(), ABOUT)
    np.testing.assert_array_equal(np.load(folder / "vectors.npy"), vectors)


def test_items_of_one_file_are_kept_as_they_come(tmp_path: Path) -> None:
    """However it ends, the same call makes only what is missing; parts that were made otherwise are not mixed in."""
    file, made = tmp_path / "out/vectors.npy", list[range]()

    def items(until: int = 100, seed: int = 0, worth: float = 1.0) -> Tensor:
        def make(batch: range) -> Tensor:
            if batch.stop > until:
                raise KeyboardInterrupt
            made.append(batch)
            return worth * torch.arange(batch.start, batch.stop)[:, None].double()

        return made_in_parts(file, make, range(2, 12), Writing(4, "", ABOUT), {**ABOUT, "seed": seed})

    with pytest.raises(KeyboardInterrupt):
        items(until=7)
    part = tmp_path / "out/vectors.npy.parts/00000002-00000006.npy"
    assert np.load(part)[:, 0].tolist() == [2, 3, 4, 5]
    with pytest.raises(InputError, match=r"holds vectors\.npy\.parts, which was made with other settings"):
        items(seed=1)
    with pytest.raises(SumiError, match=r"^samples: 6 to 9 are not all finite; choose another checkpoint$"):
        items(worth=float("nan"))
    made.clear()
    assert items()[:, 0].tolist() == list(range(2, 12))
    assert made == [range(6, 10), range(10, 12)]
    part.write_bytes(part.read_bytes()[:-8])
    assert items()[:, 0].tolist() == list(range(2, 12))
    assert made[2:] == [range(2, 6)]
    remove_parts(file)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("about", "each", "captioned"),
    [
        ({"label": "all"}, [{"label": "cat"}, {"label": "dog"}], True),
        ({"label": "cat"}, [{"label": "cat"}] * 2, False),
        ({}, [{"prompt": "a cat"}, {"prompt": "a dog"}], True),
        ({}, [{}, {}], False),
    ],
)
def test_a_grid_of_samples_names_the_class_or_the_prompt_of_each(about, each, captioned: bool, tmp_path: Path) -> None:
    images = np.zeros((2, 1, 8, 8), dtype=np.uint8)
    with Image.open(write_grid(tmp_path, images, about, range(2), each)) as grid:
        assert grid.height == (CELL + LINE if captioned else CELL)
