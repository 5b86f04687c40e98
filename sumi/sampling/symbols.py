"""Sampling symbols: the law of one step back, drawn position by position, and what changes it.

    ancestral    every position is drawn from p(x_s | x_t) (`sumi.process.categorical`)
    confidence   of a masked sequence, as many masks as ``ancestral`` would keep on average stay; the others, where the
                 most probable symbol is most probable, are drawn from p(x_0 | x_t) (Chang et al. 2022, "MaskGIT")

Positions of one step are drawn independently of each other. Where each step unmasks one position, the samples of an
exact denoiser have exactly the law of the data, in any order; the order here depends on x_t alone, not on what is
drawn, so this holds for ``confidence``. Laws and draws are float64 (`sumi.process.categorical.draw_symbols`).

Afterwards, corrections of a masked sequence replace what does not fit: the symbols that all others make least likely
become masks again, and are drawn one by one, the surest first. That samples other than the law, as a temperature does:
fewer err. Zhao et al. 2024 ("Informed correctors for discrete diffusion models") also choose by confidence what to draw
anew.

Guidance changes p(x_0 | x_t) of each position (Schiff et al. 2024, "Simple guidance mechanisms for discrete diffusion
models"): classifier-free by log p = w log p(· | x_t, y) + (1 - w) log p(· | x_t), by a classifier by
log p(· | x_t) + s log p(y | x_t with the symbol there), one evaluation for each symbol and position. Given symbols are
certain: p(x_0 | x_t) is 1 there, and a masked sequence begins with them. A temperature below 1 makes each position's
law sharper, after guidance (`TemperedSymbols`). With the masked process, an exact denoiser and
one position a step, s = 1 and infilling are exact.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import ClassVar, Final, Protocol

import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

from sumi.boundary.config import nearest
from sumi.denoising.categorical import SymbolDenoiser, log_clean
from sumi.errors import InputError
from sumi.process.binomial import kept
from sumi.process.categorical import Categorical, draw_symbols
from sumi.process.schedule import NoiseLevel, Schedule, Time, noise_level, noise_levels
from sumi.randomness import Purpose
from sumi.sampling.solvers.solver import Noise

UNKNOWN: Final = -1
"""What stands in given sequences where a symbol is to be filled in."""


class SymbolSolver(Protocol):
    """The law of one step, a pure function. ``absorbing``: whether it is of that process alone."""

    absorbing: ClassVar[bool]

    def law(self, denoiser: SymbolDenoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, masks: Tensor) -> Tensor:
        """p(x_s) of each position, float64 (N, L, S), of the states x (N, L) at t; ``masks`` (N,): how many of them
        were masked where sampling began."""
        ...


@dataclass(frozen=True)
class AncestralSymbols:
    """Every position by itself (module docstring)."""

    absorbing: ClassVar[bool] = False

    def law(self, denoiser: SymbolDenoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, masks: Tensor) -> Tensor:
        """See `SymbolSolver`."""
        del masks
        process = denoiser.process
        return process.reverse(log_clean(process, denoiser.logits(x, t), x, t).exp(), x, s, t)


@dataclass(frozen=True)
class ConfidenceOrder:
    """The most confident positions first (module docstring)."""

    absorbing: ClassVar[bool] = True

    def law(self, denoiser: SymbolDenoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, masks: Tensor) -> Tensor:
        """See `SymbolSolver`."""
        process = denoiser.process
        clean = log_clean(process, denoiser.logits(x, t), x, t).exp()
        masked = x == process.symbols
        stay = (masks * (1 - kept(s)) + 0.5).floor()
        sure = clean.amax(-1).masked_fill(~masked, torch.inf)
        rank = sure.argsort(dim=1, stable=True).argsort(dim=1)  # 0: the least confident
        law = pad(clean, (0, 1))
        kept_as_is = (masked & (rank < stay[:, None])) | ~masked
        return torch.where(kept_as_is[..., None], one_hot(x, process.states).double(), law)


SYMBOL_SOLVERS: Final[dict[str, SymbolSolver]] = {"ancestral": AncestralSymbols(), "confidence": ConfidenceOrder()}

AUTO: Final = "auto"
"""The name of the solver that errs least: confidence for the masked process, ancestral for others."""


def resolved(name: str, process: Categorical) -> str:
    """``name``, or what `AUTO` stands for."""
    return name if name != AUTO else "confidence" if process.absorbing else "ancestral"


def find_symbol_solver(name: str, process: Categorical, where: str) -> SymbolSolver:
    """The solver of this name. Raises InputError, naming ``where``, for none, and for one of another process."""
    name = resolved(name, process)
    if name not in SYMBOL_SOLVERS:
        raise InputError(f"{where}: there is no solver {name!r}; {nearest(name, SYMBOL_SOLVERS)}")
    if SYMBOL_SOLVERS[name].absorbing and not process.absorbing:
        raise InputError(f"{where}: {name} is of process=masked alone; choose ancestral")
    return SYMBOL_SOLVERS[name]


CORRECTED: Final = 0.14
"""The share of symbols that a correction draws anew."""

Recorder = Callable[[int, NoiseLevel, Tensor], None]
"""Called with (step, level, states (N, L)) after each step, and first with step 0 at the start."""


@torch.no_grad()
def sample_symbols(
    denoiser: SymbolDenoiser,
    solver: SymbolSolver,
    steps: int,
    noise: Noise,
    shape: tuple[int, int],
    *,
    known: Tensor | None = None,
    corrections: int = 0,
    record: Recorder | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Sequences of symbols, int64 ``shape`` = (N, L), in ``steps`` even steps from t = 1 to the data.

    ``noise(step, purpose)``: standard normal, shaped like them. ``known`` (N, L): given symbols, `UNKNOWN` elsewhere.
    ``corrections``: how often the least likely symbols are drawn anew, with the masked process (module docstring).
    """
    process = denoiser.process
    start = process.prior(torch.empty(0, device=device)).expand(*shape, -1)
    x = draw_symbols(start, noise(0, Purpose.START).to(device))
    fixed = None
    if known is not None:
        denoiser = KnownSymbols(denoiser, known)
        fixed = (known != UNKNOWN) & process.absorbing
        x = torch.where(fixed, known, x)
    masks = (x == process.symbols).sum(1)
    walk = list(noise_levels(denoiser.schedule, torch.linspace(1, 0, steps + 1, dtype=torch.float64)))
    if record is not None:
        record(0, walk[0], x)
    for i, (t, s) in enumerate(pairwise(walk), 1):
        draws = draw_symbols(solver.law(denoiser, x, t, s, masks), noise(i, Purpose.STEP).to(device))
        x = draws if fixed is None else torch.where(fixed, x, draws)  # at t = 1 the process knows masks alone
        if record is not None:
            record(i, s, x)
    for _ in range(corrections if process.absorbing else 0):
        x = _without_unlikely(denoiser, x)
        for _ in range(_corrected(x)):
            i += 1
            x = _surest_filled(denoiser, x, noise(i, Purpose.STEP).to(device))
        if record is not None:
            record(i, walk[-1], x)
    return x


