"""The pages in a real Chromium: every button of a view is pressed, and nothing goes wrong in the page."""

import json
import time

import pytest

from scripts.browser import chromium

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium is here (make browser installs it)")
pytest.importorskip("websocket", reason="the browser is driven by websocket-client")
IDLE = "document.getElementById('status').textContent === 'Ready' && !document.querySelector('.stop')"


@pytest.fixture(scope="module")
def browser(served):
    from scripts.browser import Browser

    with Browser(1200, 860) as found:
        found.open(served[1])
        found.until("document.querySelector('[data-ready]')")
        yield found
        assert not found.errors


def settle(browser) -> None:
    browser.until(IDLE)


def test_pictures_are_made_varied_blended_painted_and_undone(browser, served) -> None:
    studio, _ = served
    browser.run("location.hash = '#/make?model=digits&label=4&seed=3&steps=3'")
    browser.until("document.querySelector('[value=\"4\"]:checked')")
    browser.press("Make four")
    browser.until("document.querySelectorAll('.cell img').length === 4")
    settle(browser)
    first = studio.folder.history()[-1]
    assert json.loads(first.making) | {"label": "4", "seed": 3, "steps": 3} == json.loads(first.making)
    for act, count in (("Vary", 4), ("Enlarge", 4), ("Paint", 4), ("Blend", 8)):
        browser.press(act, 1)
        if act == "Paint":
            browser.until("document.querySelector('dialog[open]')")
            keys = "['ArrowLeft', ' ', 'ArrowUp', ' ']"
            press = "new KeyboardEvent('keydown', {key, bubbles: true})"
            browser.run(f"{keys}.forEach(key => document.querySelector('.marks').dispatchEvent({press}))")
            browser.press("Paint four")
        if act == "Blend":
            browser.press(act, 2)
        many = len(studio.folder.history()) + 1
        browser.until(f"document.querySelectorAll('.strip .sheet').length === {many}")
        settle(browser)
        assert studio.folder.history()[-1].count == count
        assert browser.run("document.querySelectorAll('.cell img').length") == count
    browser.press("Play")
    browser.press("Pause")
    for _ in range(4):
        browser.press("Undo")
    assert first.id in browser.run("location.hash")
    browser.press("Redo")
    assert first.id not in browser.run("location.hash")


def test_the_address_restores_the_whole_state(browser, served) -> None:
    found = served[0].folder.history()[0]
    browser.open(f"{served[1].partition('?')[0]}#/make?model=digits&label=4&seed=3&steps=3&sheet={found.id}")
    browser.run("location.reload()")
    time.sleep(0.2)
    browser.until(f"document.querySelector('.cell img[src*=\"{found.id}\"]')")
    assert browser.run("document.querySelector('#seed').value") == "3"
    assert browser.run("document.querySelector('.command').textContent") == found.command


def test_cancel_ends_at_once(browser) -> None:
    browser.run("location.hash = '#/make?model=characters&seed=1&steps=400'")
    browser.until("document.querySelector('select').value === 'characters'")
    browser.press("Make four")
    browser.until("document.querySelector('progress').value >= 1")
    begun = time.monotonic()
    browser.press("Cancel")
    settle(browser)
    assert time.monotonic() - begun < 10  # 400 steps take 40 s on a quiet machine; a step 0.1 s


def test_a_sample_is_noised_and_runs_are_compared(browser) -> None:
    browser.run("location.hash = '#/look'")
    browser.until("document.querySelector('.look').dataset.noised")
    browser.until("document.querySelectorAll('.run .cover').length >= 3")
    browser.write(".noising input[type=range]", "0.8")
    browser.until("document.querySelector('.look').dataset.noised === '0.80'")
    browser.run("[...document.querySelectorAll('.check input')].slice(0, 2).forEach(box => box.click())")
    browser.until("document.querySelector('.compared table')")
    assert browser.run("document.querySelectorAll('.compared .series').length") == 2


@pytest.mark.parametrize("view", ["make", "train", "look"])
def test_every_control_has_a_name_and_nothing_is_wider_than_a_phone(browser, view) -> None:
    browser.run(f"location.hash = '#/{view}'")
    browser.resize(360, 740)
    time.sleep(0.3)
    assert browser.run("document.documentElement.scrollWidth") <= 360
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "link", "textbox", "combobox", "slider", "radio", "spinbutton", "checkbox", "img"}
    named = [n for n in nodes if n.get("role", {}).get("value") in roles and not n.get("ignored")]
    nameless = [n for n in named if not n.get("name", {}).get("value") and n["role"]["value"] != "img"]
    assert named
    assert not nameless
    browser.resize(1200, 860)
