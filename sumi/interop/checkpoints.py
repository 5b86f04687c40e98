"""Weights that are recognised by the names of their tensors.

`sumi.interop.guided`      guided-diffusion, improved-diffusion, EDM's "ADM"
`sumi.interop.edm`         EDM's DDPM++ and NCSN++, EDM2, k-diffusion
`sumi.interop.score_sde`   score_sde_pytorch
`sumi.interop.lucidrains`  denoising-diffusion-pytorch
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from sumi.interop import edm, guided, k_diffusion, lucidrains, score_sde
from sumi.interop.claims import Claims, Recognised
from sumi.interop.tensors import Tensors, prefixed


def recognised(read: Tensors, claims: Claims | None) -> Recognised | None:
    """What a file is; None: no layout that is known. ``claims``: the shape, the schedule and the prediction instead.

    Raises InputError for a network of these layouts that is another after all.
    """
    own = named(read)
    return (
        lucidrains.recognised(own, claims)
        or score_sde.recognised(own, claims)
        or edm.recognised(own, read.values, claims)
        or k_diffusion.recognised(own, read.values, claims)
        or guided.of_edm(own, read.values, claims)
        or guided.recognised(own, claims)
    )


def named(read: Tensors) -> dict[str, Tensor]:
    """The averaged weights of a file, without what wrappers put before every name."""
    return _without_prefix(score_sde.averaged(read.values) or averaged(read))


def averaged(read: Tensors) -> dict[str, Tensor]:
    """The tensors of a file; of a checkpoint in training those of the averaged model, else of the model."""
    for key in ("ema", "model_ema", "model", "state_dict"):
        match read.values.get(key):
            case dict() as table:
                own = {str(name): value for name, value in table.items() if torch.is_tensor(value)}
                return prefixed(own, "ema_model.") or own
            case _:
                pass
    return read.tensors


def _without_prefix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without what wrappers put before every name."""
    return {
        re.sub(r"^(module\.|model\.|diffusion_model\.|inner_model\.|unet\.)+", "", name): value
        for name, value in tensors.items()
    }
