"""DINOv2 and CLIP from folders: tiny ones, made here with random weights, give what `transformers` itself gives."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sumi.errors import InputError
from sumi.metrics.features.hugging_face import read_preprocessing
from sumi.metrics.features.open import open_space

transformers = pytest.importorskip("transformers")
CPU = torch.device("cpu")
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of each kind, as `save_pretrained` writes it."""
    root = tmp_path_factory.mktemp("models")
    vision = {**SMALL, "image_size": 32, "patch_size": 8, "intermediate_size": 32, "projection_dim": 12}
    text = {**SMALL, "vocab_size": 100, "intermediate_size": 32, "bos_token_id": 1, "eos_token_id": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        models = {
            "dino": transformers.Dinov2Model(transformers.Dinov2Config(**SMALL, image_size=28, patch_size=14)),
            "clip": transformers.CLIPModel(
                transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
            ),
        }
    for name, model in models.items():
        model.eval().save_pretrained(root / name)
    write(root / "dino", {"size": {"shortest_edge": 32}, "crop_size": {"height": 28, "width": 28}})
    write(root / "clip", {"size": 32, "crop_size": 32})
    return {name: root / name for name in models}


def write(folder: Path, changes: dict[str, Any]) -> None:
    condition = {
        "do_resize": True,
        "do_center_crop": True,
        "do_rescale": True,
        "do_normalize": True,
        "image_mean": [0.4, 0.5, 0.6],
        "image_std": [0.2, 0.3, 0.4],
        "resample": 3,
        "rescale_factor": 1 / 255,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(condition | changes))


def images(count: int = 3) -> Tensor:
    """Without black beside white: see the test of the preparation against Pillow."""
    source = np.random.default_rng(1).integers(80, 176, size=(count, 3, 40, 48))
    return torch.from_numpy(source).float() / 127.5 - 1


def prepared(folder: Path) -> Tensor:
    """By the processor of `transformers`, which takes Pillow's images."""
    from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

    processor = BitImageProcessorPil.from_pretrained(folder)
    pixels = ((images() + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    return processor([Image.fromarray(image) for image in pixels], return_tensors="pt")["pixel_values"]


def test_features_of_dino_are_its_class_token(folders: dict[str, Path]) -> None:
    """Up to the rounding of pixels to whole numbers, half of 1/255, on the way of `transformers`."""
    space = open_space(str(folders["dino"]), CPU)
    assert space is not None
    model = transformers.Dinov2Model.from_pretrained(folders["dino"]).eval()
    found = space.features(images())
    with torch.no_grad():
        exact = model(pixel_values=read_preprocessing(folders["dino"] / "preprocessor_config.json")(images()))
        rounded = model(pixel_values=prepared(folders["dino"]))
    torch.testing.assert_close(found, exact.last_hidden_state[:, 0].double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(found, rounded.pooler_output.double(), rtol=0, atol=0.02)
    assert found.std(0).mean() > 0.05  # so that 0.02 says something
    assert space.space.dimension == 16
    assert space.space.name == "DINOv2 of dino"
    assert space.classes_of(found) is None


def test_features_of_clip_are_its_image_embeddings(folders: dict[str, Path]) -> None:
    space = open_space(str(folders["clip"]), CPU)
    assert space is not None
    model = transformers.CLIPModel.from_pretrained(folders["clip"]).eval()
    seen = read_preprocessing(folders["clip"] / "preprocessor_config.json")(images())
    with torch.no_grad():
        expected = model.visual_projection(model.vision_model(pixel_values=seen).pooler_output)
    torch.testing.assert_close(space.features(images()), expected.double(), rtol=0, atol=1e-5)
    assert space.space.dimension == 12


def test_the_hash_is_of_the_weights_and_of_the_preparation(folders: dict[str, Path], tmp_path: Path) -> None:
    def opened(change: dict[str, Any], name: str) -> str:
        copy = tmp_path / name
        copy.mkdir()
        for file in ("config.json", "model.safetensors"):
            (copy / file).symlink_to(folders["dino"] / file)
        write(copy, {"size": {"shortest_edge": 32}, "crop_size": {"height": 28, "width": 28}} | change)
        space = open_space(str(copy), CPU)
        assert space is not None
        return space.space.sha256

    own = open_space(str(folders["dino"]), CPU)
    assert own is not None
    assert opened({}, "same") == own.space.sha256
    assert opened({"resample": 2}, "bilinear") != own.space.sha256


def test_what_is_no_such_model_is_refused_in_one_line(folders: dict[str, Path], tmp_path: Path) -> None:
    def refused(words: str) -> None:
        with pytest.raises(InputError, match=words) as error:
            open_space(str(tmp_path), CPU)
        assert "\n" not in str(error.value)

    refused("config.json: no such file")
    (tmp_path / "config.json").write_text("{")
    refused("no JSON")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    refused("is of a 'bert' model; give a folder of DINOv2 or CLIP")
    (tmp_path / "config.json").write_bytes((folders["dino"] / "config.json").read_bytes())
    refused("preprocessor_config.json: no such file")
    for change, words in (
        ({"do_rescale": False}, "has preprocessing other than"),
        ({"rescale_factor": 1}, "has preprocessing other than"),
        ({"resample": 0}, "has preprocessing other than"),
        ({"size": {"longest_edge": 8}}, "are not numbers of pixels"),
        ({"size": 20, "crop_size": 28}, "crops .28, 28. from images of 20"),
    ):
        write(tmp_path, {"size": 32, "crop_size": 28} | change)
        refused(words)
    write(tmp_path, {"size": 32, "crop_size": 28})
    refused("cannot be read")
    weights = (folders["dino"] / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[:-100])
    refused("cannot be read")


def test_weights_that_are_missing_are_not_made_up(folders: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folders["dino"] / "model.safetensors")
    del tensors["layernorm.weight"]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_bytes((folders["dino"] / "config.json").read_bytes())
    write(tmp_path, {"size": 32, "crop_size": 28})
    with pytest.raises(InputError, match=r"'layernorm.weight' and 0 more weights are missing"):
        open_space(str(tmp_path), CPU)


def test_without_transformers_the_way_to_it_is_named(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"pip install 'sumi\[features\]'"):
        open_space(str(folders["dino"]), CPU)
