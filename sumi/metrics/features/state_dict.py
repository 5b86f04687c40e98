"""A file of a network's weights that the user supplies, read without running code.

It is safetensors, or a ``.pth`` of tensors alone. If its name ends in the first digits of its sha256
(``…-6726825d.pth``, as in torch.hub), the hash must match.
"""

import hashlib
import pickle
import re
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sumi.boundary.files import irregular
from sumi.errors import InputError, SumiError


def read_state_dict(path: Path, remedy: str) -> dict[str, Tensor]:
    """The tensors in ``path`` by name, on the CPU.

    Raises InputError, with the ``remedy``, where there are none, SumiError where the hash is another.
    """
    try:
        if (found := irregular(path)) is not None:  # it may never end
            raise InputError(f"{path}: is {found}, not a file of weights; {remedy}")
        _check_name(path)
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols; what cannot be read is refused below
            found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {remedy}") from None
    except pickle.UnpicklingError as error:
        raise InputError(f"{path}: holds more than tensors and is not read, as it could run code; {remedy}") from error
    except (OSError, SafetensorError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise InputError(f"{path}: not a readable file of weights; {remedy}") from error
    match found:
        case dict() if all(map(torch.is_tensor, found.values())):
            return {str(name): tensor for name, tensor in found.items()}
    raise InputError(f"{path}: no dictionary of tensors; {remedy}")


def _check_name(path: Path) -> None:
    digest = re.search(r"-([0-9a-f]{8,64})$", path.stem)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest() if digest else ""
    if digest and not found.startswith(digest[1]):
        raise SumiError(f"{path}: its sha256 begins {found[:8]}, not {digest[1]} as its name says; fetch it again")
