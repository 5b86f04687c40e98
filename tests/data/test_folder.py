"""A folder of images as a data set: order, classes, captions, and a word about every file that is left out."""

import errno
import json
import os
import socket
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sumi.data import folder, memory
from sumi.data.config import DataConfig
from sumi.data.dataset import Skipped, every_label
from sumi.data.image_set import ImageDataset
from sumi.data.load import load
from sumi.errors import InputError


def paint(root: Path, *names: str) -> Path:
    """A 4x4 red image a name, redder with each."""
    for i, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (100 + i, 0, 0)).save(path)
    return root


def describe(root: Path, *lines: dict[str, object] | str) -> Path:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines)
    (root / "metadata.jsonl").write_text(text, encoding="utf-8")
    return root


def read(root: Path, size: int = 4, channels: int | None = None) -> ImageDataset:
    return load(DataConfig(str(root), size=size, channels=channels))


def refusal(root: Path, *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        read(root)
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_items_stand_in_the_order_of_their_paths(tmp_path: Path) -> None:
    names = ["c.png", "B.JPG", "a/z.png", "a/b/c.webp", "a-1.bmp", "10.gif", "9.tiff"]
    whole = read(paint(tmp_path, *names))

    assert whole.keys == ("10.gif", "9.tiff", "B.JPG", "a-1.bmp", "a/b/c.webp", "a/z.png", "c.png")
    assert whole.images.shape == (7, 3, 4, 4)
    for key, image in zip(whole.keys, whole.images, strict=True):
        assert abs(int(image[0].mean()) - 100 - names.index(key)) <= 1  # JPEG and WebP may be off by one
    assert whole.levels == 256
    assert whole.skipped == ()


def test_progress_counts_every_file(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    paint(tmp_path, "a.png", "b.png", "c.png")
    (tmp_path / "d.png").touch()
    load(DataConfig(str(tmp_path)), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_first_folders_are_classes(tmp_path: Path) -> None:
    whole = read(paint(tmp_path, "tulip/1.png", "daisy/1.png", "rose/deep/er/1.png", "tulip/2.png"))
    assert whole.label_names == ("daisy", "rose", "tulip")
    assert whole.labels is not None
    assert whole.labels.tolist() == [0, 1, 2, 2]
    assert whole.labels.dtype == np.int64
    assert whole.captions is None
    assert whole.notes == ()


def test_images_without_folders_or_in_one_have_no_classes(tmp_path: Path) -> None:
    assert read(paint(tmp_path / "flat", "a.png", "b.png")).labels is None

    mixed = read(paint(tmp_path / "mixed", "a.png", "x/b.png", "y/c.png"))
    assert (mixed.labels, mixed.label_names) == (None, ())
    assert mixed.notes == ("1 of 3 images lie in no sub-folder: there are no classes",)

    one = read(paint(tmp_path / "one", "2024/a.png", "2024/b.png"))
    assert one.labels is None
    assert one.notes == ("all images have the same sub-folder (2024): there are no classes",)


def test_hidden_names_do_not_count(tmp_path: Path) -> None:
    whole = read(paint(tmp_path, "a.png", "b.png", ".hidden.png", ".cache/c.png"))
    assert whole.keys == ("a.png", "b.png")
    assert whole.skipped == ()


def test_a_train_folder_stands_for_its_root(tmp_path: Path) -> None:
    paint(tmp_path / "train", "a/1.png", "b/1.png")
    describe(tmp_path / "train", {"file_name": "a/1.png", "text": "one"}, {"file_name": "b/1.png", "text": "two"})
    (tmp_path / "LICENSE.txt").write_text("free")
    whole, inside = read(tmp_path), read(tmp_path / "train")

    assert whole.keys == inside.keys == ("a/1.png", "b/1.png")
    assert whole.label_names == ("a", "b")
    assert whole.captions == ("one", "two")
    paint(tmp_path / "test", "a/1.png")
    assert read(tmp_path).keys == whole.keys
    assert read(tmp_path).notes == ("only train/ is read; test/ left alone",)

    paint(tmp_path / "ships", "1.png")  # whatever lies beside the splits
    paint(tmp_path, "cover.png")
    assert read(tmp_path).keys == whole.keys
    assert read(tmp_path).notes == ("only train/ is read; ships/, test/, cover.png left alone",)

    paint(tmp_path / "things", "train/1.png", "ship/1.png")  # no split without a folder for tests
    assert read(tmp_path / "things").label_names == ("ship", "train")


@pytest.mark.parametrize(
    ("train", "test"), [("training", "testing"), ("Train", "Test"), ("train", "dev"), ("TRAIN", "validation")]
)
def test_splits_go_by_many_names(tmp_path: Path, train: str, test: str) -> None:
    paint(tmp_path, *(f"{split}/{digit}/1.png" for split in (train, test) for digit in "01"))
    whole = read(tmp_path)
    assert whole.keys == ("0/1.png", "1/1.png")
    assert whole.label_names == ("0", "1")
    assert whole.notes == (f"only {train}/ is read; {test}/ left alone",)

    above = tmp_path.parent / f"{tmp_path.name}-archive"  # unpacked with a folder around them
    above.mkdir()
    tmp_path.rename(above / "png")
    assert read(above).keys == whole.keys
    assert read(above).notes == (f"only png/{train}/ is read; png/{test}/ left alone",)


def test_splits_within_classes_are_splits(tmp_path: Path) -> None:
    paint(tmp_path, *(f"{kind}/{split}/1.png" for kind in ("cat", "dog") for split in ("train", "val")))
    whole = read(tmp_path)
    assert whole.keys == ("cat/train/1.png", "dog/train/1.png")
    assert whole.label_names == ("cat", "dog")
    assert whole.notes == ("only the training folders are read; cat/val/, dog/val/ left alone",)


def test_two_training_folders_are_refused(tmp_path: Path) -> None:
    refusal(paint(tmp_path, "train/1.png", "Train/2.png", "test/3.png"), "holds Train/, train/; give the path of one")


def test_run_folders_are_left_alone(tmp_path: Path) -> None:
    before = read(paint(tmp_path, "a.png", "b.png"))
    paint(tmp_path, "runs/mine/samples/1.png", "runs/mine/checkpoints/x.png")
    (tmp_path / "runs/mine/config.json").write_text("{}")
    after = read(tmp_path)
    assert after.fingerprint() == before.fingerprint()
    assert after.notes == ("run folders are left alone: runs/mine/",)
    assert after.skipped == ()
    refusal(tmp_path / "runs/mine", "is a run folder, not data; give the folder of images")


def test_what_is_no_regular_file_is_never_opened(tmp_path: Path) -> None:
    paint(tmp_path, "a.png", "b.png")
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "metadata.jsonl")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "s.png"))
    (tmp_path / "null.png").symlink_to("/dev/null")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "more.zip").touch()
    assert {item.path: item.reason for item in read(tmp_path).skipped} == {
        "pipe.png": "is a named pipe, not a regular file",
        "metadata.jsonl": "is a named pipe, not a regular file",
        "s.png": "is a socket, not a regular file",
        "null.png": "is a device, not a regular file",
        "loop.png": f"cannot be read ({os.strerror(errno.ELOOP)})",
        "gone.png": f"cannot be read ({os.strerror(errno.ENOENT)})",
        "more.zip": ".zip is an archive, which is not read; unpack it",
    }


