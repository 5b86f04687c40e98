"""Checkpoints of denoising-diffusion-pytorch.

    init_conv, downs, mid_attn, ups, final_conv    Unet         (`sumi.networks.lucidrains`)
    input_block, downs, mids, ups, output_block    KarrasUnet   (`sumi.networks.karras_unet`)

Those of GaussianDiffusion and LearnedGaussianDiffusion hold the averaged weights, β, and the weight of the loss at each
time, which tells what is predicted. ElucidatedDiffusion is known by the name of its network, ``net``. A U-Net with
learned or random frequencies and without either is of continuous time: it takes the log-SNR, at which what it predicts
is the same on every schedule; the chain of the library's log-SNR at the times 1/1000 to 1 is taken, of its linear
schedule or of a learned one, which is in the file.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from sumi.denoising.parameterization import PredictClean, PredictNoise, PredictVelocity, Reread
from sumi.errors import InputError
from sumi.interop.claims import Claims, Recognised
from sumi.interop.preconditioning import PRECONDITIONED
from sumi.networks.karras_unet import HEAD, KarrasUnetConfig
from sumi.networks.lucidrains import LucidrainsConfig
from sumi.process.chain import ListedBeta

_LUCIDRAINS: Final = (
    *("init_conv", "time_mlp", "downs", "ups", "mid_block1", "mid_attn", "mid_block2"),
    *("final_res_block", "final_conv"),
)
_KARRAS: Final = ("input_block", "to_time_emb", "to_class_emb", "mids", "output_block")
TIMES: Final = torch.arange(1, 1001, dtype=torch.float64) / 1000
"""Of the steps that stand for continuous time."""


def recognised(own: Mapping[str, Tensor], claims: Claims | None) -> Recognised | None:
    """What the tensors are; None: none of its U-Nets. Raises InputError for one that is not known here."""
    elucidated = any(name.startswith("net.") for name in own)
    own = {name.removeprefix("net."): value for name, value in own.items()}
    if {"input_block.weight", "to_time_emb.0.weights", "output_block.0.weight"} <= own.keys():
        network: LucidrainsConfig | KarrasUnetConfig = _karras(own)
        return _claimed(own, network, claims, own["input_block.weight"].shape[1] - 1, len(own["output_block.0.weight"]))
    if not {"init_conv.weight", "final_conv.weight"} <= own.keys():
        return None
    if own["init_conv.weight"].ndim == 3:
        raise InputError("file: is a Unet1D of sequences, and of this library images alone are known here")
    if "mid_attn.mem_kv" not in own:
        raise InputError(
            "file: its U-Net of denoising-diffusion-pytorch has no learned keys, as older ones and that of classes, "
            "which is not known here; import one of a newer version"
        )
    network = _network(own)
    if network.frequencies or elucidated:
        return _claimed(own, network, claims, *_channels(own), further=_of_log_snr(own, elucidated))
    return _claimed(own, network, claims, *_channels(own))


def _claimed(
    own: Mapping[str, Tensor],
    network: LucidrainsConfig | KarrasUnetConfig,
    claims: Claims | None,
    taken: int,
    outputs: int,
    further: tuple[Claims, list[str]] | None = None,
) -> Recognised:
    """A ``network`` that takes and gives so many channels, in its diffusion, or as it is ``further`` known."""
    channels = taken // 2 if network.self_condition else taken
    stated, notes = claims or Claims(shape=(channels, 64, 64)), list[str]()
    if claims is None:
        found, assumed = further or _diffusion(own)
        stated, notes = replace(found, shape=stated.shape), ["images of 64x64 are assumed", *assumed]
    if network.self_condition:
        notes.append("it is conditioned on its own x̂_0 of the step before, and is given 0, as at the library's first")
    count = network.embedding - 1 if isinstance(network, KarrasUnetConfig) else 0
    claimed = replace(
        stated,
        network=network,
        shape=(channels, *stated.shape[1:]),
        learned_variance=outputs == 2 * taken,
        classes=stated.classes if len(stated.classes) == count else tuple(map(str, range(count))),
    )
    note = f"denoising-diffusion-pytorch: {', and '.join(notes)}"
    weights = {n: v for n, v in own.items() if n.partition(".")[0] in (*_LUCIDRAINS, *_KARRAS)}
    return Recognised(weights, claimed, (f"{note}; claim others by a mapping",) if notes else ())


def _channels(own: Mapping[str, Tensor]) -> tuple[int, int]:
    return own["init_conv.weight"].shape[1], len(own["final_conv.weight"])


def _karras(own: Mapping[str, Tensor]) -> KarrasUnetConfig:
    """The shape of a KarrasUnet. Raises InputError for one of other data than images."""
    first, taken, *sides = own["input_block.weight"].shape
    if len(sides) != 2:
        raise InputError("file: is a KarrasUnet of sequences or volumes, and images alone are known here")
    count = 1 + max(int(name.split(".")[1]) for name in own if name.startswith("downs."))
    shrinks = [k for k in range(count) if f"downs.{k}.downsample_conv.weight" in own]
    keys = [value for name, value in own.items() if name.endswith(".attn.mem_kv")]
    attention = [level for level, k in enumerate(shrinks, 1) if f"downs.{k}.attn.mem_kv" in own]
    blocks = shrinks[0] if shrinks else count
    last = len(shrinks) * (blocks + 2) - 1  # the one that doubles the side to that of the images
    if shrinks and f"ups.{last}.attn.mem_kv" in own:
        attention.insert(0, 0)
    return KarrasUnetConfig(
        (first, *(len(own[f"downs.{k}.block1.1.weight"]) for k in shrinks)),
        blocks,
        tuple(attention),
        len(own["to_time_emb.0.weights"]),
        keys[0].shape[-1] if keys else HEAD,
        1 + (own["to_class_emb.weight"].shape[1] if "to_class_emb.weight" in own else 0),
        taken - 1 == 2 * len(own["output_block.0.weight"]),
    )


def _network(own: Mapping[str, Tensor]) -> LucidrainsConfig:
    """The shape of the U-Net. Raises InputError where part of its output is not known here."""
    first, taken = own["init_conv.weight"].shape[:2]
    outputs, width = own["final_conv.weight"].shape[0], own["time_mlp.1.weight"].shape[0] // 4
    if outputs not in (taken, 2 * taken) and taken != 2 * outputs:
        raise InputError(
            f"file: its U-Net takes {taken} channels and gives {outputs}, as WeightedObjectiveGaussianDiffusion's, "
            "which is not known here; import another"
        )
    levels = 1 + max(int(name.split(".")[1]) for name in own if name.startswith("downs."))
    below = [own.get(f"downs.{i}.3.1.weight", own.get(f"downs.{i}.3.weight")) for i in range(levels)]
    full = tuple(i for i in range(levels) if f"downs.{i}.2.to_out.0.weight" not in own)
    _, heads, _, head_width = own["mid_attn.mem_kv"].shape
    return LucidrainsConfig(
        width,
        tuple(len(value) // width for value in below if value is not None),
        full,
        heads,
        head_width,
        first=0 if first == width else first,
        frequencies=len(own["time_mlp.0.weights"]) if "time_mlp.0.weights" in own else 0,
        self_condition=taken == 2 * outputs,
    )


def _of_log_snr(own: Mapping[str, Tensor], elucidated: bool) -> tuple[Claims, list[str]]:
    """The schedule and the prediction of a network with frequencies, and what is assumed of them."""
    if elucidated:
        return PRECONDITIONED, ["σ_data = 0.5 of ElucidatedDiffusion is assumed"]
    log_snr, which = _learned(own), "learned"
    if log_snr is None:
        log_snr, which = linear_log_snr(TIMES), "linear"
    claims = Claims(schedule=_chain(log_snr), parameterization=Reread(PredictNoise(), -2.0, clock="log_ratio"))
    assumed = "parameterization.of=velocity, or schedule, says another"
    return claims, [f"ε of ContinuousTimeGaussianDiffusion with its {which} log-SNR is assumed ({assumed})"]


def _diffusion(own: Mapping[str, Tensor]) -> tuple[Claims, list[str]]:
    """The schedule and the prediction by the tensors of the diffusion, and what is assumed of them."""
    if "betas" not in own:
        return Claims(), ["ε in a linear chain of 1000 steps is, as the file has no diffusion"]
    betas, predicts = own["betas"].double(), _objective(own)
    if (steps := len(betas)) != 1000:  # its time input is the index of the step
        predicts = Reread(predicts, steps / 1000, steps / 1000 - 1)
    return Claims(schedule=ListedBeta(tuple(betas.tolist())), parameterization=predicts), []


def linear_log_snr(times: Tensor) -> Tensor:
    """The log-SNR of the library's "linear" schedule in continuous time."""
    return -torch.expm1(1e-4 + 10 * times**2).log()


