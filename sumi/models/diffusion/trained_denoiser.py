"""A trained denoiser with all that sampling takes from it: the space in which it denoises, the sizes and conditions
that it is trained for, the first noise, and the method that its run is configured with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import cached_property
from math import lcm, prod
from typing import Unpack

import torch
from torch import Tensor

from sumi.autoencoders.mdct import BandScale
from sumi.autoencoders.scale import LatentScale
from sumi.boundary.arguments import real, shown, sides, torch_defaults, whole
from sumi.conditioning.condition import Condition
from sumi.conditioning.image import SmallConditioning
from sumi.conditioning.labels import Labels, labels_of
from sumi.conditioning.prompt import single_parts
from sumi.conditioning.text import Prompts, TextConditioner
from sumi.data.audio import AudioSpec
from sumi.data.decode import LARGEST_PIXELS
from sumi.data.images import ImageSpec
from sumi.data.items import Items, read_items
from sumi.data.spec import expect
from sumi.denoising.binomial import BinomialDenoiser
from sumi.denoising.denoiser import Denoiser, NetworkDenoiser
from sumi.errors import InputError
from sumi.guidance.clip import ClipGuide
from sumi.guidance.guidance import guided, thresholded
from sumi.guidance.tiling import Tiled, Tiling, condition_of_windows, tiling_of
from sumi.models.diffusion.autoencoder import AffineData, MDCTBands, NoAutoencoder, TrainedAutoencoder
from sumi.models.diffusion.config import DiffusionSettings
from sumi.models.diffusion.parts import AUTOENCODER, autoencoder_of
from sumi.models.diffusion.space import AffineSpace, BandSpace, DataSpace, LatentSpace, Space
from sumi.models.diffusion.tuned import load_tuned, tuned_file
from sumi.models.model import GenerativeModel, TrainedModel
from sumi.process.binomial import Binomial
from sumi.process.schedule import NoiseLevel, deviation, noise_level
from sumi.randomness import Purpose, normal
from sumi.sampling.sampler import (
    LEAST_STD,
    TUNED,
    Guidance,
    Method,
    Sampling,
    SamplingOptions,
    build_method,
    find_solver,
    given_options,
)
from sumi.sampling.sdedit import at_strength
from sumi.sampling.solvers import SOLVERS


class TrainedDenoiser(GenerativeModel[DiffusionSettings, NetworkDenoiser | BinomialDenoiser]):
    """What a run of a diffusion model holds; `sumi.models.diffusion.model.DiffusionModel` samples it."""

    @property
    def network_denoiser(self) -> NetworkDenoiser | BinomialDenoiser:
        """The denoiser as it was trained."""
        return self.module

    @cached_property
    def space(self) -> Space:
        """Where it denoises: the data's own space, or an autoencoder's latents."""
        match self.config.autoencoder:
            case TrainedAutoencoder(weights=weights) as chosen:
                scale = self.module.auxiliary["latents"]
                assert isinstance(scale, LatentScale)
                model = autoencoder_of(self.folder, weights, self.device)
                shape = chosen.denoised(self.items).shape
                return LatentSpace(shape, model.autoencoder, scale, model.linear_preview)
            case MDCTBands():
                bands = self.module.auxiliary["bands"]
                assert isinstance(bands, BandScale)
                return BandSpace(bands)
            case AffineData(scale=scale, shift=shift, channels=channels):
                return AffineSpace(self.items.shape, scale, shift, channels)
            case NoAutoencoder():
                return DataSpace(self.items.shape, bounded=len(self.items.shape) == 3)

    def parts(self) -> dict[str, TrainedModel]:
        """Its autoencoder, if it has one."""
        match self.config.autoencoder:
            case TrainedAutoencoder(weights=weights):
                return {AUTOENCODER: autoencoder_of(self.folder, weights, self.device)}
            case NoAutoencoder() | MDCTBands() | AffineData():
                return {}

    @property
    def text(self) -> TextConditioner | None:
        """What reads its prompts; None for a model that was trained without captions."""
        match getattr(self.network_denoiser.conditioner, "text", None):
            case TextConditioner() as text:
                return text
            case _:
                return None

    @property
    def prompted(self) -> bool:
        """Whether it makes pictures of prompts."""
        return self.text is not None

    @property
    def binomial(self) -> bool:
        """Whether the process flips bits (`sumi.process.binomial`), instead of adding Gaussian noise."""
        return self.config.process == Binomial()

    @torch_defaults()
    def denoiser(
        self,
        condition: Condition | None = None,
        *,
        size: tuple[int, int] | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Denoiser:
        """D(x_t, t), guided and with x̂_0 kept in [-1, 1] as the run is configured, or as ``options`` say.

        ``condition``: of each sample; None: none. ``size``: (H, W) of the pictures, larger than the model's and
        denoised in windows (`sumi.guidance.tiling`); None: the model's. Raises InputError for a condition that the
        model was not trained for, for guidance without anything to guide by, and for a size below the model's.
        """
        if condition is not None:
            expect(condition, Condition, f"condition: {shown(condition)} is no Condition; see condition_of")
        sampling, shape = self._sampling(options, conditioned=condition is not None), self.space.shape
        size, tiling = self._read_size(size), None
        if size is not None:
            tiling = self._tiling(size)
            if condition is not None:
                condition = condition_of_windows(condition, self.images.shape, size, self._unit)
        guidance = sampling.guidance
        if self.binomial and condition is None and guidance.worse is guidance.classifier is guidance.clip is None:
            found = thresholded(self.network_denoiser, sampling.threshold)
        else:
            found = guided(self.gaussian_denoiser(), condition, sampling, self.items.label_names, shape)
        return found if tiling is None else Tiled(found, tiling)

    def _sampling(self, options: SamplingOptions, *, conditioned: bool) -> Sampling:
        """The run's own with ``options``, and with the runs that are to guide loaded. Raises InputError."""
        sampling = self.config.sampling.replaced(options)
        guidance = sampling.guidance
        if guidance.negative not in (None, self.config.sampling.guidance.negative) and not guidance.extrapolates:
            raise InputError("guidance.negative: counts as far as guidance.scale says, and that is 1; give such as 2")
        if any(guide is not None for guide in (guidance.worse, guidance.classifier, guidance.clip)):
            from sumi.models.guides import loaded  # it loads runs, which hold models such as this

            return replace(sampling, guidance=loaded(self, guidance))
        if options.get("guidance") is not None and not conditioned:
            own = self.config.sampling.guidance
            names = (f.name for f in fields(Guidance) if getattr(own, f.name) != getattr(guidance, f.name))
            field = next(names, "scale")
            raise InputError(
                f"guidance.{field}: guides towards a condition, and none is given; give a label, a prompt or values"
            )
        return sampling

    def gaussian_denoiser(self) -> NetworkDenoiser:
        """The denoiser as it was trained. Raises InputError where the process is binomial."""
        match self.network_denoiser:
            case NetworkDenoiser() as denoiser:
                return denoiser
            case BinomialDenoiser():
                raise InputError(f"{self.folder}: noises bits, and this is for Gaussian noise; choose another run")

    def batch_of(self, batch_size: int, size: tuple[int, int] | None) -> int:
        """How many samples of this ``size`` (H, W) are a batch: as many as have ``batch_size`` windows, or one."""
        return max(1, batch_size // self.windows_of(size))

    def windows_of(self, size: tuple[int, int] | None) -> int:
        """How many windows a sample of this ``size`` (H, W) is made in; 1 for the model's own."""
        return 1 if size is None or size == self.images.shape[1:] else self._tiling(size).count

    def shape_of(self, size: tuple[int, int] | None) -> tuple[int, ...]:
        """The shape in which a sample of this ``size`` (H, W) is denoised; None: the model's own size.

        Raises InputError where there are no such samples.
        """
        size = self._read_size(size)
        return self.space.shape if size is None else (self.space.shape[0], *self._tiling(size).size)

    def _tiling(self, size: tuple[int, int]) -> Tiling:
        """The windows of pictures of this size. Raises InputError for one that the model cannot make."""
        factor, (_, height, width) = self.space.factor, self.images.shape
        if size[0] < height or size[1] < width:  # the windows' own sides may be latents
            own = f"{height} × {width}"
            raise InputError(f"size: {size[0]} × {size[1]} is less than the {own} of the model; give at least as much")
        if any(side % factor for side in size):
            raise InputError(f"size: {size[0]}x{size[1]} is not of multiples of {factor}, as the autoencoder needs")
        return tiling_of(self.images.shape, size, factor, self._unit)

    @property
    def _unit(self) -> int:
        """Of how many pixels the places of windows are multiples: of those of a latent and of a small picture's."""
        match self.config.condition("small"):
            case SmallConditioning(factor=factor):
                return lcm(self.space.factor, factor)
            case _:
                return self.space.factor

    def _read_size(self, size: object) -> tuple[int, int] | None:
        """A size other than the model's own; else None. Raises InputError."""
        if size is None:
            return None
        why = f"size: {self.folder} is a model of {self.items.name}, which have none; leave it out"
        own = expect(self.items, ImageSpec, why).shape[1:]
        found = sides("size", size)
        if prod(found) > LARGEST_PIXELS:
            raise InputError(f"size: {found[0]}x{found[1]} is out of range; give at most {LARGEST_PIXELS:,} pixels")
        return None if found == own else found

    def _check_size(self, size: tuple[int, int] | None) -> None:
        """Raises InputError for a size of its own where the model fills in pictures that it is given."""
        larger = self.shape_of(size) != self.space.shape
        painted = any(condition.name in ("masked", "small", "grey") for condition in self.config.conditioning)
        if larger and painted:
            raise InputError(f"size: {self.folder} fills in what it is given; use inpaint, upscale or restore")

    @torch_defaults()
    def condition_of(
        self,
        indices: Sequence[int],
        label: Labels | None,
        condition: Mapping[str, object] | None = None,
        guidance: Guidance | None = None,
        prompt: Prompts | None = None,
    ) -> Condition | None:
        """The condition of these items: their label, their prompt and what else is given, as of `sample`.

        A model that was trained without classes may be guided by a classifier that knows them. Raises InputError.
        """
        if label is None and condition is None and prompt is None:
            return None
        match condition:
            case None:
                pass
            case Mapping() if all(type(name) is str for name in condition):
                pass
            case _:
                raise InputError(f"condition: {shown(condition)} maps no names to conditions; write {{'labels': 0}}")
        conditioner = self.network_denoiser.conditioner
        named: dict[str, object] = {} if label is None else {"labels": label}
        found = condition if isinstance(condition, Condition) else Condition()
        if label is not None and condition is not None and "labels" in condition:
            raise InputError("label: is part of the condition that is given; give one of them")
        if prompt is not None:
            if condition is not None and "text" in condition:
                raise InputError("prompt: is part of the condition that is given; give one of them")
            guide = None if guidance is None else guidance.clip
            if self.text is not None:
                named["text"] = prompt
            elif guide is None:
                raise InputError(
                    "prompt: this model was trained without captions; train text-to-image, or guide by a CLIP"
                )
            if guide is not None:
                guide = expect(guide, ClipGuide, f"guidance.clip: a {type(guide).__name__} is none; give a run")
                found = Condition(found, clip=guide.embed(single_parts(prompt, len(indices))))
        if condition is not None and found is not condition:
            named |= condition
        if "labels" in named and (conditioner is None or "labels" not in conditioner.names):
            if guidance is None or guidance.classifier is None:
                raise InputError(
                    "label: this model was trained without; train classifier-free, or guide by a classifier"
                )
            found = Condition(found, labels=labels_of(named.pop("labels"), self.items.label_names, indices))
        if named:
            if conditioner is None:
                raise InputError("condition: this model was trained without; train one with conditioning=labels")
            found = Condition(found, **conditioner.parse(named, indices))
        if found.sizes() != {len(indices)}:
            raise InputError(f"condition: is not of {len(indices)} items; give one row for each")
        return found

    @torch_defaults()
    def at_strength(self, strength: float) -> NoiseLevel:
        """The noise level from which `vary` goes back. Raises InputError."""
        network, std = self.gaussian_denoiser(), max(self.description.data_std, LEAST_STD)
        return at_strength(network.schedule, real("strength", strength), std, network.trained_steps)

    def read(self, name: str, given: Items) -> Tensor:
        """Items as the model takes them (`sumi.data.items`): pictures are fitted. Raises InputError."""
        match self.items:
            case AudioSpec() as audio:
                return audio.read(name, given)
            case _:
                pass
        data, shape = self.config.data, self.items.shape
        return read_items(name, given, shape, frame=data.fitting(shape), background=data.background)

    @torch.inference_mode()
    def seen(self, z: Tensor) -> Tensor:
        """What is denoised (N, …), as items, on the CPU."""
        return torch.cat([self.space.decode(part.to(self.device)).cpu() for part in z.split(64)])

    @torch.inference_mode()
    def glimpse(self, z: Tensor) -> Tensor:
        """States on the way (N, …), such as a `sample` callback gets, as items, on the CPU; of latents a cheap preview
        of the autoencoder's, in squares of one colour a latent."""
        return self.space.glimpse(z.to(self.device)).cpu()

    @torch.inference_mode()
    def _encoded(self, items: Tensor) -> Tensor:
        """Items (N, …) on the CPU as they are denoised, on the CPU."""
        return self.space.encode(items.to(self.device)).cpu()

    def _size_of(self, items: Tensor, name: str = "images", space: Space | None = None) -> tuple[int, int] | None:
        """(H, W) of images (N, C, H, W), or of what is denoised in a ``space``; None for other data.

        Raises InputError for what the model cannot take.
        """
        shape, given = self.items.shape if space is None else space.shape, tuple(items.shape[1:])
        pictures = len(self.items.shape) == 3
        larger = pictures and len(given) == len(shape) and given[0] == shape[0] and all(map(int.__ge__, given, shape))
        if not (given == shape or larger) or not len(items):
            takes = f"(N, {', '.join(map(str, shape))})" + (", or larger sides" if pictures else "")
            raise InputError(f"{name}: are of shape {tuple(items.shape)}; the model takes {takes}")
        factor = 1 if space is None else space.factor
        size = (factor * given[1], factor * given[2]) if pictures else None
        self._check_size(size)
        return size

    def how_sampled(self, *, labelled: bool = False) -> str:
        """Its solver and number of steps, its restarts, and how far it is guided where samples are of a class."""
        method = self.method(tuned=not labelled)
        guided = f", {self._how_guided()}" if labelled else ""
        threshold = ", dynamic threshold" if self.config.sampling.threshold == "dynamic" else ""
        error = self.config.sampling.error
        how = f"{method.steps} steps" if error is None else f"to an error of {error:g}"
        restarts = self.config.sampling.restart.repeats
        how += f", {restarts} restarts" if restarts else ""
        return f"{method.name}, {how}{guided}{threshold}"

    def _how_guided(self) -> str:
        usual = self.config.sampling.guidance
        words = f"{'guidance' if usual.method == 'cfg' else usual.method} {usual.scale:g}"
        if usual.interval is not None:
            low, high = usual.interval
            words += f" at sigma/alpha from {low:g} to {high:g}"
        words += f", rescaled by {usual.rescale:g}" if usual.rescale else ""
        return words if usual.negative is None else f"{words}, away from {usual.negative}"

    @torch_defaults()
    def start_noise(self, indices: Sequence[int], seed: int, shape: tuple[int, ...] | None = None) -> Tensor:
        """x at t = 1 of these items of a seed: (len(indices), …), with the deviation of noised data there.

        ``shape`` of one item; None: the model's.

        The data's mean, times alpha(1), is left out: exact where the schedule ends with no data. Raises InputError for
        a negative seed.
        """
        seed, indices = whole("seed", seed), [whole("indices", index) for index in indices]
        noise = normal(seed, indices, 0, Purpose.START, shape or self.space.shape, device=self.device)
        return self.network_denoiser.process.start(noise, self.prior_std)

    @property
    def prior_std(self) -> float:
        """The deviation of x at t = 1, where sampling begins: √(alpha² s² + sigma²), with s that of the data."""
        return float(deviation(noise_level(self.network_denoiser.schedule, 1.0), self.description.data_std))

    @torch_defaults()
    def method(self, *, tuned: bool = True, **options: Unpack[SamplingOptions]) -> Method:
        """How it samples: as the run is configured, or as ``options`` say.

        Where nothing but the number of steps is named and a solver was tuned to this model and number, it is that one;
        ``tuned`` = False leaves it out: what is guided is another field. Raises InputError for what `build_method`
        refuses, and where a tuned solver is named and there is none.
        """
        sampling = self.config.sampling.replaced(options)
        tuned &= sampling.error is None
        steps, named = sampling.steps, given_options(options).keys() - {"steps"}
        if sampling.solver == TUNED and not self.is_tuned(steps):
            raise InputError(f"solver: tuned: there is none for {steps} steps; run `sumi compare --tune {steps}`")
        solver = TUNED if sampling.solver == TUNED else find_solver(sampling.solver, "solver")[0]
        if solver in {*SOLVERS, TUNED} - {"consistency"}:
            self.require_mean(f"solver: {solver}", "use solver=consistency, or ")
        if sampling.solver == TUNED or (tuned and not named and self.is_tuned(steps)):
            return load_tuned(tuned_file(self.folder, self.step, steps), self.digest, steps)
        return build_method(
            sampling.solver,
            steps,
            self.network_denoiser.schedule,
            time_grid=sampling.time_grid,
            data_std=self.description.data_std,
            grid=self.network_denoiser.trained_steps,
            eta=sampling.eta,
            bits=self.binomial,
        )

    def require_mean(self, what: str, instead: str = "") -> None:
        """Raises InputError, which begins with ``what``, for a consistency model, whose D is not the mean of x_0.

        ``instead``: what to do, before taking another model.
        """
        few = self.config.few_steps
        if few is not None and not few.has_mean:
            raise InputError(
                f"{what} needs the mean of x_0 given x_t, and {self.folder} {few.without_ode}; {instead}take the model "
                "that it was distilled from"
            )

    def require_ode(self, what: str) -> None:
        """Raises InputError, which begins with ``what``, for a model whose x̂_0 are of no ODE of its own: as
        `require_mean`, and for a student of progressive distillation."""
        self.require_mean(what)
        few = self.config.few_steps
        if few is not None and few.without_ode:
            raise InputError(
                f"{what} needs velocities of an instant, and {self.folder} {few.without_ode}; take the model that it "
                "was distilled from"
            )

    def is_tuned(self, steps: int) -> bool:
        """Whether a method for this many steps was fitted to it."""
        return tuned_file(self.folder, self.step, steps).exists()

    @property
    def digest(self) -> str:
        """sha256 of all that a sampler sees: the weights, how they are read, and what keeps x̂_0 in range."""
        return self.digest_of(f"{self.description.identity} {self.config.sampling.threshold}")
