"""Pictures restored with a trained model, trained for it or not: painted in, made larger, deblurred.

What is left of a picture is a measurement y = A x_0 + s n (`sumi.restoration`), and candidates are draws of what the
model holds for probable given y, as well as a method can (METHODS). A model that was trained on such measurements
(`sumi.restoration.condition`) is told y and sampled as any other: the method called "trained". Candidate i of a seed
has the noise of sample i of that seed, and is the same alone or in a batch. A model of latents is given what it was
trained for, too, or y is followed through the decoder.

Without noise (s = 0) and with a linear A, candidates measure y: the solver ends with the projection on {x : A x = y},
and this one goes on by turns with that on [-1, 1] until both hold (von Neumann's alternating projections: both sets are
convex, and meet where y comes of a picture). For a mask one turn does, and known pixels are the picture's to the bit.
Of latents this is done once, with the pictures that they are decoded to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Unpack

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from sumi.boundary.arguments import MOST_COUNT, real, shown, sides, torch_defaults, whole
from sumi.boundary.config import nearest
from sumi.conditioning.condition import Condition
from sumi.conditioning.image import SmallConditioning
from sumi.data.items import Items, read_items, read_picture
from sumi.denoising.denoiser import Denoiser
from sumi.errors import InputError
from sumi.guidance.thresholding import StaticThreshold
from sumi.models.diffusion.options import SampleOptions, sampling_options
from sumi.models.diffusion.particles import ANCESTRAL, by_particles
from sumi.models.diffusion.pictures import find_operator, read_mask_of
from sumi.models.samples import stated_as
from sumi.operators.linear import AnyOperator, Mask, Weighted, is_linear
from sumi.operators.separable import box
from sumi.process.schedule import noise_level
from sumi.restoration.condition import condition_of, trained_for
from sumi.restoration.dps import DPS
from sumi.restoration.measurement import Measurement, OfDecoded
from sumi.restoration.null_space import DDNM
from sumi.restoration.posterior import MomentMatching, PseudoinverseGuidance
from sumi.restoration.proximal import DiffPIR
from sumi.restoration.replacement import DataConsistency, RePaint, repaint_times
from sumi.restoration.twisted import TwistedSMC
from sumi.sampling.sampler import LEAST_STD, Guidance, Method, SamplingOptions
from sumi.sampling.solvers.solver import Solver
from sumi.sampling.stated_error import refuse_unstated

if TYPE_CHECKING:
    from sumi.models.diffusion.model import DiffusionModel

MOST_NOISE: Final = 2.0
"""Of a measurement: as much as from black to white."""
TURNS: Final = 1000
"""Of alternating projections, at most."""
ITERATIONS: Final = 2
"""Of moment matching's conjugate gradients: a network's ∂x̂_0/∂x_t is no covariance, and more make it worse."""
ZETA: Final = 2.0
"""Of DPS's steps; with 50 of them 1 is too short."""
JUMP, RESAMPLINGS = 5, 5
"""RePaint's; with 50 steps 160 evaluations."""
PARTICLES: Final = 8
"""Of twisted sequential Monte Carlo, for each candidate, which is one of them."""

TRAINED: Final = "trained"
TWISTED: Final = "twisted"
METHODS: Final = ("moment_matching", "pigdm", "diffpir", "dps", "ddnm", "repaint", TWISTED)
"""For a model that was not trained to restore."""
DEFAULT: Final = "moment_matching"
"""For linear operators, as measured (docs/results/restoration.md)."""
OF_WEIGHTS: Final = "diffpir"
"""Of weights, which span many powers of ten: others overshoot, as measured of sound (docs/results/restoration.md)."""
NONLINEAR: Final = "dps"
NOISELESS: Final = ("ddnm", "repaint")
"""They end at pictures that measure y exactly."""


