"""Train every recipe on the built-in data, measure it, and print the rows of docs/results/systems.md.

    python benchmarks/results.py digits [NAME …]     systems on handwritten digits: Fréchet distance by steps, bits/dim
    python benchmarks/results.py vectors [NAME …]    points and bits: energy distance, nats or bits, log Z
    python benchmarks/results.py audio [NAME …]      distances, classes heard, copies and loudness of spoken digits
    python benchmarks/results.py molecules [NAME …]  stability, sound, different and new ones, bond lengths, energies
    python benchmarks/results.py symbols [NAME …]    bits per character, valid, different and new strings

Several tables can be named before the systems. Those of sound, molecules and symbols are of trainings of some minutes;
what an hour reaches is in docs/results/beyond-pictures.md. Runs are kept in runs/results and not trained again. One
thread, so that figures repeat; the time is CPU seconds.
"""

import os
import platform
import shutil
import sys
import time
from itertools import takewhile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from sumi.data.builtin.vectors import POINTS, load_ring_of_8, ring_log_density
from sumi.data.config import DataConfig
from sumi.data.image_set import ImageDataset
from sumi.data.pixels import PixelRange
from sumi.evaluation.audio import AudioEvaluation
from sumi.evaluation.images import learn_features
from sumi.evaluation.molecules import MoleculeEvaluation
from sumi.evaluation.result import VectorEvaluation
from sumi.evaluation.symbols import SymbolEvaluation
from sumi.metrics.features.network import FeatureNetwork
from sumi.metrics.frechet import frechet_distance
from sumi.metrics.intervals import Estimate
from sumi.metrics.molecules import MoleculeFigures
from sumi.models.diffusion.likelihood import likelihood
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load
from sumi.report.evaluate import evaluate
from sumi.training_run import train

FOLDER = Path("runs/results")
SMALL = (
    "network.widths=32,64",
    "network.blocks=1,3",
    "network.embedding=96",
    "training.learning_rate=2e-3",
    "training.decay=linear",
    "training.sample_every=0",
    "training.precision=fp32",
)
DIGITS: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "ddpm": ("ddpm", 4000, ()),
    "improved-ddpm": ("improved-ddpm", 4000, ()),
    "improved-ddpm, L_vlb": ("improved-ddpm", 4000, ("weighting=likelihood", "times=importance")),
    "nonequilibrium": ("nonequilibrium", 4000, ()),
    "ncsn": ("ncsn", 4000, ()),
    "energy": ("energy", 1500, ()),
    "score-sde, VP": ("score-sde", 4000, ()),
    "score-sde, sub-VP": ("score-sde", 4000, ("schedule=sub_vp",)),
    "score-sde, VE": ("score-sde", 4000, ("schedule=ve", "sampling.threshold=none")),
    "score-sde, VP, g², dequantised": ("score-sde", 4000, ("weighting=likelihood", "data.dequantize=true")),
    "vdm": ("vdm", 4000, ()),
    "edm": ("edm", 4000, ()),
    "flow": ("flow", 4000, ()),
}
VECTORS: dict[str, tuple[str, str, int, tuple[str, ...]]] = {
    "nonequilibrium on swiss-roll": ("nonequilibrium", "swiss-roll", 2000, ()),
    "nonequilibrium on heartbeat": ("nonequilibrium", "heartbeat", 2000, ()),
    "score-sde on ring-of-8": ("score-sde", "ring-of-8", 4000, ()),
    "vdm on ring-of-8": ("vdm", "ring-of-8", 4000, ()),
    "energy on ring-of-8": ("energy", "ring-of-8", 1500, ("training.sample_every=0",)),
}
MOLECULES: dict[str, tuple[int, tuple[str, ...]]] = {
    "molecules on qm7-small": (1500, ()),
    "molecules on qm7-small by energy": (1500, ("conditioning=values", "conditioning.names=energy")),
}
SYMBOLS: dict[str, tuple[int, tuple[str, ...]]] = {
    "symbols on qm9-smiles": (1000, ()),
    "symbols on qm9-smiles, uniform": (1000, ("process=uniform",)),
}
SOUND: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "audio, U-Net": ("audio", 400, ()),
    "audio, transformer": (
        "audio",
        800,
        ("network=transformer", "network.patch=8", "network.width=160", "network.embedding=160"),
    ),
    "diffwave, 10 layers": ("diffwave", 300, ("network.layers=10", "network.channels=32")),
}
STEPS = (5, 10, 20, 50)
SAMPLES = 500


