"""What a run has besides its network: raw and averaged weights, the data that it may have copied, and solvers."""

from typing import Final

import numpy as np
import torch

from sumi.boundary.progress import Count
from sumi.check.audit.finding import Finding, percent
from sumi.check.audit.reading import Reading
from sumi.check.audit.search import Probe, gain
from sumi.data.dataset import Dataset, evenly
from sumi.data.images import ImageSpec
from sumi.evaluation.solvers import compare
from sumi.metrics.copies import OWN_NEIGHBOURS, copy_rate, copy_ratios
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.parts import is_student, teacher_at_hand
from sumi.training.checkpoint import AVERAGED, load_state, load_weights
from sumi.training.run_folder import RunFolder

LAGS: Final = 0.95
"""The average must not have more than 1/this of the raw weights' error: it is made to have less."""
COPIED: Final = 1e-3
"""Probability by chance of as many near copies, below which they are called copies."""
FEWEST: Final = 100
MOST_TRAINING: Final = 2000
EVALUATIONS: Final = (5, 10, 20)
CANDIDATES: Final = ("adams@log_ratio", "unipc@log_snr", "dpmpp_2m@log_snr", "ddim@uniform")
"""Solvers with their grids: the best for few evaluations of those that follow the ODE, and DDIM."""
REFERENCE: Final = 100
"""Steps of the reference. The digits' distances with it are within 15 % of those with 1000."""
TRAJECTORIES: Final = 16


@torch.inference_mode()
def averaging(probe: Probe, reading: Reading) -> Finding | None:
    """Whether the averaged weights are an average, and as good as the raw ones; None where a run has only one set."""
    model = probe.subject.model
    if model is None or model.config.training.lora_rank is not None:
        return None
    place = RunFolder(model.folder).checkpoints / f"{model.step:08d}"
    if not place.exists() or AVERAGED in load_state(place):
        return None
    module, raw = model.gaussian_denoiser(), load_weights(place, "model")
    kept = {name: value.clone() for name, value in module.state_dict().items()}
    same = all(torch.equal(value.cpu(), raw[name]) for name, value in kept.items())
    if same and model.config.training.ema_decay > 0:
        return Finding(
            "averaged weights",
            f"they are the raw weights of step {model.step}, bit for bit: no average was taken, or it was not exported",
            "average not used",
            "export the averaged weights (EMA); without them, training a little with a falling learning rate helps",
        )
    averaged = probe.errors(reading)
    try:
        module.load_state_dict(raw)
        other = Probe(probe.subject, probe.rows, probe.ratios, probe.seed).errors(reading)
    finally:
        module.load_state_dict(kept)
    found = gain(averaged, other, probe.linear)
    if found is None:
        return None
    share = float(np.exp(found.log_ratio))
    says = f"the raw weights have {percent(share)} of the error of the averaged ones"
    facts = {"raw_over_averaged": share, "standard_error": share * found.error}
    if share >= LAGS or not found.certain:
        return Finding("averaged weights", says, facts=facts)
    return Finding(
        "averaged weights",
        f"{says}: the average (decay {model.config.training.ema_decay:g}) still holds weights of early in training",
        "average lags",
        "use the raw weights, as `sumi mend` does; or train longer, or with a smaller training.ema_decay",
        facts,
    )


def copying(model: DiffusionModel, dataset: Dataset, n: int, seed: int = 0) -> Finding | None:
    """Whether samples are copies of the training images; None for other data, and too few to tell."""
    match model.items:
        case ImageSpec():
            pass
        case _:
            return None
    training, held_out = dataset.split(model.config.data.held_out)
    if len(held_out) < FEWEST or len(training) <= OWN_NEIGHBOURS:
        return None
    images = training.batch(evenly(len(training), MOST_TRAINING))
    label = "all" if model.config.condition("labels") is not None else None
    prompts = None if model.text is None else model.text.examples(n)
    made = model.sample(n, label=label, prompt=prompts, seed=seed, progress=False)
    ratios = (copy_ratios(x, images, reach=0) for x in (made, held_out.batch(evenly(len(held_out), 4 * FEWEST))))
    found = copy_rate(*(each.ratio for each in ratios))
    rate, near = found.rate, found.ratios
    says = (
        f"{near.counted} of {n} samples are as near to one of {len(images)} training images as the nearest 1 % of "
        f"held-out images are (probability by chance: {near.p_value:.2g})"
    )
    facts = {"rate": rate.value, "low": rate.low, "high": rate.high, "p_value": near.p_value}
    if near.p_value > COPIED:
        return Finding("copies", says, facts=facts)
    return Finding(
        "copies",
        f"{says}: about {percent(max(rate.value, 0.0))} of its samples are copies",
        "copies",
        "look at the pairs (`sumi evaluate` writes them); use an earlier checkpoint, or more data",
        facts,
    )


def solvers(model: DiffusionModel, seed: int = 0, progress: Count | None = None) -> Finding | None:
    """The solver and grid that come nearest to the model's own trajectories, for 5, 10 and 20 evaluations.

    None where there is no such trajectory: of a consistency model or a student of progressive distillation without its
    teacher, of a chain of fewer than 20 steps, and where it is not finite.
    """
    known = model.gaussian_denoiser().trained_steps
    evaluations = [count for count in EVALUATIONS if known is None or 4 * count <= known]
    if not evaluations or not (model.config.has_ode or teacher_at_hand(model)):
        return None
    chosen = None if is_student(model) else CANDIDATES
    compared = compare(model, chosen, evaluations, n=TRAJECTORIES, seed=seed, reference=REFERENCE, progress=progress)
    rows = [row for row in compared.rows if row.median == row.median]
    best = {
        count: min((r for r in rows if r.evaluations <= count), key=lambda r: r.median)
        for count in evaluations
        if any(r.evaluations <= count for r in rows)
    }
    if not best:
        return None
    words = "; ".join(f"{count}: {row.solver} ({row.median:.2g})" for count, row in best.items())
    facts = {str(count): {"solver": row.solver, "distance": row.median} for count, row in best.items()}
    return Finding(
        "solvers",
        f"nearest to its exact trajectories in so many evaluations (distance in deviations of the data) are {words}",
        facts=facts,
    )
