"""Pictures restored with a trained model, trained for it or not: painted in, made larger, deblurred.

What is left of a picture is a measurement y = A x_0 + s n (`sumi.restoration`), and candidates are draws of what the
model holds for probable given y, as well as a method can (METHODS). A model that was trained on such measurements
(`sumi.restoration.condition`) is told y and sampled as any other: the method called "trained". Candidate i of a seed
has the noise of sample i of that seed, and is the same alone or in a batch.

Without noise (s = 0) and with a linear A, candidates measure y: the solver ends with the projection on {x : A x = y},
and this one goes on by turns with that on [-1, 1] until both hold (von Neumann's alternating projections: both sets are
convex, and meet where y comes of a picture). For a mask one turn does, and known pixels are the picture's to the bit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from sumi.conditioning.image import SmallConditioning
from sumi.config import nearest
from sumi.denoising.denoiser import Denoiser
from sumi.errors import InputError
from sumi.guidance.guidance import Steering
from sumi.guidance.thresholding import StaticThreshold
from sumi.models.diffusion.model import DiffusionModel
from sumi.operators.linear import Mask, Operator
from sumi.operators.separable import box
from sumi.process.schedule import level
from sumi.randomness import SampleNoise
from sumi.restoration.condition import condition_of, trained_for
from sumi.restoration.dps import DPS
from sumi.restoration.measurement import Measurement
from sumi.restoration.null_space import DDNM
from sumi.restoration.posterior import MomentMatching, PseudoinverseGuidance
from sumi.restoration.replacement import DataConsistency, RePaint, repaint_times
from sumi.sampling.sample import sample
from sumi.sampling.sampler import LEAST_STD, Method

AnyOperator = Operator | Callable[[Tensor], Tensor]

TURNS: Final = 1000
"""Of alternating projections, at most."""
ITERATIONS: Final = 2
"""Of moment matching's conjugate gradients: a network's ∂x̂_0/∂x_t is no covariance, and more make it worse."""
ZETA: Final = 2.0
"""Of DPS's steps; with 50 of them 1 is too short."""
JUMP, RESAMPLINGS = 5, 5
"""RePaint's; with 50 steps 160 evaluations."""

ANCESTRAL: Final = "ddpm"
"""The usual solver. By the ODE candidates of photographs are much too rough (docs/results.md)."""
TRAINED: Final = "trained"
METHODS: Final = ("moment_matching", "pigdm", "dps", "ddnm", "repaint")
"""For a model that was not trained to restore."""
DEFAULT: Final = "moment_matching"
"""For linear operators, as measured (docs/restoration.md)."""
NONLINEAR: Final = "dps"


@dataclass(frozen=True)
class How:
    """Which candidates: ``start`` … ``start + n - 1`` of ``seed``; and how they are found.

    ``method``: TRAINED or one of METHODS; None: see `method_for`. ``steps``, ``solver``, ``label``, ``guidance`` and
    ``steering``: as of `DiffusionModel.sample`; methods other than TRAINED clamp x̂_0 themselves and take no threshold.
    ``progress(done, total)`` counts candidates. Raises InputError for an unknown method, and numbers out of range.
    """

    n: int = 4
    seed: int = 0
    steps: int | None = None
    solver: str = ANCESTRAL
    method: str | None = None
    start: int = 0
    label: str | None = None
    guidance: float | None = None
    steering: Steering | None = None
    batch_size: int = 64
    progress: Callable[[int, int], None] | None = None

    def __post_init__(self) -> None:
        names = (TRAINED, *METHODS)
        if self.method is not None and self.method not in names:
            raise InputError(f"--method {self.method}: there is none of that name; {nearest(self.method, names)}")
        for name, value, least in (("-n", self.n, 1), ("seed", self.seed, 0), ("start", self.start, 0)):
            if not least <= value < 2**64:
                raise InputError(f"{name}: {value} is out of range; give {least} or more, below 2^64")
        if self.batch_size < 1:
            raise InputError(f"batch_size: {self.batch_size} is out of range; give 1 or more")


