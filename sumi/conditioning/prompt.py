"""Prompts: a text, with weights of words, or a blend of two.

    a (red:1.4) robot           the word counts 1.4 times
    a dog ~ a cat               the first sample is of the first text, the last of the second, and those between of both
    a dog ~0.25 a cat           of both, the second counts a quarter: a share follows ~ without a space
    2 eyes ~ 1 eye              the second text is "1 eye": after a space, a number belongs to the text

A token of weight w counts in the softmax of attention as w tokens would: 0 hides it, 2 is as if it stood there twice.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from sumi.errors import InputError

_WEIGHTED: Final = re.compile(r"\(([^()]*):\s*(\d+(?:\.\d+)?|\.\d+)\s*\)")
_BELOW_ZERO: Final = re.compile(r"\([^()]*:\s*-\s*[\d.]+\s*\)")
_BLEND: Final = re.compile(r"~(?:(\d+(?:\.\d+)?|\.\d+)(?![\w.-]))?")
_SHARE_OR_TEXT: Final = re.compile(r"~\s+(0?\.\d+|1\.0+)(?![\w.-])")
LONGEST: Final = 10_000
HEAVIEST: Final = 100.0


@dataclass(frozen=True)
class Part:
    """A text without marks, and (begin, end, weight) of its words that count otherwise than 1."""

    text: str
    weighted: tuple[tuple[int, int, float], ...]

    def weight_at(self, place: int) -> float:
        """How much the word that begins there counts."""
        return next((weight for begin, end, weight in self.weighted if begin <= place < end), 1.0)


@dataclass(frozen=True)
class Prompt:
    """One or two texts, and how much each counts; the shares are 1 in all."""

    parts: tuple[Part, ...]
    shares: tuple[float, ...]


def prompts_of(given: object, count: int) -> list[str]:
    """The prompt of each of ``count`` samples: one text for all, where "~" is resolved, or as many texts.

    Raises InputError for a prompt that is empty or no text, and for another number of them.
    """
    match given:
        case str() as text:
            return _blended(_text(text), count)
        case Iterable():
            texts = [_text(text) for text in given]
        case _:
            raise InputError(f"prompt: {given!r} is no text; give one, or a list of one for each sample")
    if len(texts) != count:
        raise InputError(f"prompt: {len(texts)} are given for {count} samples; give one, or one for each")
    return [_blended(text, 1)[0] for text in texts]


def _text(given: object) -> str:
    match given:
        case str() as text if text.strip():
            pass
        case str():
            raise InputError("prompt: is empty; give a text, or leave it out for samples of no prompt")
        case _:
            raise InputError(f"prompt: {given!r} is no text; give one, or a list of one for each sample")
    if len(text) > LONGEST:
        raise InputError(f"prompt: has {len(text):,} characters; give {LONGEST:,} or fewer")
    return " ".join(readable(text).split())


def readable(text: str) -> str:
    """``text`` with "?" for what is no Unicode: half a surrogate pair, or a byte of another encoding."""
    return text.encode("utf-8", "replace").decode()


def _blended(text: str, count: int) -> list[str]:
    """``count`` prompts: of a blend without a share, from the first text to the second in even steps."""
    found = next(iter(_marks(text)), None)
    if found is None or found[1]:
        return [text] * count
    first, second = _unquoted(text[: found.start()]), _unquoted(text[found.end() :])
    shares = [i / max(1, count - 1) for i in range(count)] if count > 1 else [0.5]
    return [f"{first} ~{Decimal(f'{share:.4g}'):f} {second}" for share in shares]


def _marks(text: str) -> list[re.Match[str]]:
    """Every ~ in ``text``, with its share. Raises InputError where a number may be a share or begin a text."""
    if found := _SHARE_OR_TEXT.search(text):
        raise InputError(
            f"prompt: {found[0]} may be a share or begin a text; write ~{found[1]} for a share, or quotes around a text"
        )
    return list(_BLEND.finditer(text))


def read_prompt(text: str) -> Prompt:
    """Raises InputError for marks that mean nothing, a share above 1 and a weight above `HEAVIEST`."""
    marks = _marks(text)
    if not marks:
        return Prompt((_part(text),), (1.0,))
    (mark, *more), share = marks, float(marks[0][1] or 0.5)
    if more:
        raise InputError(f"prompt: {text[:80]} blends more than two texts; give two, as in: a dog ~ a cat")
    if share > 1:
        raise InputError(
            f"prompt: ~{share:g} is no share; give 0 (the first text) to 1 (the second), or put a space after ~ where "
            "the second text begins with a number"
        )
    texts = _unquoted(text[: mark.start()]), _unquoted(text[mark.end() :])
    if not all(texts):
        raise InputError(f"prompt: {text[:80]} has a text on one side of ~ alone; give two, as in: a dog ~ a cat")
    return Prompt((_part(texts[0]), _part(texts[1])), (1 - share, share))


def _unquoted(text: str) -> str:
    """A side of a blend, of which "a dog" ~ "a cat" has quotes."""
    text = text.strip()
    return text[1:-1].strip() if len(text) > 2 and text[0] == text[-1] == '"' else text


def _part(text: str) -> Part:
    if found := _BELOW_ZERO.search(text):
        raise InputError(f"prompt: {found[0]} counts less than nothing; give 0 or more, or a negative prompt")
    plain, end, weighted = "", 0, list[tuple[int, int, float]]()
    for found in _WEIGHTED.finditer(text):
        weight = float(found[2])
        if weight > HEAVIEST:
            raise InputError(f"prompt: the weight {weight:g} is too large; give 0 to {HEAVIEST:g}, such as 1.4")
        plain += text[end : found.start()]
        weighted.append((len(plain), len(plain) + len(found[1]), weight))
        plain, end = plain + found[1], found.end()
    return Part(plain + text[end:], tuple(weighted))


def of_negative(error: InputError) -> InputError:
    """An ``error`` of a prompt, of one to guide away from."""
    return InputError(f"guidance.negative{str(error).removeprefix('prompt')}")


def without_marks(prompts: Sequence[str]) -> list[str]:
    """The different texts in prompts, without weights and shares."""
    return list(dict.fromkeys(part.text for prompt in dict.fromkeys(prompts) for part in read_prompt(prompt).parts))


def as_text(caption: str) -> str:
    """A caption of data as a prompt that says the same: what would be marks of a prompt is taken out."""
    text = caption.replace("~", " ")
    return text.replace("(", " ") if _WEIGHTED.search(text) or _BELOW_ZERO.search(text) else text


def single_parts(given: object, count: int) -> list[Part]:
    """The text of each of ``count`` samples, for what takes one at a time. Raises InputError for a blend."""
    texts = prompts_of(given, count)
    parts = [read_prompt(text).parts for text in texts]
    for text, each in zip(texts, parts, strict=True):
        if len(each) > 1:
            raise InputError(f"prompt: {text[:80]} blends two texts, and a CLIP takes one; give one of them")
    return [each[0] for each in parts]
