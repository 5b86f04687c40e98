"""How EDM's networks are preconditioned (Karras et al. 2022, table 1), and which way a file without a word of it is.

    EDMPrecond    F of unit variance, time input ln σ/4, data of deviation σ_data
    VPPrecond     ε, time input 999 t in the variance-preserving process
    VEPrecond     -ε, time input ln σ/2 in the exploding one, σ from 0.02 to 100
    iDDPMPrecond  ε in the cosine chain, time input its index; its file has the levels u

The tensors of the first three have the same names. A header ``preconditioning`` says which it is. Without, the network
does: of noise alone at the last level, one that predicts ε, or -ε, gives that noise.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import log
from typing import Any, Final

import torch
from torch import Tensor

from sumi.denoising.parameterization import PredictNoise, PredictPreconditioned, Reread
from sumi.errors import InputError
from sumi.interop.claims import Claims, Recognised
from sumi.process.chain import CosineBeta
from sumi.process.continuous import VP
from sumi.process.exploding import EDM, VE

PRECONDITIONED: Final = Claims(schedule=EDM(), parameterization=PredictPreconditioned(), threshold="none")
PRESERVING: Final = replace(
    PRECONDITIONED, schedule=VP(), parameterization=Reread(PredictNoise(), time_scale=0.999, time_offset=0.999)
)
EXPLODING: Final = replace(
    PRECONDITIONED,
    schedule=VE(0.02, 100.0),
    parameterization=Reread(PredictNoise(), time_offset=-log(2), gain=-1.0, clock="log_ratio"),
)
KNOWN: Final = {"EDMPrecond": PRECONDITIONED, "VPPrecond": PRESERVING, "VEPrecond": EXPLODING}
HEADER: Final = "preconditioning"
"""Where a file says which of them it is."""
LEVELS: Final = "u"
"""The noise levels of iDDPMPrecond, from the last to none: one more than there are steps."""
LEFT: Final = 0.1
"""Share of the noise that a network of noise leaves at the last level, at most; others leave all of it, or more."""


def stated(own: Mapping[str, Tensor], values: Mapping[str, Any], claims: Claims | None) -> Claims | None:
    """What is claimed, or said by the tensors or the header of a file; None: nothing. Raises InputError."""
    if claims is not None:
        return claims
    if LEVELS in own:
        steps = len(own[LEVELS]) - 1
        return replace(PRECONDITIONED, schedule=CosineBeta(steps), parameterization=indexed(steps))
    name = values.get(HEADER)
    if name is not None and name not in KNOWN:
        raise InputError(f"file: {HEADER} {name} is not known here; known are {', '.join(KNOWN)}")
    return None if name is None else KNOWN[name]


def indexed(steps: int) -> PredictNoise | Reread:
    """ε of a network whose time input is the index 0 … ``steps`` - 1."""
    return PredictNoise() if steps == 1000 else Reread(PredictNoise(), steps / 1000, steps / 1000 - 1)


@torch.inference_mode()
def fitted(found: Recognised) -> Recognised:
    """A network with the preconditioning that fits it: of noise, where it returns that, and else EDM's own."""
    noise = torch.randn(2, *found.claims.shape, generator=torch.Generator().manual_seed(0))
    for name, known in (("VPPrecond", PRESERVING), ("VEPrecond", EXPLODING)):
        claims = replace(found.claims, schedule=known.schedule, parameterization=known.parameterization)
        model = claims.model(found.weights, "file", device=torch.device("cpu"))
        condition = model.condition_of(range(2), torch.zeros(2, dtype=torch.int64)) if claims.classes else None
        level = model.gaussian_denoiser().schedule.noise_level(torch.ones((), dtype=torch.float64))
        denoised = model.denoiser(condition, threshold="none")(float(level.sigma) * noise, 1.0)
        left = (float(level.alpha) * denoised.clean).square().mean().sqrt() / float(level.sigma)
        if float(left) < LEFT:
            note = f"it gives back {1 - float(left):.0%} of noise alone, and is read as {name}"
            return replace(found, claims=claims, notes=(note,))
    return found
