"""Evaluation of a model of symbols: its samples against held-out strings, and bits per character."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Final

from torch import Tensor

from sumi.boundary.files import write_text, write_whole
from sumi.boundary.progress import counting_one
from sumi.data.dataset import evenly_spaced
from sumi.data.spec import expect
from sumi.data.symbols import SymbolDataset
from sumi.errors import InputError
from sumi.evaluation.options import Options
from sumi.evaluation.result import Measured
from sumi.evaluation.symbols import SymbolEvaluation, evaluate_texts
from sumi.metrics.intervals import Estimate
from sumi.metrics.symbols import Shares
from sumi.models.guides import classifier_of_symbols
from sumi.models.symbols.classifier import SymbolClassifierModel
from sumi.models.symbols.model import SymbolModel
from sumi.models.symbols.trajectory import trajectory
from sumi.report.made import how_it_was_made, noted, training_curve, write_run_report
from sumi.report.page import Figure, Section, Table, Verdict
from sumi.report.words import amount
from sumi.training.run_folder import RunFolder

SAMPLES: Final = 500
FEWEST: Final = 10
SHOWN: Final = 60
FOLLOWED: Final = 8
WITHOUT_RDKIT: Final = "rdkit is not installed, so validity is not measured: pip install rdkit"


def evaluate_symbols(model: SymbolModel, options: Options) -> Measured:
    """Sample the model, compare with held-out strings, and write ``report/``; see `sumi.report.evaluate.evaluate`.

    With other ``data``, what is held out and what real strings differ by are theirs; novelty is of the run's own.
    """
    options.refuse("symbols", "split", "features", "sweeps", "guidance", "quick", "clip")
    seed, progress, judge = options.seed, options.progress, None
    if options.judge is not None:
        why = f"judge: {options.judge.folder} reads no symbols; give a run of the recipe symbol-classifier"
        judge = classifier_of_symbols(model, expect(options.judge, SymbolClassifierModel, why), "judge")
    why = f"data: are no symbols, and {model.folder} is a model of these; give such data"
    own = expect(model.load_data(), SymbolDataset, why)
    other = own if options.data is None else expect(model.load_data(options.data), SymbolDataset, why)
    train, _ = own.split(model.config.data.held_out)
    _, held_out = other.split(model.config.data.held_out)
    count, begin = options.n or SAMPLES, time.perf_counter()
    samples = model.sample(count, seed=seed, batch_size=256, progress=counting_one(progress, "sampling"))
    made = f"{count:,} by {model.how_sampled()} in {time.perf_counter() - begin:.1f} s on {model.device}"
    found = None
    if judge is not None and min(len(held_out), count) < FEWEST:
        raise InputError(f"judge: reads {FEWEST} samples and held-out strings or more; give more, or leave it out")
    if min(len(held_out), count) >= FEWEST:
        found = evaluate_texts(model, samples, train, held_out, seed, progress, judge)
        words = _verdict(found)
    else:
        few = f"Too few to measure: {count} samples and {len(held_out)} held out; at least {FEWEST} of each are needed."
        words = Verdict(few)
    words = noted(words, model, own, "strings")
    files = _write(model, train, held_out, samples, found, words, made, seed)
    return Measured(found, str(words), files[-1], files)


def _verdict(found: SymbolEvaluation) -> Verdict:
    bits = found.bits.by_character
    headline = f"{_number(bits)} bits per character of held-out strings, by the bound."
    if found.made.valid is not None:
        headline = f"{amount(found.made.valid)} of the samples are valid molecules; {headline}"
    points = [
        (
            "Fit",
            f"Training strings take {_number(found.bits_training.by_character)} bits per character: much less than "
            "held-out ones would mean that the model has learned them by heart.",
        ),
        ("Samples", f"{_counts(found.made)}. Of {found.held_out:,} held-out strings: {_counts(found.real)}."),
        (
            "Distance to real strings",
            f"Lengths differ by {found.differences.lengths:.3f}, symbols by {found.differences.symbols:.3f}, pairs by "
            f"{found.differences.pairs:.3f}; as many training strings by {found.differences_real.lengths:.3f}, "
            f"{found.differences_real.symbols:.3f} and {found.differences_real.pairs:.3f} (0: the same shares, 1: none "
            "in common).",
        ),
    ]
    for one in found.asked:
        figures = [_number(e) for e in (one.conditional, one.unconditional, one.real)]
        what = "Of the class asked for" if one.name == "class" else f"{one.name}, where asked for, is missed by"
        points.append(("Asked for", f"{what} {figures[0]}; not asked for {figures[1]}; real strings {figures[2]}."))
    if found.molecules is None:
        points.append(("Note", f"The strings look like SMILES. {WITHOUT_RDKIT}."))
    return Verdict(headline, points)


def _counts(of: Shares) -> str:
    """The counts with their denominators."""
    base = of.total if of.valid_count is None else of.valid_count
    valid = "" if of.valid_count is None else f"{of.valid_count:,} of {of.total:,} are valid; "
    new = "" if of.new is None else f"; {of.new:,} of these {of.different:,} are not in the training data"
    return f"{valid}{of.different:,} of {base:,} are different{new}"


def _number(e: Estimate) -> str:
    return f"{e.value:.3f} [{e.low:.3f}, {e.high:.3f}]"


def _rows(found: SymbolEvaluation) -> list[tuple[str, str, str]]:
    def share(e: Estimate | None) -> str:
        return "" if e is None else f"{100 * e.value:.4g} % [{100 * e.low:.4g}, {100 * e.high:.4g}]"

    rows = [("Valid, of all", share(found.made.valid), share(found.real.valid))] if found.molecules else []
    of = "valid ones" if found.molecules else "all"
    rows += [
        (f"Unique, of {of}", share(found.made.unique), share(found.real.unique)),
        ("Novel, of the unique", share(found.made.novel), share(found.real.novel)),
    ]
    for name in ("lengths", "symbols", "pairs"):
        made, real = (getattr(which, name) for which in (found.differences, found.differences_real))
        rows.append((f"Distance of {name}", f"{made:.4f}", f"{real:.4f}"))
    for one in found.asked:
        name = "Of the class asked for" if one.name == "class" else f"Error of {one.name} where asked for"
        rows.append((name, _number(one.conditional), _number(one.real)))
        rows.append((f"{name}: not asked", _number(one.unconditional), ""))
    rows.append(("Bits per character", "", _number(found.bits.by_character)))
    rows.append(("Bits per string", "", _number(found.bits.by_item)))
    return rows


def _write(
    model: SymbolModel,
    train: SymbolDataset,
    held_out: SymbolDataset,
    samples: Tensor,
    found: SymbolEvaluation | None,
    words: Verdict,
    made: str,
    seed: int,
) -> tuple[Path, ...]:
    folder, spec = RunFolder(model.folder).report, model.spec
    shown = min(len(samples), SHOWN)
    grid, real, loss, report = (folder / name for name in ("samples.png", "real.png", "loss.svg", "report.html"))
    write_whole(grid, spec.picture(samples[:shown], "samples"))
    write_whole(real, spec.picture(evenly_spaced(held_out, shown), "real, held out"))
    curve = training_curve(model)
    write_text(loss, curve)
    strip, animation = trajectory(model, folder, min(FOLLOWED, len(samples)), {"seed": seed})
    sections = [
        Section(
            "Samples",
            figures=[
                Figure(grid, f"The first {shown} of {made}, not hand-picked.", True),
                Figure(real, "As many held-out strings.", True),
            ],
        ),
        Section(
            "The data emerging from noise",
            figures=[
                Figure(strip, "Samples at times from t = 1 (noise) to t = 0 (data); masks are dots.", True),
                Figure(animation, "The same, animated."),
            ],
        ),
        Section(
            "How it learned", figures=[Figure(curve, "Training loss in nats per symbol, with its running median.")]
        ),
    ]
    if found is not None:
        write_text(folder / "evaluation.json", json.dumps(asdict(found), indent=2) + "\n")
        caption = (
            f"{found.samples} samples, {found.held_out} held out; 95 % intervals. Distances to the held-out strings."
        )
        sections.append(Section("All figures", tables=[Table(("", "samples", "real"), _rows(found), caption)]))
    sections.append(how_it_was_made(model, train, held_out, made=made, shown=shown, seed=seed))
    write_run_report(report, model, words, sections)
    return grid, real, strip, animation, loss, report
