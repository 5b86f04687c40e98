"""The report as one HTML file: how good the model is, its samples, and how to reproduce it.

It is self-contained: pictures are embedded as base64, the style is inline, and it needs no network and no script. It
fits phones and wide screens, in light and dark mode. All text is escaped.
"""

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sumi.boundary.files import write_text
from sumi.data.audio import player
from sumi.errors import InputError, printable

STACKED = 3  # columns: on a phone the first one is shown above the others
FORMATS = ((b"\x89PNG", "png"), (b"RIFF", "webp"), (b"\xff\xd8", "jpeg"), (b"GIF8", "gif"))


@dataclass(frozen=True)
class Figure:
    """A picture with a caption: an SVG as text, or a PNG, WebP, JPEG or GIF file as bytes or a path.

    ``wide``: over the full width of the page.
    """

    picture: str | bytes | Path
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of text under an optional header; a row of one cell is a heading for the rows below.

    ``folded``: collapsed until a reader opens it by its caption.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """A heading with paragraphs (separated by blank lines), figures, ``sounds`` (a name and a WAV file each) with
    players, tables and ``code`` (commands).

    ``inner``: under the heading of the section before it.
    """

    title: str
    text: str = ""
    figures: Sequence[Figure] = field(default=())
    tables: Sequence[Table] = field(default=())
    code: str = ""
    inner: bool = False
    sounds: Sequence[tuple[str, bytes]] = field(default=())


@dataclass(frozen=True)
class Verdict:
    """``headline``: one sentence to read in ten seconds; ``points``: the evidence, each a name and a sentence."""

    headline: str
    points: Sequence[tuple[str, str]] = ()

    def __str__(self) -> str:
        """The headline, then one line per point."""
        return "\n".join(map(printable, [self.headline, *(f"{name}: {words}" for name, words in self.points)]))


def write_report(path: Path, *, title: str, verdict: Verdict, sections: Sequence[Section], subtitle: str = "") -> None:
    """Write the page to ``path``: title, verdict, sections.

    Raises InputError for a picture of an unknown format, SumiError if the file cannot be written; an older file stays.
    """
    page = "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{_text(title)}</title>",
            f"<style>{STYLE}</style>",
            "</head>",
            "<body>",
            "<header>",
            f"<h1>{_text(title)}</h1>",
            f'<p class="subtitle">{_text(subtitle)}</p>' if subtitle else "",
            _verdict(verdict),
            "</header>",
            "<main>",
            *(_section(section) for section in sections),
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )
    write_text(path, page)


def _verdict(verdict: Verdict) -> str:
    points = "\n".join(f"<dt>{_text(name)}</dt><dd>{_text(words)}</dd>" for name, words in verdict.points)
    return f'<div class="verdict"><p>{_prose(verdict.headline)}</p>{f"<dl>{points}</dl>" if points else ""}</div>'


def _section(section: Section) -> str:
    opened, rank = ('<section class="inner">', "h3") if section.inner else ("<section>", "h2")
    parts = [f"{opened}\n<{rank}>{_text(section.title)}</{rank}>", _paragraphs(section.text)]
    if section.figures:
        parts += ['<div class="figures">', *(_figure(figure) for figure in section.figures), "</div>"]
    if section.sounds:
        parts += [
            '<div class="sounds">',
            *(player(content, printable(name)) for name, content in section.sounds),
            "</div>",
        ]
    parts += [_table(table) for table in section.tables]
    if section.code:
        commands = "\n".join(map(_text, section.code.split("\n")))
        parts.append(f"<pre>{commands}</pre>")
    return "\n".join([*parts, "</section>"])


def _paragraphs(text: str) -> str:
    paragraphs = (" ".join(part.split()) for part in text.split("\n\n"))
    return "\n".join(f"<p>{_prose(part)}</p>" for part in paragraphs if part)


def _figure(figure: Figure) -> str:
    caption = _text(figure.caption)
    match figure.picture:
        case str(svg) if svg.startswith("<svg"):
            picture = f'<div class="chart" role="img" aria-label="{caption}">{svg}</div>'
        case str():
            raise InputError(f"picture: {figure.caption!r} is a string but not SVG; give a file as Path or bytes")
        case bytes(data):
            picture = _embedded(data, figure.caption)
        case Path() as path:
            picture = _embedded(path.read_bytes(), figure.caption)
    attribute = ' class="wide"' if figure.wide else ""
    return f"<figure{attribute}>{picture}<figcaption>{caption}</figcaption></figure>"


def _embedded(data: bytes, caption: str) -> str:
    formats = [name for start, name in FORMATS if data.startswith(start)]
    if not formats:
        raise InputError(f"picture: {caption!r} is not a PNG, WebP, JPEG or GIF file; give one of these")
    encoded = base64.b64encode(data).decode()
    return f'<img src="data:image/{formats[0]};base64,{encoded}" alt="{_text(caption)}">'


