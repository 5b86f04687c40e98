"""The bound on pixels of a model of latents: each term against its law."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sumi.autoencoders.scale import LatentScale
from sumi.cli.main import main
from sumi.errors import InputError
from sumi.models.diffusion.latent_bound import gaussian_nats, laplace_nats, latent_bound
from sumi.models.diffusion.model import DiffusionModel
from sumi.training_run import train

SETTINGS = [
    *("autoencoder.network.widths=32", "autoencoder.network.blocks=0", "autoencoder.steps=60"),
    *("network.widths=32", "network.blocks=1", "network.attention=", "network.embedding=32"),
    *("training.batch_size=16", "training.sample_every=0"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    out = tmp_path_factory.mktemp("bound") / "run"
    return train("latent", data="digits", out=out, steps=40, settings=SETTINGS, device="cpu")


@pytest.mark.parametrize("mean", [-1.4, -1.0, 0.013, 0.99, 3.0])
@pytest.mark.parametrize("scale", [0.003, 0.2])
def test_the_levels_probabilities_add_up_to_one(mean: float, scale: float) -> None:
    x = torch.linspace(-1, 1, 17)[:, None]  # of float32, which is the tolerance below
    nats = laplace_nats(x, torch.full_like(x, mean), scale, 17)
    assert float((-nats).exp().sum()) == pytest.approx(1, abs=1e-12)
    inner = torch.distributions.Laplace(torch.tensor(mean).double(), torch.tensor(scale).double())
    low, high = (x[1:-1, 0].double() + side / 16 for side in (-1, 1))
    torch.testing.assert_close((-nats[1:-1]).exp(), inner.cdf(high) - inner.cdf(low), atol=1e-7, rtol=0)


def test_a_density_of_the_encoder_is_the_normal_one() -> None:
    noise, std = torch.randn(3, 5), torch.rand(3, 5) + 0.1
    expected = -torch.distributions.Normal(0, std).log_prob(std * noise).sum(1)
    torch.testing.assert_close(gaussian_nats(noise, std), expected.double(), atol=1e-5, rtol=0)


class Stretched(nn.Module):
    """An autoencoder whose latents are seven times those of another."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.factor = inner, inner.factor

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = self.inner.posterior(x)
        return 7 * mean, 7 * std

    def encode(self, x: Tensor) -> Tensor:
        return 7 * self.inner.encode(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.inner.decode(z / 7)


def test_the_units_of_latents_do_not_matter_and_terms_add_up(model: DiffusionModel) -> None:
    """The divergence of the posterior from the diffusion, a sum of two densities in one unit, is above 0."""
    found = latent_bound(model, n=8)
    assert found.total.value == pytest.approx(found.decoder.value + found.latents.value)
    assert found.latents.value > 0
    scale = LatentScale(4)
    scale.set(7 * model.space.scale.mean.flatten(), 7 * model.space.scale.std.flatten())
    stretched = DiffusionModel(model.description, model.module, model.step, model.folder)
    stretched.__dict__["space"] = replace(model.space, autoencoder=Stretched(model.space.autoencoder), scale=scale)
    again = latent_bound(stretched, n=8)
    assert again.total.value == pytest.approx(found.total.value, rel=1e-3)


def test_the_command_line_prints_it_as_a_bound(model: DiffusionModel, capsys) -> None:
    assert main(["nll", str(model.folder), "-n", "4"]) == 0
    assert "by encoder, ODE and decoder; a bound" in capsys.readouterr().out
    assert (model.folder / "nll" / "nll.json").exists()
    assert main(["nll", str(model.folder), "--probes", "1"]) == 2


def test_codes_have_no_density_to_bound_with(tmp_path: Path) -> None:
    settings = [*SETTINGS, "autoencoder.network.regularizer=fsq", "autoencoder.network.regularizer.levels=3,3"]
    codes = train("latent", data="digits", out=tmp_path / "run", steps=1, settings=settings, device="cpu")
    with pytest.raises(InputError, match=r"^autoencoder: of codes has no density of latents"):
        latent_bound(codes, n=4)
