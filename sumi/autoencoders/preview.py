"""A cheap look at latents: the colours of a small picture as a linear function of the channels.

    mean of the f·f pixels of a latent's place ≈ A z + b, by least squares over the latents of a few pictures

It costs next to nothing, while the decoder costs about what a step of a sampler does.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from sumi.boundary.config import parse_json
from sumi.boundary.files import contents
from sumi.errors import InputError

FITTED: Final = 256
"""How many pictures it is fitted to."""


@dataclass(frozen=True, eq=False)
class LinearPreview:
    """``weight`` (C, c) and ``bias`` (C,), float32."""

    weight: Tensor
    bias: Tensor

    @classmethod
    def fit(cls, latents: Tensor, images: Tensor) -> "LinearPreview":
        """Of latents (N, c, h, w) and their images (N, C, f·h, f·w) in [-1, 1]."""
        factor = images.shape[-1] // latents.shape[-1]
        seen = F.avg_pool2d(images.double(), factor).movedim(1, -1).flatten(0, 2)
        known = F.pad(latents.double().movedim(1, -1).flatten(0, 2), (0, 1), value=1.0)
        found = torch.linalg.lstsq(known.cpu(), seen.cpu(), driver="gelsd").solution.T.float()  # of any rank
        return cls(found[:, :-1].contiguous(), found[:, -1].contiguous())

    def __call__(self, z: Tensor) -> Tensor:
        """Small pictures (N, C, h, w) in [-1, 1] of latents z (N, c, h, w)."""
        made = torch.einsum("oc,nchw->nohw", self.weight.to(z), z) + self.bias.to(z)[:, None, None]
        return made.clamp(-1, 1)

    def to_json(self) -> str:
        """As text that `from_json` reads."""
        return json.dumps({"weight": self.weight.tolist(), "bias": self.bias.tolist()})

    @classmethod
    def read(cls, file: Path, channels: int, latents: int) -> "LinearPreview":
        """What `to_json` wrote, of images of ``channels`` and so many channels of ``latents``.

        Raises InputError where it is anything else.
        """
        remedy = "delete it: pictures on the way are then decoded"
        held = parse_json(contents(file), file, remedy)
        try:
            found = cls(torch.tensor(held["weight"]).float(), torch.tensor(held["bias"]).float())
        except (KeyError, TypeError, ValueError, RuntimeError):
            raise InputError(f"{file}: is no preview of latents; {remedy}") from None
        if found.weight.shape != (channels, latents) or found.bias.shape != (channels,):
            raise InputError(f"{file}: is a preview of other latents; {remedy}")
        return found
