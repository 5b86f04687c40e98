"""What can be made in the studio: a request, the call of the Python face that it stands for, and its command.

    Sample    four pictures of a seed             model.sample
    Vary      variations of a picture             model.vary
    Blend     the pictures between two            model.interpolate
    Paint     a picture with a part made anew     model.inpaint
    Enlarge   a picture in more pixels            model.upscale

`command` is the command line that makes the same pictures, bit for bit.
"""

import hashlib
import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from sumi.boundary.config import to_json
from sumi.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from sumi.models.diffusion.model import DiffusionModel
    from sumi.models.diffusion.options import SampleOptions

Pictures = Callable[[str], Path]
"""The file of a picture by its name (`StudioFolder.picture`)."""
MOST: Final = 16
MOST_STEPS: Final = 1000


@dataclass(frozen=True)
class Sample:
    """Pictures ``start`` … of the seed."""

    name: ClassVar[str] = "sample"
    start: int = field(default=0, metadata={"most": 2**31})

    def __post_init__(self) -> None:
        if self.start < 0:
            raise InputError(f"start: {self.start} is negative; give 0 or more")

    def make(self, model: "DiffusionModel", n: int, pictures: Pictures, options: "SampleOptions") -> "Tensor":
        del pictures
        return model.sample(n, **cast("SampleOptions", {**options, "start": self.start}))

    def command(self, run: str, n: int, pictures: Pictures) -> list[str]:
        del pictures
        return ["sample", run, "-n", str(n), *(["--start", str(self.start)] if self.start else [])]


@dataclass(frozen=True)
class Vary:
    """``strength``: 0 is the ``picture`` itself, 1 nothing of it."""

    picture: str
    name: ClassVar[str] = "vary"
    strength: float = 0.5

    def make(self, model: "DiffusionModel", n: int, pictures: Pictures, options: "SampleOptions") -> "Tensor":
        return model.vary(pictures(self.picture), self.strength, n, **options)

    def command(self, run: str, n: int, pictures: Pictures) -> list[str]:
        return ["vary", run, str(pictures(self.picture)), "-n", str(n), "--strength", f"{self.strength:g}"]


@dataclass(frozen=True)
class Blend:
    """From one picture to another."""

    picture: str
    other: str
    name: ClassVar[str] = "blend"

    def make(self, model: "DiffusionModel", n: int, pictures: Pictures, options: "SampleOptions") -> "Tensor":
        own = cast("dict[str, Any]", {k: v for k, v in options.items() if k not in ("seed", "callback")})
        solver = own.pop("solver", None) or "heun"  # one that walks both ways
        return model.interpolate(pictures(self.picture), pictures(self.other), n, solver=solver, **own)

    def command(self, run: str, n: int, pictures: Pictures) -> list[str]:
        return ["interpolate", run, str(pictures(self.picture)), str(pictures(self.other)), "-n", str(n)]


@dataclass(frozen=True)
class Paint:
    """A ``picture`` with new pixels where the picture ``mask`` is white."""

    picture: str
    mask: str
    name: ClassVar[str] = "paint"

    def make(self, model: "DiffusionModel", n: int, pictures: Pictures, options: "SampleOptions") -> "Tensor":
        return model.inpaint(pictures(self.picture), pictures(self.mask), n, method=None, **options)

    def command(self, run: str, n: int, pictures: Pictures) -> list[str]:
        return ["inpaint", run, str(pictures(self.picture)), "--mask", str(pictures(self.mask)), "-n", str(n)]


@dataclass(frozen=True)
class Enlarge:
    """A ``picture`` twice as large, or as much larger as the model was trained for."""

    picture: str
    name: ClassVar[str] = "enlarge"

    def make(self, model: "DiffusionModel", n: int, pictures: Pictures, options: "SampleOptions") -> "Tensor":
        from sumi.models.diffusion.pictures import read_image

        channels, height, width = model.images.shape
        small = channels, height // 2, width // 2  # at least, and no larger picture is cut
        whole = read_image(str(pictures(self.picture)), small, larger=True).x
        return model.upscale(whole, None, n, method=None, **options)

    def command(self, run: str, n: int, pictures: Pictures) -> list[str]:
        return ["upscale", run, str(pictures(self.picture)), "--no-fit", "-n", str(n)]


@dataclass(frozen=True)
class Making:
    """What is to be made, by which model (a name of the studio's list), of what, and how; None: as the run is set."""

    model: str
    act: Sample | Vary | Blend | Paint | Enlarge
    n: int = field(default=4, metadata={"most": MOST})
    prompt: str | None = None
    label: str | None = None
    seed: int = field(default=0, metadata={"most": 2**31})
    steps: int | None = field(default=None, metadata={"most": MOST_STEPS})
    guidance: float | None = None
    solver: str | None = None

    def __post_init__(self) -> None:
        for name, least in (("n", 1), ("seed", 0), ("steps", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name}: {value} is out of range; give {least} or more")

    def options(self) -> "SampleOptions":
        """What the Python face takes."""
        found = {"seed": self.seed, "progress": False}
        names = ("prompt", "label", "steps", "guidance", "solver")
        return cast("SampleOptions", found | {k: v for k in names if (v := getattr(self, k)) is not None})

    def command(self, run: str, pictures: Pictures) -> str:
        """The command that makes the same pictures."""
        words = ["sumi", *self.act.command(run, self.n, pictures)]
        if self.act.name != "blend":
            words += ["--seed", str(self.seed)]
        for name in ("label", "prompt", "steps", "guidance", "solver"):
            if (value := getattr(self, name)) is not None:
                words += [f"--{name}", f"{value:g}" if name == "guidance" else str(value)]
        return shlex.join(words)

    def text(self) -> str:
        """It as JSON, as the history keeps it."""
        return json.dumps(to_json(self))

    def pixels(self, model: "DiffusionModel", made: "Tensor") -> "Tensor":
        """Them as files hold them, uint8: samples in the levels of the data, others in 256, as the commands do."""
        from sumi.data.items import BYTES

        return (model.pixels if self.act.name == "sample" else BYTES).to_bytes(made)

    def make(
        self, model: "DiffusionModel", pictures: Pictures, callback: Callable[..., None] | None = None
    ) -> "Tensor":
        """The pictures (n, C, H, W) in [-1, 1]. ``callback(step, level, x)`` sees every step. Raises InputError."""
        options = self.options()
        if callback is not None:
            options["callback"] = callback
        return self.act.make(model, self.n, pictures, options)

    def about(self, model: "DiffusionModel", run: str, command: str) -> Mapping[str, object]:
        """What the files say of how they were made."""
        given = {k: v for k, v in to_json(self).items() if v is not None and k not in ("model", "n")}
        digest = hashlib.sha256(model.digest.encode()).hexdigest()[:16]
        return {"run": run, "checkpoint": model.step, "digest": digest, **given, "command": command}