def _learned(own: Mapping[str, Tensor]) -> Tensor | None:
    """The log-SNR at `TIMES` of a learned schedule, from that of the linear one at 0 to that at 1; None: there is none.

    Its network is x + b·sigmoid(a·x + c) + d of x = w·t + e, with weights that are positive.
    """
    if "log_snr.net.1.net.weight" not in own:
        return None
    layers = (
        [own[f"log_snr.net.{place}.net.{leaf}"].double().abs() for leaf in ("weight", "bias")]
        for place in ("1", "2.fn.0", "2.fn.2")
    )
    first, up, down = layers
    times = torch.cat([TIMES.new_tensor([0.0, 1.0]), TIMES])[:, None]
    x = F.linear(times, *first)
    x = (x + F.linear(F.linear(x, *up).sigmoid(), *down))[:, 0]
    ends = linear_log_snr(TIMES.new_tensor([0.0, 1.0]))
    return ends[0] + (ends[1] - ends[0]) * (x[2:] - x[0]) / (x[1] - x[0])


def _chain(log_snr: Tensor) -> ListedBeta:
    """The chain with these log-SNR after each of its steps."""
    alpha_bar = log_snr.sigmoid()
    return ListedBeta(tuple((1 - alpha_bar / torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])).tolist()))


def _objective(own: Mapping[str, Tensor]) -> PredictNoise | PredictClean | PredictVelocity:
    """What is predicted, by the weight of the loss: 1 of ε, SNR of x_0, SNR/(SNR + 1) of v; SNR may be cut off at 5."""
    snr = own["alphas_cumprod"].double() / (1 - own["alphas_cumprod"].double())
    found = own["loss_weight"].double()
    for cut in (snr, snr.clamp(max=5.0)):
        for kind, weight in ((PredictNoise(), cut / snr), (PredictClean(), cut), (PredictVelocity(), cut / (snr + 1))):
            if torch.allclose(found, weight, rtol=1e-3):
                return kind
    raise InputError("file: the weight of its loss is that of no prediction that is known; claim it by a mapping")