def test_names_equal_once_composed_are_one_image(tmp_path: Path) -> None:
    names = [unicodedata.normalize(form, "café.png") for form in ("NFC", "NFD")]
    whole = read(paint(tmp_path, "a.png", *names))
    assert whole.keys == ("a.png", names[0])
    assert [item.path for item in whole.skipped] == [names[0]]
    assert "has the name of another file once its letters are composed" in whole.skipped[0].reason


def test_names_that_are_no_text_are_escaped(tmp_path: Path) -> None:
    for name in (b"caf\xe9/1.png", b"caf\xe9/2.png", b"b/3.png"):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        paint(path.parent, path.name)
    (path.parent / os.fsdecode(b"br\xe9\x1b[31m\n.png")).write_bytes(b"x")
    whole = read(tmp_path)
    assert whole.label_names == ("b", "caf\\xe9")
    assert whole.skipped_report()[1].startswith("  b/br\\xe9\\x1b[31m\\n.png: ")
    json.dumps([whole.label_names, whole.notes]).encode()
    assert len(whole.fingerprint()) == 64


def test_folders_without_images_are_no_classes(tmp_path: Path) -> None:
    (paint(tmp_path, "a/1.png", "b/2.png") / "empty").mkdir()
    assert read(tmp_path).label_names == ("a", "b")
    assert read(tmp_path).notes == ("no class, as there is no image in it: empty/",)


