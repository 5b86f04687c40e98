"""Runs on a hub, through `huggingface_hub`: a run with weights alone and its card, there and back.

What is pulled is a run folder, whose hashes are verified when it is loaded. Only JSON, safetensors and text are pulled.
"""

from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from sumi.boundary.files import write_text
from sumi.errors import InputError, SumiError
from sumi.interop.card import CARD, model_card
from sumi.models.model import TrainedModel
from sumi.models.run import load

FILES: Final = ("*.json", "*.jsonl", "*.safetensors", "*.md", "*.txt")
"""What is pulled."""


def _library(what: str) -> Any:
    try:
        return import_module("huggingface_hub")
    except ImportError:
        raise InputError(
            f"{what}: needs huggingface_hub, which is not installed; pip install 'sumi[interop]'"
        ) from None


def push(run: Path | str, repository: str, *, private: bool = True, licence: str = "") -> str:
    """Upload a run's newest weights with its card to ``repository`` (owner/name); its address.

    ``private``: of a repository that is made anew. Raises InputError where there is no such run, and SumiError where
    the hub refuses.
    """
    library, model = _library("repository"), load(run, TrainedModel, device="cpu")
    with TemporaryDirectory(prefix="sumi-") as temporary:
        staged = Path(temporary) / "run"
        model.save(staged)
        name = repository.rpartition("/")[2]
        write_text(staged / CARD, model_card(model, name=name, licence=licence))
        try:
            api = library.HfApi()
            api.create_repo(repo_id=repository, exist_ok=True, private=private)
            return str(api.upload_folder(repo_id=repository, folder_path=str(staged)))
        except Exception as error:  # of the library, of many kinds
            raise _refused(repository, error) from error


def pull(repository: str, out: Path | str, *, revision: str | None = None) -> TrainedModel:
    """Download ``repository`` (owner/name) as the run folder ``out``; its model. Raises InputError and SumiError."""
    library, place = _library("repository"), Path(out)
    if place.exists() and (place.is_file() or any(place.iterdir())):
        raise InputError(f"out: {place} is there already, and is left as it is; give another name")
    try:
        library.snapshot_download(
            repo_id=repository, revision=revision, local_dir=str(place), allow_patterns=list(FILES)
        )
    except Exception as error:  # of the library, of many kinds
        raise _refused(repository, error) from error
    return load(place, TrainedModel, device="cpu")


def _refused(repository: str, error: Exception) -> SumiError:
    what = (str(error).splitlines() or [type(error).__name__])[0]
    return SumiError(f"{repository}: the hub refuses ({what}); sign in with `hf auth login`, and check its name")
