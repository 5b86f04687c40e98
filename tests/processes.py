"""Runs of every way in which the items of a batch meet, and the processes that train them together."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.coloured import coloured

TINY = ["network.widths=16", "network.blocks=1", "training.batch_size=8", "training.precision=fp32"]
SMALL = [*TINY, "network.embedding=16", "training.warmup_steps=2", "sampling.steps=2"]
SLOW = ["training.learning_rate=1e-4"]  # Adam enlarges the rounding of tiny gradients to a share of it
TEXTS = [
    *("network.widths=16,16,16", "network.blocks=0,1,0", "network.features=32", "width=16"),
    *("encoder.width=32", "encoder.layers=1", "encoder.length=16", "encoder.tokens=300"),
    *("training.batch_size=32", "training.warmup_steps=5", "training.precision=fp32", "data.source=coloured"),
    *SLOW,
]
RUNS = {
    "ddpm": ("ddpm", [*SMALL, "data.flip=true", "network.dropout=0.2", "training.accumulation=2"]),
    "importance": ("improved-ddpm", [*SMALL, "times=importance", "times.steps=1000", "times.history=1"]),
    "learned": ("vdm", [*SMALL, *SLOW]),
    "vectors": ("flow", ["data.source=swiss-roll", "training.batch_size=64", "training.precision=fp32"]),
    "derivative": ("mean-flow", [*SMALL]),
    "consistency": ("consistency", [*SMALL]),
    "muon": ("classifier-free", [*SMALL, "training.optimizer=muon"]),
    "adversarial": ("autoencoder", [*TINY, "loss.adversarial=0.5", "loss.adversarial_start=0.3"]),
    "codebook": (
        "autoencoder",
        [*TINY, "network.regularizer=vq", "network.regularizer.codes=16", "loss.half_size=0.5"],
    ),
    "latent": (
        "latent",
        [
            *SMALL,
            *SLOW,
            "network.attention=",
            "autoencoder.steps=3",
            "autoencoder.batch_size=8",
            "autoencoder.network.widths=16",
            "autoencoder.network.blocks=1",
        ],
    ),
    "contrastive": ("clip", TEXTS),
    "both-ways": ("clip", [*TEXTS, "loss=softmax"]),
    "gan": ("gan", TINY),
    "classifier": ("noisy-classifier", [*TINY, "network.attention=", "network.head_width=16"]),
}
"""Recipes, and their settings, of every way in which the items of a batch meet."""
QUICK = ["training.batch_size=8", "training.precision=fp32", "training.warmup_steps=2"]
BLOCKS = ["network.width=16", "network.head_width=8", "network.blocks=1", "network.embedding=16", *QUICK]
WORDS = ["encoder.width=32", "encoder.tokens=300", "encoder.length=16"]
OTHERS = {
    "energy": SMALL,
    "edm": SMALL,
    "nonequilibrium": SMALL,
    "upscale": SMALL,
    "guided": [*SMALL, *SLOW, "network.attention=", "network.head_width=16"],
    "dit": [
        *(*BLOCKS, "autoencoder.steps=3", "autoencoder.batch_size=8", "autoencoder.network.widths=16"),
        "autoencoder.network.blocks=1",
    ],
    "text-to-image": [
        *(*BLOCKS, "data.source=coloured", "network.patch=4", *(f"conditioning.{word}" for word in WORDS)),
    ],
    "imagen": [
        *(*BLOCKS, "data.source=coloured", "sizes=8,16", *WORDS),
        *("upper.widths=16", "upper.blocks=1", "upper.embedding=16"),
    ],
    "molecules": [
        *(*QUICK, "data.source=qm7-small", "network.width=8", "network.pair_width=8", "network.vectors=4"),
        *("network.layers=1", "network.embedding=8"),
    ],
    "symbols": [*BLOCKS, "data.source=qm9-smiles"],
    "symbol-classifier": [*BLOCKS, "data.source=qm9-smiles", "values=logp"],
    "audio": [*SMALL, "data.source=spoken-digits", "autoencoder.bands=16", "data.seconds=0.25"],
    "diffwave": [
        *(*QUICK, "data.source=spoken-digits", "data.seconds=0.25", "network.layers=3", "network.channels=8"),
        *("network.cycle=2", "network.embedding=8"),
    ],
    "vae": [*QUICK, "training.learning_rate=1e-5", "network.widths=16,32", "network.latent=4"],
    "pixelcnn": [*QUICK, "network.width=8", "network.blocks=1"],
    "judge": [*QUICK, *SLOW, "data.source=coloured", *TEXTS[:3]],
}
"""Recipes whose networks, losses or data are others than those of the above."""
SHARDED = {
    **RUNS,
    **{name: (name, settings) for name, settings in OTHERS.items()},
    "transformer": (
        "jit",
        [
            *("network.width=16", "network.head_width=8", "network.blocks=2", "training.recompute=true"),
            *(*SMALL[2:4], *SMALL[5:]),
        ],
    ),
}
"""Also those of which the loss, or a block, is computed in its own way."""
FREE = {("both-ways", "bias"), ("gan", "discriminator.out.bias")}
"""Weights that the loss does not depend on: their gradient is rounding, which Adam enlarges."""
STEPS = 4


def settings_of(name: str) -> tuple[str, list[str], object]:
    recipe, settings = SHARDED[name]
    data = [one.partition("=")[2] for one in settings if one.startswith("data.source=")]
    data = [coloured(2) if one == "coloured" else one for one in data]
    return recipe, [one for one in settings if not one.startswith("data.source=")], *(data or ["digits"])


def start(command: list[str], size: int = 2) -> list[subprocess.Popen[str]]:
    """The processes of a group, without a launcher."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size), "OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[1]
    return [
        subprocess.Popen(
            [sys.executable, *command],
            env={**os.environ, **address, "RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": str(root)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=root,
        )
        for rank in range(size)
    ]


def ended(processes: list[subprocess.Popen[str]], within: float) -> list[tuple[int, str]]:
    """Their exit codes and what they wrote."""
    try:
        written = [process.communicate(timeout=within)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, text) for process, text in zip(processes, written, strict=True)]


def once_trained(run: Path, step: int) -> None:
    """Wait until the run has a checkpoint of this step."""
    limit = time.monotonic() + 60
    while not (run / f"checkpoints/{step:08d}").exists():
        assert time.monotonic() < limit
        time.sleep(0.05)
