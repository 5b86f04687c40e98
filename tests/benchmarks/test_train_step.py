"""The benchmark of a training step prints speeds, and the share of the machine's peak that they reach."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_it_prints_the_share_of_the_fastest_convolution() -> None:
    own = ["--peers", "lucidrains", "--side", "16", "--channels", "1", "--batch", "8", "--rounds", "1"]
    command = [sys.executable, str(ROOT / "benchmarks/train_step.py"), *own]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert "fastest bfloat16 convolution: " in done.stdout
    line = next(line for line in done.stdout.splitlines() if line.startswith("sumi "))
    name, how, parameters, speed, ratio, share = line.split()
    assert (name, how, parameters, ratio) == ("sumi", "tuned", "1,500,864", "1.00x")
    assert float(speed) > 0
    assert 0 < float(share.removesuffix("%")) <= 100