def trained(
    name: str, recipe: str, data: str, steps: int, settings: tuple[str, ...]
) -> tuple[DiffusionModel | Any, float]:
    """The run of that name and the CPU seconds that its training took."""
    run = FOLDER / "".join(c if c.isalnum() else "-" for c in name)
    seconds = run / "cpu-seconds"
    if not seconds.exists():  # written at the end: a run that was stopped is made anew
        shutil.rmtree(run, ignore_errors=True)
        begin = time.process_time()
        train(recipe, data=data, out=run, steps=steps, settings=settings)
        seconds.write_text(f"{time.process_time() - begin:.0f}")
    print(f"sumi train {recipe} --data {data} --steps {steps} --out {run} {flags(settings)}", file=sys.stderr)
    return load(run), float(seconds.read_text())


def flags(settings: tuple[str, ...]) -> str:
    return " ".join(f"--set {setting}" for setting in settings)


def shown(e: Estimate) -> str:
    return f"{e.value:.1f} [{e.low:.1f}, {e.high:.1f}]"


def distance(model: DiffusionModel, solver: str, steps: int, network: FeatureNetwork, real: torch.Tensor) -> str:
    """The Fréchet distance of samples to held-out images' features ``real``."""
    images = model.pixels.to_model(model.pixels.to_levels(model.sample(SAMPLES, steps=steps, solver=solver)))
    return shown(frechet_distance(network.features(images), real))


