"""The pages in a real Chromium: every button of each view is pressed, and nothing goes wrong in the page."""

import json
import shutil
import sys
import time
from collections.abc import Callable

import pytest
from PIL import Image

from scripts.browser import chromium
from sumi.pretrained.shipped import PLACE
from tests.studio.conftest import LIKE_TRAIN

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium is here (make browser installs it)")
pytest.importorskip("websocket", reason="the browser is driven by websocket-client")
IDLE = "document.getElementById('status').textContent === 'Ready' && !document.querySelector('.stop')"
WATCH = """
// Every button that was ever there, and every one that was pressed, over all pages of the session.
const kept = name => new Set(JSON.parse(sessionStorage.getItem(name) ?? '[]'));
const keep = (name, more) => sessionStorage.setItem(name, JSON.stringify([...kept(name), ...more]));
const which = b => b.closest('[data-view], .sheet, .thumb, .skip, .mark, .chips')?.className || b.textContent.trim();
document.addEventListener('click', e => {
  const button = e.target.closest('button, a');
  if (button) keep('pressed', [which(button)]);
}, true);
// While a page is read, a button may be there before its text.
const record = () => document.readyState === 'loading' ||
  keep('there', [...document.querySelectorAll('button, a')].map(which));
new MutationObserver(record).observe(document, {childList: true, subtree: true});
document.addEventListener('DOMContentLoaded', record);
"""
FAINT = """(() => {
  // Texts whose contrast with what is behind them is below that of WCAG 2 AA, with both colours.
  const paint = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = text => { paint.clearRect(0, 0, 1, 1); paint.fillStyle = text; paint.fillRect(0, 0, 1, 1);
    return [...paint.getImageData(0, 0, 1, 1).data]; };
  const over = (top, under) => top.slice(0, 3).map((v, i) => (v * top[3] + under[i] * (255 - top[3])) / 255);
  const behind = e => e ? over(rgba(getComputedStyle(e).backgroundColor), behind(e.parentElement)) : [255, 255, 255];
  const light = c => c.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const e = texts.currentNode.parentElement;
    const seen = e.checkVisibility() && texts.currentNode.textContent.trim();
    if (!seen || e.closest(':disabled, option, noscript, .unseen')) continue;
    const style = getComputedStyle(e), back = behind(e.closest('svg')?.parentElement ?? e);
    const ink = over(rgba(e.closest('svg') ? style.fill : style.color), back);
    const [a, b] = [light(ink), light(back)].sort((x, y) => y - x);
    const large = parseFloat(style.fontSize) >= 24;
    if ((a + 0.05) / (b + 0.05) < (large ? 3 : 4.5)) found.push(`${seen}: ${ink} on ${back}`);
  }
  return found;
})()"""


