"""EDM's networks in each of its preconditionings: said by the file, or found out from what they make of noise."""

from math import log, pi
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from sumi.denoising.parameterization import PredictPreconditioned
from sumi.errors import InputError
from sumi.interop.preconditioning import EXPLODING, PRESERVING
from sumi.interop.sources import import_run, open_source
from sumi.models.run import load
from sumi.process.chain import CosineBeta
from tests.published_networks import ADM, Song

CLASSES = torch.eye(3)[[2, 0]]
X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def song() -> Song:
    network = Song("standard", "standard", False, (1, 1))
    network.network(X, torch.ones(2), CLASSES)
    return network


def denoised(file: Path, sigma: float) -> Tensor:
    """x̂_0 of images in the paper's units, x = x_0 + σ ε, by the imported network."""
    model = open_source(file, device="cpu").diffusion
    bound = model.denoiser(model.condition_of(range(2), torch.tensor([2, 0])), threshold="none")
    schedule = model.gaussian_denoiser().schedule
    t = schedule.time(torch.tensor(-2 * log(sigma), dtype=torch.float64))
    with torch.no_grad():
        return bound((float(schedule.alpha(t)) * X.double()).float(), float(t)).clean


def same(found: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(found / theirs.abs().max(), theirs / theirs.abs().max(), rtol=0, atol=2e-6)


@pytest.mark.parametrize("sigma", [0.3, 4.0])
def test_a_header_names_the_preconditioning(song: Song, tmp_path: Path, sigma: float) -> None:
    beta = 0.1, 19.9
    time = ((beta[0] ** 2 + 2 * beta[1] * log(1 + sigma**2)) ** 0.5 - beta[0]) / beta[1]
    with torch.no_grad():
        preserving = X - sigma * song.network(X / (1 + sigma**2) ** 0.5, torch.full((2,), 999 * time), CLASSES)
        exploding = X + sigma * song.network(X, torch.full((2,), log(0.5 * sigma)), CLASSES)
    for name, theirs in (("VPPrecond", preserving), ("VEPrecond", exploding)):
        same(denoised(song.saved(tmp_path / f"{name}.safetensors", "model.", {"preconditioning": name}), sigma), theirs)
    file = song.saved(tmp_path / "a.safetensors", "model.", {"preconditioning": "other"})
    with pytest.raises(InputError, match="preconditioning other is not known"):
        open_source(file)


@pytest.mark.parametrize(("gain", "known"), [(1.0, PRESERVING), (-1.0, EXPLODING), (0.0, None)])
def test_without_a_header_what_it_makes_of_noise_tells_it(
    gain: float, known: object, song: Song, tmp_path: Path
) -> None:
    """The network gives its input times ``gain``: its last block lets the image by, its last norm makes it of one size,
    and silu is a line far from 0."""
    own = song.tensors
    image = torch.zeros(8, 3, 3, 3)
    image[range(3), range(3), 1, 1] = 1
    own |= {"enc.16x16_conv.weight": image, "enc.16x16_conv.bias": torch.zeros(8)}
    own |= {"dec.16x16_block1.conv1.weight": torch.zeros(8, 8, 3, 3), "dec.16x16_block1.conv1.bias": torch.zeros(8)}
    skip = torch.cat([torch.zeros(8, 8), torch.eye(8)], 1)[..., None, None]
    own |= {"dec.16x16_block1.skip.weight": skip, "dec.16x16_block1.skip.bias": torch.zeros(8)}
    own |= {"dec.16x16_aux_norm.weight": torch.ones(8), "dec.16x16_aux_norm.bias": torch.full((8,), 10.0)}
    size = gain * 0.75**0.5  # three of four channels of a group are not zero
    last = size * image.transpose(0, 1)
    own |= {"dec.16x16_aux_conv.weight": last, "dec.16x16_aux_conv.bias": torch.full((3,), -10 * size)}
    source = import_run(song.saved(tmp_path / "a.safetensors", "model."), tmp_path / "run", device="cpu")
    config = load(tmp_path / "run", device="cpu").config
    if known is None:
        assert config.parameterization == PredictPreconditioned()
        assert "σ_data = 0.5 is assumed" in source.notes[0]
    else:
        assert (config.schedule, config.parameterization) == (known.schedule, known.parameterization)
        assert f"is read as {'VP' if gain > 0 else 'VE'}Precond" in source.notes[0]


@pytest.mark.parametrize("steps", [1000, 50])
def test_improved_ddpm_is_known_by_its_levels(song: Song, tmp_path: Path, steps: int) -> None:
    u = torch.zeros(steps + 1, dtype=torch.float64)
    alpha_bar = (pi / 2 * torch.arange(steps + 1, dtype=torch.float64) / steps / 1.008).sin() ** 2
    for j in range(steps, 0, -1):
        u[j - 1] = ((u[j] ** 2 + 1) / (alpha_bar[j - 1] / alpha_bar[j]).clamp(min=0.001) - 1).sqrt()
    index = steps // 3
    sigma = float(u[index])
    with torch.no_grad():
        output = song.network(X / (1 + sigma**2) ** 0.5, torch.full((2,), float(steps - 1 - index)), CLASSES)
    for leaf in ("weight", "bias"):  # the second half is the variance
        last = song.tensors[f"dec.16x16_aux_conv.{leaf}"]
        song.tensors[f"dec.16x16_aux_conv.{leaf}"] = torch.cat([last, last.flip(0)])
    own = {f"model.{name}": value.contiguous() for name, value in song.tensors.items()}
    save_file(own | {"u": u.float()}, tmp_path / "a.safetensors")
    model = open_source(tmp_path / "a.safetensors", device="cpu").diffusion
    assert model.config.schedule == CosineBeta(steps)
    assert model.gaussian_denoiser().learned_variance
    same(denoised(tmp_path / "a.safetensors", sigma), X - sigma * output)


def test_adm_is_preconditioned_in_the_same_ways(tmp_path: Path) -> None:
    network, sigma = ADM(edm=True), 2.0
    labels = torch.tensor([2, 0])
    with torch.no_grad():
        theirs = X + sigma * network(X, torch.full((2,), log(0.5 * sigma)), labels)
    own = {f"model.{name}": value.contiguous() for name, value in network.tensors.items()}
    save_file(own, tmp_path / "a.safetensors", {"preconditioning": "VEPrecond"})
    same(denoised(tmp_path / "a.safetensors", sigma), theirs)
    save_file(own | {"u": torch.ones(1001)}, tmp_path / "b.safetensors")
    assert open_source(tmp_path / "b.safetensors", device="cpu").diffusion.config.schedule == CosineBeta()
