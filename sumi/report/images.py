"""The report of a model of images: pictures, charts and tables, the most asked-for first."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from sumi.boundary.files import write_text, write_whole
from sumi.boundary.progress import Count, counting_one
from sumi.data.dataset import Dataset, evenly, evenly_spaced, everything
from sumi.evaluation.averages import LengthLoss
from sumi.evaluation.generalization import Generalization
from sumi.evaluation.guidance import TradeOff
from sumi.evaluation.images import Evaluation
from sumi.evaluation.loss_by_noise import LossByLogSnr
from sumi.evaluation.prior import PriorEvaluation
from sumi.evaluation.prompts import Prompted, PromptEvaluation
from sumi.evaluation.sweeps import Sweeps
from sumi.figures.charts import loss_by_noise_level
from sumi.figures.pictures import film, neighbours, png, side_by_side
from sumi.metrics.copies import nearest
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.trajectory import trajectory, write_trajectory
from sumi.models.model import GenerativeModel
from sumi.report.made import checked, how_it_was_made, training_curve, write_run_report
from sumi.report.page import Figure, Section, Verdict
from sumi.report.prior import prior_section
from sumi.report.prompts import prompts_section
from sumi.report.restoration import restored
from sumi.report.sections import classes, copies_in_words, fine_detail
from sumi.report.sweeps import guidance, lengths, number_of_steps, randomness
from sumi.report.tables import measurements
from sumi.training.run_folder import RunFolder

SHOWN = 36
CLOSEST = (
    "The most suspicious samples, each above its nearest training image. Below: their distance relative to that "
    "training image's distance to its own ten nearest neighbours. 0 is a copy."
)


@dataclass(frozen=True)
class ImageReport:
    """The pictures, charts and tables of one model; ``diffusion``: itself, if it is a diffusion model.

    ``losses`` are of held-out images, ``learned`` of training images. ``lengths``: of averages, where they are swept.
    """

    model: GenerativeModel
    diffusion: DiffusionModel | None
    dataset: Dataset
    train: Dataset
    held_out: Dataset
    samples: Tensor
    labels: Tensor | None
    evaluation: Evaluation | None
    swept: Sweeps | None
    lengths: Sequence[LengthLoss]
    traded: TradeOff | None
    judged: tuple[PromptEvaluation, Prompted] | None
    prior: PriorEvaluation | None
    losses: LossByLogSnr | None
    learned: LossByLogSnr | None
    general: Generalization | None
    seed: int
    progress: Count | None = None

    def write(self, words: Verdict, made: str) -> tuple[Path, ...]:
        """Write ``report/`` in the run folder; ``made``: how the samples were made. Returns the files.

        Raises SumiError if it cannot be written.
        """
        model, folder = self.model, RunFolder(self.model.folder).report
        grid, pairs = folder / "samples.png", folder / "neighbours.png"
        to_bytes = model.pixels.to_bytes
        real = to_bytes(evenly_spaced(self.held_out, SHOWN))
        groups = [("samples", to_bytes(self.samples[:SHOWN])), ("real, held out", real)]
        write_whole(grid, png(side_by_side(groups, captions=self._class_names())))
        write_whole(pairs, nearest_pairs(self.samples, self.train, to_bytes))
        curve = training_curve(model)
        loss = write_text(folder / "loss.svg", curve)
        learned = self._learned()
        traded, shown_traded = self._trade_off(folder)
        emerging, shown_emerging = self._emerging(folder)
        again: list[Section] = []
        if self.diffusion is not None:
            again = restored(self.diffusion, self.held_out, folder, self.seed, counting_one(self.progress, "restoring"))
        (folder / "evaluation.json").unlink(missing_ok=True)  # of an earlier report, whose samples were others
        for name, found in (("prompts", self.judged and self.judged[0]), ("prior", self.prior)):
            (folder / f"{name}.json").unlink(missing_ok=True)
            if found is not None:
                write_text(folder / f"{name}.json", json.dumps(asdict(found), indent=2) + "\n")
        if self.evaluation is not None:
            figures = asdict(self.evaluation)
            if self.losses is not None:
                figures["held_out_loss"] = asdict(self.losses)
            if self.learned is not None:
                figures["training_loss"] = asdict(self.learned)
            if self.general is not None:
                figures["generalization"] = asdict(self.general)
            if self.swept is not None:
                figures["sweeps"] = asdict(self.swept)
            if self.lengths:
                figures["averages"] = [asdict(row) for row in self.lengths]
            if self.traded is not None:
                figures["trade_off"] = asdict(self.traded)
            write_text(folder / "evaluation.json", json.dumps(figures, indent=2) + "\n")
        sections = [
            Section("Samples", figures=[Figure(grid, self._shown(made, len(real)), True)]),
            *([] if self.judged is None else [prompts_section(model, *self.judged)]),
            *([] if self.prior is None else [prior_section(self.prior)]),
            *emerging,
            *again,
            *(classes(self.evaluation, self.dataset.label_names) if self.evaluation else []),
            *(fine_detail(self.evaluation) if self.evaluation else []),
            copying(pairs, self.samples, self.train, self.evaluation, to_bytes),
            *self._sweeps(),
            *traded,
            self._learning(curve, learned),
            *([Section("All figures", tables=[measurements(self.evaluation)])] if self.evaluation else []),
            how_it_was_made(
                model,
                self.train,
                self.held_out,
                made=made,
                shown=SHOWN,
                seed=self.seed,
                of_classes=None if self.labels is None else len(self.samples),
            ),
        ]
        report = folder / "report.html"
        write_run_report(report, model, words, sections)
        return grid, *learned, *shown_emerging, loss, pairs, *shown_traded, report

    def _class_names(self) -> list[list[str]] | None:
        """Of the samples and of the real images that are shown; None where samples were not asked for by class."""
        names, real = self.model.items.label_names, self.held_out.label_names
        if self.labels is None or not real:
            return None
        of_real = self.held_out.labels_of(evenly(len(self.held_out), SHOWN))
        asked_for = [names[label] for label in self.labels[:SHOWN].tolist()]
        return [asked_for, [real[label] for label in of_real.tolist()]]

    def _shown(self, made: str, real: int) -> str:
        few = min(SHOWN, len(self.samples))
        first = "All" if few == len(self.samples) else f"The first {few} of"
        below = "" if self._class_names() is None else " Below each its class, which the samples were asked for."
        return f"{first} {made}, not hand-picked. Right: {real} held-out real images.{below}"

    def _emerging(self, folder: Path) -> tuple[list[Section], tuple[Path, ...]]:
        """The trajectory of sample 0 from noise, for a diffusion model, and its files."""
        if self.diffusion is None:
            return [], ()
        first = None if self.labels is None else int(self.labels[0])
        progress = counting_one(self.progress, "following one sample") or (lambda *_: None)
        progress(0, 1)
        way = trajectory(self.diffusion, 0, seed=self.seed, label=first)
        strip, animation = write_trajectory(self.diffusion, way, folder)
        progress(1, 1)
        figures = [
            Figure(strip, "Sample 0 at times from t = 1 (noise) to t = 0 (image).", wide=True),
            Figure(animation, "The same, animated."),
        ]
        return [Section("An image emerging from noise", figures=figures)], (strip, animation)

    def _sweeps(self) -> list[Section]:
        of_lengths = [lengths(self.lengths, self.model.folder)] if self.lengths else []
        if self.swept is None:
            return of_lengths
        return [
            randomness(self.swept.eta, steps=self.swept.eta_steps),
            number_of_steps(self.swept.steps, solver=self.swept.solver),
            *of_lengths,
        ]

    def _trade_off(self, folder: Path) -> tuple[list[Section], tuple[Path, ...]]:
        """The trade-off of guidance, if it was measured, and the file of its figure."""
        if self.traded is None:
            return [], ()
        section, picture = guidance(self.traded.methods, solver=self.traded.solver, steps=self.traded.steps)
        file = write_whole(folder / "trade-off.png", picture)
        return [section], (file,)

    def _learning(self, curve: str, learned: Sequence[Path]) -> Section:
        figures = [Figure(curve, "Training loss with its running median.")]
        if self.losses is not None:
            bins = self.losses.bins
            middles = [(b.low + b.high) / 2 for b in bins]
            errors = {
                "of the noise ε̂": (middles, [b.mse_noise for b in bins]),
                "of the image x̂₀": (middles, [b.mse_clean for b in bins]),
            }
            if self.learned is not None:
                errors["of x̂₀, training images"] = middles, [b.mse_clean for b in self.learned.bins]
            widest = max(
                ((e.high - e.low) / e.value for _, line in errors.values() for e in line if e.value), default=0.0
            )
            caption = (
                f"Denoising error: mean squared error on {self.losses.images} held-out images in {len(bins)} bins of "
                "log-SNR, with one random time and noise per image and bin. Bands: 95 % bootstrap intervals, at most "
                f"±{50 * widest:.1f} % here."
            )
            figures.append(Figure(loss_by_noise_level(errors), caption))
        figures += [Figure(file, "The same noises, sampled on the way.") for file in learned]
        return Section("How it learned", figures=[*figures, *checked(self.model)])

    def _learned(self) -> list[Path]:
        """An animation of the grids that training made on the way, where it made several."""
        run = RunFolder(self.model.folder)
        grids = {
            int(file.stem): Image.open(file) for file in sorted(run.samples.glob("*.png")) if file.stem.isdecimal()
        }
        frames = [(f"step {step:,}", grid) for step, grid in sorted(grids.items()) if step <= self.model.step]
        if len({grid.size for _, grid in frames}) != 1 or len(frames) < 2:
            return []
        return [write_whole(run.report / "learning.webp", film(frames, seconds=0.7 * len(frames)))]


def nearest_pairs(samples: Tensor, train: Dataset, to_bytes: Callable[[Tensor], Tensor]) -> bytes:
    """A PNG of the first samples (N, C, H, W), each above its nearest training image."""
    few = samples[:16]
    found = nearest(few, everything(train))
    return png(neighbours(to_bytes(few), to_bytes(train.batch(found.index.numpy())), found.distance.tolist()))


def copying(
    pairs: Path, samples: Tensor, train: Dataset, evaluation: Evaluation | None, to_bytes: Callable[[Tensor], Tensor]
) -> Section:
    """Whether samples copy training images: the picture of `nearest_pairs`, and what was found if it was measured."""
    first = (
        "The first samples, each above its nearest training image in pixel space, unshifted. Below: the root mean "
        "square difference (pixels are in [-1, 1])."
    )
    figures = [Figure(pairs, first, True)]
    if evaluation is None:
        return Section("Does it copy training images?", figures=figures)
    if evaluation.copies is not None:
        closest = evaluation.copies.closest
        copied = samples[[pair.sample for pair in closest]]
        twins = train.batch(np.array([pair.training for pair in closest], np.int64))
        picture = png(neighbours(to_bytes(copied), to_bytes(twins), [pair.ratio for pair in closest]))
        figures.insert(0, Figure(picture, CLOSEST, True))
    return Section("Does it copy training images?", copies_in_words(evaluation), figures)