def test_classes_are_found_in_names_by_a_pattern(tmp_path: Path) -> None:
    paint(tmp_path, "cat_1.png", "deep/dog_2.png", "dog_3.png")
    whole = load(DataConfig(str(tmp_path), size=4, label_pattern=r"(\w+)_\d+"))
    assert whole.label_names == ("cat", "dog")
    assert every_label(whole).tolist() == [0, 1, 1]
    with pytest.raises(InputError, match=r"label_pattern: \(c\) does not match deep/dog_2.png"):
        load(DataConfig(str(tmp_path), size=4, label_pattern="(c)"))
    with pytest.raises(InputError, match="label_pattern: is no regular expression"):
        DataConfig("x", label_pattern="(")
    with pytest.raises(InputError, match="label_pattern: cat has no group"):
        DataConfig("x", label_pattern="cat")


def test_metadata_may_lie_above_or_below_the_images(tmp_path: Path) -> None:
    paint(tmp_path, "train/a/1.png", "train/b/2.png", "test/3.png")
    describe(tmp_path, {"file_name": "train/a/1.png", "text": "one"}, {"file_name": "test/3.png", "text": "three"})
    (tmp_path / "train/b/metadata.csv").write_text("file_name,text\n2.png,two\n")
    whole = read(tmp_path)
    assert whole.captions == ("one", "two")
    assert whole.skipped == ()
    describe(tmp_path, {"file_name": "train\\a\\1.png", "text": "by Windows"})
    assert read(tmp_path).captions == ("by Windows", "two")


@pytest.mark.parametrize(("name", "separator"), [("csv", ","), ("csv", ";"), ("tsv", "\t"), ("csv", "|")])
def test_metadata_may_be_a_table(tmp_path: Path, name: str, separator: str) -> None:
    rows = [["file_name", "caption", "label", "age", "licence"], ["a.png", '"x, y;|"', "7", "30.5", "CC0"]]
    rows += [["b.png", "5", "12", "", ""]]
    lines = "\ufeff" + "\r\n".join(map(separator.join, rows))
    (paint(tmp_path, "a.png", "b.png") / f"metadata.{name}").write_text(lines, encoding="utf-8", newline="")
    whole = read(tmp_path)
    assert whole.captions == ("x, y;|", "5")
    assert whole.label_names == ("7", "12")
    assert np.array_equal(whole.column("age"), [30.5, np.nan], equal_nan=True)
    assert whole.columns == ("age",)
    assert whole.notes[0] == f"captions are read from caption in metadata.{name}"
    assert whole.notes[1].startswith(f"not used in metadata.{name}: licence (")


def test_a_broken_table_is_named_by_its_line(tmp_path: Path) -> None:
    paint(tmp_path, "a.png", "b.png")
    table = tmp_path / "metadata.csv"
    table.write_bytes("file_name,text\na.png,rosé\n".encode("latin-1"))
    refusal(tmp_path, f"{table}, line 2: is not UTF-8")
    table.write_text("file_name,text\na.png,one\na.png,two\n")
    refusal(tmp_path, f"{table}, line 3: a.png stands in line 2 already")
    table.write_text("name,text\na.png,one\n")
    refusal(tmp_path, f"{table}, line 2: has no file_name")
    table.write_text(f"file_name,text\na.png,{'x' * 200_000}\n")
    refusal(tmp_path, f"{table}, line 2: is no row of a table (field larger than field limit")


@pytest.mark.parametrize(
    "field", ['"id": ' + "9" * 5000, '"id": ' + "9" * 400, '"id": NaN', '"id": [1]', '"\\ud800": "x"']
)
def test_fields_that_are_not_used_are_left_alone(tmp_path: Path, field: str) -> None:
    describe(paint(tmp_path, "a.png", "b.png"), '{"file_name": "a.png", "prompt": "a cat", ' + field + "}")
    whole = read(tmp_path)
    assert whole.captions == ("a cat", "")
    assert whole.columns == ()
    assert whole.notes[0] == "captions are read from prompt in metadata.jsonl"
    assert whole.notes[1].startswith("not used in metadata.jsonl: ")


def test_labels_as_a_table_writes_numbers(tmp_path: Path) -> None:
    lines = ('{"file_name": "a.png", "label": 3.0}', '{"file_name": "b.png", "label": 10}')
    assert read(describe(paint(tmp_path, "a.png", "b.png"), *lines)).label_names == ("3", "10")


