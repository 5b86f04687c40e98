"""What each of two processes holds, sends and takes for a step, with all weights and with its share of them.

    python -m benchmarks.sharding [--width 512] [--blocks 8] [--steps 6] [--rounds 2]

A transformer of pixels (`jit`) on the built-in fashion images, two gloo processes of one thread each, in turns with
`training.shard=none` and `full`. Held: weights, averages, optimizer and gradients after a step. Most: resident memory
of a process over that before the trainer was built. Sent: bytes over the loopback device in a step, per process, in
units of the weights' bytes. Medians of the steps but the first two.
"""

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor

from benchmarks.processes import launched
from sumi.boundary.group import group, joined
from sumi.boundary.settings import override
from sumi.data.config import DataConfig
from sumi.data.load import load
from sumi.recipes import build
from sumi.training.optimizer import optimizer_tensors
from sumi.training.sharding import rows
from sumi.training.trainer import Trainer


def loopback() -> int:
    """Bytes that the loopback device has sent so far."""
    line = next(one for one in Path("/proc/net/dev").read_text().splitlines() if one.strip().startswith("lo:"))
    return int(line.split(":")[1].split()[8])


def resident() -> float:
    """The most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1e3


def held(trainer: Trainer) -> int:
    """Bytes of weights, averages, optimizer and gradients in this process, each tensor once."""
    tensors: list[Tensor] = [*trainer.model.state_dict().values(), *trainer.ema.tensors().values()]
    tensors += optimizer_tensors(trainer.optimizer, trainer.model).values()
    tensors += [weight.grad for weight in trainer.model.parameters() if weight.grad is not None]
    places = {one.data_ptr(): one.numel() * one.element_size() for one in map(rows, tensors) if one.numel()}
    return sum(places.values())


def measure(shard: str, width: int, blocks: int, steps: int) -> None:
    """Of this process; the first one prints what all found."""
    torch.set_num_threads(1)
    settings = [f"training.shard={shard}", f"network.width={width}", f"network.blocks={blocks}", "network.patch=4"]
    settings += ["training.batch_size=8", "training.precision=fp32", "training.sample_every=0", "data.size=32"]
    with joined() as members, tempfile.TemporaryDirectory() as folder:
        data = load(override(build("jit", DataConfig("fashion")), settings).data)
        config = override(build("jit", DataConfig("fashion"), data.spec), settings)
        objective = config.build(data.spec)
        objective.fit(data)
        count = sum(weight.numel() for weight in objective.parameters())
        before = resident()
        trainer = Trainer(config.training, objective.train(), data, 0, Path(folder))
        sent, times = list[float](), list[float]()
        for step in range(1, steps + 1):
            members.wait()
            first, begun = loopback(), time.perf_counter()
            trainer.take_step(step)
            members.wait()
            times.append(time.perf_counter() - begun)
            sent.append((loopback() - first) / group().size / (4 * count))
        own = torch.tensor([held(trainer), resident() - before], dtype=torch.float64)
        mean = (group().total(own) / group().size).tolist()
        if members.first:
            found = [count, *mean, statistics.median(sent[2:]), statistics.median(times[2:])]
            print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--shard", choices=("none", "full"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.shard is not None:
        measure(options.shard, options.width, options.blocks, options.steps)
        return
    found: dict[str, list[list[float]]] = {"none": [], "full": []}
    for _ in range(options.rounds):
        for shard, rounds in found.items():
            flags = [f"--{name}={getattr(options, name)}" for name in ("width", "blocks", "steps")]
            output = launched(2, ["-m", "benchmarks.sharding", f"--shard={shard}", *flags])
            rounds.append(json.loads(output.splitlines()[-1]))
    print("| training.shard | parameters | held, MB | most, MB | sent, of the weights | a step, s |")
    print("| --- | --- | --- | --- | --- | --- |")
    for shard, rounds in found.items():
        count, own, most, sent, seconds = (statistics.median(column) for column in zip(*rounds, strict=True))
        row = [shard, f"{count:,.0f}", f"{own / 1e6:,.0f}", f"{most / 1e6:,.0f}", f"{sent:.2f}", f"{seconds:.2f}"]
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
