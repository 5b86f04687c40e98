"""Learned schedules: modules whose parameters are trained with the network's.

Monotone network (Kingma et al. 2021, "Variational diffusion models", section 5.1 and appendix H). With
gamma = -log_snr, alpha² = sigmoid(-gamma), sigma² = sigmoid(gamma) and layers l_1, l_2, l_3 of positive weights

    g(t) = l_1(t) + l_3(sigmoid(l_2(l_1(t))))
    gamma(t) = gamma_min + (gamma_max - gamma_min) (g(t) - g(0))/(g(1) - g(0))

Chain (Sohl-Dickstein et al. 2015, section 2.4.1): β_1 is fixed, to prevent overfitting by β_1 → 0, and so is ᾱ_T. The
rest of -log ᾱ_T is shared among the steps 2 … T:

    log ᾱ_i = log ᾱ_1 + (log ᾱ_T - log ᾱ_1) Σ_{2 ≤ k ≤ i} softmax(logits)_k

The ends determine which likelihood is bounded; the interior determines how well it is estimated or bounded. A chain's
ends are fixed; gamma_min and gamma_max are fixed, or learned from the whole bound. `sumi.objectives.schedule` trains
them. Parameters are float32, as the network's are; the schedule is computed from them in float64 on the CPU, with
gradients.
"""

from dataclasses import dataclass, field
from math import inf, log
from typing import ClassVar

import torch
from torch import Tensor, nn

from sumi.errors import InputError
from sumi.process.chain import BetaRange, BetaSchedule, Chain
from sumi.process.schedule import NoiseLevel, Schedule


