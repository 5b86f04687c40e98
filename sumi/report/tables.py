"""The report's tables: the figures of samples in one column, those of real images in the next."""

from collections.abc import Callable, Sequence

from sumi.evaluation.images import Evaluation
from sumi.metrics.classes import ClassAccuracy
from sumi.metrics.intervals import Estimate
from sumi.report.page import Table
from sumi.report.words import chance


def measurements(evaluation: Evaluation) -> Table:
    """All figures of an evaluation with their intervals, for samples and for real images."""
    e, real = evaluation, evaluation.real_distances
    rows: list[tuple[str, ...]] = [
        ("Distance to real images: 0 is best",),
        ("Kernel distance (KID)", _interval(e.distances.kernel), _interval(real.kernel)),
        ("Fréchet distance, bias-corrected", _interval(e.distances.frechet), _interval(real.frechet)),
        (
            "Fréchet distance, plug-in (FID): falls with more images",
            f"{e.distances.frechet_plug_in:.3f}",
            f"{real.frechet_plug_in:.3f}",
        ),
    ]
    if e.variety is not None:
        a, b = e.variety.samples, e.variety.real
        rows += [
            ("Quality and diversity: best where equal to real images",),
            *_shown("Precision: samples among real images", a.precision, b.precision, _share),
            ("Recall: real images among samples", _share(a.recall), _share(b.recall)),
            *_shown("Density, 1 for a perfect model", a.density, b.density, _interval),
            (
                f"Coverage, {100 * a.expected_coverage:.1f} % for a perfect model",
                _share(a.coverage),
                _share(b.coverage),
            ),
        ]
    rows += [
        ("By a classifier trained on real images",),
        (
            f"Confident (top probability above {e.clarity.threshold:g})",
            _share(e.clarity.samples),
            _share(e.clarity.real),
        ),
    ]
    if e.clarity.relative is not None:
        rows.append(("Confident, relative to real images", _interval(e.clarity.relative), "1"))
    if e.inception_score is not None:
        a, b = e.inception_score.samples, e.inception_score.real
        rows.append((f"Inception score, of {a.classes} classes", _interval(a.score), _interval(b.score)))
    if e.label_accuracy is not None:
        alike = None if e.class_accuracy is None else e.class_accuracy.real
        rows.append(
            ("Assigned to the requested class", _share(e.label_accuracy), "" if alike is None else _share(alike))
        )
    if e.balance is not None:
        samples = f"{_percent(e.balance.total_variation)} {chance(e.balance.p_value)}"
        rows.append(("Would have to change class to match", samples, f"{_percent(e.balance.by_chance)} by chance"))
    if e.held_out_accuracy is not None:
        rows.append(("Accuracy on held-out images", "", _share(e.held_out_accuracy)))
    if e.spectra is not None:
        a, b = e.spectra.distance.samples, e.spectra.distance.real
        name = f"Power above {a.above:g} cycles per pixel, relative to held-out"
        rows += [("Fine detail",), (name, _share(a.detail), _share(b.detail))]
        if a.log_distance is not None and b.log_distance is not None:
            rows.append(
                ("Spectral distance: log powers, squared", _interval(a.log_distance), _interval(b.log_distance))
            )
    if e.copies is not None:
        found, ratios = e.copies.found, e.copies.found.ratios
        ways = ["moved by 1 pixel"] * (e.copies.reach > 0) + ["mirrored"] * e.copies.mirrored
        rows += [
            (
                f"Copies of training images, also {' or '.join(ways)}"
                if ways
                else "Copies of training images, in place",
            ),
            (
                "Suspiciously close",
                f"{_percent(ratios.share)} {chance(ratios.p_value)}",
                f"{_percent(ratios.expected)} by chance",
            ),
            ("Copies, above chance", _share(found.rate), "0 %"),
            (
                "Median distance to the nearest training image, over that image's own",
                f"{ratios.median_distance:.3f}",
                f"{ratios.median_distance_real:.3f}",
            ),
        ]
    sizes = (
        f"Distances: {_of(e.distances.first, e.distances.second)}; real images: {real.first:,} of "
        f"{e.training_images:,} training images, compared in the same way. "
    )
    if (e.distances.frechet_first, e.distances.frechet_second) != (e.distances.first, e.distances.second):
        sizes += f"Fréchet distances: {_of(e.distances.frechet_first, e.distances.frechet_second)}. "
    sizes += (
        "Intervals are at 95 %. "
        f"Feature space: {e.space.name}, {e.space.dimension} features, sha256 {e.space.sha256[:12]}. Reference "
        f"statistics: {e.reference.images:,} held-out images, sha256 {e.reference.sha256[:12]}."
    )
    if min(e.distances.frechet_first, e.distances.frechet_second) < 2 * e.space.dimension:
        sizes += " With fewer than two images per feature the Fréchet distance stays biased: trust the kernel distance."
    if e.space.sha256 != e.network_sha256:
        sizes += f" Classes and confidence are those of the built-in network, sha256 {e.network_sha256[:12]}."
    if e.variety is not None:
        v = e.variety.samples
        sizes += f" Precision to coverage: {_of(v.samples, v.real)}, k = {v.neighbours}."
    if e.spectra is not None:
        sizes += f" Fine detail: {_of(e.spectra.distance.samples.samples, e.spectra.distance.samples.real)}."
    if e.spectra is not None and e.spectra.distance.samples.heavy_tailed:
        sizes += " A few images have most of the fine detail: its intervals may hold less often than 95 %."
    if e.copies is not None:
        sizes += f" Copies: {_of(e.copies.found.ratios.samples, e.copies.found.ratios.real)}."
    if e.left_out:
        sizes += f" Left out: {'; '.join(e.left_out)}."
    return Table(("", "samples", "real images"), rows, sizes)


def by_class(accuracy: ClassAccuracy, names: Sequence[str]) -> Table:
    """For each class: the share of its samples, and of its real images, classified as it, and the main mistake."""
    rows = []
    for one in accuracy.classes:
        counts = dict(enumerate(accuracy.taken_for[one.label]))
        del counts[one.label]
        other = max(counts, key=lambda label: counts[label])
        confused = f"{names[other]} ({counts[other]})" if counts[other] else ""
        cells = ("none" if part is None else _share(part) for part in (one.samples, one.real))
        rows.append((names[one.label], *cells, confused))
    caption = (
        "We generated samples of each class; the table gives the share that a classifier trained on real images "
        "assigns to the requested class, and its most frequent mistake (number of samples)."
    )
    return Table(("class", "samples", "real", "mistaken for"), rows, caption)


def _shown(
    name: str, samples: Estimate | None, real: Estimate | None, as_text: Callable[[Estimate], str]
) -> list[tuple[str, ...]]:
    """The row, or none where the figure says nothing."""
    return [] if samples is None or real is None else [(name, as_text(samples), as_text(real))]


def _of(samples: int, held_out: int) -> str:
    return f"{samples:,} samples and {held_out:,} held-out images"


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} [{estimate.low:.3f},\N{NO-BREAK SPACE}{estimate.high:.3f}]"


def _share(estimate: Estimate) -> str:
    low, high = 100 * estimate.low, 100 * estimate.high
    return f"{_percent(estimate.value)} [{low:.1f},\N{NO-BREAK SPACE}{high:.1f}]"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"
