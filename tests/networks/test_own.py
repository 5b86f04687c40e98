"""A network of one's own in place of a recipe's: what it must be, and that a run of it is as good as any other."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import sumi
from sumi.cli.main import main
from sumi.errors import InputError
from sumi.models.diffusion.model import DiffusionModel
from sumi.networks.condition import NOTHING, NetworkCondition
from sumi.networks.own import Network

SETTINGS = ("training.batch_size=16", "training.precision=fp32", "sampling.steps=2")


class Small(nn.Module):
    """Two convolutions, with the noise level as a further channel, and a condition's vector added in between."""

    def __init__(self, outputs: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 8, 3, padding=1)
        self.last = nn.Conv2d(8, outputs, 3, padding=1)

    def forward(self, x: Tensor, c_noise: Tensor, condition: NetworkCondition = NOTHING) -> Tensor:
        level = (c_noise / 1000).view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])
        h = self.first(torch.cat([x, level], 1))
        return self.last((h if condition.vector is None else h + condition.vector[..., None, None]).relu())


class Lazy(nn.Module):
    """Without a size until it has seen data."""

    def __init__(self) -> None:
        super().__init__()
        self.only = nn.LazyConv2d(1, 3, padding=1)

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        return self.only(x)


class Same(nn.Module):
    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        return x


def trained(folder: Path, network: Network, *settings: str, recipe: str = "ddpm", **options: object) -> DiffusionModel:
    options = {"steps": 4, **options}
    return sumi.train(recipe, data="digits", out=folder, settings=[*SETTINGS, *settings], network=network, **options)


def test_a_module_is_copied_and_trained_from_its_own_weights(tmp_path: Path) -> None:
    network = Small()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    model = trained(tmp_path / "run", network, "training.learning_rate=1e-6", steps=1)
    assert all(torch.equal(network.state_dict()[name], value) for name, value in before.items())
    learned = dict(model.network_denoiser.network.named_parameters())
    assert learned
    assert all(0 < float((value - before[name]).abs().max()) < 1e-4 for name, value in learned.items())


def test_a_factory_makes_the_network_under_the_runs_seed(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = trained(tmp_path / "first", Small)
    torch.manual_seed(2)
    assert torch.equal(trained(tmp_path / "second", Small).sample(2), first.sample(2))
    assert not torch.equal(trained(tmp_path / "other", Small, seed=1).sample(2), first.sample(2))


def test_a_stopped_run_goes_on_bit_for_bit_and_loads_with_the_network(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", Small, steps=6)
    trained(tmp_path / "parts", Small)
    again = trained(tmp_path / "parts", Small(), steps=6, resume=True).module.state_dict()
    assert all(torch.equal(again[name], value) for name, value in whole.module.state_dict().items())
    assert torch.equal(sumi.load(tmp_path / "parts", network=Small()).sample(2), whole.sample(2))


def test_a_network_without_sizes_takes_those_of_the_data(tmp_path: Path) -> None:
    assert trained(tmp_path / "run", Lazy).sample(2).shape == (2, 1, 8, 8)


def test_a_conditional_model_gives_it_the_condition(tmp_path: Path) -> None:
    model = trained(
        tmp_path / "run", Small, "network.embedding=8", "training.learning_rate=1e-2", recipe="classifier-free"
    )
    assert not torch.equal(model.sample(2, label="1"), model.sample(2, label="2"))


@pytest.mark.parametrize("recipe", ["energy", "edm", "score-sde"])
def test_whatever_the_parameterization(recipe: str, tmp_path: Path) -> None:
    assert trained(tmp_path / "run", Small, recipe=recipe, steps=2).sample(2).isfinite().all()


def test_a_learned_variance_takes_twice_the_channels(tmp_path: Path) -> None:
    assert trained(tmp_path / "run", lambda: Small(2), recipe="improved-ddpm", steps=2).sample(2).isfinite().all()


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no network when loaded": (
        lambda run: sumi.load(run),
        r"network: is a run of Small, 225 parameters, of which it holds no code; give it in Python: network=…",
    ),
    "another": (
        lambda run: sumi.load(run, network=nn.Linear(2, 2)),
        r"network: the run has Small, 225 parameters, and Linear, 6 parameters is given; give that one",
    ),
    "no module": (lambda run: trained(run, 3), r"network: int is no torch\.nn\.Module; give one, or a callable"),
    "needs arguments": (
        lambda run: trained(run / "new", nn.Linear),
        r"network: Linear cannot be called without arguments \(missing a required argument: 'in_features'\); give the",
    ),
    "wrong shape": (
        lambda run: trained(run / "new", Small(2)),
        r"network: gives \(2, 2, 8, 8\) of an input of \(2, 1, 8, 8\); it must give \(2, 1, 8, 8\)$",
    ),
    "no variance": (
        lambda run: trained(run / "new", Small(), recipe="improved-ddpm"),
        r"network: gives .*; it must give \(2, 2, 8, 8\), twice the channels as variance=learned$",
    ),
    "another forward": (
        lambda run: trained(run / "new", lambda: nn.Linear(8, 8)),
        r"network: forward\(x, c_noise\) fails for x of \(2, 1, 8, 8\): TypeError: .* takes 2 positional arguments",
    ),
    "nothing to train": (
        lambda run: trained(run / "new", Same),
        r"network: Same has no parameters to train; give one that has",
    ),
    "not of a baseline": (
        lambda run: sumi.train("vae", data="digits", out=run / "new", network=Small),
        r"network: a run of vae has its own kind of network; leave it out",
    ),
    "by name alone": (
        lambda run: sumi.train("ddpm", data="digits", out=run / "new", settings="network=own"),
        r"network: is missing; give it in Python: network=…",
    ),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("own") / "run", Small, steps=1).folder


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(case: str, run: Path) -> None:
    call, message = REFUSED[case]
    with pytest.raises(InputError, match=f"^{message}"):
        call(run)


def test_a_run_of_a_recipes_network_takes_no_other(tmp_path: Path) -> None:
    small = ("network.widths=32", "network.blocks=1", "network.embedding=32")
    sumi.train("ddpm", data="digits", out=tmp_path, steps=1, settings=[*SETTINGS, *small])
    with pytest.raises(InputError, match=r"^network: .* was trained with a network of sumi's; leave it out"):
        sumi.load(tmp_path, network=Small)


def test_info_names_the_network(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(run)]) == 0
    assert "network      Small, 225 parameters" in capsys.readouterr().out
