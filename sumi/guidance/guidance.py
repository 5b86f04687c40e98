"""A model's denoiser, conditioned and guided:

    condition → classifier-free guidance or autoguidance → classifier guidance → CLIP guidance → thresholding

Classifier-free guidance, a negative class and autoguidance extrapolate (`sumi.guidance.extrapolation`), a classifier
adds its gradient to the result (`sumi.guidance.classifier`), as does a CLIP (`sumi.guidance.clip`), and a threshold
finally keeps x̂_0 in range.
"""

from collections.abc import Sequence

from sumi.conditioning.condition import Condition
from sumi.conditioning.guidance import GUIDANCE
from sumi.conditioning.labels import classes, labels_of
from sumi.conditioning.prompt import of_negative
from sumi.data.spec import expect
from sumi.denoising.denoiser import Denoiser, NetworkDenoiser
from sumi.errors import InputError
from sumi.guidance.classifier import ClassifierGuidance, NoisyClassifier
from sumi.guidance.clip import ClipGuide, clip_guided
from sumi.guidance.extrapolation import ALWAYS, Extrapolation, Interval
from sumi.guidance.projection import Projected
from sumi.guidance.renoising import PlusPlus
from sumi.guidance.thresholding import DynamicThreshold, StaticThreshold
from sumi.sampling.sampler import PLUS_PLUS, Guidance, Sampling, Threshold


def guided(
    network: NetworkDenoiser,
    condition: Condition | None,
    sampling: Sampling,
    names: Sequence[str],
    shape: tuple[int, ...],
) -> Denoiser:
    """``network`` as ``sampling`` guides it, given the ``condition`` of samples of ``shape``.

    ``names``: of the classes of the data. A network that was trained without classes may be guided by a classifier that
    knows them. Raises InputError for a condition that the network does not take, and for guidance that needs a
    condition where none is given.
    """
    guidance, own = sampling.guidance, condition
    if own is not None and "clip" in own:
        own = own.without("clip") or None  # it is for the guide alone
    if own is not None and guidance.classifier is not None and not _knows(network, "labels"):
        own = own.without("labels") or None  # they are for the classifier alone
    denoiser = _extrapolated(network, own, guidance, names, shape)
    if guidance.method == PLUS_PLUS and (guidance.classifier is not None or guidance.clip is not None):
        raise InputError("guidance.method: cfg++ renoises without a condition, not without a classifier or a CLIP")
    if guidance.classifier is not None:
        denoiser = _by_classifier(denoiser, condition, guidance, len(names))
    if guidance.clip is not None:
        denoiser = _by_clip(denoiser, condition, guidance)
    return thresholded(denoiser, sampling.threshold)


def _by_clip(denoiser: Denoiser, condition: Condition | None, guidance: Guidance) -> Denoiser:
    """``denoiser`` guided towards the texts of the condition, where the CLIP can see a picture."""
    guide = expect(guidance.clip, ClipGuide, f"guidance.clip: a {type(guidance.clip).__name__} is none; give a run")
    if condition is None or "clip" not in condition:
        raise InputError("guidance.clip: guides towards a prompt, and none is given; give a prompt")
    return clip_guided(denoiser, guide.towards(condition["clip"]), guidance.clip_scale, _interval(guidance))


