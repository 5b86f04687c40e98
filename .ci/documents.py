"""Run the documents as a reader would: every command and every Python block of README.md and docs/, page by page.

    python .ci/documents.py [--check] [PAGE …]

Every block says what it is: ``sh`` and ``python`` run, ``text``, ``json`` and ``toml`` are only read. The lines of an
``sh`` block run one after the other; the Python blocks of a page share one process and its names. Four comments, which
a reader of the page does not see, change that; each stands on the line above its block:

    <!-- skip: REASON -->           the block is not run (each is listed at the end, with its reason)
    <!-- smaller: 20000=60 … -->    runs with these numbers replaced, so that a training of hours takes seconds
    <!-- makes: runs/NAME -->       runs only where that is not there yet, as another page has made it
    <!-- needs: docs/PAGE.md … -->  anywhere in a page: those pages run first, since this one uses the runs they make

Pages run in a scratch folder that looks like the repository, two at a time, and a folder of photographs is drawn there.
Every page, and every line that only calls ``sumi``, is a process of its own, forked from one that has imported torch
and done nothing else; any other line is run by bash.
``--check`` runs nothing: it looks for blocks without a language, links to nowhere, pages that the site leaves out, two
pages that write to one place, and anything that the built site would load from another host.
"""

import argparse
import multiprocessing
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import traceback
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[1]
FIRST = ("README.md", "docs/tutorial.md")
RUN, READ = ("sh", "python"), ("text", "json", "toml")
LEFT_OUT = ("make test",)  # it has just run
GENERATED = "docs/reference/"
WRITES = re.compile(r"""--out[ =](\S+)|\bout=["']([^"']+)["']""")
SHELL = re.compile(r"[#|&;<>$`*?(){}~\n]")  # what only a shell makes sense of
FORKED = multiprocessing.get_context("forkserver")
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """One fenced block of a page, from ``line`` on."""

    page: str
    line: int
    language: str
    text: str
    skipped: str
    makes: str

    @property
    def commands(self) -> list[str]:
        """The lines of a shell block, a line that ends in a backslash with the next."""
        return [line for line in self.text.replace("\\\n", " ").splitlines() if line.strip()]


def pages() -> list[str]:
    """README.md and every page of docs/ that a person wrote, the first two first."""
    found = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))
    return [*FIRST, *(page for page in found if page not in FIRST and not page.startswith(GENERATED))]


def blocks(page: str) -> Iterator[Block]:
    """The blocks of a page in order, with what the comment above each says."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        above = text[: match.start()].rstrip("\n").rpartition("\n")[2]
        skip = re.fullmatch(r"\s*<!-- skip: (.+) -->", above)
        smaller = re.fullmatch(r"\s*<!-- smaller: (.+) -->", above)
        body = re.sub(rf"^{match['indent']}", "", match["text"], flags=re.M)
        for old, new in (pair.split("=") for pair in smaller[1].split()) if smaller else ():
            body, changed = re.subn(rf"(?<![\w.]){re.escape(old)}(?![\w.])", new, body)
            if not changed:
                sys.exit(f"{page}: 'smaller: {old}={new}' changes nothing in the block below it")
        line = text.count("\n", 0, match.start()) + 2
        makes = re.fullmatch(r"\s*<!-- makes: (.+) -->", above)
        yield Block(page, line, match["language"], body, skip[1] if skip else "", makes[1] if makes else "")


def needed(page: str) -> list[str]:
    """The pages that must run before this one, which themselves need none."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [name for names in re.findall(r"<!-- needs: (.+?) -->", text) for name in names.split()]


def places_written(page: str) -> set[str]:
    """The folders and files that the blocks of a page that run are told to write to."""
    ran = (b.text for b in blocks(page) if b.language in RUN and not b.skipped and not b.makes)
    return {(option or argument).rstrip("/") for text in ran for option, argument in WRITES.findall(text)}


def draw_photographs(folder: Path, count: int = 120) -> None:
    """Coloured discs and squares on coloured ground, in two classes: the reader's own photographs."""
    dice = random.Random(0)
    for index in range(count):
        picture = Image.new("RGB", (96, 72), tuple(dice.randrange(256) for _ in range(3)))
        x, y, r = dice.randrange(20, 70), dice.randrange(20, 50), dice.randrange(8, 20)
        box = (x - r, y - r, x + r, y + r)
        draw = ImageDraw.Draw(picture)
        (draw.ellipse if index % 2 else draw.rectangle)(box, fill=tuple(dice.randrange(256) for _ in range(3)))
        path = folder / ("discs" if index % 2 else "squares") / f"{index:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)


def scratch() -> Path:
    """A folder with links to what the repository holds, and photographs; runs and images are made in it."""
    folder = Path(tempfile.mkdtemp(prefix="documents-"))
    for path in ROOT.iterdir():
        if path.name not in (".git", "runs", "out", "photos", "explain"):
            (folder / path.name).symlink_to(path)
    draw_photographs(folder / "photos")
    return folder


