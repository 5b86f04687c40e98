"""Two processes against one: the same batches, each process on one core.

    python -m benchmarks.processes [--steps N] [--rounds N]
    python -m benchmarks.processes --paper

Prints images/s of training a U-Net of 1.5 million parameters at 32 px in batches of 64: one process, then two that
share each batch, in turns; the median of the rounds and their ratio. Then what is exchanged: the bytes of a step's
gradients, and the time that the processes take to add up as many numbers while they do nothing else. ``--paper``
prints what that costs elsewhere: each of N processes sends and receives 2 (N - 1)/N times the gradients' bytes
(Patarasuk & Yuan 2009).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SETTINGS = (
    *("data.size=32", "training.batch_size=64", "training.precision=fp32", "training.log_every=5"),
    *("training.sample_every=0", "training.checkpoint_every=1000000"),
)
EXCHANGE = """
import sys, time
import torch
from sumi.boundary.group import joined
count, rounds = int(sys.argv[1]), 20
with joined() as group:
    x, times = torch.ones(count), []
    for _ in range(rounds):
        group.wait()
        begun = time.perf_counter()
        group.total(x)
        times.append(time.perf_counter() - begun)
    if group.first:
        print(sorted(times)[rounds // 2])
"""


NETWORKS = {"U-Net, 1.5 M": 1.5e6, "U-Net, 35 M": 35e6, "DiT-B, 130 M": 130e6, "DiT-XL, 675 M": 675e6}
LINKS = {"1 Gb/s Ethernet": 0.125e9, "100 Gb/s InfiniBand": 12.5e9, "NVLink, 300 GB/s": 300e9}


def paper() -> None:
    """Milliseconds a step of the exchange of float32 gradients, of networks by link, for 2, 8 and 1,024 processes."""
    print("| network | bytes a step | " + " | ".join(LINKS) + " |")
    print("| --- | --- |" + " --- |" * len(LINKS))
    for name, parameters in NETWORKS.items():
        sent = 4 * parameters
        shares = [2 * (size - 1) / size for size in (2, 8, 1024)]
        times = [
            " / ".join(f"{1e3 * share * sent / bandwidth:,.{2 if bandwidth > 1e9 else 0}f}" for share in shares)
            for bandwidth in LINKS.values()
        ]
        print(f"| {name} | {sent / 1e6:,.0f} MB | " + " | ".join(times) + " |")


def launched(size: int, command: list[str]) -> str:
    """What so many processes of ``python COMMAND`` print. Raises RuntimeError if they fail."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(size), "--no-python"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole = [sys.executable, *launcher, sys.executable, *command]
    found = subprocess.run(whole, env=environment, capture_output=True, text=True, check=False)
    if found.returncode:
        raise RuntimeError(found.stderr)
    return found.stdout


def speed(size: int, steps: int) -> float:
    """Images/s of a training by so many processes: the median of its log's lines but the first."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        options = [word for one in SETTINGS for word in ("--set", one)]
        command = ["train", "ddpm", "--data", "fashion", "--steps", str(steps), "--report", "none", "--out", str(out)]
        launched(size, ["-m", "sumi", *command, "--device", "cpu", *options])
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return statistics.median(line["items_per_second"] for line in lines[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--paper", action="store_true")
    options = parser.parse_args()
    if options.paper:
        paper()
        return
    found: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(options.rounds):
        for size, speeds in found.items():
            speeds.append(speed(size, options.steps))
    one, two = (statistics.median(found[size]) for size in (1, 2))
    print(f"images/s: one process {one:.1f}, two processes {two:.1f}, ratio {two / one:.2f}")
    weights = 1_509_633
    for count in (weights, 10 * weights, 50 * weights):
        seconds = float(launched(2, ["-c", EXCHANGE, str(count)]))
        print(f"{count:,} gradients, {4 * count / 1e6:.0f} MB: added up in {1e3 * seconds:.1f} ms", flush=True)


if __name__ == "__main__":
    main()
