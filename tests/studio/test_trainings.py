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
from sumi.training.lock import Process, trainer_of
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


def test_data_of_one_name_are_both_in_the_list(tmp_path: Path) -> None:
    from sumi.studio.studio import Studio

    places = [tmp_path / "a/train", tmp_path / "b/train"]
    found = Studio([], tmp_path / "studio", [*places, places[0]])
    assert list(found.own_data.values()) == [str(place) for place in places]
    assert list(found.own_data) == ["train (yours)", f"{places[1]} (yours)"]
    found.close()


def test_the_next_studio_waits_for_a_training_that_is_still_starting(queue, tmp_path: Path) -> None:
    program = tmp_path / "train.py"
    program.write_text(LIKE_TRAIN.replace("with training_in", "time.sleep(2)\nwith training_in"))
    first, second = queue.add(order("first"), "digits"), queue.add(order("second"), "digits")
    queue.look()
    assert trainer_of(queue.place(first)) is None
    other = Trainings(StudioFolder(queue.folder.path), Events())
    for _ in range(3):
        other.look()
        assert [one.state for one in other.all()] == ["running", "waiting"]
    queue._children[first.id].wait(20)  # this process is still its parent
    assert until(other, first.id, "done")
    assert until(other, second.id, "done")


def test_a_training_that_cannot_be_noted_is_not_begun(queue, monkeypatch) -> None:
    queue.add(order("a"), "digits")

    def full(*_: object) -> None:
        raise InputError("queue.json: no space left on the device")

    monkeypatch.setattr(trainings, "write_list", full)
    for _ in range(3):
        with pytest.raises(InputError, match="no space"):
            queue.look()
    assert not queue._children
    queue.start()
    while not queue.events._since(queue.events.last - 1):
        time.sleep(0.02)
    time.sleep(0.2)
    queue.close()
    assert [(name, json.loads(data)) for _, name, data in queue.events._since(0)][1:] == [
        ("trouble", {"message": "queue.json: no space left on the device"})  # once
    ]


def test_a_process_of_another_machine_is_not_sent_a_signal_here(queue, monkeypatch) -> None:
    training = queue.add(order("long"), "digits")
    monkeypatch.setattr(trainings, "trainer_of", lambda _place: Process(4242, 1, "another-machine", "now"))
    queue.look()
    assert queue.find(training.id).state == "running"
    monkeypatch.setattr(trainings.os, "kill", lambda *given: pytest.fail(f"a signal to {given}"))
    queue._children.clear()
    queue.stop(training)


def test_an_examination_tells_what_is_in_the_data_and_how_long_a_step_takes(page, finished) -> None:
    small = ["network.widths=32", "network.blocks=1", "network.embedding=32", "training.batch_size=4"]
    answer = page.post("/api/examine", json={"recipe": "ddpm", "data": "digits", "settings": small})
    job = finished(answer.json()["id"])
    assert job["state"] == "done", job["message"]
    assert [line["name"] for line in job["lines"]] == ["data", "sheet", "copies", "size", "learning", "time"]
    assert job["result"]["seconds_per_step"] > 0
    assert page.get(f"/doctor/{job['id']}/seen.png").headers["content-type"] == "image/png"
    assert page.get(f"/doctor/{job['id']}/doctor.json").status_code == 404