def test_metadata_gives_captions_and_classes(tmp_path: Path) -> None:
    describe(
        paint(tmp_path, "x/1.png", "x/2.png", "y/3.png"),
        {"file_name": "y/3.png", "text": "die Größe", "label": 10, "licence": "CC0"},
        "",
        {"file_name": "./x/1.png", "text": "a rosé", "label": 9},
        {"file_name": "x/2.png", "label": 10},
    )
    whole = read(tmp_path)
    assert whole.captions == ("a rosé", "", "die Größe")
    assert whole.label_names == ("9", "10")  # as numbers
    assert whole.labels is not None
    assert whole.labels.tolist() == [0, 1, 1]
    assert whole.notes == (
        "not used in metadata.jsonl: licence (captions are text, caption, prompt, description; classes are label)",
        "1 of 3 images have no caption",
    )


def test_labels_of_some_images_only_are_not_used(tmp_path: Path) -> None:
    describe(paint(tmp_path, "x/1.png", "y/2.png"), {"file_name": "x/1.png", "label": "one"})
    whole = read(tmp_path)
    assert whole.label_names == ("x", "y")
    assert whole.captions is None
    assert whole.notes == ("1 of 2 images have a label in the metadata: the labels are not used",)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"file_name": "a.png", ', "is not JSON (Expecting property name enclosed in double quotes, column 24"),
        ('["a.png"]', "is no JSON object"),
        ('{"text": "a"}', "has no file_name"),
        ('{"file_name": "a.png", "text": ["a", 1]}', "text is list"),
        ('{"file_name": "a.png", "label": true}', "label is bool"),
        ('{"file_name": "b.png"}', "b.png stands in line 1 already"),
        ("[" * 100_000, "is nested too deeply"),
    ],
)
def test_a_malformed_line_is_named_by_its_number(tmp_path: Path, line: str, reason: str) -> None:
    describe(paint(tmp_path, "a.png", "b.png"), {"file_name": "b.png", "text": "b"}, "", line)
    refusal(tmp_path, f"{tmp_path / 'metadata.jsonl'}, line 3: {reason}")


def test_metadata_in_another_encoding_is_named(tmp_path: Path) -> None:
    paint(tmp_path, "a.png", "b.png")
    (tmp_path / "metadata.jsonl").write_bytes('\ufeff{"file_name": "a.png"}\r\n'.encode())
    assert len(read(tmp_path)) == 2
    (tmp_path / "metadata.jsonl").write_bytes('{"file_name": "a.png", "text": "rosé"}'.encode("latin-1"))
    refusal(tmp_path, "line 1: is not UTF-8")


