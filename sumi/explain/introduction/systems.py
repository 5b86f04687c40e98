"""Claims on guidance, and on what is built from diffusion models."""

import itertools
from math import log10, sqrt

import torch
from torch import Tensor

from sumi.denoising.denoiser import FunctionDenoiser
from sumi.denoising.exact import mixture_denoiser
from sumi.explain.guided import compare_with_tempered
from sumi.explain.introduction.claim import Chapter, Finding, in_a_row, judged
from sumi.explain.introduction.noising import draws, fresh
from sumi.figures.charts import curves
from sumi.guidance.extrapolation import Extrapolation
from sumi.networks.unet import UNet, UNetConfig
from sumi.process.continuous import VP
from sumi.process.gaussian import add_noise
from sumi.process.schedule import NoiseLevel, noise_level
from sumi.sampling.sample import sample
from sumi.sampling.solvers.adams import Adams
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.time_grid import log_ratio

GUIDANCE = Chapter("Guidance")
SYSTEMS = Chapter("Systems")


@GUIDANCE.says("Guidance by a classifier is Bayes' rule.")
def _bayes(_: Tensor) -> Finding:
    schedule = VP().build()
    means = torch.tensor([[-1.0, 0.0], [1.0, 0.3], [0.2, 1.0]], dtype=torch.float64)
    stds, shares = torch.full((3,), 0.3, dtype=torch.float64), torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    every = mixture_denoiser(means, stds, shares, schedule)
    of_class = mixture_denoiser(means[:1], stds[:1], shares[:1] * 2, schedule)
    worst = 0.0
    for t in (0.2, 0.5, 0.8):
        level = noise_level(schedule, t)
        x = draws((300, 2), 30).requires_grad_()
        variance = (level.alpha * 0.3) ** 2 + level.sigma**2
        logits = shares.log() - (x[:, None] - level.alpha * means).square().sum(2) / (2 * variance)
        (gradient,) = torch.autograd.grad(logits.log_softmax(1)[:, 0].sum(), x)
        x = x.detach()

        def score(clean: Tensor, x: Tensor = x, level: NoiseLevel = level) -> Tensor:
            return (level.alpha * clean - x) / level.sigma**2

        given = score(of_class(x, level).clean)
        worst = max(worst, float((given - score(every(x, level).clean) - gradient).abs().max() / given.abs().max()))
    return Finding(
        judged(worst < 1e-9),
        "At every noise level the score of a class is the score of all data plus the gradient of log p(class | x_t), "
        "here "
        f"to {worst:.0e}; if the classifier knows noisy data.",
    )


@GUIDANCE.says("With scale w one samples from p(x) p(class | x)^w.")
def _tempered(_: Tensor) -> Finding:
    (one, much) = compare_with_tempered((1.0, 4.0), n=1500)[1]
    return Finding(
        judged(much.apart < much.bound),
        f"Only at w = 1 ({one.apart:.3f} apart, by chance {one.bound:.3f}). At w = 4 samples are {much.apart:.2f} "
        "apart from "
        f"that distribution: the product of noisy densities is not the noised product.",
    )


