"""A model's denoiser, told what is said of its samples and steered (`sumi.guidance.guidance`).

network, told ── led away from a worse, a negative, or nothing said ── led by a classifier ── thresholded
"""

from sumi.conditioning.condition import Condition
from sumi.denoising.denoiser import Denoiser, NetworkDenoiser
from sumi.errors import InputError
from sumi.guidance.classifier import ClassifierGuidance
from sumi.guidance.extrapolation import ALWAYS, Extrapolation, Interval
from sumi.guidance.guidance import Steering
from sumi.guidance.thresholding import DynamicThreshold, StaticThreshold
from sumi.guidance.vocabulary import Vocabulary
from sumi.sampling.sampler import SamplingConfig, Threshold


def extrapolated(
    network: NetworkDenoiser,
    said: Condition | None,
    steering: Steering,
    vocabulary: Vocabulary,
    shape: tuple[int, ...],
    usual: SamplingConfig,
) -> Denoiser:
    """``network`` told what is ``said`` of samples of ``shape``, and led away from what it is not to be.

    ``usual``: how it is guided where nothing else is asked for. Raises InputError where there is nothing to be led away
    from, and for a condition that the network does not take.
    """
    if said is None and steering.worse is None:
        if steering.guidance is not None or steering.negative is not None:
            raise InputError("--guidance: says how much a label counts, and none is given; add --label, or --value")
        for option, value in (("interval", steering.interval), ("rescale", steering.rescale)):
            if value is not None and steering.classifier is None:
                raise InputError(f"--guidance-{option}: says how guidance counts, and nothing guides; add --label")
        return network
    better: Denoiser = network if said is None else network.told(vocabulary.checked(said, network, shape))
    scale = usual.guidance if steering.guidance is None else steering.guidance
    if steering.worse is not None:
        if steering.guidance is None and scale == 1:
            raise InputError("--worse: is led away from as far as --guidance says, and that is 1; add --guidance 2")
        worse: Denoiser = steering.worse
        if said is not None and steering.worse.conditioner is not None:
            worse = steering.worse.told(vocabulary.checked(said, steering.worse, shape))
    elif steering.negative is not None:
        if said is None or said.labels is None:
            raise InputError(f"--negative {steering.negative}: goes with a label, and none is given; add --label")
        if steering.negative == "all":
            raise InputError("--negative all: is led away from one class; give its name")
        unwanted = vocabulary.of_label(range(len(said.labels)), steering.negative, option="--negative")
        worse = network.told(vocabulary.checked(unwanted, network, shape))
    elif steering.guidance is None and steering.classifier is not None:
        return better
    else:
        if scale != 1 and getattr(vocabulary.conditioning, "dropout", None) == 0:
            raise InputError(f"guidance: {scale:g} needs a model that was also trained without labels; give 1")
        worse = network
    rescale = usual.guidance_rescale if steering.rescale is None else steering.rescale
    return Extrapolation(better, worse, scale, interval_of(steering, usual), rescale)


def interval_of(steering: Steering, usual: SamplingConfig) -> Interval:
    """The noise levels at which guidance counts."""
    if steering.interval is not None:
        return steering.interval
    return ALWAYS if usual.guidance_interval is None else Interval(*usual.guidance_interval)


def by_classifier(
    denoiser: Denoiser, said: Condition | None, steering: Steering, vocabulary: Vocabulary, usual: SamplingConfig
) -> Denoiser:
    """``denoiser`` led by the classifier, where there is one, at the noise levels that it knows.

    Raises InputError where no class is said.
    """
    if steering.classifier is None:
        return denoiser
    if said is None or said.labels is None:
        raise InputError("--classifier: leads towards a class, and none is given; add --label")
    log_probability = steering.classifier.of(vocabulary.classes(said.labels))
    interval = interval_of(steering, usual).within(steering.classifier.interval)
    return ClassifierGuidance(denoiser, log_probability, steering.classifier_scale, interval)


def thresholded(denoiser: Denoiser, threshold: Threshold) -> Denoiser:
    """``denoiser`` with x̂_0 kept in [-1, 1], in the way called ``threshold``."""
    match threshold:
        case "static":
            return StaticThreshold(denoiser)
        case "dynamic":
            return DynamicThreshold(denoiser)
        case _:
            return denoiser
