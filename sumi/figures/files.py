"""Pictures on disk: those that Sumi made carry its name, and nobody else's is written over."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from PIL import Image, UnidentifiedImageError

from sumi.boundary.files import write_whole
from sumi.errors import InputError

SOFTWARE: Final = "Sumi"
"""The text "Software" of a PNG file, and the EXIF tag of a WebP file."""
EXIF_SOFTWARE: Final = 0x0131
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


def texts_of(about: Mapping[str, object] | None) -> dict[str, str]:
    """The texts of a PNG file: that Sumi made it, and, as "sumi", what it is ``about``, as JSON."""
    return {"Software": SOFTWARE} | ({} if about is None else {"sumi": json.dumps(about)})


def write_picture(path: Path, picture: bytes) -> Path:
    """Write a picture as `sumi.boundary.files.whole` does.

    Raises InputError for a file that somebody else made, and SumiError where it cannot be written.
    """
    refuse_foreign(path)
    return write_whole(path, picture)


def refuse_foreign(path: Path) -> None:
    """Raises InputError for a file that Sumi did not make; inside a run folder, the names are the run's own."""
    if path.exists() and not in_run_folder(path) and not is_unfinished(path) and not is_own(path):
        raise InputError(f"out: {path.parent} holds {path.name}, which sumi did not make; give another folder")


def in_run_folder(path: Path) -> bool:
    """Whether one of the three folders above the file is that of a run."""
    return any((folder / "config.json").exists() and (folder / "checkpoints").is_dir() for folder in path.parents[:3])


def is_unfinished(path: Path) -> bool:
    """Whether a write that was cut off left this: nothing at all, or a PNG file that ends before its first pixel."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        begin = file.read(65_536)
    of_png = begin.startswith(_SIGNATURE) or _SIGNATURE.startswith(begin)
    return not begin or (of_png and len(begin) < 65_536 and b"IDAT" not in begin)


def is_own(path: Path) -> bool:
    """Whether this is a picture, and says that Sumi made it."""
    try:
        with Image.open(path) as picture:
            software = picture.info.get("Software") or picture.getexif().get(EXIF_SOFTWARE)
            return "sumi" in picture.info or software == SOFTWARE
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return False
