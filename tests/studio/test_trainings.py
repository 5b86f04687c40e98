"""The queue of trainings: one at a time, stopped, resumed, and found again by the next studio."""

import json
import sys
import time
from pathlib import Path

import pytest

from sumi.errors import InputError
from sumi.studio import trainings
from sumi.studio.events import Events
from sumi.studio.folder import StudioFolder
from sumi.studio.trainings import Order, Recipe, Trainings
from sumi.training.lock import trainer_of
from tests.studio.conftest import LIKE_TRAIN


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """A queue whose trainings are processes that keep the run folder's lock and log as `sumi train` does."""
    program = tmp_path / "train.py"
    program.write_text(LIKE_TRAIN)
    monkeypatch.setattr(trainings, "COMMAND", (sys.executable, str(program)))
    monkeypatch.setattr(trainings, "EVERY", 0.02)
    return Trainings(StudioFolder(tmp_path / "studio"), Events())


def order(name: str, steps: int = 10) -> Order:
    return Order(Recipe("ddpm", "digits"), name, steps)


def until(queue: Trainings, id: str, state: str) -> trainings.Training:
    end = time.monotonic() + 20
    while (found := queue.find(id)).state != state:
        assert time.monotonic() < end, found
        queue.look()
        time.sleep(0.02)
    return found


def test_trainings_follow_each_other_and_say_how_they_ended(queue) -> None:
    first, bad, last = (queue.add(order(name, steps), "digits") for name, steps in (("a", 10), ("b", 13), ("c", 10)))
    config = json.loads((queue.folder.queue / f"{first.id}.json").read_text())
    assert (config["training"]["steps"], config["data"]["source"]) == (10, "digits")
    queue.look()
    assert [one.state for one in queue.all()] == ["running", "waiting", "waiting"]
    done = until(queue, last.id, "done")
    assert (done.step, done.loss, done.message) == (10, 0.1, "trained")
    failed = queue.find(bad.id)
    assert (failed.state, failed.message) == ("failed", "the loss is not finite")
    assert queue.find(first.id).state == "done"


def test_a_training_stops_and_resumes(queue) -> None:
    training = queue.add(order("long", 1000), "digits")
    until(queue, training.id, "running")
    log = queue.place(training) / "metrics.jsonl"
    while not log.exists() or len(log.read_text().splitlines()) < 5:
        time.sleep(0.02)
    queue.stop(training)
    assert until(queue, training.id, "stopped").step == 5
    queue.resume(training)
    queue.look()
    assert until(queue, training.id, "done").message == "trained --resume"


def test_the_next_studio_finds_what_goes_on(queue) -> None:
    training = queue.add(order("long", 1000), "digits")
    waits = queue.add(order("next"), "digits")
    until(queue, training.id, "running")
    place = queue.place(training)
    while trainer_of(place) is None or not (place / "metrics.jsonl").exists():
        time.sleep(0.02)
    queue.close()
    other = Trainings(StudioFolder(queue.folder.path), Events())
    other.look()
    assert [one.state for one in other.all()] == ["running", "waiting"]
    other.stop(other.find(training.id))
    queue._children[training.id].wait(10)  # this process is still its parent
    assert until(other, training.id, "stopped")
    assert until(other, waits.id, "done")
    other.remove(other.find(training.id))
    assert [one.id for one in other.all()] == [waits.id]
    assert place.is_dir()  # the run stays


@pytest.mark.parametrize(
    "setting",
    [
        "training.tracker=wandb",
        "autoencoder.source=runs/other",
        "data.source=/etc/passwd",
        "training.optimizer=../x",
        "sampling.steps=4",
        "network",
    ],
)
def test_a_page_sets_nothing_that_names_a_file_or_sends_anything(setting) -> None:
    with pytest.raises(InputError, match="settings"):
        Recipe("ddpm", "digits", (setting,))


def test_what_cannot_be_trained_is_refused(queue, page, studio) -> None:
    queue.add(order("a"), "digits")
    with pytest.raises(InputError, match="already"):
        queue.add(order("a"), "digits")
    for name in ("../a", "", ".a", "a/b", "a" * 65):
        with pytest.raises(InputError, match="no name of a run"):
            order(name)
    request = {"what": {"recipe": "ddpm", "data": "/etc"}, "run": "x", "steps": 5}
    assert "no '/etc' in the list" in page.post("/api/train", json=request).json()["error"]
    request["what"] = {"recipe": "ddpn", "data": "digits"}
    assert "ddpm" in page.post("/api/train", json=request).json()["error"]
    assert not studio.trainings.all()


def test_data_of_ones_own_are_in_the_list(tmp_path: Path) -> None:
    from sumi.studio.studio import Studio

    (tmp_path / "photos").mkdir()
    found = Studio([], tmp_path / "studio", [tmp_path / "photos"])
    assert found.choices()["data"][0] == "photos (yours)"
    assert found.source_of("photos (yours)") == str(tmp_path / "photos")
    found.close()


def test_an_examination_tells_what_is_in_the_data_and_how_long_a_step_takes(page, finished) -> None:
    small = ["network.widths=32", "network.blocks=1", "network.embedding=32", "training.batch_size=4"]
    answer = page.post("/api/examine", json={"recipe": "ddpm", "data": "digits", "settings": small})
    job = finished(answer.json()["id"])
    assert job["state"] == "done", job["message"]
    assert [line["name"] for line in job["lines"]] == ["data", "sheet", "copies", "size", "learning", "time"]
    assert job["result"]["seconds_per_step"] > 0
    assert page.get(f"/doctor/{job['id']}/seen.png").headers["content-type"] == "image/png"
    assert page.get(f"/doctor/{job['id']}/doctor.json").status_code == 404
