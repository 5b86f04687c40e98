"""The contract of text encoders, and what the own one keeps of its captions."""

import copy

import numpy as np
import pytest
import torch

from sumi.conditioning.text_encoder import LEARNED, OwnEncoder, OwnEncoderConfig
from sumi.conditioning.tokens import PADDING, START
from sumi.errors import InputError

CAPTIONS = ["a red cat", "a blue dog", "a cat and a dog, asleep"]


@pytest.fixture(scope="module")
def encoder() -> OwnEncoder:
    torch.manual_seed(0)
    encoder = OwnEncoderConfig(tokens=300, length=12, width=64).build().eval()
    encoder.fit(CAPTIONS)
    return encoder


def test_shapes(encoder: OwnEncoder) -> None:
    ids = encoder.tokens(["a red cat", "", "a blue dog and so on and so on and so on and so on"])
    found = encoder(ids)
    assert found.states.shape == (3, 12, 64)
    assert found.pooled.shape == (3, 64)
    assert found.mask.sum(1).tolist()[1:] == [1, 12]
    assert ids[:, 0].tolist() == [START] * 3


def test_padding_and_the_other_texts_change_nothing(encoder: OwnEncoder) -> None:
    ids = encoder.tokens(["a red cat", "a cat and a dog, asleep"])
    alone, both = encoder(ids[:1]), encoder(ids)
    count = int(alone.mask.sum())
    short = encoder(ids[:1, :count])
    torch.testing.assert_close(both.states[0, :count], short.states[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(both.pooled[0], short.pooled[0], rtol=0, atol=1e-5)


def test_pooled_is_the_mean_of_the_states_of_tokens(encoder: OwnEncoder) -> None:
    found = encoder(encoder.tokens(["a red cat"]))
    torch.testing.assert_close(found.pooled[0], found.states[0][found.mask[0]].mean(0), rtol=0, atol=1e-6)


def test_the_order_of_words_counts(encoder: OwnEncoder) -> None:
    one, other = encoder(encoder.tokens(["a red cat", "cat red a"])).pooled
    assert float((one - other).detach().norm()) > 1e-3


def test_tokens_come_with_the_weights(encoder: OwnEncoder) -> None:
    other = OwnEncoderConfig(tokens=300, length=12, width=64).build()
    with pytest.raises(InputError, match="learned no tokens yet"):
        other.tokens(["a"])
    other.fit(["something else"])
    other.load_state_dict(encoder.state_dict())
    assert other.vocabulary == encoder.vocabulary == copy.deepcopy(encoder).vocabulary
    assert torch.equal(other.tokens(["a red cat"]), encoder.tokens(["a red cat"]))


def test_spans_say_where_words_begin(encoder: OwnEncoder) -> None:
    spans = encoder.spans("a  red cat")
    assert [begin for begin, _ in spans] == [0, 3, 7]
    ids = [START, *(token for _, word in spans for token in word)]
    assert encoder.tokens(["a  red cat"])[0].tolist() == ids + [PADDING] * (12 - len(ids))


def test_words_are_compressed_where_they_take_more_room_and_too_many_are_refused() -> None:
    random = np.random.default_rng(0)
    words = [random.bytes(4).hex() for _ in range(18_000)]
    encoder, other = (OwnEncoderConfig(tokens=258, width=32, layers=0).build() for _ in range(2))
    encoder.fit(words)
    assert len(encoder.vocabulary.to_json()) > LEARNED
    other.load_state_dict(encoder.state_dict())
    assert other.vocabulary.to_json() == encoder.vocabulary.to_json()
    assert other.unknown(f"{words[0]} yak {words[-1]}") == ("yak",)
    with pytest.raises(InputError, match=r"36,000 different words.* give a frozen encoder"):
        encoder.fit(random.bytes(8).hex() for _ in range(36_000))


@pytest.mark.parametrize(
    ("field", "value"), [("tokens", 257), ("length", 1), ("layers", -1), ("width", 100), ("width", 0)]
)
def test_values_out_of_range_are_refused(field: str, value: int) -> None:
    with pytest.raises(InputError, match=f"encoder.{field}"):
        OwnEncoderConfig(**{field: value})
