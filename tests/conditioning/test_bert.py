"""BERT without transformers: its states and its tokens are that library's own."""

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sumi.conditioning.bert import BertTokens, read_bert
from sumi.conditioning.frozen_encoder import FrozenEncoderConfig
from sumi.errors import InputError
from tests.text_encoders import SIZES, WORDS, folder_with

transformers = pytest.importorskip("transformers")
PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "##dish", "caf", "##e", "square", ",", "日", "##s")
TEXTS = ("A reddish  square, squares", "", "café 日本 zzz", "red " * 30, "[MASK] red")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("act", ["gelu", "gelu_new", "relu"])
def test_states_are_those_of_transformers_with_padding_and_without(act: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {**SIZES, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = transformers.BertConfig(
        vocab_size=40, max_position_embeddings=20, hidden_act=act, layer_norm_eps=1e-3, initializer_range=0.5, **sizes
    )
    model = transformers.BertModel(config).eval()
    for parameter in model.parameters():  # norms and offsets, which begin as 1 and 0
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(tmp_path)
    ids = torch.randint(0, 40, (3, 12))
    mask = (torch.arange(12) < torch.tensor([12, 7, 1])[:, None]).long()
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=mask).last_hidden_state
    found = read_bert(tmp_path)(ids, mask)
    torch.testing.assert_close(found[mask.bool()], expected[mask.bool()], rtol=0, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in read_bert(tmp_path).parameters())

    file = tmp_path / "model.safetensors"  # as older files name them: with a head, and with gamma and beta
    weights = {f"bert.{name}": weight for name, weight in load_file(file).items()} | {"cls.bias": torch.zeros(3)}
    save_file({n.replace("LayerNorm.weight", "LayerNorm.gamma"): weight for n, weight in weights.items()}, file)
    assert torch.equal(read_bert(tmp_path)(ids, mask), found)


@pytest.mark.parametrize("lower", [True, False])
def test_tokens_of_a_vocabulary_are_those_of_transformers(lower: bool, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lower}))
    own = BertTokens(tmp_path)
    library = transformers.BertTokenizer.from_pretrained(tmp_path, do_lower_case=lower)
    assert own.special == set(library.all_special_ids)
    assert own.padding == library.pad_token_id
    for text in TEXTS:
        for most in (None, 8):
            cut = {} if most is None else {"truncation": True, "max_length": most}
            found, read = library(text, return_offsets_mapping=True, **cut), own.read(text, most)
            assert read == (found["input_ids"], found.word_ids(), found["offset_mapping"]), text
    library.save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / "vocab.txt").unlink(missing_ok=True)
    assert [BertTokens(tmp_path / "saved").read(text) for text in TEXTS] == [own.read(text) for text in TEXTS]


def test_a_folder_is_read_without_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_with("bert", tmp_path / "bert")
    other = folder_with("t5", tmp_path / "t5")
    monkeypatch.setitem(sys.modules, "transformers", None)
    encoder = FrozenEncoderConfig(str(folder), length=9).build()
    states, _ = encoder.states(encoder.tokens(["a red square"]))
    assert states[0, :5].abs().sum(1).min() > 1
    with pytest.raises(InputError, match="needs transformers"):
        FrozenEncoderConfig(str(other)).build()
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(InputError, match="needs tokenizers"):
        BertTokens(folder)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"hidden_size": 30}, "size mismatch"),
        ({"num_hidden_layers": 3}, "has no weights layers.2"),
        ({"num_attention_heads": 5}, "is not a multiple of 5 heads"),
        ({"hidden_size": None}, "cannot be read"),
        ({"vocab_size": len(WORDS) - 1}, "size mismatch"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused_in_one_line(change: dict[str, object], why: str, tmp_path: Path) -> None:
    folder = folder_with("bert", tmp_path / "bert")
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(InputError, match=rf"^encoder.source: .*{why}") as found:
        FrozenEncoderConfig(str(folder)).build()
    assert "\n" not in str(found.value)


def test_damaged_files_are_refused_in_one_line(tmp_path: Path) -> None:
    for name, why in (
        ("config.json", "is not valid JSON"),
        ("tokenizer.json", "cannot be read"),
        ("model.safetensors", "cannot be read"),
    ):
        folder = folder_with("bert", tmp_path / name)
        (folder / name).write_bytes((folder / name).read_bytes()[:-20])
        with pytest.raises(InputError, match=why):
            FrozenEncoderConfig(str(folder)).build()
    folder = folder_with("bert", tmp_path / "neither")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"has no tokenizer.json or vocab.txt"):
        FrozenEncoderConfig(str(folder)).build()