def _extrapolated(
    network: NetworkDenoiser,
    condition: Condition | None,
    guidance: Guidance,
    names: Sequence[str],
    shape: tuple[int, ...],
) -> Denoiser:
    """``network`` with its condition, and away from a worse one, a negative class or prompt, or no condition."""

    def bound(denoiser: NetworkDenoiser, condition: Condition) -> Denoiser:
        if denoiser.conditioner is None:
            raise InputError("condition: this model was trained without; train one with conditioning=labels")
        device = next(denoiser.parameters()).device
        return denoiser.bind(denoiser.conditioner.checked(condition, shape, device))

    if condition is not None and guidance.worse is None and _knows(network, GUIDANCE):
        return bound(network, _with_scale(network, condition, guidance))
    better: Denoiser = network if condition is None else bound(network, condition)
    if guidance.worse is not None:
        why = f"guidance.worse: a {type(guidance.worse).__name__} is no denoiser; give a run or a model"
        other = expect(guidance.worse, NetworkDenoiser, why)
        worse: Denoiser = other if condition is None or other.conditioner is None else bound(other, condition)
    elif condition is None:
        return network
    elif guidance.negative is not None:
        worse = bound(network, Condition(condition, **_unwanted(network, condition, guidance.negative, names)))
    elif not guidance.extrapolates:
        return better
    else:
        if network.conditioner is not None and network.conditioner.always:
            raise InputError(
                f"guidance.scale: {guidance.scale:g} needs a model also trained without its condition; give 1"
            )
        stays = () if network.conditioner is None else network.conditioner.stays
        kept = Condition({name: condition[name] for name in stays if condition is not None and name in condition})
        worse = bound(network, kept) if kept else network
    return extrapolation(better, worse, guidance)


def extrapolation(better: Denoiser, worse: Denoiser, guidance: Guidance) -> Extrapolation:
    """From ``worse`` through ``better``, by the method of ``guidance``. Raises InputError as `Extrapolation`."""
    parts = better, worse, guidance.scale, _interval(guidance), guidance.rescale
    match guidance.method:
        case "cfg":
            return Extrapolation(*parts)
        case "cfg++":
            return PlusPlus(*parts)
        case "apg":
            return Projected(*parts, guidance.parallel, guidance.norm, guidance.momentum)


def _unwanted(network: NetworkDenoiser, condition: Condition, negative: str, names: Sequence[str]) -> Condition:
    """The ``negative`` prompt where ``condition`` has a text, else the class. Raises InputError for neither."""
    rows = range(max(condition.sizes()))
    if "text" in condition and network.conditioner is not None:
        try:
            return network.conditioner.parse({"text": negative}, rows)
        except InputError as error:
            raise of_negative(error) from None
    if "labels" not in condition:
        raise InputError(f"guidance.negative: {negative} is of use with a label or a prompt alone; give one")
    if negative == "all":
        raise InputError("guidance.negative: all is no class; give the name of one")
    return Condition(labels=labels_of(negative, names, rows, "guidance.negative"))


def _by_classifier(denoiser: Denoiser, condition: Condition | None, guidance: Guidance, count: int) -> Denoiser:
    """``denoiser`` guided by the classifier, at the noise levels that it knows."""
    why = f"guidance.classifier: a {type(guidance.classifier).__name__} is none; give a run or a model"
    classifier = expect(guidance.classifier, NoisyClassifier, why)
    if condition is None or "labels" not in condition:
        raise InputError("guidance.classifier: guides towards a class, and none is given; give a label")
    log_probability = classifier.of(classes(condition["labels"], count))
    interval = _interval(guidance).within(classifier.interval)
    return ClassifierGuidance(denoiser, log_probability, guidance.classifier_scale, interval)


def _knows(network: NetworkDenoiser, name: str) -> bool:
    return network.conditioner is not None and name in network.conditioner.names


def _with_scale(network: NetworkDenoiser, condition: Condition, guidance: Guidance) -> Condition:
    """The condition with the scale of guidance, which such a network is given instead of a second evaluation.

    Raises InputError for what else guidance has, which was learned as the teacher has it.
    """
    if guidance.negative is not None:
        raise InputError("guidance.negative: this model has learned guidance away from no class; leave it out")
    alone = guidance.classifier is None and guidance.clip is None  # of which the interval holds, too
    fixed = {
        "method": guidance.method != "cfg",
        "rescale": guidance.rescale != 0,
        "interval": guidance.interval is not None and alone,
    }
    for name in (name for name, given in fixed.items() if given):
        raise InputError(f"guidance.{name}: this model has learned guidance with that of its teacher; leave it out")
    if GUIDANCE in condition or network.conditioner is None:
        return condition
    rows = range(max(condition.sizes()))
    return Condition({**condition, **network.conditioner.parse({GUIDANCE: guidance.scale}, rows)})


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
