"""One job at a time, cancelled at its next step; no event is lost."""

import asyncio
import threading

import pytest

from sumi.studio.events import KEPT, Events
from sumi.studio.jobs import MOST_WAITING, Full, Job, Jobs


@pytest.fixture
def jobs():
    found = Jobs(Events())
    yield found
    found.close()


def endless(begun: threading.Event):
    def work(job: Job) -> dict:
        begun.set()
        while True:
            job.show(lambda: b"x")

    return work


def test_jobs_run_one_after_the_other_and_the_queue_is_bounded(jobs) -> None:
    begun = threading.Event()
    first = jobs.submit(Job("make", {}, endless(begun)))
    assert begun.wait(5)
    others = [jobs.submit(Job("make", {}, lambda job: {"at": job.id})) for _ in range(MOST_WAITING)]
    with pytest.raises(Full, match="wait already"):
        jobs.submit(Job("make", {}, lambda job: {}))
    assert [job.state for job in others] == ["waiting"] * MOST_WAITING
    jobs.cancel(others[0])
    assert others[0].state == "cancelled"  # before it began
    jobs.cancel(first)
    assert first.ended.wait(5)
    assert first.state == "cancelled"
    assert all(job.ended.wait(5) for job in others)
    assert [job.state for job in others[1:]] == ["done"] * (MOST_WAITING - 1)
    assert others[1].result == {"at": others[1].id}


def test_a_failure_is_the_jobs_own(jobs) -> None:
    bad = jobs.submit(Job("make", {}, lambda job: 1 / 0))
    good = jobs.submit(Job("make", {}, lambda job: {}))
    assert good.ended.wait(5)
    assert (bad.state, good.state) == ("failed", "done")
    assert "ZeroDivisionError" in bad.message


def test_fifty_pages_get_every_event_of_ten_jobs_in_order() -> None:
    events, pages, sent = Events(), 50, 600

    async def read(begun: asyncio.Event) -> list[int]:
        found = []
        async for text in events.follow(0):
            if text.startswith("id: "):
                found.append(int(text.split()[1]))
            if found[-1:] == [sent]:
                return found
        return found

    async def scene() -> list[list[int]]:
        events.bind(asyncio.get_running_loop())
        readers = [asyncio.create_task(read(asyncio.Event())) for _ in range(pages)]
        await asyncio.sleep(0)
        threads = [
            threading.Thread(target=lambda: [events.emit("line", {}) for _ in range(sent // 10)]) for _ in range(10)
        ]
        for thread in threads:
            thread.start()
        return await asyncio.wait_for(asyncio.gather(*readers), 20)

    assert asyncio.run(scene()) == [list(range(1, sent + 1))] * pages


def test_a_page_that_comes_back_gets_what_it_missed_or_a_reset() -> None:
    events = Events()
    for _ in range(3):
        events.emit("line", {})
    assert [number for number, _, _ in events._since(1)] == [2, 3]
    assert events._since(3) == []
    assert events._since(9) == [(3, "reset", "{}")]  # of another studio
    for _ in range(KEPT):
        events.emit("line", {})
    assert events._since(2) == [(3 + KEPT, "reset", "{}")]
