"""Words to pictures, measured on the captioned characters, for docs/results/conditioning.md.

    python benchmarks/text.py [guidance] [encoders] [minutes] [cascade]
        --judge RUN                                     of `sumi train judge`; else one of its own, of five minutes
        --model characters --scales 1,1.5,2,3,4,6       of the table of guidance
        --seconds 300                                   of each training of encoders, and that of minutes
        --steps 224,1500                                of the stages of cascade
        -n 300                                          samples of a row

    guidance    what a judge reads of the captions in samples, their Fréchet distance and recall, by guidance
    encoders    the same of text-to-image models of equal seconds: text encoders, and how a network attends to words
    minutes     what is read after a third of one training and after all of it (--seconds 3600), by attribute, of pairs
                of attributes that no training picture shows, and with the captions of others
    cascade     Fréchet distance of two stages with noise on the picture below and without, thresholded and not

Without arguments it measures guidance alone, of a model that comes with Sumi: a quarter of an hour on one core, most of
it once, for the judge and the classifier. The others train models, and what they cost is stated at the end.

The judge is trained with a seed of its own. Captions are of held-out pictures. Seconds are CPU seconds, of one thread
(`benchmarks.trainings`). Distances are between a classifier's features of samples and of up to 4000 training pictures.
What was measured stands in runs/text-benchmark/results.json, and is not measured again; a training goes on.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor

from benchmarks.trainings import Set, figures, shown
from sumi.conditioning.frozen_encoder import MINILM, folder_of
from sumi.conditioning.text import captions_of
from sumi.data.dataset import evenly
from sumi.data.items import BYTES
from sumi.errors import InputError
from sumi.evaluation.attributes import OF_CLASS, OF_PARTS, SEEN, Readings, mentioned_in, readings
from sumi.evaluation.prompts import evaluate_prompts
from sumi.figures.canvas import DATA, INK, RED, canvas, save
from sumi.figures.pictures import image_grid, png
from sumi.metrics.frechet import frechet_distance
from sumi.metrics.precision_recall import precision_recall
from sumi.models.attributes import JudgeModel
from sumi.models.cascade import CascadeModel
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load
from sumi.sampling.sampler import Threshold
from sumi.training_run import train

FOLDER, PICTURE = Path("runs/text-benchmark"), Path("docs/images/words-guidance.png")
N = 300
FEWEST = 36
"""Samples of which recall is measured."""
JUDGE_SEED = 7
TABLES = ("guidance", "encoders", "minutes", "cascade")
STAGES = (224, 1500)
"""Steps of a cascade's two stages, so that the second is better than what it is given."""
ENCODERS = {
    "own, words among the keys": (),
    "own, words in the stream": ("network.tokens=stream",),
    "own, cross-attention of a U-Net": ("network=adm", "network.widths=32,64,128", "network.blocks=1,1,2"),
    "MiniLM, words among the keys": ("conditioning.encoder=frozen",),
}
LONG = ("training.compile=on", "training.warmup_steps=50")
ATTRIBUTES = ("kind", "color", "background", "eyes", "mouth")


def own_judge(source: str, folder: Path, settings: tuple[str, ...] = ()) -> JudgeModel:
    """A judge of the images at ``source``, trained the first time, which takes five minutes on one core."""
    run = folder / "judge"
    if not (run / "trained").exists():
        print(
            f"sumi train judge --data {source} --seed {JUDGE_SEED} --out {run}: once, five minutes; or give --judge",
            file=sys.stderr,
            flush=True,
        )
        train("judge", data=source, out=run, seed=JUDGE_SEED, settings=settings, resume=run.exists())
        (run / "trained").touch()
    return load(run, JudgeModel)


def cost(table: str, seconds: float, names: Sequence[str], steps: Sequence[int]) -> str:
    """What a ``table`` trains, and for how long, before its samples are made."""
    match table:
        case "guidance":
            return "trains nothing; some ten minutes of sampling"
        case "encoders":
            return f"{len(names)} trainings of {seconds:g} CPU s: {len(names) * seconds / 60:.0f} minutes"
        case "minutes":
            return f"one training of {seconds:g} CPU s: {seconds / 60:.0f} minutes, and ten of sampling"
        case _:
            return (
                f"2 cascades of {' and '.join(map(str, steps))} steps: some 20 minutes, and a quarter hour of sampling"
            )


def measured(samples: Tensor, images: Set, judge: JudgeModel) -> dict[str, Any]:
    """What of the captions of ``samples``, which are those of held-out pictures, is in them."""
    held_out = images.parts[1]
    wanted = mentioned_in(held_out.subset(evenly(len(held_out), len(samples))))
    found = readings(judge.read(samples), wanted)
    network, real = images.judge
    features = network.features(samples)
    return {
        "mentioned": figures(found.mean),
        "color": figures(found.each["color"]),
        "frechet": figures(frechet_distance(features, real)),
        "recall": figures(precision_recall(features, real).recall),
    }