def _table(table: Table) -> str:
    columns = max(map(len, [table.header, *table.rows]), default=0)

    def row(cells: Sequence[str]) -> str:
        if len(cells) == 1 < columns:
            return f'<tr><th scope="rowgroup" colspan="{columns}">{_text(cells[0])}</th></tr>'
        return "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in cells) + "</tr>"

    head = "".join(f'<th scope="col">{_text(cell)}</th>' for cell in table.header)
    body = "\n".join(map(row, table.rows))
    narrow = ' class="narrow"' if columns <= STACKED else ""
    inner = f"<table{narrow}>{f'<thead><tr>{head}</tr></thead>' if head else ''}\n<tbody>{body}</tbody></table>"
    caption = _text(table.caption)
    if table.folded:
        return f'<details class="table"><summary>{caption}</summary>{inner}</details>'
    return f'<figure class="table">{inner}{f"<figcaption>{caption}</figcaption>" if caption else ""}</figure>'


def _prose(text: str) -> str:
    """As `_text`; what stands between backticks is code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", _text(text))


def _text(text: str) -> str:
    """Text of one line for the page: what would begin a line or move a terminal's cursor is shown escaped."""
    return html.escape(printable(text))


STYLE = """
:root { color-scheme: light dark; --paper: #faf8f4; --card: #ffffff; --ink: #1c1b1a; --soft: #5c5851; --faint: #b9b4ab;
  --line: #e4dfd5; --first: #b5432f; --second: #2f6690; --noise: #8f6514; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15161a; --card: #1d1f25; --ink: #eae6de; --soft: #a8a49b; --faint: #6b6862; --line: #30323a;
    --first: #e8836d; --second: #79b0d8; --noise: #d3aa5c; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.1rem 4rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 1.05rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
.sounds { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: 0.8rem; margin: 1rem 0; }
.sound { margin: 0; font-size: 0.85rem; } .sound audio { width: 100%; height: 2.2rem; }
h1 { margin: 0; font-size: clamp(1.7rem, 5vw, 2.5rem); line-height: 1.15; letter-spacing: -0.015em; }
h2 { margin: 0 0 0.6rem; font-size: 1.3rem; line-height: 1.25; }
h3 { margin: 0 0 0.4rem; font-size: 1.08rem; line-height: 1.3; }
p { margin: 0 0 0.8rem; max-width: 44rem; }
.subtitle { margin: 0.5rem 0 0; color: var(--soft); }
.verdict { margin: 1.6rem 0 0; padding: 1.2rem 1.4rem; border-left: 4px solid var(--first); background: var(--card);
  border-radius: 0 10px 10px 0; }
.verdict p { margin: 0; max-width: none; font-size: clamp(1.2rem, 3vw, 1.45rem); line-height: 1.4; font-weight: 600; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.45rem 1.2rem; margin: 1.1rem 0 0; }
dt { color: var(--soft); font-weight: 600; }
dd { margin: 0; }
section { margin-top: 3rem; padding-top: 1.4rem; border-top: 1px solid var(--line); }
section.inner { margin-top: 2.2rem; padding-top: 0; border-top: 0; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1.2rem;
  align-items: start; margin-top: 1rem; }
figure, details { margin: 0; min-width: 0; padding: 1rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; }
figure.wide { grid-column: 1 / -1; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
.chart svg { display: block; width: 100%; max-width: 40rem; height: auto; margin: 0 auto; }
figcaption { margin-top: 0.7rem; color: var(--soft); font-size: 0.92rem; line-height: 1.45; }
.table { margin-top: 1.2rem; overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: 0.95rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.45rem 0.9rem 0.45rem 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: baseline; }
th { color: var(--soft); font-weight: 600; }
th[scope="rowgroup"] { padding-top: 1.3rem; color: var(--ink); }
tr:last-child td { border-bottom: 0; }
summary { cursor: pointer; color: var(--soft); }
pre { margin: 1.2rem 0 0; padding: 1rem; background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  overflow-x: auto; font: 0.85rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
@media (max-width: 40rem) {
  dl { grid-template-columns: 1fr; gap: 0.1rem; }
  dd { margin-bottom: 0.6rem; }
  .narrow tr { display: grid; grid-template-columns: 1fr 1fr; padding: 0.45rem 0;
    border-bottom: 1px solid var(--line); }
  .narrow :is(th, td) { padding: 0 0.6rem 0 0; border: 0; overflow-wrap: anywhere; }
  .narrow :is(td:first-child, th:first-child) { grid-column: 1 / -1; }
  .narrow th:empty { display: none; }
  .narrow th[scope="rowgroup"] { padding-top: 0.9rem; }
}
@media print { body { max-width: none; } figure, section { break-inside: avoid; } }
"""