def method_for(model: DiffusionModel, operator: AnyOperator, how: How, noise: float = 0.0) -> str:
    """The name of the method: "trained" where the model is, else DEFAULT, or NONLINEAR, the only one for an operator
    that is not linear.

    Raises InputError where "trained" is asked for and it is not.
    """
    trained = trained_for(model.config.conditioning, operator, noise)
    if how.method == TRAINED and not trained:
        raise InputError(
            f"--method {TRAINED}: this run was not trained for that; train inpaint, upscale or colourise, or leave "
            "--method out"
        )
    if how.method is None and trained:
        return TRAINED
    return how.method or (DEFAULT if isinstance(operator, Operator) else NONLINEAR)


def usual_factor(model: DiffusionModel) -> int:
    """How many times as large a picture is made: what the model was trained for, else twice."""
    conditioning = model.config.conditioning
    return conditioning.factor if isinstance(conditioning, SmallConditioning) else 2


def inpaint(model: DiffusionModel, image: Tensor, mask: Tensor, how: How | None = None) -> Tensor:
    """``image`` (C, H, W) in [-1, 1] with the pixels painted in where ``mask``, bool (H, W), is True.

    It is as large as the model's or larger (`sumi.guidance.windows`). The other pixels are the image's to the bit.
    The rest is as of `restore`. Raises InputError also for a mask with nothing to paint, or nothing to keep.
    """
    size = _size(model, image)
    _check_shape("mask", mask, size)
    if not bool(mask.any()):
        raise InputError("mask: is black all over, with nothing to paint; make white what is to be painted")
    if bool(mask.all()):
        raise InputError("mask: is white all over, with nothing to keep; use `sumi sample` for a new image")
    return restore(model, image, Mask(mask), how, size=size)


def upscale(model: DiffusionModel, image: Tensor, factor: int | None = None, how: How | None = None) -> Tensor:
    """Images ``factor`` times as large as ``image`` (C, H/factor, W/factor), whose squares have its pixels as means.

    ``factor`` is by default what the model was trained for, else 2. The rest is as of `restore`. Raises InputError also
    for a factor that does not divide the model's sides.
    """
    _, height, width = model.images.shape
    factor = usual_factor(model) if factor is None else factor
    if factor < 2 or height % factor or width % factor:
        raise InputError(f"factor: {factor} does not divide {height} × {width}, the model's size; give 2, or another")
    size = _size(model, image, factor)
    return restore(model, image, box(*size, factor), how, size=size)


