"""What starting costs: each line in a fresh process, beside bare Python and `import torch`.

    python benchmarks/startup.py

`import sumi` loads nothing heavy; `sumi --help` imports no torch; the first image is 3x32x32, ten steps, from a model
that was saved before the clock starts. Wall seconds on one thread, rounds interleaved, medians.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SAVE = """
from pathlib import Path
from sumi import recipes
from sumi.data.config import DataConfig
from sumi.models.diffusion.build import build_denoiser
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.model import ImageSpec, RunDescription
config, images = recipes.build("ddpm", DataConfig(source="photos")), ImageSpec(3, 32, 32, 256, ())
folder = Path({folder!r})
DiffusionModel(RunDescription(config, images, "", 0.5), build_denoiser(config, images), 1, folder).save(folder)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", SAVE.format(folder=folder)], check=True, env=environment)
        command = str(Path(sys.executable).with_name("sumi"))
        image = f"import sumi; sumi.load({folder!r}).sample(1, steps=10)"
        lines = {
            "python": [sys.executable, "-c", "pass"],
            "import sumi": [sys.executable, "-c", "import sumi"],
            "sumi --help": [command, "--help"],
            "import torch": [sys.executable, "-c", "import torch"],
            "first image": [sys.executable, "-c", image],
        }
        seconds: dict[str, list[float]] = {name: [] for name in lines}
        for round_number in range(options.rounds + 1):
            for name, line in lines.items():
                begin = time.perf_counter()
                subprocess.run(line, check=True, env=environment, stdout=subprocess.DEVNULL)
                if round_number:  # the first only warms the disk's cache
                    seconds[name].append(time.perf_counter() - begin)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in median.items():
        print(f"{name:14} {value:7.3f} s")
    print(f"import sumi over bare Python: {median['import sumi'] - median['python']:.3f} s")
    print(f"sumi --help: {median['sumi --help'] / median['python']:.1f} bare Python starts")
    print(f"first image over import torch: {median['first image'] - median['import torch']:.3f} s")


if __name__ == "__main__":
    main()
