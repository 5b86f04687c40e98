"""A table of words as a text encoder: GloVe (Pennington et al. 2014), and word2vec (Mikolov et al. 2013) as text.

A line is a word and its numbers; word2vec's first line says how many words there are, and of how many numbers. The
state of a word is its row, whatever stands around it. A word that the table lacks has no token, and counts nowhere; a
text of such words alone is the empty text, whose state is zeros. Words are read as `words_of` cuts them, in lower case;
of a table with capitals, "red" is its row for "red", else the first for "Red" or "RED".

The table is never trained. A run names it by its path and the sha256 of its file, as other encoders that are taken as
they are, and a norm with weights of its own is trained after it. What it says of each word is kept as a database under
that sha256, made when the table is first read, so that no more than the words of the captions is ever in memory.
"""

import math
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import torch
from torch import Tensor, nn

from sumi.conditioning.encoder_files import absolute, cache_of, gone, same, sha256_of, unusable
from sumi.conditioning.text_encoder import EncodedText, TextEncoder
from sumi.conditioning.tokens import PADDING, START, words_of
from sumi.errors import InputError

FIRST: Final = START + 1
"""The token of the first row."""
WIDEST: Final = 4096


@dataclass(frozen=True)
class TableConfig:
    """Vectors of words, from a text file."""

    name: ClassVar[str] = "table"

    source: str = field(
        default="", metadata={"help": "text file of a word and its numbers a line: GloVe, or word2vec as text"}
    )
    length: int = field(default=48, metadata={"most": 1024, "help": "most words of a text, 1 or more"})
    weights: str = field(default="", metadata={"help": "sha256 of the file that it was trained with; not to be set"})

    def __post_init__(self) -> None:
        if self.length < 1:
            raise InputError(f"encoder.length: {self.length} is too few; give 1 or more")

    @property
    def place(self) -> str:
        """The absolute path of the file."""
        return absolute(self.source)

    def found(self) -> "TableConfig":
        """With the sha256 of the file; its path is made absolute when that is first found, and stays.

        Raises InputError where there is none, or another than was trained with.
        """
        if not self.source:
            raise InputError("encoder.source: is missing; give the text file of a table, such as glove.6B.100d.txt")
        file = Path(self.place)
        if not file.is_file():
            if self.weights:
                raise gone(self.source, self.weights)
            raise InputError(f"encoder.source: {file} is no file; give the text file of a table of words")
        source = self.source if self.weights else self.place
        return replace(self, source=source, weights=same(file, sha256_of([file]), self.weights))

    def build(self) -> "WordTable":
        """Raises InputError as `found`, and for a file that is no table."""
        return WordTable(self.found())


class WordTable(TextEncoder):
    """See the module docstring. A token is the place of a row, from `FIRST`."""

    def __init__(self, config: TableConfig) -> None:
        super().__init__()
        self.config, self.length = config, config.length
        self._tokens: dict[str, int | None] = {}
        self._rows: dict[int, Tensor] = {}
        with closing(self._database()) as database:
            (self.width,) = database.execute("SELECT width FROM whole").fetchone()
        self.norm = nn.LayerNorm(self.width)

    def _database(self) -> sqlite3.Connection:
        """The table, to be asked for words; made of the file where it is not yet."""
        file = cache_of(self.config.weights)
        try:
            database = sqlite3.connect(file, timeout=600, isolation_level=None)
            try:
                if not _is_whole(database):
                    database.execute("BEGIN IMMEDIATE")  # of two that begin, the second waits and finds it made
                    if not _is_whole(database):
                        _fill(database, Path(self.config.place))
                    database.execute("COMMIT")
            except BaseException:
                database.close()  # and nothing of what was begun is kept
                raise
        except sqlite3.Error as error:
            raise unusable(file, error) from None
        return database

    def fit(self, captions: Iterable[str]) -> None:
        del captions

    def unknown(self, text: str) -> tuple[str, ...]:
        """The words of ``text`` that the table lacks, in order, each once."""
        words = dict.fromkeys(word.strip() for _, word in words_of(text))
        return tuple(word for word in words if self._token(word) is None)

    def same_tokens(self, other: TextEncoder) -> bool:
        match other:
            case WordTable(config=config):
                return config.weights == self.config.weights
            case _:
                return False

    def _token(self, word: str) -> int | None:
        if word not in self._tokens:
            with closing(self._database()) as database:
                found = database.execute("SELECT row FROM words WHERE word = ?", (word,)).fetchone()
            self._tokens[word] = None if found is None else FIRST + found[0]
        return self._tokens[word]

    @property
    def around(self) -> tuple[int, int]:
        return 0, 0

    def spans(self, text: str) -> list[tuple[int, list[int]]]:
        tokens = [(begin, self._token(word.strip())) for begin, word in words_of(text)]
        return [(begin, [] if token is None else [token]) for begin, token in tokens]

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """int64 (B, length): the rows of the words that the table has, `START` of a text without any."""
        ids = torch.full((len(texts), self.length), PADDING, dtype=torch.int64)
        for row, text in zip(ids, texts, strict=True):
            found = [token for _, word in self.spans(text) for token in word][: self.length] or [START]
            row[: len(found)] = torch.tensor(found)
        return ids

    def states(self, ids: Tensor) -> Tensor:
        """The rows of the table, float32 (B, L, D) of ids (B, L), 0 at padding and of the empty text; on the CPU."""
        different, places = ids.unique(return_inverse=True)
        missing = [token for token in different.tolist() if token >= FIRST and token not in self._rows]
        if missing:
            with closing(self._database()) as database:
                for token in missing:
                    (row,) = database.execute("SELECT numbers FROM rows WHERE row = ?", (token - FIRST,)).fetchone()
                    self._rows[token] = torch.from_numpy(np.frombuffer(row, np.float32).copy())
        nothing = torch.zeros(self.width)
        return torch.stack([self._rows.get(token, nothing) for token in different.tolist()])[places]

    def forward(self, ids: Tensor) -> EncodedText:
        mask, found = map(self.placed, (ids != PADDING, self.states(ids)))
        states = self.norm(found)
        counted = mask[..., None].to(states)
        return EncodedText(states, mask, (states * counted).sum(1) / counted.sum(1))


