"""Parquet files in Hugging Face's layout: the set of the same images in a folder."""

import io
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from sumi.data import parquet
from sumi.data.config import DataConfig
from sumi.data.image_set import ImageDataset
from sumi.data.load import load
from sumi.errors import InputError


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SUMI_CACHE", str(tmp_path / "cache"))


def picture(k: int) -> bytes:
    held = io.BytesIO()
    Image.fromarray(np.random.default_rng(k).integers(0, 256, (8, 8, 3), np.uint8)).save(held, "PNG")
    return held.getvalue()


def write(file: Path, columns: dict[str, Any], names: dict[str, list[str]] | None = None, rows: int = 4) -> Path:
    """Row groups of ``rows``; ``names``: of the classes, as `datasets` writes them."""
    features = {name: {"names": each, "_type": "ClassLabel"} for name, each in (names or {}).items()}
    table = pa.table(columns)
    if names:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, row_group_size=rows)
    return file


def held(numbers: range, *, paths: bool = True) -> list[dict[str, object]]:
    return [{"bytes": picture(k), "path": f"pictures/{k}.png" if paths else None} for k in numbers]


def read(source: Path, **fields: Any) -> ImageDataset:
    return load(DataConfig(str(source), size=8, **fields))


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """Ten images to train on in two files, and three for tests, of classes with names, with captions and numbers."""
    for part, numbers in (("train-00000-of-00002", range(6)), ("train-00001-of-00002", range(6, 10))):
        columns = {
            "image": held(numbers),
            "label": [k % 2 for k in numbers],
            "caption": [f"picture {k}" for k in numbers],
            "age": [0.5 * k for k in numbers],
            "source": ["somewhere"] * len(numbers),
        }
        write(tmp_path / f"set/data/{part}.parquet", columns, {"label": ["cat", "dog"]})
    columns = {"image": held(range(10, 13)), "label": [0, 1, 1], "caption": ["a", "b", "c"], "age": [1.0, 2.0, None]}
    write(tmp_path / "set/data/test-00000-of-00001.parquet", columns, {"label": ["cat", "dog"]})
    return tmp_path / "set"


@pytest.mark.parametrize("store", ["memory", "mapped"])
def test_the_images_of_all_files_with_what_describes_them(tables: Path, store: str) -> None:
    found = read(tables, store=store)
    order = [10, 11, 12, *range(10)]
    assert found.keys[:4] == (
        *(f"{k}.png@test-00000-of-00001.parquet" for k in range(10, 13)),
        "0.png@train-00000-of-00002.parquet",
    )
    for place, k in enumerate(order):
        assert np.array_equal(found.images[place], np.asarray(Image.open(io.BytesIO(picture(k)))).transpose(2, 0, 1))
    assert found.label_names == ("cat", "dog")
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 1, *(k % 2 for k in range(10))]
    assert found.captions is not None
    assert found.captions[3:] == tuple(f"picture {k}" for k in range(10))
    assert found.column("age")[3:].tolist() == [0.5 * k for k in range(10)]
    assert np.isnan(found.column("age")[2])
    train, test = found.split(0.5)
    assert (len(train), len(test)) == (10, 3)
    assert any("not used: source" in note for note in found.notes)


def test_one_file_and_plain_bytes_without_names(tmp_path: Path) -> None:
    file = write(tmp_path / "all.parquet", {"picture": [picture(k) for k in range(9)], "label": ["a", "b", "c"] * 3})
    found = read(file)
    assert found.keys == tuple(f"{k}@all.parquet" for k in range(9))
    assert found.label_names == ("a", "b", "c")
    assert torch.equal(found.batch(np.array([7]))[0] * 127.5 + 127.5, torch.from_numpy(found.images[7].copy()).float())


def test_the_first_classes_of_the_description_count_and_minus_one_is_none(tmp_path: Path) -> None:
    columns = {"img": held(range(4), paths=False), "fine": [0, 1, 1, 0], "coarse": [0, 0, 0, 0]}
    file = write(tmp_path / "train.parquet", columns, {"fine": ["x", "y"], "coarse": ["z"]})
    assert read(file).label_names == ("x", "y")
    write(file, {**columns, "fine": [0, 1, 1, -1]}, {"fine": ["x", "y"]})
    found = read(file)
    assert found.label_names == ()
    assert any("3 of 4 images have a label" in note for note in found.notes)


def test_a_group_of_rows_is_read_once(tmp_path: Path, monkeypatch) -> None:
    """Also where several threads want it at the same time."""
    file = write(tmp_path / "train.parquet", {"image": held(range(8))}, rows=8)
    cells = [cell for _, cell, _ in parquet._rows(file)]
    opened: list[Path] = []
    own = parquet._opened

    def slowly(table: Path) -> pq.ParquetFile:
        opened.append(table)
        time.sleep(0.1)
        return own(table)

    parquet._group.cache_clear()
    monkeypatch.setattr(parquet, "_opened", slowly)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(parquet.Cell.read_bytes, cells)) == [picture(k) for k in range(8)]
    assert opened == [file]


def test_images_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    rows = [*held(range(3)), {"bytes": picture(3)[:60], "path": "cut.png"}, {"bytes": None, "path": "none.png"}]
    found = read(write(tmp_path / "train.parquet", {"image": rows}))
    assert len(found) == 3
    reasons = {skipped.path: skipped.reason for skipped in found.skipped}
    assert "truncated" in reasons["cut.png@train.parquet"]
    assert reasons["none.png@train.parquet"] == "cannot be read (its row has no image)"


def test_what_is_no_table_of_images_is_one_line(tmp_path: Path, monkeypatch) -> None:
    file = write(tmp_path / "a/train.parquet", {"text": ["a", "b"], "number": [1, 2]})
    with pytest.raises(InputError, match=r"train\.parquet has no column of images, but text, number; give files"):
        read(file)
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"train\.parquet is no Parquet file, or damaged \(.*\); copy it again"):
        read(tmp_path / "a")
    file = write(tmp_path / "b/train.parquet", {"image": held(range(3))})
    with pytest.raises(InputError, match=r"data\.store: streamed is for tar files, and .*b holds others"):
        read(tmp_path / "b", store="streamed")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"train\.parquet needs pyarrow; install it: pip install 'sumi\[parquet\]'"):
        read(file)


def test_a_file_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    file = write(tmp_path / "train.parquet", {"image": held(range(3))})
    cells = [cell for _, cell, _ in parquet._rows(file)]
    assert cells[1].read_bytes() == picture(1)
    assert str(cells[1]) == f"1.png in {file}"
    parquet._group.cache_clear()
    write(file, {"image": held(range(5, 8))})
    with pytest.raises(OSError, match="has changed since the start"):
        cells[2].read_bytes()


def test_a_hash_after_the_number_of_a_file_is_none_of_its_split(tmp_path: Path) -> None:
    write(tmp_path / "data/train-00000-of-00001-b42a775f407cee45.parquet", {"image": held(range(4))})
    write(tmp_path / "data/test-00000-of-00001-3c29d0a5a1d1f0e2.parquet", {"image": held(range(4, 6))})
    assert [len(part) for part in read(tmp_path).split(0.1)] == [4, 2]