class MonotoneSchedule(nn.Module, Schedule):
    """VDM's monotone network (module docstring), ``width`` sigmoids wide.

    gamma(0) and gamma(1) are exactly the two given; with ``learn_ends`` they start there, in float32.

    Each sigmoid has a centre, where its argument is 0, instead of a bias of l_2, and exponentials keep the weights
    positive: the same functions, learned in far fewer steps than with a plain bias and softplus. The biases of l_1 and
    l_3 cancel and are left out. Centres start evenly spread over [0, 1], so log-SNR starts nearly linear in t.
    """

    def __init__(self, gamma_min: float, gamma_max: float, width: int, learn_ends: bool = False) -> None:
        super().__init__()
        self._fixed_ends = gamma_min, gamma_max
        self.ends = nn.Parameter(torch.tensor([gamma_min, gamma_max])) if learn_ends else None
        self.log_line = nn.Parameter(torch.zeros(()))
        self.log_steepness = nn.Parameter(torch.full((width,), log(20.0)))
        self.centre = nn.Parameter((torch.arange(width) + 0.5) / width)
        self.log_share = nn.Parameter(torch.full((width,), -log(width)))

    def gamma_ends(self) -> Tensor:
        """gamma(0) and gamma(1), float64 (2,) on the CPU."""
        return torch.tensor(self._fixed_ends, dtype=torch.float64) if self.ends is None else self.ends.cpu().double()

    def rise(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """u(t) = (g(t) - g(0))/(g(1) - g(0)), from 0 to 1, and du/dt: float64 on the CPU, shaped like t."""
        line, steepness, share = (p.cpu().double().exp() for p in (self.log_line, self.log_steepness, self.log_share))
        centre = self.centre.cpu().double()

        def above_start(t: Tensor) -> tuple[Tensor, Tensor]:
            """g(t) - g(0), exactly 0 at t = 0, and dg/dt."""
            bent = (steepness * (line * t.unsqueeze(-1) - centre)).sigmoid()
            height = line * t + (share * (bent - (-steepness * centre).sigmoid())).sum(-1)
            return height, line * (1 + (share * steepness * bent * (1 - bent)).sum(-1))

        whole, _ = above_start(t.new_ones(()))
        height, slope = above_start(t)
        return height / whole, slope / whole

    def gamma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """gamma(t) and dgamma/dt, float64 on the CPU, shaped like t."""
        return self._between_ends(*self.rise(t))

    def _between_ends(self, height: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
        first, last = self.gamma_ends()
        return torch.lerp(first, last, height), (last - first) * rate

    def noise_level(self, t: Tensor) -> NoiseLevel:
        return self.level_at(t, *self.rise(t))

    def level_at(self, t: Tensor, height: Tensor, rate: Tensor) -> NoiseLevel:
        """The noise level at time t, where u and du/dt are ``height`` and ``rate``."""
        gamma, slope = self._between_ends(height, rate)
        alpha, sigma = (-gamma).sigmoid().sqrt(), gamma.sigmoid().sqrt()
        return NoiseLevel(t, alpha, sigma, -gamma, -slope / 2 * alpha * sigma**2, slope / 2 * sigma * alpha**2)

    @torch.no_grad()
    def time(self, log_snr: Tensor) -> Tensor:
        """By safeguarded Newton steps (bisection where they leave the bracket or halve too little). No gradient."""
        first, last_gamma = self.gamma_ends()
        span = last_gamma - first
        wanted = (-log_snr.to(torch.float64)).clamp(first, last_gamma)
        t, low, high = (wanted - first) / span, torch.zeros_like(wanted), torch.ones_like(wanted)
        last = torch.ones_like(wanted)
        for _ in range(100):
            gamma, slope = self.gamma(t)
            low, high = torch.where(gamma <= wanted, t, low), torch.where(gamma >= wanted, t, high)
            step = (wanted - gamma) / slope
            newton = (low < t + step) & (t + step < high) & (2 * step.abs() <= last.abs())
            found = ((wanted - gamma).abs() <= 1e-15 * span) | (step.abs() <= 1e-16)
            last = torch.where(newton, step, (low + high) / 2 - t).masked_fill(found, 0.0)
            if bool(found.all()):
                break
            t = t + last
        return t


class TrainableChain(nn.Module, Chain):
    """A chain initialised from ``betas``: β_1 and ᾱ_T stay fixed, the other β are learned."""

    def __init__(self, betas: Tensor) -> None:
        super().__init__()
        log_alpha_bar = BetaSchedule(betas).log_alpha_bar()
        self.steps = len(betas)
        self._first, self._last = float(log_alpha_bar[1]), float(log_alpha_bar[-1])
        self.logits = nn.Parameter((-log_alpha_bar[1:].diff()).log().float())

    def log_alpha_bar(self) -> Tensor:
        logits = self.logits.cpu().double()
        shares = (logits - logits.max()).exp().cumsum(0)
        first, last = logits.new_tensor([self._first]), logits.new_tensor([self._last])
        return torch.cat([torch.zeros_like(first), first, torch.lerp(first, last, shares / shares[-1])])


@dataclass(frozen=True)
class Learned:
    """VDM's learned monotone schedule (Kingma et al. 2021), with the paper's ends, fixed or as a start."""

    name: ClassVar[str] = "learned"
    steps: ClassVar[None] = None

    gamma_min: float = field(default=-13.3, metadata={"help": "-log SNR at t = 0"})
    gamma_max: float = field(default=5.0, metadata={"help": "-log SNR at t = 1, above gamma_min"})
    width: int = field(default=1024, metadata={"most": 100_000, "help": "sigmoids in the monotone network, 1 or more"})
    learn_ends: bool = field(default=False, metadata={"help": "learn the ends as well, from the whole bound"})

    def __post_init__(self) -> None:
        if not -inf < self.gamma_min < self.gamma_max < inf:
            raise InputError(f"schedule.gamma_min: {self.gamma_min} is not below gamma_max = {self.gamma_max}")
        if self.width < 1:
            raise InputError(f"schedule.width: {self.width} is not a number of sigmoids; the paper's is 1024")

    def build(self) -> MonotoneSchedule:
        return MonotoneSchedule(self.gamma_min, self.gamma_max, self.width, self.learn_ends)


@dataclass(frozen=True)
class LearnedChain(BetaRange):
    """A chain with trainable β (Sohl-Dickstein et al. 2015), initialised as the linear one, with its β_1 and ᾱ_T."""

    name: ClassVar[str] = "learned_chain"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 2:
            raise InputError(f"schedule.steps: {self.steps} leaves nothing to learn; give 2 or more")

    def build(self) -> TrainableChain:
        return TrainableChain(torch.linspace(self.beta_start, self.beta_end, self.steps, dtype=torch.float64))
