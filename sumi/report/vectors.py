"""Measuring a model of vectors: its samples beside held-out data, in the numbers themselves.

Points in few dimensions need no features: the energy distance is 0 only where two distributions are one. Of sequences
of bits it is also told how many samples occur among the training sequences, beside how many held-out ones do.
"""

import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from sumi.data.dataset import Dataset, evenly_spaced, everything
from sumi.errors import InputError, writing
from sumi.evaluation.options import Options
from sumi.evaluation.result import Measured, VectorEvaluation
from sumi.features.network import FEWEST
from sumi.figures.vectors import picture
from sumi.metrics.intervals import Estimate, share
from sumi.metrics.kernel_distance import energy_distance
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.trajectory import trajectory, write_trajectory
from sumi.progress import counting_one
from sumi.report.made import how_it_was_made, training_curve
from sumi.report.page import Figure, Section, Table, Verdict, write_report
from sumi.report.words import amount
from sumi.training.run_folder import RunFolder

FEWEST_SAMPLES, MOST_SAMPLES = 500, 2000
MOST_HELD_OUT = 10_000  # every pair is looked at
FOLLOWED = 1000


def measure_vectors(model: DiffusionModel, options: Options) -> Measured:
    """Sample the model, compare with held-out vectors, and write ``report/``; as `sumi.report.evaluate.evaluate`.

    With other data real is compared with real among those; known sequences are always those of the run's own training.
    """
    options.refuse("vectors", "features", "sweeps", "guidance")
    n, seed, progress, items = options.n, options.seed, options.progress, model.items
    other = None if options.data is None else model.load_data(options.data)
    same = other is not None and other.fingerprint() == model.description.data_fingerprint
    dataset = other if other is not None and same else model.load_data()
    train, held_out = dataset.split(model.config.data.held_out)
    known = everything(train)
    alike = known
    if other is not None:
        beside, held_out = other.split(model.config.data.held_out)
        alike = everything(beside)
    real = evenly_spaced(held_out, MOST_HELD_OUT)
    count = n if n is not None else min(max(FEWEST_SAMPLES, len(real)), MOST_SAMPLES)
    begin = time.perf_counter()
    drawn = model.sample(count, seed=seed, batch_size=1000, progress=counting_one(progress, "sampling"))
    if not bool(drawn.isfinite().all()):
        raise InputError("samples: some are NaN or infinite; sample again from a checkpoint that did not diverge")
    drawn = items.finish(drawn)
    made = f"{count:,} by {model.how_sampled()} in {time.perf_counter() - begin:.1f} s on {model.device}"
    found = None
    if min(len(real), count, len(alike)) >= FEWEST:
        found = _evaluate(drawn, known, alike, real, items.levels, seed)
        words = _verdict(found)
    else:
        few = f"Too few to measure: {count} samples and {len(real)} held out; at least {FEWEST} of each are needed."
        words = Verdict(few)
    if dataset.fingerprint() != model.description.data_fingerprint:
        note = "The data has changed since training, so held-out vectors may have been trained on."
        words = replace(words, points=(*words.points, ("Note", note)))
    files = _write(model, train, held_out, drawn, found, words, made, seed)
    return Measured(found, str(words), files[-1], files)


def _evaluate(
    drawn: Tensor, known: Tensor, alike: Tensor, real: Tensor, levels: int | None, seed: int
) -> VectorEvaluation:
    alike = alike[np.random.default_rng(seed).permutation(len(alike))[: len(real)]]
    seen = {row.tobytes() for row in known.numpy()} if levels == 2 else None
    shares = [
        None if seen is None else share(sum(row.tobytes() in seen for row in x.numpy()), len(x)) for x in (drawn, real)
    ]
    return VectorEvaluation(
        seed, len(drawn), len(real), energy_distance(drawn, real), energy_distance(alike, real), *shares
    )


def _verdict(found: VectorEvaluation) -> Verdict:
    distance, real = found.distance, found.real
    if distance.low <= 0:
        headline = (
            f"With {found.held_out:,} held out their energy distance does not tell the samples from the real data."
        )
    else:
        headline = "The samples differ from the real data."
    likeness = (
        f"Energy distance {distance.value:.4f} [{distance.low:.4f}, {distance.high:.4f}] to {found.held_out:,} held "
        f"out, where training data have {real.value:.4f} [{real.low:.4f}, {real.high:.4f}]; 0 is no difference."
    )
    points = [("Likeness", likeness)]
    if found.known is not None and found.known_real is not None:
        known = f"{amount(found.known)} of the sequences occur in the training data; of held-out ones "
        points.append(("Known", f"{known}{amount(found.known_real)}."))
    return Verdict(headline, points)


def _rows(found: VectorEvaluation) -> list[tuple[str, str, str]]:
    pairs = [("Energy distance to held-out data", found.distance, found.real, 1.0, "")]
    if found.known is not None and found.known_real is not None:
        pairs.append(("Occur in the training data", found.known, found.known_real, 100.0, " %"))

    def said(e: Estimate, k: float, unit: str) -> str:
        return f"{k * e.value:.4g}{unit} [{k * e.low:.4g}, {k * e.high:.4g}]"

    return [(name, said(samples, k, unit), said(real, k, unit)) for name, samples, real, k, unit in pairs]


def _write(
    model: DiffusionModel,
    train: Dataset,
    held_out: Dataset,
    drawn: Tensor,
    found: VectorEvaluation | None,
    words: Verdict,
    made: str,
    seed: int,
) -> tuple[Path, ...]:
    folder, levels = RunFolder(model.folder).report, model.items.levels
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        beside, loss, report = folder / "samples.png", folder / "loss.svg", folder / "report.html"
        shown = min(len(drawn), len(held_out))
        real = evenly_spaced(held_out, shown)
        beside.write_bytes(picture([("samples", drawn[:shown]), ("real, held out", real)], levels))
        curve = training_curve(model)
        loss.write_text(curve)
        way = trajectory(model, 0, n=min(FOLLOWED, len(drawn)), seed=seed)
        strip, animation = write_trajectory(model, way, folder)
        first = "All" if shown == len(drawn) else f"The first {shown:,} of"
        sections = [
            Section(
                "Samples",
                figures=[Figure(beside, f"{first} {made}; none is chosen. Beside them as many held out.", True)],
            ),
            Section(
                "The data emerging from noise",
                figures=[
                    Figure(strip, "Samples on their way from noise (t = 1) to the data (t = 0).", True),
                    Figure(animation, "The same way, moving."),
                ],
            ),
            Section(
                "How it learned",
                figures=[Figure(curve, "Training loss, with its running median.")],
            ),
        ]
        if found is not None:
            (folder / "evaluation.json").write_text(json.dumps(asdict(found), indent=2) + "\n")
            caption = f"{found.samples} samples, {found.held_out} held out; intervals are at 95 %."
            sections.append(Section("All figures", tables=[Table(("", "samples", "real"), _rows(found), caption)]))
        sections.append(how_it_was_made(model, train, held_out, made=made, shown=shown, seed=seed))
        title = f"{model.config.recipe} on {Path(model.config.data.source).name}"
        write_report(report, title=title, verdict=words, sections=sections, subtitle=f"after {model.step:,} steps")
    return beside, strip, animation, loss, report
