"""Are emoji what their captions say? As a CLIP of another seed finds them, for docs/results/conditioning.md.

    python -m benchmarks.emoji --data FOLDER [--seconds 2700] [--autoencoder-seconds 480] [--clip-seconds 300]
        [--guidance 4] [--set NAME=VALUE ...]

FOLDER: pictures with metadata.jsonl, each with a ``text``, ``keywords``, ``codepoints`` and ``skin_tone``. Those
without a tone are copied; a tenth of their first code points, all pictures that begin with them, is held out. A
latent text-to-image model (`stable-diffusion`), its autoencoder, and a CLIP of another seed are trained on the others.
With ``--autoencoder-seconds 0`` the model is one of pixels (`text-to-image`).

Rows: how often the CLIP finds the own caption of a picture first among 100, with 95 % intervals: of real pictures, of
samples, and of samples with the captions moved on by one; for captions of training, and for those held out. Seconds are
CPU seconds, of one thread (`benchmarks.trainings`); what was measured stands in runs/emoji/results.json.
"""

import argparse
import json
import os
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import Tensor

from benchmarks.trainings import Set, figures
from sumi.conditioning.text import captions_of
from sumi.data.dataset import Dataset
from sumi.data.items import BYTES
from sumi.evaluation.retrieval import galleries, recalls
from sumi.figures.pictures import image_grid, png
from sumi.models.clip import ClipModel
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load

FOLDER = Path("runs/emoji")
AUTOENCODER = ("network.widths=32,64,128", "network.blocks=1,2,2", "network.regularizer.channels=8")
MODEL = ("training.warmup_steps=50", "training.ema_decay=0.999")
PIXELS = ("training.compile=on",)
LATENT = ("training.batch_size=64",)
CLIP = ("seed=9", "training.batch_size=128")
MOST, SHOWN = 300, 24


def pictures(source: Path) -> Path:
    """The folder of copies, with the same metadata and a split."""
    folder = FOLDER / "pictures"
    if not (folder / "metadata.jsonl").exists():
        folder.mkdir(parents=True, exist_ok=True)
        rows = [json.loads(line) for line in (source / "metadata.jsonl").read_text().splitlines()]
        plain = [row for row in rows if not row["skin_tone"]]
        for row in plain:
            shutil.copyfile(source / row["file_name"], folder / row["file_name"])
            first = row["codepoints"].split()[0]
            row["split"] = "test" if sha256(first.encode()).digest()[0] < 26 else "train"
        kept = ("file_name", "text", "keywords", "split")
        lines = [json.dumps({name: row[name] for name in kept}, ensure_ascii=False) for row in plain]
        (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def chosen(part: Dataset) -> list[list[int]]:
    """Galleries of up to 100 items of different captions, up to 300 items in all."""
    return galleries(captions_of(part), 0)[: MOST // 100]


def found(part: Dataset, name: str, model: DiffusionModel, clip: ClipModel, guidance: float) -> dict[str, Any]:
    """R@1 of real pictures, of samples of their captions, and of these samples for others' captions; a grid."""
    texts, lists = captions_of(part), chosen(part)
    captions = [[texts[item] for item in items] for items in lists]
    made = [
        torch.as_tensor(model.sample(len(some), prompt=some, guidance=guidance, seed=1, progress=False))
        for some in captions
    ]
    shown = BYTES.to_bytes(made[0][:SHOWN].as_subclass(Tensor))
    sheet = image_grid(shown, columns=8, scale=2, captions=captions[0][:SHOWN])
    (FOLDER / f"{name}.png").write_bytes(png(sheet))

    def first(pictures: list[Tensor], by: int = 0) -> dict[str, float]:
        pairs = zip(pictures, captions, strict=True)
        return figures(recalls([clip.score(x, np.roll(some, by).tolist()) for x, some in pairs]).texts[0])

    real = [part.batch(np.array(items)) for items in lists]
    return {"n": sum(map(len, lists)), "real": first(real), "samples": first(made), "moved": first(made, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--seconds", type=float, default=2700)
    parser.add_argument("--autoencoder-seconds", type=float, default=480, help="0: no autoencoder")
    parser.add_argument("--clip-seconds", type=float, default=300)
    parser.add_argument("--guidance", type=float, default=4)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="more settings of the model")
    options = parser.parse_args()
    torch.set_num_threads(1)
    images = Set("emoji", str(pictures(options.data)), FOLDER)
    clip = load(images.trained("clip", "clip", options.clip_seconds, CLIP), ClipModel)
    recipe, name, settings = "text-to-image", "model", (*MODEL, *PIXELS, *options.set)
    if options.autoencoder_seconds:
        autoencoder = images.trained("autoencoder", "autoencoder", options.autoencoder_seconds, AUTOENCODER)
        recipe, name = "stable-diffusion", "latent model"
        settings = (*MODEL, *LATENT, f"autoencoder.source={autoencoder}", *options.set)
    name = " ".join([name, *options.set])
    model = load(images.trained(recipe, name, options.seconds, settings), DiffusionModel)
    print("| captions | pictures | real | samples | samples, others' captions |\n| --- | --- | --- | --- | --- |")
    for name, part in zip(("of training", "held out"), images.parts, strict=True):
        key = f"{name} {model.digest[:8]} {clip.digest[:8]} {options.guidance:g}"
        one = images.kept(key, found, part, name.replace(" ", "-"), model, clip, options.guidance)
        shares = (one[column] for column in ("real", "samples", "moved"))
        cells = (f"{100 * e['value']:.0f} % [{100 * e['low']:.0f}, {100 * e['high']:.0f}]" for e in shares)
        print(f"| {name} | {one['n']} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
