"""Training speed and quality per CPU-second of the U-Net, side by side with the U-Nets of other toolkits.

    python benchmarks/train_step.py                     images per CPU-second of a whole training step, 1.5M parameters
    python benchmarks/train_step.py --size both         the same, and of networks of 10M
    python benchmarks/train_step.py --loss 60           held-out loss after 60 CPU-seconds of training each
    python benchmarks/train_step.py --loss 60 --data images.npy        on uint8 images (N, C, H, W) of your own

All networks have about the same number of parameters and one step is the same for all: noise an image batch with
alpha = cos(πt/2), sigma = sin(πt/2), predict the noise, squared error, backward, fused AdamW, EMA. The time is CPU
seconds of this process on one thread, which a busy machine disturbs least; rounds are interleaved (A B C A B C …) and
the medians are printed. Toolkits that are not installed are left out by name. For reference the peers also run at their
defaults ("eager": contiguous memory, float32); "tuned" is channels-last memory and bfloat16 autocast, as ours runs. The
last column is the share of the fastest bfloat16 convolution here that the operations of a step reach (those of
convolutions, matrix products and attention: `sumi.training.throughput`).

With ``--loss`` every network trains tuned for the same CPU time at each of three learning rates, decaying linearly to
zero as the time runs out, on the same images; its best held-out loss stands in the table. The held-out images, times
and noise are the same for all, and the error is that of the difference from ours, image by image. It does not hold what
another start or a busier machine changes: between two runs of the same network that was up to 4 % of the loss.
"""

import argparse
import importlib
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from stand_ins import k_diffusion_toolkit, lucidrains_toolkit
from torch import Tensor, nn

from sumi.networks.unet import UNetConfig
from sumi.training.throughput import Throughput

SIZES = {"1.5M": (1_500_000, UNetConfig()), "10M": (10_000_000, UNetConfig(widths=(80, 160, 336), embedding=480))}
"""Parameters that the others' width is chosen for, and our network of about as many."""
LEARNING_RATES = (1e-3, 2e-3, 4e-3)
HELD_OUT = 2048

Call = Callable[[nn.Module, Tensor, Tensor], Tensor]


# Toolkits are imported by name where they are built, since any may be absent. Each builder gives a network of base
# width `width` for images of ``channels`` and a side, and how to call it with t in [0, 1].


def diffusers(width: int, channels: int, side: int) -> tuple[nn.Module, Call]:
    net = importlib.import_module("diffusers").UNet2DModel(
        sample_size=side,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(width, 2 * width, 4 * width),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        attention_head_dim=width,
    )
    return net, lambda net, x, t: net(x, 1000 * t, return_dict=False)[0]


def lucidrains(width: int, channels: int, side: int) -> tuple[nn.Module, Call]:
    del side
    net = lucidrains_toolkit().Unet(dim=width, dim_mults=(1, 2, 4), channels=channels)
    return net, lambda net, x, t: net(x, 1000 * t)


def k_diffusion(width: int, channels: int, side: int) -> tuple[nn.Module, Call]:
    del side
    net = k_diffusion_toolkit().models.ImageDenoiserModelV1(
        c_in=channels,
        feats_in=128,
        depths=(2, 2, 2),
        channels=(width, 2 * width, 4 * width),
        self_attn_depths=(False, False, True),
    )
    # It takes sigma and reads its logarithm: spread t over the usual range of it.
    return net, lambda net, x, t: net(x, (6 * t - 4).exp())


def azula(width: int, channels: int, side: int) -> tuple[nn.Module, Call]:
    del side
    layers, unet = importlib.import_module("azula.nn.layers"), importlib.import_module("azula.nn.unet")

    class Timed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoding = nn.Sequential(layers.SineEncoding(128), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 128))
            self.unet = unet.UNet(
                channels,
                channels,
                hid_channels=(width, 2 * width, 4 * width),
                hid_blocks=(2, 2, 2),
                mod_features=128,
                norm="group",
                groups=8,
            )

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return self.unet(x, self.encoding(t))

    # Its encoding turns by one radian a unit at most: t in [0, 1] would tell it little of the noise level.
    return Timed(), lambda net, x, t: net(x, 1000 * t)


# diffusers comes before those that need stand-ins: what it imports must be the real thing or absent.
OURS = "sumi"
PEERS = {
    "diffusers": (diffusers, 4),
    "azula": (azula, 8),
    "k-diffusion": (k_diffusion, 8),
    "lucidrains": (lucidrains, 4),
}


