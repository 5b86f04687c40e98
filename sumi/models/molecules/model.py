"""A trained model of molecules: sizes are drawn, and molecules of one size are sampled together.

Item i of a seed has the size that its own number says, and its own noise, whatever is sampled with it.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from sumi.boundary.arguments import torch_defaults, whole
from sumi.boundary.progress import one_shown
from sumi.conditioning.condition import Condition
from sumi.conditioning.sizes import SizeByValues
from sumi.data.molecules import MoleculeSpec, by_size, centred, is_atom
from sumi.data.spec import expect
from sumi.data.xyz import read_frames
from sumi.denoising.denoiser import Denoiser, NetworkDenoiser
from sumi.errors import InputError
from sumi.guidance.guidance import guided
from sumi.likelihood.probability_flow import ProbabilityFlow
from sumi.likelihood.subspace import InSubspace
from sumi.likelihood.trace import ExactTrace
from sumi.metrics.bonds import ELEMENTS, Molecule
from sumi.models.model import GenerativeModel, finite_samples, read_indices
from sumi.models.samples import Samples
from sumi.objectives.molecules import SIZES
from sumi.process.schedule import NoiseLevel, deviation, noise_level
from sumi.randomness import Purpose, SampleNoise, normal, uniform
from sumi.restoration.scaffold import Scaffolded
from sumi.sampling.sample import sample
from sumi.sampling.sampler import Method, Sampling, SamplingOptions, build_method


class MoleculeModel(GenerativeModel):
    """A denoiser of molecules."""

    what: ClassVar[str] = "models of molecules"

    @property
    def spec(self) -> MoleculeSpec:
        """What its items are."""
        return expect(self.items, MoleculeSpec, f"{self.folder}: is no model of molecules; choose such a run")

    @property
    def network_denoiser(self) -> NetworkDenoiser:
        """The denoiser as it was trained."""
        return self.module

    def sample(
        self,
        n: int = 16,
        *,
        seed: int = 0,
        start: int = 0,
        atoms: int | None = None,
        condition: Mapping[str, object] | None = None,
        batch_size: int = 64,
        progress: Callable[[int, int], None] | bool | None = None,
        scaffold: Molecule | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Tensor:
        """Items ``start`` … ``start + n - 1`` of ``seed``, float32 (n, largest size, 3 + K) on the CPU, in the model's
        units (`sumi.data.molecules`); `MoleculeSpec.molecules` gives their atoms in ångström.

        ``atoms``: the size of all; None: drawn from the data's. ``condition``: {"values": {"energy": -1500}}, for a
        model trained with values; sizes are then drawn as suits them. ``scaffold``: the first atoms of all, up to a
        rotation and a translation (`sumi.restoration.scaffold`). ``options`` replace fields of the run's `Sampling`.
        Raises InputError for values out of range.
        """
        n, start, seed, batch_size = read_indices(n, start, seed, batch_size)
        sampling, indices = self.config.sampling.replaced(options), range(start, start + n)
        if sampling.error is not None:
            raise InputError("error: is stated of pictures, sound and vectors, and these are molecules; give steps")
        method, given = self.method(**options), self.condition_of(indices, condition)
        if options.get("guidance") is not None and given is None:
            raise InputError("guidance.scale: guides towards a condition, and none is given; give values")
        known = None if scaffold is None else self._known(scaffold)
        sizes = self.sizes(indices, seed, atoms, given, 1 if known is None else len(known))
        made = torch.zeros(n, *self.spec.shape)
        with one_shown(progress, "sampling") as count, torch.inference_mode():
            done = 0
            for size, rows in _batches(sizes, batch_size):
                own = [indices[row] for row in rows.tolist()]
                denoiser = self._denoiser(size, None if given is None else given.rows(rows), sampling)
                scaffolded = None if known is None else Scaffolded(denoiser, known.to(self.device))
                noise = _InSubspace(SampleNoise(seed, own, (size, self.spec.shape[1]), device=self.device))
                begun = self.start_noise(own, seed, size)
                end = sample(scaffolded or denoiser, method.solver, method.times, begun, noise)
                made[rows, :size] = (end if scaffolded is None else scaffolded.completed(end)).cpu()
                done += len(rows)
                if count is not None:
                    count(done, n)
        return Samples.of(made, self.items)

    def states(self, index: int, seed: int = 0) -> tuple[list[float], Tensor]:
        """Item ``index`` as `sample` makes it: the times of all states on the way, and them, (K, 1, …).

        Where noise is large, states are shrunk to the size of data.
        """
        size = int(self.sizes(range(index, index + 1), seed)[0])
        at, std = list[float](), self.description.data_std
        states = torch.zeros(self.method().steps + 1, 1, *self.spec.shape)

        def record(step: int, level: NoiseLevel, x: Tensor) -> None:
            at.append(float(level.t))
            states[step, :, :size] = x.cpu() * (std / float(deviation(level, std)))

        method, begun = self.method(), self.start_noise([index], seed, size)
        record(0, noise_level(self.module.schedule, 1.0), begun)
        denoiser = self._denoiser(size, None, self.config.sampling)
        noise = _InSubspace(SampleNoise(seed, [index], (size, self.spec.shape[1]), device=self.device))
        with torch.inference_mode():
            sample(denoiser, method.solver, method.times, begun, noise, lambda k, level, x: record(k + 1, level, x))
        return at, states

    @torch_defaults()
    def start_noise(self, indices: list[int], seed: int, size: int) -> Tensor:
        """x at t = 1 of these items: (len(indices), size, 3 + K), in the subspace."""
        noise = normal(seed, indices, 0, Purpose.START, (size, self.spec.shape[1]), device=self.device)
        return centred(noise) * self.prior_std

    def sizes(
        self, indices: range, seed: int, atoms: int | None = None, condition: Condition | None = None, least: int = 1
    ) -> Tensor:
        """The number of atoms of each item, ``least`` or more, int64. Raises InputError for one that no data have."""
        counts = torch.tensor(self.spec.counts, dtype=torch.float64)
        if atoms is not None:
            size = whole("atoms", atoms, least=least, most=len(counts))
            if not counts[size - 1]:
                raise InputError(f"atoms: no molecule of the data has {size}; the model makes {self.spec.describe()}")
            return torch.full((len(indices),), size)
        shares = counts.expand(len(indices), -1)
        match self.module.auxiliary[SIZES] if condition is not None else None:
            case SizeByValues() as by_values if condition is not None:
                shares = by_values.shares(condition["values"])
            case _:
                pass
        ends = (shares * (torch.arange(1, len(counts) + 1) >= least)).cumsum(1)
        u = uniform(seed, indices, 0, Purpose.SIZE)[:, None] * ends[:, -1:]
        return 1 + torch.searchsorted(ends, u, right=True)[:, 0].clamp(max=len(counts) - 1)

    @torch_defaults()
    def log_density(self, x: Tensor, *, batch_size: int = 16, flow: ProbabilityFlow | None = None) -> Tensor:
        """log p of molecules (N, …) given their sizes, in nats, float64 (N,), by the probability-flow ODE.

        Of all their numbers in the model's units, in the subspace of zero mean, at the least noise of the ODE
        (`sumi.likelihood.probability_flow.SMALLEST`). Numbers that stand for elements count as any: compare molecules
        of one size and model. Raises InputError for what is no molecule of the model's.
        """
        if x.shape[1:] != self.spec.shape or not bool(is_atom(x).any(1).all()):
            raise InputError(f"x: is of shape {tuple(x.shape)}; give molecules (N, …) of shape {self.spec.shape}")
        found, flow = torch.zeros(len(x), dtype=torch.float64), flow or ProbabilityFlow()
        for size, rows in _batches(is_atom(x).sum(1), batch_size):
            inside = InSubspace(self.module, size)
            z = inside.vectors(x[rows, :size].to(self.device))
            found[rows] = flow.log_density(inside, z, ExactTrace(), prior_std=self.prior_std).log_density
        return found

    @property
    def prior_std(self) -> float:
        """The deviation of x at t = 1, where sampling begins."""
        return float(deviation(noise_level(self.module.schedule, 1.0), self.description.data_std))

    def read_scaffold(self, file: Path) -> Molecule:
        """The one molecule of an .xyz file. Raises InputError."""
        try:
            frames = list(read_frames(file.read_text("utf-8", "replace"), ELEMENTS))
        except (OSError, ValueError) as error:
            raise InputError(f"scaffold: {file} cannot be read ({error}); give an .xyz file of atoms") from None
        if len(frames) != 1:
            raise InputError(f"scaffold: {file} has {len(frames)} molecules; give one")
        return Molecule(*frames[0][:2])

    def _known(self, scaffold: Molecule) -> Tensor:
        """Its atoms (k, 3 + K) in the model's units. Raises InputError where the model's molecules cannot have them."""
        spec, count = self.spec, len(scaffold.elements)
        foreign = sorted(set(scaffold.elements) - set(spec.elements))
        if foreign or count > len(spec.counts):
            what = f"atoms of {', '.join(foreign)}" if foreign else f"{count} atoms"
            raise InputError(f"scaffold: has {what}; the model makes {spec.describe()}")
        known = torch.zeros(count, spec.shape[1])
        known[:, :3] = torch.from_numpy(scaffold.places / spec.scale)
        known[range(count), [3 + spec.elements.index(e) for e in scaffold.elements]] = spec.one_hot
        return known

    def condition_of(self, indices: range, condition: Mapping[str, object] | None) -> Condition | None:
        """What samples are to have. Raises InputError for a model that was trained without it."""
        match condition:
            case None:
                return None
            case Condition():
                return condition
            case _:
                pass
        if self.module.conditioner is None:
            raise InputError(
                "condition: this model was trained without; set conditioning=values conditioning.names=energy"
            )
        return self.module.conditioner.parse(condition, indices)

    def _denoiser(self, size: int, condition: Condition | None, sampling: Sampling) -> Denoiser:
        return guided(self.module, condition, sampling, (), (size, self.spec.shape[1]))

    def method(self, **options: Unpack[SamplingOptions]) -> Method:
        """How it samples: as the run is configured, or as ``options`` say. Raises InputError."""
        sampling = self.config.sampling.replaced(options)
        return build_method(
            sampling.solver,
            sampling.steps,
            self.module.schedule,
            time_grid=sampling.time_grid,
            data_std=self.description.data_std,
            eta=sampling.eta,
        )

    def how_sampled(self) -> str:
        """Its solver and number of steps."""
        method = self.method()
        return f"{method.name}, {method.steps} steps"

    def preview(self) -> bytes:
        made = self.sample(self.items.previewed, seed=self.config.seed, progress=False)
        return self.picture(finite_samples(made), f"step {self.step}")


class _InSubspace:
    """Noise whose places have zero mean."""

    def __init__(self, noise: SampleNoise) -> None:
        self.noise = noise

    def __call__(self, step: int, purpose: Purpose, draw: int = 0) -> Tensor:
        return centred(self.noise(step, purpose, draw))


def _batches(sizes: Tensor, batch_size: int) -> Iterator[tuple[int, Tensor]]:
    """Each size and up to ``batch_size`` rows that have it."""
    for size, rows in by_size(sizes):
        for part in rows.split(batch_size):
            yield size, part
