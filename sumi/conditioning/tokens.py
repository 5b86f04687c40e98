"""Byte-pair tokens, learned from captions (Sennrich et al. 2016; Radford et al. 2019, on bytes).

A text is cut into words and single signs, in lower case, each with the space before it. A word is its UTF-8 bytes, and
the pairs of neighbours that were most frequent in the captions are merged, the most frequent first. So every text has
tokens, frequent words are one token, and `Tokens.decode` gives the text back, but for capitals and runs of spaces.

    0 padding      1 start      2 … 257 the bytes      258 … the merges, in order
"""

import itertools
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Self

PADDING: Final = 0
START: Final = 1
BYTES: Final = 2
"""The token of byte 0."""
MERGES: Final = BYTES + 256
"""The token of the first merge."""
_WORD: Final = re.compile(r"\w+|[^\w\s]")


def words_of(text: str) -> Iterator[tuple[int, str]]:
    """(where it begins, the word or sign, in lower case, after a space where the text has one or begins)."""
    for found in _WORD.finditer(text):
        begin = found.start()
        space = begin == 0 or text[begin - 1].isspace()
        yield begin, (" " if space else "") + found.group().lower()


@dataclass(frozen=True)
class Tokens:
    """``merges``: pairs of tokens, each of which is a token too; ``words``: all words that the captions have.

    ``names``: (word, its token) of those that were taught later, each of which is one token.
    """

    merges: tuple[tuple[int, int], ...]
    words: frozenset[str]
    names: tuple[tuple[str, int], ...] = ()

    def with_name(self, word: str, token: int) -> "Tokens":
        """With a word of one ``token`` of its own."""
        return Tokens(self.merges, self.words | {word}, (*self.names, (word, token)))

    @classmethod
    def learned(cls, captions: Iterable[str], size: int) -> Self:
        """``size`` tokens, or fewer where the captions have no more pairs; a function of the captions' words alone.

        Of pairs that are equally frequent the one of smaller tokens comes first.
        """
        counts = Counter(word for caption in captions for _, word in words_of(caption))
        spelt = [(_spelt(word), count) for word, count in sorted(counts.items())]
        frequency: Counter[tuple[int, int]] = Counter()
        holding: defaultdict[tuple[int, int], set[int]] = defaultdict(set)

        def count_pairs(index: int, sign: int) -> None:
            symbols, count = spelt[index]
            for pair in itertools.pairwise(symbols):
                frequency[pair] += sign * count
                holding[pair].add(index)

        for index in range(len(spelt)):
            count_pairs(index, 1)
        merges: list[tuple[int, int]] = []
        while len(merges) < size - MERGES and frequency:
            best = min(frequency, key=lambda pair: (-frequency[pair], pair))
            if frequency[best] <= 0:
                break
            for index in sorted(holding.pop(best)):
                count_pairs(index, -1)
                symbols, count = spelt[index]
                spelt[index] = (_merged(symbols, best, MERGES + len(merges)), count)
                count_pairs(index, 1)
            del frequency[best]
            merges.append(best)
        return cls(tuple(merges), frozenset(word.strip() for word in counts))

    @cached_property
    def _ranks(self) -> dict[tuple[int, int], int]:
        return {pair: MERGES + index for index, pair in enumerate(self.merges)}

    @cached_property
    def _known(self) -> dict[str, list[int]]:
        return {space + word: [token] for word, token in self.names for space in ("", " ")}

    def of_word(self, word: str) -> list[int]:
        """The tokens of a word of `words_of`."""
        if word not in self._known:
            symbols = _spelt(word)
            while pairs := self._ranks.keys() & set(itertools.pairwise(symbols)):
                first = min(pairs, key=self._ranks.__getitem__)
                symbols = _merged(symbols, first, self._ranks[first])
            self._known[word] = symbols
        return self._known[word]

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, without the start."""
        return [token for _, word in words_of(text) for token in self.of_word(word)]

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of tokens; bytes that are no UTF-8 are shown as �."""
        return b"".join(map(self._bytes, tokens)).decode("utf-8", "replace").removeprefix(" ")

    def _bytes(self, token: int) -> bytes:
        if (name := {of: word for word, of in self.names}.get(token)) is not None:
            return f" {name}".encode()
        if token >= MERGES:
            first, second = self.merges[token - MERGES]
            return self._bytes(first) + self._bytes(second)
        return bytes([token - BYTES]) if token >= BYTES else b""

    def unknown(self, text: str) -> tuple[str, ...]:
        """The words of ``text`` that no caption has, in order, each once."""
        return tuple(dict.fromkeys(w for w in (word.strip() for _, word in words_of(text)) if w not in self.words))

    def to_json(self) -> str:
        """As text; the inverse of `from_json`."""
        names = [self.names] if self.names else []
        return json.dumps([self.merges, sorted(self.words), *names], ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises ValueError for anything else than `to_json` gives."""
        merges, words, *names = json.loads(text)
        pairs = tuple((word, token) for each in names for word, token in each)
        return cls(tuple((first, second) for first, second in merges), frozenset(words), pairs)


def _spelt(word: str) -> list[int]:
    return [BYTES + byte for byte in word.encode("utf-8", "replace")]


def _merged(symbols: list[int], pair: tuple[int, int], token: int) -> list[int]:
    """``symbols`` with ``token`` in place of each ``pair``, from left to right."""
    result: list[int] = []
    for symbol in symbols:
        if result and (result[-1], symbol) == pair:
            result[-1] = token
        else:
            result.append(symbol)
    return result
