"""Run the README's commands and Python as they stand, each once, in order; stop at the first that fails.

`make test` is left out, since it has just run. The folder of photographs that the README trains on is the user's own;
here it is drawn. Files that the README links to must exist.
"""

import random
import re
import subprocess
import sys
from pathlib import Path

from PIL import Image, ImageDraw


def draw_photographs(folder: Path, count: int = 60) -> None:
    """Coloured discs on coloured ground, in two classes."""
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


def blocks(readme: str) -> list[list[str]]:
    """What to run: each shell line as bash would, each Python block as a whole."""
    found = []
    for kind, text in re.findall(r"```(sh|python)\n(.*?)```", readme, flags=re.S):
        if kind == "python":
            found.append([".venv/bin/python", "-c", text])
        else:
            lines = text.replace("\\\n", " ").splitlines()
            found += [["bash", "-euo", "pipefail", "-c", line] for line in lines if line.strip()]
    return found


def main() -> None:
    for made in ("photos", "out", "runs/photos", "runs/roll", "runs/cf"):
        if Path(made).exists():
            sys.exit(f"{made} exists, and this would write there: run it in a fresh clone")
    readme = Path("README.md").read_text()
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", readme):
        if not Path(target).exists():
            sys.exit(f"README: links to {target}, which does not exist")
    draw_photographs(Path("photos"))
    todo = [command for command in blocks(readme) if command[-1].strip() != "make test"]
    for command in todo:
        print(f"$ {command[-1]}", flush=True)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            sys.exit(f"README: this ended with exit code {done.returncode}:\n{command[-1]}")
    print(f"README: {len(todo)} commands ran as written")


if __name__ == "__main__":
    main()
