"""Pictures of a kind that no generator has seen, by a CLIP that has (DALL-E 2), for docs/results/conditioning.md.

    python -m benchmarks.zero_shot [--kind robot] [--other monster] [--seconds 150] [--scales 0,10] [-n 100]

A CLIP and a judge of another seed are trained on ``characters`` of all kinds, at 32x32 pixels. A text-to-image model,
and an unCLIP of that CLIP's vectors, are trained twice, without --kind and with it. Captions of held-out pictures of
--kind are given to each; as a control, those of --other, which all have seen, to those without --kind.

    unCLIP                      captions, prior, decoder, which reads the captions, too
    unCLIP, by vectors alone    the same, but that the decoder reads nothing
    decoder of real vectors     the vectors of the captions' own pictures, which a perfect prior would make
    words                       text-to-image, by its own words
    CLIP alone, at a scale      text-to-image without its words, guided by the CLIP; at 0: what chance gives

Columns: how many the judge takes for --kind, of how many it reads the colour and the background that captions mention,
with 95 % intervals, and what it takes most of the pictures for. Seconds are CPU seconds, of one thread
(`benchmarks.trainings`); what was measured stands in runs/zero-shot/results.json, and is not measured again.
"""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from PIL import Image
from torch import Tensor

from benchmarks.text import percent
from benchmarks.trainings import Set, figures
from sumi.conditioning.text import captions_of
from sumi.data.builtin.characters import CLASSES
from sumi.data.config import DataConfig
from sumi.data.dataset import evenly, everything
from sumi.data.image_set import ImageDataset
from sumi.data.items import BYTES
from sumi.data.load import load_images
from sumi.data.spec import expect
from sumi.evaluation.attributes import mentioned_in, readings
from sumi.evaluation.prompts import as_prompts
from sumi.figures.pictures import image_grid, png
from sumi.metrics.intervals import share
from sumi.models.attributes import JudgeModel, attributes_of
from sumi.models.clip import ClipModel
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load
from sumi.models.unclip import UnclipModel
from sumi.sampling.sampler import Guidance
from sumi.training_run import train

FOLDER = Path("runs/zero-shot")
SOURCE, REDUCE = "characters", 2
CLIP, JUDGE = ("training.batch_size=128",), ("seed=7",)
MODEL = ("training.warmup_steps=50",)
PARTS = {"CLIP": 1.0, "judge": 0.5, "text-to-image, twice": 2.0, "decoder, twice": 2.0}
"""What is trained, and for how many times the seconds."""
PRIOR_STEPS = 800
SHOWN = 8


@dataclass(frozen=True)
class Reduced(Set):
    """A `Set` whose images are halved."""

    @property
    def settings(self) -> tuple[str, ...]:
        return (*super().settings, f"data.reduce={REDUCE}")


def whole() -> ImageDataset:
    """All pictures, of all kinds, at 32x32 pixels."""
    found = load_images(DataConfig(SOURCE))
    return expect(found, ImageDataset, f"{SOURCE}: holds no images").reduced(REDUCE)