def write_to(log: Path) -> None:
    """Send what this process prints from here on to the end of a file."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


def run_sumi(words: list[str], folder: Path, log: Path) -> None:
    """Run ``sumi`` in this new process as its command does."""
    write_to(log)
    os.chdir(folder)
    sys.argv = words
    from sumi.cli.main import main

    sys.exit(main())


def run_command(command: str, log: Path) -> int:
    """Run a line of a shell block in the current folder; return its exit code."""
    if command.startswith("sumi ") and not SHELL.search(command):
        process = FORKED.Process(target=run_sumi, args=(shlex.split(command), Path.cwd(), log))
        process.start()
        process.join()
        return process.exitcode or 0
    return subprocess.run(["bash", "-euo", "pipefail", "-c", command], stdin=subprocess.DEVNULL, check=False).returncode


def run_page(page: str, folder: Path, log: Path) -> None:
    """Run the blocks of one page in this new process and ``folder``; the first that fails ends it."""
    write_to(log)
    os.chdir(folder)
    names: dict[str, object] = {"__name__": "__main__"}
    count = 0
    for block in blocks(page):
        if block.language not in RUN or block.skipped or (block.makes and Path(block.makes).exists()):
            continue
        if block.language == "python":
            print(f">>> {page}:{block.line}", flush=True)
            source = "\n" * (block.line - 1) + block.text  # a traceback then names the line of the page
            begun = time.perf_counter()
            try:
                exec(compile(source, page, "exec"), names)
            except BaseException:
                traceback.print_exc()
                sys.exit(f"{page}:{block.line}: this Python failed:\n{block.text}")
            print(f"    {time.perf_counter() - begun:.1f} s", flush=True)
            count += 1
        for command in block.commands if block.language == "sh" else []:
            if command.strip() in LEFT_OUT:
                continue
            print(f"$ {command}", flush=True)
            begun = time.perf_counter()
            code = run_command(command.strip(), log)
            if code:
                sys.exit(f"{page}:{block.line}: this ended with exit code {code}:\n{command}")
            print(f"    {time.perf_counter() - begun:.1f} s", flush=True)
            count += 1
    print(f"{page}: {count} commands and blocks", flush=True)


def run_all(wanted: list[str]) -> None:
    """Run pages, and before them those they need, two at a time; print each page's output when it ends."""
    folder = scratch()
    binaries = ROOT / ".venv" / "bin"
    os.environ |= {
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "agg",
    }
    FORKED.set_forkserver_preload(["__main__", "torch", "sumi.cli.main"])
    order = list(dict.fromkeys([*(name for page in wanted for name in needed(page)), *wanted]))
    ended: dict[str, Future[int]] = {}

    def run_one(page: str) -> int:
        log = Path(f"{folder}.{page.replace('/', '.')}.log")
        wait([ended[name] for name in needed(page)])
        begun = time.perf_counter()
        process = FORKED.Process(target=run_page, args=(page, folder, log))
        process.start()
        process.join()
        print(f"{log.read_text(encoding='utf-8')}    {time.perf_counter() - begun:.0f} s\n", flush=True)
        log.unlink()
        return process.exitcode or 0

    with ThreadPoolExecutor(2) as pool:
        for page in order:
            ended[page] = pool.submit(run_one, page)
    failed = [page for page in order if ended[page].result()]
    for block in (block for page in wanted for block in blocks(page) if block.skipped):
        print(f"not run: {block.page}:{block.line}: {block.skipped}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)} (what they made is in {folder})")
    shutil.rmtree(folder)
    print(f"{len(order)} pages ran as written")


def anchors(text: str) -> set[str]:
    """The places of a page that a link may name: its headings, as GitHub and the site spell them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), flags=re.M)
    plain = (re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain} | set(re.findall(r"\{ #(\w+) \}", text))


def problems() -> Iterator[str]:
    """What is wrong with the documents without running them, a line each."""
    site = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))
    shown = set(re.findall(r"'([\w/-]+\.md)'", str(site["project"]["nav"])))
    written: dict[str, str] = {}
    for page in pages():
        path = ROOT / page
        text = path.read_text(encoding="utf-8")
        for block in blocks(page):
            if block.language not in (*RUN, *READ):
                known = ", ".join((*RUN, *READ))
                yield f"{page}:{block.line}: a block of {block.language or 'no language'}; use one of {known}"
        for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", FENCE.sub("", text)):
            name, _, anchor = target.partition("#")
            to = path.parent / name if name else path
            generated = str(to.resolve().relative_to(ROOT)).startswith(GENERATED)
            if generated and not (ROOT / GENERATED).exists():
                continue  # made by `make docs`, which checks again
            if not to.exists():
                yield f"{page}: links to {target}, which does not exist"
            elif anchor and to.suffix == ".md" and anchor not in anchors(to.read_text(encoding="utf-8")):
                yield f"{page}: links to {target}, and {name or page} has no such heading"
        for name in re.findall(r"`((?:sumi|tests|benchmarks|docs|scripts|\.ci)/[\w./*-]+)`", text):
            if not any(ROOT.glob(name)) and not name.startswith(GENERATED):
                yield f"{page}: names {name}, which does not exist"
        for to in places_written(page):
            other = written.setdefault(to, page)
            if other != page:
                yield f"{page}: writes to {to}, as {other} does; pages run together, so give it its own name"
        for missing in (name for name in needed(page) if not (ROOT / name).exists()):
            yield f"{page}: needs {missing}, which does not exist"
        if page.startswith("docs/") and page.removeprefix("docs/") not in shown:
            yield f"{page}: is not in the nav of zensical.toml"


def loaded_from_elsewhere() -> Iterator[str]:
    """What the built site would fetch from another host: scripts, styles, fonts, pictures, a line each."""
    for path in sorted((ROOT / "site").rglob("*.html")):
        text = path.read_text(encoding="utf-8")
        for tag in re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", text):
            for url in re.findall(r"(?:src|href)=[\"']?((?:https?:)?//[^\"'\s>]+)", tag):
                if 'rel="canonical"' not in tag:
                    yield f"{path.relative_to(ROOT)}: loads {url}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", metavar="PAGE", help="default: all")
    parser.add_argument("--check", action="store_true", help="run nothing")
    options = parser.parse_args()
    found = [*problems(), *loaded_from_elsewhere()]
    if found:
        sys.exit("\n".join(found))
    if not options.check:
        run_all(options.pages or pages())


if __name__ == "__main__":
    main()