@pytest.fixture(scope="module")
def browser(served, tmp_path_factory):
    from scripts.browser import Browser
    from sumi.studio import trainings

    program = tmp_path_factory.mktemp("program") / "train.py"
    program.write_text(LIKE_TRAIN)
    run = served[0].folder.runs / "copy"  # with a report and a figure
    shutil.copytree(PLACE / "digits", run)
    for place in ("report", "explain", "samples"):
        (run / place).mkdir()
    (run / "report/report.html").write_text("<h1>A report</h1>")
    Image.new("RGB", (40, 30), "red").save(run / "explain/schedule.png")
    Image.new("RGB", (40, 30), "red").save(run / "samples/00000010.png")
    with pytest.MonkeyPatch.context() as patch, Browser(1200, 860) as found:
        patch.setattr(trainings, "COMMAND", (sys.executable, str(program)))
        found.call("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
        found.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
        found.call("Browser.setDownloadBehavior", behavior="deny")
        found.call("Emulation.setFocusEmulationEnabled", enabled=True)
        found.call("DOM.enable")
        found.open(served[1])
        found.until("document.querySelector('[data-ready]')")
        yield found
        assert not found.errors


def settle(browser) -> None:
    browser.until(IDLE)


@pytest.fixture
def choose_file(browser, tmp_path) -> Callable[[str], None]:
    """Put a photograph into the file field of a part of the page, as the dialog of its button would."""
    picture = tmp_path / "photograph.jpg"
    Image.radial_gradient("L").convert("RGB").save(picture)

    def choose(part: str) -> None:
        browser.run("document.querySelectorAll('input[type=file]').forEach(e => e.click = () => {})")  # no dialog
        field = f"document.querySelector({json.dumps(part)} + ' input[type=file]')"
        browser.run(f"{field}.parentElement.querySelector('button').click()")
        root = browser.call("DOM.getDocument")["root"]["nodeId"]
        node = browser.call("DOM.querySelector", nodeId=root, selector=f"{part} input[type=file]")["nodeId"]
        browser.call("DOM.setFileInputFiles", files=[str(picture)], nodeId=node)

    return choose


def paint(browser, keys: str = "['ArrowLeft', ' ', 'ArrowUp', ' ']") -> None:
    browser.until("document.querySelector('dialog[open]')")
    press = "new KeyboardEvent('keydown', {key, bubbles: true})"
    browser.run(f"{keys}.forEach(key => document.querySelector('.marks').dispatchEvent({press}))")


def test_pictures_are_made_varied_blended_painted_and_undone(browser, served, choose_file) -> None:
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
            paint(browser)
            browser.press("Paint four")
        if act == "Blend":
            browser.press(act, 2)
        many = len(studio.folder.history()) + 1
        browser.until(f"document.querySelectorAll('.strip .sheet').length === {many}")
        settle(browser)
        assert studio.folder.history()[-1].count == count
        browser.until(f"document.querySelectorAll('.cell img').length === {count}")
    browser.press("Play")
    browser.press("Pause")
    for _ in range(4):
        browser.press("Undo")
    assert first.id in browser.run("location.hash")
    browser.press("Redo")
    assert first.id not in browser.run("location.hash")
    choose_file(".make")
    browser.until("document.querySelector('.own img[src*=up]')")
    many = len(studio.folder.history()) + 1
    browser.run("document.querySelector('.own [data-act=Vary]').click()")
    browser.until(f"document.querySelectorAll('.strip .sheet').length === {many}")
    settle(browser)
    assert json.loads(studio.folder.history()[-1].making)["act"]["picture"].startswith("up/")


def test_what_surrounds_the_pictures_works_too(browser, served) -> None:
    browser.press("Copy command")
    browser.until("document.querySelector('.notice.fine')")
    assert browser.run("navigator.clipboard.readText()") == browser.run(
        "document.querySelector('.command').textContent"
    )
    browser.press("Close")
    browser.press("Copy link")
    assert browser.run("navigator.clipboard.readText()") == browser.run("location.href")
    browser.press("Blend")
    browser.press("Do not blend")
    assert browser.run("document.querySelector('.banner').hidden")
    browser.press("Paint")
    paint(browser, "[' ', ' ']")
    for button in ("Undo", "Clear", "Cancel"):
        inside = f"[...document.querySelectorAll('dialog button')].find(b => b.textContent === '{button}').click()"
        browser.run(inside)
    browser.until("!document.querySelector('dialog')")
    before = browser.run("document.querySelector('#seed').value")
    browser.press("Other seed")
    assert browser.run("document.querySelector('#seed').value") != before
    browser.press("Save")
    browser.run("document.querySelector('.sheet').click()")
    newest = served[0].folder.history()[-1]
    assert newest.id in browser.run("location.hash")
    widths = "[...document.querySelectorAll('.strip .sheet, .strip .under')].map(e => e.getBoundingClientRect().width)"
    assert max(browser.run(widths)) <= 100  # of an entry
    browser.run("document.querySelector('.strip .forget').click()")
    browser.until(f"!document.querySelector('.strip img[src*=\"{newest.id}\"]')")
    assert newest.id not in [made.id for made in served[0].folder.history()]


def test_a_job_that_ends_before_its_order_is_answered_is_shown(browser) -> None:
    late = """
    const real = window.fetch;
    window.fetch = async (...given) => {
      const answer = await real(...given);
      if (given[0] !== '/api/make') return answer;
      window.fetch = real;
      const {id} = await answer.clone().json();
      const state = async () => (await (await real('/api/state')).json()).jobs.find(job => job.id === id).state;
      while (await state() !== 'done') await new Promise(go => setTimeout(go, 50));
      await new Promise(go => setTimeout(go, 200)); // for its events to arrive
      window.answered = id;
      return answer;
    }"""
    browser.run(late)
    browser.press("Make four")
    browser.until("window.answered && document.querySelector(`.cell img[src*='${window.answered}']`)", 30)


def test_the_address_restores_the_whole_state(browser, served) -> None:
    found = served[0].folder.history()[0]
    browser.open(f"{served[1].partition('?')[0]}#/make?model=digits&label=4&seed=3&steps=3&sheet={found.id}")
    browser.reload()
    browser.until(f"document.querySelector('.cell img[src*=\"{found.id}\"]')")
    assert browser.run("document.querySelector('#seed').value") == "3"
    assert browser.run("document.querySelector('.command').textContent") == found.command


def test_cancel_ends_at_once(browser) -> None:
    browser.run("location.hash = '#/make?model=characters&seed=1&steps=400'")
    browser.until("document.querySelector('select').value === 'characters'")
    browser.run("document.querySelector('.chips button').click()")
    for how in (
        "document.querySelector('.stop').click()",
        "dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape'}))",
    ):
        press = "new KeyboardEvent('keydown', {key: 'Enter', ctrlKey: true})"
        browser.run(f"document.querySelector('#prompt').dispatchEvent({press})")
        browser.until("document.querySelector('.stop') && document.querySelector('progress').value >= 1")
        begun = time.monotonic()
        browser.run(how)
        settle(browser)
        assert time.monotonic() - begun < 10  # 400 steps take 40 s on a quiet machine; a step 0.1 s


def test_a_training_is_begun_stopped_resumed_and_removed(browser, served) -> None:
    browser.run("location.hash = '#/train?settings=training.batch_size%3D4%0Aschedule%3Dcosine'")
    browser.until("document.querySelector('.train option[value=digits]')")
    browser.write(".train select", "digits")
    browser.press("Examine the data")
    browser.press("Cancel")
    browser.until("document.querySelector('.findings').textContent === 'Cancelled.'")
    browser.press("Examine the data")
    browser.until("!document.querySelector('.ready').hidden", 60)
    browser.write("#train-steps", "1000")
    browser.press("Start training")
    browser.until("document.querySelector('.training.running .help')?.textContent.includes(' 5 of 1,000')")
    browser.press("Stop")
    browser.press("Resume")
    browser.until("document.querySelector('.training.done')")
    (training,) = served[0].trainings.all()
    config = json.loads((served[0].folder.queue / f"{training.id}.json").read_text())
    assert (config["schedule"]["type"], config["training"]["batch_size"]) == ("cosine", 4)
    browser.press("Make pictures")
    browser.until("location.hash.startsWith('#/make?model=')")
    browser.run("location.hash = '#/train'")
    browser.press("Remove")
    browser.until("document.querySelector('.hollow')")
    assert not served[0].trainings.all()


def test_a_picture_is_noised_and_a_schedule_edited(browser, choose_file) -> None:
    browser.run("location.hash = '#/look'")
    browser.until("document.querySelector('.look').dataset.noised")
    browser.write(".noising input[type=range]", "0.8")
    browser.until("document.querySelector('.look').dataset.noised === '0.80'")
    choose_file(".noising")
    choose_file("[aria-labelledby=schedule-title]")
    browser.run("document.querySelector('.thumb').click()")
    browser.press("A sample of the model")
    browser.until("document.querySelector('[data-plotted=linear]')")
    browser.press("A sample")
    path = "document.querySelector('.editor .series')?.getAttribute('d')"  # a chart is drawn a frame after it is there
    browser.until(path)
    before = browser.run(path)
    browser.write(".parameters .field:last-child input", "390")
    browser.until("document.querySelector('.editor .command').textContent.includes('schedule.beta_end=')")
    browser.until(f"{path} !== {json.dumps(before)}")
    link = browser.run("[...document.querySelectorAll('.editor a')][0].href")
    assert "schedule.beta_end" in link
    browser.press("Reset")
    browser.until(f"{path} === {json.dumps(before)}")
    browser.press("Train with it")
    browser.until("document.querySelector('#settings').value === 'schedule=linear'")
    browser.run("location.hash = '#/look'")
    browser.press("Play")
    browser.press("Pause")


def test_solvers_and_runs_are_compared(browser, served, monkeypatch) -> None:
    from sumi.evaluation import solvers

    monkeypatch.setattr(solvers, "REFERENCE_STEPS", 40)
    browser.until("document.querySelector('.solving .chips input')")
    browser.run("[...document.querySelectorAll('.solving .chips input')].slice(1, 6).forEach(box => box.click())")
    browser.write("#evaluations", "2, 4")
    browser.press("Compare solvers")
    browser.until("document.querySelectorAll('.solving tbody tr').length === 2")
    settle(browser)
    assert served[0].compared("digits")["rows"][0]["solver"] == "adams"
    browser.run("[...document.querySelectorAll('.run .check input')].slice(0, 2).forEach(box => box.click())")
    browser.until("document.querySelectorAll('.compared .series').length >= 2")
    browser.press("Report")
    browser.until("document.querySelector('iframe')")
    browser.press("Close")
    browser.press("Figures")
    browser.until("document.querySelector('.figure').naturalWidth === 40")
    browser.press("Close")
    browser.run("[...document.querySelectorAll('.run a')][0].click()")
    browser.until("location.hash.startsWith('#/make')")


def test_every_button_was_pressed(browser) -> None:
    for part in (".mark", "[data-view=train]", "[data-view=look]", ".skip", ".contents button"):
        browser.run(f"document.querySelectorAll('{part}').forEach(e => e.click())")
    there, pressed = (
        set(json.loads(browser.run(f"sessionStorage.getItem('{name}')"))) for name in ("there", "pressed")
    )
    assert len(there) > 30
    assert there - pressed <= {"Open in a page of its own"}


@pytest.mark.parametrize("view", ["make", "train", "look"])
def test_every_control_has_a_name_and_nothing_is_wider_than_a_phone(browser, view) -> None:
    browser.run(f"location.hash = '#/{view}'")
    browser.resize(360, 740)
    time.sleep(0.3)
    wide = "[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, .strip, .unseen'))"
    wide += ".filter(e => e.getBoundingClientRect().right > 361).map(e => `${e.tagName}.${e.className}`)"
    assert browser.run(wide) == []
    assert browser.run("document.documentElement.scrollWidth") <= 360
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "link", "textbox", "combobox", "slider", "radio", "spinbutton", "checkbox", "img"}
    named = [n for n in nodes if n.get("role", {}).get("value") in roles and not n.get("ignored")]
    nameless = [n for n in named if not n.get("name", {}).get("value") and n["role"]["value"] != "img"]
    assert named
    assert not nameless
    browser.resize(1200, 860)


@pytest.mark.parametrize("view", ["make", "train", "look"])
def test_every_text_stands_out_light_and_dark(browser, view) -> None:
    browser.run(f"location.hash = '#/{view}'")
    for dark in (True, False):
        browser.shade(dark)
        time.sleep(0.2)
        assert browser.run(FAINT) == []
