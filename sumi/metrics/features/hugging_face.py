"""The feature spaces of DINOv2 (Oquab et al. 2023) and CLIP (Radford et al. 2021), in Hugging Face's format.

DINOv2's feature is its class token after the last norm, CLIP's the image embedding in the space shared with texts. The
folder's ``preprocessor_config.json`` defines the preprocessing.

`transformers` (the extra ``features``) builds the network: offline, from safetensors only, and without initialising
missing weights.
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

from sumi.boundary.files import contents
from sumi.errors import InputError
from sumi.metrics.features.pretrained import Preprocessing, PretrainedSpace

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
            f"{folder}: needs transformers, which is not installed; pip install 'sumi[features]', "
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
                dimension = embed(seen(torch.zeros(1, 3, 8, 8))).shape[1]  # raises for images of a wrong size
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        what = " ".join(str(error).split())[:200]
        raise InputError(f"{folder}: cannot be read ({what}); give the folder as published") from error
    if found["missing_keys"]:
        raise InputError(
            f"{folder}: {sorted(found['missing_keys'])[0]!r} and {len(found['missing_keys']) - 1} more weights are "
            "missing; give the folder as published"
        )
    name = f"{'DINOv2' if kind in DINO else 'CLIP'} of {folder.resolve().name}"
    return PretrainedSpace(name, network, seen, embed, dimension=dimension, device=device)


def read_preprocessing(file: Path) -> Preprocessing:
    """The preprocessing that `transformers` would apply. Raises InputError if it is not supported here."""
    settings = _json(file)
    done = all(settings.get(f"do_{step}", True) for step in ("resize", "rescale", "normalize"))
    exact = abs(settings.get("rescale_factor", 1 / 255) * 255 - 1) < 1e-6
    interpolation = INTERPOLATIONS.get(settings.get("resample", 0))
    mean, std = (_colour(settings.get(f"image_{name}")) for name in ("mean", "std"))
    if not (done and exact and interpolation and mean and std):
        raise InputError(
            f"{file}: has preprocessing other than resize, crop, rescale and normalize; choose another network"
        )
    given, crop = settings.get("size"), settings.get("crop_size") if settings.get("do_center_crop", False) else None
    cut = None if crop is None else _sides(crop)
    match given:
        case {"shortest_edge": int(side)} if side:
            size, least = side, (side, side)
        case int(side) if cut is not None:
            size, least = side, (side, side)
        case _:
            size = least = _sides(given)
    if size is None or least is None or (crop is not None and cut is None):
        raise InputError(f"{file}: size {given}, crop {crop} are not numbers of pixels; give the folder as published")
    if cut is not None and (cut[0] > least[0] or cut[1] > least[1]):
        raise InputError(f"{file}: crops {list(cut)} from images of {given}; give the folder as published")
    return Preprocessing(size, cut, interpolation, mean, std)


def _sides(given: Any) -> tuple[int, int] | None:
    """(height, width), which a file gives by name, as a list, or as one number for both; None if it does not."""
    match given:
        case {"height": int(height), "width": int(width)} | [int(height), int(width)]:
            return height, width
        case int(side):
            return side, side
    return None


def _colour(given: Any) -> tuple[float, ...] | None:
    match given:
        case [int() | float(), int() | float(), int() | float()]:
            return tuple(given)
    return None


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(contents(file))
    except OSError:
        raise InputError(f"{file}: no such file; give the folder of a model in Hugging Face's format") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: no JSON ({error}); give the folder as published") from error
    match found:
        case dict():
            return found
    raise InputError(f"{file}: no JSON object; give the folder as published")


def _of_images(config: Any) -> Any:
    """The vision part of CLIP's configuration; other configurations unchanged."""
    part = getattr(config, "vision_config", None)
    if part is None:
        return config
    part.projection_dim = config.projection_dim
    return part


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences the loading messages of `transformers`."""
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
