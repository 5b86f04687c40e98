"""From settings to an untrained denoiser, its loss and its times: which parts a diffusion model is made of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, TypeVar

import torch
from torch import nn

from sumi.autoencoders.scale import LatentScale
from sumi.conditioning.conditioner import Conditioners
from sumi.conditioning.conditioners import build_conditioners
from sumi.conditioning.image import SmallConditioning
from sumi.data.latents import Latents
from sumi.data.spec import DataSpec
from sumi.denoising.binomial import BinomialDenoiser, BinomialLoss
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.energy import EnergyGradient
from sumi.denoising.parameterization import PredictEnergy
from sumi.denoising.variance import FixedVariance, LearnedVariance
from sumi.denoising.weighting import (
    LearnedUncertainty,
    LikelihoodWeighting,
    OutputWeighting,
    StepLikelihood,
)
from sumi.errors import InputError, SumiError
from sumi.likelihood.variational import VARIANCES, VariationalBound, even_times
from sumi.models.diffusion.autoencoder import AffineData, DenoisedItems, MDCTBands, NoAutoencoder, TrainedAutoencoder
from sumi.models.diffusion.config import DiffusionSettings
from sumi.models.size import bounded
from sumi.networks.condition import NetworkCondition
from sumi.networks.layers import ZeroStartEmbedding
from sumi.networks.own import OwnNetwork
from sumi.objectives.bound import ChainBoundLoss, HybridLoss, WholeBoundLoss
from sumi.objectives.denoising import DenoisingLoss, DenoisingObjective, Loss
from sumi.objectives.schedule import VarianceMinimisingLoss
from sumi.objectives.times import ImportanceSampler, ImportanceTimes, TimeSampler
from sumi.objectives.uncertainty import UncertainLoss, Uncertainty
from sumi.process.binomial import Binomial
from sumi.process.gaussian import Gaussian
from sumi.process.learned import Learned
from sumi.process.schedule import Schedule, noise_level

Part = TypeVar("Part", bound=nn.Module)
LARGEST_COEFFICIENT: Final = 1e9  # 1/alpha at t = 1 is 157 for linear β, 2e4 for cosine; float32 holds 7 digits


def build_denoiser(
    config: DiffusionSettings, items: DataSpec, *, spans: bool = False
) -> NetworkDenoiser | BinomialDenoiser:
    """A new, untrained denoiser: network, schedule and parameterization as configured.

    ``spans``: the network also gets the length of its step (`NetworkDenoiser.span`). What is trained or kept count of
    beside them (`NetworkDenoiser.auxiliary`) is there too. Raises InputError where they do not fit: data that the
    network or the process cannot take, or a schedule that ends with so little data that what the network predicts there
    says nothing of it in float32.
    """
    denoised = config.autoencoder.denoised(items)
    match config.process:
        case Binomial():
            return _binomial_denoiser(config, denoised)
        case Gaussian():
            return _gaussian_denoiser(config, denoised, items.shape, spans)


def _binomial_denoiser(config: DiffusionSettings, items: DenoisedItems) -> BinomialDenoiser:
    if items.levels != 2 or len(items.shape) == 3:
        raise InputError("process: binomial noises bits, and these data are none; set process=gaussian")
    return BinomialDenoiser(_network(config, items), config.schedule.build(), config.times.grid)


def _network(
    config: DiffusionSettings,
    items: DenoisedItems,
    outputs: int = 1,
    conditioner: Conditioners | None = None,
    spans: bool = False,
) -> nn.Module:
    shape = None if conditioner is None else conditioner.shape
    match config.network:
        case OwnNetwork() as own:
            network = own.build(items.shape, outputs, shape)
            given = NetworkCondition(vector=torch.zeros(2, own.embedding)) if spans else None
            if conditioner is not None:
                given = conditioner(conditioner.null(torch.zeros(2, *items.shape)))
            own.check(network, items.shape, outputs, given)
        case network_config:

            def build(of: tuple[int, ...]) -> nn.Module:
                return bounded(lambda: network_config.build(of, outputs, shape))

            try:
                network = build(items.shape)
            except InputError as error:
                raise _with_size(error, items, build) from None
            if spans:
                _check_takes_vectors(network, items.shape, network_config.embedding, network_config.name)
    return network


def _with_size(error: InputError, items: DenoisedItems, build: Callable[[tuple[int, ...]], nn.Module]) -> InputError:
    """``error`` of a network of ``items``; of latents with the size of images near theirs whose latents it takes."""
    match items:
        case Latents(shape=(channels, high, wide), images=(_, height, width)):
            factor = height // high
        case _:
            return error
    sides = {max(-(-min(high, wide) // 2**k), 1) * 2**k for k in range(9)}  # networks halve: multiples of such steps
    for side in sorted(sides):
        try:
            build((channels, side, side))
        except InputError:
            continue
        return InputError(
            f"{error}: these are the latents of images of {height}x{width}, divided by the autoencoder's factor "
            f"{factor}; data.size={factor * side} would do"
        )
    return error


@torch.enable_grad()
def _check_takes_vectors(network: nn.Module, shape: tuple[int, ...], width: int, name: str) -> None:
    """Raises InputError where its output has no slope in them: some of other libraries take them for a class alone."""
    refusal = InputError(
        f"network={name}: takes no length of a step, which this objective has; choose another, such as unet"
    )
    if width == 1:  # of no class at all
        raise refusal
    training, vector = network.training, torch.zeros(2, width, requires_grad=True)
    try:
        output = network.eval()(torch.zeros(2, *shape), torch.zeros(2), NetworkCondition(vector=vector))
        if torch.is_inference_mode_enabled():  # there are no slopes; what is trained was looked at before that
            return
        (slope,) = torch.autograd.grad(output.sum(), vector, allow_unused=True)
    except (TypeError, ValueError, RuntimeError, IndexError):
        raise refusal from None
    finally:
        network.train(training)
    if slope is None:
        raise refusal


def _gaussian_denoiser(
    config: DiffusionSettings, items: DenoisedItems, data: tuple[int, ...], spans: bool
) -> NetworkDenoiser:
    schedule = config.schedule.build()
    with torch.no_grad():
        end = noise_level(schedule, torch.ones(1))  # a tensor: where alpha is 0, its inverse is infinite and no error
    c = config.parameterization.coefficients(end)
    if not all(abs(float(value)) <= LARGEST_COEFFICIENT for value in (c.c_in, c.c_skip, c.c_out, c.c_noise)):
        raise InputError(
            f"schedule: at t = 1 no data is left (alpha = {float(end.alpha):.1e}, sigma = "
            f"{float(end.sigma):.1e}), and parameterization={config.parameterization.name} is singular there; set "
            "parameterization=velocity, or end the schedule with less noise"
        )
    learned_variance = config.variance != FixedVariance()
    conditioner = build_conditioners(config.conditioning, items, config.network.embedding)
    network = _network(config, items, 2 if learned_variance else 1, conditioner, spans)
    if config.parameterization == PredictEnergy():
        network = EnergyGradient(network)
    denoiser = NetworkDenoiser(
        network,
        schedule,
        config.parameterization,
        config.times.grid,
        learned_variance,
        conditioner,
        ZeroStartEmbedding(config.network.embedding) if spans else None,
    )
    match config.autoencoder:
        case NoAutoencoder() | AffineData():
            pass
        case TrainedAutoencoder():
            denoiser.auxiliary["latents"] = LatentScale(items.shape[0])
        case MDCTBands() as bands:
            denoiser.auxiliary["bands"] = bands.scale(data)
    match config.weighting, config.times:
        case LearnedUncertainty(), _:
            denoiser.auxiliary["uncertainty"] = Uncertainty()
        case _, ImportanceTimes() as times:
            denoiser.auxiliary["times"] = times.sampler()
        case _:
            pass
    return denoiser


@dataclass(frozen=True)
class Denoising:
    """The loss of denoising, as configured: weighting, times and what is learned besides."""

    name: ClassVar[str] = "denoising"

    def build(self, settings: DiffusionSettings, items: DataSpec) -> DenoisingObjective:
        """A new denoiser with its loss and times. Raises InputError as `build_denoiser`."""
        denoiser, levels = build_denoiser(settings, items), settings.autoencoder.denoised(items).levels
        times = build_times(settings, denoiser)
        return DenoisingObjective(
            denoiser,
            build_loss(settings, denoiser, None if settings.data.dequantize else levels),
            times,
            bin_width=2 / (levels - 1) if settings.data.dequantize and levels else 0.0,
            divide=times.divides or settings.weighting == LikelihoodWeighting(),
            stratify=settings.training.batch_size if settings.stratified_times else None,
            crop=_crop(settings, items),
        )


def _crop(settings: DiffusionSettings, items: DataSpec) -> tuple[int, int]:
    """The side of the crops, 0 for none, and what their places are multiples of. Raises InputError."""
    side, small = settings.crop, settings.condition("small")
    unit = small.factor if isinstance(small, SmallConditioning) else 1
    if side and (len(items.shape) != 3 or not 0 < side <= min(items.shape[1:]) or side % unit):
        raise InputError(
            f"crop: {side} is no side of a part of items of shape {items.shape}, in steps of {unit}; give a smaller one"
        )
    return side, unit


def build_loss(
    config: DiffusionSettings, denoiser: NetworkDenoiser | BinomialDenoiser, levels: int | None = None
) -> Loss[Any]:
    """The loss with the configured weighting; on a grid, a likelihood is that of the chain's steps.

    ``levels``: how many values an element of the data takes, for losses that have a decoder; None for real numbers,
    which values spread over their bins are too.
    """
    grid = config.times.grid
    if denoiser.process == Binomial():
        return BinomialLoss(grid or 1)
    match config.schedule, config.variance, config.weighting:
        case Learned(learn_ends=True), _, _:
            return WholeBoundLoss(levels)
        case Learned(), _, _:
            return VarianceMinimisingLoss()
        case _, LearnedVariance(), LikelihoodWeighting() if grid is not None:
            return ChainBoundLoss(_bound(denoiser.schedule, grid, levels))
        case _, _, LearnedUncertainty():
            return _uncertain_loss(config, denoiser)
        case _, LearnedVariance(bound_weight=weight), weighting if grid is not None:
            return HybridLoss(weighting, _bound(denoiser.schedule, grid, levels), weight)
        case _, _, LikelihoodWeighting() if grid is not None:
            return DenoisingLoss(StepLikelihood(denoiser.schedule, grid))
        case _, _, weighting:
            return DenoisingLoss(weighting)


def _bound(schedule: Schedule, grid: int, levels: int | None) -> VariationalBound:
    return VariationalBound(schedule, even_times(grid), VARIANCES["learned"], levels)


def _uncertain_loss(config: DiffusionSettings, denoiser: NetworkDenoiser | BinomialDenoiser) -> UncertainLoss:
    uncertainty = _auxiliary(denoiser, Uncertainty)
    if uncertainty is None:
        raise SumiError("training: weighting=uncertainty needs a denoiser that holds it; make it with build_denoiser")
    return UncertainLoss(DenoisingLoss(OutputWeighting(config.parameterization)), uncertainty)


def _auxiliary(denoiser: NetworkDenoiser | BinomialDenoiser, wanted: type[Part]) -> Part | None:
    """The denoiser's auxiliary module of type ``wanted``, if any."""
    return next((part for part in denoiser.auxiliary.values() if isinstance(part, wanted)), None)


def build_times(config: DiffusionSettings, denoiser: NetworkDenoiser | BinomialDenoiser) -> TimeSampler:
    """The configured time sampler, or the denoiser's module that is one. Raises InputError where it has no times."""
    match config.times:
        case ImportanceTimes() as times:
            return _auxiliary(denoiser, ImportanceSampler) or times.sampler()
        case times:
            times.times(torch.zeros(1, dtype=torch.float64), denoiser.schedule)
            return times
