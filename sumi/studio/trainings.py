"""A queue of trainings, one after the other, each a process of `sumi train`.

What a training is stands in queue.json, its configuration in queue/ID.json, which `sumi train` reads, and its run in
runs/NAME. A training is a session of its own, so it goes on where the studio is closed; who trains in a run folder is
seen by its lock (`sumi.training.lock`), so the next studio finds it again.
"""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from sumi.boundary.config import from_json, to_json
from sumi.boundary.files import contents, lock, write_text
from sumi.errors import InputError
from sumi.studio.events import Events
from sumi.studio.folder import StudioFolder, one_line, read_list, write_list
from sumi.studio.jobs import Full
from sumi.training.lock import trainer_of
from sumi.training.metrics_log import seconds_left

COMMAND = (sys.executable, "-m", "sumi", "train")
MOST_QUEUED: Final = 20
EVERY: Final = 0.5
"""Seconds between two looks at what trains."""
SAMPLED: Final = 10
"""How often a training makes samples on the way, if its settings do not say."""
CHECKED: Final = 4
"""How often it measures its loss on held-out images, at least."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SETTING: Final = re.compile(
    r"(?!training\.tracker)(training|network)(\.[a-z_0-9]+)*=[A-Za-z0-9_.,+-]{1,64}"
    r"|schedule(\.[a-z_]+)?=[A-Za-z0-9_.,+-]{1,64}|data\.size=[0-9x]{1,9}"
)
"""Settings that name no file and send nothing anywhere."""


@dataclass(frozen=True)
class Recipe:
    """What is trained: a recipe on data of the studio's list, with settings of network, training and size."""

    recipe: str
    data: str
    settings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for setting in self.settings:
            if not _SETTING.fullmatch(setting):
                raise InputError(
                    f"settings: {setting[:80]!r} is none of network, training, schedule, data.size; leave it out"
                )
        if len(self.settings) > 40:
            raise InputError(f"settings: are {len(self.settings)}; give 40 or fewer")


@dataclass(frozen=True)
class Order:
    """A training to begin: what, for how many steps, and the name of its ``run``."""

    what: Recipe
    run: str
    steps: int = field(metadata={"most": 10**7})
    seed: int = field(default=0, metadata={"most": 2**31})

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.run):
            raise InputError(f"run: {self.run[:80]!r} is no name of a run; use letters, digits, - and _")
        if self.steps < 1 or self.seed < 0:
            raise InputError(f"steps, seed: are {self.steps} and {self.seed}; give 1 step or more, a seed of 0 or more")


@dataclass(frozen=True)
class Training:
    """An order in the queue. ``state``: waiting, running, stopped, done or failed; ``message``: its last line;
    ``left``: seconds to its end, about.
    """

    id: str
    order: Order
    state: str = "waiting"
    message: str = ""
    step: int = 0
    loss: float | None = None
    left: float | None = None


