"""Many open pages and a full queue on a real socket: no page misses an event, and memory is given back."""

import asyncio
import gc
import json
import resource
import weakref
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import HTTPCookieProcessor, Request, build_opener

import pytest
import torch

from sumi.studio.jobs import give_back
from tests.studio.conftest import made

PAGES, JOBS = 50, 10


Heard = list[tuple[int, str, dict[str, Any]]]
"""Number, name and data of each event."""


async def heard(address: str, cookie: str, after: int) -> Heard:
    """What a page hears until the jobs have ended."""
    reader, writer = await asyncio.open_connection(*address.split(":"), limit=2**20)
    writer.write(f"GET /api/events?after={after} HTTP/1.1\r\nhost: {address}\r\ncookie: {cookie}\r\n\r\n".encode())
    found: Heard = []
    number, name, ended = 0, "", set[str]()
    while len(ended) < JOBS:
        match (await reader.readline()).decode().rstrip().partition(": "):
            case "id", _, value:
                number = int(value)
            case "event", _, value:
                name = value
            case "data", _, value:
                found.append((number, name, json.loads(value)))
                if name == "job" and found[-1][2]["state"] == "done":
                    ended.add(found[-1][2]["id"])
            case "", "", "" if reader.at_eof():
                raise AssertionError("the stream ended")
    writer.close()
    return found


def test_fifty_open_pages_hear_every_event_of_ten_queued_jobs(served) -> None:
    studio, link = served
    address, cookies = urlsplit(link).netloc, CookieJar()
    opener = build_opener(HTTPCookieProcessor(cookies))
    opener.open(link)
    (cookie,) = (f"{one.name}={one.value}" for one in cookies)
    after = json.load(opener.open(f"http://{address}/api/state"))["event"]

    def order(seed: int) -> str:
        request = {"model": "digits", "act": {"type": "sample"}, "steps": 3, "seed": seed}
        headers = {"content-type": "application/json"}
        answer = opener.open(Request(f"http://{address}/api/make", json.dumps(request).encode(), headers))
        return json.load(answer)["id"]

    async def scene() -> tuple[list[str], list[Heard]]:
        pages = [asyncio.create_task(heard(address, cookie, after)) for _ in range(PAGES)]
        while studio.events.followers < PAGES:
            await asyncio.sleep(0.01)
        ids = [await asyncio.to_thread(order, seed) for seed in range(JOBS)]
        return ids, await asyncio.wait_for(asyncio.gather(*pages), 60)

    ids, (first, *others) = asyncio.run(scene())
    assert len(others) == PAGES - 1
    assert [number for number, _, _ in first] == list(range(after + 1, after + 1 + len(first)))
    assert all(other == first for other in others)
    for id in ids:
        states = [data["state"] for _, name, data in first if name == "job" and data["id"] == id]
        assert states == ["waiting", "running", "done"]
    assert [data["id"] for _, name, data in first if name == "made"] == ids
    assert [one.id for one in studio.folder.history()][-JOBS:] == ids


def tensors() -> int:
    """Bytes of all tensors that are alive."""
    gc.collect()
    return sum(one.untyped_storage().nbytes() for one in gc.get_objects() if issubclass(type(one), torch.Tensor))


def resident() -> int:
    """Bytes of this process that are in memory and in use."""
    give_back()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_memory_is_given_back_after_each_job_and_the_model_when_nothing_is_made(studio, page, finished) -> None:
    made(page, finished, model="digits")
    other = weakref.ref(studio.models.load("digits"))
    made(page, finished, model="characters", n=4)
    gc.collect()
    assert other() is None  # one model is held
    held, resident_after = tensors(), list[int]()
    for seed in range(8):
        made(page, finished, model="characters", n=4, seed=seed)
        resident_after.append(resident())
    assert tensors() == held
    assert resident_after[-1] - resident_after[3] < 24 * 2**20  # by the fourth libraries have what they keep
    studio.models.let_go()
    assert tensors() < held - 5 * 2**20  # its weights
