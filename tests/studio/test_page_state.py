"""What a page shows stays true: in other tabs, after a restart, when a choice changes, and what a person set stays."""

import json
import shutil
import time

import pytest

from scripts.browser import chromium
from sumi.pretrained.shipped import PLACE
from sumi.studio.folder import write_list
from sumi.studio.jobs import Job
from sumi.studio.trainings import Order, Recipe, Training

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium is here (make browser installs it)")
pytest.importorskip("websocket", reason="the browser is driven by websocket-client")
READY = "document.getElementById('status').textContent === 'Ready'"
MAKE = "#/make?model=digits&seed=3&steps=3&label=4"


@pytest.fixture(scope="module")
def browser(served):
    from scripts.browser import Browser

    with Browser(1200, 860) as found:
        found.open(served[1])
        found.until("document.querySelector('[data-ready]')")
        yield found
        assert not found.errors


def hide(browser, hidden: bool) -> None:
    browser.run(f"Object.defineProperty(document, 'hidden', {{value: {json.dumps(hidden)}, configurable: true}})")
    browser.run("document.dispatchEvent(new Event('visibilitychange'))")


def until(condition) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def running(step: int, state: str = "running") -> list[dict]:
    """The queue as an event, of one training."""
    order = {"run": "x", "what": {"recipe": "ddpm", "data": "digits"}, "steps": 9}
    return [
        {"id": "a", "order": order, "state": state, "step": step, "loss": 1, "left": None, "message": "", "run": ""}
    ]


def forgive(browser, what: str) -> None:
    """Errors of requests for what is not there are expected."""
    browser.errors[:] = [error for error in browser.errors if what not in error]


def at(browser, place: str, there: str) -> None:
    browser.run(f"location.hash = {json.dumps(place)}")
    browser.until(f"document.querySelector({json.dumps(there)})")


def test_a_hidden_page_leaves_its_connection_to_others_and_hears_of_all_when_it_is_seen(browser, served) -> None:
    studio, _ = served
    until(lambda: studio.events.followers == 1)
    hide(browser, True)
    until(lambda: studio.events.followers == 0)  # six are all that a browser has for one server
    job = studio.jobs.submit(Job("examine", {}, lambda job: job.ended.wait(0) or {}))
    job.ended.wait(20)
    studio.events.emit("trouble", {"message": "while it was hidden"})
    hide(browser, False)
    browser.until("document.querySelector('#notices').textContent.includes('while it was hidden')")
    browser.press("Close")
    assert studio.events.followers == 1


def test_a_page_that_was_refused_connects_again_once_it_is_let_in(browser, served) -> None:
    known = browser.call("Network.getCookies")["cookies"]
    browser.call("Network.clearBrowserCookies")
    hide(browser, False)  # connects anew
    browser.until("document.getElementById('status').textContent === 'The studio is closed'")
    for cookie in known:
        browser.call("Network.setCookie", **{name: cookie[name] for name in ("name", "value", "domain", "path")})
    browser.until(READY, 20)
    forgive(browser, "401")


def test_what_was_set_stays_when_a_training_ends(browser, served) -> None:
    studio, _ = served
    at(browser, MAKE, '[value="4"]:checked')
    browser.write("#seed", "7")
    browser.run("document.querySelector('[name=label][value=\"9\"]').click()")
    browser.run("window.asked = performance.getEntriesByType('resource').length")
    for state in ("running", "done"):
        studio.events.emit("queue", running(5, state))
    models = "performance.getEntriesByType('resource').slice(window.asked).some(e => e.name.endsWith('/api/models'))"
    browser.until(models)
    time.sleep(0.5)  # for the answer
    label = "document.querySelector('[name=label]:checked').value"
    assert browser.run(f"document.querySelector('#seed').value + ' ' + {label}") == "7 9"
    forgive(browser, "/trainings/a/")


def test_the_address_and_the_page_are_of_one_model(browser) -> None:
    at(browser, "#/train", ".train")
    browser.reload()
    browser.until("document.querySelectorAll('.train option').length > 3")
    at(browser, "#/make?model=digits", ".make .main")
    browser.until("document.querySelector('.make select').value === 'digits'")
    assert "model=digits" in browser.run("location.hash")


def test_a_button_outlives_what_is_new_of_its_training(browser, served) -> None:
    studio, _ = served
    at(browser, "#/train", ".train")
    studio.events.emit("queue", running(1))
    browser.until("document.querySelector('.training')?.textContent.includes('1 of 9')")
    browser.run("window.pressed = document.querySelector('.training button'), window.pressed.focus()")
    studio.events.emit("queue", running(2))
    browser.until("document.querySelector('.training').textContent.includes('2 of 9')")
    assert browser.run("document.activeElement === window.pressed && window.pressed.textContent === 'Stop'")
    studio.events.emit("queue", [])
    browser.until("!document.querySelector('.training')")
    forgive(browser, "/trainings/a/")


