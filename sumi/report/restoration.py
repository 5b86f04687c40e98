"""The report of a model trained to restore images: held-out images, their degraded versions, and candidates."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from sumi.boundary.files import write_whole
from sumi.conditioning.image import SmallConditioning
from sumi.data.dataset import Dataset, evenly_spaced
from sumi.figures.pictures import png, side_by_side
from sumi.models.diffusion.model import DiffusionModel
from sumi.operators.linear import AnyOperator, Grey, Mask
from sumi.operators.separable import box
from sumi.report.page import Figure, Section

SHOWN: Final = 6
CANDIDATES: Final = 2


def restored(
    model: DiffusionModel,
    held_out: Dataset,
    folder: Path,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[Section]:
    """At most one section, for a model trained to restore; its picture is written to ``folder``.

    ``SHOWN`` held-out images have their middle inpainted, are upscaled, or are colourised.
    ``progress(done, total)`` counts candidates.
    """
    shape = model.images.shape
    operator: AnyOperator
    match {condition.name: condition for condition in model.config.conditioning}:
        case {"masked": _}:
            operator, what = Mask(_middle(shape)), "with the middle inpainted"
        case {"small": SmallConditioning(factor=factor)}:
            operator, what = box(*shape[1:], factor), f"upscaled {factor}×"
        case {"grey": _}:
            operator, what = Grey(), "colourised"
        case _:
            return []
    truth = evenly_spaced(held_out, SHOWN)
    given = operator(truth)
    candidates: list[Tensor] = []
    for k, y in enumerate(given):
        start = CANDIDATES * k
        match operator:
            case Mask(mask=painted):  # a model of latents is given masked latents, not pixels
                candidates.append(model.inpaint(y, painted, n=CANDIDATES, seed=seed, start=start))
            case _:
                candidates.append(model.restore(y, operator, n=CANDIDATES, seed=seed, start=start))
        if progress is not None:
            progress(CANDIDATES * (k + 1), CANDIDATES * len(given))
    made = torch.stack(candidates)
    to_bytes = model.pixels.to_bytes
    columns = [("input", _shown(given, shape)), *((f"candidate {k + 1}", made[:, k]) for k in range(CANDIDATES))]
    path = folder / "restored.png"
    write_whole(path, png(side_by_side([(name, to_bytes(x)) for name, x in [*columns, ("original", truth)]])))
    caption = f"Held-out images, {what}: the model's input, {CANDIDATES} candidates for each, and the original."
    return [Section("Restoration", figures=[Figure(path, caption, True)])]


def _middle(shape: tuple[int, int, int]) -> Tensor:
    """A mask, bool (H, W): the central rectangle of half the height and width."""
    _, height, width = shape
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[height // 4 : height - height // 4, width // 4 : width - width // 4] = True
    return mask


def _shown(given: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Inputs (N, C', h, w) as pictures of ``shape``: pixels repeated, in all channels."""
    channels, height, width = shape
    large = given.repeat_interleave(height // given.shape[2], 2).repeat_interleave(width // given.shape[3], 3)
    return large.expand(-1, channels, -1, -1)