def digits(wanted: list[str]) -> None:
    """A table row for each system."""
    torch.set_num_threads(1)
    network = real = None
    print("| system | its own sampler | `adams` 5 | 10 | 20 | 50 | bound, bits/dim | ODE, bits/dim | CPU s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, (recipe, steps, settings) in DIGITS.items():
        if wanted and name not in wanted:
            continue
        model, seconds = trained(name, recipe, "digits", steps, (*SMALL, *settings))
        if network is None or real is None:
            dataset = model.load_data()
            assert isinstance(dataset, ImageDataset)
            train_part, held_out = dataset.split(model.config.data.held_out)
            network = learn_features(train_part)
            real = network.features(PixelRange(held_out.levels).to_model(held_out.images))
            some = np.random.default_rng(0).permutation(len(train_part))[: len(held_out)]
            alike = network.features(PixelRange(held_out.levels).to_model(train_part.images[some]))
            print(f"| real images | {shown(frechet_distance(alike, real))} | | | | | | | |")

        sampling, grid = model.config.sampling, model.network_denoiser.trained_steps
        own = f"{distance(model, sampling.solver, sampling.steps, network, real)} `{sampling.solver}`, {sampling.steps}"
        by_steps = [distance(model, "adams", k, network, real) if grid is None or k <= grid else "" for k in STEPS]
        found, _ = likelihood(model, n=155)
        assert found.by_ode is not None
        row = [name, own, *by_steps, str(found.bound.total), str(found.by_ode.total), f"{seconds:.0f}"]
        print(f"| {' | '.join(row)} |", flush=True)


def vectors(wanted: list[str]) -> None:
    """A table row for each system."""
    torch.set_num_threads(1)
    ring = load_ring_of_8(DataConfig(source="ring-of-8")).values.astype(np.float64)
    entropy = -ring_log_density(ring).mean() / 2
    print(f"The entropy of ring-of-8 is {entropy:.4f} nats/dim on its {POINTS} points; heartbeat's is 2.3219 bits.\n")
    print("| system | energy distance | real to real | bound | ODE | unit | CPU s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, (recipe, data, steps, settings) in VECTORS.items():
        if wanted and name not in wanted:
            continue
        model, seconds = trained(name, recipe, data, steps, settings)
        measured = evaluate(model).evaluation
        assert isinstance(measured, VectorEvaluation)
        found, _ = likelihood(model, n=1000)
        ode = str(found.by_ode.total) if found.by_ode is not None else ""
        pair = [f"{e.value:.4f} [{e.low:.4f}, {e.high:.4f}]" for e in (measured.distance, measured.real)]
        row = [name, *pair, str(found.bound.total), ode, found.unit, f"{seconds:.0f}"]
        print(f"| {' | '.join(row)} |", flush=True)


def audio(wanted: list[str]) -> None:
    """A table row for each system, real clips beside its own."""
    torch.set_num_threads(1)
    print("| system | Fréchet distance (real) | heard, % (real) | copies, % (real) | loudness, dB (real) | CPU s |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, (recipe, steps, settings) in SOUND.items():
        if wanted and name not in wanted:
            continue
        model, seconds = trained(name, recipe, "spoken-digits", steps, (*settings, "training.sample_every=0"))
        found = evaluate(model).evaluation
        assert isinstance(found, AudioEvaluation)
        assert found.heard is not None
        assert found.heard_real is not None
        pairs = [
            (f"{found.distances.frechet.value:.2f}", f"{found.real_distances.frechet.value:.2f}"),
            (f"{100 * found.heard.value:.0f}", f"{100 * found.heard_real.value:.0f}"),
            (f"{100 * found.copies.value:.0f}", f"{100 * found.copies_real.value:.0f}"),
            (f"{found.level.loudness:.1f}", f"{found.level_real.loudness:.1f}"),
        ]
        print(f"| {' | '.join([name, *(f'{a} ({b})' for a, b in pairs), f'{seconds:.0f}'])} |", flush=True)


def molecules(wanted: list[str]) -> None:
    """A table row for each system, real molecules first."""
    torch.set_num_threads(1)
    print("| system | stable atoms | molecules | sound | different | new | valid | bonds, Å | energy error | CPU s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    first = True
    for name, (steps, settings) in MOLECULES.items():
        if wanted and name not in wanted:
            continue
        model, seconds = trained(name, "molecules", "qm7-small", steps, settings)
        found = evaluate(model).evaluation
        assert isinstance(found, MoleculeEvaluation)
        if first:
            print(
                f"| {' | '.join(['real, held out', *_shares(found.real), f'{found.bond_lengths_real:.4f}', '', ''])} |"
            )
        first = False
        errors = [f"{e.conditional.value:.0f} (not given: {e.unconditional.value:.0f})" for e in found.properties]
        row = [name, *_shares(found.samples), f"{found.bond_lengths:.4f}", " ".join(errors), f"{seconds:.0f}"]
        print(f"| {' | '.join(row)} |", flush=True)


def _shares(found: MoleculeFigures) -> list[str]:
    """Percentages of all molecules of a set, or of all of its atoms."""
    shares = (found.atoms, found.molecules, found.sound, found.distinct, found.new, found.valid)
    return ["" if e is None else f"{100 * e.value:.1f}" for e in shares]


def symbols(wanted: list[str]) -> None:
    """A table row for each system; shares are of all, of the valid and of the different ones."""
    torch.set_num_threads(1)
    print(
        "| system | bits a character | of training strings | valid, % | different, % | new, % | pairs (real) | CPU s |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, (steps, settings) in SYMBOLS.items():
        if wanted and name not in wanted:
            continue
        model, seconds = trained(name, "symbols", "qm9-smiles", steps, settings)
        found = evaluate(model).evaluation
        assert isinstance(found, SymbolEvaluation)
        bits = [f"{which.by_character.value:.3f}" for which in (found.bits, found.bits_training)]
        shares = [
            "" if e is None else f"{100 * e.value:.1f}" for e in (found.made.valid, found.made.unique, found.made.novel)
        ]
        pairs = f"{found.differences.pairs:.3f} ({found.differences_real.pairs:.3f})"
        print(f"| {' | '.join([name, *bits, *shares, pairs, f'{seconds:,.0f}'])} |")


def main() -> None:
    tables = {"digits": digits, "vectors": vectors, "audio": audio, "molecules": molecules, "symbols": symbols}
    chosen = list(takewhile(tables.__contains__, sys.argv[1:]))
    if not chosen:
        sys.exit(__doc__)
    for name in chosen:
        tables[name](sys.argv[1 + len(chosen) :])
        print()
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread")


if __name__ == "__main__":
    main()
