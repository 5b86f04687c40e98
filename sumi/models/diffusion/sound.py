"""Restored sound: gaps, the frequencies above a limit, noise, or whatever a function may have done to a clip.

A model of waveforms measures them. A model of bands and moments (`sumi.autoencoders.mdct`) knows exactly

    of a gap               the blocks that it does not touch: all others are painted, and the known samples laid over
    below a limit          the bands below it, but for the last, whose window sees what is above: the others are
                           painted, and what was known is put in place below the limit

With noise, which the transform leaves white, each of these values is measured by itself, through the curve that it is
compressed by (`sumi.restoration.sites`). What else was done to a clip is measured through the inverse transform, which
is not linear.
"""

from math import floor
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from sumi.autoencoders.mdct import STD, mdct
from sumi.boundary.arguments import real, shown, torch_defaults
from sumi.data.audio import AudioSpec
from sumi.data.spec import expect
from sumi.errors import InputError
from sumi.models.diffusion.options import SampleOptions
from sumi.models.diffusion.restoration import MOST_NOISE, candidates
from sumi.models.diffusion.space import BandSpace
from sumi.models.samples import stated_as
from sumi.operators.linear import AnyOperator, Mask, Weighted
from sumi.operators.sound import LowPass, gap
from sumi.restoration.measurement import Measurement
from sumi.restoration.sites import gaussian_sites

if TYPE_CHECKING:
    from sumi.models.diffusion.model import DiffusionModel

SEAM: Final = 0.004
"""Seconds after an edge of a gap over which what is painted is brought to what is known."""
FORMS: Final = "gap:START:SECONDS, band:HERTZ, or noise (whose deviation is given too)"
"""Of the names of operators."""


def find_operator(text: str, spec: AudioSpec) -> AnyOperator:
    """What was done to a clip, by name (`FORMS`). Raises InputError."""
    name, *numbers = text.split(":")
    try:
        values = [float(number) for number in numbers]
    except ValueError:
        raise InputError(f"operator: {text} has what is no number; give {FORMS}") from None
    match name, values:
        case "gap", [start, seconds] if not 0 <= start < start + seconds <= spec.length / spec.rate:
            raise InputError(f"operator: {text}: clips are of {spec.length / spec.rate:g} s; give a gap within that")
        case "gap", [start, seconds]:
            return gap(spec.length, round(start * spec.rate), round((start + seconds) * spec.rate))
        case "band", [hertz] if 0 < hertz < spec.rate / 2:
            return LowPass(2 * hertz / spec.rate)
        case "band", [hertz]:
            raise InputError(f"operator: band:{hertz:g}: give hertz between 0 and {spec.rate / 2:g}")
        case "noise", []:
            return Mask(torch.zeros(1, dtype=torch.bool))
        case _:
            raise InputError(f"operator: {text} is nothing that is done to sound; give {FORMS}")


@torch_defaults()
def restore_sound(
    model: "DiffusionModel",
    clip: Any,
    operator: AnyOperator | str,
    noise: float = 0.0,
    n: int = 4,
    method: str | None = None,
    options: SampleOptions | None = None,
) -> Tensor:
    """``n`` clips, float32 (n, 1, L), that ``operator``, or one by its name (`find_operator`), may have turned into
    ``clip``, with noise of deviation ``noise``.

    ``clip``: a file, or (1, L) in [-1, 1]. Where a `Mask` is False the samples are the clip's. Raises InputError.
    """
    spec = expect(model.items, AudioSpec, f"{model.folder}: makes no sound; choose such a run")
    noise = real("noise", noise)
    if not 0 <= noise <= MOST_NOISE:
        raise InputError(f"noise: {noise:g} is out of range; give 0 to {MOST_NOISE:g}")
    match operator:
        case "noise" if not noise:
            raise InputError("noise: says how much there is, and is needed here; give its deviation, such as 0.05")
        case str():
            operator = find_operator(operator, spec)
        case _ if not callable(operator):
            raise InputError(f"operator: {shown(operator)} is no function of sound; give one, or {FORMS}")
        case _:
            pass
    x = spec.read("clip", clip)[None].to(model.device)
    known = measured(model, x, operator, noise)
    with torch.no_grad():
        known.residual(torch.zeros(1, *model.space.shape, device=model.device))
    made = candidates(model, known, n, method, options or {})
    match operator:
        case Mask(mask=mask) if not noise:
            return stated_as(made, laid_over(made, x.cpu(), mask.cpu().expand(spec.length), _seam(model, spec)))
        case LowPass() if not noise:
            return stated_as(made, made + operator(x.cpu() - made))
        case _:
            return made


