"""Latent diffusion against pixels at equal CPU time, for docs/results/latent.md.

    python -m benchmarks.latent [autoencoder] [losses] [latents] [generators]
        --data characters flowers=FOLDER        built-in sets, or folders of images with a name
        --autoencoder-seconds 600 --loss-seconds 90 --seconds 180

    autoencoder   held-out PSNR and the Fréchet distance of reconstructions, beside that of real images
    losses        what each term of the autoencoder's loss brings in equal seconds, also to a latent diffusion model
    latents       mean and deviation of standardised latents of held-out images; codes that vq and fsq leave unused
    generators    U-Net and transformer, of pixels and of latents: Fréchet distance by seconds, seconds a sample

Everything is trained on one thread; a training's seconds are CPU seconds of its steps, whose time is measured on the
first 256 images before (`benchmarks.equal_time`). Distances are between a classifier's features (`sumi evaluate`) of
images and of up to 4000 training images. What was measured stands in runs/latent-benchmark/results.json, and is not
measured again; a training that was stopped goes on.
"""

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import Tensor

from benchmarks.equal_time import Enough, Stopwatch
from sumi.data.config import DataConfig
from sumi.data.dataset import Dataset, evenly_spaced, everything
from sumi.data.items import BYTES
from sumi.data.load import load as load_data
from sumi.evaluation.autoencoder import evaluate_reconstruction
from sumi.evaluation.images import learn_features
from sumi.figures.canvas import canvas, save
from sumi.figures.pictures import image_grid, png
from sumi.metrics.features.network import FeatureNetwork
from sumi.metrics.frechet import frechet_distance
from sumi.metrics.intervals import Estimate
from sumi.models.autoencoder import AutoencoderModel
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load
from sumi.training_run import Events, train

FOLDER = Path("runs/latent-benchmark")
RESULTS = FOLDER / "results.json"
PICTURE = Path("docs/images/latent.png")
SIZE, REAL, SAMPLES, STEPS, TIMED, POINTS = 64, 4000, 128, 20, 256, 3
LOSSES = {
    "absolute error alone": ("loss.half_size=0",),
    "half size, 25 %": ("loss.half_size=0.25",),
    "quarter turns, 25 %": ("loss.half_size=0", "loss.turned=0.25"),
    "features": ("loss.half_size=0", "loss.features=1"),
    "discriminator": ("loss.half_size=0", "loss.adversarial=0.5"),
}
CODES = {"vq": ("network.regularizer=vq",), "fsq": ("network.regularizer=fsq",)}
ALL = ("training.optimizer=muon", "training.batch_size=32", "training.warmup_steps=50", "training.ema_decay=0.995")
SYSTEMS = {
    "pixel U-Net": ("flow", ALL),
    "pixel transformer": ("jit", ALL),
    "latent U-Net": ("latent", ALL),
    "latent transformer": ("latent", ("network=transformer", "network.patch=2", *ALL)),
}


@dataclass(frozen=True)
class Set:
    """Images of a name, and where they are."""

    name: str
    source: str

    @property
    def settings(self) -> tuple[str, ...]:
        return (f"data.size={SIZE}", "training.sample_every=0")

    @cache  # noqa: B019 - one set lives as long as the program
    def parts(self) -> tuple[Dataset, Dataset]:
        """Up to 4000 of the images to train on, evenly spaced, and those held out."""
        config = DataConfig(source=self.source, size=SIZE)
        training, held_out = load_data(config).split(config.held_out)
        every = np.linspace(0, len(training) - 1, min(REAL, len(training))).round().astype(np.int64)
        return training.subset(every), held_out

    @cache  # noqa: B019
    def judge(self) -> tuple[FeatureNetwork, Tensor]:
        """The classifier that all are measured by, and its features of the training images."""
        file = FOLDER / self.name / "features.safetensors"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            learn_features(self.parts()[0]).save(file)
        network = FeatureNetwork.load(file)
        return network, network.features(everything(self.parts()[0]))


def kept(key: str, measure: Callable[..., dict[str, Any]], *of: object) -> dict[str, Any]:
    """What was found under ``key`` before, or is now, by ``measure(*of)``."""
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if key not in known:
        found = measure(*of)
        known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}  # others may have written
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps({**known, key: found}, indent=1, ensure_ascii=False) + "\n")
        return found
    return known[key]


def step_time(recipe: str, images: Set, settings: tuple[str, ...]) -> dict[str, float]:
    """CPU seconds of a step, of a training on a few images that is stopped after some seconds."""
    watch = Stopwatch(5.0)
    some = images.parts()[0]
    few = ((everything(some.subset(np.arange(TIMED))) + 1) * 127.5).round().byte().numpy()
    with tempfile.TemporaryDirectory() as folder:
        try:
            settings = (*settings, "training.log_every=1", "training.checkpoint_every=1000000")
            train(
                recipe,
                data=few,
                out=Path(folder) / "run",
                steps=10**6,
                settings=settings,
                events=Events(progress=watch),
            )
        except Enough:
            return {"seconds": watch.per_step}
    raise AssertionError("a million steps were over in a few seconds")


