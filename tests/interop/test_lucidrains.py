"""Checkpoints that denoising-diffusion-pytorch makes and saves itself."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.stand_ins import lucidrains_toolkit
from sumi.denoising.parameterization import PredictClean, PredictNoise, PredictVelocity, Reread
from sumi.errors import InputError
from sumi.interop.sources import import_run, open_source
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load
from sumi.process.chain import CosineBeta
from sumi.process.schedule import noise_level
from tests.lucidrains_checkpoints import SIZE, saved
from tests.toolkits import installed, same, shaken

TOLERANCE = 2e-6
EXACT = 1e-12


@pytest.fixture(scope="module")
def library() -> ModuleType:
    return installed(lucidrains_toolkit)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def unet(library: ModuleType, **settings: Any) -> Any:
    torch.manual_seed(0)
    shape = {"dim": 8, "dim_mults": (1, 2), "channels": 1, "attn_heads": 2, "attn_dim_head": 4}
    network = library.Unet(**shape | settings)
    shaken(network)
    return network


@pytest.mark.parametrize(
    ("objective", "schedule", "steps", "cut", "shape"),
    [
        ("pred_v", "sigmoid", 1000, False, {}),
        ("pred_noise", "linear", 200, True, {"full_attn": (True, False)}),
        ("pred_x0", "cosine", 1000, True, {"dim_mults": (1, 2, 3)}),
        ("pred_v", "linear", 1000, True, {"dim_mults": (2,), "flash_attn": False}),
        ("pred_noise", "cosine", 1000, False, {}),
        ("pred_x0", "sigmoid", 250, False, {}),
    ],
)
def test_a_checkpoint_of_its_trainer_denoises_as_there(
    library: ModuleType, x: Tensor, tmp_path: Path, objective: str, schedule: str, steps: int, cut: bool, shape: Any
) -> None:
    diffusion = library.GaussianDiffusion(
        unet(library, **shape), image_size=8, objective=objective, beta_schedule=schedule, timesteps=steps,
        min_snr_loss_weight=cut,
    )  # fmt: skip
    file, theirs = saved(library, diffusion, tmp_path)
    source = open_source(file, settings=SIZE, device="cpu")
    assert not any("assumed" in note for note in source.notes)
    model = source.diffusion
    known = {"pred_v": PredictVelocity(), "pred_noise": PredictNoise(), "pred_x0": PredictClean()}[objective]
    predicts = model.config.parameterization
    assert (predicts.of if isinstance(predicts, Reread) else predicts) == known
    denoiser = model.gaussian_denoiser()
    for step in (0, steps // 3, steps - 2):
        time = torch.full((2,), step)
        with torch.no_grad():
            same(denoiser(x, (step + 1) / steps).clean, theirs.model_predictions(x, time).pred_x_start, TOLERANCE)
    with torch.no_grad():
        time = torch.full((2,), steps // 3, dtype=torch.float64)
        found = denoiser.double().network(x.double(), time)
        same(found, theirs.double().model(x.double(), time), EXACT)


def test_a_learned_variance_is_that_of_the_library(library: ModuleType, x: Tensor, tmp_path: Path) -> None:
    network = unet(library, learned_variance=True)
    diffusion = library.LearnedGaussianDiffusion(network, image_size=8, objective="pred_noise", beta_schedule="cosine")
    file, theirs = saved(library, diffusion, tmp_path)
    model = open_source(file, settings=SIZE, device="cpu").diffusion
    step = torch.full((2,), 400)
    with torch.no_grad():
        found = model.gaussian_denoiser()(x, 0.401)
        _, variance, _, clean = theirs.p_mean_variance(x=x, t=step, clip_denoised=False)
    same(found.clean, clean, TOLERANCE)
    assert found.clean_variance is not None
    implied = theirs.posterior_variance[400] + theirs.posterior_mean_coef1[400] ** 2 * found.clean_variance
    same(implied, variance, TOLERANCE)


def test_what_the_file_says_stays_where_its_images_are_claimed(library: ModuleType, tmp_path: Path) -> None:
    diffusion = library.GaussianDiffusion(unet(library, channels=3), image_size=32, beta_schedule="cosine")
    file, _ = saved(library, diffusion, tmp_path)
    import_run(file, tmp_path / "run", settings=["shape=3,32,32"], device="cpu")
    model = load(tmp_path / "run", DiffusionModel, device="cpu")
    assert model.space.shape == (3, 32, 32)
    assert model.config.parameterization == PredictVelocity()
    t = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    torch.testing.assert_close(
        model.gaussian_denoiser().schedule.alpha(t), CosineBeta().build().alpha(t), atol=1e-6, rtol=0
    )
    assert model.sample(1, steps=2).isfinite().all()
    assert open_source(file, device="cpu").diffusion.space.shape == (3, 64, 64)


@pytest.mark.parametrize("diffusion", ["GaussianDiffusion", "ElucidatedDiffusion"])
def test_a_network_that_takes_its_own_x_0_is_given_zeros(
    library: ModuleType, x: Tensor, tmp_path: Path, diffusion: str
) -> None:
    """As the library does at its first step."""
    learned = {"learned_sinusoidal_cond": True} if diffusion == "ElucidatedDiffusion" else {}
    network = unet(library, self_condition=True, init_dim=12, **learned)
    given = {"channels": 1} if learned else {}
    file, theirs = saved(library, getattr(library, diffusion)(network, image_size=8, **given), tmp_path)
    source = open_source(file, settings=SIZE, device="cpu")
    assert "is given 0, as at the library's first" in source.notes[-1]
    inner, time = getattr(theirs, "net" if learned else "model"), torch.tensor([0.3, -0.2])
    with torch.no_grad():
        denoiser = source.diffusion.gaussian_denoiser()
        same(denoiser.network(x, time), inner(x, time), TOLERANCE)
        same(denoiser.double().network(x.double(), time.double()), inner.double()(x.double(), time.double()), EXACT)


@pytest.mark.parametrize("random", ["learned_sinusoidal_cond", "random_fourier_features"])
def test_elucidated_diffusion_denoises_as_there(library: ModuleType, x: Tensor, tmp_path: Path, random: str) -> None:
    diffusion = library.ElucidatedDiffusion(unet(library, **{random: True}), image_size=8, channels=1)
    file, theirs = saved(library, diffusion, tmp_path)
    denoiser = open_source(file, settings=SIZE, device="cpu").diffusion.gaussian_denoiser()
    for sigma in (0.1, 1.0, 20.0):
        t = denoiser.schedule.time(-2 * torch.tensor(sigma, dtype=torch.float64).log())
        with torch.no_grad():
            same(denoiser(x, float(t)).clean, theirs.preconditioned_network_forward(x, sigma), TOLERANCE)


@pytest.mark.parametrize(
    ("diffusion", "settings", "claimed"),
    [
        ("ContinuousTimeGaussianDiffusion", {"noise_schedule": "linear"}, []),
        ("ContinuousTimeGaussianDiffusion", {"noise_schedule": "learned"}, []),
        ("VParamContinuousTimeGaussianDiffusion", {}, ["parameterization.of=velocity"]),
    ],
)
def test_continuous_time_denoises_as_there(
    library: ModuleType, x: Tensor, tmp_path: Path, diffusion: str, settings: Any, claimed: list[str]
) -> None:
    """Its network takes the log-SNR; the chain is the library's at the times 1/1000 to 1 but for v, of another one."""
    network = unet(library, learned_sinusoidal_cond=True)
    file, theirs = saved(library, getattr(library, diffusion)(network, image_size=8, channels=1, **settings), tmp_path)
    denoiser = open_source(file, settings=[*SIZE, *claimed], device="cpu").diffusion.gaussian_denoiser()
    for step in (9, 400, 989):
        now = noise_level(denoiser.schedule, step / 1000)
        log_snr = torch.tensor(float(now.log_snr), dtype=torch.float64)
        if not claimed:
            time = torch.tensor(step / 1000, dtype=torch.float64)
            schedule = theirs.log_snr.double() if settings["noise_schedule"] == "learned" else theirs.log_snr
            same(log_snr, schedule(time).detach(), 1e-6)
        alpha, sigma = log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt()
        with torch.no_grad():
            output = theirs.model(x, log_snr.float().expand(2)).double()
        clean = alpha * x - sigma * output if claimed else (x - sigma * output) / alpha
        with torch.no_grad():
            same(denoiser(x, step / 1000).clean, clean.float(), TOLERANCE)


def test_what_is_not_known_of_it_is_refused(library: ModuleType, tmp_path: Path) -> None:
    cases = {
        "WeightedObjectiveGaussianDiffusion": unet(library, out_dim=4),
        "is a Unet1D of sequences": library.Unet1D(dim=8, dim_mults=(1, 2), channels=1),
    }
    for message, network in cases.items():
        torch.save(network.state_dict(), tmp_path / "a.pt")
        with pytest.raises(InputError, match=message):
            open_source(tmp_path / "a.pt")
    older = {n.replace("mid_attn.mem_kv", "mid_attn.fn.fn.old"): v for n, v in unet(library).state_dict().items()}
    torch.save(older, tmp_path / "a.pt")
    with pytest.raises(InputError, match="has no learned keys"):
        open_source(tmp_path / "a.pt")
