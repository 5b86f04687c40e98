"""Denoising bits: a network predicts the log-odds of each bit of x_0 and is trained on the variational bound.

    P(x_0 = +1 | x_t) = sigmoid(logit),       x̂_0 = E[x_0 | x_t] = tanh(logit/2)

The reverse step is the posterior at x̂_0 (`sumi.process.binomial`). For each step of the chain, s = t - 1/T, and each
bit, the bound (Sohl-Dickstein et al. 2015, section 2.4) has the term

    L = KL(q(x_s | x_t, x_0) ‖ p(x_s | x_t)),        -log P(x_0 | x_t) where s is the data.

Log-odds of evidence add. Let z = x_0 logit be the model's log-odds of the truth, w = x_t x_0 = ±1 whether x_t agrees
with it, k = x_s x_0 = ±1 whether x_s does, and λ(m) = 2 artanh m. Then q(k) = sigmoid(k (w λ(b) + λ(a_s))), and
replacing the evidence x_t by x_s turns z into z - w λ(a_t) + k λ(a_s). By Bayes' rule p(x_s | x_t)/q(x_s | x_t, x_0) is
P(x_0 | x_t)/P(x_0 | x_s instead of x_t), so

    L = Σ_k q(k) [log sigmoid(z - w λ(a_t) + k λ(a_s)) - log sigmoid(z)],

the truth's expected gain in log-probability. It is stable for every logit; the loss multiplies its rounding, about
1e-7 nats in float32, by T.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from sumi.denoising.denoiser import Denoised
from sumi.errors import InputError
from sumi.process.binomial import Binomial, flip, kept, log_odds, transition
from sumi.process.gaussian import expand
from sumi.process.schedule import NoiseLevel, Schedule, Time, noise_level


class BitDenoiser(Protocol):
    """A denoiser of bits that gives their log-odds, which stay precise where x̂_0 is close to ±1."""

    @property
    def schedule(self) -> Schedule: ...

    def logits(self, x_t: Tensor, t: Time) -> Tensor:
        """log P(x_0 = +1 | x_t)/P(x_0 = -1 | x_t) of each bit, shaped like x_t (N, …)."""
        ...


class BinomialDenoiser(nn.Module):
    """A network F(x_t, c_noise) read as logits; c_noise = 1000 t - 1.

    ``trained_steps`` and ``auxiliary``: as in `sumi.denoising.denoiser.NetworkDenoiser`. Raises InputError for a
    schedule with alpha(1) = 1.
    """

    process = Binomial()
    conditioner: None = None

    def __init__(self, network: nn.Module, schedule: Schedule, trained_steps: int | None = None) -> None:
        super().__init__()
        if noise_level(schedule, 1.0).alpha == 1:
            raise InputError("schedule: alpha(1) = 1 never changes a bit; choose one such as erasing")
        self.network = network
        self.schedule = schedule
        self.trained_steps = trained_steps
        self.auxiliary = nn.ModuleDict()

    def logits(self, x_t: Tensor, t: Time) -> Tensor:
        """Log-odds of each bit of x_0, in x_t's type and shape (N, …)."""
        c_noise = 1000.0 * torch.as_tensor(noise_level(self.schedule, t).t) - 1.0
        return self.network(x_t, c_noise.to(x_t.device, x_t.dtype).expand(len(x_t)))

    def forward(self, x_t: Tensor, t: Time) -> Denoised:
        """x̂_0, with ``alpha`` = a and ``sigma`` = √(1 - a²): x_t has mean a x_0 and variance 1 - a²."""
        clean = torch.tanh(self.logits(x_t, t) / 2)
        a = expand(kept(noise_level(self.schedule, t)), x_t)
        return Denoised(clean, x_t, a, (1 - a**2) ** 0.5, 1 - clean**2)


def before(schedule: Schedule, t: NoiseLevel, steps: int) -> NoiseLevel:
    """The level one step of 1/``steps`` closer to the data than ``t``; for the first step the data, alpha = 1."""
    i = (torch.as_tensor(t.t, dtype=torch.float64) * steps).round() - 1
    s = noise_level(schedule, i / steps)
    return replace(s, alpha=torch.where(i == 0, 1.0, s.alpha))


def bound_term(logits: Tensor, x_t: Tensor, x_0: Tensor, s: NoiseLevel, t: NoiseLevel) -> Tensor:
    """L of each bit in nats (module docstring), for the step from t back to s; shapes (N, …)."""
    means = (torch.as_tensor(mean, dtype=torch.float64) for mean in (kept(s), kept(t), transition(s, t)))
    of_s, of_t, of_step = (torch.as_tensor(expand(log_odds(mean), x_t)) for mean in means)
    truth, agrees = logits * x_0, x_t * x_0
    term = -logsigmoid(truth)
    for k in (1.0, -1.0):
        probability = torch.sigmoid(k * (agrees * of_step + of_s))
        reachable = torch.where(probability > 0, of_s, 0.0)  # at data x_s is x_0, and no x_s disagrees
        term = term + probability * logsigmoid(truth - agrees * of_t + k * reachable)
    return term


@dataclass(frozen=True)
class BinomialLoss:
    """The bound's term at each sample's time t = i/T, times T = ``steps``, in nats per dimension.

    Its mean over the grid is the bound without the constant KL(q(x_T | x_0) ‖ p(x_T)).
    """

    steps: int

    def __call__(self, denoiser: BinomialDenoiser, x_0: Tensor, t: Time, noise: Tensor) -> Tensor:
        """The loss of each sample, (N,) in x_0's type. x_0: bits ±1 (N, …); t: (N,) of the grid; noise: normal."""
        now = noise_level(denoiser.schedule, t)
        x_t = flip(x_0, noise, now)
        term = bound_term(denoiser.logits(x_t, now), x_t, x_0, before(denoiser.schedule, now, self.steps), now)
        return self.steps * term.flatten(1).mean(1)