def test_every_file_left_out_is_named_with_its_reason(tmp_path: Path) -> None:
    paint(tmp_path, "a.png", "b.png", "x/whole.jpg")
    content = (tmp_path / "x/whole.jpg").read_bytes()
    (tmp_path / "x/broken.jpg").write_bytes(content[: len(content) * 3 // 4])
    (tmp_path / "empty.png").touch()
    (tmp_path / "notes.txt").write_text("mine")
    describe(tmp_path, {"file_name": "a.png", "text": "a"}, {"file_name": "gone.png", "text": "b"})
    whole = read(tmp_path)

    assert whole.keys == ("a.png", "b.png", "x/whole.jpg")
    assert whole.skipped[0] == Skipped("empty.png", "is an empty file")
    assert whole.skipped[1].path == "x/broken.jpg"
    assert "truncated" in whole.skipped[1].reason
    assert whole.skipped[2:] == (
        Skipped("gone.png", "is described in metadata.jsonl, line 2, but is not there"),
        Skipped("notes.txt", ".txt is no image format read here"),
    )
    assert whole.skipped_report()[0] == "used 3 of 7 files; skipped 4:"


def test_a_folder_with_too_few_images_is_refused(tmp_path: Path) -> None:
    refusal(tmp_path, f"{tmp_path} holds no readable image; give PNG")
    (tmp_path / "c.md").touch()
    refusal(tmp_path, "holds no readable image (1 file skipped; the first: c.md: .md is no image format")
    (tmp_path / "a.jpg").touch()
    refusal(tmp_path, "holds no readable image (2 files skipped; the first: a.jpg: is an empty file)")
    paint(tmp_path, "b.png")
    refusal(tmp_path, "holds one readable image (2 files skipped; the first: a.jpg", "at least 2 images are needed")


def test_channels_follow_the_images_unless_given(tmp_path: Path) -> None:
    for name, level in (("a.png", 10), ("b.png", 250)):
        Image.new("L" if level == 10 else "RGB", (4, 4), level if level == 10 else (level,) * 3).save(tmp_path / name)
    grey = read(tmp_path)
    assert grey.images.shape == (2, 1, 4, 4)
    assert grey.images[:, 0, 0, 0].tolist() == [10, 250]
    repeated = read(tmp_path, channels=3).images
    assert repeated.shape == (2, 3, 4, 4)
    assert (repeated == grey.images).all()

    Image.new("RGB", (4, 4), (255, 0, 0)).save(tmp_path / "c.png")
    colour = read(tmp_path)
    assert colour.images.shape == (3, 3, 4, 4)
    assert colour.images[:, :, 0, 0].tolist() == [[10] * 3, [250] * 3, [255, 0, 0]]
    greyed = read(tmp_path, channels=1)
    assert greyed.images[:, 0, 0, 0].tolist() == [10, 250, 76]
    assert greyed.notes == ("1 of 3 images have colours and were made grey",)


def test_notes_count_what_was_done(tmp_path: Path) -> None:
    Image.new("RGB", (40, 50), "red").save(tmp_path / "a.png")
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "b.png")
    Image.fromarray(np.zeros((32, 32), np.uint16)).save(tmp_path / "c.png")
    whole = load(DataConfig(str(tmp_path)))
    assert whole.images.shape == (3, 3, 32, 32)
    assert whole.notes == (
        "data.size was not given: images are fitted to 32x32",
        "2 of 3 images were resized and centre-cropped to 32x32",
        "1 of 3 images are smaller than 32x32 and were enlarged",
        "1 of 3 images hold 16 bits a channel and were reduced to 8",
        "1 of 3 images have transparent pixels, which were laid over white",
    )


def test_links_are_followed_once(tmp_path: Path) -> None:
    paint(tmp_path / "store", "1.png")
    root = paint(tmp_path / "root", "a/2.png")
    (root / "b").symlink_to(tmp_path / "store")
    (root / "a/up").symlink_to(root)
    assert read(root).keys == ("a/2.png", "b/1.png")


def test_keys_are_the_same_on_file_systems_that_decompose_letters(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "rosé.png") for form in ("NFC", "NFD"))
    describe(paint(tmp_path, decomposed, "b.png"), {"file_name": composed, "text": "a rosé"})
    whole = read(tmp_path)
    assert whole.keys == ("b.png", composed)
    assert whole.captions == ("", "a rosé")


def test_a_large_folder_is_the_same_each_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(60):
        side = int(rng.integers(4, 40))
        Image.fromarray(rng.integers(0, 256, (side, side + i, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    one, other = read(tmp_path, size=8), read(tmp_path, size=8)
    assert one.fingerprint() == other.fingerprint()
    assert one.keys == other.keys


def test_memory_of_decoding_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, after the last picture; for real it changes nothing that can be seen here (benchmarks/reliability.py)."""
    for k in range(2):
        Image.new("L", (8, 8), 50 * k).save(tmp_path / f"{k}.png")
    memory.give_back()
    calls: list[int] = []
    monkeypatch.setattr(folder, "give_back", lambda: calls.append(1))
    read(tmp_path, size=8)
    assert calls == [1]


def test_captions_stand_in_text_files_of_the_images_names(tmp_path: Path) -> None:
    paint(tmp_path, "a.png", "b.png", "c.jpg", "d/e.png", "f.png", "g.png")
    texts = {
        "a.txt": "\ufeffa red square\r\n\r\n  a square \n",
        "a.caption": "not this one",
        "b.png.txt": "of its whole name",
        "b.txt": "not this one either",
        "c.txt": "not where the metadata have one",
        "d/e.caption": "in a folder",
        "f.txt": " \n",
        "readme.txt": "of no image",
        "g.txt": "x" * 70_000,
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    describe(tmp_path, {"file_name": "c.jpg", "text": "described"}, {"file_name": "b.png", "label": "one"})
    whole = read(tmp_path)
    assert whole.captions == ("a red square\na square", "of its whole name", "described", "in a folder", "", "")
    assert "captions of 4 are read from text files of their names" in whole.notes
    assert "2 of 6 images have no caption" in whole.notes
    assert [item.path for item in whole.skipped] == ["a.caption", "b.txt", "g.txt", "readme.txt"]
    assert any(note.startswith("1 text files are not used: the metadata have captions") for note in whole.notes)


def test_a_caption_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    paint(tmp_path, "a.png", "b.png")
    (tmp_path / "a.txt").write_bytes("Ærø".encode("latin-1"))
    refusal(tmp_path, f"{tmp_path / 'a.txt'}: is not UTF-8, as captions are; save it as UTF-8")