@GUIDANCE.says("More guidance costs variety.")
def _variety(_: Tensor) -> Finding:
    schedule, scales = VP().build(), (1.0, 1.5, 2.0, 3.0, 5.0)
    means = torch.tensor([[0.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    stds, shares = torch.tensor([0.5, 1.0], dtype=torch.float64), torch.tensor([0.5, 0.5], dtype=torch.float64)
    every = mixture_denoiser(means, stds, shares, schedule)
    of_class = mixture_denoiser(means[:1], stds[:1], torch.ones(1, dtype=torch.float64), schedule)
    start, times = draws((1000, 2), 32), log_ratio(schedule, 60, 1.0)
    spread = [
        float(sample(Extrapolation(of_class, every, scale), Adams(data_std=1.0), times, start).std())
        for scale in scales
    ]
    return Finding(
        judged(all(b < 0.98 * a for a, b in itertools.pairwise(spread))),
        f"A class of deviation 0.5 among others of 1: exact guided samples have {spread[0]:.2f} at w = 1, "
        f"{spread[2]:.2f} at "
        f"w = 2 and {spread[-1]:.2f} at w = 5.",
        curves({"deviation": (scales, spread)}, x="guidance scale w", y="deviation"),
        "deviation of guided samples of one class",
    )


@GUIDANCE.says("Guidance without a classifier uses no classifier.")
def _implicit(_: Tensor) -> Finding:
    schedule = VP().build()
    means = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    stds, shares = torch.tensor([0.5, 0.5], dtype=torch.float64), torch.tensor([0.5, 0.5], dtype=torch.float64)
    level = noise_level(schedule, 0.5)
    x = torch.linspace(-3, 3, 121, dtype=torch.float64)[:, None]
    one = mixture_denoiser(means[1:], stds[1:], torch.ones(1, dtype=torch.float64), schedule)(x, level).clean
    every = mixture_denoiser(means, stds, shares, schedule)(x, level).clean
    # the difference of the two scores, summed up from the left, is the log-odds' part of a classifier
    slope = (level.alpha * (one - every) / level.sigma**2)[:, 0]
    log_p = torch.cumulative_trapezoid(slope, x[:, 0])
    variance = (level.alpha * 0.5) ** 2 + level.sigma**2
    exact = torch.nn.functional.logsigmoid(2 * level.alpha * x[:, 0] / variance)
    off = float((log_p - (exact[1:] - exact[0])).abs().max())
    return Finding(
        judged(off > 0.01, "imprecise"),
        "It trains none, but contains one: the difference of the two scores adds up to log p(class | x_t) of the "
        "exact "
        f"classifier, here to {off:.0e}.",
    )


@SYSTEMS.says("Pictures can be squeezed into far fewer numbers at little loss.")
def _squeezed(pictures: Tensor) -> Finding:
    x = pictures.double().flatten(1)
    known, held_out = x[: len(x) * 4 // 5], x[len(x) * 4 // 5 :]
    mean = known.mean(0)
    _, _, basis = torch.linalg.svd(known - mean, full_matrices=False)
    parts, loss = (4, 16, 48, 96, 192), list[float]()
    decoded = {}
    for k in parts:
        decoded[k] = (held_out - mean) @ basis[:k].T @ basis[:k] + mean
        loss.append(-10 * log10(float((decoded[k] - held_out).square().mean()) / 4))
    share = x.shape[1] / 48
    shown = torch.stack([held_out[0], *(decoded[k][0] for k in parts)]).view(-1, *pictures.shape[1:])
    return Finding(
        judged(loss[2] > 30, "imprecise"),
        f"A linear code of 48 numbers ({share:.0f} times fewer) brings held-out pictures back at {loss[2]:.1f} dB, of "
        "192 at "
        f"{loss[-1]:.1f} dB. A trained autoencoder does much better: `sumi train autoencoder`.",
        in_a_row(shown, ["picture", *map(str, parts)]),
        "a held-out picture from so many numbers, by principal components",
    )


@SYSTEMS.says("Diffusion in latents costs a fraction of diffusion in pixels.")
def _cost(_: Tensor) -> Finding:
    from torch.utils.flop_counter import FlopCounterMode

    def flops(channels: int, side: int) -> float:
        network = UNet(UNetConfig(), channels)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, channels, side, side), torch.zeros(1))
        return counter.get_total_flops()

    pixels, latents = flops(3, 64), flops(4, 16)
    return Finding(
        judged(latents < pixels / 8),
        f"The same U-Net takes {pixels / 1e9:.2f} billion operations for 64×64 pixels, and {latents / 1e9:.3f} for "
        "16×16 "
        f"latents: {pixels / latents:.0f} times fewer, before the decoder's share.",
    )


@SYSTEMS.says("To fill in a hole, put the known pixels back, noised, after every step.")
def _replacement(_: Tensor) -> Finding:
    correlation, known = 0.9, 1.0
    covariance = torch.tensor([[1.0, correlation], [correlation, 1.0]], dtype=torch.float64)
    schedule, count = VP().build(), 4000

    def clean(x_t: Tensor, t: NoiseLevel) -> Tensor:
        noisy = t.alpha**2 * covariance + t.sigma**2 * torch.eye(2, dtype=torch.float64)
        return t.alpha * x_t @ torch.linalg.solve(noisy, covariance)

    x, times = draws((count, 2), 31), log_ratio(schedule, 200, 1.0)
    solver, denoiser = DDIM(eta=1.0), FunctionDenoiser(clean, schedule)
    free = sample(denoiser, solver, times, x, fresh((count, 2), 700_000))
    for k in range(len(times) - 1):
        x = sample(denoiser, solver, times[k : k + 2], x, fresh((count, 2), 600_000 + k))
        here = noise_level(schedule, float(times[k + 1]))
        x[:, 0] = add_noise(torch.tensor(known, dtype=torch.float64), draws((count,), 100 + k), here)
    mean, std = float(x[:, 1].mean()), float(x[:, 1].std())
    exact = (correlation * known, sqrt(1 - correlation**2))
    return Finding(
        judged(abs(mean - exact[0]) < 0.03 and abs(std / exact[1] - 1) < 0.03),
        "What fills the hole does not know enough of its surroundings: for two values that correlate by 0.9 (those of "
        f"whole samples by {float(torch.corrcoef(free.T)[0, 1]):.3f}), of which one is {known:g}, the other comes out "
        f"as {mean:.2f} ± {std:.2f}, and should be {exact[0]:.2f} ± {exact[1]:.2f}. "
        f"Methods that are exact here: `sumi inpaint --method moment_matching` or `twisted`.",
    )


@SYSTEMS.says("Super-resolution finds the picture that a small one was made from.")
def _super_resolution(pictures: Tensor) -> Finding:
    large = pictures.double()
    small = torch.nn.functional.avg_pool2d(large, 4)
    half = len(large) // 2
    inputs = torch.cat([small.flatten(1), torch.ones(len(small), 1, dtype=torch.float64)], 1)
    ridge = 0.3 * torch.eye(inputs.shape[1], dtype=torch.float64)
    gram = inputs[:half].T @ inputs[:half] + ridge
    weights = torch.linalg.solve(gram, inputs[:half].T @ large[:half].flatten(1))
    guess = (inputs[half:] @ weights).view_as(large[half:])
    left = float((guess - large[half:]).square().mean() / (large[half:] - large[:half].mean(0)).square().mean())
    share = 1 - small[0].numel() / large[0].numel()
    return Finding(
        judged(left < 0.01),
        f"Many pictures shrink to the same small one: {100 * share:.0f} % of the directions are free, and the best "
        "linear "
        f"guess leaves {100 * left:.0f} % of the variance open. A model chooses one that fits; other seeds, others.",
    )
