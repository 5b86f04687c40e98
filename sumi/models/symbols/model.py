"""A trained diffusion model of symbols: samples, infilling and likelihood."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, Unpack, cast

import torch
from torch import Tensor

from sumi.boundary.arguments import MOST_COUNT, real, torch_defaults, whole
from sumi.boundary.config import nearest
from sumi.boundary.group import group
from sumi.boundary.progress import one_shown
from sumi.conditioning.condition import Condition
from sumi.conditioning.conditioner import Conditioners
from sumi.conditioning.labels import Labels
from sumi.data.dataset import everything
from sumi.data.open import open_data
from sumi.data.spec import expect
from sumi.data.symbols import SymbolSpec, pattern_of
from sumi.denoising.categorical import CategoricalDenoiser, ConditionedSymbols, SymbolDenoiser
from sumi.errors import InputError
from sumi.guidance.symbols import SymbolClassifier
from sumi.likelihood.categorical import categorical_bound, continuous_bound
from sumi.models.model import GenerativeModel, finite_samples, read_indices
from sumi.models.samples import Samples
from sumi.models.symbols.classifier import SymbolClassifierModel
from sumi.randomness import SampleNoise
from sumi.sampling.symbols import (
    UNKNOWN,
    AllowedSymbols,
    ClassifiedSymbols,
    GuidedSymbols,
    Recorder,
    TemperedSymbols,
    find_symbol_solver,
    resolved,
    sample_symbols,
)

if TYPE_CHECKING:
    from sumi.models.symbols.system import SymbolSampling

BATCH = 256


class SymbolOptions(TypedDict, total=False):
    """How sequences are sampled; what is left out, or None, is as the run is configured.

    ``label``: a class, or one a sample. ``condition``: numbers by name, ``{"values": {"logp": 1.5}}``. ``guidance``:
    w of classifier-free guidance. ``solver``: ancestral, confidence or auto. ``temperature``: below 1 for sharper laws.
    ``corrections``: how often the least likely symbols are drawn anew. ``classifier``: a run of the recipe
    symbol-classifier, or its model, that guides to the label and the values, by ``classifier_scale``.
    ``callback(step, level, states)``: after each step of each batch. ``wrap``: makes another denoiser of the guided
    one, such as `ClassifiedSymbols`.
    """

    seed: int
    start: int
    batch_size: int
    label: Labels | None
    condition: Mapping[str, object] | None
    guidance: float | None
    solver: str | None
    steps: int | None
    temperature: float | None
    corrections: int | None
    classifier: SymbolClassifierModel | str | Path | None
    classifier_scale: float | None
    callback: Recorder | None
    wrap: Callable[[SymbolDenoiser], SymbolDenoiser] | None
    progress: Callable[[int, int], None] | bool | None


class SymbolModel(GenerativeModel[Any, CategoricalDenoiser]):
    """A model of sequences of symbols."""

    what: ClassVar[str] = "models of symbols"

    @property
    def spec(self) -> SymbolSpec:
        """Its vocabulary."""
        return expect(self.items, SymbolSpec, f"{self.folder}: is no model of symbols; choose such a run")

    def texts(self, x: Tensor) -> list[str]:
        """Sequences (N, L) as text."""
        return self.spec.texts(torch.as_tensor(x))

    @torch_defaults()
    def sample(self, n: int = 16, **options: Unpack[SymbolOptions]) -> Tensor:
        """Sequences ``start`` … ``start + n - 1`` of ``seed``, int64 (n, L) on the CPU; `texts` makes text of them.

        Item i of a seed has bit-identical noise whatever n, start and batch_size. Raises InputError.
        """
        return self._walk(n, None, None, options)

    @torch_defaults()
    def infill(
        self, pattern: str | Tensor, n: int = 4, *, unknown: str = "?", **options: Unpack[SymbolOptions]
    ) -> Tensor:
        """``n`` sequences that agree with ``pattern``, int64 (n, L).

        A text, in which ``unknown`` is any one symbol and "*" at the end any further ones, such as "CC?O*"; or
        int64 (L,) with -1 for unknown ones. The given symbols are certain in p(x_0 | x_t), and with the masked process
        part of x_t from the start. Raises InputError.
        """
        spec = self.spec
        match pattern:
            case Tensor():
                known = pattern.long()
                if tuple(known.shape) != spec.shape or not bool(((known >= UNKNOWN) & (known < spec.levels)).all()):
                    raise InputError(f"pattern: {tuple(known.shape)} is not ({spec.length},) of symbols and -1")
                symbols = (known != UNKNOWN) & (known < len(spec.vocabulary))
                count = int(symbols.nonzero().max()) + 1 if bool(symbols.any()) else 0
            case text:
                known, count = pattern_of(spec, text, unknown)
        allowed = torch.ones(spec.length, spec.levels, dtype=torch.bool)
        allowed[:count, len(spec.vocabulary) :] = False  # no end before the last symbol of the pattern
        return self._walk(n, known, allowed, options)

    def _walk(self, n: int, known: Tensor | None, allowed: Tensor | None, options: SymbolOptions) -> Tensor:
        n, start, seed, batch_size = read_indices(
            n, options.get("start", 0), options.get("seed", 0), options.get("batch_size", 64)
        )
        sampling = self.sampling(options)
        solver = find_symbol_solver(sampling.solver, self.module.process, "solver")
        condition, classifier, asked = self._asked(range(start, start + n), options)
        scale = options.get("classifier_scale")
        scale = 1.0 if scale is None else real("classifier_scale", scale)
        wrap, made = options.get("wrap"), list[Tensor]()
        with one_shown(options.get("progress"), "sampling") as count, torch.inference_mode():
            for first in range(0, n, batch_size):
                rows = slice(first, min(first + batch_size, n))
                own = None if condition is None else condition.rows(rows)
                denoiser = self.denoiser(own, sampling.guidance)
                if classifier is not None and asked is not None:
                    denoiser = ClassifiedSymbols(denoiser, classifier.of(asked.rows(rows)), scale)
                denoiser = denoiser if wrap is None else wrap(denoiser)
                if sampling.temperature != 1:
                    denoiser = TemperedSymbols(denoiser, sampling.temperature)
                if allowed is not None:
                    denoiser = AllowedSymbols(denoiser, allowed.to(self.device))
                indices = range(start + rows.start, start + rows.stop)
                noise = SampleNoise(seed, indices, self.spec.shape)
                shape = (len(indices), self.spec.length)
                given = None if known is None else known.to(self.device).expand(shape)
                x = sample_symbols(
                    denoiser,
                    solver,
                    sampling.steps,
                    noise,
                    shape,
                    known=given,
                    corrections=sampling.corrections,
                    record=options.get("callback"),
                    device=self.device,
                )
                made.append(x.cpu())
                if count is not None:
                    count(rows.stop, n)
        return Samples.of(torch.cat(made), self.items)

    def _asked(
        self, indices: range, options: SymbolOptions
    ) -> tuple[Condition | None, SymbolClassifier | None, Condition | None]:
        """The condition of these samples, the classifier that guides them, and to what.

        What the network was not trained with goes to the classifier alone. Raises InputError.
        """
        label, condition, given = options.get("label"), options.get("condition"), options.get("classifier")
        if given is None:
            if options.get("classifier_scale") is not None:
                raise InputError("classifier_scale: is that of a classifier, and none is given; add classifier")
            return self.condition_of(indices, label, condition), None, None
        from sumi.models.guides import classifier_of_symbols  # it loads runs, which hold models such as this

        classifier = classifier_of_symbols(self, given)
        named: dict[str, object] = {**({} if label is None else {"labels": label}), **(condition or {})}
        asked, own = _by_name(named), self.config.knows
        for part, name in asked.keys() - own - classifier.knows:
            raise InputError(
                f"condition: neither {self.folder} nor {classifier.folder} knows {name or part}; leave it out"
            )
        of_classifier = classifier.asked(_of_those(asked, classifier.knows), indices)
        return self.condition_of(indices, None, _of_those(asked, own)), classifier.module, of_classifier

    def sampling(self, options: SymbolOptions) -> "SymbolSampling":
        """How the run is configured to sample, with ``options``. Raises InputError."""
        for name in options:
            if name not in SymbolOptions.__annotations__:
                raise InputError(f"{name}: there is no such option; {nearest(name, SymbolOptions.__annotations__)}")
        usual = self.config.sampling
        given = {name: options.get(name) for name in ("solver", "steps", "guidance", "temperature", "corrections")}
        chosen = replace(usual, **{name: value for name, value in given.items() if value is not None})
        return replace(chosen, solver=resolved(chosen.solver, self.module.process))

    def denoiser(self, condition: Condition | None = None, guidance: float | None = None) -> SymbolDenoiser:
        """Its denoiser on a condition, guided by ``guidance`` (None: as configured). Raises InputError."""
        if condition is None:
            return self.module
        bound = ConditionedSymbols(self.module, condition)
        scale = self.config.sampling.guidance if guidance is None else real("guidance", guidance)
        if scale == 1:
            return bound
        if self.module.conditioner is None or self.module.conditioner.always:
            raise InputError(f"guidance: {scale:g} needs a model also trained without its condition; give 1")
        return GuidedSymbols(bound, self.module, scale)

    def condition_of(
        self, indices: Sequence[int], label: Labels | None, condition: Mapping[str, object] | None
    ) -> Condition | None:
        """The condition of these samples. Raises InputError where the model was trained without."""
        named: dict[str, object] = {**({} if label is None else {"labels": label}), **(condition or {})}
        if not named:
            return None
        conditioner = cast("Conditioners | None", self.module.conditioner)
        if conditioner is None:
            raise InputError(
                f"condition: the model was trained without {', '.join(named)}; set conditioning=labels or values"
            )
        return conditioner.checked(conditioner.parse(named, indices), self.spec.shape, self.device)

    @torch_defaults()
    def bits(
        self,
        items: object,
        *,
        seed: int = 0,
        evaluations: int = 100,
        steps: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """The bound on -log₂ p of each of ``items``: texts, or symbols (N, L). Float64 (N,), bits a sequence.

        Divided by their numbers of characters (`SymbolSpec.lengths`) they are bits per character. ``evaluations``:
        times for each of them. ``steps``: the bound of the chain of so many steps, as `sample` takes them, in place of
        continuous time; it evaluates the network once a step. Raises InputError for other symbols.
        """
        seed, evaluations = whole("seed", seed), whole("evaluations", evaluations, least=1, most=MOST_COUNT)
        if steps is not None:
            steps = whole("steps", steps, least=1, most=MOST_COUNT)
        match items:
            case Tensor() as given:
                x = given.long()
            case _:
                x = everything(open_data(items).fitted_to(self.items, "items"))
        if x.ndim != 2 or tuple(x.shape[1:]) != self.spec.shape:
            raise InputError(f"items: are of shape {tuple(x.shape)}; give (N, {self.spec.length}) symbols")

        def rows_of(part: range) -> Tensor:
            """The bound in nats of these sequences, (n,)."""
            found: list[Tensor] = []
            for first in range(part.start, part.stop, BATCH):
                indices = range(first, min(first + BATCH, part.stop))
                own = x[indices.start : indices.stop].to(self.device)
                if steps is None:
                    found.append(continuous_bound(self.module, own, seed, indices, evaluations).cpu())
                else:
                    noise = SampleNoise(seed, indices, tuple(own.shape[1:]))
                    found.append(categorical_bound(self.module, own, steps, noise).total.cpu())
                if progress is not None:
                    progress(indices.stop, len(x))
            return torch.cat(found)

        return group().shared(rows_of, range(len(x)), BATCH) / torch.log(torch.tensor(2.0, dtype=torch.float64))

    def how_sampled(self) -> str:
        sampling = self.config.sampling
        return f"{resolved(sampling.solver, self.module.process)}, {sampling.steps} steps"

    def preview(self) -> bytes:
        n = self.items.previewed
        made = self.sample(n, seed=self.config.seed, batch_size=n, progress=False)
        return self.picture(finite_samples(made), f"step {self.step}")


Asked = Mapping[tuple[str, str], object]
"""What is asked for, by part of a condition and the name of a number, which is empty for a class."""


def _by_name(named: Mapping[str, object]) -> Asked:
    found: dict[tuple[str, str], object] = {}
    for part, value in named.items():
        match value:
            case Mapping():
                found |= {(part, str(name)): one for name, one in value.items()}
            case _:
                found[part, ""] = value
    return found


def _of_those(asked: Asked, known: Collection[tuple[str, str]]) -> dict[str, object]:
    """What of it is ``known``, as `Conditioners.parse` takes it."""
    classes = {part: value for (part, name), value in asked.items() if (part, name) in known and not name}
    numbers = {name: value for (part, name), value in asked.items() if (part, name) in known and name}
    return {**classes, **({"values": numbers} if numbers else {})}