def _corrected(x: Tensor) -> int:
    """How many symbols of each sequence of x (N, L) a correction draws anew."""
    return ceil(CORRECTED * x.shape[1])


def _law_of_masks(denoiser: SymbolDenoiser, x: Tensor) -> Tensor:
    """log p(x_0 = i | x) with the masked process, whose masks say all that the time does."""
    anywhere = noise_level(denoiser.schedule, 0.5)
    return log_clean(denoiser.process, denoiser.logits(x, anywhere), x, anywhere)


def _without_unlikely(denoiser: SymbolDenoiser, x: Tensor) -> Tensor:
    """x (N, L) with masks for a share `CORRECTED` of its symbols, those that all others make least likely.

    Given symbols are certain, and so the last to be chosen, and drawn as they were. One evaluation for each position.
    """
    mask, likely = denoiser.process.symbols, torch.full(x.shape, torch.inf, dtype=torch.float64, device=x.device)
    for place in range(x.shape[1]):
        hidden = x.clone()
        hidden[:, place] = mask
        likely[:, place] = _law_of_masks(denoiser, hidden)[:, place].gather(1, x[:, place, None])[:, 0]
    least = likely.topk(_corrected(x), largest=False).indices
    return x.scatter(1, least, mask)


def _surest_filled(denoiser: SymbolDenoiser, x: Tensor, noise: Tensor) -> Tensor:
    """x (N, L) with one mask fewer: that whose most probable symbol is most probable is drawn by ``noise``."""
    law, masked = _law_of_masks(denoiser, x).exp(), x == denoiser.process.symbols
    surest = law.amax(-1).masked_fill(~masked, -1.0).argmax(1, keepdim=True)
    here = masked & torch.zeros_like(masked).scatter(1, surest, torch.ones_like(masked))
    return torch.where(here, draw_symbols(law, noise), x)


