"""A run folder belongs to its run: what others made in it is neither removed nor written over."""

from pathlib import Path

import pytest
from PIL import Image

from sumi.errors import InputError
from sumi.figures.pictures import png
from sumi.training.run_folder import RunFolder

DESCRIBED = {"config": {}, "items": {}, "format": 6}


def tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def put(file: Path, contents: bytes = b"mine") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(contents)
    return file


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "skipped.txt", "samples/a.png", "report/paper.tex"])
def test_a_folder_with_the_names_of_a_run_and_no_run_is_refused(tmp_path: Path, name: str) -> None:
    put(tmp_path / name, b'{"model_type": "mine"}\n')
    with pytest.raises(InputError, match=f"holds {name.split('/')[0]}, which `sumi train` did not write"):
        RunFolder(tmp_path).refuse_foreign()


def test_other_names_empty_files_and_a_run_of_its_own_are_no_hindrance(tmp_path: Path) -> None:
    put(tmp_path / "notes.txt")
    put(tmp_path / "config.json", b"")
    put(tmp_path / "metrics.jsonl", b"")
    (tmp_path / "samples").mkdir()
    run = RunFolder(tmp_path)
    run.refuse_foreign()
    run.write_config(DESCRIBED)
    put(run.metrics_file)
    run.refuse_foreign()


def test_all_that_is_a_runs_is_cleared(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.write_config(DESCRIBED)
    run.write_skipped(["a file"])
    for name in (
        "metrics.jsonl",
        ".config.json.new",
        "checkpoints/00000012/state.json",
        "checkpoints/.00000013.saving/model.safetensors",
        "samples/00000012.png",
        "samples/00000012-ddpm-100-seed0/.00000.png.new",
        "samples/00000012-ddpm-100-seed0/emerging.webp",
        "report/report.html",
        "tuned/00000012-5.json",
        "samples/00000012-ddpm-100-seed0/samples.npz.json",
        "samples/00000012-ddpm-100-seed0/samples.npz.parts/00000064.npy",
        "samples/00000012-ddpm-100-seed1/samples.npy",
        "samples/00000012-ddpm-100-seed1/labels.npy",
        "compare/guidance.json",
        "nll/nll.json",
        "interpolated/a-b/strip.png",
    ):
        put(tmp_path / name)
    own = png(Image.new("L", (4, 4)))
    put(tmp_path / "samples/00000012-ddpm-100-seed0/00000.png", own)
    put(tmp_path / "explain/any_name.png", own)
    assert run.foreign() == []
    run.clear()
    assert tree(tmp_path) == []


@pytest.mark.parametrize(
    "name",
    [
        "thesis.txt",
        "samples/thesis.txt",
        "samples/mine/00000.png",
        "samples/holiday.png",
        "samples/mine/samples.npz",
        "samples/00000012-ddpm-100-seed0/thesis.npy",
        "report/paper.tex",
        "report/notes.html",
        "checkpoints/notes.txt",
        "checkpoints/best/model.bin",
        "tuned/mine.json",
        "mine/any",
    ],
)
def test_a_file_of_somebody_else_keeps_all_of_it(tmp_path: Path, name: str) -> None:
    run = RunFolder(tmp_path)
    run.write_config(DESCRIBED)
    put(tmp_path / "samples/00000012.png")
    put(tmp_path / name)
    before = tree(tmp_path)
    with pytest.raises(InputError, match=r"holds .*, which no demo wrote; give another folder"):
        run.clear()
    assert tree(tmp_path) == before


def test_links_and_what_they_lead_to_stay(tmp_path: Path) -> None:
    mine = put(tmp_path / "elsewhere/00000012.png")
    run = RunFolder(tmp_path / "run")
    run.write_config(DESCRIBED)
    run.samples.symlink_to(mine.parent)
    with pytest.raises(InputError, match="holds samples"):
        run.clear()
    assert mine.exists()
