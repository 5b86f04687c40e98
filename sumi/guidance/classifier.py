"""Classifier guidance (Dhariwal & Nichol 2021, section 4) by the gradient of a classifier of noisy images.

    x̂_0 ← x̂_0 + s (sigma²/alpha) ∇ log p(y | x_t),            in scores   ∇ log p(x_t) + s ∇ log p(y | x_t)

by Tweedie's formula, with scale s: 0 is off. With s = 1, an unconditional denoiser and an exact classifier it is the
denoiser of p(x | y). The denoiser may be conditioned on the class too (their section 4.3). The field is the one of
classifier-free guidance (`sumi.guidance.extrapolation`), so at other scales samples do not follow p(x) p(y | x)^s.

`NoisyClassifier` reads a network as p(y | x_t). How well a class can be recognised depends on the log-SNR alone, so the
network sees

    x_t/√(alpha² + sigma²) = √u x_0 + √(1 - u) ε,        u = sigmoid(log_snr),        and log_snr/4,

and one classifier guides models of every schedule, in the interval of log-SNR that it was trained on
(`NoisyClassifier.interval`). The gradient is by autograd: one forward and one backward pass per step. If x_t requires a
gradient, as in restoration, it is differentiable.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import exp, isfinite

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from sumi.denoising.denoiser import Denoised, Denoiser
from sumi.errors import InputError
from sumi.guidance.extrapolation import ALWAYS, Interval
from sumi.process.gaussian import expand
from sumi.process.schedule import NoiseLevel, Schedule, Time, deviation, noise_level

LogProbability = Callable[[Tensor, NoiseLevel], Tensor]
"""log p(y_i | x_t,i) of each sample's own class, (N,), of x_t (N, …) at a noise level."""


class NoisyClassifier(nn.Module):
    """p(y | x_t) by a network of (x (N, …), c_noise (N,)) that gives logits (N, classes) (module docstring).

    ``lowest`` and ``highest``: the log-SNR between which it was trained.
    """

    def __init__(self, network: nn.Module, lowest: float, highest: float) -> None:
        super().__init__()
        self.network, self.lowest, self.highest = network, lowest, highest

    @property
    def interval(self) -> Interval:
        """The sigma/alpha that it knows."""
        return Interval(exp(-self.highest / 2), exp(-self.lowest / 2))

    def logits(self, x_t: Tensor, now: NoiseLevel) -> Tensor:
        """(N, classes) of x_t (N, …) at one level or at one for each; beyond the known ones as at the nearest."""
        log_snr = torch.as_tensor(now.log_snr, dtype=torch.float64).clamp(self.lowest, self.highest)
        c_noise = (log_snr / 4).to(x_t).expand(len(x_t))
        return self.network(x_t / expand(deviation(now), x_t), c_noise)

    def of(self, labels: Tensor) -> LogProbability:
        """log p(y | x_t) for the classes ``labels``, int64 (N,), of N samples."""

        def log_probability(x_t: Tensor, now: NoiseLevel) -> Tensor:
            chosen = labels.to(x_t.device).clone()  # those of inference mode cannot be kept for a gradient
            return self.logits(x_t, now).log_softmax(1).gather(1, chosen[:, None])[:, 0]

        return log_probability


@dataclass(frozen=True)
class ClassifierGuidance:
    """See the module docstring. The denoiser is evaluated once, and the classifier where its scale counts.

    What is said of the variance of x_0 is the denoiser's. Raises InputError for a scale that is not finite.
    """

    denoiser: Denoiser
    log_probability: LogProbability
    scale: float = field(metadata={"help": "s: 0 is the denoiser alone"})
    interval: Interval = ALWAYS

    def __post_init__(self) -> None:
        if not isfinite(self.scale):
            raise InputError(f"classifier_scale: {self.scale} is not a finite number; 0 is none")

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        """Raises InputError where it is to count at alpha = 0, where x_t holds nothing to be classified."""
        now = noise_level(self.schedule, t)
        denoised = self.denoiser(x_t, now)
        scale = self.interval.choose(now, self.scale, 0.0)
        match scale:
            case float(0.0):
                return denoised
        scale, alpha, sigma = (torch.as_tensor(v, dtype=torch.float64) for v in (scale, now.alpha, now.sigma))
        if bool(((alpha == 0) & (scale != 0)).any()):
            raise InputError(
                "classifier_scale: at t = 1 no data is left (alpha = 0) to be classified; end the interval below that"
            )
        factor = torch.where(scale == 0, 0.0, scale * sigma**2 / alpha)
        clean = denoised.clean + expand(factor, x_t) * self._gradient(x_t, now)
        return replace(denoised, clean=clean)

    def _gradient(self, x_t: Tensor, now: NoiseLevel) -> Tensor:
        """∇ log p(y | x_t), shaped like x_t."""
        if torch.is_grad_enabled() and x_t.requires_grad:
            with sdpa_kernel(SDPBackend.MATH):  # others have no second derivative
                log_probability = self.log_probability(x_t, now)
            (gradient,) = torch.autograd.grad(log_probability.sum(), x_t, create_graph=True)
            return gradient
        with torch.inference_mode(False), torch.enable_grad():
            point = x_t.detach().clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self.log_probability(point, now).sum(), point)
        return gradient