@dataclass(frozen=True)
class _Around:
    """A denoiser with other logits."""

    denoiser: SymbolDenoiser

    @property
    def process(self) -> Categorical:
        return self.denoiser.process

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule


@dataclass(frozen=True)
class KnownSymbols(_Around):
    """Symbols ``known`` (N, L) are certain; `UNKNOWN` elsewhere."""

    known: Tensor

    def logits(self, x_t: Tensor, t: Time) -> Tensor:
        """See `SymbolDenoiser`."""
        logits = self.denoiser.logits(x_t, t).double()
        given = self.known[..., None] == torch.arange(self.process.symbols, device=x_t.device)
        return logits.masked_fill(~given & (self.known != UNKNOWN)[..., None], -torch.inf)


@dataclass(frozen=True)
class TemperedSymbols(_Around):
    """log p(x_0 | x_t) by ``temperature`` T: p^(1/T), made to add up to 1."""

    temperature: float

    def logits(self, x_t: Tensor, t: Time) -> Tensor:
        """See `SymbolDenoiser`."""
        return self.denoiser.logits(x_t, t).double() / self.temperature


@dataclass(frozen=True)
class AllowedSymbols(_Around):
    """Symbols that are not ``allowed``, (N, L, K) or what broadcasts to it, have probability 0."""

    allowed: Tensor

    def logits(self, x_t: Tensor, t: Time) -> Tensor:
        """See `SymbolDenoiser`."""
        return self.denoiser.logits(x_t, t).double().masked_fill(~self.allowed, -torch.inf)


@dataclass(frozen=True)
class GuidedSymbols(_Around):
    """Classifier-free guidance of ``scale`` w away from ``worse`` (module docstring)."""

    worse: SymbolDenoiser
    scale: float

    def logits(self, x_t: Tensor, t: Time) -> Tensor:
        """See `SymbolDenoiser`."""
        better, worse = (d.logits(x_t, t).double().log_softmax(-1) for d in (self.denoiser, self.worse))
        return torch.where(better == -torch.inf, -torch.inf, self.scale * better + (1 - self.scale) * worse)


LogProbability = Callable[[Tensor, NoiseLevel], Tensor]
"""log p(y | x_t), (M,), of states x_t (M, L) at a noise level: as many of each sample, those of the first in front."""

TOGETHER: Final = 2**24
"""Symbols of states that a classifier sees at once."""


@dataclass(frozen=True)
class ClassifiedSymbols(_Around):
    """Guidance by a classifier (module docstring): ``log_probability`` gives log p(y | x_t); ``scale`` is s.

    It sees each sequence with each symbol at each position; of these positions those that are not certain, as
    unmasked ones of the absorbing process are.
    """

    log_probability: LogProbability
    scale: float = 1.0

    def logits(self, x_t: Tensor, t: Time) -> Tensor:
        """See `SymbolDenoiser`."""
        now, (count, length), symbols = noise_level(self.schedule, t), x_t.shape, self.process.symbols
        logits = self.denoiser.logits(x_t, now).double().log_softmax(-1)
        open_to_change = logits.isfinite().sum(-1) > 1  # what is certain stays so
        if self.process.absorbing:
            open_to_change &= x_t == symbols
        most = int(open_to_change.sum(1).max())
        places = open_to_change.byte().argsort(dim=1, descending=True, stable=True)[:, :most]
        gain = torch.zeros(count, length, symbols, dtype=torch.float64, device=x_t.device)
        each = torch.arange(symbols, device=x_t.device)[:, None]
        together = max(1, TOGETHER // (count * symbols * length))
        for part in places.split(together, 1) if most else ():
            changed = x_t[:, None, None].repeat(1, part.shape[1], symbols, 1)
            changed.scatter_(3, part[:, :, None, None].expand(-1, -1, symbols, 1), each.expand(*part.shape, -1, -1))
            found = self.log_probability(changed.flatten(0, 2), now).double().view(*part.shape, symbols)
            gain.scatter_(1, part[..., None].expand_as(found), found)
        return logits + self.scale * gain
