"""Tables of words: the rows of the file, its unknown words by name, and one line for a file that is none."""

import sqlite3
from pathlib import Path

import pytest
import torch

from sumi.conditioning.encoder_files import cache_of
from sumi.conditioning.text import TextConditioner, TextConditioning
from sumi.conditioning.word_table import TableConfig, WordTable
from sumi.errors import InputError
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load
from sumi.training_run import train
from tests.coloured import coloured

ROWS = {
    "Red": (9.0, 9.0, 9.0),
    "red": (1.0, 2.0, 3.0),
    "RED": (8.0, 8.0, 8.0),
    "Blue": (-1.0, 0.5, 4.0),
    "square": (0.0, 1.0, -1e-3),
    "disc": (2.0, 0.0, 5.0),
    ",": (7.0, 7.0, 6.0),
}
GLOVE = "\n".join(f"{word} {' '.join(map(str, numbers))}" for word, numbers in ROWS.items()) + "\n"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def table(place: Path, text: str = GLOVE, length: int = 6) -> WordTable:
    place.write_text(text, newline="")
    return TableConfig(str(place), length=length).build()


def rows(*words: str) -> torch.Tensor:
    return torch.tensor([ROWS[word] for word in words])


@pytest.mark.parametrize(
    "text",
    [GLOVE, f"{len(ROWS)} 3\n{GLOVE}", GLOVE.replace("\n", " \n"), GLOVE.replace("\n", "\r\n") + "\r\n"],
    ids=["glove", "word2vec", "spaces at the end", "other line ends"],
)
def test_states_are_the_rows_of_the_words_and_their_mean_is_pooled(text: str, tmp_path: Path) -> None:
    encoder = table(tmp_path / "words.txt", text)
    assert encoder.width == 3
    ids = encoder.tokens(["RED square, blue", "a zorp disc", "a zorp", ""])
    states = encoder.states(ids)
    assert torch.equal(states[0, :4], rows("red", "square", ",", "Blue"))
    assert torch.equal(states[1, :1], rows("disc"))
    assert (ids != 0).sum(1).tolist() == [4, 1, 1, 1]
    assert torch.equal(ids[2], ids[3])  # of unknown words alone there is no text
    assert not states[2:].any()

    encoder.norm = torch.nn.Identity()
    conditioner = TextConditioner(encoder, 3)
    conditioner.pooled = torch.nn.Identity()
    condition = conditioner.parse("a (red:3) square", range(1))
    expected = (3 * rows("red") + rows("square")) / 4
    torch.testing.assert_close(conditioner(condition).vector, expected, rtol=0, atol=1e-6)
    encoded = encoder(ids)
    torch.testing.assert_close(encoded.pooled[0], rows("red", "square", ",", "Blue").mean(0), rtol=0, atol=1e-6)
    assert torch.equal(conditioner(conditioner.null(torch.zeros(1, 3))).vector, torch.zeros(1, 3))


def test_a_prompt_whose_words_are_all_hidden_is_the_empty_text(tmp_path: Path) -> None:
    conditioner = TextConditioner(table(tmp_path / "words.txt"), 3)
    conditioner.pooled = torch.nn.Identity()
    alone = conditioner(conditioner.parse("(red:0)", range(1)))
    assert torch.equal(alone.vector, torch.zeros(1, 3))
    among = conditioner(conditioner.parse(["(red:0) (blue:0)", "a square"], range(2)))
    assert torch.equal(among.vector[:1], alone.vector)
    half = conditioner(conditioner.parse("(red:0) ~0.5 square", range(1)))
    torch.testing.assert_close(half.vector, among.vector[1:] / 2, rtol=0, atol=1e-6)


def test_unknown_words_are_named_and_have_no_token(tmp_path: Path) -> None:
    encoder = table(tmp_path / "words.txt", length=2)
    assert encoder.unknown("A Zorp red, a yak BLUE") == ("a", "zorp", "yak")
    assert encoder.spans("a zorp  Red") == [(0, []), (2, []), (8, [3])]
    assert encoder.shortened("a red zorp square disc yak") == "a red zorp square"
    with pytest.raises(InputError, match="has 3 tokens; this model takes 2"):
        TextConditioner(encoder, 8).parse("red zorp square disc", range(1))


def test_words_with_spaces_and_words_that_come_twice_are_read(tmp_path: Path) -> None:
    """As GloVe of 840 billion words has them; the first of two counts."""
    encoder = table(tmp_path / "words.txt", "red 1 2\n. . 3 4\nred 5 6\nblue\u00a0 7 8\n")
    assert torch.equal(encoder.states(encoder.tokens(["red"]))[0, 0], torch.tensor([1.0, 2.0]))
    assert encoder.unknown("blue") == ("blue",)


