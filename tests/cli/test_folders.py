"""Folders on the command line: what is somebody else's stays, and the same command goes on however paths are typed."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sumi.cli.main import main
from sumi.training import checkpoint
from sumi.training.lock import training_in

TINY = [
    "--set=network.widths=32",
    "--set=network.blocks=1",
    "--set=network.embedding=32",
    "--set=training.batch_size=4",
    "--set=training.sample_every=0",
    "--set=sampling.steps=2",
    "--no-report",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("folders") / "run"
    assert main(["train", "ddpm", "--data", "digits", "--steps", "2", "--out", str(out), *TINY]) == 0
    return out


def photos(folder: Path) -> Path:
    folder.mkdir()
    for k in range(6):
        pixels = np.random.default_rng(k).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{k}.png")
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "samples/thesis.txt"])
@pytest.mark.parametrize("command", ["train", "demo"])
def test_neither_training_nor_the_demo_touches_somebody_elses_folder(tmp_path, capsys, command, name) -> None:
    file = tmp_path / "mine" / name
    file.parent.mkdir(parents=True)
    file.write_text('{"model_type": "mine"}\n')
    arguments = ["train", "ddpm", "--data", "digits", *TINY] if command == "train" else ["demo"]
    assert main([*arguments, "--out", str(tmp_path / "mine")]) == 2
    assert f"--out: {tmp_path / 'mine'} holds {name.split('/')[0]}" in capsys.readouterr().err
    assert tree(tmp_path) == {f"mine/{name}": b'{"model_type": "mine"}\n'}


def test_a_run_in_training_is_refused_to_others_and_can_be_read(trained: Path, tmp_path: Path, capsys) -> None:
    with training_in(trained, print):
        assert main(["train", "ddpm", "--out", str(trained), "--resume", "--no-report"]) == 2
        assert "is being trained by another process" in capsys.readouterr().err
        (trained / "checkpoints/.00000003.saving").mkdir()
        assert main(["info", str(trained)]) == 0
        printed = capsys.readouterr().out
        assert "training     by process" in printed
        assert "damaged" not in printed
        assert main(["sample", str(trained), "-n", "1", "--out", str(tmp_path / "s")]) == 0
        assert "is being trained by process" in capsys.readouterr().out
    (trained / "checkpoints/.00000003.saving").rmdir()


def test_a_checkpoint_that_is_removed_while_it_is_read_is_not_damaged(trained, tmp_path, monkeypatch) -> None:
    from sumi.models import run

    copy, reads = tmp_path / "copy", list[Path]()
    shutil.copytree(trained, copy)
    assert main(["train", "ddpm", "--out", str(copy), "--steps", "3", "--resume", "--no-report"]) == 0

    def load_weights(path: Path, name):
        reads.append(path)
        if len(reads) == 1:  # the trainer is faster
            shutil.rmtree(path)
        return checkpoint.load_weights(path, name)

    monkeypatch.setattr(run, "load_weights", load_weights)
    assert run.load(copy).step == 2
    assert [path.name for path in reads] == ["00000003", "00000002"]


@pytest.mark.parametrize("out", ["", "samples"])
def test_a_run_is_not_put_where_its_files_would_be_its_data(tmp_path: Path, capsys, out: str) -> None:
    folder = tmp_path / "F"
    photos(folder if not out else folder.parent / "samples")
    where = folder if not out else tmp_path
    before = tree(tmp_path)
    data = folder if not out else tmp_path / "samples"
    assert main(["train", "ddpm", "--data", str(data), "--out", str(where), "--steps", "1", *TINY]) == 2
    assert "--out" in capsys.readouterr().err
    assert tree(tmp_path) == before


def test_resume_in_the_default_folder_keeps_what_is_not_given(tmp_path: Path, monkeypatch) -> None:
    photos(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    assert main(["train", "ddpm", "--data", "photos", "--steps", "1", *TINY]) == 0
    assert main(["train", "ddpm", "--data", "photos", "--steps", "2", "--resume", "--no-report"]) == 0
    assert (tmp_path / "runs/ddpm-photos/checkpoints/00000002").is_dir()


def test_how_the_run_is_typed_and_where_it_lies_makes_no_other_samples(trained: Path, tmp_path, monkeypatch) -> None:
    shutil.copytree(trained, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    assert main(["sample", "run", "-n", "2", "--out", "s"]) == 0
    before = tree(tmp_path / "s")
    (tmp_path / "run").rename(tmp_path / "moved")
    for spelt in ("moved/", "./moved", str(tmp_path / "moved")):
        assert main(["sample", spelt, "-n", "2", "--out", "s/"]) == 0
    (tmp_path / "s/00001.png").write_bytes(b"")
    assert main(["sample", "moved", "-n", "2", "--out", "s"]) == 0
    for name, contents in before.items():
        assert np.array_equal(Image.open(tmp_path / "s" / name), Image.open(io.BytesIO(contents))), name
