"""The folder that a studio writes into, and nowhere else.

FOLDER/
  history.json       what was made: a list of `Made`, oldest first
  queue.json         trainings (`sumi.studio.trainings`)
  pictures/ID/       00000.png …, each with all that made it in its PNG text "sumi", as `sumi sample` writes them
  uploads/           pictures from the browser, decoded and written anew
  queue/             of each training the configuration, which `sumi train` reads, and what it printed
  runs/              the run folders of trainings
  doctor/ID/         what `sumi doctor` found, of the last `EXAMINED_KEPT` times
  compared/KEY/      solvers of a model compared, as `sumi compare` writes it
  .lock              held by the studio that is open

A picture has one name everywhere: ID/INDEX of what was made, up/HASH of an upload.
"""

import hashlib
import io
import json
import os
import re
import shutil
import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from PIL import Image

from sumi.boundary.config import from_json, parse_json, to_json
from sumi.boundary.files import contents, lock, refuse_folder, write_text, write_whole
from sumi.errors import InputError, SumiError, writing

MOST_UPLOADED: Final = 16 * 2**20
"""Bytes of an uploaded file."""
MOST_PIXELS: Final = 32 * 2**20
"""Of an uploaded picture, before it is decoded."""
LONGEST_SIDE: Final = 1024
"""Pixels of an upload as it is kept."""
UPLOADS_KEPT: Final = 200
EXAMINED_KEPT: Final = 100
HISTORY_KEPT: Final = 500
_FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
_PICTURE: Final = re.compile(r"([0-9a-f]{12})/([0-9]{1,4})|up/([0-9a-f]{32})")


@dataclass(frozen=True)
class Made:
    """One entry of the history. ``making``: the request, as `sumi.studio.making.Making` reads it."""

    id: str
    making: str
    count: int
    height: int
    width: int
    seconds: float
    at: str
    command: str


class StudioFolder:
    """The files of a studio, by name. Methods may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.history_file, self.queue_file = path / "history.json", path / "queue.json"
        self.pictures, self.uploads, self.queue = path / "pictures", path / "uploads", path / "queue"
        self.runs, self.doctor, self.compared = path / "runs", path / "doctor", path / "compared"
        self._writing = threading.Lock()

    @contextmanager
    def held(self, link: str) -> Generator[None]:
        """Hold the folder for this process; ``link`` is what others are pointed to.

        Raises InputError where another studio has it open, SumiError where it cannot be written.
        """
        refuse_folder(self.path)
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            file: BinaryIO = (self.path / ".lock").open("a+b")
        with file:
            if lock(file) is False:
                file.seek(0)
                where = file.read(200).decode("utf-8", "replace") or "another process"
                raise InputError(
                    f"out: {self.path} is open in another studio ({where}); use that, or give another --out"
                )
            examined = sorted(self.doctor.glob("[0-9a-f]" * 12), key=lambda path: path.stat().st_mtime)
            for old in examined[:-EXAMINED_KEPT]:
                shutil.rmtree(old, ignore_errors=True)
            file.truncate(0)
            file.write(f"process {os.getpid()} at {link}".encode())
            file.flush()
            yield
            file.truncate(0)

    def history(self) -> tuple[Made, ...]:
        """What was made, oldest first. Raises InputError for a damaged file."""
        return tuple(from_json(Made, one, self.history_file.name) for one in read_list(self.history_file))

    def remember(self, made: Made) -> None:
        """Add to the history, of which the last `HISTORY_KEPT` stay; the pictures of those that go are kept."""
        with self._writing:
            write_list(self.history_file, [*self.history(), made][-HISTORY_KEPT:])

    def forget(self, id: str) -> bool:
        """Remove an entry; its pictures stay. Whether there was one."""
        with self._writing:
            before = self.history()
            after = [made for made in before if made.id != id]
            if len(after) < len(before):
                write_list(self.history_file, after)
        return len(after) < len(before)

    def picture(self, name: str) -> Path:
        """The file of a picture. Raises InputError for what is not the name of one that is there."""
        match _PICTURE.fullmatch(name):
            case None:
                raise InputError(f"picture: {name[:60]!r} is not the name of a picture; write ID/INDEX or up/HASH")
            case found if found[3]:
                file = self.uploads / f"{found[3]}.png"
            case found:
                file = self.pictures / found[1] / f"{int(found[2]):05d}.png"
        if not file.is_file() or file.is_symlink():
            raise InputError(f"picture: {name} is not there; make or upload it again")
        return file

    def upload(self, data: bytes) -> str:
        """Decode a picture and keep it as PNG, upright and over white, at most `LONGEST_SIDE` wide and high.

        Returns its name; of several uploads the last `UPLOADS_KEPT` stay. Raises InputError for anything else.
        """
        from sumi.data.decode import from_picture

        if len(data) > MOST_UPLOADED:
            raise InputError(f"upload: has {len(data) >> 20} MB; give at most {MOST_UPLOADED >> 20} MB")
        try:
            with warnings.catch_warnings(), Image.open(io.BytesIO(data), formats=_FORMATS) as opened:
                warnings.simplefilter("ignore")
                if opened.width * opened.height > MOST_PIXELS:
                    raise InputError(f"upload: has {opened.width} x {opened.height} pixels; make it smaller")
                pixels = from_picture(opened, None, None).pixels
        except InputError:
            raise
        except Exception:  # decoders answer damage with almost anything
            raise InputError(f"upload: is no picture that can be read; give {', '.join(_FORMATS)}") from None
        picture = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
        picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
        file = io.BytesIO()
        picture.save(file, "PNG")
        name = hashlib.sha256(file.getvalue()).hexdigest()[:32]
        write_whole(self.uploads / f"{name}.png", file.getvalue())
        with self._writing:
            kept = sorted(self.uploads.glob("*.png"), key=lambda path: path.stat().st_mtime_ns)
            for old in kept[:-UPLOADS_KEPT]:
                old.unlink(missing_ok=True)
        return f"up/{name}"


def read_list(file: Path) -> list[Any]:
    """A JSON list, empty where there is no file. Raises InputError for a damaged one."""
    try:
        text = contents(file)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); restore or remove it") from None
    match parse_json(text, file, "restore or remove it"):
        case list() as found:
            return found
    raise InputError(f"{file}: is not a JSON list, as the studio writes; restore or remove it")


def write_list(file: Path, items: list[Any]) -> None:
    """A JSON list of configurations, atomically. Raises SumiError if it cannot be written."""
    write_text(file, json.dumps([to_json(item) for item in items], indent=1) + "\n")


def one_line(error: BaseException) -> str:
    """What a person is told of a failure."""
    match error:
        case SumiError():
            return str(error)
        case _:
            first = (str(error).splitlines() or ["no message"])[0]
            return f"unexpected {type(error).__name__}: {first}"
