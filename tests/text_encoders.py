"""Tiny text encoders in Hugging Face's format."""

from pathlib import Path

import pytest
import torch

transformers = pytest.importorskip("transformers")
WORDS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "red", "blue", "square", "disc", "grey", "number", *"012345")
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
ENCODERS = {
    "bert": lambda: transformers.BertModel(
        transformers.BertConfig(vocab_size=len(WORDS), max_position_embeddings=20, **SIZES)
    ),
    "clip": lambda: transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=len(WORDS), max_position_embeddings=20, bos_token_id=1, eos_token_id=2, pad_token_id=0, **SIZES
        )
    ),
    "projected": lambda: transformers.CLIPTextModelWithProjection(
        transformers.CLIPTextConfig(
            vocab_size=len(WORDS),
            max_position_embeddings=20,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
            projection_dim=20,
            **{**SIZES, "hidden_size": 24},
        )
    ),
    "t5": lambda: transformers.T5EncoderModel(
        transformers.T5Config(vocab_size=len(WORDS), d_model=32, d_kv=16, d_ff=48, num_layers=2, num_heads=2)
    ),
    "mt5": lambda: transformers.MT5EncoderModel(
        transformers.MT5Config(vocab_size=len(WORDS), d_model=32, d_kv=16, d_ff=48, num_layers=2, num_heads=2)
    ),
    "roberta": lambda: transformers.RobertaModel(
        transformers.RobertaConfig(vocab_size=len(WORDS), max_position_embeddings=13, pad_token_id=0, **SIZES)
    ),
}
OTHERS = {
    "bart": lambda: transformers.BartModel(
        transformers.BartConfig(
            vocab_size=len(WORDS),
            d_model=32,
            encoder_layers=1,
            decoder_layers=1,
            encoder_ffn_dim=32,
            decoder_ffn_dim=32,
        )
    ),
}
"""Models that are more than an encoder of text."""


def folder_with(kind: str, place: Path, pad: str = "[PAD]") -> Path:
    """A random encoder, and tokens that are words; T5's texts have no start."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokens = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    single = "$A [SEP]" if kind == "t5" else "[CLS] $A [SEP]"
    tokens.post_processor = processors.TemplateProcessing(single=single, special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    names = {"pad_token": pad, "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokens, **names).save_pretrained(place)
    torch.manual_seed(0)
    (ENCODERS | OTHERS)[kind]().save_pretrained(place)
    return place