def of(n: int) -> str:
    """What stands in a key for other numbers of samples than the usual one."""
    return "" if n == N else f" of {n}"


def sampled(model: DiffusionModel, images: Set, judge: JudgeModel, guidance: float | None, n: int) -> dict[str, Any]:
    held_out = images.parts[1]
    captions = captions_of(held_out.subset(evenly(len(held_out), n)))
    return measured(model.sample(n, prompt=captions, guidance=guidance, progress=False), images, judge)


def percent(e: dict[str, float]) -> str:
    return f"{100 * e['value']:.0f} % [{100 * e['low']:.0f}, {100 * e['high']:.0f}]"


def row(name: str, found: dict[str, Any]) -> None:
    cells = (percent(found["mentioned"]), percent(found["color"]), shown(found["frechet"]), percent(found["recall"]))
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def heading(first: str) -> None:
    print(f"| {first} | attributes in captions | colour | Fréchet distance | recall |\n| --- | --- | --- | --- | --- |")


def guidance(name: str, images: Set, judge: JudgeModel, scales: list[float], n: int) -> None:
    """A table row for each scale, and real pictures of the same captions; the chart."""
    model = load(name, DiffusionModel)
    key = f"{name} {model.digest[:8]} guidance{of(n)}"
    found = [images.kept(f"{key} {scale:g}", sampled, model, images, judge, scale, n) for scale in scales]
    heading("guidance")
    for scale, one in zip(scales, found, strict=True):
        row(f"{scale:g}", one)
    held_out = images.parts[1]
    real = held_out.batch(evenly(len(held_out), n))
    row("real pictures", images.kept(f"{key} real", measured, real, images, judge))
    if n == N:
        picture(scales, found)


def picture(scales: list[float], found: list[dict[str, Any]]) -> None:
    """The shares of attributes and of colours that are read, recall, and the Fréchet distance, by guidance."""
    figure = canvas(9.0, 3.6)
    shares, distance = figure.subplots(1, 2)
    lines = (("mentioned", "attributes in captions", RED), ("color", "their colour", INK), ("recall", "recall", DATA))
    for key, label, colour in lines:
        shares.plot(scales, [100 * one[key]["value"] for one in found], "o-", label=label, color=colour, markersize=4)
    shares.set_ylim(0, 100)
    shares.set_ylabel("%")
    shares.legend(loc="lower left", frameon=False)
    distance.plot(scales, [one["frechet"]["value"] for one in found], "o-", color=RED, markersize=4)
    distance.set_ylabel("Fréchet distance")
    for axes in (shares, distance):
        axes.set_xlabel("guidance")
        axes.spines[["top", "right"]].set_visible(False)
    save(figure, PICTURE, "What is read of captions, recall, and the Fréchet distance, by guidance")


def encoders(images: Set, judge: JudgeModel, seconds: float, names: list[str], n: int) -> None:
    """A table row for each text encoder and each way to attend to words."""
    heading(f"after {seconds:g} CPU s")
    for name in names:
        if "conditioning.encoder=frozen" in ENCODERS[name]:
            try:
                folder_of(MINILM)
            except InputError as error:
                print(f"not measured: {name} ({error})", file=sys.stderr)
                continue
        run = images.trained("text-to-image", name, seconds, (*ENCODERS[name], "training.warmup_steps=50"))
        model = load(run, DiffusionModel)
        row(name, images.kept(f"samples {run}{of(n)}", sampled, model, images, judge, None, n))


def read_of(found: Readings) -> dict[str, Any]:
    return {"mean": figures(found.mean), **{name: figures(share) for name, share in found.each.items()}}


def prompted(run: Path, checkpoint: int, judge: JudgeModel, n: int) -> dict[str, Any]:
    """What a judge reads in ``n`` samples of captions of each group, in those judged by the captions of others, and in
    real pictures of the first group.
    """
    model = load(run, DiffusionModel, checkpoint=checkpoint)
    found, _ = evaluate_prompts(model, model.load_images(), judge=judge, clip=None, n=n)
    groups = {group.name: group for group in found.groups}
    seen = groups[SEEN]
    controls = {"shuffled": seen.shuffled, "within": seen.within, "real": seen.real}
    return {
        **{name: read_of(group.samples) for name, group in groups.items()},
        **{name: read_of(one) for name, one in controls.items() if one is not None},
    }