def trained(recipe: str, images: Set, name: str, seconds: float, settings: tuple[str, ...], points: int = 1) -> Path:
    """The run of so many CPU seconds, with ``points`` checkpoints; one that was stopped goes on."""
    settings = (*images.settings, *settings)
    run = FOLDER / images.name / f"{'-'.join(re.findall('[a-zA-Z0-9]+', name))}-{seconds:g}"
    found = kept(f"step {run}", step_time, recipe, images, settings)
    steps = points * max(1, round(seconds / found["seconds"] / points))
    more = (f"training.checkpoint_every={steps // points}", f"training.keep_checkpoints={points}")
    flags = " ".join(f"--set {setting}" for setting in (*settings, *more))
    print(
        f"sumi train {recipe} --data {images.source} --steps {steps} {flags} --out {run}", file=sys.stderr, flush=True
    )
    if not (run / "trained").exists():
        try:
            train(recipe, data=images.source, out=run, steps=steps, settings=(*settings, *more), resume=run.exists())
        except BaseException:
            if not (run / "config.json").exists():
                shutil.rmtree(run, ignore_errors=True)
            raise
        (run / "trained").touch()
    return run


def shown(e: dict[str, float]) -> str:
    return f"{e['value']:.1f} [{e['low']:.1f}, {e['high']:.1f}]"


def figures(e: Estimate) -> dict[str, float]:
    return {"value": e.value, "low": e.low, "high": e.high}


def reconstruction(run: Path, images: Set) -> dict[str, Any]:
    """Of held-out images."""
    model = load(run, AutoencoderModel)
    kept_apart = images.parts()[1]
    found, originals, made, _ = evaluate_reconstruction(model, *images.parts(), images.judge()[0])
    both = torch.stack([originals[:12], made[:12]], 1).flatten(0, 1)
    (FOLDER / f"{images.name}-{run.name}.png").write_bytes(png(image_grid(BYTES.to_bytes(both), columns=8, scale=1)))
    return {
        "images": len(kept_apart),
        "psnr": figures(found.psnr),
        "perceptual": found.perceptual.value,
        "frechet": figures(found.frechet),
        "real": figures(found.real),
        "fine": found.fine,
        "fine_pixels": found.fine_pixels,
        "codes_used": found.codes_used,
        "parameters": sum(p.numel() for p in model.autoencoder.parameters()),
    }


def autoencoder_of(images: Set, seconds: float) -> Path:
    """The autoencoder that the table and the latent models use."""
    return trained("autoencoder", images, "autoencoder", seconds, ())


def autoencoders(sets: list[Set], seconds: float) -> None:
    """A table row for each set."""
    print("| images | held-out PSNR, dB | Fréchet distance of reconstructions | of held-out images | CPU s |")
    print("| --- | --- | --- | --- | --- |")
    for images in sets:
        run = autoencoder_of(images, seconds)
        found = kept(f"autoencoder {run}", reconstruction, run, images)
        row = [images.name, f"{found['psnr']['value']:.2f}", shown(found["frechet"]), shown(found["real"])]
        print(f"| {' | '.join([*row, f'{seconds:g}'])} |", flush=True)


