"""The pictures of docs/how-to/studio.md: python -m scripts.photograph_studio [FOLDER]

Opens a studio in a scratch folder, uses it as a person would, and photographs each view: wide, on a phone, dark. The
pictures of the page go into docs/images; with FOLDER all of them go there.
"""

import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from scripts.browser import Browser

IMAGES = Path(__file__).parents[1] / "docs" / "images"
WIDE, PHONE = (1280, 880), (390, 844)
PROMPT = "a blue robot with a satellite dish on a pale pink background"


def main() -> None:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "sumi", "studio", "--port", "0", "--no-browser", "--out", scratch]
        studio = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert studio.stdout is not None
        try:
            found = re.search(r"http\S+", studio.stdout.readline())
            assert found is not None
            with Browser(*WIDE) as browser:
                browser.open(found[0])
                browser.until("document.querySelector('[data-ready]')")
                make(browser, out, everything=out != IMAGES)
                look(browser, out, everything=out != IMAGES)
                train(browser, out, everything=out != IMAGES)
        finally:
            studio.terminate()
            studio.wait()


def make(browser: Browser, out: Path, *, everything: bool) -> None:
    """A sheet of a prompt, and one on the way."""
    if everything:
        views(browser, out, "empty", everything=True)
    browser.write("#prompt", PROMPT)
    browser.press("Make four")
    browser.until("document.querySelector('progress').value >= 13")
    if everything:
        keep(browser, out / "studio-emerging.png")
    sheets(browser, 1)
    browser.press("a purple monster with three eyes on a cream background")
    browser.press("Make four")
    sheets(browser, 2)
    views(browser, out, "make", everything=everything, also=("dark", "phone"))
    if everything:
        browser.press("Paint")
        browser.until("document.querySelector('dialog[open]')")
        press = "new KeyboardEvent('keydown', {key, bubbles: true})"
        browser.run(f"[' ', 'ArrowUp', ' '].forEach(key => document.querySelector('.marks').dispatchEvent({press}))")
        views(browser, out, "paint", everything=True, whole=False)
        browser.press("Paint four")
        sheets(browser, 3)
        browser.press("Blend")
        browser.press("Blend", 1)
        sheets(browser, 4)
        views(browser, out, "blend", everything=True)


def train(browser: Browser, out: Path, *, everything: bool) -> None:
    """An examination above a short training."""
    browser.run("location.hash = '#/train'")
    browser.until("document.querySelector('.train option[value=digits]')")
    if everything:
        views(browser, out, "train-empty", everything=True)
    choose = "s => { s.value = 'digits'; s.dispatchEvent(new Event('change')); }"
    for again in (False, True):
        browser.run(f"({choose})(document.querySelector('.train select'))")
        browser.press("Examine the data")
        browser.until("!document.querySelector('.ready').hidden", 90)
        if not again:
            browser.write("#train-steps", "400")
            browser.press("Start training")
            browser.until("document.querySelector('.training.done .measured .whisker')", 200)
    views(browser, out, "train", everything=everything)


def look(browser: Browser, out: Path, *, everything: bool) -> None:
    """A sample in noise, an edited schedule, solvers, and two models side by side."""
    browser.run("location.hash = '#/look'")
    browser.until("document.querySelector('.look').dataset.noised")
    browser.run("document.querySelector('.thumb')?.click()")
    browser.write(".noising input[type=range]", "0.62")
    browser.until("document.querySelector('.look').dataset.noised === '0.62'")
    browser.until("document.querySelector('[data-plotted]')")
    browser.write(".parameters .field:last-child input", "330")
    browser.until("document.querySelector('.editor .command').textContent.includes('schedule.')")
    if not everything:
        keep(browser, out / "studio-look.png", whole=False)
    browser.press("Compare solvers")
    browser.until("document.querySelector('.solving table')", 90)
    browser.run("[...document.querySelectorAll('.run .check input')].slice(0, 2).forEach(box => box.click())")
    browser.until("document.querySelector('.compared table')")
    if everything:
        views(browser, out, "look", everything=True)
    else:
        for name, part in (("schedule", 1), ("solvers", 3)):
            browser.run(f"document.querySelectorAll('.look > section')[{part}].scrollIntoView()")
            browser.run("scrollBy(0, -90)")
            keep(browser, out / f"studio-{name}.png", whole=False)


def sheets(browser: Browser, count: int) -> None:
    """Wait until so many are in the history, and all is quiet."""
    browser.until(f"document.querySelectorAll('.strip .sheet').length === {count}", 90)
    browser.until("!document.querySelector('.stop')")


def views(
    browser: Browser, out: Path, name: str, *, everything: bool, whole: bool = True, also: tuple[str, ...] = ()
) -> None:
    """A view as it stands: wide, and ``also``, or for a look at all of it in each way, on a phone and dark."""
    keep(browser, out / f"studio-{name}.png", whole=whole)
    for size, dark, suffix in ((WIDE, True, "dark"), (PHONE, False, "phone"), (PHONE, True, "phone-dark")):
        if everything or suffix in also:
            browser.resize(*size)
            browser.shade(dark)
            keep(browser, out / f"studio-{name}-{suffix}.png", whole=whole)
    browser.resize(*WIDE)
    browser.shade(False)


def keep(browser: Browser, file: Path, *, whole: bool = True) -> None:
    """What is seen, or the ``whole`` page, once all images are there, in 256 colours."""
    browser.until("[...document.images].every(image => image.complete)")
    if whole:
        size = browser.run("[innerWidth, document.documentElement.scrollHeight]")
        browser.resize(*size)
    browser.run("new Promise(done => setTimeout(done, 250))")
    picture = Image.open(io.BytesIO(browser.picture())).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)


if __name__ == "__main__":
    main()
