"""A studio on a folder of its own, and a browser's side of it without a socket."""

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the studio needs starlette: pip install 'sumi[studio]'")
from starlette.testclient import TestClient

from sumi.studio.server import application, listening, serve
from sumi.studio.studio import Studio

PORT, TOKEN = 8917, "a-token-of-the-tests"
LINK = re.compile(r"http://\S+")


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


@pytest.fixture(scope="session")
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
