"""What all measurements come to, in a sentence or two: words first, readable in ten seconds.

The first sentence is always there. A second one names what is lacking, classes or variety, where it is beyond chance.
"""

from collections.abc import Sequence

from sumi.evaluation.summary import SIGNIFICANT, Evaluation, copies_training_images

VERY_CLOSE, CLOSE, SOME_WAY = 0.03, 0.12, 0.5  # kernel distances; blurred digits are near 1, pure noise above
MANY = 3


def verdict(evaluation: Evaluation, class_names: Sequence[str] | None = None) -> str:
    """One or two plain sentences: how close, how clear, whether copied; and what is missing or too rare, if anything.

    ``class_names``: what to call the classes; their numbers otherwise.
    """
    kernel, floor = evaluation.distances.kernel, evaluation.real_distances.kernel
    first = (
        f"The samples {_closeness(evaluation)}: kernel distance {_number(kernel.value)} "
        f"[{_number(kernel.low)}, {_number(kernel.high)}] against {_number(floor.value)} for real against real; "
        f"{_clearness(evaluation)}; {_as_asked(evaluation)}{_copying(evaluation)}."
    )
    lacking = _classes(evaluation, class_names) or _variety(evaluation)
    return " ".join([first, *lacking])


def _closeness(evaluation: Evaluation) -> str:
    kernel = evaluation.distances.kernel
    if kernel.low <= 0:
        return f"cannot be told from the real data with {evaluation.distances.second} held-out images"
    if evaluation.closeness < VERY_CLOSE:
        return "are very close to the real data"
    if evaluation.closeness < CLOSE:
        return "are close to the real data"
    return "are some way from the real data" if evaluation.closeness < SOME_WAY else "are far from the real data"


def _clearness(evaluation: Evaluation) -> str:
    samples, real = _percent(evaluation.clarity.samples.value), _percent(evaluation.clarity.real.value)
    if evaluation.network.task == "rotations":
        return f"a network is sure which way up {samples} of them are, and {real} of real images"
    return f"{samples} are clear to a classifier, and {real} of real images"


def _copying(evaluation: Evaluation) -> str:
    if not copies_training_images(evaluation):
        return "no sign of copying"
    pixels = evaluation.pixel_copying
    return f"{_percent(pixels.share)} are near copies of training images, where {_percent(pixels.expected)} would be so"


def _as_asked(evaluation: Evaluation) -> str:
    """Nothing, or a clause on samples that were asked to be of a class."""
    asked, real = evaluation.label_accuracy, evaluation.held_out_accuracy
    if asked is None:
        return ""
    if evaluation.class_accuracy is not None and evaluation.class_accuracy.real is not None:
        real = evaluation.class_accuracy.real
    beside = "" if real is None else f", where {_percent(real.value)} of real ones are told right"
    return f"{_percent(asked.value)} are the class asked for{beside}; "


def _variety(evaluation: Evaluation) -> list[str]:
    """Nothing, or one sentence, where the samples vary less than real images by more than chance."""
    found = evaluation.variety
    if found is None:
        return []
    for samples, real, lie in (
        (found.samples.recall, found.real.recall, "lie among them"),
        (found.samples.coverage, found.real.coverage, "have one of them near"),
    ):
        if samples.high < real.low:
            return [
                f"They vary less than real images: {_percent(samples.value)} of held-out images {lie}, "
                f"and {_percent(real.value)} with training images in their place."
            ]
    return []


def _classes(evaluation: Evaluation, class_names: Sequence[str] | None) -> list[str]:
    """Nothing, or one sentence, on classes that are missing or whose shares differ by more than chance."""
    balance = evaluation.balance
    if balance is None or balance.p_value >= SIGNIFICANT:
        return []
    if not balance.missing:
        return [f"The shares of the classes differ from the real ones by {_percent(balance.total_variation)}."]
    if len(balance.missing) > MANY:
        return [f"{len(balance.missing)} of {len(balance.real)} classes are missing among the samples."]
    names = [class_names[label] if class_names else str(label) for label in balance.missing]
    return [f"Missing among the samples: class {', '.join(names)}."]


def _number(value: float) -> str:
    return f"{round(value, 3) + 0.0:.3f}"  # + 0.0 makes a negative zero positive


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
