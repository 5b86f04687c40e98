"""Checkpoints of denoising-diffusion-pytorch (`sumi.networks.lucidrains`).

    init_conv, downs, mid_attn, ups, final_conv

They hold the averaged weights, β, and the weight of the loss at each time, which tells what is predicted.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from sumi.denoising.parameterization import PredictClean, PredictNoise, PredictVelocity, Reread
from sumi.errors import InputError
from sumi.interop.claims import Claims, Recognised
from sumi.networks.lucidrains import LucidrainsConfig
from sumi.process.chain import ListedBeta

_LUCIDRAINS: Final = (
    *("init_conv", "time_mlp", "downs", "ups", "mid_block1", "mid_attn", "mid_block2"),
    *("final_res_block", "final_conv"),
)


def recognised(own: Mapping[str, Tensor], claims: Claims | None) -> Recognised | None:
    """What the tensors are; None: none of its U-Nets."""
    if {"init_conv.weight", "mid_attn.mem_kv", "final_conv.weight"} <= own.keys():
        return _lucidrains(own, claims)
    return None


def _lucidrains(own: Mapping[str, Tensor], claims: Claims | None) -> Recognised:
    """The U-Net of denoising-diffusion-pytorch, with the buffers of its diffusion where they are there."""
    weights = {n: v for n, v in own.items() if n.partition(".")[0] in _LUCIDRAINS}
    width = weights["init_conv.weight"].shape[0]
    levels = 1 + max(int(name.split(".")[1]) for name in own if name.startswith("downs."))
    channels, outputs = weights["init_conv.weight"].shape[1], weights["final_conv.weight"].shape[0]
    plain = "time_mlp.0.weights" not in own and own["time_mlp.1.weight"].shape[1] == width
    if not plain or outputs not in (channels, 2 * channels):
        raise InputError("file: its U-Net is conditioned on itself or on learned frequencies, which is not known here")
    below = [own.get(f"downs.{i}.3.1.weight", own.get(f"downs.{i}.3.weight")) for i in range(levels)]
    full = tuple(i for i in range(levels) if f"downs.{i}.2.to_out.0.weight" not in own)
    _, heads, _, head_width = own["mid_attn.mem_kv"].shape
    multiples = tuple(len(value) // width for value in below if value is not None)
    network = LucidrainsConfig(width, multiples, full, heads, head_width)
    stated, note = claims or Claims(shape=(channels, 64, 64)), "" if claims else "images of 64x64 are assumed"
    if claims is None and "betas" in own:
        betas, predicts = own["betas"].double(), _objective(own)
        if (steps := len(betas)) != 1000:  # its time input is the index of the step
            predicts = Reread(predicts, steps / 1000, steps / 1000 - 1)
        stated = replace(stated, schedule=ListedBeta(tuple(betas.tolist())), parameterization=predicts)
    elif claims is None:
        note += ", and ε in a linear chain of 1000 steps, as the file has no diffusion"
    claimed = replace(
        stated, network=network, shape=(channels, *stated.shape[1:]), learned_variance=outputs != channels
    )
    notes = (f"denoising-diffusion-pytorch: {note}; claim others by a mapping",) if note else ()
    return Recognised(weights, claimed, notes)


def _objective(own: Mapping[str, Tensor]) -> PredictNoise | PredictClean | PredictVelocity:
    """What is predicted, by the weight of the loss: 1 of ε, SNR of x_0, SNR/(SNR + 1) of v; SNR may be cut off at 5."""
    snr = own["alphas_cumprod"].double() / (1 - own["alphas_cumprod"].double())
    found = own["loss_weight"].double()
    for cut in (snr, snr.clamp(max=5.0)):
        for kind, weight in ((PredictNoise(), cut / snr), (PredictClean(), cut), (PredictVelocity(), cut / (snr + 1))):
            if torch.allclose(found, weight, rtol=1e-3):
                return kind
    raise InputError("file: the weight of its loss is that of no prediction that is known; claim it by a mapping")