def test_an_examination_of_another_choice_is_cancelled(browser, served, monkeypatch) -> None:
    studio, _ = served

    def examine(recipe: Recipe) -> Job:
        def work(job: Job) -> dict:
            while not job.cancelled.wait(0.05):
                pass
            job.check()
            return {}

        return studio.jobs.submit(Job("examine", {"of": recipe.data}, work))

    monkeypatch.setattr(studio, "examine", examine)
    at(browser, "#/train", ".train option[value=fashion]")
    browser.write(".train select", "digits")
    browser.press("Examine the data")
    browser.until("document.querySelector('.train .stop')")
    browser.write(".train select", "fashion")
    until(lambda: studio.jobs.all()[-1]["state"] == "cancelled")
    assert browser.run("!document.querySelector('.train .stop') && document.querySelector('.ready').hidden")


def test_what_a_page_missed_is_asked_for(browser, served, monkeypatch) -> None:
    studio, _ = served
    work = lambda job: job.cancelled.wait(1) or {"seconds_per_step": 1.0, "pictures": []}  # noqa: E731
    monkeypatch.setattr(studio, "examine", lambda _recipe: studio.jobs.submit(Job("examine", {}, work)))
    at(browser, "#/train", ".train option[value=fashion]")
    browser.write(".train select", "digits")
    browser.press("Examine the data")
    browser.until("document.querySelector('.train .stop')")
    emit = studio.events.emit
    monkeypatch.setattr(studio.events, "emit", lambda *_: None)
    until(lambda: studio.jobs.all()[-1]["state"] == "done")
    emit("reset", {})
    browser.until(f"{READY} && !document.querySelector('.train .stop') && !document.querySelector('.ready').hidden")


def test_a_page_that_is_loaded_again_can_cancel_what_it_began(browser, served) -> None:
    at(browser, "#/make?model=characters&seed=1&steps=400", ".make .main")
    browser.until("document.querySelector('.make select').value === 'characters'")
    browser.press("Make four")
    browser.until("document.querySelector('.make .stop')")
    browser.reload()
    browser.until("document.querySelector('[data-ready]')")
    browser.until("document.querySelector('.make .stop')")
    browser.run("document.querySelector('.make .stop').click()")
    browser.until(f"{READY} && !document.querySelector('.make .stop')")
    assert served[0].jobs.all()[-1]["state"] == "cancelled"


def test_pictures_are_made_with_the_run_of_the_training_and_not_another_of_its_name(served, tmp_path) -> None:
    studio, _ = served
    shutil.copytree(PLACE / "digits", tmp_path / "again")
    shutil.copytree(PLACE / "digits", studio.folder.runs / "again")
    studio.models.places.append(tmp_path)
    write_list(studio.folder.queue_file, [Training("a" * 12, Order(Recipe("ddpm", "digits"), "again", 9), "done")])
    paths = {key: run.path for key, run in studio.models.runs().items()}
    assert [key for key, path in paths.items() if path == studio.trainings.outlines()[0]["run"]] == ["again-2"]
    studio.models.places.pop()


def test_runs_are_listed_although_one_was_removed(browser, served, tmp_path) -> None:
    studio, _ = served
    run = studio.folder.runs / "passing"
    shutil.copytree(PLACE / "digits", run)
    at(browser, "#/make", ".make")
    browser.reload()
    browser.until("[...document.querySelectorAll('.make option')].some(o => o.value === 'passing')")
    shutil.rmtree(run)
    at(browser, "#/look", "article.run")
    assert browser.run("document.querySelectorAll('article.run').length") >= 4
    forgive(browser, "/passing/")


def test_a_picture_is_noised_where_the_time_was_set_before_the_models_came(browser, served, monkeypatch) -> None:
    studio, _ = served
    listed = studio.models.listed
    monkeypatch.setattr(studio.models, "listed", lambda: (time.sleep(1.5), listed())[1])
    browser.reload()
    browser.until("document.querySelector('.noising input[type=range]')")
    move = "(e => {{ e.value = {}; e.dispatchEvent(new Event('input', {{bubbles: true}})); }})"
    range_ = "(document.querySelector('.noising input[type=range]'))"
    browser.run(move.format(0.6) + range_)
    browser.until("document.querySelector('.noising select').options.length > 0")
    browser.run(move.format(0.3) + range_)
    browser.until("document.querySelector('.look').dataset.noised === '0.30'")


def test_the_schedule_that_is_painted_is_the_one_that_was_chosen_last(browser, served, monkeypatch) -> None:
    studio, _ = served
    draw = studio.draw
    monkeypatch.setattr(studio, "draw", lambda drawing: (time.sleep(0.3), draw(drawing))[1])
    editor = "document.querySelectorAll('.look > section')[1]"
    names = browser.run(f"[...{editor}.querySelectorAll('option')].map(o => o.value)")
    change = "(e => {{ e.value = {}; e.dispatchEvent(new Event('{}', {{bubbles: true}})); }})({})"
    browser.run(change.format(json.dumps(names[0]), "change", f"{editor}.querySelector('select')"))
    browser.until(f"{editor}.dataset.plotted === {json.dumps(names[0])}")
    browser.run(change.format(100, "input", f"{editor}.querySelector('input[type=range]')"))
    browser.run(change.format(json.dumps(names[1]), "change", f"{editor}.querySelector('select')"))
    browser.until(f"{editor}.dataset.plotted === {json.dumps(names[1])}", 20)
