"""Evaluation of a model of sound: a page that plays, and its figures (`sumi.evaluation.audio`)."""

import json
import time
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from sumi.boundary.files import write_text, write_whole
from sumi.boundary.progress import counting_one
from sumi.data.audio import AudioSpec
from sumi.data.dataset import Dataset, evenly_spaced
from sumi.data.sound_files import to_levels, wav
from sumi.data.spec import expect
from sumi.errors import InputError
from sumi.evaluation.audio import COMPARED, COPY, AudioEvaluation, enough, evaluate_sound
from sumi.evaluation.options import Options
from sumi.evaluation.result import Measured
from sumi.figures.spectrograms import spectrograms
from sumi.metrics.intervals import Estimate
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.trajectory import trajectory, write_trajectory
from sumi.randomness import Purpose, generator
from sumi.report.commands import evaluated
from sumi.report.made import how_it_was_made, noted, training_curve, write_run_report
from sumi.report.page import Figure, Section, Table, Verdict
from sumi.report.words import amount
from sumi.training.run_folder import RunFolder

FEWEST_SAMPLES, MOST_SAMPLES = 200, 1000
SHOWN = 20


def evaluate_audio(model: DiffusionModel, options: Options) -> Measured:
    """Sample the model, compare with held-out clips, and write ``report/``; see `sumi.report.evaluate.evaluate`."""
    options.refuse("audio", "split", "features", "sweeps", "guidance", "judge", "clip")
    spec = expect(model.items, AudioSpec, f"{model.folder}: makes no sound; choose such a run")
    n, seed, progress = options.n, options.seed, options.progress
    other = None if options.data is None else model.load_data(options.data)
    dataset = model.load_data()
    train, held_out = dataset.split(model.config.data.held_out)
    if other is not None:
        _, held_out = other.split(model.config.data.held_out)
    count = SHOWN if options.quick else min(max(FEWEST_SAMPLES, len(held_out)), MOST_SAMPLES)
    count = count if n is None else n
    labels = None
    if model.config.condition("labels") is not None and train.label_names == spec.label_names:
        labels = train.labels_of(generator(seed, 0, 0, Purpose.LABEL).integers(len(train), size=count))
    begin = time.perf_counter()
    samples = model.sample(count, seed=seed, label=labels, progress=counting_one(progress, "sampling"))
    if not bool(samples.isfinite().all()):
        raise InputError("samples: some are NaN or infinite; sample again from a checkpoint that did not diverge")
    seconds = time.perf_counter() - begin
    made = f"{count:,} clips by {model.how_sampled(labelled=labels is not None)} in {seconds:.1f} s on {model.device}"
    found = None
    if not options.quick and enough(count, train, held_out):
        found = evaluate_sound(samples, labels, train, held_out, spec, seed=seed, progress=progress)
        words = _verdict(found)
    elif options.quick:
        words = Verdict(f"No distances were measured; `{evaluated(model)}` measures them.")
    else:
        words = Verdict(
            f"Too few to measure: {count} samples, {len(train)} clips for training and {len(held_out)} held out."
        )
    words = noted(words, model, dataset, "clips")
    files = _write(model, spec, train, held_out, samples, labels, found, words, made, seed)
    return Measured(found, str(words), files[-1], files)


def _verdict(found: AudioEvaluation) -> Verdict:
    distance, real = found.distances.frechet, found.real_distances.frechet
    points = [
        (
            "Distance to real clips",
            f"Fréchet distance {distance.value:.2f} [{distance.low:.2f}, {distance.high:.2f}] to {found.held_out:,} "
            f"held-out clips in the features of a classifier of log-mel pictures; training clips are at "
            f"{real.value:.2f} [{real.low:.2f}, {real.high:.2f}].",
        )
    ]
    headline = "The samples were measured against held-out clips."
    if found.heard is not None and found.heard_real is not None:
        ratio = found.heard.value / found.heard_real.value if found.heard_real.value else 0.0
        headline = f"A judge hears the right class {ratio:.0%} as often as in real clips."
        heard = f"in {amount(found.heard)} of the samples, and in {amount(found.heard_real)} of held-out clips"
        points.append(
            ("Heard as asked for", f"A classifier of another seed hears the class {heard} that it never saw.")
        )
    points += [
        (
            "Copies",
            f"{amount(found.copies)} have a correlation above {COPY:g} with a training clip (of held-out "
            f"clips {amount(found.copies_real)}); the median is {found.alike:.2f} (held-out {found.alike_real:.2f}).",
        ),
        (
            "Level",
            f"Loudness {found.level.loudness:.1f} dB (held-out {found.level_real.loudness:.1f}), offset "
            f"{found.level.offset:.1e} ({found.level_real.offset:.1e}), {found.level.clipped:.2%} of values clipped "
            f"({found.level_real.clipped:.2%}).",
        ),
    ]
    return Verdict(headline, points)