@torch.inference_mode()
def restore(
    model: DiffusionModel,
    image: Tensor,
    operator: AnyOperator,
    how: How | None = None,
    noise: float = 0.0,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """What ``operator`` may have made ``image`` of: that is A x_0, without the batch's axis, with noise of deviation
    ``noise``. Candidates are float32 (n, C, H, W) in [-1, 1], on the CPU. ``size`` (H, W) is that of x_0, the model's
    or larger (`sumi.guidance.windows`); None: the model's.

    Raises InputError: shapes that do not fit, a method that cannot take the operator or noise ("ddnm" and "repaint"
    take none), and a model of vectors or bits.
    """
    channels, *own = model.images.shape
    height, width = size or own
    shape = (channels, height, width)
    model.gaussian_denoiser()
    how = how or How()
    known = Measurement(operator, image[None].float().to(model.device), noise)
    known.residual(torch.zeros(1, *shape, device=model.device))
    made: list[Tensor] = []
    end = how.start + how.n
    for first in range(how.start, end, how.batch_size):
        indices = range(first, min(first + how.batch_size, end))
        made.append(candidates(model, known, indices, how, shape).cpu())
        if how.progress is not None:
            how.progress(indices.stop - how.start, how.n)
    return torch.cat(made)


@torch.inference_mode()
def candidates(
    model: DiffusionModel, known: Measurement, indices: Sequence[int], how: How, shape: tuple[int, int, int]
) -> Tensor:
    """Candidates ``indices`` of ``how``'s seed, (n, *shape) on the model's device: of the one picture that was
    measured, or each of its own where ``known`` has n of them. Raises InputError as `restore`.
    """
    size, method = shape[1:], model.method(how.steps, how.solver, tuned=False)
    name, steering = method_for(model, known.operator, how, known.std), how.steering or Steering()
    said = model.labels_of(indices, how.label, steering)
    if name == TRAINED:
        row = condition_of(model.config.conditioning, known)
        row = row.rows(torch.arange(len(indices)) % len(known.y))
        row = row if said is None else replace(row, labels=said.labels)
        denoiser = model.denoiser(row, how.guidance, steering, size)
    else:
        if steering.threshold is not None:
            raise InputError(f"--threshold {steering.threshold}: {name} keeps pixels in range itself; leave it out")
        free = replace(steering, threshold="none")  # no slope is where x̂_0 is clamped: methods do so outside
        denoiser = model.denoiser(said, how.guidance, free, size)
        denoiser, method = prepared(name, denoiser, known, method, model.description.data_std)
    exact = isinstance(known.operator, Operator) and known.std == 0
    solver = DataConsistency(method.solver, known) if exact else method.solver
    noise = SampleNoise(how.seed, indices, shape, device=model.device)
    x = sample(denoiser, solver, with_data(model, method.times), model.start_noise(indices, how.seed, shape), noise)
    return within(known, x) if exact else x.clamp(-1, 1)


def prepared(
    name: str, denoiser: Denoiser, known: Measurement, method: Method, data_std: float
) -> tuple[Denoiser, Method]:
    """What to sample, and how, for the method called ``name``: x̂_0 stays in [-1, 1]. Raises InputError."""
    match name:
        case "moment_matching":
            return StaticThreshold(MomentMatching(denoiser, known, ITERATIONS)), method
        case "pigdm":
            return StaticThreshold(PseudoinverseGuidance(denoiser, known, max(data_std, LEAST_STD))), method
        case "ddnm":
            return DDNM(StaticThreshold(denoiser), known), method
        case "dps":
            return StaticThreshold(denoiser), replace(method, solver=DPS(method.solver, known, ZETA))
        case _:
            times = repaint_times(method.times, min(JUMP, method.steps), RESAMPLINGS)
            return StaticThreshold(denoiser), replace(method, solver=RePaint(method.solver, known), times=times)


def _size(model: DiffusionModel, image: Tensor, factor: int = 1) -> tuple[int, int]:
    """(H, W) of what ``image`` is ``factor`` times as small as. Raises InputError for one too small."""
    channels, height, width = model.images.shape
    if (
        image.ndim != 3
        or image.shape[0] != channels
        or factor * image.shape[1] < height
        or factor * image.shape[2] < width
    ):
        wanted = (channels, height // factor, width // factor)
        raise InputError(f"image: is of shape {tuple(image.shape)}; the model takes {wanted} here, or larger sides")
    return factor * image.shape[1], factor * image.shape[2]


def _check_shape(name: str, x: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(x.shape) != shape:
        raise InputError(f"{name}: is of shape {tuple(x.shape)}; the model takes {shape} here")


def with_data(model: DiffusionModel, times: Tensor) -> Tensor:
    """The times, which begin a little later where a schedule has no data at t = 1: nothing is steered there."""
    if level(model.network_denoiser.schedule, 1.0).alpha > 0:
        return times
    return torch.where(times == 1, 1 - 0.01 * (1 - times[times < 1].max()), times)


def within(known: Measurement, x: Tensor) -> Tensor:
    """x of (N, …) brought to where it measures y and lies in [-1, 1], as near as TURNS get; at last the latter."""
    for _ in range(TURNS):
        clamped = x.clamp(-1, 1)
        if bool((known.residual(clamped).abs() <= 1e-4).all()):
            return clamped
        x = known.consistent(clamped)
    return x.clamp(-1, 1)
