"""Guidance of a model by a CLIP alone, by its scale, as a CLIP of another seed sees it.

    python -m benchmarks.clip_guidance RUN GUIDE OTHER [-n 100] [--steps 20] [--scales 0,1,3,10]

Held-out captions of the data of GUIDE guide RUN, whose own condition on words, if it has one, is left out. Columns: the
mean cosine with the caption by GUIDE and by OTHER, and how often OTHER finds the caption first among all of them, with
95 % intervals; the last row is of the real pictures.
"""

import argparse

import numpy as np
import torch

from sumi.conditioning.text import captions_of
from sumi.data.dataset import evenly
from sumi.evaluation.retrieval import galleries, recalls
from sumi.metrics.intervals import Estimate, mean_of
from sumi.models.clip import ClipModel
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load
from sumi.sampling.sampler import Guidance


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("run", "guide", "other"):
        parser.add_argument(name, metavar=name.upper())
    parser.add_argument("-n", type=int, default=100)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--scales", default="0,1,3,10")
    options = parser.parse_args()
    model, guide, other = (
        load(options.run, DiffusionModel),
        load(options.guide, ClipModel),
        load(options.other, ClipModel),
    )
    _, held_out = guide.load_images().split(guide.config.data.held_out)
    texts = captions_of(held_out)
    items = [item for gallery in galleries(texts, 0) for item in gallery]
    items = [items[k] for k in evenly(len(items), options.n).tolist()]
    captions = [texts[item] for item in items]

    def row(name: str, pictures: torch.Tensor) -> str:
        near = [mean_of((clip.embed_images(pictures) * clip.embed_text(captions)).sum(1)) for clip in (guide, other)]
        first = recalls([other.score(pictures, captions)]).texts[0]
        return f"| {name} | {' | '.join(map(_shown, near))} | {_shown(first, 2)} |"

    print(f"| scale | cosine, GUIDE | cosine, OTHER | R@1 among {len(captions)}, OTHER |\n| --- | --- | --- | --- |")
    for scale in map(float, options.scales.split(",")):
        guidance = Guidance(0.0 if model.prompted else 1.0, clip=guide, clip_scale=scale)
        made = model.sample(len(captions), prompt=captions, guidance=guidance, steps=options.steps)
        print(row(f"{scale:g}", torch.as_tensor(made)), flush=True)
    print(row("real", held_out.batch(np.array(items))))


def _shown(estimate: Estimate, digits: int = 3) -> str:
    return f"{estimate.value:.{digits}f} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


if __name__ == "__main__":
    main()