def _rows(found: AudioEvaluation) -> list[tuple[str, str, str]]:
    def shown(e: Estimate | None, k: float = 1.0) -> str:
        return "" if e is None else f"{k * e.value:.4g} [{k * e.low:.4g}, {k * e.high:.4g}]"

    one, other = found.level, found.level_real
    return [
        ("Fréchet distance", shown(found.distances.frechet), shown(found.real_distances.frechet)),
        ("Kernel distance", shown(found.distances.kernel), shown(found.real_distances.kernel)),
        ("Class as heard by the judge, %", shown(found.heard, 100), shown(found.heard_real, 100)),
        (f"Correlation above {COPY:g}, %", shown(found.copies, 100), shown(found.copies_real, 100)),
        ("Median of the best correlation", f"{found.alike:.3f}", f"{found.alike_real:.3f}"),
        ("Loudness, dB", f"{one.loudness:.1f}", f"{other.loudness:.1f}"),
        ("Offset", f"{one.offset:.2e}", f"{other.offset:.2e}"),
        ("Values clipped, %", f"{100 * one.clipped:.3f}", f"{100 * other.clipped:.3f}"),
    ]


def _write(
    model: DiffusionModel,
    spec: AudioSpec,
    train: Dataset,
    held_out: Dataset,
    samples: Tensor,
    labels: Tensor | None,
    found: AudioEvaluation | None,
    words: Verdict,
    made: str,
    seed: int,
) -> tuple[Path, ...]:
    folder = RunFolder(model.folder).report
    grid, reals, loss, report = (folder / name for name in ("samples.png", "real.png", "loss.svg", "report.html"))
    first, real = samples[:SHOWN], evenly_spaced(held_out, SHOWN)
    names = [str(i) if labels is None else f"{i}: {spec.label_names[int(labels[i])]}" for i in range(len(first))]
    write_whole(grid, spectrograms(first, spec.rate, names, columns=5))
    write_whole(reals, spectrograms(real, spec.rate, [str(i) for i in range(len(real))], columns=5))
    curve = training_curve(model)
    write_text(loss, curve)
    way = trajectory(model, 0, seed=seed, label=None if labels is None else labels[:1])
    strip, animation = write_trajectory(model, way, folder)
    sections = [
        Section(
            "Samples",
            figures=[Figure(grid, f"The first {len(first)} of {made}, not hand-picked.", True)],
            sounds=_sounds(first, names, spec),
        ),
        Section(
            "Held-out clips",
            figures=[Figure(reals, "As many real clips that it was not trained on.", True)],
            sounds=_sounds(real, [f"real {i}" for i in range(len(real))], spec),
        ),
        Section(
            "The data emerging from noise",
            figures=[
                Figure(strip, "Sample 0 at times from t = 1 (noise) to t = 0 (data).", True),
                Figure(animation, "The same, animated."),
            ],
        ),
        Section("How it learned", figures=[Figure(curve, "Training loss with its running median.")]),
    ]
    if found is not None:
        write_text(folder / "evaluation.json", json.dumps(asdict(found), indent=2) + "\n")
        caption = (
            f"{found.samples:,} samples, {found.held_out:,} held-out clips; 95 % intervals. At most {COMPARED} of each "
            f"are compared with {found.training:,} for training."
        )
        sections.append(Section("All figures", tables=[Table(("", "samples", "real"), _rows(found), caption)]))
    sections.append(how_it_was_made(model, train, held_out, made=made, shown=len(first), seed=seed))
    write_run_report(report, model, words, sections)
    return grid, reals, strip, animation, loss, report


def _sounds(x: Tensor, names: list[str], spec: AudioSpec) -> list[tuple[str, bytes]]:
    """(name, WAV file) of each clip."""
    levels = to_levels(torch.as_tensor(x).flatten(1).numpy())
    return [(name, wav(k, spec.rate)) for name, k in zip(names, levels, strict=True)]
