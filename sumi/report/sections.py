"""Sections of the report on detail, copies and classes: what the figures say in words, with a chart or a table.

Words are strong only beyond chance: samples differ where their interval and that of real images do not meet.
"""

from collections.abc import Sequence

from sumi.evaluation.images import SIGNIFICANT, Evaluation, copies_training_images
from sumi.evaluation.measures import Spectra
from sumi.figures.charts import class_shares, power_spectra
from sumi.metrics.classes import Balance
from sumi.report.page import Figure, Section
from sumi.report.tables import by_class
from sumi.report.words import amount, chance, listed, percent


def detail_beyond_chance(found: Spectra) -> int:
    """-1 where samples have less fine detail than training images, 1 where more, 0 where it may be chance."""
    samples, real = found.distance.samples.detail, found.distance.real.detail
    return int(samples.low > real.high) - int(samples.high < real.low)


def fine_detail(evaluation: Evaluation) -> list[Section]:
    """Nothing, or one section: whether samples are smoother or rougher than real images, and both power spectra."""
    found = evaluation.spectra
    if found is None:
        return []
    samples, real = found.distance.samples.detail, found.distance.real.detail
    words = {
        -1: "The samples lack fine detail: they have",
        0: "The samples have as much fine detail as real images:",
        1: "The samples have too much fine detail, or noise:",
    }[detail_beyond_chance(found)]
    text = f"{words} {amount(samples)} of its power in held-out images, where training images have {amount(real)}."
    above = found.distance.samples.above
    caption = (
        f"Mean power of waves of each length; right of the dashed line is fine detail, waves of {1 / above:g} pixels "
        "and shorter. Bands: 95 % intervals."
    )
    chart = power_spectra({"samples": found.power.samples, "real": found.power.real}, fine=above)
    return [Section("Fine detail", text, [Figure(chart, caption)])]


def copies_in_words(evaluation: Evaluation) -> str:
    """What the search for copies found; nothing where it was not made."""
    copies = evaluation.copies
    if copies is None:
        return ""
    rate, ratios = copies.found.rate, copies.found.ratios
    where = ("in place or moved by 1 pixel" if copies.reach else "in place") + (
        ", mirrored or not" if copies.mirrored else ""
    )
    counted = (
        f"{ratios.counted} of {ratios.samples:,} samples come as near to a training image ({where}) as the nearest "
        f"{percent(ratios.expected)} of real images do; by chance {ratios.expected * ratios.samples:.0f} would"
    )
    if not copies_training_images(evaluation):
        return f"No copies stand out: {counted}."
    return (
        f"About {amount(rate)} of the samples are copies: {counted} {chance(ratios.p_value)}. The nearest pairs tell "
        "copies from plain images, which are near to many."
    )


def shares_in_words(balance: Balance, names: Sequence[str]) -> str:
    """Whether the classes' shares differ from the real ones beyond chance, and which classes are missing."""
    differ = "differ from the real ones" if balance.p_value < SIGNIFICANT else "differ no more than by chance"
    words = (
        f"The shares of the classes {differ}: {percent(balance.total_variation)} of the samples would have to change "
        f"class, {percent(balance.by_chance)} by chance alone {chance(balance.p_value)}."
    )
    missing = [names[label] for label in balance.missing]
    return f"{words} No sample is taken for {listed(missing)}." if missing else words


def classes(evaluation: Evaluation, names: Sequence[str]) -> list[Section]:
    """Nothing without labels, or one section: shares of the classes, and how many samples are what was asked for."""
    if evaluation.balance is None:
        return []
    chart = Figure(class_shares(evaluation.balance, names=names), "What a classifier of real images takes them for.")
    accuracy = evaluation.class_accuracy
    tables = [] if accuracy is None else [by_class(accuracy, names)]
    return [Section("Classes", shares_in_words(evaluation.balance, names), [chart], tables)]
