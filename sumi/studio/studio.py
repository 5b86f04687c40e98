"""A studio: its folder, its models, and what happens in it. The server makes web addresses of these calls."""

import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sumi.boundary.config import to_json
from sumi.errors import InputError
from sumi.studio.comparing import Comparing, compared_in
from sumi.studio.events import Events
from sumi.studio.explanations import Noising
from sumi.studio.folder import Made, StudioFolder
from sumi.studio.jobs import Job, Jobs
from sumi.studio.making import Making
from sumi.studio.models import Models
from sumi.studio.trainings import Order, Recipe, Training, Trainings

if TYPE_CHECKING:
    from torch import Tensor

    from sumi.models.diffusion.model import DiffusionModel
    from sumi.studio.schedules import Drawing


class Studio:
    """``places``: run folders, or folders of them; ``data``: what can be trained on besides the built-in sets;
    ``out``: the only folder that is written into.
    """

    def __init__(self, places: Sequence[Path], out: Path, data: Sequence[Path] = ()) -> None:
        self.folder = StudioFolder(out)
        self.events = Events(time.time_ns() // 10**6)  # no number of a studio that was here before
        self.models = Models(places, self.folder.runs)
        self.jobs = Jobs(self.events, self.models.let_go)
        self.trainings = Trainings(self.folder, self.events)
        self.own_data: dict[str, str] = {}
        for place in dict.fromkeys(path.resolve() for path in data):
            name = place.name if f"{place.name} (yours)" not in self.own_data else str(place)
            self.own_data[f"{name} (yours)"] = str(place)

    def close(self) -> None:
        """Cancel what is being made; trainings go on."""
        self.trainings.close()
        self.jobs.close()

    def state(self) -> dict[str, Any]:
        """What a page that opens shows."""
        return {
            "event": self.events.last,
            "history": [asdict(made) for made in self.folder.history()],
            "jobs": self.jobs.all(),
            "queue": self.trainings.outlines(),
        }

    def choices(self) -> dict[str, Any]:
        """What can be trained, and on what; which schedules can be drawn, and which solvers compared."""
        from sumi.data.builtin import BUILTIN
        from sumi.evaluation.solvers import DEFAULT_SOLVERS
        from sumi.recipes import RECIPES, title
        from sumi.studio.schedules import edited

        return {
            "data": [*self.own_data, *BUILTIN],
            "recipes": [{"name": name, "title": title(name)} for name in RECIPES],
            "schedules": edited(),
            "solvers": DEFAULT_SOLVERS,
        }

    def source_of(self, data: str) -> str:
        """Where data of the list are. Raises InputError for any other."""
        from sumi.data.builtin import BUILTIN

        if data in self.own_data:
            return self.own_data[data]
        if data not in BUILTIN:
            raise InputError(f"data: there is no {data[:60]!r} in the list; start the studio with --data PATH")
        return data

    def train(self, order: Order) -> Training:
        """Put a training into the queue. Raises InputError, and Full."""
        return self.trainings.add(order, self.source_of(order.what.data))

    def noise(self, noising: Noising) -> bytes:
        """A PNG of a picture, of it in noise, and of what the model sees in that. Raises InputError."""
        file = None if noising.picture is None else self.folder.picture(noising.picture)
        return noising.row(self.models.load(noising.model), file)

    def draw(self, drawing: "Drawing") -> dict[str, Any]:
        """A schedule's curves, and a picture in its noise. Raises InputError."""
        return drawing.shown(None if drawing.picture is None else self.folder.picture(drawing.picture))

    def compared(self, key: str) -> dict[str, Any]:
        """The newest comparison of solvers of a run, of the studio or of `sumi compare`. Raises InputError."""
        return compared_in(self.folder.compared / self.models.find(key).key, self.models.folder(key).compare)

    def compare(self, comparing: Comparing) -> Job:
        """Let solvers be compared. Raises InputError for a model that is not there, and Full."""
        run = self.models.find(comparing.model)

        def work(job: Job) -> Mapping[str, Any]:
            def count(what: str, done: int, total: int) -> None:
                job.counted(done, total, what)

            return comparing.compare(self.models.load(run.key), self.folder.compared / run.key, count)

        return self.jobs.submit(Job("compare", {"model": run.key, "command": comparing.command(run.path)}, work))

    def examine(self, recipe: Recipe) -> Job:
        """Let `sumi.check.doctor` look at data and recipe; its findings come as lines of the job. Raises Full."""
        source = self.source_of(recipe.data)

        def work(job: Job) -> Mapping[str, Any]:
            from sumi.check.doctor import examine

            out, facts = self.folder.doctor / job.id, dict[str, Any]()

            def count(what: str, done: int, total: int) -> None:
                job.counted(done, total, what)

            findings = examine(source, recipe.recipe, settings=recipe.settings, out=out, progress=count)
            for finding in findings:
                facts[finding.name] = finding.facts
                job.say({"name": finding.name, "says": finding.says, "warns": finding.warns})
            pictures = sorted(path.name for path in out.glob("*.png"))
            return {"seconds_per_step": facts["time"]["seconds_per_step"], "pictures": pictures}

        return self.jobs.submit(Job("examine", {"what": to_json(recipe)}, work))

    def make(self, making: Making) -> Job:
        """Let it be made. Raises InputError for a picture or a model that is not there, and Full."""
        run = self.models.find(making.model)
        command = making.command(run.path, self.folder.picture)
        return self.jobs.submit(Job("make", {"making": making.text(), "command": command}, self._making(making)))

    def _making(self, making: Making) -> Any:
        def work(job: Job) -> Mapping[str, Any]:
            begun, model = time.monotonic(), self.models.load(making.model)
            run = self.models.find(making.model)
            own = model.config.sampling.steps if making.steps is None else making.steps
            job.counted(0, own)

            def seen(step: int, level: Any, x: "Tensor") -> None:
                job.counted(step + 1, max(own, step + 1))
                if len(x) == making.n:
                    job.show(lambda: row_of(model, level, x))

            made = making.make(model, self.folder.picture, seen)
            job.check()
            command = making.command(run.path, self.folder.picture)
            return self._kept(job, making, model, made, command, time.monotonic() - begun)

        return work

    def _kept(
        self, job: Job, making: Making, model: "DiffusionModel", made: "Tensor", command: str, seconds: float
    ) -> Mapping[str, Any]:
        from sumi.data.files import write_images

        run = self.models.find(making.model)
        pixels = making.pixels(model, made)
        write_images(self.folder.pictures / job.id, pixels, start=0, about=making.about(model, run.path, command))
        found = Made(
            job.id,
            making.text(),
            len(made),
            pixels.shape[-2],
            pixels.shape[-1],
            round(seconds, 2),
            f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            command,
        )
        self.folder.remember(found)
        self.events.emit("made", asdict(found))
        return asdict(found)


def row_of(model: "DiffusionModel", level: Any, x: "Tensor") -> bytes:
    """A PNG of the states (n, …) at a level on the way, side by side."""
    from sumi.data.files import picture_of
    from sumi.models.diffusion.trajectory import size

    pixels = model.pixels.to_bytes(model.glimpse(x / size(level)))
    file = io.BytesIO()
    picture_of(pixels.permute(1, 2, 0, 3).flatten(2)).save(file, "PNG", compress_level=1)
    return file.getvalue()
