"""Evaluation of a model of molecules: chemical figures of its samples next to those of real molecules, and of samples
that were to have a value, how far they are from it."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Final

import numpy as np
import torch

from sumi.boundary.files import write_text, write_whole
from sumi.boundary.progress import counting_one
from sumi.conditioning.condition import Condition
from sumi.data.dataset import Dataset, everything
from sumi.data.molecules import MoleculeDataset
from sumi.data.spec import expect
from sumi.errors import InputError
from sumi.evaluation.molecules import MoleculeEvaluation, PropertyError
from sumi.evaluation.options import Options
from sumi.evaluation.result import Measured
from sumi.figures.molecules import MOST, sheet_of_formulas
from sumi.metrics.intervals import Estimate, mean_of
from sumi.metrics.molecules import Judged, PropertyJudge, figures, length_distance
from sumi.models.molecules.model import MoleculeModel
from sumi.report.made import how_it_was_made, noted, training_curve, write_run_report
from sumi.report.page import Figure, Section, Table, Verdict
from sumi.report.words import percent
from sumi.training.run_folder import RunFolder

FEWEST_SAMPLES, MOST_SAMPLES = 500, 1000
MOST_REAL: Final = 2000
ROWS: Final = (
    ("Stable atoms", "atoms"),
    ("Stable molecules", "molecules"),
    ("Stable atoms, older table (sulphur 4 only)", "legacy_atoms"),
    ("Stable molecules, older table", "legacy_molecules"),
    ("In one piece", "connected"),
    ("Sound: stable and in one piece", "sound"),
    ("Sound, each different one once", "distinct"),
    ("Sound, different, and not among the training molecules", "new"),
    ("Valid: rdkit finds bonds of one neutral molecule", "valid"),
)


def evaluate_molecules(model: MoleculeModel, options: Options) -> Measured:
    """Sample the model, judge the samples and held-out molecules, and write ``report/`` in the run folder."""
    options.refuse("molecules", "split", "features", "sweeps", "guidance", "quick")
    seed, spec, progress = options.seed, model.spec, options.progress
    other = None if options.data is None else model.load_data(options.data)
    same = other is not None and other.fingerprint() == model.description.data_fingerprint
    dataset = _molecules(other if other is not None and same else model.load_data())
    train, held_out = dataset.split(model.config.data.held_out)
    if other is not None:
        _, held_out = _molecules(other).split(model.config.data.held_out)
    count = options.n or min(max(FEWEST_SAMPLES, len(held_out)), MOST_SAMPLES)
    begin = time.perf_counter()
    samples = model.sample(count, seed=seed, batch_size=200, progress=counting_one(progress, "sampling"))
    if not bool(samples.isfinite().all()):
        raise InputError("samples: some are NaN or infinite; sample again from a checkpoint that did not diverge")
    made = f"{count:,} by {model.how_sampled()} in {time.perf_counter() - begin:.1f} s on {model.device}"
    judged, real, known = (
        [Judged.of(m) for m in spec.molecules(x)]
        for x in (samples, everything(held_out)[:MOST_REAL], everything(train))
    )
    graphs = {m.graph for m in known if m.sound}
    alike = [known[i] for i in np.random.default_rng(seed).permutation(len(known))[: len(real)]]
    found = MoleculeEvaluation(
        seed,
        figures(judged, graphs),
        figures(real, graphs),
        length_distance(judged, real),
        length_distance(alike, real),
        _properties(model, train, known, held_out, real, judged, seed),
    )
    words = _verdict(found)
    words = noted(words, model, dataset, "molecules")
    files = _write(model, train, held_out, samples, judged, found, words, made)
    return Measured(found, str(words), files[-1], files)


def _molecules(data: Dataset) -> MoleculeDataset:
    return expect(data, MoleculeDataset, f"data.source: holds {data.spec.name}; give molecules")


def _properties(
    model: MoleculeModel,
    train: MoleculeDataset,
    known: Sequence[Judged],
    held_out: MoleculeDataset,
    real: Sequence[Judged],
    free: Sequence[Judged],
    seed: int,
) -> tuple[PropertyError, ...]:
    """Of samples that were to have the values of held-out molecules, one after the other."""
    names = [name for condition in model.config.conditioning for name in condition.names]
    if not names:
        return ()
    wanted = np.stack([np.resize(held_out.column(name)[: len(real)], len(free)) for name in names], 1)
    condition = Condition(values=torch.from_numpy(wanted).float())
    made = model.sample(len(free), seed=seed, batch_size=200, condition=condition, progress=False)
    judged = [Judged.of(m) for m in model.spec.molecules(made)]
    found = []
    for k, name in enumerate(names):
        counted = name == "atoms" or name in model.spec.elements
        numbers = train.column(name)
        known_values = np.isfinite(numbers)
        judge = (
            None
            if counted
            else PropertyJudge([m for m, ok in zip(known, known_values, strict=True) if ok], numbers[known_values])
        )

        def measure(molecules: Sequence[Judged], name: str = name, judge: PropertyJudge | None = judge) -> np.ndarray:
            if judge is not None:
                return judge(molecules)
            elements = [m.molecule.elements for m in molecules]
            return np.array([len(e) if name == "atoms" else e.count(name) for e in elements], float)

        there = np.isfinite(wanted[:, k])
        errors = [np.abs(measure(molecules) - wanted[:, k])[there] for molecules in (judged, free)]
        own = np.abs(measure(real) - held_out.column(name)[: len(real)])
        estimates = [mean_of(torch.from_numpy(error)) for error in errors]
        found.append(PropertyError(name, estimates[0], estimates[1], float(np.nanmean(own))))
    return tuple(found)


def _verdict(found: MoleculeEvaluation) -> Verdict:
    made, real = found.samples, found.real
    points = [
        (
            "Stable",
            f"{percent(made.atoms.value)} of the atoms have the bonds of their element (real: "
            f"{percent(real.atoms.value)}), and all atoms of {percent(made.molecules.value)} of the molecules (real: "
            f"{percent(real.molecules.value)}).",
        ),
        (
            "Different and new",
            f"Of {made.count:,} samples, {percent(made.sound.value)} are stable and in one piece; "
            f"{percent(made.distinct.value)} of all are so and differ from each other, and {percent(made.new.value)} "
            f"of all are also not among the training molecules (of held-out ones {percent(real.new.value)}).",
        ),
    ]
    if isfinite(found.bond_lengths):
        points.append(
            (
                "Bond lengths",
                f"They are {found.bond_lengths:.4f} Å from those of held-out molecules (W1, mean over kinds of bonds); "
                f"those of training molecules {found.bond_lengths_real:.4f} Å.",
            )
        )
    points += [
        (
            f"Given {error.name}",
            f"Samples miss it by {error.conditional.value:.3g} on average, samples that were not given it by "
            f"{error.unconditional.value:.3g}; the judge misses it by {error.judge:.3g} on real molecules.",
        )
        for error in found.properties
    ]
    headline = f"{percent(made.sound.value)} of the samples are stable molecules in one piece"
    return Verdict(f"{headline}; of real ones, by the same rule, {percent(real.sound.value)} are.", points)


def _interval(estimate: Estimate | None) -> str:
    if estimate is None:
        return "rdkit is not installed"
    return f"{100 * estimate.value:.1f} % [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def _table(found: MoleculeEvaluation) -> Table:
    rows = [(name, *(_interval(getattr(one, field)) for one in (found.real, found.samples))) for name, field in ROWS]
    lengths = (found.bond_lengths_real, found.bond_lengths)
    rows.append(("Bond lengths to held-out ones, W1", *(f"{length:.4f} Å" for length in lengths)))
    caption = (
        f"{found.real.count:,} held-out molecules and {found.samples.count:,} samples; shares are of all of them, of "
        "atoms of all atoms; 95 % intervals. Real bond lengths: of training molecules. Two molecules are the same if "
        "their graphs of elements and bonds are; that one is not among the training molecules says little of data that "
        "are a whole enumeration."
    )
    return Table(("", "real", "samples"), rows, caption)


def _write(
    model: MoleculeModel,
    train: MoleculeDataset,
    held_out: MoleculeDataset,
    samples: torch.Tensor,
    judged: Sequence[Judged],
    found: MoleculeEvaluation,
    words: Verdict,
    made: str,
) -> tuple[Path, ...]:
    folder, spec = RunFolder(model.folder).report, model.spec
    grid, real, loss, strip = (folder / name for name in ("samples.png", "real.png", "loss.svg", "strip.png"))
    moving, formulas, report = (folder / name for name in ("emerging.webp", "formulas.png", "report.html"))
    write_whole(grid, spec.picture(samples[:MOST], ""))
    write_whole(real, spec.picture(everything(held_out)[:MOST], ""))
    curve = training_curve(model)
    write_text(loss, curve)
    times, states = model.states(0, found.seed)
    write_whole(strip, spec.strip(times, states))
    write_whole(moving, spec.animation(times, states))
    sheet = sheet_of_formulas([(m.molecule.elements, m.molecule.places) for m in judged if m.sound])
    of_formulas: list[Figure] = []
    if sheet is not None:
        write_whole(formulas, sheet)
        of_formulas = [
            Figure(formulas, "The first of the samples that are stable and in one piece, as formulas.", True)
        ]
    shown = min(MOST, len(samples))
    sections = [
        Section(
            "Samples",
            "White hydrogen, grey carbon, blue nitrogen, red oxygen, yellow sulphur; atoms that are close enough are "
            "joined.",
            figures=[
                Figure(grid, f"The first {shown} of {made}, not hand-picked.", True),
                Figure(real, "Held-out real molecules.", True),
                *of_formulas,
            ],
        ),
        Section("All figures", tables=[_table(found)]),
        Section(
            "A molecule emerging from noise",
            figures=[Figure(strip, "From t = 1 (noise) to t = 0 (data).", True), Figure(moving, "The same, animated.")],
        ),
        Section("How it learned", figures=[Figure(curve, "Training loss with its running median.")]),
        how_it_was_made(model, train, held_out, made=made, shown=shown, seed=found.seed),
    ]
    write_text(folder / "evaluation.json", json.dumps(asdict(found), indent=2) + "\n")
    write_run_report(report, model, words, sections)
    return grid, real, loss, strip, moving, *([formulas] if of_formulas else []), report
