"""Methods of `sumi inpaint`, `upscale` and `restore` on held-out images of a run, where the truth is known.

    python -m benchmarks.restoration_methods RUN      (from the root of the repository)

32 images, 4 candidates each: the middle quarter painted in, and made twice as large. PSNR in dB over the whole image
for data in [-1, 1], of a candidate and of the candidates' mean (a draw of the posterior has about 3 dB less than its
mean, which is the best there is); the spread of candidates, their deviation; |A x̂ - y|, root mean square, as the method
leaves it, and after the projection that ends all of them; and seconds for one candidate.
"""

import sys
import time

import numpy as np
import torch
from torch import Tensor

from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.restoration import METHODS, PARTICLES, TWISTED, prepared, with_data, within
from sumi.models.run import load
from sumi.operators.linear import Mask, Operator
from sumi.operators.separable import box
from sumi.randomness import SampleNoise
from sumi.restoration.measurement import Measurement
from sumi.sampling.sample import sample

IMAGES, CANDIDATES, STEPS = 32, 4, 50


@torch.inference_mode()
def row(model: DiffusionModel, name: str, operator: Operator, truth: Tensor) -> str:
    """A line of the table."""
    known = Measurement(operator, operator(truth))
    method, std = model.method(steps=STEPS, solver="ddpm"), model.description.data_std
    wrap, method = prepared(name, known, method, std)
    denoiser = wrap(model.network_denoiser)
    made, left = [], []
    begun = time.perf_counter()
    particles = PARTICLES if name == TWISTED else 1
    for seed in range(CANDIDATES):
        indices = range(particles * len(truth))
        noise = SampleNoise(seed, indices, model.items.shape)
        times = with_data(model, method.times)
        x = sample(denoiser, method.solver, times, model.start_noise(indices, seed), noise)[::particles]
        left.append(known.residual(x))
        made.append(within(known, x))
    seconds = (time.perf_counter() - begun) / CANDIDATES / len(truth)
    candidates = torch.stack(made)
    alone = float(psnr(candidates, truth).mean())
    mean, spread = float(psnr(candidates.mean(0), truth).mean()), float(candidates.var(0).mean().sqrt())
    before = float(torch.stack(left).square().mean().sqrt())
    after = float(torch.stack([known.residual(x) for x in made]).square().mean().sqrt())
    return f"| {name} | {alone:.1f} | {mean:.1f} | {spread:.2f} | {before:.0e} | {after:.0e} | {seconds:.3f} |"


def psnr(x: Tensor, truth: Tensor) -> Tensor:
    """10 log10 of 2² over the mean squared error of each image (…, N, C, H, W)."""
    return 10 * torch.log10(4 / (x - truth).square().mean((-3, -2, -1)))


def main(run: str) -> None:
    model = load(run, device="cpu")
    _, height, width = model.images.shape
    held_out = model.load_images().split(model.config.data.held_out)[1]
    truth = held_out.batch(np.arange(min(IMAGES, len(held_out))))
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[height // 4 : height - height // 4, width // 4 : width - width // 4] = True
    for title, operator in (("the middle painted in", Mask(mask)), ("twice as large", box(height, width, 2))):
        print(f"\n| {title} | PSNR | of the mean | spread | rms of A x̂ - y | and at the end | s |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for name in METHODS:
            print(row(model, name, operator, truth), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1])
