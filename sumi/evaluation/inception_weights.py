"""The feature space of Inception-v3, from a file of weights that the user has. Nothing is fetched, no code in it runs.

A file is safetensors, or a ``.pth`` of tensors, which torch reads without pickled code. Names and shapes must be those
of the network. Where a file's name ends in the first digits of its sha256 (``…-6726825d.pth``, the custom of
torch.hub), its bytes must have it.

Images are made 299 pixels high and wide, smoothed where that makes them smaller, with values in [-1, 1]: the networks
of both sets of weights were trained so.
"""

import hashlib
import pickle
import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sumi.errors import InputError, SumiError
from sumi.evaluation.inception import DIMENSION, FID_CLASSES, IMAGENET_CLASSES, SIDE, Inception
from sumi.evaluation.preprocessing import Preprocessing
from sumi.evaluation.pretrained import PretrainedSpace
from sumi.networks.layers import to_channels_last

NAMES = {FID_CLASSES: "Inception-v3 of the FID", IMAGENET_CLASSES: "Inception-v3 of torchvision"}
UNUSED = re.compile(r"AuxLogits\..*|.*\.num_batches_tracked")
REMEDY = (
    "get pt_inception-2015-12-05-6726825d.pth from the releases of github.com/mseitzer/pytorch-fid, "
    "or use --features learned"
)
SEEN = Preprocessing((SIDE, SIDE), None, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def open_inception(path: Path, device: torch.device) -> PretrainedSpace:
    """The space of the weights in ``path``.

    Raises InputError where it is missing, unreadable or of another network, SumiError where its bytes have changed.
    """
    tensors = _read(path)
    classes = len(tensors["fc.bias"]) if "fc.bias" in tensors else 0
    if classes not in NAMES:
        raise InputError(f"{path}: holds no Inception-v3 of 1008 or 1000 classes; {REMEDY}")
    network = Inception(classes)
    own = network.state_dict()
    given = {name: tensor for name, tensor in tensors.items() if not UNUSED.fullmatch(name)}
    wanted = {name for name in own if not UNUSED.fullmatch(name)}
    wrong = sorted(wanted ^ given.keys()) or [name for name in wanted if own[name].shape != given[name].shape]
    if wrong:
        what = "is missing or of another shape" if wrong[0] in wanted else "is not of Inception-v3"
        raise InputError(f"{path}: the tensor {wrong[0]!r} {what}; {REMEDY}")
    network.load_state_dict(given, strict=False)  # the counts of batches are not needed
    to_channels_last(network)
    return PretrainedSpace(
        NAMES[classes], network, SEEN, network, dimension=DIMENSION, device=device, logits=network.logits
    )


def _read(path: Path) -> dict[str, Tensor]:
    try:
        _check_name(path)
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {REMEDY}") from None
    except pickle.UnpicklingError as error:
        raise InputError(f"{path}: holds more than tensors, so it is not read (it could run code); {REMEDY}") from error
    except (OSError, SafetensorError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise InputError(f"{path}: not a readable file of weights; {REMEDY}") from error
    if not isinstance(found, dict) or not all(isinstance(t, Tensor) for t in found.values()):
        raise InputError(f"{path}: no dictionary of tensors; {REMEDY}")
    return found


def _check_name(path: Path) -> None:
    told = re.search(r"-([0-9a-f]{8,64})$", path.stem)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest() if told else ""
    if told and not found.startswith(told[1]):
        raise SumiError(f"{path}: its sha256 begins {found[:8]}, not {told[1]} as its name says; fetch it again")
