"""Byte-pair tokens: learned by frequency, and back again."""

import pytest

from sumi.conditioning.tokens import BYTES, MERGES, Tokens

CAPTIONS = ["a red cat", "a red dog, asleep", "the cat's red hat", "Ein grüner Hund 🐕"]


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    return Tokens.learned(CAPTIONS, MERGES + 20)


@pytest.mark.parametrize("text", [*(text.lower() for text in CAPTIONS), "", "unseen words, too: 汉字!", "(a) [b]..."])
def test_a_text_comes_back(tokens: Tokens, text: str) -> None:
    assert tokens.decode(tokens.encode(text)) == text


def test_capitals_and_runs_of_spaces_do_not_count(tokens: Tokens) -> None:
    assert tokens.encode("  A RED\n cat ") == tokens.encode("a red cat")


def test_the_most_frequent_pair_is_merged_first_and_the_smaller_of_equals() -> None:
    spelt = [BYTES + ord(letter) for letter in " ab"]
    # " a" 3 times, "ab" 3 times: equal, and " " is the smaller byte
    assert Tokens.learned(["ab ab ab"], MERGES + 1).merges == ((spelt[0], spelt[1]),)
    assert Tokens.learned(["ab ab ab (b)"], MERGES + 2).merges == ((spelt[0], spelt[1]), (MERGES, spelt[2]))
    assert Tokens.learned(["ab x-ab"], MERGES + 1).merges == ((spelt[1], spelt[2]),)


def test_merges_run_out_with_the_pairs() -> None:
    assert len(Tokens.learned(["ab"], 10_000).merges) == 2
    assert Tokens.learned([], 10_000).merges == ()


def test_a_frequent_word_is_one_token(tokens: Tokens) -> None:
    assert [len(tokens.of_word(word)) for word in (" red", " a", " zebra")] == [1, 1, 6]


def test_tokens_are_a_function_of_the_words_and_not_of_their_order(tokens: Tokens) -> None:
    assert Tokens.learned(reversed(CAPTIONS), MERGES + 20) == tokens


def test_words_without_a_caption_are_named_once(tokens: Tokens) -> None:
    assert tokens.unknown("a Red zebra, zebra and a CAT;") == ("zebra", "and", ";")


def test_as_text_and_back(tokens: Tokens) -> None:
    assert Tokens.from_json(tokens.to_json()) == tokens
