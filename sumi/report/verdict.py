"""What all measurements come to: one sentence that can be read in ten seconds, then what it rests on, point by point.

The sentence says how near the samples are to real images, then what is wrong with them where it is beyond chance: a
figure's interval and that of real images do not meet, or a test's p-value is small.
"""

from collections.abc import Sequence

from sumi.evaluation.images import SIGNIFICANT, Evaluation, copies_training_images
from sumi.report.page import Verdict
from sumi.report.sections import copies_in_words, detail_beyond_chance, shares_in_words
from sumi.report.words import amount, listed, percent

VERY_CLOSE, CLOSE, SOME_WAY = 0.03, 0.12, 0.5  # kernel distances; blurred digits are near 1, pure noise above
MANY = 3


def verdict(evaluation: Evaluation, class_names: Sequence[str] | None = None) -> Verdict:
    """How near, and what is wrong; then the figures of likeness, clarity, classes, variety, detail and copies.

    ``class_names``: what to call the classes; their numbers otherwise.
    """
    found = (_clarity(evaluation), _asked(evaluation), _variety(evaluation), _classes(evaluation, class_names))
    found = (*found, _detail(evaluation), _copies(evaluation))
    wrong = [fault for fault, _ in found if fault]
    near, other = _likeness(evaluation), "but" if _is_near(evaluation) else "and"
    if wrong:
        headline = f"{near}, {other} {listed(wrong)}."
    else:
        headline = near + (", and none stands out as a copy." if evaluation.copies is not None else ".")
    kernel, floor = evaluation.distances.kernel, evaluation.real_distances.kernel
    likeness = (
        f"Kernel distance {_number(kernel.value)} [{_number(kernel.low)}, {_number(kernel.high)}] to "
        f"{evaluation.distances.second:,} held-out images, where training images have {_number(floor.value)} "
        f"[{_number(floor.low)}, {_number(floor.high)}]; 0 is no difference."
    )
    return Verdict(headline, (("Likeness", likeness), *(point for _, point in found if point is not None)))


Finding = tuple[str, tuple[str, str] | None]
"""What is wrong, "" where nothing is; the point that says more, None where it was not measured."""


def _is_near(evaluation: Evaluation) -> bool:
    return evaluation.distances.kernel.low <= 0 or evaluation.closeness < CLOSE


def _likeness(evaluation: Evaluation) -> str:
    if evaluation.distances.kernel.low <= 0:
        return f"With {evaluation.distances.second:,} held-out images the samples cannot be told from real ones"
    if evaluation.closeness < VERY_CLOSE:
        return "The samples are very close to real images"
    if evaluation.closeness < CLOSE:
        return "The samples are close to real images"
    some = "some way" if evaluation.closeness < SOME_WAY else "far"
    return f"The samples are {some} from real images"


def _clarity(evaluation: Evaluation) -> Finding:
    samples, real = evaluation.clarity.samples, evaluation.clarity.real
    if evaluation.network.task == "rotations":
        words = f"A network is sure which way up {amount(samples)} are, and {amount(real)} of real images."
    else:
        words = f"A classifier is sure of {amount(samples)}, and of {amount(real)} of real images."
    return ("fewer of them are clear" if samples.high < real.low else ""), ("Clarity", words)


def _asked(evaluation: Evaluation) -> Finding:
    """Of samples that were asked to be of a class."""
    asked, real = evaluation.label_accuracy, evaluation.held_out_accuracy
    if asked is None:
        return "", None
    if evaluation.class_accuracy is not None and evaluation.class_accuracy.real is not None:
        real = evaluation.class_accuracy.real
    beside = "" if real is None else f", where {amount(real)} of real ones are told right"
    wrong = real is not None and asked.high < real.low
    point = "Asked for", f"{amount(asked)} are the class asked for{beside}."
    return ("fewer are of the class asked for" if wrong else ""), point


def _variety(evaluation: Evaluation) -> Finding:
    found = evaluation.variety
    if found is None:
        return "", None
    figures = (
        (found.samples.recall, found.real.recall, "lie among them"),
        (found.samples.coverage, found.real.coverage, "have one of them near"),
    )
    lacking = [pair for pair in figures if pair[0].high < pair[1].low]
    samples, real, lie = (lacking or figures)[0]
    words = f"{amount(samples)} of held-out images {lie}; with training images in their place {amount(real)}."
    return ("they vary less" if lacking else ""), ("Variety", words)


def _classes(evaluation: Evaluation, class_names: Sequence[str] | None) -> Finding:
    """On classes that are missing, or whose shares differ."""
    balance = evaluation.balance
    if balance is None:
        return "", None
    names = class_names or [str(label) for label in range(len(balance.real))]
    missing = [names[label] for label in balance.missing]
    if not missing:
        wrong = "the shares of the classes differ"
    elif len(missing) > MANY:
        wrong = f"{len(missing)} of {len(balance.real)} classes are missing"
    else:
        wrong = f"class {listed(missing)} {'are' if len(missing) > 1 else 'is'} missing"
    return (wrong if balance.p_value < SIGNIFICANT else ""), ("Classes", shares_in_words(balance, names))


def _detail(evaluation: Evaluation) -> Finding:
    found = evaluation.spectra
    if found is None:
        return "", None
    beyond = detail_beyond_chance(found)
    wrong = {-1: "they lack fine detail", 0: "", 1: "they have too much fine detail, or noise"}[beyond]
    samples, real = found.distance.samples.detail, found.distance.real.detail
    return wrong, ("Fine detail", f"{amount(samples)} of the power in held-out images; training images {amount(real)}.")


def _copies(evaluation: Evaluation) -> Finding:
    if evaluation.copies is None:
        return "", None
    rate = percent(evaluation.copies.found.rate.value)
    wrong = f"about {rate} are copies of training images" if copies_training_images(evaluation) else ""
    return wrong, ("Copies", copies_in_words(evaluation))


def _number(value: float) -> str:
    return f"{round(value, 3) + 0.0:.3f}"  # + 0.0 makes a negative zero positive
