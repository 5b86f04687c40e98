"""A model's denoiser, conditioned and guided:

    condition → classifier-free guidance or autoguidance → classifier guidance → thresholding

Classifier-free guidance, a negative class and autoguidance extrapolate (`sumi.guidance.extrapolation`), a classifier
adds its gradient to what comes of that (`sumi.guidance.classifier`), and a threshold keeps x̂_0 in range at last.
"""

from sumi.conditioning.condition import Condition
from sumi.denoising.denoiser import Denoiser, NetworkDenoiser
from sumi.errors import InputError
from sumi.guidance.classifier import ClassifierGuidance, NoisyClassifier
from sumi.guidance.extrapolation import ALWAYS, Extrapolation, Interval
from sumi.guidance.thresholding import DynamicThreshold, StaticThreshold
from sumi.guidance.vocabulary import Vocabulary
from sumi.sampling.sampler import Guidance, Sampling, Threshold


def guided(
    network: NetworkDenoiser,
    condition: Condition | None,
    sampling: Sampling,
    vocabulary: Vocabulary,
    shape: tuple[int, ...],
) -> Denoiser:
    """``network`` as ``sampling`` guides it, given the ``condition`` of samples of ``shape``.

    A network that was trained without classes may be guided by a classifier that knows them. Raises InputError for a
    condition that the network does not take, and for guidance that needs a condition where none is given.
    """
    guidance, own = sampling.guidance, condition
    if own is not None and guidance.classifier is not None and not vocabulary.knows_labels:
        own = own.without("labels") or None  # they are for the classifier alone
    denoiser = _extrapolated(network, own, guidance, vocabulary, shape)
    if guidance.classifier is not None:
        denoiser = _by_classifier(denoiser, condition, guidance, vocabulary)
    return thresholded(denoiser, sampling.threshold)


def _extrapolated(
    network: NetworkDenoiser,
    condition: Condition | None,
    guidance: Guidance,
    vocabulary: Vocabulary,
    shape: tuple[int, ...],
) -> Denoiser:
    """``network`` with its condition, and away from a worse one, a negative class, or the network without condition."""

    def bound(denoiser: NetworkDenoiser, condition: Condition) -> Denoiser:
        return denoiser.bind(vocabulary.checked(condition, denoiser, shape))

    better: Denoiser = network if condition is None else bound(network, condition)
    if guidance.worse is not None:
        if not isinstance(guidance.worse, NetworkDenoiser):
            raise InputError(f"guidance.worse: a {type(guidance.worse).__name__} is no denoiser; give a run or a model")
        worse: Denoiser = guidance.worse
        if condition is not None and guidance.worse.conditioner is not None:
            worse = bound(guidance.worse, condition)
    elif condition is None:
        return network
    elif guidance.negative is not None:
        if "labels" not in condition:
            raise InputError(f"guidance.negative: {guidance.negative} is of use with a label alone; give a label")
        if guidance.negative == "all":
            raise InputError("guidance.negative: all is no class; give the name of one")
        unwanted = vocabulary.of_label(range(len(condition["labels"])), guidance.negative, field="guidance.negative")
        worse = bound(network, unwanted)
    elif guidance.scale == 1:
        return better
    else:
        if vocabulary.without_dropout:
            raise InputError(f"guidance: {guidance.scale:g} needs a model also trained without its condition; give 1")
        worse = network
    return Extrapolation(better, worse, guidance.scale, _interval(guidance), guidance.rescale)


def _by_classifier(
    denoiser: Denoiser, condition: Condition | None, guidance: Guidance, vocabulary: Vocabulary
) -> Denoiser:
    """``denoiser`` guided by the classifier, at the noise levels that it knows."""
    classifier = guidance.classifier
    if not isinstance(classifier, NoisyClassifier):
        raise InputError(f"guidance.classifier: a {type(classifier).__name__} is none; give a run or a model")
    if condition is None or "labels" not in condition:
        raise InputError("guidance.classifier: guides towards a class, and none is given; give a label")
    log_probability = classifier.of(vocabulary.classes(condition["labels"]))
    interval = _interval(guidance).within(classifier.interval)
    return ClassifierGuidance(denoiser, log_probability, guidance.classifier_scale, interval)


def _interval(guidance: Guidance) -> Interval:
    return ALWAYS if guidance.interval is None else Interval(*guidance.interval)


def thresholded(denoiser: Denoiser, threshold: Threshold) -> Denoiser:
    """``denoiser`` with x̂_0 kept in [-1, 1], in the way called ``threshold``."""
    match threshold:
        case "static":
            return StaticThreshold(denoiser)
        case "dynamic":
            return DynamicThreshold(denoiser)
        case _:
            return denoiser