def measured(model: "DiffusionModel", x: Tensor, operator: AnyOperator, noise: float) -> Measurement:
    """What is known of sound x (1, 1, L), as the ``model`` denoises it (module docstring). Raises InputError."""
    match model.space, operator:
        case BandSpace() as space, Mask(mask=mask):
            blocks = touched(mask.to(x.device).expand(x.shape[-1]), space.shape[1])
            if bool(blocks.all()):
                raise InputError("mask: leaves no whole block of sound to keep; paint less")
            return _of_bands(space, x, blocks, noise)
        case BandSpace() as space, LowPass(share=share):
            known = max(1, floor(share * space.shape[1]) - 1)
            rows = torch.arange(space.shape[1], device=x.device)[:, None] >= known
            return _of_bands(space, operator(x), rows, noise)
        case BandSpace() as space, _:
            return Measurement(lambda z: operator(space.decode(z)), x, noise)
        case _:
            return Measurement(operator, x, noise)


def _of_bands(space: BandSpace, x: Tensor, unknown: Tensor, noise: float) -> Measurement:
    """Of sound x (1, 1, L) all of z (1, 1, bands, F) but where ``unknown``, which broadcasts to it, is True."""
    if not noise:
        return Measurement(Mask(unknown), space.encode(x))
    scale = space.scale
    weights, y = gaussian_sites(mdct(x, scale.shape[1]), noise, scale.values, scale.of_values, STD)
    return Measurement(Weighted(torch.where(unknown, 0.0, weights)), y, 1.0)


def _seam(model: "DiffusionModel", spec: AudioSpec) -> int:
    """In samples; none for a model of waveforms, which sees the edges."""
    match model.space:
        case BandSpace():
            return round(SEAM * spec.rate)
        case _:
            return 0


def touched(mask: Tensor, size: int) -> Tensor:
    """Of the blocks of ``size`` samples those whose windows have a sample where ``mask`` (L,) is True: bool (F,)."""
    half, blocks = size // 2, mask.view(-1, size).any(1)
    early, late = mask.view(-1, size)[:, :half].any(1), mask.view(-1, size)[:, half:].any(1)
    before, after = torch.zeros_like(blocks), torch.zeros_like(blocks)
    before[1:], after[:-1] = late[:-1], early[1:]
    return blocks | before | after


def laid_over(made: Tensor, clip: Tensor, mask: Tensor, seam: int) -> Tensor:
    """``clip`` (1, 1, L) where ``mask`` (L,) is False, else ``made`` (n, 1, L), which meets it without a step.

    What is between them at the last known sample is added to those after it, less and less over ``seam`` samples; and
    so before the next known one.
    """
    difference = clip - made
    added = torch.zeros_like(made)
    edges = mask.int().diff()
    for side, places in ((1, (edges == 1).nonzero().flatten()), (-1, (edges == -1).nonzero().flatten() + 1)):
        for edge in places.tolist():
            for k in range(1, seam + 1):
                place = edge + side * k
                if not 0 <= place < len(mask) or not bool(mask[place]):
                    break
                added[..., place] += difference[..., edge] * (1 - k / (seam + 1))
    return torch.where(mask, made + added, clip)
