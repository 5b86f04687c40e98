"""The common interface of the whole system: a denoiser D(x_t, t) = E[x_0 | x_t].

Samplers, guidance and metrics use nothing else. ``NetworkDenoiser`` makes one from a network, ``FunctionDenoiser`` from
any callable; a wrapped denoiser is a denoiser too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sumi.denoising.parameterization import Coefficients, Parameterization
from sumi.denoising.variance import clean_variance
from sumi.errors import InputError
from sumi.networks.condition import NOTHING, NetworkCondition, combined
from sumi.process.gaussian import Gaussian, expand
from sumi.process.schedule import NoiseLevel, Number, Schedule, Time, noise_level


@dataclass(slots=True)
class Denoised:
    """A denoiser's prediction for x_t: ``clean`` is x̂_0 = E[x_0 | x_t]; ``alpha`` and ``sigma`` broadcast to x (N, …).

    ``clean_variance`` is Var(x_0 | x_t) of each element (a number, or a tensor that broadcasts to x), if the denoiser
    knows it. ``unguided``: the x̂_0 whose ε̂ is the noise of the next state (`sumi.guidance.renoising`); None: this one.
    The other views follow from x_t = alpha x̂_0 + sigma ε̂; they are singular where sigma = 0.
    """

    clean: Tensor
    x_t: Tensor
    alpha: Number
    sigma: Number
    clean_variance: Number | None = None
    unguided: Tensor | None = None

    def mapped(self, f: Callable[[Tensor], Tensor]) -> "Denoised":
        """With f of x̂_0, and of the unguided one where there is one."""
        return replace(self, clean=f(self.clean), unguided=None if self.unguided is None else f(self.unguided))

    @property
    def noise(self) -> Tensor:
        """ε̂ = (x_t - alpha x̂_0)/sigma."""
        match self.alpha:
            case Tensor():
                return (self.x_t - self.alpha * self.clean) / self.sigma
            case number:
                return torch.sub(self.x_t, self.clean, alpha=number).div_(self.sigma)  # two passes over the image

    @property
    def score(self) -> Tensor:
        """∇ log p(x_t) = -ε̂/sigma (Tweedie's formula)."""
        return -self.noise / self.sigma

    @property
    def velocity(self) -> Tensor:
        """v̂ = alpha ε̂ - sigma x̂_0."""
        return self.alpha * self.noise - self.sigma * self.clean


class Denoiser(Protocol):
    """D(x_t, t): x_t of shape (N, …), t a time in [0, 1] for all, a tensor (N,) of times, or a noise level."""

    @property
    def schedule(self) -> Schedule: ...

    def __call__(self, x_t: Tensor, t: Time) -> Denoised: ...


class FunctionDenoiser:
    """A denoiser from any callable x̂_0 = f(x_t, level), and optionally Var(x_0 | x_t) as a function of the level.

    The alpha and sigma of the level that ``f`` is given broadcast against x_t, also where each row has its own; t is a
    number, or (N,). ``f`` may change its x_t: it is a copy.
    """

    def __init__(
        self,
        f: Callable[[Tensor, NoiseLevel], Tensor],
        schedule: Schedule,
        clean_variance: Callable[[NoiseLevel], Number] | None = None,
    ) -> None:
        self.f = f
        self.schedule = schedule
        self.clean_variance = clean_variance

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        now = noise_level(self.schedule, t)
        variance = None if self.clean_variance is None else expand(self.clean_variance(now), x_t)
        columns = {name: expand(v, x_t) for name, v in now.columns().items()}
        level = NoiseLevel(**columns | {"t": now.t}, until=now.until)
        return Denoised(self.f(x_t.clone(), level), x_t, level.alpha, level.sigma, variance)


class CountingDenoiser:
    """A denoiser that counts its evaluations (of whole batches)."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser, self.evaluations = denoiser, 0

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        self.evaluations += 1
        return self.denoiser(x_t, t)


@dataclass(frozen=True)
class Evaluated:
    """A denoiser that was already evaluated once, at ``found``."""

    denoiser: Denoiser
    found: Denoised
    level: NoiseLevel

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        return self.found if x_t is self.found.x_t and t is self.level else self.denoiser(x_t, t)


class Condition(Protocol):
    """The condition of N samples; only the conditioners know its content (`sumi.conditioning`)."""

    def to(self, device: torch.device, /) -> "Condition": ...


class Conditioner(Protocol):
    """A module that turns a condition into a network's further inputs (`sumi.conditioning`).

    ``names``: of the conditions that it owns. ``always``: whether the network was never trained without them.
    ``stays``: names of the parts that guidance does not leave out.
    """

    names: tuple[str, ...]

    @property
    def always(self) -> bool: ...

    @property
    def stays(self) -> tuple[str, ...]: ...

    def parse(self, given: Mapping[str, object], indices: Sequence[int], /) -> Any:
        """The condition of samples ``indices`` that ``given`` states by name. Raises InputError."""
        ...

    def checked(self, condition: Any, shape: tuple[int, ...], device: torch.device, /) -> Condition:
        """The condition as the network takes it for samples of ``shape``. Raises InputError where it does not fit."""
        ...

    def null(self, like: Tensor, /) -> Condition:
        """The null condition, for N samples shaped like ``like`` (N, …)."""
        ...

    def fit(self, data: Any, /) -> None:
        """Fit to the training data, such as to the scale of its values."""
        ...

    def of_data(self, batch: Any, x_0: Tensor, /) -> Condition:
        """The condition of a training batch; ``x_0`` (n, …) is the batch as the network gets it."""
        ...

    def __call__(self, condition: Any, /) -> NetworkCondition: ...


class ReadDenoiser(Protocol):
    """A denoiser that also exposes its network's raw output, as losses need it."""

    @property
    def schedule(self) -> Schedule: ...

    @property
    def parameterization(self) -> Parameterization: ...

    def predict(self, x_t: Tensor, c: Coefficients, /) -> Tensor: ...

    def __call__(self, x_t: Tensor, t: Time) -> Denoised: ...


def span_input(t: NoiseLevel, s: NoiseLevel) -> Number:
    """c_span of a way from t to s: 4 (t - s), in which the network's embedding is smooth."""
    return 4.0 * (t.t - s.t)


class NetworkDenoiser(nn.Module):
    """A network F(x, c_noise, condition) with its parameterization.

    ``trained_steps``: T, the length of the chain that the network was trained on, if it knows only the times i/T; None
    if it takes any time. ``learned_variance``: the network has twice as many output channels, whose second half gives
    the variance of the chain's steps (`sumi.denoising.variance`).

    ``conditioner``: turns a condition into the network's further inputs; None stands for its ``null``. Bind a condition
    before sampling: `bind`.

    ``span``: turns the way ahead, c_span of `span_input`, into a vector of the network's embedding, for a network of
    two times (`sumi.objectives.mean_flow`); None: it knows one. At a level with ``until``, such a denoiser gives the
    x̂_0 whose DDIM step takes the whole way there.

    ``auxiliary``: modules that are trained with the network, or keep statistics, but do not affect its output. They are
    here so that optimizer, averaging and checkpoints include them.
    """

    process = Gaussian()

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        parameterization: Parameterization,
        trained_steps: int | None = None,
        learned_variance: bool = False,
        conditioner: Conditioner | None = None,
        span: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.schedule = schedule
        self.parameterization = parameterization
        self.trained_steps = trained_steps
        self.learned_variance = learned_variance
        self.conditioner = conditioner
        self.span = span
        self.auxiliary = nn.ModuleDict()

    def bind(self, condition: Condition) -> "ConditionedDenoiser":
        """This denoiser with ``condition``, one row per sample. Raises InputError where the model takes none."""
        if self.conditioner is None:
            raise InputError("condition: this model was trained without one; train with conditioning=labels")
        return ConditionedDenoiser(self, condition)

    def predict(self, x_t: Tensor, c: Coefficients, condition: Condition | None = None) -> Tensor:
        """F(c_in x_t, c_noise, condition), in x_t's type and shape."""
        output = self._output(x_t, c, condition)
        return output.chunk(2, 1)[0] if self.learned_variance else output

    def _output(self, x_t: Tensor, c: Coefficients, condition: Condition | None) -> Tensor:
        match c.c_in:
            case float(1.0):
                scaled = x_t
            case c_in:
                scaled = expand(c_in, x_t) * x_t
        match c.c_noise:
            case Tensor() as each:
                c_noise = each.to(x_t.device, x_t.dtype)
            case number:
                c_noise = x_t.new_full((len(x_t),), number)
        if self.conditioner is None and self.span is None:
            return self.network(scaled, c_noise)
        found = NOTHING
        if self.conditioner is not None:
            given = self.conditioner.null(x_t) if condition is None else condition.to(x_t.device)
            found = self.conditioner(given)
        if self.span is not None:
            ahead = torch.as_tensor(0.0 if c.c_span is None else c.c_span, dtype=torch.float64)
            vector = self.span(ahead.to(x_t.device, x_t.dtype).expand(len(x_t)))
            found = combined([found, NetworkCondition(vector=vector)])
        return self.network(scaled, c_noise, found)

    def forward(self, x_t: Tensor, t: Time, condition: Condition | None = None) -> Denoised:
        now = noise_level(self.schedule, t)
        c = self.parameterization.coefficients(now)
        if now.until is not None:
            c = replace(c, c_span=span_input(now, now.until))
        output, variance = self._output(x_t, c, condition), None
        if self.learned_variance:
            output, fraction = output.chunk(2, 1)
            variance = clean_variance(fraction, now, self.schedule, self.trained_steps or 1)
        clean = x_t * expand(c.c_skip, x_t)
        match expand(c.c_out, x_t):
            case Tensor() as c_out:
                clean.addcmul_(output, c_out)
            case c_out:  # one pass over the image, as in a sampler
                clean.add_(output, alpha=c_out)
        return Denoised(clean, x_t, expand(now.alpha, x_t), expand(now.sigma, x_t), variance)


@dataclass(frozen=True)
class ConditionedDenoiser:
    """A network's denoiser with the condition of N samples bound to it; a denoiser like any other."""

    denoiser: NetworkDenoiser
    condition: Condition

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    @property
    def parameterization(self) -> Parameterization:
        return self.denoiser.parameterization

    def predict(self, x_t: Tensor, c: Coefficients, /) -> Tensor:
        """F(c_in x_t, c_noise, condition), in x_t's type and shape."""
        return self.denoiser.predict(x_t, c, self.condition)

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        return self.denoiser(x_t, t, self.condition)
