"""Evaluation of a model of vectors: its samples against held-out data, without features.

In few dimensions the energy distance is used on the values themselves; it is 0 only for equal distributions. For bits
the report also gives the share of samples, and of held-out sequences, that occur among the training sequences.
"""

import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from torch import Tensor

from sumi.boundary.files import write_text, write_whole
from sumi.boundary.progress import counting_one
from sumi.data.dataset import Dataset, evenly_spaced, everything
from sumi.errors import InputError
from sumi.evaluation.options import Options
from sumi.evaluation.result import Measured, VectorEvaluation
from sumi.figures.vectors import picture
from sumi.metrics.features.network import FEWEST
from sumi.metrics.intervals import Estimate, share
from sumi.metrics.kernel_distance import energy_distance
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.trajectory import trajectory, write_trajectory
from sumi.report.made import how_it_was_made, noted, training_curve, write_run_report
from sumi.report.page import Figure, Section, Table, Verdict
from sumi.report.words import amount
from sumi.training.run_folder import RunFolder

FEWEST_SAMPLES, MOST_SAMPLES = 500, 2000
MOST_HELD_OUT = 10_000  # the distance compares all pairs
FOLLOWED = 1000


def evaluate_vectors(model: DiffusionModel, options: Options) -> Measured:
    """Sample the model, compare with held-out vectors, and write ``report/``; see `sumi.report.evaluate.evaluate`.

    With other ``data``, the real-to-real distance is measured within them; known sequences are always the run's own.
    """
    options.refuse("vectors", "split", "features", "sweeps", "guidance", "quick", "judge", "clip")
    n, seed, progress, items = options.n, options.seed, options.progress, model.items
    other = None if options.data is None else model.load_data(options.data)
    same = other is not None and other.fingerprint() == model.description.data_fingerprint
    dataset = other if other is not None and same else model.load_data()
    train, held_out = dataset.split(model.config.data.held_out)
    known = everything(train)
    alike = known
    if other is not None:
        comparison, held_out = other.split(model.config.data.held_out)
        alike = everything(comparison)
    real = evenly_spaced(held_out, MOST_HELD_OUT)
    count = n if n is not None else min(max(FEWEST_SAMPLES, len(real)), MOST_SAMPLES)
    begin = time.perf_counter()
    samples = model.sample(count, seed=seed, batch_size=1000, progress=counting_one(progress, "sampling"))
    if not bool(samples.isfinite().all()):
        raise InputError("samples: some are NaN or infinite; sample again from a checkpoint that did not diverge")
    samples = items.finish(samples)
    made = f"{count:,} by {model.how_sampled()} in {time.perf_counter() - begin:.1f} s on {model.device}"
    found = None
    if min(len(real), count, len(alike)) >= FEWEST:
        found = _evaluate(samples, known, alike, real, items.levels, seed)
        words = _verdict(found)
    else:
        few = f"Too few to measure: {count} samples and {len(real)} held out; at least {FEWEST} of each are needed."
        words = Verdict(few)
    words = noted(words, model, dataset, "vectors")
    files = _write(model, train, held_out, samples, found, words, made, seed)
    return Measured(found, str(words), files[-1], files)


def _evaluate(
    samples: Tensor, known: Tensor, alike: Tensor, real: Tensor, levels: int | None, seed: int
) -> VectorEvaluation:
    alike = alike[np.random.default_rng(seed).permutation(len(alike))[: len(real)]]
    seen = {row.tobytes() for row in known.numpy()} if levels == 2 else None
    shares = [
        None if seen is None else share(sum(row.tobytes() in seen for row in x.numpy()), len(x))
        for x in (samples, real)
    ]
    return VectorEvaluation(
        seed, len(samples), len(real), energy_distance(samples, real), energy_distance(alike, real), *shares
    )


def _verdict(found: VectorEvaluation) -> Verdict:
    distance, real = found.distance, found.real
    if distance.low <= 0:
        headline = f"By energy distance the samples are indistinguishable from {found.held_out:,} held-out vectors."
    else:
        headline = "The samples differ from the real data."
    words = (
        f"Energy distance {distance.value:.4f} [{distance.low:.4f}, {distance.high:.4f}] to {found.held_out:,} "
        f"held-out vectors; training data are at {real.value:.4f} [{real.low:.4f}, {real.high:.4f}]. 0 means the same "
        "distribution."
    )
    points = [("Distance to real data", words)]
    if found.known is not None and found.known_real is not None:
        known = f"{amount(found.known)} of the samples occur in the training data; of held-out sequences "
        points.append(("Seen in training", f"{known}{amount(found.known_real)}."))
    return Verdict(headline, points)


def _rows(found: VectorEvaluation) -> list[tuple[str, str, str]]:
    pairs = [("Energy distance to held-out data", found.distance, found.real, 1.0, "")]
    if found.known is not None and found.known_real is not None:
        pairs.append(("Occur in the training data", found.known, found.known_real, 100.0, " %"))

    def interval(e: Estimate, k: float, unit: str) -> str:
        return f"{k * e.value:.4g}{unit} [{k * e.low:.4g}, {k * e.high:.4g}]"

    return [(name, interval(samples, k, unit), interval(real, k, unit)) for name, samples, real, k, unit in pairs]


def _write(
    model: DiffusionModel,
    train: Dataset,
    held_out: Dataset,
    samples: Tensor,
    found: VectorEvaluation | None,
    words: Verdict,
    made: str,
    seed: int,
) -> tuple[Path, ...]:
    folder, levels = RunFolder(model.folder).report, model.items.levels
    grid, loss, report = folder / "samples.png", folder / "loss.svg", folder / "report.html"
    shown = min(len(samples), len(held_out))
    real = evenly_spaced(held_out, shown)
    write_whole(grid, picture([("samples", samples[:shown]), ("real, held out", real)], levels))
    curve = training_curve(model)
    write_text(loss, curve)
    way = trajectory(model, 0, n=min(FOLLOWED, len(samples)), seed=seed)
    strip, animation = write_trajectory(model, way, folder)
    first = "All" if shown == len(samples) else f"The first {shown:,} of"
    sections = [
        Section(
            "Samples",
            figures=[Figure(grid, f"{first} {made}, not hand-picked. Right: as many held-out vectors.", True)],
        ),
        Section(
            "The data emerging from noise",
            figures=[
                Figure(strip, "Samples at times from t = 1 (noise) to t = 0 (data).", True),
                Figure(animation, "The same, animated."),
            ],
        ),
        Section(
            "How it learned",
            figures=[Figure(curve, "Training loss with its running median.")],
        ),
    ]
    if found is not None:
        write_text(folder / "evaluation.json", json.dumps(asdict(found), indent=2) + "\n")
        caption = f"{found.samples} samples, {found.held_out} held out; 95 % intervals."
        sections.append(Section("All figures", tables=[Table(("", "samples", "real"), _rows(found), caption)]))
    sections.append(how_it_was_made(model, train, held_out, made=made, shown=shown, seed=seed))
    write_run_report(report, model, words, sections)
    return grid, strip, animation, loss, report
