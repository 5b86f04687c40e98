"""A data configuration and what it stands for; every mistake is named with its field and a remedy."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from sumi.data import memory
from sumi.data.config import DataConfig
from sumi.data.load import load
from sumi.errors import InputError


def test_every_field_says_what_it_means() -> None:
    names = ["source", "size", "fit", "reduce", "channels", "store", "background", "held_out", "own_splits", "flip"]
    names += ["dequantize", "label_pattern", "range", "array", "labels", "column", "symbols", "rate", "seconds"]
    assert [field.name for field in fields(DataConfig)] == names
    assert all(field.metadata["help"] for field in fields(DataConfig))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("source", " "),
        ("size", 3),
        ("size", 1025),
        ("channels", 0),
        ("held_out", 0.0),
        ("held_out", 1.0),
        ("range", (1.0, 1.0)),
        ("range", (0.0, float("inf"))),
        ("range", (0.0,)),
    ],
)
def test_a_field_out_of_range_is_named(field: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"^data\.{field}: .*give") as caught:
        replace(DataConfig("digits"), **{field: value})
    assert "\n" not in str(caught.value)


def test_a_missing_path_names_the_built_in_sets_and_the_nearest() -> None:
    with pytest.raises(InputError, match=r"digit does not exist; .*did you mean digits\?"):
        load(DataConfig("digit"))
    with pytest.raises(InputError, match=r"Fashion-MNIST does not exist; .*did you mean fashion"):
        load(DataConfig("Fashion-MNIST"))
    with pytest.raises(InputError, match=r"no/such/folder does not exist; check the path"):
        load(DataConfig("no/such/folder"))


def test_a_path_that_cannot_be_asked_for_is_refused() -> None:
    with pytest.raises(InputError, match=r"cannot be read \(File name too long\); check the path"):
        load(DataConfig("x" * 5000))


def test_a_single_file_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"a\.zip is an archive, which is not read; unpack it, and give the folder"):
        load(DataConfig(str(tmp_path / "a.zip")))
    with pytest.raises(InputError, match="is one file; give the folder"):
        load(DataConfig(str(tmp_path / "a.png")))


def test_a_set_that_exceeds_memory_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = 2 * 1797 * 3 * 64 * 64  # loaded and divided
    monkeypatch.setattr(memory, "available_memory", lambda: whole)
    assert len(load(DataConfig("digits", size=64, channels=3))) == 1797
    monkeypatch.setattr(memory, "available_memory", lambda: whole - 1)
    with pytest.raises(InputError, match=r"1797 images of 3x64x64 take 0\.0 GB .*lower data\.size"):
        load(DataConfig("digits", size=64, channels=3))
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    assert len(load(DataConfig("digits"))) == 1797


def test_memory_is_read_from_the_machine_and_its_control_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    5000 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert memory.available_memory() == 5000 * 1024

    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.stat").write_text("anon 1000000\nfile 1500000\n")
    assert memory.available_memory() == 2_000_000  # the files it caches are given back on demand
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_memory() == 5000 * 1024
    (tmp_path / "meminfo").unlink()
    assert memory.available_memory() is None
