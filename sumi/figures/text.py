"""Pages of text: sequences of symbols, a line each, in columns; masks are dots of their own colour."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

MASK: Final = "·"
"""What stands for a mask in a line."""
SIZE, LINE, MARGIN, GAP = 15, 21, 14, 26
INK, PALE, ORANGE, PAPER = "#1f2937", "#6b7280", "#c2410c", "#ffffff"


def page(lines: Sequence[str], title: str = "", *, columns: int = 1, width: int = 0) -> Image.Image:
    """``lines`` from top to bottom in ``columns``, each at least ``width`` characters wide, below a ``title``."""
    rows = max(1, -(-len(lines) // columns))
    cell = max([width, 1, *map(len, lines)]) * _advance() + GAP
    wide = max(columns * cell, round(_font().getlength(title))) + 2 * MARGIN - (GAP if columns * cell else 0)
    head = LINE + 6 if title else 0
    picture = Image.new("RGB", (wide, head + rows * LINE + 2 * MARGIN), PAPER)
    draw = ImageDraw.Draw(picture)
    if title:
        draw.text((MARGIN, MARGIN), title, fill=PALE, font=_font())
    for i, line in enumerate(lines):
        place = MARGIN + (i // rows) * cell, MARGIN + head + (i % rows) * LINE
        draw.text(place, line.replace(MASK, " "), fill=INK, font=_font())
        draw.text(place, "".join(c if c == MASK else " " for c in line), fill=ORANGE, font=_font())
    return picture


def pages(parts: Sequence[Image.Image], columns: int) -> Image.Image:
    """Pictures of one size in rows of ``columns``."""
    wide, high = max(part.width for part in parts), max(part.height for part in parts)
    rows = -(-len(parts) // columns)
    picture = Image.new("RGB", (wide * min(columns, len(parts)), high * rows), PAPER)
    for i, part in enumerate(parts):
        picture.paste(part, (i % columns * wide, i // columns * high))
    return picture


def _advance() -> int:
    return round(_font().getlength("M"))


@cache
def _font() -> ImageFont.FreeTypeFont:
    import matplotlib  # comes with a font of fixed width

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSansMono.ttf", SIZE)
