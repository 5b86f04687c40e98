"""A trained diffusion model, ready to use: what a run folder holds."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from sumi.conditioning.condition import Condition
from sumi.conditioning.image import ImageConditioner
from sumi.conditioning.labels import LabelConditioning
from sumi.data.images import ImageSpec
from sumi.data.spec import expect
from sumi.denoising.binomial import BinomialDenoiser
from sumi.denoising.denoiser import Denoiser, NetworkDenoiser
from sumi.errors import InputError
from sumi.guidance.guidance import Steering
from sumi.guidance.guided import by_classifier, extrapolated, thresholded
from sumi.guidance.tiling import Tiled
from sumi.guidance.vocabulary import Vocabulary
from sumi.guidance.windows import said_of_windows, tiling_of
from sumi.models.description import RunDescription
from sumi.models.diffusion.config import RunConfig
from sumi.models.diffusion.tuned import load_tuned, tuned_file
from sumi.models.model import GenerativeModel, check_indices, check_range
from sumi.process.schedule import NoiseLevel, deviation, level
from sumi.randomness import Purpose, SampleNoise, normal
from sumi.sampling.inversion import REVERSIBLE, invert, slerp
from sumi.sampling.sample import sample
from sumi.sampling.sampler import LEAST_STD, Method, build_method
from sumi.sampling.sdedit import at_strength, rest_of

OnStep = Callable[[int, NoiseLevel, Tensor], None]


class DiffusionModel(GenerativeModel):
    """A denoiser with all that is needed to make images, or vectors, of it."""

    what: ClassVar[str] = "diffusion models"

    def __init__(
        self, description: RunDescription, denoiser: NetworkDenoiser | BinomialDenoiser, step: int, folder: Path
    ) -> None:
        if not isinstance(description.config, RunConfig):
            raise InputError(f"{folder}: is a run of {description.config.recipe}, and this is for {self.what}")
        super().__init__(description, denoiser, step, folder)
        self._config, self.network_denoiser = description.config, denoiser

    @property
    def config(self) -> RunConfig:
        return self._config

    def denoiser(
        self,
        condition: Condition | None = None,
        guidance: float | None = None,
        steering: Steering | None = None,
        size: tuple[int, int] | None = None,
    ) -> Denoiser:
        """D(x_t, t), guided and with x̂_0 kept in [-1, 1] as the configuration says where nothing else is.

        ``condition``: what is said of each sample; None: nothing. ``guidance``: the scale of classifier-free guidance,
        1 for none; None: the configuration's. ``steering``: that and what else guides. ``size``: (H, W) of
        the pictures, larger than the model's and denoised in windows (`sumi.guidance.windows`); None: the model's.
        Raises InputError where the model was not trained for what is said, for steering that has nothing to steer by,
        and for a size below the model's.
        """
        if size is not None and size != self.images.shape[1:]:
            shape = self.images.shape
            said = None if condition is None else said_of_windows(condition, shape, size)
            return Tiled(self.denoiser(said, guidance, steering), tiling_of(shape, size))
        steering = steering or Steering()
        if guidance is not None:
            steering = replace(steering, guidance=guidance)
        told, sampling, vocabulary = condition, self.config.sampling, self.vocabulary
        if told is not None and steering.classifier is not None and not vocabulary.knows_labels:
            told = replace(told, labels=None)  # they are for the classifier alone
            told = told if told.parts() else None
        found: Denoiser = self.network_denoiser
        if isinstance(self.network_denoiser, NetworkDenoiser):
            found = extrapolated(self.network_denoiser, told, steering, vocabulary, self.items.shape, sampling)
        elif condition is not None or replace(steering, threshold=None) != Steering():
            self.gaussian_denoiser()
        found = by_classifier(found, condition, steering, vocabulary, sampling)
        return thresholded(found, steering.threshold or sampling.threshold)

    @property
    def vocabulary(self) -> Vocabulary:
        """What may be said of its samples."""
        return Vocabulary(self.config.conditioning, self.items.label_names)

    def labels_of(
        self, indices: Sequence[int], label: str | None, steering: Steering | None = None
    ) -> Condition | None:
        """The classes of these items for ``label``: a class's name, "all" for one after the other, or None for none.

        A model that knows none may be steered by a classifier that does. Raises InputError where there is no such
        class, or the model knows none.
        """
        if label is None:
            return None
        if not self.vocabulary.knows_labels and (steering is None or steering.classifier is None):
            raise InputError(
                f"--label {label}: this model was trained without; train classifier-free, or add --classifier"
            )
        return self.vocabulary.of_label(indices, label)

    def of_values(self, n: int, values: Mapping[str, float]) -> Condition:
        """See `Vocabulary.of_values`."""
        return self.vocabulary.of_values(n, values)

    def gaussian_denoiser(self) -> NetworkDenoiser:
        """The denoiser as it was trained. Raises InputError where the process is binomial."""
        if not isinstance(self.network_denoiser, NetworkDenoiser):
            raise InputError(f"{self.folder}: noises bits, and this is for Gaussian noise; choose another run")
        return self.network_denoiser

    @torch.inference_mode()
    def sample(
        self,
        n: int = 16,
        *,
        steps: int | None = None,
        solver: str | None = None,
        eta: float | None = None,
        seed: int = 0,
        start: int = 0,
        label: str | Tensor | None = None,
        condition: Condition | None = None,
        guidance: float | None = None,
        steering: Steering | None = None,
        size: tuple[int, int] | None = None,
        batch_size: int = 64,
        wrap: Callable[[Denoiser], Denoiser] | None = None,
        x: Tensor | None = None,
        t: float = 1.0,
        on_step: OnStep | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """Items ``start`` … ``start + n - 1`` of ``seed``, float32 on the CPU: images (n, C, H, W) in [-1, 1], of
        ``size`` (H, W) where that is given (see `denoiser`), or vectors (n, D) in the model's units.

        Item i of a seed has bit-identical noise whatever n, start and batch_size. ``steps``, ``solver`` and ``eta``:
        see `method`.
        ``label``: the class of all, "all" for one class after the other, or a tensor (n,) of classes; ``condition``:
        anything else that is said of each of the n; ``guidance``, ``steering``: see `denoiser`. ``wrap`` makes
        another denoiser of the model's own, such as one that is multiplied by a second distribution. A batch of
        larger pictures has as many windows as ``batch_size`` says, if more than one picture. ``x`` (n, …): where to
        begin instead of `start_noise`, at the time ``t``, from where the rest of the sampler's times are walked; a
        tuned solver walks only all of them, and knows one size. ``on_step(step, level, x)`` sees each batch
        after each step, ``progress(done, total)`` counts items. Raises InputError for values out of range.
        """
        check_indices(n, start, seed, batch_size)
        if solver == "tuned" and t < 1:
            raise InputError("--solver tuned: walks all of its times, and this begins on the way; choose another")
        shape = self.shape_of(size)
        larger = shape != self.items.shape
        if size is not None and larger:
            if solver == "tuned":
                raise InputError("--solver tuned: was fitted to pictures of the model's own size; choose another")
            batch_size = max(1, batch_size // tiling_of(self.images.shape, size).count)
        alone = label is None and condition is None and steering is None and not larger
        method = self.method(steps, solver, eta, tuned=alone and t == 1)
        times = method.times if t == 1 else rest_of(method.times, t)
        said = self.said(range(start, start + n), label, condition, steering)
        if x is not None and x.shape != (n, *shape):
            raise InputError(f"x: is of shape {tuple(x.shape)}; the model takes {(n, *shape)} here")
        made = []
        for first in range(start, start + n, batch_size):
            indices = range(first, min(first + batch_size, start + n))
            rows = slice(indices.start - start, indices.stop - start)
            denoiser = self.denoiser(None if said is None else said.rows(rows), guidance, steering, size)
            denoiser = denoiser if wrap is None else wrap(denoiser)
            noise = SampleNoise(seed, indices, shape, device=self.device)
            begun = self.start_noise(indices, seed, shape) if x is None else x[rows].to(self.device)
            end = sample(denoiser, method.solver, times, begun, noise, on_step)
            made.append(self.items.clamp(end).cpu())
            if progress is not None:
                progress(rows.stop, n)
        return torch.cat(made)

    def shape_of(self, size: tuple[int, int] | None) -> tuple[int, ...]:
        """The shape of a sample of this ``size`` (H, W); None: the model's. Raises InputError where there are none."""
        if size is None:
            return self.items.shape
        why = f"--size: {self.folder} is a model of {self.items.name}, which have none; leave it out"
        images = expect(self.items, ImageSpec, why)
        if size != images.shape[1:] and isinstance(self.gaussian_denoiser().conditioner, ImageConditioner):
            raise InputError(f"--size: {self.folder} paints what it is given; use inpaint, upscale or restore")
        return images.channels, *tiling_of(images.shape, size).size

    def said(
        self,
        indices: Sequence[int],
        label: str | Tensor | None,
        condition: Condition | None,
        steering: Steering | None = None,
    ) -> Condition | None:
        """What is said of these items by a label, as of `sample`, or by a condition. Raises InputError."""
        n = len(indices)
        if label is not None and condition is not None:
            raise InputError("label: is part of the condition, and one is given; give one of them")
        if isinstance(label, Tensor):
            if label.shape != (n,):
                raise InputError(f"label: {tuple(label.shape)} classes for {n} items; give one for each")
            return Condition(labels=label)
        if condition is not None and {len(part) for part in condition.parts().values()} != {n}:
            raise InputError(f"condition: is not of {n} items; give one row for each")
        return self.labels_of(indices, label, steering) if condition is None else condition

    @torch.inference_mode()
    def vary(
        self,
        images: Tensor,
        strength: float,
        *,
        n: int = 4,
        steps: int | None = None,
        solver: str | None = None,
        eta: float | None = None,
        seed: int = 0,
        start: int = 0,
        label: str | Tensor | None = None,
        condition: Condition | None = None,
        guidance: float | None = None,
        steering: Steering | None = None,
        batch_size: int = 64,
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """Variations of an image: noised as far as ``strength`` says, and back (`sumi.sampling.sdedit`).

        ``images``: one item of the model's shape, of which ``n`` variations are made, or many (N, …), of each of which
        one is (and n is not used). ``strength`` in [0, 1]: 0 gives the image itself, 1/2 begins with as much noise as
        data, 1 is `sample` with nothing of the image. Variation i has the noise of sample ``start + i`` of the seed.
        All else as of `sample`. Raises InputError.
        """
        shape = self.items.shape
        check_indices(n, start, seed, batch_size)
        items = images.float().expand(n, *shape) if images.shape == shape else images.float()
        self._check_items(items)
        network, std = self.gaussian_denoiser(), max(self.description.data_std, LEAST_STD)
        now = at_strength(network.schedule, strength, std, network.grid)
        if not now.sigma:
            return items.cpu().clone()
        x = None
        if strength < 1:
            noise = normal(seed, range(start, start + len(items)), 0, Purpose.START, shape)
            x = network.noised(items.cpu(), noise, now)
        return self.sample(
            len(items),
            steps=steps,
            solver=solver,
            eta=eta,
            seed=seed,
            start=start,
            label=label,
            condition=condition,
            guidance=guidance,
            steering=steering,
            batch_size=batch_size,
            x=x,
            t=float(now.t),
            progress=progress,
        )

    @torch.inference_mode()
    def invert(
        self,
        images: Tensor,
        *,
        steps: int | None = None,
        solver: str = REVERSIBLE[0],
        corrections: int = 0,
        label: str | Tensor | None = None,
        condition: Condition | None = None,
        guidance: float | None = None,
        batch_size: int = 64,
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """The noise at t = 1 that `decode` makes these items (N, …) of, float32 (N, …) on the CPU.

        By the probability-flow ODE (`sumi.sampling.inversion`, which explains ``corrections``). ``solver``: one of
        REVERSIBLE, or SOLVER@GRID. All else as of `sample`. Raises InputError.
        """
        self._check_items(images)
        self.gaussian_denoiser()
        method, n = self._reversible(steps, solver), len(images)
        said = self.said(range(n), label, condition)
        found = []
        for first in range(0, n, batch_size):
            rows = slice(first, min(first + batch_size, n))
            denoiser = self.denoiser(None if said is None else said.rows(rows), guidance)
            x_0 = images[rows].float().to(self.device)
            found.append(invert(denoiser, method.solver, method.times, x_0, corrections).cpu())
            if progress is not None:
                progress(rows.stop, n)
        return torch.cat(found)

    def decode(
        self,
        latents: Tensor,
        *,
        steps: int | None = None,
        solver: str = REVERSIBLE[0],
        label: str | Tensor | None = None,
        condition: Condition | None = None,
        guidance: float | None = None,
        batch_size: int = 64,
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """What is sampled of the noise ``latents`` (N, …) at t = 1: the way back from `invert`, same arguments.

        Of `start_noise` it is the samples of that seed.
        """
        self._reversible(steps, solver)
        return self.sample(
            len(latents),
            steps=steps,
            solver=solver,
            label=label,
            condition=condition,
            guidance=guidance,
            batch_size=batch_size,
            x=latents,
            progress=progress,
        )

    def interpolate(
        self,
        a: Tensor,
        b: Tensor,
        n: int = 8,
        *,
        steps: int | None = None,
        solver: str = REVERSIBLE[0],
        corrections: int = 0,
        label: str | None = None,
        guidance: float | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """``n`` items from a to b, of the model's shape each, at even places of the way between their noise.

        `invert`, `sumi.sampling.inversion.slerp`, `decode`: the first and the last are a and b as they come back.
        ``label``: the class of all. Raises InputError.
        """
        check_range(n=n, least=2)
        how = {"steps": steps, "solver": solver, "label": label, "guidance": guidance}
        latents = self.invert(torch.stack([a, b]), corrections=corrections, **how)
        between = slerp(latents[0], latents[1], torch.linspace(0, 1, n))
        return self.decode(between, progress=progress, **how)

    def _reversible(self, steps: int | None, solver: str) -> Method:
        """How the ODE is walked both ways. Raises InputError for a solver that goes one way only."""
        if solver.partition("@")[0] not in REVERSIBLE:
            raise InputError(f"--solver {solver}: leads only from noise to data; choose from {', '.join(REVERSIBLE)}")
        return self.method(steps, solver, tuned=False)

    def _check_items(self, items: Tensor) -> None:
        shape = self.items.shape
        if items.shape[1:] != shape or not len(items):
            raise InputError(f"images: are of shape {tuple(items.shape)}; the model takes {shape}, or more of them")

    def how_sampled(self, *, labelled: bool = False) -> str:
        """Its solver and number of steps, and how far it is guided where samples are asked to be of a class."""
        method = self.method(tuned=not labelled)
        guided = f", {self._how_guided()}" if labelled else ""
        threshold = ", dynamic threshold" if self.config.sampling.threshold == "dynamic" else ""
        return f"{method.name}, {method.steps} steps{guided}{threshold}"

    def _how_guided(self) -> str:
        usual = self.config.sampling
        words = f"guidance {usual.guidance:g}"
        if usual.guidance_interval is not None:
            low, high = usual.guidance_interval
            words += f" at sigma/alpha from {low:g} to {high:g}"
        return words + (f", rescaled by {usual.guidance_rescale:g}" if usual.guidance_rescale else "")

    def preview(self) -> bytes:
        label, n = "all" if isinstance(self.config.conditioning, LabelConditioning) else None, self.items.previewed
        return self.drawn(self.sample(n, seed=self.config.seed, label=label, batch_size=n), f"step {self.step}")

    def start_noise(self, indices: Sequence[int], seed: int, shape: tuple[int, ...] | None = None) -> Tensor:
        """x at t = 1 of these items of a seed: (len(indices), …), with the deviation of noised data there.

        ``shape`` of one item; None: the model's.

        The data's mean, times alpha(1), is left out: exact where the schedule ends with no data. Raises InputError for
        a negative seed.
        """
        check_range(seed=seed, least=0)
        noise = normal(seed, indices, 0, Purpose.START, shape or self.items.shape, device=self.device)
        return self.network_denoiser.start(noise, self.prior_std)

    @property
    def prior_std(self) -> float:
        """The deviation of x at t = 1, where sampling begins: √(alpha² s² + sigma²), with s that of the data."""
        return float(deviation(level(self.network_denoiser.schedule, 1.0), self.description.data_std))

    def method(
        self, steps: int | None = None, solver: str | None = None, eta: float | None = None, *, tuned: bool = True
    ) -> Method:
        """How it samples: the configuration's solver and steps where none are named, DDIM where only its η is.

        Where no solver is named and one was tuned to this model and number of steps, it is that one; ``tuned`` demands
        it as a solver, and False as an argument leaves it out: what is guided is another field. Raises InputError for
        what `build_method` refuses, and where nothing was tuned.
        """
        config = self.config.sampling
        steps = config.steps if steps is None else steps
        if solver == "tuned" and eta is not None:
            raise InputError("--eta: tuned draws no noise; leave it out, or choose ddim")
        if solver == "tuned" and not self.is_tuned(steps):
            raise InputError(f"--solver tuned: there is none for {steps} steps; run `sumi compare --tune {steps}`")
        if solver == "tuned" or (solver is None and eta is None and tuned and self.is_tuned(steps)):
            return load_tuned(tuned_file(self.folder, self.step, steps), self.digest, steps)
        return build_method(
            solver or (config.solver if eta is None else "ddim"),
            steps,
            self.network_denoiser.schedule,
            time_grid=config.time_grid,
            data_std=self.description.data_std,
            grid=self.network_denoiser.grid,
            eta=eta,
            bits=isinstance(self.network_denoiser, BinomialDenoiser),
        )

    def is_tuned(self, steps: int) -> bool:
        """Whether a method for this many steps was fitted to it."""
        return tuned_file(self.folder, self.step, steps).exists()

    @property
    def digest(self) -> str:
        """sha256 of all that a sampler sees: the weights, how they are read, and what keeps x̂_0 in range."""
        found = hashlib.sha256(f"{self.description.identity} {self.config.sampling.threshold}".encode())
        for name, value in sorted(self.network_denoiser.state_dict().items()):
            found.update(name.encode())
            found.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
        return found.hexdigest()
