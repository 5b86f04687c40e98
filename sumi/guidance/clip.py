"""Guidance by a text, of a model that knows no words: the gradient of a CLIP that looks at x̂_0.

    log p(text | x_t) ≈ log p(text | x̂_0(x_t)),       x̂_0 ← x̂_0 + s (sigma²/alpha) ∇ log p(text | x̂_0(x_t))

The CLIP sees clean pictures alone, so it is shown the denoiser's x̂_0, and the gradient goes through the denoiser, too
(Bansal et al. 2023, "Universal guidance for diffusion models", section 3.1; Chung et al. 2023). With the exact denoiser
that gradient is (alpha/sigma²) Cov(x_0 | x_t) ∇, so x̂_0 moves by s Cov(x_0 | x_t) ∇: along what is still open. It is
used where a picture can be seen, up to sigma/alpha = 20.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from sumi.conditioning.prompt import Part
from sumi.denoising.denoiser import Denoiser
from sumi.guidance.classifier import ClassifierGuidance, LogProbability
from sumi.guidance.extrapolation import Interval
from sumi.process.schedule import NoiseLevel

REACH: Final = Interval(0.0, 20.0)

LogMatch = Callable[[Tensor], Tensor]
"""log p(text_i | x_0,i), (N,), of what is denoised (N, …)."""


@dataclass(frozen=True)
class ClipGuide:
    """``embed(parts)``: vectors (N, D) of prompts that were read.

    ``log_match(x_0, v)``: log p(text_i | x_0,i), (N,), of what is denoised.
    """

    embed: Callable[[Sequence[Part]], Tensor]
    log_match: Callable[[Tensor, Tensor], Tensor]

    def towards(self, texts: Tensor) -> LogMatch:
        """log p of the texts whose vectors (N, D) these are."""

        def log_match(x_0: Tensor) -> Tensor:
            return self.log_match(x_0, texts.to(x_0).clone())  # of inference mode, it could not be kept for a gradient

        return log_match


def of_clean(denoiser: Denoiser, log_match: LogMatch) -> LogProbability:
    """``log_match`` of x̂_0, differentiable in x_t."""

    def log_probability(x_t: Tensor, now: NoiseLevel) -> Tensor:
        return log_match(denoiser(x_t, now).clean)

    return log_probability


def clip_guided(denoiser: Denoiser, log_match: LogMatch, scale: float, interval: Interval) -> ClassifierGuidance:
    """``denoiser`` guided with the scale s; see the module docstring."""
    return ClassifierGuidance(denoiser, of_clean(denoiser, log_match), scale, interval.within(REACH))
