"""From settings to a model of molecules in space: an equivariant denoiser, its loss, and how samples are made.

Hoogeboom et al. 2022 ("Equivariant diffusion for molecule generation in 3D") with the preconditioning of Karras et al.
2022: places and elements are denoised together, each preconditioned by its own deviation; the sizes of molecules are
drawn from the data's.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from sumi.boundary.config import to_json
from sumi.conditioning.conditioners import build_conditioners
from sumi.conditioning.sizes import SizeByValues
from sumi.conditioning.values import MEASURED, ValuesConditioning
from sumi.data.molecules import MoleculeSpec
from sumi.data.spec import DataSpec, expect
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.parameterization import PreconditionedParts
from sumi.errors import InputError
from sumi.models.model import RunDescription, SystemConfig
from sumi.models.molecules.model import MoleculeModel
from sumi.models.size import bounded
from sumi.networks.egnn import EGNNConfig
from sumi.networks.pairs import DEVIATION, PairNetworkConfig
from sumi.objectives.molecules import SIZES, MoleculeObjective
from sumi.objectives.times import LogNormalTimes
from sumi.process.exploding import EDM
from sumi.sampling.sampler import TUNED, Sampling


@dataclass(frozen=True)
class MoleculesConfig(SystemConfig):
    """The full configuration of a model of molecules."""

    name: ClassVar[str] = "molecules"

    schedule: EDM = field(default_factory=EDM, metadata={"help": "how much noise there is at each time"})
    times: LogNormalTimes = field(default_factory=LogNormalTimes, metadata={"help": "which times a training step sees"})
    conditioning: tuple[ValuesConditioning, ...] = field(
        default=(), metadata={"help": "what the network is conditioned on: none, or values"}
    )
    network: EGNNConfig | PairNetworkConfig = field(default_factory=EGNNConfig, metadata={"help": "the backbone"})
    sampling: Sampling = field(
        default_factory=lambda: Sampling(threshold="none"), metadata={"help": "how samples are made"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sampling.threshold != "none":
            raise InputError(f"sampling.threshold: {self.sampling.threshold} is of pixels; set none")
        if self.sampling.solver == TUNED:
            raise InputError("sampling.solver: tuned is of diffusion models of images; set another, such as heun")
        if len(self.conditioning) > 1:
            raise InputError("conditioning: names values twice; give it once")
        for condition in self.conditioning:
            if measured := MEASURED.keys() & set(condition.names):
                raise InputError(
                    f"conditioning.names: {', '.join(sorted(measured))} is of images; molecules have atoms, their "
                    "elements such as C, and what their files say, such as energy"
                )
            if not condition.dropout and self.sampling.guidance.scale != 1:
                raise InputError("conditioning.dropout: 0 learns nothing unconditional, which guidance needs; set 0.1")

    @property
    def identity(self) -> tuple[object, ...]:
        """The settings that the weights depend on."""
        names = [to_json(condition)["names"] for condition in self.conditioning]
        return self.schedule, self.network, *names

    def build(self, items: DataSpec) -> MoleculeObjective:
        """A new, untrained denoiser with its loss. Raises InputError for data that are not molecules."""
        why = f"data.source: {self.data.source} holds {items.name}, and this is for molecules; give such as qm7-small"
        spec = expect(items, MoleculeSpec, why)
        conditioner = build_conditioners(self.conditioning, spec, self.network.embedding)
        network = bounded(lambda: self.network.build(spec.shape))
        denoiser = NetworkDenoiser(
            network, self.schedule.build(), PreconditionedParts(deviations(spec)), conditioner=conditioner
        )
        for condition in self.conditioning:
            denoiser.auxiliary[SIZES] = SizeByValues(len(spec.counts), condition.names)
        return MoleculeObjective(denoiser, self.times, self.training.batch_size)

    def wrap(self, description: RunDescription, module: nn.Module, step: int, folder: Path) -> MoleculeModel:
        """The denoiser with all that is needed to sample."""
        assert isinstance(module, NetworkDenoiser)
        return MoleculeModel(description, module, step, folder)


def deviations(spec: MoleculeSpec) -> torch.Tensor:
    """The deviation of each of an atom's numbers, float64 (3 + K,): of elements about 0, as K - 1 of K are 0."""
    elements = len(spec.elements)
    return torch.tensor([DEVIATION] * 3 + [spec.one_hot / elements**0.5] * elements, dtype=torch.float64)
