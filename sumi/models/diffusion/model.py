"""A trained diffusion model, ready to use: what a run folder holds.

All that samples goes one way, `DiffusionModel.walk`: which items, from where, with which solver, how guided. What is
left out is as the run was configured; options replace it for once (`sumi.sampling.sampler.SamplingOptions`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Unpack, cast

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sumi.boundary.arguments import MOST_COUNT, finite, real, shown, torch_defaults, whole
from sumi.boundary.progress import Count, count_shown, one_shown
from sumi.conditioning.condition import Condition
from sumi.conditioning.labels import Labels
from sumi.conditioning.text import Prompts
from sumi.data.audio import AudioSpec
from sumi.data.items import Items
from sumi.denoising.denoiser import Denoiser
from sumi.errors import InputError
from sumi.guidance.renoising import renoised_unguided
from sumi.guidance.steering import PARTICLES, Potential, Reward
from sumi.models.diffusion import particles as particle
from sumi.models.diffusion import restoration
from sumi.models.diffusion.evaluations import counted, networks_of
from sumi.models.diffusion.options import Progress, SampleOptions, WalkOptions, sampling_options
from sumi.models.diffusion.sound import restore_sound
from sumi.models.diffusion.trained_denoiser import TrainedDenoiser
from sumi.models.model import finite_samples, read_indices
from sumi.models.samples import Samples
from sumi.operators.linear import AnyOperator
from sumi.randomness import Purpose, SampleNoise, normal
from sumi.sampling.inversion import REVERSIBLE, invert, slerp
from sumi.sampling.sample import Callback, sample
from sumi.sampling.sampler import LEAST_STD, PLUS_PLUS, TUNED, Method, Sampling, SamplingOptions, find_solver
from sumi.sampling.sdedit import rest_of, spread
from sumi.sampling.solvers.restart import Restart, restarted, turns
from sumi.sampling.solvers.solver import Noise
from sumi.sampling.stated_error import MOST_STEPS, Stated, on_grid, refuse_unstated, sample_to

DenoiserOf = Callable[[Tensor | None], Denoiser]
"""The denoiser of all rows of a batch (None), or of some, with their condition."""


@dataclass(frozen=True)
class _Batch:
    """Samples that begin at ``begun`` (n, …), at the time ``t``, and what takes them to the data."""

    begun: Tensor
    t: float
    denoiser_of: DenoiserOf
    wrap: Callable[[Denoiser], Denoiser] | None
    noise: Noise
    callback: Callback | None

    def times(self, how: Method) -> Tensor:
        return rest_of(how.times, self.t)

    def walked(self, how: Method, rows: Tensor | None = None) -> Tensor:
        """The end of each sample, or of these ``rows``."""
        denoiser = self.denoiser_of(rows)
        denoiser = denoiser if self.wrap is None else self.wrap(denoiser)
        begun = self.begun if rows is None else self.begun[rows.to(self.begun.device)]
        return sample(denoiser, how.solver, self.times(how), begun, self.noise, self.callback)


class DiffusionModel(TrainedDenoiser):
    """A denoiser with all that is needed to make images, or vectors, of it."""

    what: ClassVar[str] = "diffusion models"

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
        **options: Unpack[WalkOptions],
    ) -> Tensor:
        """Items ``start`` … ``start + n - 1`` of ``seed``, float32 on the CPU: images (n, C, H, W) in [-1, 1], of
        ``size`` (H, W) where that is given (see `denoiser`), or vectors (n, D) in the model's units.

        Item i of a seed has bit-identical noise whatever n, start and batch_size. ``label``: the class of all by name
        or number, "all" for one class after the other, or n classes; ``prompt``: a text for all, or n of them, which
        may hold weights and blends (`sumi.conditioning.prompt`); ``condition``: what else the model is conditioned on,
        by name, such as {"values": {"brightness": 0.2}}, or a `Condition` of n rows.
        ``progress(done, total)`` counts items; True shows it, and None does so in a notebook alone. A batch of larger
        pictures has as many windows as ``batch_size`` says, if more than one picture.
        ``options`` replace fields of the run's `Sampling`: solver, steps, error, time_grid, eta, guidance (its scale,
        or a whole `Guidance`), threshold, restart (its repeats, or a whole `Restart`). ``callback(step, level, x)``
        sees each batch after each step. ``x`` (n, …): where to begin instead of the seed's noise, at the time ``t``
        (see `walk`). Raises InputError for values out of range.
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
        method: Callable[[int | None], Method] | None = None,
        wrap: Callable[[Denoiser], Denoiser] | None = None,
        finish: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """`sample` with its ``options``, from anywhere and of another denoiser.

        ``x`` (n, …): where to begin instead of `start_noise`, at the time ``t``, from where the rest of the method's
        times are walked; a tuned solver walks only all of them, and only pictures of the model's size. ``method``:
        of so many steps (None: those of the options), instead of the one that the options name. ``wrap`` makes another
        denoiser of the model's own, such as one that is multiplied by a second distribution. ``finish(x)`` makes
        samples of the end of a batch, before the clamp to [-1, 1] of images. Raises InputError as `sample`.
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
        method_in = method or self._method_in(settings, tuned=not conditioned and not larger and t == 1)
        how = method_in(None)
        if sampling.error is not None:
            refuse_unstated(how.name, how.solver)
            if not sampling.guidance.has_ode:
                own = "cfg++" if sampling.guidance.method == PLUS_PLUS else "the momentum of apg"
                raise InputError(f"error: {own} depends on the number of steps, so there is no end to be near to")
            if callback is not None:
                raise InputError("callback: follows one grid, and error takes several; give steps")
        named = any(settings.get(name) is not None for name in ("restart", "sampling"))
        if sampling.restart.repeats and (named or (wrap is None and method is None)):
            if wrap is not None or method is not None or sampling.solver == TUNED:
                raise InputError("restart: is of samples alone, by a solver that is not tuned; give 0")
            how = self._restarted(how, sampling.restart)
        if sampling.guidance.method == PLUS_PLUS:
            if wrap is not None or method is not None:
                raise InputError("guidance.method: cfg++ is of samples alone; give cfg or apg")
            how = replace(how, solver=renoised_unguided(how.name, how.solver))
        x = None if x is None else finite("x", x)
        if x is not None and x.shape != (n, *shape):
            raise InputError(f"x: is of shape {tuple(x.shape)}; the model takes {(n, *shape)} here")
        given = self.condition_of(range(start, start + n), label, condition, sampling.guidance, prompt)
        made, stated = list[Tensor](), list[Stated]()
        for rows, denoiser_of in self._batches(n, given, size, batch_size, sampling, options.get("progress")):
            indices = range(start + rows.start, start + rows.stop)
            noise = SampleNoise(seed, indices, shape, device=self.device)
            with torch.inference_mode():
                begun = self.start_noise(indices, seed, shape) if x is None else x[rows].to(self.device)
                batch = _Batch(begun, t, denoiser_of, wrap, noise, callback)
                if sampling.error is None:
                    end = batch.walked(how)
                else:
                    networks, windows = networks_of(self, sampling.guidance), self.windows_of(size)
                    stated.append(self._stated(batch, method_in, sampling.error, networks, windows))
                    end = stated[-1].x
                end = end if finish is None else finish(end)
                made.append(self.items.clamp(self.space.decode(end)).cpu())
        return Samples.of(torch.cat(made), self.items, stated)

    def restarts(self, t: float = 1.0, **options: Unpack[SamplingOptions]) -> int:
        """How often samples that begin at ``t`` go back up to more noise, by ``options`` or as the run is configured.

        Raises InputError as `sample`.
        """
        restart = self.config.sampling.replaced(options).restart
        if not (restart.repeats and t):
            return 0
        return turns(rest_of(self._restarted(self.method(tuned=False, **options), restart).times, t))

    def _restarted(self, how: Method, restart: Restart) -> Method:
        solver = restarted(how.name, how.solver)
        return replace(how, solver=solver, times=restart.times(how.times, self.gaussian_denoiser().schedule))

    def _stated(
        self,
        batch: "_Batch",
        method_in: Callable[[int | None], Method],
        error: float,
        networks: Sequence[nn.Module],
        windows: int,
    ) -> Stated:
        """The batch, walked until each sample is by estimate so near to the end of its ODE.

        The evaluations are those of ``networks``; all ``windows`` of a sample are evaluated at once, and count once.
        """
        grid = self.network_denoiser.trained_steps
        finest = method_in(min(MOST_STEPS, grid or MOST_STEPS))
        most = len(batch.times(finest)) - 1

        def walk(steps: int, rows: Tensor) -> tuple[Tensor, int]:
            how = method_in(steps)
            if batch.t < 1:
                how = replace(how, times=spread(batch.times(finest), steps, grid))
            with counted(networks) as evaluations:
                end = batch.walked(replace(how, solver=on_grid(how.solver, steps)), rows)
            return end, evaluations.rows // (windows * len(rows))

        std = max(self.description.data_std, LEAST_STD)
        return sample_to(walk, len(batch.begun), error, std, most, finest.solver.order)

    def _method_in(self, settings: SamplingOptions, *, tuned: bool) -> Callable[[int | None], Method]:
        """The method that the options name, in so many steps; None: in their own."""

        def method(steps: int | None) -> Method:
            own: SamplingOptions = settings if steps is None else {**settings, "steps": steps, "error": None}
            return self.method(tuned=tuned and steps is None, **own)

        return method

    def _batches(
        self,
        n: int,
        condition: Condition | None,
        size: tuple[int, int] | None,
        batch_size: int,
        sampling: Sampling,
        progress: Progress | None,
    ) -> Iterator[tuple[slice, "DenoiserOf"]]:
        """The rows of each batch of n, and the denoiser with the condition of all, or some, of them; what is done is
        counted.
        """
        batch_size = self.batch_of(batch_size, size)
        with one_shown(progress, "sampling") as count:
            for first in range(0, n, batch_size):
                rows = slice(first, min(first + batch_size, n))
                own = None if condition is None else condition.rows(rows)

                def denoiser_of(some: Tensor | None, own: Condition | None = own) -> Denoiser:
                    whole = own is None or some is None
                    return self.denoiser(own if whole else own.rows(some), size=size, sampling=sampling)

                yield rows, denoiser_of
                if count is not None:
                    count(rows.stop, n)

    def steer(
        self,
        reward: Reward,
        n: int = 16,
        *,
        particles: int = PARTICLES,
        scale: float = 1.0,
        potential: Potential = "difference",
        **options: Unpack[SampleOptions],
    ) -> Tensor:
        """`sample`, each of ``n`` samples being one of ``particles`` that are steered towards a ``reward``.

        ``reward(images)``: one number for each of (N, C, H, W) in [-1, 1], or vectors (N, D): the more the better;
        `sumi.models.rewards.reward_of` makes one of a classifier, a CLIP or a judge. Samples follow the model's
        p(x) exp(scale · reward(x)) the better, the more particles (`sumi.guidance.steering`, which explains
        ``potential``). ``options``: as of `sample`; the solver is ddpm unless one is named that draws noise. With one
        particle samples are those of that solver. Raises InputError.
        """
        return particle.steer(self, reward, n, particles, scale, potential, options)

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
            return Samples.of(items.clone(), self.items)
        x = None
        if strength < 1:
            shape = self.shape_of(size)
            noise = normal(seed, range(start, start + len(items)), 0, Purpose.START, shape)
            x = self.gaussian_denoiser().process.noised(self._encoded(items), noise, now)
        return self.walk(len(items), {**options, "size": size}, x=x, t=float(now.t))

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
        if sampling.guidance.method == PLUS_PLUS:
            raise InputError("guidance.method: cfg++ leads only from noise to data; give cfg or apg")
        given = self.condition_of(range(n), label, condition, sampling.guidance, prompt)
        found = []
        for rows, denoiser_of in self._batches(n, given, size, batch_size, sampling, progress):
            with torch.inference_mode():
                x_0 = self.space.encode(x[rows].to(self.device))
                found.append(invert(denoiser_of(None), method.solver, method.times, x_0, corrections).cpu())
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
        method = self._reversible(options)
        return self.walk(len(x), {**given, "steps": method.steps}, x=x, method=lambda _: method)

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

    def _reversible(self, options: SamplingOptions) -> Method:
        """How the ODE is walked both ways. Raises InputError for a solver that goes one way only, and for an error."""
        if options.get("error") is not None:
            raise InputError("error: is stated of samples, and the way back takes the same steps; give steps")
        usual = Sampling(solver=REVERSIBLE[0], steps=self.config.sampling.steps)
        usual = replace(usual, time_grid=self.config.sampling.time_grid).replaced(options)
        if find_solver(usual.solver, "solver")[0] not in REVERSIBLE:
            raise InputError(
                f"solver: {usual.solver} leads only from noise to data; choose from {', '.join(REVERSIBLE)}"
            )
        method = self.method(tuned=False, sampling=usual)
        if method.solver.draws_noise:
            raise InputError(f"eta: {method.name} with noise leads only from noise to data; give 0, or leave it out")
        return method

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
        operator: AnyOperator | str,
        noise: float | None = None,
        n: int = 4,
        *,
        method: str | None = None,
        **options: Unpack[SampleOptions],
    ) -> Tensor:
        """``n`` images that ``operator`` may have turned into ``image``: `sumi.models.diffusion.restoration.restore`.

        For sound, ``image`` is a clip, and all else is as in `sumi.models.diffusion.sound.restore_sound`.
        """
        match self.items:
            case AudioSpec():
                return restore_sound(self, image, operator, noise or 0.0, n, method, options)
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

    def preview(self) -> bytes:
        label, n = "all" if self.config.condition("labels") else None, self.items.previewed
        prompt = None if self.text is None else self.text.examples(n)
        made = self.sample(n, seed=self.config.seed, label=label, prompt=prompt, batch_size=n, progress=False)
        names = self.items.label_names
        captions = prompt if label is None else [names[index % len(names)] for index in range(n)]
        return self.items.picture(finite_samples(made), f"step {self.step}", captions)