@dataclass
class Contender:
    """A network, how to call it, and how it runs."""

    name: str
    network: nn.Module
    call: Call
    tuned: bool

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.network.parameters())

    def loss(self, clean: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Squared error of the predicted noise, (N,)."""
        angle = (math.pi / 2) * t.view(-1, 1, 1, 1)
        x = clean * angle.cos() + noise * angle.sin()
        if self.tuned:
            x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.tuned):
            predicted = self.call(self.network, x, t)
        return (predicted.float() - noise).square().flatten(1).mean(1)


def build(name: str, channels: int, side: int, tuned: bool = True, size: str = "1.5M") -> Contender:
    """The toolkit's network with the number of parameters nearest to those of the size."""
    parameters, own = SIZES[size]
    torch.manual_seed(0)
    if name == OURS:
        network = own.build((channels, side, side))
        best = Contender(name, network, lambda net, x, t: net(x, 1000 * t), tuned)
    else:
        best = nearest(name, channels, side, tuned, parameters)
    if tuned:
        for weight in best.network.parameters():
            if weight.dim() == 4:
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    return best


def nearest(name: str, channels: int, side: int, tuned: bool, parameters: int) -> Contender:
    """Of the widths that the toolkit's network allows, the one with the number of parameters nearest to that."""
    builder, step = PEERS[name]
    best: Contender | None = None
    for width in range(step, 40 * step, step):
        torch.manual_seed(0)
        try:
            found = Contender(name, *builder(width, channels, side), tuned)
        except AssertionError:  # a width that the peer's heads or groups do not divide
            continue
        if best is None or abs(found.parameters - parameters) < abs(best.parameters - parameters):
            best = found
        if found.parameters > parameters:
            break
    assert best is not None
    return best


class Training:
    """One contender in training: every call of `step` is forward, backward, fused AdamW and EMA."""

    def __init__(self, contender: Contender, learning_rate: float) -> None:
        self.contender = contender
        self.weights: list[Tensor] = list(contender.network.parameters())
        self.average = [weight.detach().clone() for weight in self.weights]
        self.optimizer = torch.optim.AdamW(self.weights, lr=learning_rate, fused=True)

    def step(self, clean: Tensor, t: Tensor, noise: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.contender.loss(clean, t, noise).mean().backward()
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.weights, 1e-3)


def fastest_convolution(channels: int = 128, side: int = 32, batch: int = 16) -> float:
    """Operations a CPU second of a 3×3 convolution in bfloat16, the best of several."""
    shapes = (batch, channels, side, side), (channels, channels, 3, 3)
    x, weight = (torch.randn(s).to(torch.bfloat16).contiguous(memory_format=torch.channels_last) for s in shapes)
    seconds: list[float] = []
    for _ in range(8):
        start = time.process_time()
        torch.conv2d(x, weight, padding=1)
        seconds.append(time.process_time() - start)
    return 2 * 9 * channels**2 * side**2 * batch / min(seconds)


def speeds(
    contenders: list[Contender], channels: int, side: int, batch: int, rounds: int
) -> tuple[list[float], list[float]]:
    """Images per CPU-second of each, median over interleaved rounds, and operations an image."""
    clean, noise = torch.randn(2, batch, channels, side, side)
    t = torch.rand(batch)
    trainings = [Training(contender, 1e-4) for contender in contenders]
    operations: list[float] = []
    for training in trainings:
        counting = Throughput(torch.device("cpu"), torch.bfloat16)
        counting.counted(lambda: training.step(clean, t, noise))  # noqa: B023
        operations.append(counting.operations / batch)
    seconds: list[list[float]] = [[] for _ in contenders]
    for turn in range(rounds + 2):
        for training, measured in zip(trainings, seconds, strict=True):
            start = time.process_time()
            training.step(clean, t, noise)
            if turn >= 2:  # the first two warm up
                measured.append(time.process_time() - start)
    return [batch / statistics.median(measured) for measured in seconds], operations


def trained_loss(
    name: str, images: Tensor, held_out: Tensor, learning_rate: float, cpu_seconds: float, batch: int
) -> tuple[Tensor, int]:
    """Held-out loss of every image (HELD_OUT,) after so much training, and the number of steps that took.

    The learning rate falls linearly to zero with the time spent, and the time is what `step` takes: evaluation and the
    drawing of batches are not counted.
    """
    _, channels, side, _ = images.shape
    contender = build(name, channels, side)
    training = Training(contender, learning_rate)
    generator = torch.Generator().manual_seed(1)
    spent, steps = 0.0, 0
    while spent < cpu_seconds:
        clean = images[torch.randint(len(images), (batch,), generator=generator)]
        t = torch.rand(batch, generator=generator)
        noise = torch.randn(clean.shape, generator=generator)
        training.optimizer.param_groups[0]["lr"] = learning_rate * (1 - spent / cpu_seconds)
        start = time.process_time()
        training.step(clean, t, noise)
        spent += time.process_time() - start
        steps += 1
    contender.network.eval()
    generator.manual_seed(2)
    noise = torch.randn(held_out.shape, generator=generator)
    t = (torch.arange(len(held_out)) + 0.5) / len(held_out)
    with torch.no_grad():
        parts = zip(held_out.split(256), t.split(256), noise.split(256), strict=True)
        return torch.cat([contender.loss(*part) for part in parts]), steps


def scaled(images: np.ndarray) -> Tensor:
    """uint8 (N, C, H, W) as float32 in [-1, 1], in one fixed shuffled order."""
    order = np.random.default_rng(0).permutation(len(images))
    return torch.from_numpy(images[order]).float() / 127.5 - 1


def installed(wanted: list[str], channels: int, side: int) -> list[str]:
    """Ours, and those of the wanted toolkits that can be imported; the others are named on the terminal."""
    found = [OURS]
    for name in (name for name in PEERS if name in wanted):
        try:
            PEERS[name][0](32, channels, side)
        except ImportError as problem:
            print(f"{name}: not installed, left out ({problem})")
        else:
            found.append(name)
    return found


def print_speeds(names: list[str], size: str, side: int, channels: int, batch: int, rounds: int) -> None:
    contenders = [
        build(name, channels, side, tuned, size)
        for name in names
        for tuned in ((True,) if name == OURS else (True, False))
    ]
    measured, operations = speeds(contenders, channels, side, batch, rounds)
    own, peak = measured[0], fastest_convolution()
    print(f"\ntraining step, {channels}x{side}x{side}, batch {batch}, one thread")
    print(f"fastest bfloat16 convolution: {peak / 1e9:,.0f} GFLOP/CPU-s")
    print(f"{'':12} {'':7} {'parameters':>10} {'images/CPU-s':>13} {'sumi is':>9} {'of peak':>8}")
    for contender, speed, each in zip(contenders, measured, operations, strict=True):
        how, share = "tuned" if contender.tuned else "eager", speed * each / peak
        name, count = contender.name, contender.parameters
        print(f"{name:12} {how:7} {count:10,} {speed:13.1f} {own / speed:8.2f}x {share:8.1%}", flush=True)


def print_losses(names: list[str], images: Tensor, cpu_seconds: float, batch: int) -> None:
    train, held_out = images[HELD_OUT:], images[:HELD_OUT]
    print(f"\nheld-out loss after {cpu_seconds:g} CPU-seconds of training, batch {batch}, one thread")
    print(f"{'':12} {'steps':>7} {'rate':>7} {'loss':>8} {'minus sumi':>11} {'± s.e.':>8}   (every rate)")
    own: Tensor | None = None
    for name in names:
        results = {rate: trained_loss(name, train, held_out, rate, cpu_seconds, batch) for rate in LEARNING_RATES}
        rate = min(results, key=lambda rate: float(results[rate][0].mean()))
        losses, steps = results[rate]
        own = losses if own is None else own
        difference = losses - own
        error = float(difference.std()) / math.sqrt(len(losses))
        every = "  ".join(f"{rate:g}: {float(result[0].mean()):.5f}" for rate, result in results.items())
        print(
            f"{name:12} {steps:7,} {rate:7g} {float(losses.mean()):8.5f} {float(difference.mean()):+11.5f} "
            f"{error:8.5f}   ({every})",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loss", type=float, metavar="SECONDS", help="train each for so many CPU-seconds a rate")
    parser.add_argument(
        "--data", type=Path, metavar="PATH.npy", help="uint8 (N, C, H, W); else the built-in fashion set"
    )
    parser.add_argument("--peers", default=",".join(PEERS), help="which toolkits, default %(default)s, besides our own")
    parser.add_argument("--size", default="1.5M", choices=(*SIZES, "both"), help="parameters, of the speed table")
    parser.add_argument("--side", type=int, default=32, help="side of the images of the speed table")
    parser.add_argument("--channels", type=int, default=3, help="channels of the images of the speed table")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    wanted = arguments.peers.split(",")
    if unknown := set(wanted) - set(PEERS):
        parser.error(f"--peers: no {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    torch.set_num_threads(1)
    if arguments.loss is None:
        names = installed(wanted, arguments.channels, arguments.side)
        for size in SIZES if arguments.size == "both" else (arguments.size,):
            print_speeds(names, size, arguments.side, arguments.channels, arguments.batch, arguments.rounds)
        return
    if arguments.data is not None:
        images = scaled(np.load(arguments.data))
    else:
        from sumi.data.config import DataConfig
        from sumi.data.dataset import everything
        from sumi.data.load import load

        pixels = everything(load(DataConfig(source="fashion")))
        images = scaled(((pixels + 1) * 127.5).round().to(torch.uint8).numpy())
    names = installed(wanted, images.shape[1], images.shape[2])
    print_losses(names, images, arguments.loss, arguments.batch)


if __name__ == "__main__":
    main()