def minutes(images: Set, judge: JudgeModel, seconds: float, n: int) -> None:
    """Two tables: what is read of pairs of attributes that training has, and of those that it has not."""
    run = images.trained("text-to-image", "minutes", seconds, LONG, points=3)
    steps = load(run, DiffusionModel).step
    found = {
        seconds * share / 60: images.kept(
            f"prompts {run} {round(steps * share)}{of(n)}", prompted, run, round(steps * share), judge, n
        )
        for share in (1 / 3, 1)
    }
    print(f"| CPU minutes | mean | {' | '.join(ATTRIBUTES)} |\n| --- |{' --- |' * (1 + len(ATTRIBUTES))}")
    real = next(iter(found.values()))["real"]
    for name, one in [*((f"{done:.0f}", one[SEEN]) for done, one in found.items()), ("real pictures", real)]:
        print(f"| {name} | {' | '.join(percent(one[key]) for key in ('mean', *ATTRIBUTES))} |")
    print(f"\n| CPU minutes | captions of others | of others of their kind | mean, {OF_PARTS} | colour, {OF_CLASS} |")
    print("| --- | --- | --- | --- | --- |")
    for done, one in found.items():
        cells = (one["shuffled"]["mean"], one["within"]["mean"], one[OF_PARTS]["mean"], one[OF_CLASS]["color"])
        print(f"| {done:.0f} | {' | '.join(map(percent, cells))} |")


def stages(
    run: Path, images: Set, judge: JudgeModel, augmentation: float, threshold: Threshold, n: int
) -> dict[str, Any]:
    model = load(run, CascadeModel)
    held_out = images.parts[1]
    captions = captions_of(held_out.subset(evenly(len(held_out), n)))
    made = model.sample(n, prompt=captions, augmentation=augmentation, threshold=threshold, progress=False)
    file = FOLDER / f"{run.name}-{augmentation:g}-{threshold}.png"
    file.write_bytes(png(image_grid(BYTES.to_bytes(made[:24].as_subclass(Tensor)), columns=8, scale=1)))
    return measured(made, images, judge)


def cascade(images: Set, judge: JudgeModel, steps: list[int], n: int) -> None:
    """A table row for each noise on the picture below, of a cascade trained with noise and one without."""
    heading("cascade")
    each = f"steps={','.join(map(str, steps))}"
    for name, noise, levels in (("trained without noise", 0.0, (0.0,)), ("with noise", 0.5, (0.0, 0.1, 0.2))):
        run = images.trained_for(
            "imagen",
            images.run(f"cascade {name} {each}"),
            max(steps),
            (each, f"noise={noise}", f"augmentation={min(noise, 0.1)}", "training.warmup_steps=50"),
        )
        for level in levels:
            found = images.kept(f"samples {run} {level}{of(n)}", stages, run, images, judge, level, "dynamic", n)
            row(f"{name}, {level:g} in sampling", found)
    thresholds: tuple[Threshold, ...] = ("static", "none")
    for threshold in thresholds:
        found = images.kept(f"samples {run} {threshold}{of(n)}", stages, run, images, judge, 0.1, threshold, n)
        row(f"{name}, 0.1, threshold {threshold}", found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--judge", metavar="RUN")
    parser.add_argument("--model", default="characters", metavar="RUN")
    parser.add_argument("--scales", default="1,1.5,2,3,4,6")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--steps", default=",".join(map(str, STAGES)))
    parser.add_argument("--encoders", nargs="+", choices=list(ENCODERS), default=list(ENCODERS))
    parser.add_argument("-n", type=int, default=N)
    arguments = parser.parse_args()
    if unknown := set(arguments.tables) - set(TABLES):
        parser.error(f"no table {', '.join(sorted(unknown))}; there are {', '.join(TABLES)}")
    if arguments.n < FEWEST:
        parser.error(f"n: {arguments.n} samples are too few to measure recall; give {FEWEST} or more")
    steps = [int(count) for count in arguments.steps.split(",")]
    torch.set_num_threads(1)
    images, chosen = Set("characters", "characters", FOLDER), arguments.tables or ["guidance"]
    judge = load(arguments.judge, JudgeModel) if arguments.judge else own_judge(images.source, FOLDER)
    for table in chosen:
        match table:
            case "guidance":
                guidance(arguments.model, images, judge, list(map(float, arguments.scales.split(","))), arguments.n)
            case "encoders":
                encoders(images, judge, arguments.seconds, arguments.encoders, arguments.n)
            case "minutes":
                minutes(images, judge, arguments.seconds, arguments.n)
            case _:
                cascade(images, judge, steps, arguments.n)
    for table in (table for table in TABLES if table not in chosen):
        print(f"not measured: {table} ({cost(table, arguments.seconds, arguments.encoders, steps)})", file=sys.stderr)


if __name__ == "__main__":
    main()
