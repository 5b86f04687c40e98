"""A trained diffusion model, ready to use: what a run folder holds.

All that samples goes one way, `DiffusionModel.walk`: which items, from where, with which solver, how guided. What is
left out is as the run was configured; options replace it for once (`sumi.sampling.sampler.SamplingOptions`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, ClassVar, Literal, Unpack, cast

import torch
from numpy.typing import NDArray
from torch import Tensor

from sumi.autoencoders.mdct import BandScale
from sumi.autoencoders.scale import LatentScale
from sumi.boundary.arguments import MOST_COUNT, finite, real, shown, sides, torch_defaults, whole
from sumi.boundary.progress import Count, count_shown, one_shown
from sumi.conditioning.condition import Condition
from sumi.conditioning.labels import Labels, labels_of
from sumi.conditioning.prompt import plain_texts
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
from sumi.models.diffusion import restoration
from sumi.models.diffusion.autoencoder import MDCTBands, NoAutoencoder, TrainedAutoencoder
from sumi.models.diffusion.config import DiffusionSettings
from sumi.models.diffusion.options import Progress, SampleOptions, sampling_options
from sumi.models.diffusion.parts import AUTOENCODER, autoencoder_of
from sumi.models.diffusion.sound import restore_sound
from sumi.models.diffusion.space import BandSpace, DataSpace, LatentSpace, Space
from sumi.models.diffusion.tuned import load_tuned, tuned_file
from sumi.models.model import GenerativeModel, TrainedModel, read_indices
from sumi.models.samples import Samples
from sumi.operators.linear import AnyOperator
from sumi.process.binomial import Binomial
from sumi.process.schedule import NoiseLevel, deviation, noise_level
from sumi.randomness import Purpose, SampleNoise, normal
from sumi.sampling.inversion import REVERSIBLE, invert, slerp
from sumi.sampling.sample import Callback, sample
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
from sumi.sampling.sdedit import at_strength, rest_of


class DiffusionModel(GenerativeModel[DiffusionSettings, NetworkDenoiser | BinomialDenoiser]):
    """A denoiser with all that is needed to make images, or vectors, of it."""

    what: ClassVar[str] = "diffusion models"

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
            case NoAutoencoder():
                return DataSpace(self.items.shape, bounded=len(self.items.shape) == 3)

    def parts(self) -> dict[str, TrainedModel]:
        """Its autoencoder, if it has one."""
        match self.config.autoencoder:
            case TrainedAutoencoder(weights=weights):
                return {AUTOENCODER: autoencoder_of(self.folder, weights, self.device)}
            case NoAutoencoder() | MDCTBands():
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
            condition = None if condition is None else condition_of_windows(condition, self.images.shape, size)
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

    def sample(
        self,
        n: int = 16,
        *,
        seed: int = 0,
        start: int = 0,
        label: Labels | None = None,
        prompt: Prompts | None = None,
        condition: Mapping[str, object] | None = None,
        size: tuple[int, int] | None = None,
        batch_size: int = 64,
        progress: Progress | None = None,
        callback: Callback | None = None,
        x: Tensor | None = None,
        t: float = 1.0,
        **options: Unpack[SamplingOptions],
    ) -> Tensor:
        """Items ``start`` … ``start + n - 1`` of ``seed``, float32 on the CPU: images (n, C, H, W) in [-1, 1], of
        ``size`` (H, W) where that is given (see `denoiser`), or vectors (n, D) in the model's units.

        Item i of a seed has bit-identical noise whatever n, start and batch_size. ``label``: the class of all by name
        or number, "all" for one class after the other, or n classes; ``prompt``: a text for all, or n of them, which
        may hold weights and blends (`sumi.conditioning.prompt`); ``condition``: what else the model is conditioned on,
        by name, such as {"values": {"brightness": 0.2}}, or a `Condition` of n rows.
        ``x`` (n, …): where to begin instead of the seed's noise, at the time ``t`` (see `walk`).
        ``callback(step, level, x)`` sees each batch after each step. ``progress(done, total)`` counts items; True shows
        it, and None does so in a notebook alone.
        ``options`` replace fields of the run's `Sampling`: solver, steps, time_grid, eta, guidance (its scale, or a
        whole `Guidance`), threshold. A batch of larger pictures has as many windows as ``batch_size`` says, if more
        than one picture. Raises InputError for values out of range.
        """
        self._check_size(size)
        given: SampleOptions = {
            **cast(SampleOptions, options),
            "seed": seed,
            "start": start,
            "label": label,
            "prompt": prompt,
            "condition": condition,
            "size": size,
            "batch_size": batch_size,
            "progress": progress,
            "callback": callback,
            "x": x,
            "t": t,
        }
        return self.walk(n, given)

    @torch_defaults()
    def walk(
        self,
        n: int,
        options: SampleOptions | None = None,
        *,
        x: Tensor | None = None,
        t: float | None = None,
        method: Method | None = None,
        wrap: Callable[[Denoiser], Denoiser] | None = None,
        finish: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """`sample` with its ``options``, from anywhere and of another denoiser.

        ``x`` (n, …): where to begin instead of `start_noise`, at the time ``t``, from where the rest of the method's
        times are walked; a tuned solver walks only all of them, and only pictures of the model's size. ``method``:
        instead of the one that the options name. ``wrap`` makes another denoiser of the model's own, such as one that
        is multiplied by a second distribution. ``finish(x)`` makes samples of the end of a batch, before the clamp to
        [-1, 1] of images. Raises InputError as `sample`.
        """
        options = options or {}
        n, start, seed, batch_size = read_indices(
            n, options.get("start", 0), options.get("seed", 0), options.get("batch_size", 64)
        )
        label, prompt, condition = options.get("label"), options.get("prompt"), options.get("condition")
        settings, conditioned = sampling_options(options), any(v is not None for v in (label, prompt, condition))
        size, callback = self._read_size(options.get("size")), options.get("callback")
        x, t = options.get("x") if x is None else x, real("t", options.get("t", 1.0) if t is None else t)
        if not 0 <= t <= 1:
            raise InputError(f"t: {t:g} is out of range; give a time from 0 (data) to 1 (noise)")
        if t == 0:
            raise InputError("t: 0 is the time of the data themselves, with nothing left to walk; give one above 0")
        if t < 1 and x is None:
            raise InputError(f"x: is not given, and t = {t:g} is on the way; give the noised x to begin with")
        if callback is not None and not callable(callback):
            raise InputError(f"callback: {shown(callback)} is no function; give one of (step, level, x)")
        shape = self.shape_of(size)
        larger = shape != self.space.shape
        sampling = self._sampling(settings, conditioned=conditioned)
        if sampling.solver == TUNED and t < 1:
            raise InputError("solver: tuned walks all of its times, and this begins on the way; choose another")
        if sampling.solver == TUNED and larger:
            raise InputError("solver: tuned was fitted to pictures of the model's own size; choose another")
        if method is None:
            free = not conditioned and not larger and t == 1
            method = self.method(tuned=free, **settings)
        times = method.times if t == 1 else rest_of(method.times, t)
        x = None if x is None else finite("x", x)
        if x is not None and x.shape != (n, *shape):
            raise InputError(f"x: is of shape {tuple(x.shape)}; the model takes {(n, *shape)} here")
        given = self.condition_of(range(start, start + n), label, condition, sampling.guidance, prompt)
        made = []
        for rows, denoiser in self._batches(n, given, size, batch_size, sampling, options.get("progress")):
            indices = range(start + rows.start, start + rows.stop)
            noise = SampleNoise(seed, indices, shape, device=self.device)
            with torch.inference_mode():
                begun = self.start_noise(indices, seed, shape) if x is None else x[rows].to(self.device)
                wrapped = denoiser if wrap is None else wrap(denoiser)
                end = sample(wrapped, method.solver, times, begun, noise, callback)
                end = end if finish is None else finish(end)
                made.append(self.items.clamp(self.space.decode(end)).cpu())
        return Samples.of(torch.cat(made), self.items)

    def _batches(
        self,
        n: int,
        condition: Condition | None,
        size: tuple[int, int] | None,
        batch_size: int,
        sampling: Sampling,
        progress: Progress | None,
    ) -> Iterator[tuple[slice, Denoiser]]:
        """The rows of each batch of n, and the denoiser with their condition; what is done is counted."""
        batch_size = self.batch_of(batch_size, size)
        with one_shown(progress, "sampling") as count:
            for first in range(0, n, batch_size):
                rows = slice(first, min(first + batch_size, n))
                own = None if condition is None else condition.rows(rows)
                yield rows, self.denoiser(own, size=size, sampling=sampling)
                if count is not None:
                    count(rows.stop, n)

    def batch_of(self, batch_size: int, size: tuple[int, int] | None) -> int:
        """How many samples of this ``size`` (H, W) are a batch: as many as have ``batch_size`` windows, or one."""
        if size is None or size == self.images.shape[1:]:
            return batch_size
        return max(1, batch_size // self._tiling(size).count)

    def shape_of(self, size: tuple[int, int] | None) -> tuple[int, ...]:
        """The shape in which a sample of this ``size`` (H, W) is denoised; None: the model's own size.

        Raises InputError where there are no such samples.
        """
        size = self._read_size(size)
        return self.space.shape if size is None else (self.space.shape[0], *self._tiling(size).size)

    def _tiling(self, size: tuple[int, int]) -> Tiling:
        """The windows of pictures of this size. Raises InputError for one that the model cannot make."""
        factor, (channels, height, width) = self.space.factor, self.space.shape
        if any(side % factor for side in size):
            raise InputError(f"size: {size[0]}x{size[1]} is not of multiples of {factor}, as the autoencoder needs")
        return tiling_of((channels, height, width), (size[0] // factor, size[1] // factor))

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
                found = Condition(found, clip=guide.embed(plain_texts(prompt, len(indices))))
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
    def vary(self, images: Items, strength: float, n: int = 4, **options: Unpack[SampleOptions]) -> Tensor:
        """Variations of an image: noised as far as ``strength`` says, and back (`sumi.sampling.sdedit`).

        ``images``: one item of the model's shape or larger, of which ``n`` variations are made, or many (N, …), of each
        of which one is (and n is not used). ``strength`` in [0, 1]: 0 gives the image itself, 1/2 begins with as much
        noise as data, 1 is `sample` with nothing of the image. Variation i has the noise of sample ``start + i`` of the
        seed. ``options``: as of `sample`. Raises InputError.
        """
        n, start, seed, _ = read_indices(
            n, options.get("start", 0), options.get("seed", 0), options.get("batch_size", 64)
        )
        if options.get("x") is not None or "t" in options:
            raise InputError("x, t: follow from the images and the strength; leave them out")
        items = self.read("images", images)
        items = items.expand(n, *items.shape) if items.ndim == len(self.items.shape) else items
        size = self._size_of(items)
        now, strength = self.at_strength(strength), real("strength", strength)
        if not now.sigma:
            return items.clone()
        x = None
        if strength < 1:
            shape = self.shape_of(size)
            noise = normal(seed, range(start, start + len(items)), 0, Purpose.START, shape)
            x = self.gaussian_denoiser().process.noised(self._encoded(items), noise, now)
        return self.walk(len(items), {**options, "size": size}, x=x, t=float(now.t))

    @torch_defaults()
    def at_strength(self, strength: float) -> NoiseLevel:
        """The noise level from which `vary` goes back. Raises InputError."""
        network, std = self.gaussian_denoiser(), max(self.description.data_std, LEAST_STD)
        return at_strength(network.schedule, real("strength", strength), std, network.trained_steps)

    @torch_defaults()
    def invert(
        self,
        images: Items,
        *,
        corrections: int = 0,
        label: Labels | None = None,
        prompt: Prompts | None = None,
        condition: Mapping[str, object] | None = None,
        batch_size: int = 64,
        progress: Progress | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Tensor:
        """The noise at t = 1 that `decode` makes these items (N, …) of, float32 (N, …) on the CPU.

        By the probability-flow ODE (`sumi.sampling.inversion`, which explains ``corrections``). ``solver``: one of
        REVERSIBLE, or SOLVER@GRID. All else as of `sample`. Raises InputError.
        """
        x = self.read("images", images)
        size, method, n = self._size_of(x), self._reversible(options), len(x)
        corrections, batch_size = (
            whole("corrections", corrections, most=MOST_COUNT),
            whole("batch_size", batch_size, least=1),
        )
        self.gaussian_denoiser()
        conditioned = any(v is not None for v in (label, prompt, condition))
        sampling = self._sampling(options, conditioned=conditioned)
        given = self.condition_of(range(n), label, condition, sampling.guidance, prompt)
        found = []
        for rows, denoiser in self._batches(n, given, size, batch_size, sampling, progress):
            with torch.inference_mode():
                x_0 = self.space.encode(x[rows].to(self.device))
                found.append(invert(denoiser, method.solver, method.times, x_0, corrections).cpu())
        return torch.cat(found)

    @torch_defaults()
    def decode(
        self,
        latents: Tensor | NDArray[Any],
        *,
        label: Labels | None = None,
        prompt: Prompts | None = None,
        condition: Mapping[str, object] | None = None,
        batch_size: int = 64,
        progress: Progress | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Tensor:
        """What is sampled of the noise ``latents`` (N, …) at t = 1: the way back from `invert`, same arguments.

        Of `start_noise` it is the samples of that seed.
        """
        x = finite("latents", latents)
        given: SampleOptions = {
            **cast(SampleOptions, options),
            "label": label,
            "prompt": prompt,
            "condition": condition,
            "size": self._size_of(x, "latents", self.space),
            "batch_size": batch_size,
            "progress": progress,
        }
        return self.walk(len(x), given, x=x, method=self._reversible(options))

    @torch_defaults()
    def interpolate(
        self,
        a: Items,
        b: Items,
        n: int = 8,
        *,
        corrections: int = 0,
        label: Labels | None = None,
        prompt: Prompts | None = None,
        condition: Mapping[str, object] | None = None,
        progress: Progress | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Tensor:
        """``n`` items from a to b, of the model's shape or larger each, at even places of the way between their noise.

        `invert`, `sumi.sampling.inversion.slerp`, `decode`: the first and the last are a and b as they come back.
        ``label``, ``prompt``, ``condition``: of all. ``options``: as of `sample`. Raises InputError.
        """
        n = whole("n", n, least=2, most=MOST_COUNT)
        one, other = (self.read(name, item) for name, item in (("a", a), ("b", b)))
        if one.shape != other.shape:
            raise InputError(f"b: is of shape {tuple(other.shape)}, and a of {tuple(one.shape)}; give two of one size")
        given = {"label": label, "prompt": prompt, "condition": condition, "batch_size": 64}
        latents = self.invert(torch.stack([one, other]), corrections=corrections, progress=None, **given, **options)
        between = slerp(latents[0], latents[1], torch.linspace(0, 1, n))
        return self.decode(between, progress=progress, **given, **options)

    def read(self, name: str, given: Items) -> Tensor:
        """Items as the model takes them (`sumi.data.items`): pictures are fitted. Raises InputError."""
        match self.items:
            case AudioSpec() as audio:
                return audio.read(name, given)
            case _:
                pass
        data, shape = self.config.data, self.items.shape
        return read_items(name, given, shape, frame=data.fitting(shape), background=data.background)

    def _reversible(self, options: SamplingOptions) -> Method:
        """How the ODE is walked both ways. Raises InputError for a solver that goes one way only."""
        usual = Sampling(solver=REVERSIBLE[0], steps=self.config.sampling.steps)
        usual = replace(usual, time_grid=self.config.sampling.time_grid).replaced(options)
        if find_solver(usual.solver, "solver")[0] not in REVERSIBLE:
            raise InputError(
                f"solver: {usual.solver} leads only from noise to data; choose from {', '.join(REVERSIBLE)}"
            )
        return self.method(tuned=False, sampling=usual)

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
            raise InputError(f"{name}: are of shape {tuple(items.shape)}; the model takes {shape}, or more of them")
        factor = 1 if space is None else space.factor
        size = (factor * given[1], factor * given[2]) if pictures else None
        self._check_size(size)
        return size

    def inpaint(
        self, image: Items, mask: Items, n: int = 4, *, method: str | None = None, **options: Unpack[SampleOptions]
    ) -> Tensor:
        """``n`` times ``image`` with new pixels where ``mask`` is True; see `sumi.models.diffusion.restoration`."""
        return restoration.inpaint(self, image, mask, n, method=method, **options)

    def upscale(
        self,
        image: Items,
        factor: int | None = None,
        n: int = 4,
        *,
        method: str | None = None,
        **options: Unpack[SampleOptions],
    ) -> Tensor:
        """``n`` images ``factor`` times as large as ``image``; see `sumi.models.diffusion.restoration`."""
        return restoration.upscale(self, image, factor, n, method=method, **options)

    def restore(
        self,
        image: Items,
        operator: AnyOperator,
        noise: float = 0.0,
        n: int = 4,
        *,
        method: str | None = None,
        **options: Unpack[SampleOptions],
    ) -> Tensor:
        """``n`` images of which ``operator`` may have made ``image``; see `sumi.models.diffusion.restoration`.

        Of sound ``image`` is a clip, and all else as `sumi.models.diffusion.sound` says.
        """
        match self.items:
            case AudioSpec():
                return restore_sound(self, image, operator, noise, n, method, options)
            case _:
                pass
        return restoration.restore(self, image, operator, noise, n, method=method, **options)

    def distil(self, *, out: Path | str, **options: Any) -> "DiffusionModel | Any":
        """A student of this model for one to four steps, in the run folder ``out``: see `sumi.distil`."""
        from sumi import distil  # it trains, which needs all systems

        return distil(self, out=out, **options)

    @torch_defaults()
    def bits_per_dim(
        self,
        images: Items,
        *,
        method: Literal["bound", "ode"] = "bound",
        seed: int = 0,
        evaluations: int = 100,
        progress: Count | bool | None = None,
    ) -> Tensor:
        """How probable each of ``images`` (N, …) is: bits per dimension of the data, float64 (N,).

        Less is more probable; see `sumi.models.diffusion.likelihood.bits_per_dim`. Raises InputError.
        """
        from sumi.models.diffusion.likelihood import bits_per_dim  # its figures are drawn

        with count_shown(progress) as count:
            return bits_per_dim(self, images, method=method, seed=seed, evaluations=evaluations, progress=count)

    def how_sampled(self, *, labelled: bool = False) -> str:
        """Its solver and number of steps, and how far it is guided where samples are asked to be of a class."""
        method = self.method(tuned=not labelled)
        guided = f", {self._how_guided()}" if labelled else ""
        threshold = ", dynamic threshold" if self.config.sampling.threshold == "dynamic" else ""
        return f"{method.name}, {method.steps} steps{guided}{threshold}"

    def _how_guided(self) -> str:
        usual = self.config.sampling.guidance
        words = f"guidance {usual.scale:g}"
        if usual.interval is not None:
            low, high = usual.interval
            words += f" at sigma/alpha from {low:g} to {high:g}"
        words += f", rescaled by {usual.rescale:g}" if usual.rescale else ""
        return words if usual.negative is None else f"{words}, away from {usual.negative}"

    def preview(self) -> bytes:
        label, n = "all" if self.config.condition("labels") else None, self.items.previewed
        prompt = None if self.text is None else self.text.examples(n)
        made = self.sample(n, seed=self.config.seed, label=label, prompt=prompt, batch_size=n, progress=False)
        names = self.items.label_names
        captions = prompt if label is None else [names[index % len(names)] for index in range(n)]
        return self.items.picture(made, f"step {self.step}", captions)

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
        steps, named = sampling.steps, given_options(options).keys() - {"steps"}
        if sampling.solver == TUNED and not self.is_tuned(steps):
            raise InputError(f"solver: tuned: there is none for {steps} steps; run `sumi compare --tune {steps}`")
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

    def is_tuned(self, steps: int) -> bool:
        """Whether a method for this many steps was fitted to it."""
        return tuned_file(self.folder, self.step, steps).exists()

    @property
    def digest(self) -> str:
        """sha256 of all that a sampler sees: the weights, how they are read, and what keeps x̂_0 in range."""
        return self.digest_of(f"{self.description.identity} {self.config.sampling.threshold}")
