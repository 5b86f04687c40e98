"""Symbols: lines of text, columns of tables and whole numbers as sequences, and back."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sumi.data.config import DataConfig
from sumi.data.files import Writing
from sumi.data.load import load, peek
from sumi.data.open import open_data
from sumi.data.symbol_files import holds_texts
from sumi.data.symbols import SymbolDataset, SymbolSpec, pattern_of
from sumi.errors import InputError

WORDS = SymbolSpec(("C", "N", "O"), 4, True)
NUMBERS = SymbolSpec(("3", "10"), 3, False, " ")


@pytest.fixture(scope="module")
def molecules() -> SymbolDataset:
    return load(DataConfig("qm9-smiles"))


def table(folder: Path, name: str = "t.csv") -> Path:
    file = folder / name
    text = "id,text,kind,size,mixed\n0,CON,b,1.5,1\n1,C,a,,x\n2,CC,b,2,3\n"
    file.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return file


def test_strings_are_filled_up_with_ends_and_read_up_to_the_first() -> None:
    values = WORDS.numbers(["CON", "C"], "x")
    assert values.tolist() == [[0, 2, 1, 3], [0, 3, 3, 3]]
    x = torch.from_numpy(values)
    assert WORDS.texts(x) == ["CON", "C"]
    assert WORDS.lengths(x).tolist() == [3, 1]
    assert WORDS.lengths(torch.tensor([[0, 3, 1, 3]])).tolist() == [1]
    assert WORDS.texts(torch.tensor([[0, 3, 1, 4]]), whole_lines=True) == ["C N·"]
    assert (WORDS.levels, WORDS.shape, NUMBERS.levels) == (4, (4,), 2)
    assert NUMBERS.texts(torch.tensor([[1, 0, 1]])) == ["10 3 10"]
    assert NUMBERS.lengths(torch.tensor([[1, 0, 1]])).tolist() == [3]
    for wrong, why in (("CXN", "has X, and the symbols"), ("CCCCC", "has 5 symbols; give at most 4")):
        with pytest.raises(InputError, match=rf"^x: {wrong} {why}"):
            WORDS.numbers([wrong], "x")
    with pytest.raises(InputError, match=r"^x: 3 10 has 2 symbols; give exactly 3"):
        NUMBERS.numbers(["3 10"], "x")


def test_the_molecules_that_come_along(molecules: SymbolDataset) -> None:
    texts = molecules.texts()
    assert (len(texts), len(set(texts)), max(map(len, texts))) == (10_000, 10_000, 27)
    assert (len(molecules.spec.vocabulary), molecules.spec.ends, molecules.columns) == (18, True, ("logp",))
    assert texts[0] == "NC=O"
    assert molecules.column("logp").std() == pytest.approx(0.96, abs=0.1)
    train, held = molecules.split(0.1)
    assert len(train) + len(held) == 10_000
    assert held.column("logp")[0] == molecules.column("logp")[molecules.keys.index(held.keys[0])]
    assert peek(DataConfig("qm9-smiles")) == molecules.spec


def test_a_text_file_is_an_item_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\ufeffab\n\nb\r\ncab\n", "utf-8")
    found = load(DataConfig(str(tmp_path / "a.txt")))
    assert found.texts() == ["ab", "b", "cab"]
    assert found.notes == ("empty lines, left out: 1",)
    assert found.keys[0] == "line/0000000"
    (tmp_path / "b.txt").write_text("ab\nba\n", "utf-8")
    assert load(DataConfig(str(tmp_path / "b.txt"))).spec == SymbolSpec(("a", "b"), 2, False)


def test_long_lines_are_divided(tmp_path: Path) -> None:
    """A text of one line, such as text8, is pieces of it."""
    (tmp_path / "a.txt").write_text("ab" * 300 + "\n" + "abc" * 400 + "\nc\n")
    found = load(DataConfig(str(tmp_path / "a.txt")))
    assert [len(text) for text in found.texts()] == [600, 256, 256, 256, 256, 176, 1]
    assert "".join(found.texts()[1:6]) == "abc" * 400
    assert found.notes == ("lines of more than 1,024 characters, divided into pieces of 256: 1",)


def test_a_folder_of_texts_is_all_their_lines(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "b.txt").write_text("ab\n\nc\n")
    (tmp_path / "deep" / "a.txt").write_text("bc\n")
    found = load(DataConfig(str(tmp_path)))
    assert found.texts() == ["ab", "c", "bc"]
    assert found.keys == ("b.txt/0000000", "b.txt/0000001", "deep/a.txt/0000002")
    Image.new("L", (4, 4)).save(tmp_path / "b.png")  # whose caption b.txt is
    assert not holds_texts(tmp_path)


def test_a_cell_may_be_empty_or_have_line_breaks(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text('text,size\n"ab\ncd",1\n,2\n"a""b",3\n')
    found = load(DataConfig(str(file), column="text"))
    assert found.texts() == ["ab cd", 'a"b']
    assert found.column("size").tolist() == [1, 3]
    assert found.notes == ("rows without a string, left out: 1", "strings with line breaks, which are spaces now: 1")
    file.write_text("text,size\n,2\n,3\n")
    with pytest.raises(InputError, match=r"^data.column: .* has nothing in its column 'text'"):
        load(DataConfig(str(file), column="text"))


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_a_table_gives_strings_classes_and_numbers(tmp_path: Path, name: str) -> None:
    file = table(tmp_path, name)
    found = load(DataConfig(str(file), column="text", labels="kind"))
    assert found.texts() == ["CON", "C", "CC"]
    assert found.label_names == ("a", "b")
    assert found.labels_of(np.arange(3)).tolist() == [1, 0, 1]
    assert found.columns == ("id", "size")  # a column with a word in it is none of numbers
    np.testing.assert_equal(found.column("size"), [1.5, np.nan, 2])
    for config, why in (
        (DataConfig(str(file), column="txt"), r"^data.column: .* has no column 'txt'; did you mean text"),
        (DataConfig(str(file), labels="knd"), r"^data.labels: .* has no column 'knd'"),
        (DataConfig(str(file), size=8), r"^data.size: .* holds symbols, which have none"),
        (DataConfig(str(file), symbols=True), r"^data.symbols: is for arrays"),
    ):
        with pytest.raises(InputError, match=why):
            load(config)


def test_whole_numbers_are_symbols_where_that_is_set(tmp_path: Path) -> None:
    rows = np.array([[10, 3, 3], [3, 3, 10]])
    np.save(tmp_path / "a.npy", rows)
    config = DataConfig(str(tmp_path / "a.npy"), symbols=True)
    found = load(config)
    assert found.spec == peek(config) == NUMBERS
    assert found.texts() == ["10 3 3", "3 3 10"]
    assert open_data(rows, DataConfig("memory", symbols=True)).fingerprint() == found.fingerprint()
    assert load(DataConfig(str(tmp_path / "a.npy"))).spec.name == "vectors"
    np.save(tmp_path / "b.npy", rows / 2)
    with pytest.raises(InputError, match=r"^data.symbols: .*b.npy holds float64 \(2, 3\); give whole numbers"):
        load(DataConfig(str(tmp_path / "b.npy"), symbols=True))


def test_a_list_of_strings_is_data_and_is_read_in_a_models_vocabulary() -> None:
    found = open_data(["CON", "C", "NN"])
    fitted = found.fitted_to(SymbolSpec(("B", "C", "N", "O"), 5, True), "these")
    assert fitted.texts() == found.texts()
    assert fitted.shape == (5,)
    assert found.fitted_to(found.spec, "these") is found
    with pytest.raises(InputError, match=r"^data.source: these: CON has O, and the symbols are C N"):
        found.fitted_to(SymbolSpec(("C", "N"), 5, True), "these")
    with pytest.raises(InputError, match=r"^data.source: swiss-roll has vectors \(2,\), the model makes symbols"):
        load(DataConfig("swiss-roll")).fitted_to(WORDS, "swiss-roll")
    for wrong, why in ((["a", "a"], "all alike"), (["ab", ""], "empty string at 1"), (["a", "b" * 2000], "of 2000 ch")):
        with pytest.raises(InputError, match=why):
            open_data(wrong)


def test_the_fingerprint_is_of_all_that_is_trained_on(molecules: SymbolDataset) -> None:
    base = open_data(["ab", "b", "a"])
    assert base.fingerprint() == open_data(["ab", "b", "a"]).fingerprint()
    assert base.fingerprint() != open_data(["ab", "a", "b"]).fingerprint()
    few = molecules.subset(range(5))
    other = SymbolDataset(few.values, few.spec, few.keys, None, {"logp": -few.column("logp")})
    assert few.fingerprint() != other.fingerprint()


def test_samples_are_written_as_lines(tmp_path: Path) -> None:
    x = torch.from_numpy(WORDS.numbers(["CON", "C"], "x"))
    how = Writing(batch_size=4, title="2", about={"seed": 1})
    assert (
        WORDS.write(tmp_path, lambda _: x, range(2), how)
        == f"{tmp_path / 'samples.txt'} and {tmp_path / 'picture.png'}"
    )
    assert (tmp_path / "samples.txt").read_text() == "CON\nC\n"
    WORDS.write(tmp_path, lambda _: x, range(2), how)
    with pytest.raises(InputError, match=r"picture.png, which was made with other settings"):
        WORDS.write(tmp_path, lambda _: x, range(2), Writing(4, "", {"seed": 2}))
    with pytest.raises(InputError, match=r"^shard: symbols are written as one \.txt"):
        WORDS.write(tmp_path / "b", lambda _: x, range(2), Writing(4, "", {}, shard=(1, 2)))
    states = torch.stack([x.new_full(x.shape, 4), x])
    assert WORDS.strip([1.0, 0.0], states).startswith(b"\x89PNG")
    assert WORDS.animation([1.0, 0.0], states)[8:12] == b"WEBP"


def test_a_pattern_is_known_symbols_unknown_ones_and_what_may_follow() -> None:
    for pattern, values, count in (
        ("C?O", [0, -1, 2, 3], 3),
        ("C?*", [0, -1, -1, -1], 2),
        ("*", [-1] * 4, 0),
        ("CONC", [0, 2, 1, 0], 4),
    ):
        found, symbols = pattern_of(WORDS, pattern)
        assert (found.tolist(), symbols) == (values, count)
    assert pattern_of(NUMBERS, "? 10 3")[0].tolist() == [-1, 1, 0]
    assert pattern_of(WORDS, "C_O", "_")[0].tolist() == [0, -1, 2, 3]
    for pattern, unknown, why in (
        ("CX", "?", "pattern: X has X"),
        ("CCCCC", "?", "pattern: CCCCC has 5 symbols, and the data's have 4"),
        ("", "?", "pattern: '' is no text"),
        ("C", "N", "mask: 'N' is not one character that is none of the data's"),
    ):
        with pytest.raises(InputError, match=f"^{why}"):
            pattern_of(WORDS, pattern, unknown)
    with pytest.raises(InputError, match=r"^pattern: 3 has 1 symbols"):
        pattern_of(NUMBERS, "3")


def test_a_spec_refuses_what_is_no_vocabulary() -> None:
    for vocabulary, ends in ((("a",), False), (("a", "a"), True)):
        with pytest.raises(InputError, match=r"^vocabulary: 1 different symbols"):
            SymbolSpec(vocabulary, 3, ends)


def test_damage_and_open_quotes_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text,n\n"unbalanced,1\n' + "".join(f"row {i},{i}\n" for i in range(30000)))
    with pytest.raises(InputError, match=r"a\.csv is no table \(field larger .*\); look for a quote"):
        load(DataConfig(str(tmp_path / "a.csv")))
    content = bytearray(gzip.compress(b"hello world\nabc def\n" * 500))
    content[30] ^= 255
    (tmp_path / "a.txt.gz").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.txt\.gz cannot be read as text"):
        load(DataConfig(str(tmp_path / "a.txt.gz")))