class Trainings:
    """The queue, and the thread that looks after it."""

    def __init__(self, folder: StudioFolder, events: Events) -> None:
        self.folder, self.events = folder, events
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._stopping: set[str] = set()
        self._sizes: dict[str, int] = {}
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="studio trainings", daemon=True)

    def start(self) -> None:
        """Begin to look after the queue, once the studio's folder is held."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking; trainings go on."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def all(self) -> list[Training]:
        """In the order in which they were given."""
        return [from_json(Training, one, self.folder.queue_file.name) for one in read_list(self.folder.queue_file)]

    def outlines(self) -> list[dict[str, Any]]:
        """As JSON, for a page."""
        return [{**asdict(one), "run": str(self.place(one).resolve())} for one in self.all()]

    def find(self, id: str) -> Training:
        """The training of this id. Raises InputError."""
        found = next((one for one in self.all() if one.id == id), None)
        if found is None:
            raise InputError(f"training: there is no {id[:20]!r} in the queue; reload the page")
        return found

    def place(self, training: Training) -> Path:
        """Its run folder."""
        return self.folder.runs / training.order.run

    def add(self, order: Order, source: str) -> Training:
        """Put a training on data from a ``source`` at the end of the queue.

        Raises InputError for what `sumi.configure` refuses and a name that is taken, and Full.
        """
        from sumi.training_run import configure

        steps = order.steps
        usual = {
            "training.sample_every": max(1, steps // SAMPLED),
            "training.check_every": max(1, min(1000, steps // CHECKED)),
            "training.log_every": max(1, min(50, steps // 60)),
        }
        given = {setting.partition("=")[0] for setting in order.what.settings}
        settings = [f"{name}={value}" for name, value in usual.items() if name not in given]
        settings += order.what.settings
        config = configure(order.what.recipe, data=source, steps=steps, seed=order.seed, settings=settings)
        with self._lock:
            queue = self.all()
            if sum(one.state in ("waiting", "running") for one in queue) >= MOST_QUEUED:
                raise Full(f"queue: {MOST_QUEUED} trainings wait already; remove one, or wait")
            taken = (self.folder.runs / order.run).exists() or any(one.order.run == order.run for one in queue)
            if taken:
                raise InputError(f"run: there is one called {order.run} already; give another name")
            training = Training(secrets.token_hex(6), order)
            write_text(self._config_file(training), json.dumps(to_json(config), indent=1) + "\n")
            self._keep([*queue, training])
        return training

    def stop(self, training: Training) -> None:
        """End it after its present step, whose checkpoint is saved; one that waits is stopped as well."""
        with self._lock:
            training = self.find(training.id)
            if training.state == "waiting":
                self._change(training, state="stopped", message="")
            elif training.state == "running":
                self._stopping.add(training.id)
                child, trainer = self._children.get(training.id), trainer_of(self.place(training))
                if child is not None:
                    child.send_signal(signal.SIGTERM)
                elif trainer is not None and trainer.pid > 1 and trainer.lives():
                    os.kill(trainer.pid, signal.SIGTERM)

    def resume(self, training: Training) -> None:
        """Let one that stopped or failed wait for its turn again."""
        with self._lock:
            if self.find(training.id).state in ("stopped", "failed"):
                self._change(training, state="waiting", message="")

    def remove(self, training: Training) -> None:
        """Take one that does not run out of the queue; its run folder stays. Raises InputError."""
        with self._lock:
            if self.find(training.id).state == "running":
                raise InputError(f"training: {training.order.run} is running; stop it first")
            self._keep([one for one in self.all() if one.id != training.id])
            for file in (self._config_file(training), self._output(training)):
                file.unlink(missing_ok=True)

    def _config_file(self, training: Training) -> Path:
        return self.folder.queue / f"{training.id}.json"

    def _output(self, training: Training) -> Path:
        return self.folder.queue / f"{training.id}.log"

    def _keep(self, queue: list[Training]) -> None:
        write_list(self.folder.queue_file, queue)
        self.events.emit("queue", self.outlines())

    def _change(self, training: Training, **values: Any) -> None:
        self._keep([replace(one, **values) if one.id == training.id else one for one in self.all()])

    def _watch(self) -> None:
        reported = ""
        while not self._closed.wait(EVERY):
            try:
                with self._lock:
                    self.look()
                reported = ""
            except Exception as error:  # such as a full disk, which may have room again
                if one_line(error) != reported:
                    reported = one_line(error)
                    self.events.emit("trouble", {"message": reported})

    def look(self) -> None:
        """Note what ended, what is new in the logs, and begin the next one."""
        queue = self.all()
        for training in queue:
            if training.state == "running":
                self._look_at(training)
            elif training.state != "waiting" and trainer_of(self.place(training)) is not None:
                self._change(training, state="running", message="")  # begun by another studio, or by hand
        queue = self.all()
        if not any(one.state == "running" for one in queue):
            for training in queue:
                if training.state == "waiting":
                    self._begin(training)
                    break

    def _begin(self, training: Training) -> None:
        run = self.place(training)
        command = [*COMMAND, str(self._config_file(training)), "--out", str(run)]
        command += ["--resume"] if (run / "config.json").exists() else []
        self._change(training, state="running", message="starting")  # first: what cannot be noted must not begin again
        with self._output(training).open("wb") as output:
            lock(output)  # held by the process, which inherits it, until it ends
            self._children[training.id] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    def _look_at(self, training: Training) -> None:
        log = self.place(training) / "metrics.jsonl"
        size = log.stat().st_size if log.exists() else 0
        if size and size != self._sizes.get(training.id):
            self._sizes[training.id] = size
            last = last_line(log)
            step, loss = int(last.get("step", 0)), last.get("loss")
            batch_size = json.loads(contents(self._config_file(training)))["training"]["batch_size"]
            left = seconds_left(last, training.order.steps, batch_size)
            self._change(training, step=step, loss=loss, left=left, message="training")
            training = self.find(training.id)
        child = self._children.get(training.id)
        code = None if child is None else child.poll()
        gone = code is not None if child is not None else not self._lives(training)
        if gone:
            self._children.pop(training.id, None)
            self._end(training, code)
        elif (line := self._last_printed(training)) != training.message and training.step >= training.order.steps:
            self._change(training, message=line)

    def _lives(self, training: Training) -> bool:
        """Whether a process that another studio began is there; it has its run folder's lock only after a while."""
        if trainer_of(self.place(training)) is not None:
            return True
        try:
            file = self._output(training).open("rb")
        except OSError:
            return False
        with file:
            return lock(file, shared=True) is False

    def _end(self, training: Training, code: int | None) -> None:
        stopped = training.id in self._stopping
        self._stopping.discard(training.id)
        if code == 0 or (code is None and training.step >= training.order.steps):
            self._change(training, state="done", step=training.order.steps, message=self._last_printed(training))
        elif stopped or code is None:
            self._change(training, state="stopped", message="")
        else:
            self._change(training, state="failed", message=self._last_printed(training))

    def _last_printed(self, training: Training) -> str:
        """The last line that it printed."""
        file = self._output(training)
        lines = contents(file)[-4096:].decode("utf-8", "replace").splitlines() if file.exists() else []
        return next((line.strip()[:400] for line in reversed(lines) if line.strip()), "")


def last_line(log: Path) -> Mapping[str, Any]:
    """The newest whole line of a training's log that has a loss; empty where there is none yet."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 65_536))
        lines = file.read().split(b"\n")[:-1]
    for line in reversed(lines):
        if b'"loss"' in line:
            match json.loads(line):
                case {"step": int()} as found:
                    return found
                case _:
                    pass
    return {}