def without(kind: str, folder: Path) -> Path:
    """A folder of all pictures but those of ``kind``, in full size, with captions and splits."""
    place = folder / f"no-{kind}"
    if not (place / "metadata.jsonl").exists():
        images = expect(load_images(DataConfig(SOURCE)), ImageDataset, f"{SOURCE}: holds no images")
        place.mkdir(parents=True, exist_ok=True)
        lines: list[str] = []
        for i, (row, text, split) in enumerate(
            zip(attributes_of(images), captions_of(images), images.splits or (), strict=True)
        ):
            if row["kind"] == kind:
                continue
            Image.fromarray(images.images[i : i + 1][0].transpose(1, 2, 0)).save(place / f"{i:05d}.png")
            lines.append(json.dumps({"file_name": f"{i:05d}.png", "text": text, "split": split}))
        (place / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return place


def captioned(images: ImageDataset, kind: str, n: int) -> ImageDataset:
    """Held-out pictures of a ``kind``, ``n`` of them or all there are, evenly spaced."""
    _, held_out = images.split(0.0)
    own = held_out.subset([i for i, row in enumerate(attributes_of(held_out)) if row["kind"] == kind])
    return own.subset(evenly(len(own), min(n, len(own))))


def unclip(images: Set, words: DiffusionModel, clip: Path) -> UnclipModel:
    """The run whose decoder has the steps of the model of ``words``, which has the same network."""
    steps = f"steps={PRIOR_STEPS},{words.step}"
    settings = (*images.settings, *MODEL, f"clip.source={clip}", steps, "training.keep_checkpoints=1")
    run = words.folder.with_name(words.folder.name.replace("words", "unclip"))
    if not (run / "trained").exists():
        flags = " ".join(f"--set {setting}" for setting in settings)
        print(f"sumi train unclip --data {images.source} {flags} --out {run}", file=sys.stderr, flush=True)
        train("unclip", data=images.source, out=run, settings=settings, resume=run.exists())
        (run / "trained").touch()
    return load(run, UnclipModel)


Makes = Callable[[ImageDataset], Tensor]


def systems(decoder: UnclipModel, words: DiffusionModel, clip: ClipModel, scales: Sequence[float]) -> dict[str, Makes]:
    """What makes pictures of the captions of items, by name."""

    def by_vectors(items: ImageDataset) -> Tensor:
        return decoder.decode(decoder.vectors(len(items), as_prompts(decoder, captions_of(items))), progress=False)

    def of_real(items: ImageDataset) -> Tensor:
        return decoder.decode(decoder.clip.embed_images(everything(items)), progress=False)

    def by_words(model: UnclipModel | DiffusionModel, guidance: Guidance | None, items: ImageDataset) -> Tensor:
        return model.sample(len(items), prompt=as_prompts(model, captions_of(items)), guidance=guidance, progress=False)

    guided = {
        f"CLIP alone, {scale:g}": partial(by_words, words, Guidance(0.0, clip=clip, clip_scale=scale))
        for scale in scales
    }
    return {
        "unCLIP": partial(by_words, decoder, None),
        "unCLIP, by vectors alone": by_vectors,
        "decoder of real vectors": of_real,
        "words": partial(by_words, words, None),
        **guided,
    }


def measured(makes: Makes, items: ImageDataset, judge: JudgeModel, kind: str, picture: Path) -> dict[str, Any]:
    """What the judge reads in the pictures that are made of the captions of ``items``; a grid of the first."""
    made = torch.as_tensor(makes(items))
    picture.write_bytes(png(image_grid(BYTES.to_bytes(made[:SHOWN].as_subclass(Tensor)), columns=SHOWN, scale=2)))
    read = judge.read(made)
    found = readings(read, mentioned_in(items))
    most = Counter(row.get("kind", "none") for row in read).most_common(1)[0]
    return {
        "kind": figures(share(sum(row.get("kind") == kind for row in read), len(read))),
        "color": figures(found.each["color"]),
        "background": figures(found.each["background"]),
        "most": f"{most[0]}, {100 * most[1] / len(read):.0f} %",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=CLASSES, default="robot")
    parser.add_argument("--other", choices=CLASSES, default="monster")
    parser.add_argument("--seconds", type=float, default=150)
    parser.add_argument("--scales", default="0,10")
    parser.add_argument("-n", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    seconds, scales, n = options.seconds, [float(scale) for scale in options.scales.split(",")], options.n
    each = ", ".join(f"{name}: {part * seconds:g} s" for name, part in PARTS.items())
    minutes = sum(PARTS.values()) * seconds / 60
    print(
        f"trains {minutes:.0f} CPU minutes ({each}) and two priors of {PRIOR_STEPS} steps, a minute each, and "
        "samples for some ten minutes",
        file=sys.stderr,
        flush=True,
    )
    seen = Reduced("all", SOURCE, FOLDER)
    left_out = replace(seen, name=f"no-{options.kind}", source=str(without(options.kind, FOLDER)))
    clip_run = seen.trained("clip", "clip", PARTS["CLIP"] * seconds, CLIP)
    clip = load(clip_run, ClipModel)
    judge = load(seen.trained("judge", "judge", PARTS["judge"] * seconds, JUDGE), JudgeModel)
    images = whole()
    prompted = {kind: captioned(images, kind, n) for kind in (options.kind, options.other)}
    print(f"| captions of | made by | read as {options.kind} | colour | background | most read as |")
    print("| --- | --- | --- | --- | --- | --- |")

    def row(kind: str, name: str, key: str, makes: Makes) -> None:
        file = FOLDER / f"{options.kind}-{kind}-{key.replace(' ', '-').replace(',', '')}.png"
        key = f"{options.kind} {kind} {key} {judge.digest[:8]} {seconds:g} of {n}"
        found = seen.kept(key, measured, makes, prompted[kind], judge, options.kind, file)
        cells = (percent(found[column]) for column in ("kind", "color", "background"))
        print(f"| {kind} | {name} | {' | '.join(cells)} | {found['most']} |", flush=True)

    for kind in prompted:
        row(kind, "real pictures", "real", everything)
    for name, part in ((f"without {options.kind}", left_out), ("with all", seen)):
        words = load(part.trained("text-to-image", "words", seconds, MODEL), DiffusionModel)
        decoder = unclip(part, words, clip_run)
        for kind in prompted if part is left_out else (options.kind,):
            for system, makes in systems(decoder, words, clip, scales).items():
                row(kind, f"{name}: {system}", f"{part.name} {system}", makes)


if __name__ == "__main__":
    main()
