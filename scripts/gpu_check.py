"""What holds on a GPU, and how fast it is: python -m scripts.gpu_check [CHECK …] [--device cuda] [--quick]

Prints a table, line by line, and writes it as JSON, in less than eight minutes:

    agreement     a network forward and backward on the device and on the CPU (`sumi doctor --device`)
    resume        a run that is stopped and resumed there, next to the same run left whole: weights bit for bit
    precision     the loss of the same run in float32, bfloat16 and float16, and of float16 the scale that it ended with
    memory        the most that a step takes, with activations kept and computed again
    pieces        a batch that does not fit, with training.micro_batch=auto
    speed         images a second in training, and share of the fastest bfloat16 matrix product: a U-Net of 35M and a
                  transformer of the size of DiT-B (93M) at 32 px, and the transformer at 16 px, as of latents
    sampling      images a second of the U-Net
    loading       images a second from a mapped file, as they are gathered for a step
    processes     two processes, where there are two devices

A line that fails says why, and the others go on; the exit code is then 1. ``--quick``: small networks and few steps, as
on a CPU, where all but memory, pieces and processes are run.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sumi.check.device import compare_device
from sumi.data import philox
from sumi.data.batch import batch_of
from sumi.data.config import DataConfig
from sumi.data.load import load as load_data
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load
from sumi.randomness import Purpose
from sumi.training.checkpoint import load_checkpoint
from sumi.training.throughput import fastest
from sumi.training_run import Events, train

SMALL = (
    *("network.widths=16,32", "network.blocks=1,1", "network.attention=1"),
    *("training.batch_size=8", "sampling.steps=4"),
)
LARGE = ("network.widths=192,320,512", "network.blocks=2,2,3", "network.attention=1,2", "training.batch_size=256")
DIT_B = ("network.width=768", "network.blocks=12", "network.head_width=64", "network.embedding=768")
PLAIN = ("training.sample_every=0", "training.check_every=0", "training.warmup_steps=2", "training.log_every=1")


@dataclass(frozen=True)
class Line:
    """One line of the table; ``fine`` False: it failed."""

    name: str
    says: str
    fine: bool = True


class Check:
    """All checks on one device, with runs in ``folder``."""

    def __init__(self, device: torch.device, folder: Path, *, quick: bool) -> None:
        self.device, self.folder, self.quick = device, folder, quick
        self.size = SMALL if quick else ()
        self.steps = 4 if quick else 40
        generator = np.random.default_rng(0)
        count = 64 if quick else 4096
        self.images = generator.integers(0, 256, (count, 32, 32, 3), np.uint8)
        self.runs = 0

    def train(self, *settings: str, recipe: str = "ddpm", steps: int | None = None, **options: Any) -> DiffusionModel:
        """A model of random pictures, trained on the device."""
        self.runs += 1
        out = options.pop("out", self.folder / f"run{self.runs}")
        return train(
            recipe,
            data=self.images,
            out=out,
            steps=steps or self.steps,
            settings=[*PLAIN, *settings],
            device=str(self.device),
            **options,
        )

    def agreement(self) -> Iterator[Line]:
        for law in compare_device(self.device):
            yield Line("agreement", f"{law.statement}: {law.deviation:.1e}, at most {law.bound:.0e}", law.holds)

    def noise(self) -> Iterator[Line]:
        """The bits of the CPU, and how long the noise of 512 pictures takes."""
        there, here = (
            philox.normal(3, range(512), 7, Purpose.TRAINING_NOISE, (3, 64, 64), device=place).cpu().view(torch.int32)
            for place in (self.device, torch.device("cpu"))
        )
        others = int((there != here).sum())
        yield Line("noise", f"{others} of {here.numel():,} numbers have other bits than on the CPU", others == 0)
        begin = time.perf_counter()
        for step in range(10):
            made = philox.normal(0, range(512), step, Purpose.TRAINING_NOISE, (3, 32, 32), device=self.device)
        float(made.sum())  # waits for the device
        yield Line("noise", f"{(time.perf_counter() - begin) * 100:.2f} ms for 512 pictures of 32 px")

    def resume(self) -> Iterator[Line]:
        half = self.steps // 2
        settings = (*self.size, f"training.checkpoint_every={half}")
        whole, stopped = self.folder / "whole", self.folder / "stopped"
        self.train(*settings, out=whole)
        self.train(*settings, out=stopped, steps=half)
        self.train(*settings, out=stopped, resume=True)
        one, other = (load_checkpoint(run / "checkpoints" / f"{self.steps:08d}").model for run in (whole, stopped))
        apart = max(float((one[name].double() - other[name].double()).abs().max()) for name in one)
        same = all(torch.equal(one[name], other[name]) for name in one)
        yield Line("resume", "bit for bit" if same else f"weights differ by up to {apart:.1e}", apart < 1e-3)

    def precision(self) -> Iterator[Line]:
        losses: dict[str, float] = {}
        for name in ("fp32", "bf16", "fp16"):
            run = self.folder / name
            self.train(*self.size, f"training.precision={name}", out=run)
            lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
            losses[name] = float(np.mean([line["loss"] for line in lines if "loss" in line]))
            scale = load_checkpoint(run / "checkpoints" / f"{self.steps:08d}").state.get("loss_scale")
            near = abs(losses[name] / losses["fp32"] - 1)
            more = f", scale {scale['value']:g}" if isinstance(scale, dict) else ""
            yield Line("precision", f"{name}: mean loss {losses[name]:.4f}{more}", near < 0.02)

    def memory(self) -> Iterator[Line]:
        for again in ("false", "true"):
            torch.cuda.reset_peak_memory_stats(self.device)
            self.train(*LARGE, f"training.recompute={again}", steps=3)
            most = torch.cuda.max_memory_allocated(self.device) / 2**30
            yield Line("memory", f"U-Net of 35M, batches of 256, recompute={again}: {most:.1f} GiB")

    def pieces(self) -> Iterator[Line]:
        lines: list[str] = []
        whole = torch.cuda.mem_get_info(self.device)[1]
        torch.cuda.set_per_process_memory_fraction(min(1.0, 8 * 2**30 / whole), self.device)
        try:
            self.train(*LARGE, "training.micro_batch=auto", steps=2, events=Events(lines.append))
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, self.device)
        found = [line for line in lines if "at a time" in line]
        yield Line("pieces", found[-1] if found else "all fitted into 8 GiB", bool(found))

    def speed(self) -> Iterator[Line]:
        patches = ("network=transformer", "network.patch=2", "training.batch_size=256", *DIT_B)
        networks = {
            "U-Net of 35M, 32 px": ("ddpm", LARGE),
            "DiT-B, 32 px": ("flow", patches),
            "DiT-B, 16 px": ("flow", ("data.size=16", *patches)),
        }
        if self.quick:
            networks = {"U-Net, small": ("ddpm", SMALL)}
        for name, (recipe, settings) in networks.items():
            lines: list[str] = []
            self.train(*settings, recipe=recipe, steps=24, events=Events(lines.append))
            log = [
                json.loads(line) for line in (self.folder / f"run{self.runs}/metrics.jsonl").read_text().splitlines()
            ]
            each = float(np.median([line["items_per_second"] for line in log if "items_per_second" in line]))
            used = next((line for line in lines if "GFLOP" in line), "not counted")
            yield Line("speed", f"{name}: {each:,.0f} images/s; {used}")
        most = fastest(self.device, torch.bfloat16) / 1e12
        yield Line("speed", f"fastest product of bfloat16 matrices: {most:,.1f} TFLOP/s")

    def sampling(self) -> Iterator[Line]:
        model = self.train(*(SMALL if self.quick else LARGE), steps=2)
        count, steps = (4, 4) if self.quick else (256, 50)
        model.sample(2, steps=2)
        begin = time.perf_counter()
        found = model.sample(count, steps=steps, batch_size=count)
        each = count / (time.perf_counter() - begin)
        yield Line("sampling", f"{each:,.1f} images/s in {steps} steps", bool(found.isfinite().all()))

    def loading(self) -> Iterator[Line]:
        from PIL import Image

        count = 64 if self.quick else 2000
        place = self.folder / "files"
        place.mkdir()
        for k in range(count):
            Image.fromarray(self.images[k % len(self.images)]).save(place / f"{k:05d}.png")
        data = load_data(DataConfig(str(place), size=32, store="mapped"))
        positions, rounds = np.arange(32), 4 if self.quick else 200
        begin = time.perf_counter()
        for step in range(rounds):
            items = np.random.default_rng(step).integers(0, count, len(positions))
            batch_of(data, items, positions, step=step, seed=0, flip=True)
        yield Line("loading", f"{rounds * len(positions) / (time.perf_counter() - begin):,.0f} images/s on one core")

    def processes(self) -> Iterator[Line]:
        out = self.folder / "two"
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--nproc-per-node",
            "2",
            "-m",
            "sumi",
            "train",
            "ddpm",
        ]
        command += ["--data", "digits", "--steps", "20", "--out", str(out), "--no-report"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        model = load(out, DiffusionModel) if done.returncode == 0 else None
        says = "two trained together" if model is not None else done.stderr.strip()[-200:]
        yield Line("processes", says, model is not None)


@contextmanager
def timed(lines: list[Line], name: str) -> Iterator[Callable[[Line], None]]:
    """Prints lines as they come; what is raised becomes one that failed."""

    def add(line: Line) -> None:
        lines.append(line)
        mark = "" if line.fine else "FAILED  "
        print(f"{line.name:10} {time.perf_counter() - begin:6.1f} s  {mark}{line.says}", flush=True)

    begin = time.perf_counter()
    try:
        yield add
    except Exception as error:  # whatever a device does
        add(Line(name, f"{type(error).__name__}: {str(error).splitlines()[0][:200]}", fine=False))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checks", nargs="*", metavar="CHECK", help="default: all that the device allows")
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)
    device: torch.device = options.device
    gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if gpu else platform.processor() or platform.machine()
    about = {"device": name, "torch": str(torch.__version__), "python": platform.python_version()}
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    names = ["agreement", "noise", "resume", "precision", "speed", "sampling", "loading"]
    names += ["memory", "pieces"] if gpu else []
    names += ["processes"] if gpu and torch.cuda.device_count() > 1 else []
    names = [name for name in names if name in options.checks or not options.checks]
    lines: list[Line] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SUMI_CACHE"] = folder
        check = Check(device, Path(folder), quick=options.quick)
        for check_name in names:
            with timed(lines, check_name) as add:
                checks: Iterator[Line] = getattr(check, check_name)()
                for line in checks:
                    add(line)
    options.out.write_text(json.dumps({**about, "lines": [asdict(line) for line in lines]}, indent=1) + "\n")
    return 0 if all(line.fine for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
