"""The verdict of an evaluation: one sentence to read in ten seconds, then the figures behind it, point by point.

The sentence says how close the samples are to real images, then what is wrong with them. A fault is named only where it
is significant: the figure's interval and that of real images do not overlap, or a test's p-value is small.
"""

from collections.abc import Sequence

from sumi.errors import printable
from sumi.evaluation.generalization import Generalization
from sumi.evaluation.images import SIGNIFICANT, Evaluation, copies_training_images
from sumi.metrics.out_of_range import FAR
from sumi.report.page import Verdict
from sumi.report.sections import copies_in_words, detail_beyond_chance, shares_in_words
from sumi.report.words import amount, listed, percent

VERY_CLOSE, CLOSE, SOME_WAY = 0.03, 0.12, FAR  # kernel distances; blurred digits are near 1, pure noise above
MANY = 3


def verdict(
    evaluation: Evaluation, class_names: Sequence[str] | None = None, *, model: Generalization | None = None
) -> Verdict:
    """How close, and what is wrong; then distance, classifier confidence, coverage, classes, fine detail and copies.

    ``class_names``: default to the classes' numbers; ``model``: whether the model whose samples they are generalises.
    """
    found = (_confidence(evaluation), _requested(evaluation), _coverage(evaluation), _classes(evaluation, class_names))
    found = (*found, _detail(evaluation), _copies(evaluation), _unseen(evaluation))
    wrong = [fault for fault, _ in found if fault]
    near, other = _closeness(evaluation), "but" if _is_near(evaluation) else "and"
    if wrong:
        headline = f"{near}, {other} {listed(wrong)}."
    else:
        headline = near + (", and none stands out as a copy." if evaluation.copies is not None else ".")
    headline += "" if model is None else f" {_generalises(model)}"
    kernel, floor = evaluation.distances.kernel, evaluation.real_distances.kernel
    distance = (
        f"Kernel distance {_number(kernel.value)} [{_number(kernel.low)}, {_number(kernel.high)}] to "
        f"{evaluation.distances.second:,} held-out images; training images are at {_number(floor.value)} "
        f"[{_number(floor.low)}, {_number(floor.high)}]. 0 means the same distribution."
    )
    return Verdict(headline, (("Distance to real images", distance), *(point for _, point in found if point)))


Finding = tuple[str, tuple[str, str] | None]
"""What is wrong ("" for nothing), and the point with the figures (None where it was not measured)."""


def _generalises(model: Generalization) -> str:
    match model.verdict:
        case "generalises":
            return f"The model generalises: {model.reason}."
        case "copies":
            return "The model copies."
        case "undecided":
            return f"Whether the model generalises or copies is undecided: {model.reason}."


def _is_near(evaluation: Evaluation) -> bool:
    return evaluation.distances.kernel.low <= 0 or evaluation.closeness < CLOSE


def _closeness(evaluation: Evaluation) -> str:
    if evaluation.distances.kernel.low <= 0:
        images = f"{evaluation.distances.second:,} held-out images"
        return f"By kernel distance the samples are indistinguishable from {images}"
    if evaluation.closeness < VERY_CLOSE:
        return "The samples are very close to real images"
    if evaluation.closeness < CLOSE:
        return "The samples are close to real images"
    some = "some way" if evaluation.closeness < SOME_WAY else "far"
    return f"The samples are {some} from real images"


def _confidence(evaluation: Evaluation) -> Finding:
    samples, real = evaluation.clarity.samples, evaluation.clarity.real
    if evaluation.network.task == "rotations":
        network = "A network trained to detect how images are rotated"
    else:
        network = "A classifier trained on real images"
    words = f"{network} is confident about {amount(samples)} of the samples and {amount(real)} of real images."
    fault = "a classifier is confident about fewer of them" if samples.high < real.low else ""
    return fault, ("Classifier confidence", words)


def _requested(evaluation: Evaluation) -> Finding:
    """For class-conditional samples."""
    found, real = evaluation.label_accuracy, evaluation.held_out_accuracy
    if found is None:
        return "", None
    if evaluation.class_accuracy is not None and evaluation.class_accuracy.real is not None:
        real = evaluation.class_accuracy.real
    point = f"A classifier trained on real images assigns {amount(found)} of the samples to the requested class"
    point += "." if real is None else f", and {amount(real)} of real images to their own."
    wrong = real is not None and found.high < real.low
    return ("fewer show the requested class" if wrong else ""), ("Requested class", point)


def _coverage(evaluation: Evaluation) -> Finding:
    found = evaluation.variety
    if found is None:
        return "", None
    figures = (
        (found.samples.recall, found.real.recall, "lie among the samples (recall)"),
        (found.samples.coverage, found.real.coverage, "have a sample nearby (coverage)"),
    )
    lacking = [pair for pair in figures if pair[0].high < pair[1].low]
    samples, real, lie = (lacking or figures)[0]
    words = f"{amount(samples)} of held-out images {lie}; with training images as samples, {amount(real)} do."
    return ("they are less diverse" if lacking else ""), ("Coverage", words)


def _classes(evaluation: Evaluation, class_names: Sequence[str] | None) -> Finding:
    """Whether classes are missing or have other shares."""
    balance = evaluation.balance
    if balance is None:
        return "", None
    names = [*map(printable, class_names)] if class_names else [str(label) for label in range(len(balance.real))]
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
    words = f"The samples have {amount(samples)} of the high-frequency power of held-out images; training images have "
    return wrong, ("Fine detail", f"{words}{amount(real)}.")


def _copies(evaluation: Evaluation) -> Finding:
    if evaluation.copies is None:
        return "", None
    rate = percent(evaluation.copies.found.rate.value)
    wrong = f"about {rate} are copies of training images" if copies_training_images(evaluation) else ""
    return wrong, ("Copies", copies_in_words(evaluation))


def _unseen(evaluation: Evaluation) -> Finding:
    reason = evaluation.unseen
    if not reason:
        return "", None
    words = f"{reason[0].upper()}{reason[1:]}. Both figures count even noise as real there, so neither is given."
    return "", ("Precision and density", words)


def _number(value: float) -> str:
    return f"{round(value, 3) + 0.0:.3f}"  # + 0.0 makes a negative zero positive
