"""KarrasUnet of denoising-diffusion-pytorch, in the checkpoints of its trainer."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from benchmarks.stand_ins import lucidrains_toolkit
from sumi.errors import InputError
from sumi.interop.sources import open_source
from tests.lucidrains_checkpoints import SIZE, saved
from tests.toolkits import installed, same, shaken

TOLERANCE = 2e-6
EXACT = 1e-12
SHAPE: dict[str, Any] = {
    "image_size": 8,
    "dim": 8,
    "dim_max": 12,
    "channels": 1,
    "num_downsamples": 2,
    "num_blocks_per_stage": 1,
    "attn_res": (8, 2),
    "attn_dim_head": 4,
    "fourier_dim": 6,
}


@pytest.fixture(scope="module")
def library() -> ModuleType:
    return installed(lucidrains_toolkit)


def unet(library: ModuleType, **settings: Any) -> Any:
    """One with every weight random."""
    torch.manual_seed(0)
    network = library.KarrasUnet(**SHAPE | settings).eval()
    shaken(network)
    return network


@pytest.mark.parametrize(
    ("settings", "objective"),
    [
        ({}, "pred_v"),
        ({"num_blocks_per_stage": 2, "attn_res": (4,), "num_downsamples": 1}, "pred_noise"),
        ({"self_condition": True, "attn_res": ()}, "pred_x0"),
    ],
)
def test_a_checkpoint_denoises_as_the_library(
    library: ModuleType, tmp_path: Path, settings: Any, objective: str
) -> None:
    diffusion = library.GaussianDiffusion(unet(library, **settings), image_size=8, objective=objective).eval()
    file, theirs = saved(library, diffusion, tmp_path)
    theirs.eval()
    denoiser = open_source(file, settings=SIZE, device="cpu").diffusion.gaussian_denoiser()
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for step in (0, 300, 900):
        with torch.no_grad():
            clean = theirs.model_predictions(x, torch.full((2,), step)).pred_x_start
            same(denoiser(x, (step + 1) / 1000).clean, clean, TOLERANCE)
    time = torch.tensor([3.0, 700.0], dtype=torch.float64)
    with torch.no_grad():
        same(denoiser.double().network(x.double(), time), theirs.double().model(x.double(), time), EXACT)


def test_its_classes_are_those_of_the_library(library: ModuleType, tmp_path: Path) -> None:
    network = unet(library, num_classes=3)
    torch.save(network.state_dict(), tmp_path / "a.pt")
    model = open_source(tmp_path / "a.pt", settings=SIZE, device="cpu").diffusion
    x, labels = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([2, 0])
    with torch.no_grad():
        found = model.denoiser(model.condition_of(range(2), labels), threshold="none")(x, 0.401).noise
        same(found, network(x, torch.full((2,), 400.0), class_labels=labels), TOLERANCE)


def test_one_of_sequences_is_refused(library: ModuleType, tmp_path: Path) -> None:
    network = library.KarrasUnet1D(seq_len=8, dim=8, dim_max=8, channels=1, num_downsamples=1)
    torch.save(network.state_dict(), tmp_path / "a.pt")
    with pytest.raises(InputError, match="a KarrasUnet of sequences or volumes"):
        open_source(tmp_path / "a.pt")
