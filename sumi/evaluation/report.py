"""The report: one HTML file that says how good a model is, shows it, and tells how it was made.

It is complete in itself: pictures lie in it as base64, the style stands in it, and it needs no network and no script.
It reads on a telephone and on a wide screen, in light and in dark. All words given to it are escaped.
"""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sumi.errors import InputError

KINDS = ((b"\x89PNG", "png"), (b"RIFF", "webp"), (b"\xff\xd8", "jpeg"), (b"GIF8", "gif"))


@dataclass(frozen=True)
class Figure:
    """A picture with a caption: a chart as SVG text, or the bytes or the path of a PNG, WebP, JPEG or GIF file.

    ``wide``: across the page instead of beside the others.
    """

    picture: str | bytes | Path
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of words under a header; the columns after the first are set as numbers. An empty header is left out."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A heading with paragraphs (separated by blank lines), figures, tables and ``code``: commands, configurations."""

    title: str
    text: str = ""
    figures: Sequence[Figure] = field(default=())
    tables: Sequence[Table] = field(default=())
    code: str = ""


def write_report(path: Path, *, title: str, verdict: str, sections: Sequence[Section], subtitle: str = "") -> None:
    """Write the page to ``path``: the title, the verdict in words, then the sections.

    Raises InputError for a picture that is none, OSError where the file cannot be written; an older file stays then.
    """
    page = "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{html.escape(title)}</title>",
            f"<style>{STYLE}</style>",
            "</head>",
            "<body>",
            "<header>",
            f"<h1>{html.escape(title)}</h1>",
            f'<p class="subtitle">{html.escape(subtitle)}</p>' if subtitle else "",
            f'<div class="verdict">{_paragraphs(verdict)}</div>',
            "</header>",
            "<main>",
            *(_section(section) for section in sections),
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text(page, encoding="utf-8")
    temporary.replace(path)


def _section(section: Section) -> str:
    parts = [f"<section>\n<h2>{html.escape(section.title)}</h2>", _paragraphs(section.text)]
    if section.figures:
        parts += ['<div class="figures">', *(_figure(figure) for figure in section.figures), "</div>"]
    parts += [_table(table) for table in section.tables]
    if section.code:
        parts.append(f"<pre>{html.escape(section.code)}</pre>")
    return "\n".join([*parts, "</section>"])


def _paragraphs(text: str) -> str:
    paragraphs = (" ".join(part.split()) for part in text.split("\n\n"))
    return "\n".join(f"<p>{html.escape(part)}</p>" for part in paragraphs if part)


def _figure(figure: Figure) -> str:
    caption = html.escape(figure.caption)
    if isinstance(figure.picture, str):
        if not figure.picture.startswith("<svg"):
            raise InputError(f"the picture of {figure.caption!r} is a string but no SVG: give a file as Path or bytes")
        picture = f'<div class="chart" role="img" aria-label="{caption}">{figure.picture}</div>'
    else:
        data = figure.picture.read_bytes() if isinstance(figure.picture, Path) else figure.picture
        kinds = [kind for start, kind in KINDS if data.startswith(start)]
        if not kinds:
            raise InputError(f"the picture of {figure.caption!r} is no PNG, WebP, JPEG or GIF file: give one of these")
        encoded = base64.b64encode(data).decode()
        picture = f'<img src="data:image/{kinds[0]};base64,{encoded}" alt="{caption}">'
    attribute = ' class="wide"' if figure.wide else ""
    return f"<figure{attribute}>{picture}<figcaption>{caption}</figcaption></figure>"


def _table(table: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    head = f"<thead>{row(table.header, 'th')}</thead>" if table.header else ""
    body = "\n".join(row(cells, "td") for cells in table.rows)
    caption = f"<figcaption>{html.escape(table.caption)}</figcaption>" if table.caption else ""
    return f'<figure class="table"><table>{head}\n<tbody>{body}</tbody></table>{caption}</figure>'


STYLE = """
:root { color-scheme: light dark; --paper: #faf8f4; --card: #ffffff; --ink: #1c1b1a; --soft: #5c5851; --faint: #b9b4ab;
  --line: #e4dfd5; --first: #b5432f; --second: #2f6690; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15161a; --card: #1d1f25; --ink: #eae6de; --soft: #a8a49b; --faint: #6b6862; --line: #30323a;
    --first: #e8836d; --second: #79b0d8; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.1rem 4rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 1.05rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
h1 { margin: 0; font-size: clamp(1.7rem, 5vw, 2.5rem); line-height: 1.15; letter-spacing: -0.015em; }
h2 { margin: 0 0 0.6rem; font-size: 1.3rem; line-height: 1.25; }
p { margin: 0 0 0.8rem; max-width: 44rem; }
.verdict p { max-width: none; }
.subtitle { margin: 0.5rem 0 0; color: var(--soft); }
.verdict { margin: 1.6rem 0 0; padding: 1.1rem 1.3rem 0.3rem; border-left: 4px solid var(--first);
  background: var(--card); border-radius: 0 10px 10px 0; font-size: 1.15rem; }
section { margin-top: 3rem; padding-top: 1.4rem; border-top: 1px solid var(--line); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1.2rem;
  align-items: start; margin-top: 1rem; }
figure { margin: 0; min-width: 0; padding: 1rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; }
figure.wide { grid-column: 1 / -1; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
.chart svg { display: block; width: 100%; max-width: 40rem; height: auto; margin: 0 auto; }
figcaption { margin-top: 0.7rem; color: var(--soft); font-size: 0.92rem; line-height: 1.45; }
.table { margin-top: 1.2rem; overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: 0.95rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.45rem 0.7rem 0.45rem 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: baseline; }
th { color: var(--soft); font-weight: 600; }
tr:last-child td { border-bottom: 0; }
pre { margin: 1.2rem 0 0; padding: 1rem; background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  overflow-x: auto; font: 0.85rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
@media print { body { max-width: none; } figure, section { break-inside: avoid; } }
"""