def _is_whole(database: sqlite3.Connection) -> bool:
    return bool(database.execute("SELECT name FROM sqlite_master WHERE name = 'whole'").fetchone())


def _fill(database: sqlite3.Connection, file: Path) -> None:
    """Put the table of a ``file`` into a database. Raises InputError for a file that is none."""
    for table in ("whole (width INTEGER)", "words (word TEXT PRIMARY KEY, row INTEGER) WITHOUT ROWID"):
        database.execute(f"CREATE TABLE {table}")
    database.execute("CREATE TABLE rows (row INTEGER PRIMARY KEY, numbers BLOB)")
    width, lower = 0, list[tuple[str, int]]()
    for row, (word, numbers) in enumerate(_rows(file)):
        width = len(numbers)
        database.execute("INSERT INTO rows VALUES (?, ?)", (row, numbers.tobytes()))
        database.execute("INSERT OR IGNORE INTO words VALUES (?, ?)", (word, row))
        if word.lower() != word:
            lower.append((word.lower(), row))
    database.executemany("INSERT OR IGNORE INTO words VALUES (?, ?)", lower)
    database.execute("INSERT INTO whole VALUES (?)", (width,))


def _rows(file: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Each word and its numbers, float32 (D,). Raises InputError, which names the line."""
    width, stated, count = 0, -1, 0
    try:
        with file.open(encoding="utf-8", newline="\n") as lines:
            for place, line in enumerate(lines, 1):
                fields = line.rstrip(" \t\r\n").replace("\t", " ").split(" ")
                if place == 1 and len(fields) == 2 and all(one.isdecimal() for one in fields):
                    stated, width = int(fields[0]), int(fields[1])
                    continue
                if fields == [""]:
                    continue
                width = width or len(fields) - 1
                if not 2 <= width <= WIDEST:
                    raise _bad(file, place, f"has {width} numbers after its word")
                own = len(fields) - width  # of a few words of GloVe, which have spaces
                if own < 1 or any(_is_number(one) for one in fields[1:own]):
                    raise _bad(file, place, f"has {len(fields) - 1} numbers after its word, where others have {width}")
                try:
                    with np.errstate(over="ignore"):
                        numbers = np.array(fields[own:], np.float32)
                except ValueError:
                    raise _bad(file, place, "has what is no number") from None
                if not np.isfinite(numbers).all():
                    raise _bad(file, place, "has a number that is not finite")
                count += 1
                yield " ".join(fields[:own]), numbers
    except UnicodeDecodeError:
        raise InputError(
            f"encoder.source: {file} is not text in UTF-8; unpack it, or save word2vec's binary form as text"
        ) from None
    if not count or stated not in (-1, count):
        what = f"begins with {stated:,} words and has {count:,}" if count else "has no words"
        raise InputError(f"encoder.source: {file} {what}; download it again")


def _is_number(text: str) -> bool:
    """Whether it is written in digits: "nan" and "infinity" are words."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _bad(file: Path, place: int, what: str) -> InputError:
    return InputError(f"encoder.source: {file}, line {place}, {what}; give lines of a word and its numbers")
