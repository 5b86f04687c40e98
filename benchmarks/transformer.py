"""How near the transformer's blocks come to the machine's fastest bfloat16 matrix product.

    python benchmarks/transformer.py [--device cuda] [--widths 256 384 512] [--tokens 64 256]

The peak is the fastest of some square products. The blocks are those of `sumi.networks.transformer`, under autocast to
bfloat16; a token costs 2 (4 w² + 3 w h + 2 T w) operations in the matrix products of a block of width w with a hidden
width h among T tokens, and three times that in training; what else is done counts as nothing. Rounds are interleaved
and medians are printed; on a CPU it is the time of one thread of this process.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor

from sumi.networks.transformer import Block, TransformerConfig, rotations

BLOCKS, ROUNDS, HEAD = 4, 7, 64
PRODUCTS = (512, 1024, 2048)


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Of one call."""
    if device.type == "cuda":
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        run()
        end.record()
        torch.cuda.synchronize()
        return begin.elapsed_time(end) / 1000
    start = time.process_time()
    run()
    return time.process_time() - start


def operations(width: int, tokens: int, batch: int) -> float:
    """Of the matrix products of the blocks, going forward."""
    hidden = Block(TransformerConfig(width=width, head_width=HEAD)).out.in_features
    return BLOCKS * 2.0 * batch * tokens * (4 * width**2 + 3 * width * hidden + 2 * tokens * width)


def blocks(width: int, tokens: int, batch: int, device: torch.device, *, training: bool) -> Callable[[], object]:
    """One pass through some blocks, and back in training."""
    config = TransformerConfig(width=width, head_width=HEAD)
    body = torch.nn.ModuleList(Block(config) for _ in range(BLOCKS)).to(device).requires_grad_(training)
    side = round(tokens**0.5)
    angles = rotations(side, side, HEAD).repeat(1, 2).to(device)
    turns = (angles.cos().float(), angles.sin().float())
    h = torch.randn(batch, tokens, width, device=device, requires_grad=training)
    modulation = torch.randn(batch, 6 * width, device=device)

    def passed() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            x = h
            for block in body:
                x = block(x, modulation, turns)
        return x

    def trained() -> None:
        passed().float().square().mean().backward()

    return trained if training else torch.inference_mode()(passed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", type=torch.device)
    parser.add_argument("--widths", type=int, nargs="+", default=[256, 384, 512])
    parser.add_argument("--tokens", type=int, nargs="+", default=[64, 256], help="square numbers")
    parser.add_argument("--batch-tokens", type=int, default=2048, help="tokens of all pictures of a batch")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device: torch.device = options.device
    squares = [torch.randn(2, n, n, device=device, dtype=torch.bfloat16) for n in PRODUCTS]
    runs: dict[tuple[object, ...], tuple[Callable[[], object], float]] = {
        ("peak", n): ((lambda pair=pair: pair[0] @ pair[1]), 2.0 * n**3)
        for n, pair in zip(PRODUCTS, squares, strict=True)
    }
    for width in options.widths:
        for tokens in options.tokens:
            batch = max(1, options.batch_tokens // tokens)
            for training in (False, True):
                run = blocks(width, tokens, batch, device, training=training)
                runs[(width, tokens, training)] = run, (3 if training else 1) * operations(width, tokens, batch)
    times: dict[tuple[object, ...], list[float]] = {name: [] for name in runs}
    for turn in range(ROUNDS + 2):
        for name, (run, _) in runs.items():
            taken = seconds(run, device)
            if turn >= 2:  # the first two warm up
                times[name].append(taken)
    speeds = {name: operations / statistics.median(times[name]) / 1e9 for name, (_, operations) in runs.items()}
    peak = max(speed for (kind, *_), speed in speeds.items() if kind == "peak")
    print(f"the fastest bfloat16 product: {peak:.0f} GFLOP/s\n")
    print("| width | tokens | sampling, GFLOP/s | share | training, GFLOP/s | share |")
    print("| --- | --- | --- | --- | --- | --- |")
    for width in options.widths:
        for tokens in options.tokens:
            row = [
                f"{speeds[width, tokens, training]:.0f} | {speeds[width, tokens, training] / peak:.2f}"
                for training in (False, True)
            ]
            print(f"| {width} | {tokens} | {' | '.join(row)} |")


if __name__ == "__main__":
    main()
