"""Diffusion of symbols as a system: a categorical process, a transformer, and the bound as the loss."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final

from torch import nn

from sumi.boundary.arguments import MOST_COUNT, real, whole
from sumi.boundary.config import nearest, to_json
from sumi.conditioning.conditioner import Conditioner, Conditioners
from sumi.conditioning.labels import LabelConditioning
from sumi.conditioning.values import ValuesConditioner, ValuesConditioning
from sumi.data.spec import DataSpec, expect
from sumi.data.symbols import SymbolSpec
from sumi.denoising.categorical import CategoricalDenoiser
from sumi.errors import InputError
from sumi.models.model import RunDescription, SystemConfig
from sumi.models.size import bounded
from sumi.models.symbols.model import SymbolModel
from sumi.networks.condition import ConditionShape
from sumi.networks.symbols import SymbolTransformerConfig
from sumi.objectives.symbols import SymbolObjective
from sumi.objectives.times import UniformTimes
from sumi.process.categorical import Categorical, CategoricalConfig, Masked
from sumi.process.continuous import Cosine, Erasing, Flow
from sumi.sampling.symbols import AUTO, SYMBOL_SOLVERS, find_symbol_solver

CONDITIONS: Final = LabelConditioning | ValuesConditioning


@dataclass(frozen=True)
class SymbolSampling:
    """How sequences are sampled (`sumi.sampling.symbols`)."""

    solver: str = field(default="ancestral", metadata={"help": f"one of {', '.join(SYMBOL_SOLVERS)}, or {AUTO}"})
    steps: int = field(default=50, metadata={"help": "even steps from noise to data, 1 or more"})
    guidance: float = field(
        default=1.0, metadata={"help": "of classifier-free guidance (w) where a condition is given; 1: none"}
    )

    temperature: float = field(
        default=1.0,
        metadata={
            "later": True,
            "help": "T: symbols are drawn by p^(1/T); below 1 samples err less and differ less, above 0",
        },
    )

    corrections: int = field(
        default=0,
        metadata={
            "later": True,
            "most": 1000,
            "help": "of process=masked: how often the least likely symbols of a sample are drawn anew; fewer err",
        },
    )

    def __post_init__(self) -> None:
        if self.solver not in (*SYMBOL_SOLVERS, AUTO):
            raise InputError(f"sampling.solver: {self.solver!r} is none; {nearest(self.solver, SYMBOL_SOLVERS)}")
        object.__setattr__(self, "steps", whole("sampling.steps", self.steps, least=1, most=MOST_COUNT))
        object.__setattr__(self, "guidance", real("sampling.guidance", self.guidance))
        object.__setattr__(self, "temperature", real("sampling.temperature", self.temperature))
        object.__setattr__(self, "corrections", whole("sampling.corrections", self.corrections, least=0, most=1000))
        if self.temperature <= 0:
            raise InputError(f"sampling.temperature: {self.temperature:g} is not above 0; give such as 0.8")


@dataclass(frozen=True)
class SymbolsConfig(SystemConfig):
    """The full configuration of a diffusion model of symbols."""

    name: ClassVar[str] = "symbols"

    process: CategoricalConfig = field(
        default_factory=Masked, metadata={"help": "what noising does: symbols become masks, other symbols, or either"}
    )
    schedule: Erasing | Flow | Cosine = field(
        default_factory=Erasing, metadata={"help": "what share of symbols is kept, alpha², at each time"}
    )
    conditioning: tuple[CONDITIONS, ...] = field(
        default=(), metadata={"help": "what the network is conditioned on: none, or labels, values"}
    )
    times: UniformTimes = field(default_factory=UniformTimes, metadata={"help": "which times a training step sees"})
    stratified_times: bool = field(
        default=True, metadata={"help": "spread the times of each batch evenly; the loss then varies less"}
    )
    network: SymbolTransformerConfig = field(
        default_factory=SymbolTransformerConfig, metadata={"help": "the transformer"}
    )
    certain_ends: bool = field(
        default=False,
        metadata={
            "later": True,
            "help": "with process=masked: that nothing follows the end of a sequence is known and need not be learned, "
            "and what stands behind it is not computed",
        },
    )
    sampling: SymbolSampling = field(default_factory=SymbolSampling, metadata={"help": "how samples are made"})

    def __post_init__(self) -> None:
        super().__post_init__()
        find_symbol_solver(self.sampling.solver, Categorical(2, self.process.mask), "sampling.solver")

    @property
    def identity(self) -> tuple[object, ...]:
        """All that the weights mean nothing without; dropout of conditions aside."""
        conditions = [
            {name: value for name, value in to_json(condition).items() if name != "dropout"}
            for condition in self.conditioning
        ]
        ends = ["certain ends"] if self.certain_ends else []
        return (self.process, self.schedule, self.network, *conditions, *ends)

    @property
    def knows(self) -> set[tuple[str, str]]:
        """What samples can be asked for: ("labels", "") for a class, and ("values", name) for each number."""
        found = set[tuple[str, str]]()
        for condition in self.conditioning:
            match condition:
                case LabelConditioning(name=name):
                    found.add((name, ""))
                case ValuesConditioning(name=name, names=names):
                    found |= {(name, one) for one in names}
        return found

    def std_of(self, data: object) -> float:
        """1: symbols have no scale."""
        del data
        return 1.0

    def build(self, items: DataSpec) -> SymbolObjective:
        """The untrained transformer with its loss. Raises InputError for data that are no symbols."""
        why = (
            f"data.source: {self.data.source} has {items.name}; the recipe symbols takes strings, or whole numbers "
            "with data.symbols=true"
        )
        spec = expect(items, SymbolSpec, why)
        process = Categorical(spec.levels, self.process.mask)
        conditioners = self._conditioners(spec)
        shape = ConditionShape() if conditioners is None else conditioners.shape
        network = bounded(lambda: self.network.build(spec.length, process.states, process.symbols, shape))
        known = self.certain_ends and spec.ends and process.absorbing
        denoiser = CategoricalDenoiser(
            network, process, self.schedule.build(), conditioners, spec.levels - 1 if known else None
        )
        return SymbolObjective(denoiser, self.times, self.training.batch_size if self.stratified_times else None)

    def _conditioners(self, spec: SymbolSpec) -> Conditioners | None:
        width, built = self.network.embedding, dict[str, Conditioner]()
        for condition in self.conditioning:
            if condition.name in built:
                raise InputError(f"conditioning: {condition.name} is given twice; give it once")
            match condition:
                case LabelConditioning():
                    built[condition.name] = condition.build(spec, width)
                case ValuesConditioning(names=names, dropout=dropout):
                    built[condition.name] = ValuesConditioner(names, width, dropout)
        return Conditioners(built) if built else None

    def wrap(self, description: RunDescription, module: nn.Module, step: int, folder: Path) -> SymbolModel:
        """The denoiser with all that is needed to sample."""
        return SymbolModel(description, expect(module, CategoricalDenoiser, "module: is no denoiser"), step, folder)
