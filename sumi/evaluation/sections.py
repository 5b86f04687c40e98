"""Sections of the report on detail, copies and classes: what the figures say in words, with a chart or a table.

Words are strong only beyond chance: samples differ where their interval and that of real images do not meet.
"""

from collections.abc import Sequence

from sumi.evaluation.charts import class_shares, power_spectra
from sumi.evaluation.intervals import Estimate
from sumi.evaluation.measurements import by_class
from sumi.evaluation.report import Figure, Section
from sumi.evaluation.summary import SIGNIFICANT, Evaluation


def fine_detail(evaluation: Evaluation) -> list[Section]:
    """Nothing, or one section: whether samples are smoother or rougher than real images, and both power spectra."""
    found = evaluation.spectra
    if found is None:
        return []
    samples, real = found.distance.samples.detail, found.distance.real.detail
    above = found.distance.samples.above
    amount = _percent(samples.value)
    if samples.high < real.low:
        words = f"The samples lack fine detail: they have {amount} of its power in held-out images"
    elif samples.low > real.high:
        words = f"The samples have too much fine detail, or noise: {amount} of its power in held-out images"
    else:
        words = f"The samples have as much fine detail as real images: {amount} of its power in held-out images"
    text = f"{words} {_between(samples)}, where training images have {_percent(real.value)} {_between(real)}."
    caption = (
        f"mean power of waves of each length; fine detail: waves of {1 / above:g} pixels and shorter (dashed line)"
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
    if rate.low <= 0 or ratios.p_value >= SIGNIFICANT:
        return (
            f"No copies stand out ({where}): {ratios.counted} of {ratios.samples} samples are as near to a training "
            f"image as the nearest of the real ones, where {ratios.expected * ratios.samples:.0f} would be by chance."
        )
    return (
        f"About {_percent(rate.value)} {_between(rate)} of the samples are nearer to a training image ({where}) than "
        "real images are. The nearest pairs tell copies from plain images, which are near to many."
    )


def classes(evaluation: Evaluation, names: Sequence[str]) -> list[Section]:
    """Nothing without labels, or one section: shares of the classes, and how many samples are what was asked for."""
    if evaluation.balance is None:
        return []
    text = "What the classifier takes the samples for, beside the held-out images."
    chart = class_shares(evaluation.balance, names=names)
    accuracy = evaluation.class_accuracy
    missing = [names[label] for label in evaluation.balance.missing]
    if missing:
        text += f" No sample is taken for {', '.join(missing)}."
    tables = [] if accuracy is None else [by_class(accuracy, names)]
    return [Section("Classes", text, [Figure(chart, "share of each class")], tables)]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _between(estimate: Estimate) -> str:
    return f"[{100 * estimate.low:.0f}, {100 * estimate.high:.0f}]"
