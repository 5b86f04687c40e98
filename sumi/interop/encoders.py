"""What a U-Net of diffusers that attends to tokens is conditioned on, and back into a folder.

text_encoder                    Stable Diffusion 1 and 2: its states
text_encoder, text_encoder_2    Stable Diffusion XL: the states of both, the summary of the second, and sizes
neither                         states that are given
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sumi.conditioning.frozen_encoder import (
    ENCODER,
    TOKENIZER,
    FrozenEncoderConfig,
    folder_of,
    is_pipeline,
    parts_of,
)
from sumi.conditioning.picture_sizes import NUMBERS, SizesConditioning
from sumi.conditioning.states import StatesConditioning
from sumi.conditioning.text import TextConditioning
from sumi.errors import InputError
from sumi.interop.tensors import read_json

LENGTH: Final = 77
"""Tokens of a text where a pipeline does not say."""
_ADDITION: Final = "addition_embed_type"


@dataclass(frozen=True)
class Attended:
    """The ``conditions`` of a network; the ``width`` of the vector that they make, 0: none; ``notes`` on them."""

    conditions: tuple[TextConditioning | StatesConditioning | SizesConditioning, ...] = ()
    width: int = 0
    notes: tuple[str, ...] = ()


def attended(pipeline: Path, network: Path, config: Mapping[str, Any], sides: tuple[int, int]) -> Attended:
    """What the network of a ``config`` in the folder ``network`` is conditioned on, for pictures of ``sides`` (H, W).

    Raises InputError for what the pipeline lacks, or has of another width.
    """
    width, sized = config.get("cross_attention_dim", 1280), config.get(_ADDITION) is not None
    if sized and (config[_ADDITION] != "text_time" or not is_pipeline(pipeline, two=True)):
        raise InputError(
            f"{network / 'config.json'}: {_ADDITION} {config[_ADDITION]} is known here only of Stable Diffusion XL, "
            "whose texts go through text_encoder and text_encoder_2; give such a whole pipeline"
        )
    if not is_pipeline(pipeline):
        note = f'it attends to states of {width} numbers, which are given as condition={{"states": …}}'
        return Attended((StatesConditioning(width),), notes=(note,))
    tokens = read_json(pipeline / TOKENIZER / "tokenizer_config.json")
    length = int(min(tokens.get("model_max_length", LENGTH), 1024))
    zeros = sized and bool(read_json(pipeline / "model_index.json").get("force_zeros_for_empty_prompt", True))
    encoder = FrozenEncoderConfig(str(pipeline.resolve()), length, two=sized, zeros=zeros).found()
    built = encoder.build()
    if built.width != width:
        raise InputError(
            f"{network / 'config.json'}: it attends to states of {width} numbers, and {ENCODER} has {built.width}; "
            "give a whole pipeline"
        )
    note = f"texts are read by {pipeline / ENCODER}, which stays there: the run is refused without it"
    if not sized:
        return Attended((TextConditioning(encoder),), notes=(note,))
    vector, entering = built.summary_width + NUMBERS, config.get("projection_class_embeddings_input_dim")
    if entering != built.summary_width + NUMBERS * int(config.get("addition_time_embed_dim") or 0):
        raise InputError(
            f"{network / 'config.json'}: projection_class_embeddings_input_dim {entering} is not that of a summary of "
            f"{built.summary_width} numbers and {NUMBERS} sizes; give a whole pipeline of Stable Diffusion XL"
        )
    return Attended((TextConditioning(encoder), SizesConditioning(*sides)), vector, (note,))


def write_encoders(encoder: FrozenEncoderConfig, folder: Path) -> dict[str, Any]:
    """Copies of a pipeline's text encoders and their tokens, and what the index of the new pipeline says of them."""
    pipeline = folder_of(encoder.source)
    index, found = read_json(pipeline / "model_index.json"), dict[str, Any]()
    for part in parts_of(two=encoder.two):
        shutil.copytree(pipeline / part, folder / part)
        found[part] = index[part]
    for part in ("feature_extractor", "image_encoder", *(() if encoder.two else ("safety_checker",))):
        found[part] = [None, None]
    return found | ({"force_zeros_for_empty_prompt": encoder.zeros} if encoder.two else {})
