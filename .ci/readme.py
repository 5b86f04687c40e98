"""Run the README's shell commands as they stand, each once, in order; stop at the first that fails.

`make test` is left out, since it has just run. The folder of photographs that the README trains on is the user's own;
here it is drawn.
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


def commands(readme: Path) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", readme.read_text(), flags=re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def main() -> None:
    draw_photographs(Path("photos"))
    seen: set[str] = set()
    for command in commands(Path("README.md")):
        if command in seen or command.split("#")[0].strip() == "make test":
            continue
        seen.add(command)
        print(f"$ {command}", flush=True)
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            sys.exit(f"README: `{command}` ended with exit code {done.returncode}")
    print(f"README: {len(seen)} commands ran as written")


if __name__ == "__main__":
    main()