def method_for(model: DiffusionModel, operator: AnyOperator, method: str | None = None, noise: float = 0.0) -> str:
    """The name of the method: ``method``, or else "trained" where the model is, DEFAULT, or NONLINEAR, the only one for
    an operator that is not linear.

    Raises InputError for an unknown method, where "trained" is named and the model is not, and where the method cannot
    take the operator or the noise.
    """
    names = (TRAINED, *METHODS)
    if method is not None and method not in names:
        raise InputError(f"method: there is no {method}; {nearest(str(method), names)}")
    trained = trained_for(model.config.conditioning, operator, noise)
    if method == TRAINED and not trained:
        raise InputError(
            f"method: this run was not {TRAINED} for that; train inpaint, upscale or colourise, or name no method"
        )
    if method is None and trained:
        return TRAINED
    default = DEFAULT
    match operator:
        case Mask():
            linear = True  # of latents, too
        case Weighted():
            linear, default = True, OF_WEIGHTS
        case _:
            linear = is_linear(operator) and model.space.factor == 1  # a decoder is not
    if method in NOISELESS and noise > 0:
        raise InputError(f"noise: {method} takes a measurement without noise; give 0, or choose {DEFAULT}")
    if method not in (None, TRAINED, NONLINEAR) and not linear:
        raise InputError(f"method: {method} needs a linear operator of pixels; choose {NONLINEAR}")
    return method or (default if linear else NONLINEAR)


def usual_solver(model: DiffusionModel, method: str, *, stating: bool) -> str | Solver[Any]:
    """That of the restoration called ``method``: ANCESTRAL, or "adams" where an error is stated; a model of few steps
    that was trained to restore has its own.
    """
    if model.config.few_steps is not None and method == TRAINED:
        return model.config.sampling.solver
    return "adams" if stating else ANCESTRAL


def usual_factor(model: DiffusionModel) -> int:
    """How many times as large a picture is made: what the model was trained for, else twice."""
    match model.config.condition("small"):
        case SmallConditioning(factor=factor):
            return factor
        case _:
            return 2


@torch_defaults()
def inpaint(
    model: DiffusionModel,
    image: Items,
    mask: Items,
    n: int = 4,
    method: str | None = None,
    **options: Unpack[SampleOptions],
) -> Tensor:
    """``image`` (C, H, W) in [-1, 1] with the pixels painted in where ``mask``, bool (H, W), is True.

    It is as large as the model's or larger (`sumi.guidance.tiling`). The other pixels are the image's to the bit. Both
    may be files, PIL images or arrays, too (`sumi.data.items`, `sumi.models.diffusion.pictures.read_mask`). The rest is
    as of `restore`. Raises InputError also for a mask with nothing to paint, or nothing to keep.
    """
    data, shape = model.config.data, model.images.shape
    frame = data.fitting(shape)
    found = read_picture("image", image, shape, frame=frame, background=data.background)
    given, size = found.x, _size(model, found.x)
    painted = read_mask_of(mask, found, frame)
    if not bool(painted.any()):
        raise InputError("mask: is black all over, with nothing to paint; make white what is to be painted")
    if bool(painted.all()):
        raise InputError("mask: is white all over, with nothing to keep; use `sumi sample` for a new image")
    if model.space.factor == 1:
        return _restored(model, given, Mask(painted), 0.0, n, method, {**options, "size": size})
    return _inpainted_latents(model, given, painted, n, method, {**options, "size": size})


def _inpainted_latents(
    model: DiffusionModel, image: Tensor, painted: Tensor, n: int, method: str | None, options: SampleOptions
) -> Tensor:
    """A latent is painted where any of its pixels is; at last the known pixels are pasted."""
    space = model.space
    of_latents = max_pool2d(painted[None, None].float(), space.factor)[0, 0] > 0
    if bool(of_latents.all()):
        raise InputError("mask: leaves no whole latent to keep; paint less, or use `sumi sample` for a new image")
    with torch.inference_mode():
        y = space.encode(image[None].to(model.device))
    made = candidates(model, Measurement(Mask(of_latents.to(model.device)), y), n, method, options)
    return stated_as(made, torch.where(painted, made, image))


