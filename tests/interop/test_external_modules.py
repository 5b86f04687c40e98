"""A network that is none of ours, imported with its library, in all that samples, guides, restores and measures."""

from pathlib import Path
from typing import Any, Literal

import diffusers
import numpy as np
import pytest
import torch

import sumi
from sumi.interop.sources import import_run
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.restoration import METHODS
from sumi.models.run import load
from sumi.operators.separable import box
from sumi.sampling.sampler import Guidance, GuidanceMethod
from sumi.sampling.solvers import SOLVERS
from tests.diffusers_folders import folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    """Of a chain, with a learned variance."""
    return imported(transformer(2), diffusers.DDIMScheduler(), tmp_path_factory.mktemp("chain"))


@pytest.fixture(scope="module")
def continuous(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    """A flow, for what evaluates it between the times of a chain."""
    return imported(transformer(1), diffusers.FlowMatchEulerDiscreteScheduler(), tmp_path_factory.mktemp("flow"))


def transformer(outputs: int) -> Any:
    """DiT of ten classes."""
    torch.manual_seed(0)
    network = diffusers.DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=1, out_channels=outputs, num_layers=1, sample_size=8,
        num_embeds_ada_norm=10, norm_num_groups=1,
    ).eval()  # fmt: skip
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    return network


def imported(network: Any, scheduler: Any, place: Path) -> DiffusionModel:
    path = folder(place / "d", network, scheduler)
    (path / "unet").rename(path / "transformer")
    import_run(path, place / "run", device="cpu")
    return load(place / "run", DiffusionModel, device="cpu")


@pytest.mark.parametrize("solver", [pytest.param(n, marks=[pytest.mark.slow] * (n == "langevin")) for n in SOLVERS])
def test_every_solver_takes_it(model: DiffusionModel, continuous: DiffusionModel, solver: str) -> None:
    """An image depends on its class and on nothing else in the batch."""
    options: dict[str, Any] = {"solver": solver, "steps": 4, "threshold": "static"}
    model = continuous if SOLVERS[solver].off_grid or solver == "heun_churn" else model
    made = model.sample(2, label=[3, 5], **options)
    torch.testing.assert_close(made[:1], model.sample(1, label=3, **options), rtol=0, atol=2e-5)
    assert float((made[:1] - model.sample(1, label=4, **options)).abs().max()) > 1e-4


@pytest.mark.parametrize("method", ["cfg", "cfg++", "apg"])
def test_every_guidance_takes_it(model: DiffusionModel, method: GuidanceMethod) -> None:
    plain, guided = (
        model.sample(1, label=3, steps=4, guidance=Guidance(scale, method=method), solver="ddim")
        for scale in ((0.0, 0.8) if method == "cfg++" else (1.0, 4.0))
    )
    assert float((plain - guided).abs().max()) > 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_every_restoration_takes_it(model: DiffusionModel, method: str) -> None:
    image, operator = torch.rand(1, 8, 8) * 2 - 1, box(8, 8, 2)
    small = operator(image[None])[0]
    made = model.restore(small, operator, n=2, steps=4, method=method, label=3)
    assert made.shape == (2, 1, 8, 8)
    if method in ("ddnm", "repaint"):
        torch.testing.assert_close(operator(made), small.expand(2, 1, 4, 4), rtol=0, atol=1e-3)


@pytest.mark.parametrize("method", ["bound", pytest.param("ode", marks=pytest.mark.slow)])
def test_both_likelihoods_take_it(model: DiffusionModel, method: Literal["bound", "ode"]) -> None:
    grey, noise = torch.zeros(1, 1, 8, 8), torch.rand(1, 1, 8, 8) * 2 - 1
    found = model.bits_per_dim(torch.cat([grey, noise]), method=method, evaluations=8)
    assert found.isfinite().all()
    assert (found > 0).all()


def test_a_report_takes_it_with_the_data_that_are_given(model: DiffusionModel) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (300, 8, 8), np.uint8)
    found = sumi.evaluate(model, data=pictures, n=64, quick=True)
    assert any(path.name == "report.html" and path.exists() for path in found.files)
    card = Path(model.folder) / "README.md"
    assert "sumi.load" in card.read_text()  # which every run has