def test_the_file_is_read_once_and_what_was_begun_is_made_anew(tmp_path: Path) -> None:
    place = tmp_path / "words.txt"
    encoder = table(place)
    cached = cache_of(encoder.config.weights)
    with sqlite3.connect(cached) as database:
        database.execute("UPDATE words SET row = 0 WHERE word = 'disc'")
    again = TableConfig(str(place)).build()
    assert torch.equal(again.states(again.tokens(["disc"]))[0, 0], rows("Red")[0])
    cached.unlink()
    assert torch.equal(again.states(again.tokens(["square"]))[0, :1], rows("square"))

    with pytest.raises(InputError, match="line 2"):
        table(tmp_path / "other.txt", "red 1 2\nblue 1 x\n")
    assert not any(file.stat().st_size for file in cached.parent.iterdir() if file != cached)
    cached.write_bytes(b"no database" * 100)
    with pytest.raises(InputError, match=r"sqlite: cannot be used \(.*\); delete it"):
        TableConfig(str(place)).build()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has no words; download"),
        ("3 2\nred 1 2\nblue 3 4\n", "begins with 3 words and has 2; download it again"),
        ("red 1 2\nblue 3\n", r"line 2, has 1 numbers after its word, where others have 2; give lines of a word"),
        ("red 1 2\nblue 3 4 5\n", r"line 2, has 3 numbers after its word, where others have 2"),
        ("red 1 2\nblue 3 four\n", "line 2, has what is no number"),
        ("red 1 2\nblue 3 nan\n", "line 2, has a number that is not finite"),
        ("red 1 2\nblue 3 1e99\n", "line 2, has a number that is not finite"),
        ("red\nblue\n", "line 1, has 0 numbers"),
    ],
)
def test_a_file_that_is_no_table_is_refused_in_one_line(text: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"^encoder.source: .*words.txt.*{why}") as found:
        table(tmp_path / "words.txt", text)
    assert "\n" not in str(found.value)


def test_what_is_no_text_file_is_refused(tmp_path: Path) -> None:
    for source, why in (("", "is missing"), (str(tmp_path), "is no file"), (str(tmp_path / "none"), "is no file")):
        with pytest.raises(InputError, match=rf"^encoder.source: .*{why}"):
            TableConfig(source).build()
    (tmp_path / "words.bin").write_bytes(b"2 2\nred \xff\xfe\x00\x81blue \x00")
    with pytest.raises(InputError, match="is not text in UTF-8; unpack it"):
        TableConfig(str(tmp_path / "words.bin")).build()


def test_a_run_names_its_table_and_refuses_another(tmp_path: Path) -> None:
    place, out = tmp_path / "words.txt", tmp_path / "run"
    place.write_text(GLOVE + "a 0.1 0.2 0.3\n")
    settings = ["network.width=32", "network.blocks=1", "network.patch=4", "network.embedding=32"]
    settings += ["conditioning.encoder=table", f"conditioning.encoder.source={place}", "sampling.steps=2"]
    settings += ["training.batch_size=4", "training.sample_every=0"]
    train("text-to-image", data=coloured(2), out=out, steps=4, settings=settings)
    model = load(out, DiffusionModel)
    one, other, shuffled = (model.sample(1, prompt=text, seed=1) for text in ("red disc", "blue disc", "zorp red disc"))
    assert torch.equal(one, shuffled)
    assert not torch.equal(one, other)
    assert model.text is not None
    assert model.text.unknown(["a zorp disc"]) == ("zorp",)
    assert [name for name, _ in model.text.encoder.named_parameters()] == ["norm.weight", "norm.bias"]
    place.write_text(GLOVE)
    with pytest.raises(InputError, match="has other files than the run was trained with"):
        load(out)
    place.unlink()
    with pytest.raises(InputError, match=r"^encoder.source: .*/words.txt is gone, .*put them back"):
        load(out)


SMALL = ["network.width=32", "network.blocks=1", "network.patch=4", "network.embedding=32", "sampling.steps=2"]
SMALL += ["training.batch_size=4", "training.sample_every=0", "conditioning.encoder=table"]


def test_a_relative_path_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is kept as an absolute one, and given again it is the same."""
    (tmp_path / "words.txt").write_text(GLOVE)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    settings, out = [*SMALL, "conditioning.encoder.source=words.txt"], tmp_path / "run"
    train("text-to-image", data=coloured(1), out=out, steps=1, settings=settings)
    train("text-to-image", data=coloured(1), out=out, steps=2, settings=settings, resume=True)
    monkeypatch.chdir("elsewhere")
    text = load(out, DiffusionModel).config.condition("text")
    assert isinstance(text, TextConditioning)
    assert isinstance(text.encoder, TableConfig)
    assert text.encoder.source == str(tmp_path / "words.txt")
    train("text-to-image", data=coloured(1), out=out, steps=3, resume=True)
    settings[-1] = "conditioning.encoder.source=../words.txt"
    assert train("text-to-image", data=coloured(1), out=out, steps=4, settings=settings, resume=True).step == 4


def test_a_run_that_kept_its_path_as_typed_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights are known by that; it is loaded from its folder, and resumed by either path."""
    (tmp_path / "words.txt").write_text(GLOVE)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    settings, out = [*SMALL, "conditioning.encoder.source=words.txt"], tmp_path / "run"
    with monkeypatch.context() as before:
        before.setattr(TableConfig, "place", property(lambda config: config.source))
        train("text-to-image", data=coloured(1), out=out, steps=1, settings=settings)
    for steps, source in enumerate(("words.txt", str(tmp_path / "words.txt")), 2):
        settings[-1] = f"conditioning.encoder.source={source}"
        train("text-to-image", data=coloured(1), out=out, steps=steps, settings=settings, resume=True)
        assert '"source": "words.txt"' in (out / "config.json").read_text()
    assert load(out, DiffusionModel).step == 3
    monkeypatch.chdir("elsewhere")
    with pytest.raises(InputError, match=r"^encoder.source: words.txt is gone, .*run from the folder where it was"):
        load(out)
