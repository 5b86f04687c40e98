"""Measures the models that come with Sumi again: python benchmarks/pretrained.py [NAME …] [-n N] [--data FOLDER] …

Seconds for a sheet of 16 (CPU, all threads), and how many of n samples are within four levels of a training image; with
``--distances`` the Fréchet distance to held-out images beside that of training ones, which takes minutes. ``--write``
puts the figures on the models' cards. ``--data``: what a model was trained on, where it does not come with Sumi.
``--judge`` (`sumi train judge`): which of the attributes in captions it reads in samples of a text-to-image model.
"""

import argparse
import json
import time

import torch

import sumi
from sumi.evaluation.attributes import OF_CLASS, SEEN
from sumi.evaluation.images import Distances
from sumi.evaluation.prompts import evaluate_prompts
from sumi.metrics.intervals import Estimate
from sumi.models.attributes import JudgeModel
from sumi.models.diffusion.model import DiffusionModel
from sumi.pretrained.shipped import CARD, PLACE, names, read_card

NEAR = 4.0
"""Root mean square difference, in levels of 255, below which a sample counts as a copy."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="NAME", default=names())
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("--distances", action="store_true")
    parser.add_argument("--data", metavar="FOLDER", help="of a model whose data do not come with Sumi")
    parser.add_argument("--judge", metavar="RUN", help="of the data of a text-to-image model")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    for name in options.models:
        model = sumi.load(name, DiffusionModel)
        figures = measure(model, options.n, options.data, distances=options.distances)
        if options.judge is not None and model.prompted:
            figures |= of_prompts(model, sumi.load(options.judge, JudgeModel))
        for title, value in figures.items():
            print(f"{name}: {title}: {value}", flush=True)
        if options.write:
            card = {**vars(read_card(name)), "figures": figures}
            (PLACE / name / CARD).write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n")


def measure(model: DiffusionModel, n: int, data: str | None, *, distances: bool) -> dict[str, str]:
    """The figures, in words."""
    training, held_out = model.load_data(data).split(model.config.data.held_out)
    captions = getattr(held_out, "captions", None) if model.text is not None else None
    prompts = None if captions is None else [captions[k % len(captions)].splitlines()[0] for k in range(n)]
    label = "all" if model.config.condition("labels") else None
    begin = time.perf_counter()
    model.sample(16, prompt=prompts and prompts[:16], label=label, progress=False)
    seconds = time.perf_counter() - begin
    samples = model.sample(n, prompt=prompts, label=label, progress=False)
    shift = 127.5 / samples[0].numel() ** 0.5
    known = torch.cat([training.batch(part).flatten(1) for part in torch.arange(len(training)).split(1000)])
    nearest = torch.cat([torch.cdist(part.flatten(1), known).min(1).values for part in samples.split(100)]) * shift
    figures = {
        "16 pictures": f"{seconds:.1f} s on {torch.get_num_threads()} threads",
        f"within {NEAR:g} levels of a training image": f"{int((nearest < NEAR).sum())} of {n:,} samples",
    }
    if distances:
        found = sumi.evaluate(model, n=n, data=data).evaluation
        figures[f"Fréchet distance of {n:,} samples to held-out images, learned features"] = _interval(found.distances)
        figures["the same of training images"] = _interval(found.real_distances)
    return figures


def of_prompts(model: DiffusionModel, judge: JudgeModel) -> dict[str, str]:
    """The shares of the attributes that captions mention and the judge reads in 300 samples, in words."""
    found, _ = evaluate_prompts(model, model.load_data(), judge=judge, clip=None, n=300)
    groups = {group.name: group.samples for group in found.groups}
    seen, of_class = groups[SEEN], groups[OF_CLASS]
    return {
        "attributes in captions that a judge reads": _share(seen.mean),
        "their colour": _share(seen.each["color"]),
        "the colour of a kind never seen in it": _share(of_class.each["color"]),
    }


def _share(found: Estimate) -> str:
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def _interval(found: Distances) -> str:
    return f"{found.frechet.value:.2f} ({found.frechet.low:.2f} to {found.frechet.high:.2f})"


if __name__ == "__main__":
    main()
