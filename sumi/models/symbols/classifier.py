"""Classifiers of noised symbols, which guide diffusion models of symbols (`sumi.guidance.symbols`).

The objective is -log p(y | x_t) at a share of kept symbols uniform in [0, 1]: the cross-entropy of the class, or the
negative log-density of numbers in deviations of the data.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final

import torch
from torch import Tensor, nn

from sumi.conditioning.condition import Condition
from sumi.conditioning.labels import labels_of
from sumi.conditioning.values import values_of
from sumi.data.batch import Batch
from sumi.data.dataset import Dataset
from sumi.data.spec import DataSpec, expect
from sumi.data.symbols import SymbolSpec
from sumi.errors import InputError
from sumi.guidance.symbols import SymbolClassifier
from sumi.metrics.intervals import Estimate, mean_of, share
from sumi.models.model import RunDescription, SystemConfig, TrainedModel
from sumi.models.size import bounded
from sumi.networks.condition import ConditionShape
from sumi.networks.symbols import SymbolTransformerConfig
from sumi.objectives.objective import Objective
from sumi.process.categorical import Categorical, CategoricalConfig, Masked
from sumi.process.continuous import ConstantErasing
from sumi.process.schedule import NoiseLevel, noise_level
from sumi.randomness import Purpose, normal

POINTS: Final = 9
BATCH: Final = 256
MOST: Final = 2000


@dataclass(frozen=True)
class SymbolClassifierConfig(SystemConfig):
    """The full configuration of a classifier of noised symbols."""

    name: ClassVar[str] = "symbol_classifier"

    process: CategoricalConfig = field(
        default_factory=Masked, metadata={"help": "what noising does: that of the models it is to guide"}
    )
    values: tuple[str, ...] = field(
        default=(), metadata={"help": "columns of numbers that it predicts; none: it tells the classes apart"}
    )
    network: SymbolTransformerConfig = field(
        default_factory=SymbolTransformerConfig, metadata={"help": "the transformer"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.values)) != len(self.values):
            raise InputError(f"values: {', '.join(self.values)} has duplicates; give each once")

    @property
    def identity(self) -> tuple[object, ...]:
        """The settings that the weights depend on."""
        return self.process, self.values, self.network

    def std_of(self, data: object) -> float:
        """1: symbols have no scale."""
        del data
        return 1.0

    def build(self, items: DataSpec) -> "SymbolClassifierObjective":
        """A new classifier. Raises InputError for data that are no symbols, or have neither classes nor numbers."""
        why = f"data.source: {self.data.source} has {items.name}; a symbol-classifier takes strings"
        spec = expect(items, SymbolSpec, why)
        classes = 0 if self.values else len(spec.label_names)
        if not classes and not self.values:
            raise InputError(
                f"data.source: {self.data.source} has no classes; name columns of numbers by values, or of classes by "
                "data.labels"
            )
        process, outputs = Categorical(spec.levels, self.process.mask), classes + 2 * len(self.values)
        network = bounded(lambda: self.network.build(spec.length, process.states, outputs, ConditionShape()))
        return SymbolClassifierObjective(SymbolClassifier(network, process, classes, self.values))

    def wrap(self, description: RunDescription, module: nn.Module, step: int, folder: Path) -> "SymbolClassifierModel":
        """The classifier, ready to guide."""
        assert isinstance(module, SymbolClassifier)
        return SymbolClassifierModel(description, module, step, folder)


class SymbolClassifierObjective(Objective[SymbolClassifier]):
    """-log p(y | x_t) of each item in nats, at a random share of kept symbols."""

    def fit(self, data: Dataset) -> None:
        """Take mean and deviation of the numbers. Raises InputError where the data lack one."""
        self.model.fit(data)
        self.numbers = self.model.numbers_of(data)

    def forward(self, batch: Batch) -> Tensor:
        model, x_0 = self.model, batch.x.to(self.device, non_blocking=True)
        now = noise_level(ConstantErasing(), batch.uniform(Purpose.TRAINING_TIME))
        noise = batch.normal(Purpose.TRAINING_NOISE, tuple(x_0.shape[1:])).to(self.device, non_blocking=True)
        asked: dict[str, Tensor] = {}
        if model.classes:
            asked["labels"] = batch.data.labels_of(batch.items)
        if model.names:
            asked["values"] = self.numbers[torch.from_numpy(batch.items)]
        return -model.log_probability(model.process.noised(x_0, noise, now), now, Condition(asked))


@dataclass(frozen=True)
class RecognisedByNoise:
    """What a classifier recognises of ``items`` held-out sequences by the share of symbols that noise ``kept``.

    ``share``: by name, how many of the classes are right, or which share of a number's variance is predicted, 1 -
    E[(v - m)²]/Var(v); ``guess``: the most frequent class's share or 0.
    """

    kept: tuple[float, ...]
    share: dict[str, tuple[Estimate, ...]]
    guess: dict[str, float]
    items: int


class SymbolClassifierModel(TrainedModel[SymbolClassifierConfig, SymbolClassifier]):
    """A classifier of noised symbols with what it was trained for."""

    what: ClassVar[str] = "classifiers of noised symbols"

    @property
    def evaluated_as(self) -> str:
        return "symbol classifiers"

    def preview(self) -> bytes | None:
        """None: a classifier makes no samples."""
        return None

    @property
    def knows(self) -> set[tuple[str, str]]:
        """What it can be asked for: ("labels", "") where it knows classes, and ("values", name) of each number."""
        return {("values", name) for name in self.module.names} | ({("labels", "")} if self.module.classes else set())

    def asked(self, given: Mapping[str, object], indices: range) -> Condition:
        """What samples ``indices`` are to be, from ``labels`` and ``values`` as a person gives them.

        Raises InputError for what it does not know.
        """
        names, found = self.items.label_names, dict[str, Tensor]()
        for name, value in given.items():
            match name:
                case "labels" if self.module.classes:
                    found["labels"] = labels_of(value, names, indices)
                case "values" if self.module.names:
                    found["values"] = values_of(value, self.module.names, len(indices))
                case _:
                    what = f"values {', '.join(self.module.names)}" if self.module.names else "classes"
                    raise InputError(f"classifier: {self.folder} knows {what} alone, and no {name}; give those")
        if not found:
            raise InputError("classifier: guides to a class or a value, and none is given; add a label or a value")
        return Condition(found)

    @torch.inference_mode()
    def read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The class of each sequence (N, L), int64 (N,), and its numbers in their own units, float64 (N, names).

        Without classes all are of class 0.
        """
        return self._read(x, noise_level(ConstantErasing(), torch.zeros(len(x))))

    def _read(self, x_t: Tensor, now: NoiseLevel) -> tuple[Tensor, Tensor]:
        """What `read` gives, of states at a noise level."""
        model = self.module
        logits, mean, _ = model.outputs(x_t.to(self.device), now)
        classes = logits.argmax(1) if model.classes else torch.zeros(len(x_t), dtype=torch.int64)
        return classes.cpu(), (mean.cpu().double() * model.std.cpu() + model.mean.cpu())

    @torch.inference_mode()
    def recognised_by_noise(
        self, held_out: Dataset, *, seed: int = 0, progress: Callable[[int, int], None] | None = None
    ) -> RecognisedByNoise:
        """At most 2000 of ``held_out``, evenly spaced, with none to all of their symbols kept.

        Raises InputError if there are none, or if they have other classes than it knows.
        """
        model = self.module
        if not len(held_out) or (model.classes and held_out.label_names != self.items.label_names):
            raise InputError("data.source: has no held-out items of what it knows; give the data of the run")
        chosen = torch.linspace(0, len(held_out) - 1, min(MOST, len(held_out))).round().long()
        numbers = model.numbers_of(held_out)[chosen]
        labels = held_out.labels_of(chosen.numpy()) if model.classes else None
        for name, column in zip(model.names, numbers.unbind(1), strict=True):
            if len(column[~column.isnan()].unique()) < 2:
                raise InputError(f"data.held_out: keeps no two different numbers of {name}; keep more items")
        points = torch.linspace(0, 1, POINTS, dtype=torch.float64)
        found: dict[str, list[Estimate]] = {name: [] for name in (model.names or ("class",))}
        for k, kept in enumerate(points):
            right, errors = 0, list[Tensor]()
            for part in torch.arange(len(chosen)).split(BATCH):
                x_0 = held_out.batch(chosen[part].numpy())
                now = noise_level(ConstantErasing(), (1 - kept).expand(len(part)))
                noise = normal(seed, chosen[part].tolist(), k, Purpose.EVALUATION, held_out.shape)
                classes, predicted = self._read(model.process.noised(x_0, noise, now), now)
                if labels is not None:
                    right += int((classes == labels[part]).sum())
                errors.append((numbers[part] - predicted).square())
            if labels is not None:
                found["class"].append(share(right, len(chosen)))
            for name, error, column in zip(model.names, torch.cat(errors).unbind(1), numbers.unbind(1), strict=True):
                there = ~column.isnan()
                found[name].append(mean_of(1 - error[there] / column[there].var(correction=0)))
            if progress is not None:
                progress(k + 1, POINTS)
        guess = 0.0 if labels is None else float(labels.bincount().max()) / len(labels)
        return RecognisedByNoise(
            tuple(points.tolist()),
            {name: tuple(each) for name, each in found.items()},
            dict.fromkeys(found, guess),
            len(chosen),
        )