@torch_defaults()
def upscale(
    model: DiffusionModel,
    image: Items,
    factor: int | None = None,
    n: int = 4,
    method: str | None = None,
    **options: Unpack[SampleOptions],
) -> Tensor:
    """Images ``factor`` times as large as ``image`` (C, H/factor, W/factor), whose squares have its pixels as means.

    ``factor`` is by default what the model was trained for, else 2. The rest is as of `restore`. Raises InputError also
    for a factor that does not divide the model's sides.
    """
    _, height, width = model.images.shape
    factor = usual_factor(model) if factor is None else whole("factor", factor)
    if factor < 2 or height % factor or width % factor:
        raise InputError(f"factor: {factor} does not divide {height} × {width}, the model's size; give 2, or another")
    data, small = model.config.data, (model.images.channels, height // factor, width // factor)
    given = read_items("image", image, small, frame=data.fitting(small), background=data.background)
    size = _size(model, given, factor)
    return _restored(model, given, box(*size, factor), 0.0, n, method, {**options, "size": size})


@torch_defaults()
def restore(
    model: DiffusionModel,
    image: Items,
    operator: AnyOperator | str,
    noise: float | None = None,
    n: int = 4,
    method: str | None = None,
    **options: Unpack[SampleOptions],
) -> Tensor:
    """What ``operator``, or one by its name, such as "blur:2" (`sumi.models.diffusion.pictures.OPERATORS`), may have
    made ``image`` of: that is A x_0, without the batch's axis, with noise of deviation ``noise`` (None: that of
    rounding for blurs by name, else 0). ``n`` candidates, float32 (n, C, H, W) in [-1, 1], on the CPU. ``size`` (H, W)
    is that of x_0, the model's or larger (`sumi.guidance.tiling`); None: the model's.

    ``method``: see `method_for`. Other options are those of `DiffusionModel.sample`; methods other than TRAINED clamp
    x̂_0 themselves and take no threshold, and the solver is by default `usual_solver`. Raises InputError: shapes that do
    not fit, a method that cannot take the operator or noise ("ddnm" and "repaint" take none; "twisted" takes no solver
    and no larger size) or state an error, a model of vectors or bits, and a consistency model but for TRAINED.
    """
    return _restored(model, image, operator, noise, n, method, options)


def _restored(
    model: DiffusionModel,
    image: Items,
    operator: AnyOperator | str,
    noise: float | None,
    n: int,
    method: str | None,
    options: SampleOptions,
) -> Tensor:
    channels, *own = model.images.shape
    height, width = sides("size", options.get("size") or own)
    usual = 0.0
    match operator:
        case str():
            operator, _, usual = find_operator(operator, (channels, height, width))
        case _ if not callable(operator):
            why = "is no function of images; give one, one of sumi.operators, or a name such as blur:2"
            raise InputError(f"operator: {shown(operator)} {why}")
        case _:
            pass
    zeros = torch.zeros(1, channels, height, width, device=model.device)
    model.gaussian_denoiser()
    data, measured = model.config.data, tuple(operator(zeros).shape[1:])
    y = read_items("image", image, measured, bounded=False, frame=data.fitting(measured), background=data.background)
    noise = usual if noise is None else real("noise", noise)
    if not 0 <= noise <= MOST_NOISE:
        raise InputError(f"noise: {noise:g} is out of range; give 0 to {MOST_NOISE:g}, in the model's range of -1 to 1")
    known = Measurement(operator, y[None].to(model.device), noise)
    known.residual(zeros)
    given: SampleOptions = {**options, "size": (height, width)}
    if model.space.factor == 1:
        return candidates(model, known, n, method, given)
    of_latents = Measurement(OfDecoded(operator, model.space.decode), known.y, noise)
    made = candidates(model, of_latents, n, method, given)
    return stated_as(made, within(known, made)) if is_linear(operator) and noise == 0 else made


@torch_defaults()
def candidates(
    model: DiffusionModel, known: Measurement, n: int, method: str | None = None, options: SampleOptions | None = None
) -> Tensor:
    """``n`` candidates of the one picture that was measured; or one of each, where ``known`` has n of them and they are
    made in one batch. As of `restore`.
    """
    n = whole("n", n, least=1, most=MOST_COUNT)
    given: SampleOptions = {**(options or {})}
    name = method_for(model, known.operator, method, known.std)
    stating = model.config.sampling.replaced(sampling_options(given)).error is not None
    if name != TRAINED:
        model.require_mean(f"method: {name}")
    if not any(given.get(option) is not None for option in ("solver", "eta", "sampling")):
        given["solver"] = usual_solver(model, name, stating=stating)
    elif name == TWISTED:
        raise InputError(f"solver: {TWISTED} walks a chain of its own; leave solver, eta and sampling out")
    if stating and len(known.y) > 1:
        raise InputError("error: is of candidates of one picture at a time; give steps")
    std, bounded = model.description.data_std, model.space.bounded
    exact = is_linear(known.operator) and known.std == 0
    plain, wrap = sampling_options(given), None
    if name == TRAINED:
        given["condition"] = _with_label(model, known, n, given)
        given["label"] = given["prompt"] = None
    else:
        if given.get("threshold") is not None:
            raise InputError(f"threshold: {name} keeps pixels in range itself; leave it out")
        given["threshold"] = "none"  # no slope is where x̂_0 is clamped: methods do so outside
        wrap, _ = prepared(name, known, model.method(tuned=False, **plain), std, bounded=bounded)

    def how(steps: int | None) -> Method:
        in_steps: SamplingOptions = plain if steps is None else {**plain, "steps": steps, "error": None}
        found = model.method(tuned=False, **in_steps)
        if name != TRAINED:
            _, found = prepared(name, known, found, std, bounded=bounded)
        consistent = DataConsistency(found.solver, known) if exact and name != TWISTED else found.solver
        return replace(found, solver=consistent, times=with_data(model, found.times))

    if stating:
        refuse_unstated(name, how(None).solver)
    finish = partial(within, known) if bounded else known.consistent
    if name == TWISTED:
        if given.get("size") not in (None, model.images.shape[1:]):
            raise InputError(f"size: {TWISTED} restores pictures of the model's own size; choose another method")
        together = PARTICLES if len(known.y) > 1 else 1
        made = by_particles(model, n, PARTICLES, given, how, wrap, together=together).to(known.y)
        return (finish(made) if exact and model.space.shape == made.shape[1:] else made).cpu()  # else of latents
    return model.walk(n, given, method=how, wrap=wrap, finish=finish if exact else None)


def _with_label(model: DiffusionModel, known: Measurement, n: int, options: SampleOptions) -> Condition:
    """What was measured as the condition of n candidates, with what else is given of them where there is any."""
    row = condition_of(model.config.conditioning, known).rows(torch.arange(n) % len(known.y))
    start, guidance = options.get("start", 0), options.get("guidance")
    given = model.condition_of(
        range(start, start + n),
        options.get("label"),
        options.get("condition"),
        guidance if isinstance(guidance, Guidance) else None,
        options.get("prompt"),
    )
    return row if given is None else Condition({**given, **row})


def prepared(
    name: str, known: Measurement, method: Method, data_std: float, *, bounded: bool = True
) -> tuple[Callable[[Denoiser], Denoiser], Method]:
    """What to sample instead of a denoiser, and how, for the restoration called ``name``.

    x̂_0 stays in [-1, 1] if it is ``bounded``.
    """
    kept: Callable[[Denoiser], Denoiser] = StaticThreshold if bounded else lambda denoiser: denoiser
    match name:
        case "moment_matching":
            return lambda denoiser: kept(MomentMatching(denoiser, known, ITERATIONS)), method
        case "pigdm":
            std = max(data_std, LEAST_STD)
            return lambda denoiser: kept(PseudoinverseGuidance(denoiser, known, std)), method
        case "diffpir":
            std = max(data_std, LEAST_STD)
            return lambda denoiser: DiffPIR(kept(denoiser), known, std), method
        case "ddnm":
            return lambda denoiser: DDNM(kept(denoiser), known), method
        case "dps":
            return kept, replace(method, solver=DPS(method.solver, known, ZETA))
        case "twisted":
            return kept, replace(method, solver=TwistedSMC(known, PARTICLES, max(data_std, LEAST_STD)))
        case _:
            times = repaint_times(method.times, min(JUMP, method.steps), RESAMPLINGS)
            return kept, replace(method, solver=RePaint(method.solver, known), times=times)


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


def with_data(model: DiffusionModel, times: Tensor) -> Tensor:
    """The times, which begin a little later where a schedule has no data at t = 1: nothing is steered there."""
    if noise_level(model.network_denoiser.schedule, 1.0).alpha > 0:
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
