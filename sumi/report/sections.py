"""The report's sections on fine detail, copies and classes: a sentence on the figures, with a chart or a table.

A sentence names a difference only where the samples' interval and that of real images do not overlap.
"""

from collections.abc import Sequence

from sumi.errors import printable
from sumi.evaluation.images import SIGNIFICANT, Evaluation, copies_training_images
from sumi.evaluation.measures import Spectra
from sumi.figures.charts import class_shares, power_spectra
from sumi.metrics.classes import Balance
from sumi.report.page import Figure, Section
from sumi.report.tables import by_class
from sumi.report.words import amount, chance, listed, percent


def detail_beyond_chance(found: Spectra) -> int:
    """-1: samples have less fine detail than training images, 1: more, 0: the difference may be chance."""
    samples, real = found.distance.samples.detail, found.distance.real.detail
    return int(samples.low > real.high) - int(samples.high < real.low)


def fine_detail(evaluation: Evaluation) -> list[Section]:
    """At most one section: whether samples are smoother or rougher than real images, and both power spectra."""
    found = evaluation.spectra
    if found is None:
        return []
    samples, real = found.distance.samples.detail, found.distance.real.detail
    words = {
        -1: "The samples lack fine detail: they have",
        0: "The samples have as much fine detail as real images:",
        1: "The samples have too much fine detail, or noise:",
    }[detail_beyond_chance(found)]
    text = f"{words} {amount(samples)} of its power in held-out images; training images have {amount(real)}."
    above = found.distance.samples.above
    caption = (
        f"Mean power by spatial frequency. Right of the dashed line is fine detail: wavelengths of {1 / above:g} "
        "pixels and below. Bands: 95 % intervals."
    )
    chart = power_spectra({"samples": found.power.samples, "real": found.power.real}, fine=above)
    return [Section("Fine detail", text, [Figure(chart, caption)])]


def copies_in_words(evaluation: Evaluation) -> str:
    """What the search for copies found; "" where there was none."""
    copies = evaluation.copies
    if copies is None:
        return ""
    rate, ratios = copies.found.rate, copies.found.ratios
    where = ("in place or moved by 1 pixel" if copies.reach else "in place") + (
        ", mirrored or not" if copies.mirrored else ""
    )
    counted = (
        f"{ratios.counted} of {ratios.samples:,} samples are as close to a training image ({where}) as the closest "
        f"{percent(ratios.expected)} of real images are; {ratios.expected * ratios.samples:.0f} are expected by chance"
    )
    if not copies_training_images(evaluation):
        return f"No copies stand out: {counted}."
    return (
        f"About {amount(rate)} of the samples are copies: {counted} {chance(ratios.p_value)}. Look at the closest "
        "pairs: plain images are close to many others without being copies."
    )


def shares_in_words(balance: Balance, names: Sequence[str]) -> str:
    """Whether the class shares differ significantly from those of real images, and which classes are missing."""
    differ = "differ from those of real images" if balance.p_value < SIGNIFICANT else "differ no more than by chance"
    words = (
        f"The class shares {differ}: {percent(balance.total_variation)} of the samples would have to change class to "
        f"match, {percent(balance.by_chance)} are expected by chance {chance(balance.p_value)}."
    )
    missing = [names[label] for label in balance.missing]
    return f"{words} No sample is classified as {listed(missing)}." if missing else words


def classes(evaluation: Evaluation, names: Sequence[str]) -> list[Section]:
    """At most one section, of labelled data: class shares, and how many samples show the requested class."""
    if evaluation.balance is None:
        return []
    names = [*map(printable, names)]
    chart = Figure(
        class_shares(evaluation.balance, names=names),
        "Class shares, as predicted by a classifier trained on real images.",
    )
    accuracy = evaluation.class_accuracy
    tables = [] if accuracy is None else [by_class(accuracy, names)]
    return [Section("Classes", shares_in_words(evaluation.balance, names), [chart], tables)]
