"""Evaluation of a CLIP: what it finds among a hundred, its classes without training on them, and the report."""

import json
from dataclasses import asdict

import numpy as np
from torch import Tensor

from sumi.boundary.files import write_text, write_whole
from sumi.conditioning.text import captions_of
from sumi.data.dataset import Dataset
from sumi.evaluation.options import Options
from sumi.evaluation.result import Measured
from sumi.evaluation.retrieval import RANKS, ClipEvaluation, Recalls, evaluate_clip
from sumi.figures.pictures import image_grid, png
from sumi.metrics.intervals import Estimate
from sumi.models.clip import ClipModel
from sumi.report.commands import evaluated, trained_again
from sumi.report.made import how_it_was_made, training_curve, write_run_report
from sumi.report.page import Figure, Section, Table, Verdict
from sumi.report.words import amount, percent
from sumi.training.run_folder import RunFolder

SHOWN = 9
RANKED = 3
"""Captions below a picture."""


def evaluate_clips(model: ClipModel, options: Options) -> Measured:
    """Retrieval and zero-shot classes on held-out pictures; write ``report/`` in the run folder.

    Raises InputError for data that do not fit the model.
    """
    options.refuse("CLIPs", "split", "n", "features", "sweeps", "guidance", "quick", "judge", "clip")
    dataset = model.load_images(options.data)
    train, held_out = dataset.split(model.config.data.held_out)
    found, items, scores = evaluate_clip(model, held_out, options.seed)
    words, folder = _verdict(found), RunFolder(model.folder).report
    texts = [captions_of(held_out)[item] for item in items]
    picture = write_whole(folder / "ranked.png", _ranked(model, held_out.batch(np.array(items)), texts, scores))
    write_text(folder / "clip.json", json.dumps(asdict(found), indent=2) + "\n")
    caption = (
        f"The {RANKED} captions of {found.gallery} that it finds nearest to each picture, nearest first, with cosines; "
        "✓ marks its own."
    )
    sections = [
        Section("Pictures and their nearest captions", figures=[Figure(picture, caption, True)]),
        Section("What it finds", tables=[Table(("", "measured", "shuffled", "chance"), _rows(found))]),
        Section("How it learned", figures=[Figure(training_curve(model), "Training loss with its running median.")]),
        _how(model, train, held_out, found, options.seed),
    ]
    report = folder / "report.html"
    write_run_report(report, model, words, sections)
    return Measured(found, str(words), report, (picture, report))


def _ranked(model: ClipModel, images: Tensor, texts: list[str], scores: Tensor) -> bytes:
    captions = []
    for row, own in zip(scores[:SHOWN], range(SHOWN), strict=False):
        best = row.topk(min(RANKED, len(texts))).indices.tolist()
        captions.append(" · ".join(f"{row[k]:.2f}{' ✓' if k == own else ''} {texts[k]}" for k in best))
    shown = model.pixels.to_bytes(images[: len(captions)])
    return png(image_grid(shown, columns=3, scale=max(1, 300 // shown.shape[-1]), captions=captions))


def _rows(found: ClipEvaluation) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name in ("texts", "pictures"):
        what = {"texts": "own caption of a picture", "pictures": "own picture of a caption"}[name]
        pairs = zip(RANKS, _of(found.found, name), _of(found.shuffled, name), strict=True)
        rows += [
            (f"{what} among the {k} nearest of {found.gallery}", amount(a), amount(b), percent(k / found.gallery))
            for k, a, b in pairs
        ]
    if found.zero_shot is not None:
        zero = found.zero_shot
        rows.append(("class by its name alone", amount(zero.accuracy), amount(zero.shuffled), percent(zero.guess)))
    return rows


def _of(found: Recalls, name: str) -> tuple[Estimate, ...]:
    return found.texts if name == "texts" else found.pictures


def _verdict(found: ClipEvaluation) -> Verdict:
    first, fifth = found.found.texts
    headline = (
        f"It finds the caption of {percent(first.value)} of held-out pictures first among {found.gallery}, and of "
        f"{percent(fifth.value)} among its first five; chance would be {percent(1 / found.gallery)}."
    )
    back, back_fifth = found.found.pictures
    points = [
        ("From picture to text", f"R@1 {amount(first)}, R@5 {amount(fifth)}, of {found.queries:,} pictures."),
        ("From text to picture", f"R@1 {amount(back)}, R@5 {amount(back_fifth)}."),
        ("With captions of others", f"R@1 {amount(found.shuffled.texts[0])}, as a control."),
    ]
    if found.zero_shot is not None:
        guess = percent(found.zero_shot.guess)
        points.append(("Zero-shot", f"{amount(found.zero_shot.accuracy)} of classes by name; guessing gets {guess}."))
    return Verdict(headline, points)


def _how(model: ClipModel, train: Dataset, held_out: Dataset, found: ClipEvaluation, seed: int) -> Section:
    section = how_it_was_made(
        model, train, held_out, made=f"{found.queries} held-out pairs", shown=found.queries, seed=seed
    )
    again = f"{trained_again(model)}\n{evaluated(model, seed=seed)}"
    return Section(section.title, section.text, section.figures, section.tables, again)