def losses(sets: list[Set], seconds: float) -> None:
    """A table row for each set and term."""
    print("| images | loss | PSNR, dB | distance in features | Fréchet distance | fine share | of a latent U-Net |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for images in sets:
        for name, settings in LOSSES.items():
            run = trained("autoencoder", images, f"loss {name}", seconds, settings)
            found = kept(f"autoencoder {run}", reconstruction, run, images)
            more = (*ALL, f"autoencoder.source={run}")
            latent = trained("latent", images, f"latent by {name}", seconds, more)
            made = kept(f"samples {latent}", sampled, latent, images, None)
            row = [images.name, name, f"{found['psnr']['value']:.2f}", f"{found['perceptual']:.4f}"]
            row += [shown(found["frechet"]), f"{found['fine']:.3f}", shown(made["frechet"])]
            print(f"| {' | '.join(row)} |", flush=True)


def sampled(run: Path, images: Set, checkpoint: int | None) -> dict[str, Any]:
    """Samples of a checkpoint: their distance, and CPU seconds of each."""
    model = load(run, DiffusionModel, checkpoint=checkpoint)
    begin = time.process_time()
    made = model.sample(SAMPLES, steps=STEPS, solver="adams", batch_size=50)
    seconds = (time.process_time() - begin) / SAMPLES
    (FOLDER / f"{images.name}-{run.name}-{model.step}.png").write_bytes(
        png(image_grid(BYTES.to_bytes(made[:32]), columns=8, scale=1))
    )
    network, real = images.judge()
    return {"step": model.step, "frechet": figures(frechet_distance(network.features(made), real)), "a_sample": seconds}


def generators(sets: list[Set], systems: list[str], seconds: float, autoencoder_seconds: float) -> None:
    """A table row for each set and system, and the curves."""
    times = [seconds * (point + 1) / POINTS for point in range(POINTS)]
    print(f"| images | system | {' | '.join(f'after {t:g} CPU s' for t in times)} | CPU s a sample |")
    print(f"| --- | --- | {' | '.join('---' for _ in times)} | --- |")
    curves: dict[str, dict[str, list[float]]] = {}
    for images in sets:
        for name in systems:
            recipe, settings = SYSTEMS[name]
            if name.startswith("latent"):
                settings = (*settings, f"autoencoder.source={autoencoder_of(images, autoencoder_seconds)}")
            run = trained(recipe, images, name, seconds, settings, POINTS)
            steps = sorted(int(folder.name) for folder in (run / "checkpoints").iterdir() if folder.name.isdigit())
            found = [kept(f"samples {run} {step}", sampled, run, images, step) for step in steps]
            curves.setdefault(images.name, {})[name] = [one["frechet"]["value"] for one in found]
            row = [images.name, name, *(shown(one["frechet"]) for one in found), f"{found[-1]['a_sample']:.3f}"]
            print(f"| {' | '.join(row)} |", flush=True)
    picture(curves, times, autoencoder_seconds)


def picture(curves: dict[str, dict[str, list[float]]], times: list[float], autoencoder_seconds: float) -> None:
    """Distance over CPU seconds, the autoencoder's included where there is one."""
    figure = canvas(9.0, 3.6)
    for axes, (name, systems) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
        for system, distances in systems.items():
            dashed = system.startswith("latent")
            line = axes.plot(times, distances, "o-", label=system, markersize=4)[0]
            if dashed:
                late = [t + autoencoder_seconds for t in times]
                axes.plot(
                    late, distances, "o--", color=line.get_color(), markersize=4, label="… with the autoencoder's"
                )
        axes.set_title(name, fontsize=10)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("CPU seconds")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("Fréchet distance")
    figure.axes[0].legend(fontsize=7)
    save(figure, PICTURE, "Fréchet distance by seconds of training, of pixels and of latents")


def standardised(run: Path, images: Set) -> dict[str, Any]:
    """Deviation of the latents of held-out images by channel, in units of the training images'; the largest mean."""
    model = load(run, AutoencoderModel)
    seen, unseen = ((mean, std) for mean, std in (moments(model, part) for part in images.parts()))
    return {"std": (unseen[1] / seen[1]).tolist(), "mean": ((unseen[0] - seen[0]) / seen[1]).tolist()}


def moments(model: AutoencoderModel, images: Dataset) -> tuple[Tensor, Tensor]:
    """Of a channel's latents, over up to 2000 images: the deviation is that of posterior means and their spread."""
    mean, std = model.posterior(evenly_spaced(images, 2000))
    return mean.mean((0, 2, 3)), (mean.var((0, 2, 3)) + std.square().mean((0, 2, 3))).sqrt()


def latents(sets: list[Set], seconds: float, short: float) -> None:
    """Standardised latents, then codes."""
    print("| images | deviation by channel | largest mean |")
    print("| --- | --- | --- |")
    for images in sets:
        run = autoencoder_of(images, seconds)
        found = kept(f"standardised {run}", standardised, run, images)
        spread = ", ".join(f"{value:.3f}" for value in found["std"])
        print(f"| {images.name} | {spread} | {max(map(abs, found['mean'])):.3f} |", flush=True)
    print("\n| images | codes | unused by held-out images | PSNR, dB |\n| --- | --- | --- | --- |")
    for images in sets:
        for name, settings in CODES.items():
            run = trained("autoencoder", images, name, short, settings)
            found = kept(f"autoencoder {run}", reconstruction, run, images)
            unused = f"{100 * (1 - found['codes_used']):.1f} %"
            print(f"| {images.name} | {name} | {unused} | {found['psnr']['value']:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tables = ("autoencoder", "losses", "latents", "generators")
    parser.add_argument("tables", nargs="*", default=tables, metavar="TABLE", help=", ".join(tables))
    parser.add_argument("--data", nargs="+", default=["characters"], metavar="NAME[=PATH]")
    parser.add_argument("--autoencoder-seconds", type=float, default=600)
    parser.add_argument("--loss-seconds", type=float, default=90)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    arguments = parser.parse_args()
    if unknown := set(arguments.tables) - set(tables):
        parser.error(f"no table {', '.join(sorted(unknown))}; there are {', '.join(tables)}")
    torch.set_num_threads(1)
    sets = [Set(name, path or name) for name, _, path in (one.partition("=") for one in arguments.data)]
    for table in arguments.tables:
        match table:
            case "autoencoder":
                autoencoders(sets, arguments.autoencoder_seconds)
            case "losses":
                losses(sets, arguments.loss_seconds)
            case "latents":
                latents(sets, arguments.autoencoder_seconds, arguments.loss_seconds)
            case _:
                generators(sets, arguments.systems, arguments.seconds, arguments.autoencoder_seconds)


if __name__ == "__main__":
    main()
