"""The feature spaces of DINOv2 (Oquab et al. 2023) and CLIP (Radford et al. 2021), in Hugging Face's format.

DINOv2's feature is its class token after the last norm, CLIP's the image's embedding in the space shared with texts.
How images are prepared stands in the folder's ``preprocessor_config.json``.

`transformers` builds the network (the extra ``features``). It is told to stay offline, to read safetensors alone, and
never to fill in weights that are missing.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from torch import Tensor

from sumi.errors import InputError
from sumi.features.pretrained import Preprocessing, PretrainedSpace

DINO: Final = {"dinov2": "Dinov2Model", "dinov2_with_registers": "Dinov2WithRegistersModel"}
CLIP: Final = {"clip": "CLIPVisionModelWithProjection", "clip_vision_model": "CLIPVisionModelWithProjection"}
INTERPOLATIONS: Final = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers


def open_folder(folder: Path, device: torch.device) -> PretrainedSpace:
    """The space of the model in ``folder``: config.json, preprocessor_config.json and model.safetensors.

    Raises InputError where `transformers` is not installed, and where the folder holds no such model.
    """
    try:
        transformers = import_module("transformers")
    except ImportError as error:
        raise InputError(
            f"{folder}: transformers is needed to read it, and not installed; pip install 'sumi[features]', "
            "or use features=learned"
        ) from error
    kind = str(_json(folder / "config.json").get("model_type"))
    if kind not in DINO | CLIP:
        raise InputError(f"{folder / 'config.json'}: is of a {kind!r} model; give a folder of DINOv2 or CLIP")
    seen = read_preprocessing(folder / "preprocessor_config.json")
    try:
        with _quiet():
            config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
            network, found = getattr(transformers, (DINO | CLIP)[kind]).from_pretrained(
                folder,
                config=_of_images(config),
                dtype=torch.float32,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
            )
            network.eval()

            def embed(x: Tensor) -> Tensor:
                answer = network(pixel_values=x)
                return answer.last_hidden_state[:, 0] if kind in DINO else answer.image_embeds

            with torch.no_grad():
                dimension = embed(seen(torch.zeros(1, 3, 8, 8))).shape[1]  # images of a wrong size are refused here
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        what = " ".join(str(error).split())[:200]
        raise InputError(f"{folder}: no model that can be read ({what}); give the folder as it is published") from error
    if found["missing_keys"]:
        raise InputError(
            f"{folder}: {sorted(found['missing_keys'])[0]!r} and {len(found['missing_keys']) - 1} more weights are "
            "missing; give the folder as it is published"
        )
    name = f"{'DINOv2' if kind in DINO else 'CLIP'} of {folder.resolve().name}"
    return PretrainedSpace(name, network, seen, embed, dimension=dimension, device=device)


def read_preprocessing(file: Path) -> Preprocessing:
    """What `transformers` would do to an image. Raises InputError where that cannot be done here."""
    told = _json(file)
    crop: Any = told.get("crop_size") if told.get("do_center_crop", False) else None
    size: Any = told.get("size")
    mean: Any = told.get("image_mean")
    std: Any = told.get("image_std")
    done = all(told.get(f"do_{step}", True) for step in ("resize", "rescale", "normalize"))
    if isinstance(size, dict):
        size = size.get("shortest_edge") or [size.get("height"), size.get("width")]
    elif isinstance(size, int) and crop is None:
        size = [size, size]
    if isinstance(crop, dict):
        crop = [crop.get("height"), crop.get("width")]
    elif isinstance(crop, int):
        crop = [crop, crop]
    interpolation = INTERPOLATIONS.get(told.get("resample", 0))
    exact = abs(told.get("rescale_factor", 1 / 255) * 255 - 1) < 1e-6
    if not (done and exact and interpolation and _numbers(mean, 3) and _numbers(std, 3)):
        raise InputError(
            f"{file}: asks for another preparation than resize, crop, rescale and normalize; not supported"
        )
    least = [size, size] if isinstance(size, int) else size
    if not _numbers(least, 2) or not (crop is None or _numbers(crop, 2)):
        raise InputError(
            f"{file}: size {size}, crop {crop} are no numbers of pixels; give the folder as it is published"
        )
    if crop is not None and (crop[0] > least[0] or crop[1] > least[1]):
        raise InputError(f"{file}: cuts {crop} out of images of {size}; give the folder as it is published")
    cut = None if crop is None else (crop[0], crop[1])
    resized = size if isinstance(size, int) else (size[0], size[1])
    return Preprocessing(resized, cut, interpolation, tuple(mean), tuple(std))


def _numbers(values: Any, count: int) -> bool:
    return isinstance(values, list) and len(values) == count and all(isinstance(v, int | float) for v in values)


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError:
        raise InputError(f"{file}: no such file; give the folder of a model in Hugging Face's format") from None
    except ValueError as error:
        raise InputError(f"{file}: no JSON ({error}); give the folder as it is published") from error
    if not isinstance(found, dict):
        raise InputError(f"{file}: no JSON object; give the folder as it is published")
    return found


def _of_images(config: Any) -> Any:
    """The part of CLIP's configuration that sees images; others as they are."""
    part = getattr(config, "vision_config", None)
    if part is None:
        return config
    part.projection_dim = config.projection_dim
    return part


@contextmanager
def _quiet() -> Iterator[None]:
    """`transformers` says what it loads, and what of the file it leaves out; neither is the reader's concern."""
    logging = import_module("transformers.utils.logging")
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
