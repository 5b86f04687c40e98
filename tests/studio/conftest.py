"""A studio on a folder of its own, and a browser's side of it without a socket."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the studio needs starlette: pip install 'sumi[studio]'")
from starlette.testclient import TestClient

from sumi.studio.server import application, listening, serve
from sumi.studio.studio import Studio

PORT, TOKEN = 8917, "a-token-of-the-tests"
LIKE_TRAIN = """
import json, signal, sys, time
from pathlib import Path
from sumi.training.lock import training_in

steps = json.loads(Path(sys.argv[1]).read_text())["training"]["steps"]
run, stopped = Path(sys.argv[3]), []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
with training_in(run, print):
    (run / "config.json").write_text("{}")
    log = run / "metrics.jsonl"
    begun = len(log.read_text().splitlines()) if log.exists() else 0
    for step in range(begun + 1, steps + 1):
        with log.open("a") as file:
            file.write(json.dumps({"step": step, "loss": 1 / step}) + "\\n")
        if steps == 13:
            sys.exit("the loss is not finite")
        while steps > 100 and step == 5 and not stopped:
            time.sleep(0.01)
        if stopped:
            sys.exit(130)
print("trained", *sys.argv[4:])
"""
"""A process that keeps the run folder's lock and log as `sumi train` does; of over 100 steps it waits at the fifth."""


@pytest.fixture(scope="module")
def studio(tmp_path_factory) -> Iterator[Studio]:
    found = Studio([], tmp_path_factory.mktemp("studio"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def stranger(studio) -> Iterator[TestClient]:
    """A page that does not know the token."""
    app = application(studio, TOKEN, PORT)
    with TestClient(app, base_url=f"http://127.0.0.1:{PORT}", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def page(studio, stranger) -> TestClient:
    """A page that was opened by the link."""
    client = TestClient(stranger.app, base_url=f"http://127.0.0.1:{PORT}", raise_server_exceptions=False)
    assert client.get(f"/?token={TOKEN}").status_code == 200
    return client


@pytest.fixture
def finished(studio) -> Callable[[str], dict[str, Any]]:
    """The outline of a job once it has ended."""

    def wait(id: str) -> dict[str, Any]:
        job = studio.jobs.find(id)
        assert job is not None
        assert job.ended.wait(60)
        return job.outline()

    return wait


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[tuple[Studio, str]]:
    """A studio on a real socket, and its link."""
    found = Studio([], tmp_path_factory.mktemp("served"))
    links: list[str] = []
    ready, at = threading.Event(), listening(0)

    def tell(link: str) -> None:
        links.append(link)
        ready.set()

    stop: list[Callable[[], None]] = []
    thread = threading.Thread(target=serve, args=(found, at, TOKEN, tell, stop.append), daemon=True)
    thread.start()
    assert ready.wait(20)
    yield found, links[0]
    stop[0]()
    thread.join(10)


def made(page: TestClient, finished: Callable[[str], dict[str, Any]], **request: Any) -> dict[str, Any]:
    """What came of a request to make something."""
    answer = page.post("/api/make", json={"model": "digits", "act": {"type": "sample"}, "steps": 2, **request})
    assert answer.status_code == 202, answer.text
    job = finished(answer.json()["id"])
    assert job["state"] == "done", job["message"]
    return job["result"]
