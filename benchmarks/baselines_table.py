"""What each system's samples are like, what they cost, and how probable it holds held-out digits.

What was measured of a run is kept in its folder, in measured-STEPS.json.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from benchmarks.baselines_systems import BATCH, FOLDER, SPEEDS, SYSTEMS, digits, sampled
from benchmarks.equal_time import steps_for, trained
from benchmarks.results import shown
from sumi.evaluation.measures import copies
from sumi.metrics.frechet import frechet_distance
from sumi.metrics.intervals import Estimate
from sumi.metrics.kernel_distance import kernel_distance
from sumi.metrics.precision_recall import precision_recall
from sumi.models.baselines.gan import GAN
from sumi.models.baselines.likelihood import likelihood_of_baseline
from sumi.models.baselines.model import BaselineModel
from sumi.models.baselines.pixelcnn import PixelCNN
from sumi.models.baselines.vae import VAE
from sumi.models.diffusion.likelihood import likelihood
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.model import GenerativeModel

SECONDS = 30.0
FEWER_STEPS = {"ddpm": 10}
LIKENESS = ("Fréchet distance", "kernel distance, ‰", "precision", "recall", "density", "coverage", "copies, %")
COST = (
    "parameters",
    "steps",
    "CPU s",
    "bound, bits/dim",
    "closer, bits/dim",
    "evaluations a sample",
    "ms a sample",
)


def table() -> None:
    """Print two tables: likeness, and cost and likelihood."""
    like = {"real images": likeness(digits().some(), made=False), "pixels apart": likeness(digits().pixels_apart())}
    costs: dict[str, list[str]] = {}
    steps = steps_for(SYSTEMS, SECONDS, SPEEDS)
    for name, system in SYSTEMS.items():
        run = FOLDER / name
        model, seconds = trained(system, run, steps[name])
        for fewer in (None, FEWER_STEPS.get(name)) if name in FEWER_STEPS else (None,):
            row = name if fewer is None else f"{name}, {fewer} steps"
            found = kept(run / f"measured-{fewer or 'own'}.json", lambda m=model, s=fewer: measured(m, s))
            like[row] = found["likeness"]
            size = sum(p.numel() for p in model.module.parameters())
            costs[row] = [f"{size:,}", f"{steps[name]:,}", f"{seconds:.0f}", *found["cost"]]
    for head, rows in ((LIKENESS, like), (COST, costs)):
        print(f"\n| | {' | '.join(head)} |\n|{' --- |' * (len(head) + 1)}")
        for row, cells in rows.items():
            print(f"| {row} | {' | '.join(cells)} |")


def kept(file: Path, measure: Callable[[], dict[str, list[str]]]) -> dict[str, list[str]]:
    """What was measured before, or is now."""
    if not file.exists():
        file.write_text(json.dumps(measure(), ensure_ascii=False, indent=2) + "\n")
    return json.loads(file.read_text())


def measured(model: GenerativeModel, steps: int | None) -> dict[str, list[str]]:
    """Cells of both tables; the likelihood does not depend on the sampler's ``steps``, and is left out with others."""
    bits = of_bits(model) if steps is None else ("", "")
    cost = [*bits, str(evaluations(model, steps)), f"{milliseconds(model, steps):.2f}"]
    return {"likeness": likeness(sampled(model, steps=steps)), "cost": cost}


def likeness(images: Tensor, *, made: bool = True) -> list[str]:
    """Of images (N, 1, 8, 8) beside those held out; copies are looked for where they are ``made`` by a model."""
    known = digits()
    features = known.network.features(images)
    variety = precision_recall(features, known.features)
    copied = copies(images, known.training, known.held_out, mirrored=False).found.rate if made else None
    return [
        shown(frechet_distance(features, known.features)),
        scaled(kernel_distance(features, known.features), 1000, 0),
        *(scaled(e, 1, 2) for e in (variety.precision, variety.recall, variety.density, variety.coverage)),
        "" if copied is None else scaled(copied, 100, 1),
    ]


def scaled(e: Estimate, factor: float, places: int) -> str:
    value, low, high = (f"{factor * v + 0.0:.{places}f}" for v in (e.value, e.low, e.high))
    return f"{value} [{low}, {high}]"


def of_bits(model: GenerativeModel) -> tuple[str, str]:
    """Bits per dimension of all held-out digits: by the bound; and exactly, by many draws, or by the ODE."""
    count = len(digits().held_out)
    if isinstance(model, DiffusionModel):
        found, _ = likelihood(model, n=count)
        assert found.by_ode is not None
        return str(found.bound.total), f"{found.by_ode.total}, ODE"
    assert isinstance(model, BaselineModel)
    if isinstance(model.baseline, GAN):  # has none
        return "", ""
    *bound, (how, closest) = likelihood_of_baseline(model, n=count).figures
    return (str(bound[0][1]) if bound else ""), f"{closest}, {how}"


def evaluations(model: GenerativeModel, steps: int | None) -> int:
    """How often the network is evaluated for a sample."""
    calls: list[nn.Module] = []

    def count(module: nn.Module, *_: object) -> None:
        calls.append(module)

    hook = network_of(model).register_forward_hook(count)
    sampled(model, 1, steps)
    hook.remove()
    return len(calls)


def network_of(model: GenerativeModel) -> nn.Module:
    """A module whose call is one evaluation."""
    if isinstance(model, DiffusionModel):
        return model.network_denoiser.network
    assert isinstance(model, BaselineModel)
    match model.baseline:
        case VAE():
            return model.baseline.decoder
        case GAN():
            return model.baseline.generator
        case PixelCNN():
            return model.baseline.rows_above
    raise AssertionError(model.baseline)


def milliseconds(model: GenerativeModel, steps: int | None) -> float:
    """CPU time of a sample, the median of three batches."""
    found = []
    for _ in range(3):
        begin = time.process_time()
        sampled(model, BATCH, steps)
        found.append(1000 * (time.process_time() - begin) / BATCH)
    return statistics.median(found)
