"""The claim on diffusion next to VAE, GAN and PixelCNN: all are trained here, from nothing, on the same digits."""

import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from sumi.data.config import DataConfig
from sumi.data.dataset import everything
from sumi.data.load import load_images
from sumi.explain.introduction.claim import Chapter, Finding, in_a_row, judged
from sumi.metrics.frechet import frechet_distance
from sumi.models.model import GenerativeModel
from sumi.training_run import Events, train

OTHERS = Chapter("Other models")
STEPS, SAMPLES, SHOWN, SOURCE = 200, 200, 2, "digits"
SETTINGS: Final = ("training.batch_size=32", "training.warmup_steps=50", "training.sample_every=0")
RECIPES: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "VAE": ("vae", ("network.widths=16,32", "network.latent=16", "training.learning_rate=6e-3")),
    "GAN": ("gan", ("network.widths=16,32", "network.latent=32", "training.learning_rate=2e-3")),
    "PixelCNN": ("pixelcnn", ("network.width=16", "network.dropout=0.1", "training.learning_rate=1e-2")),
    "diffusion": (
        "edm",
        (
            "network.widths=16,32",
            "network.blocks=1,1",
            "network.embedding=48",
            "training.learning_rate=6e-3",
            "training.decay=linear",
            "training.precision=fp32",
        ),
    ),
}
"""By the name in the text: recipe and settings, with the learning rates of ``benchmarks/baselines_systems.py``."""


@OTHERS.says("Diffusion models make better samples than VAEs, GANs and PixelCNNs.")
def _against_others(_: Tensor) -> Finding:
    config = DataConfig(SOURCE)
    held_out = everything(load_images(config).split(config.held_out)[1])
    trained = {name: _trained(recipe, settings) for name, (recipe, settings) in RECIPES.items()}
    made = {name: x for name, (x, _) in trained.items()}
    far = {name: frechet_distance(x.flatten(1), held_out.flatten(1)) for name, x in made.items()}
    own, others = far["diffusion"], [distance for name, distance in far.items() if name != "diffusion"]
    behind = any(own.low > distance.high for distance in others)
    listed = ", ".join(
        f"{name} {distance.value:.1f} [{distance.low:.1f}, {distance.high:.1f}] ({trained[name][1]})"
        for name, distance in far.items()
    )
    frames = torch.cat([*(x[:SHOWN] for x in made.values()), held_out[:SHOWN]]).expand(-1, 3, -1, -1)
    return Finding(
        judged(all(own.high < distance.low for distance in others), "false" if behind else "imprecise"),
        f"Not small ones after a short training: after {STEPS} steps on digits of 8×8 pixels the Fréchet distances to "
        f"held-out digits (and passes through the network for a sample) are {listed}. What diffusion brings is a loss "
        "that is plain regression, without an opponent or a bottleneck, and so quality that grows with size and time.",
        in_a_row(
            frames.repeat_interleave(4, 2).repeat_interleave(4, 3), [n for n in (*made, "real") for _ in range(SHOWN)]
        ),
        "two samples of each",
    )


def _trained(recipe: str, settings: tuple[str, ...]) -> tuple[Tensor, int]:
    """Of a model that is trained in a temporary folder: samples, float32 (N, 1, 8, 8), and `_passes` for one."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        more = (*SETTINGS, *settings)
        model = train(recipe, data=SOURCE, out=run, steps=STEPS, settings=more, device="cpu", events=Events())
        return torch.as_tensor(model.sample(SAMPLES, seed=0)), _passes(model)


def _passes(model: GenerativeModel) -> int:
    """How often the network is used for one sample: of its modules that are, the one that is called least."""
    calls: Counter[nn.Module] = Counter()

    def count(part: nn.Module, *_: object) -> None:
        calls[part] += 1

    hooks = [part.register_forward_hook(count) for part in model.module.modules()]
    model.sample(1, seed=0)
    for hook in hooks:
        hook.remove()
    return min(calls.values())
