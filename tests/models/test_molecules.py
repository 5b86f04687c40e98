"""Models of molecules from end to end: the subspace of zero mean, batches of several sizes, resuming, sampling."""

from math import log, pi
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sumi.cli.main import main
from sumi.conditioning.sizes import SizeByValues
from sumi.data.batch import batch_of
from sumi.data.config import DataConfig
from sumi.data.dataset import evenly_spaced
from sumi.data.load import load as load_data
from sumi.data.molecules import MoleculeDataset, centred, is_atom
from sumi.data.spec import expect
from sumi.denoising.denoiser import FunctionDenoiser
from sumi.denoising.parameterization import PreconditionedParts, PredictPreconditioned
from sumi.errors import InputError
from sumi.likelihood.probability_flow import ProbabilityFlow
from sumi.likelihood.subspace import InSubspace, helmert
from sumi.likelihood.trace import ExactTrace
from sumi.metrics.bonds import Molecule
from sumi.models.molecules.likelihood import likelihood_of_molecules
from sumi.models.molecules.model import MoleculeModel
from sumi.models.run import load
from sumi.objectives.molecules import MoleculeObjective
from sumi.objectives.times import stratified
from sumi.process.exploding import EDM
from sumi.process.schedule import noise_level
from sumi.randomness import Purpose, uniform
from sumi.recipes.configure import configure
from sumi.restoration.scaffold import aligned
from sumi.sampling.sample import sample
from sumi.sampling.sampler import build_method
from sumi.training_run import train
from tests.networks.stirred import stirred
from tests.processes import ended, start

SMALL = [
    "network.pair_width=8",
    "network.vectors=4",
    *("network.width=8", "network.layers=1", "network.embedding=8", "training.batch_size=8"),
    *("training.checkpoint_every=3", "sampling.steps=3", "training.warmup_steps=2"),
]
VALUES = ["conditioning=values", "conditioning.names=energy,atoms"]


@pytest.fixture(scope="module")
def data() -> MoleculeDataset:
    whole = expect(load_data(DataConfig("qm7-small")), MoleculeDataset, "")
    return whole.subset(range(0, 120, 2))


@pytest.fixture(scope="module")
def model(data: MoleculeDataset, tmp_path_factory: pytest.TempPathFactory) -> MoleculeModel:
    """Trained for six steps with energies and sizes."""
    out = tmp_path_factory.mktemp("runs") / "molecules"
    found = train("molecules", data=data, out=out, steps=6, settings=[*SMALL, *VALUES])
    assert type(found) is MoleculeModel
    return found


def objective(data: MoleculeDataset) -> MoleculeObjective:
    built = configure("molecules", data=data, settings=[*SMALL, *VALUES]).build(data.spec)
    assert type(built) is MoleculeObjective
    built.fit(data)
    return stirred(built, 0.1)


def test_a_batch_of_several_sizes_is_its_molecules_alone(data: MoleculeDataset) -> None:
    built, items = objective(data), np.arange(8) * 7
    assert len(set(data.sizes[items])) > 2
    together = built(batch_of(data, items, np.arange(8), step=4, seed=3)).detach()
    for k in range(8):
        alone = built(batch_of(data, items[k : k + 1], np.arange(8)[k : k + 1], step=4, seed=3)).detach()
        torch.testing.assert_close(alone[0], together[k], rtol=1e-5, atol=1e-6)


def test_processes_do_not_call_blocks_alike(data: MoleculeDataset) -> None:
    """Molecules of one size are computed at once, others in two parts: a process may not wait for another in a call."""
    built, calls = objective(data), [0]
    built.blocks()[0].register_forward_hook(lambda *_: calls.append(calls.pop() + 1))
    alike = np.flatnonzero(data.sizes == data.sizes[0])[:2]
    counts = []
    for items in (alike, np.arange(2) * 7):
        built(batch_of(data, items, np.arange(2), step=4, seed=3))
        counts.append(calls[0])
        calls[0] = 0
    assert counts == [1, 2]
    assert not built.calls_alike


def test_the_loss_counts_the_molecule_and_not_the_padding(data: MoleculeDataset) -> None:
    """The untrained F is 0, so the loss is the mean square of its target over n (3 + K) numbers, about 1."""
    built = configure("molecules", data=data, settings=SMALL).build(data.spec)
    items = np.arange(60)
    losses = torch.cat([built(batch_of(data, items, items, step=s, seed=0)).detach() for s in range(6)])
    assert float(losses.mean()) == pytest.approx(1, abs=0.1)


def test_the_target_is_of_noise_in_the_subspace(data: MoleculeDataset) -> None:
    """Written out for each molecule, with F = 0: ((x_0 - c_skip x_t)/c_out)², with x_t = x_0 + sigma P ε."""
    built = configure("molecules", data=data, settings=SMALL).build(data.spec)
    assert type(built) is MoleculeObjective
    items = np.arange(8) * 7
    batch = batch_of(data, items, np.arange(8), step=4, seed=3)
    first = float(uniform(3, [0], 4, Purpose.TRAINING_TIME))
    t = built.times.times(stratified(first, torch.arange(8), 8), built.model.schedule)
    noise = batch.normal(Purpose.TRAINING_NOISE, data.shape).double()
    for k, found in enumerate(built(batch).tolist()):
        size, level = int(data.sizes[items[k]]), noise_level(built.model.schedule, t[k : k + 1])
        x_0, c = batch.x[k, :size].double(), built.model.parameterization.coefficients(level)
        x_t = x_0 + float(level.sigma) * centred(noise[k, :size])
        c_skip, c_out = torch.as_tensor(c.c_skip)[0], torch.as_tensor(c.c_out)[0]
        assert found == pytest.approx(float(((x_0 - c_skip * x_t) / c_out).square().mean()), rel=1e-4)


def test_noise_is_projected_onto_the_subspace() -> None:
    """Its covariance is the projection P = I - 11ᵀ/n of places, and the identity of elements."""
    n, c = 5, 5
    units = torch.eye(n * c, dtype=torch.float64).view(-1, n, c)
    p = centred(units).flatten(1)
    torch.testing.assert_close(p @ p, p)
    torch.testing.assert_close(p, p.T)
    assert float(p.trace()) == pytest.approx((n - 1) * 3 + n * 2)
    q = helmert(n)
    torch.testing.assert_close(q @ q.T, torch.eye(n, dtype=torch.float64) - 1 / n)
    torch.testing.assert_close(q.T @ q, torch.eye(n - 1, dtype=torch.float64))


def gaussian(n: int, variances: Tensor) -> FunctionDenoiser:
    """The exact denoiser of molecules of n atoms (3 + 2 numbers) that are N(0, diag(variances)) in the subspace."""
    inside = InSubspace(FunctionDenoiser(lambda x, _: x, EDM(sigma_max=10.0).build()), n)

    def clean(x: Tensor, level) -> Tensor:
        sigma = torch.as_tensor(level.sigma, dtype=torch.float64).reshape(-1, 1)
        return inside.molecules(inside.vectors(x) * variances / (variances + sigma**2))

    return FunctionDenoiser(clean, inside.schedule)


def test_the_density_and_the_score_of_a_gaussian_in_the_subspace_are_exact() -> None:
    n, dimensions = 4, 3 * 3 + 4 * 2
    variances = torch.linspace(0.05, 0.6, dimensions, dtype=torch.float64)
    inside = InSubspace(gaussian(n, variances), n)
    z = torch.randn(6, dimensions, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(inside.vectors(inside.molecules(z)), z)
    at = noise_level(inside.schedule, 0.5)
    torch.testing.assert_close(inside(z, at).score, -z / (variances + float(at.sigma) ** 2), rtol=1e-10, atol=1e-10)
    flow = ProbabilityFlow(rtol=1e-7, atol=1e-7)
    z = z * variances.sqrt()
    found = flow.log_density(inside, z, ExactTrace()).log_density
    least, most = (float(level.sigma) for level in (flow.first(inside.schedule), noise_level(inside.schedule, 1.0)))
    spread = variances + least**2
    # the prior N(0, sigma(1)²) leaves out the data's own variance
    latent = z.square() / spread * (variances + most**2)
    off = (latent / (variances + most**2) - latent / most**2).sum(1) + (1 + variances / most**2).log().sum()
    exact = -0.5 * (z.square() / spread + spread.log() + log(2 * pi)).sum(1)
    torch.testing.assert_close(found, exact + 0.5 * off, rtol=0, atol=1e-4)


def test_the_sampler_stays_in_the_subspace_and_makes_the_gaussian() -> None:
    """Heun of an affine denoiser is affine: the response to every unit of the start gives the variance exactly."""
    n, dimensions = 3, 3 * 2 + 3 * 2
    variances = torch.linspace(0.1, 0.4, dimensions, dtype=torch.float64)
    denoiser = gaussian(n, variances)
    method = build_method("heun", 60, denoiser.schedule, time_grid="karras")
    inside = InSubspace(denoiser, n)
    start = inside.molecules(torch.eye(dimensions, dtype=torch.float64) * 10.0)
    worst: list[float] = []
    end = sample(
        denoiser,
        method.solver,
        method.times,
        start,
        None,
        lambda _, __, x: worst.append(float(x[..., :3].mean(1).abs().max())),
    )
    assert max(worst) < 1e-12
    found = inside.vectors(end)
    assert float((found - torch.diag(found.diagonal())).abs().max()) < 1e-10
    torch.testing.assert_close(found.diagonal().square(), variances, rtol=0.02, atol=0)


def test_each_part_is_preconditioned_by_its_own_deviation() -> None:
    parts = PreconditionedParts(torch.tensor([0.5, 0.1], dtype=torch.float64))
    for t in (0.3, torch.tensor([0.1, 0.9], dtype=torch.float64)):
        level = noise_level(EDM().build(), t)
        found = parts.coefficients(level)
        for k, sigma_data in enumerate((0.5, 0.1)):
            alone = PredictPreconditioned(sigma_data).coefficients(level)
            for name in ("c_in", "c_skip", "c_out"):
                value = torch.as_tensor(getattr(found, name))[:, 0, k]
                torch.testing.assert_close(value, torch.as_tensor(getattr(alone, name)).double().reshape(-1))


SHARED = """
import sys
from pathlib import Path
import sumi
from sumi.boundary.group import joined
from sumi.models.molecules import likelihood
from sumi.models.molecules.model import MoleculeModel

out, counts = Path(sys.argv[1]), []

def density(model, x, **options):
    counts.append(len(x))
    return x.double().square().sum((1, 2))

MoleculeModel.log_density = density
with joined() as group:
    _, found = likelihood.likelihood_of_molecules(sumi.load(sys.argv[2], device="cpu"), data="qm7-small", n=18)
    (out / str(group.rank)).write_text(f"{counts} {found.value!r}")
"""


def test_two_processes_share_the_molecules_whose_likelihood_is_found(model: MoleculeModel, tmp_path: Path) -> None:
    for code, text in ended(start(["-c", SHARED, str(tmp_path), str(model.folder)]), within=240):
        assert code == 0, text
    _, held_out = model.load_data("qm7-small").split(model.config.data.held_out)
    expected = -float(torch.as_tensor(evenly_spaced(held_out, 18)).double().square().sum((1, 2)).mean())
    for rank, batches in enumerate(([8, 2], [8])):
        counts, value = (tmp_path / str(rank)).read_text().rsplit(maxsplit=1)
        assert counts == str(batches)
        assert float(value) == pytest.approx(expected)


def test_the_likelihood_is_the_mean_density_of_held_out_molecules(
    model: MoleculeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    _, held_out = model.load_data().split(model.config.data.held_out)
    x = torch.as_tensor(evenly_spaced(held_out, 2))
    count, found = likelihood_of_molecules(model, n=2)
    assert count == 2
    assert found.value == pytest.approx(-float(model.log_density(x).mean()), rel=1e-4)
    assert found.low < found.value < found.high
    for more, why in (
        (["--probes", "2"], "--probes: a run of molecules has none"),
        (["-n", "1"], "too few for an int"),
    ):
        assert main(["nll", str(model.folder), *more]) == 2
        assert why in capsys.readouterr().err


def test_a_resumed_run_is_the_same_bit_for_bit(model: MoleculeModel, data: MoleculeDataset, tmp_path: Path) -> None:
    settings = [*SMALL, *VALUES]
    train("molecules", data=data, out=tmp_path / "run", steps=3, settings=settings)
    resumed = train(tmp_path / "run" / "config.json", data=data, out=tmp_path / "run", steps=6, resume=True)
    for name, weights in model.module.state_dict().items():
        assert torch.equal(weights, resumed.module.state_dict()[name]), name


def test_an_item_is_the_same_alone_and_among_others(model: MoleculeModel) -> None:
    many = model.sample(9, seed=5, batch_size=4)
    assert torch.equal(many, load(model.folder).sample(9, seed=5, batch_size=4))
    sizes = is_atom(many).sum(1)
    assert len(set(sizes.tolist())) > 1
    for k in (0, 4, 8):
        torch.testing.assert_close(model.sample(1, seed=5, start=k)[0], many[k], rtol=1e-4, atol=1e-5)
    assert float(many[..., :3].sum(1).abs().max()) < 1e-4
    assert not model.sample(3, atoms=7)[:, 7:].any()
    noisy = model.sample(3, seed=5, solver="ddpm", time_grid="karras")
    assert float(noisy[..., :3].sum(1).abs().max()) < 1e-4


def test_sizes_are_distributed_as_the_data_and_follow_what_is_asked_for(model: MoleculeModel) -> None:
    sizes = model.sizes(range(4000), 0)
    counts = torch.tensor(model.spec.counts) / sum(model.spec.counts)
    shares = torch.bincount(sizes, minlength=len(counts) + 1)[1:] / 4000
    torch.testing.assert_close(shares, counts, rtol=0, atol=0.03)
    assert torch.equal(model.sizes(range(100, 110), 0), sizes[100:110])
    assert int(model.sizes(range(500), 0, least=10).min()) >= 10
    exactly = model.condition_of(range(200), {"values": {"atoms": 9}})
    assert set(model.sizes(range(200), 0, None, exactly).tolist()) == {9}
    by_values = model.module.auxiliary["sizes"]
    assert type(by_values) is SizeByValues
    free = by_values.shares(torch.full((1, 2), torch.nan))[0]
    torch.testing.assert_close(free, SizeByValues.shares(by_values, torch.full((1, 2), torch.nan))[0])
    heavy, light = (by_values.shares(torch.tensor([[energy, torch.nan]]))[0] for energy in (-1500.0, -600.0))
    size = torch.arange(1.0, len(heavy) + 1, dtype=torch.float64)
    assert float((heavy * size).sum()) > float((light * size).sum()) + 1


def test_a_scaffold_is_kept_in_its_own_shape(model: MoleculeModel) -> None:
    ring = Molecule(("C", "C", "O"), np.array([[0, 0, 0], [1.5, 0, 0], [0.7, 1.2, 0.3]]))
    made = model.sample(5, scaffold=ring)
    found = model.spec.molecules(made)
    wanted = np.linalg.norm(ring.places[:, None] - ring.places[None], axis=2)
    for molecule in found:
        assert molecule.elements[:3] == ring.elements
        at = molecule.places[:3]
        np.testing.assert_allclose(np.linalg.norm(at[:, None] - at[None], axis=2), wanted, atol=1e-4)
    with pytest.raises(InputError, match=r"^scaffold: has atoms of F; the model makes"):
        model.sample(1, scaffold=Molecule(("F",), np.zeros((1, 3))))


def test_a_scaffold_is_turned_and_never_mirrored() -> None:
    a = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))[0]
    turn = turn * torch.linalg.det(turn)
    moved = a @ turn + torch.tensor([1.0, -2.0, 3.0])
    torch.testing.assert_close(aligned(a, moved), moved)
    torch.testing.assert_close(aligned(a[:, :1], moved[:, :1]), moved[:, :1])
    of_mirror = aligned(a, moved * torch.tensor([1.0, 1.0, -1.0]))
    volumes = [torch.linalg.det(x[:, 1:4] - x[:, :1]) for x in (a, of_mirror)]
    torch.testing.assert_close(volumes[1], volumes[0])


def test_guidance_extrapolates_from_the_unconditional_model(model: MoleculeModel) -> None:
    given = {"values": {"energy": -900.0}}
    plain, guided = (model.sample(2, condition=given, guidance=w, atoms=9) for w in (1.0, 3.0))
    assert not torch.equal(plain, guided)
    assert not torch.equal(plain, model.sample(2, atoms=9))
    with pytest.raises(InputError, match=r"^guidance\.scale: guides towards a condition"):
        model.sample(1, guidance=2.0)
    with pytest.raises(InputError, match=r"^atoms: "):
        model.sample(1, atoms=99)


@pytest.mark.slow
def test_a_density_is_of_the_molecule_whatever_its_padding(model: MoleculeModel, data: MoleculeDataset) -> None:
    x, flow = data.batch(np.array([0])), ProbabilityFlow(rtol=1e-3, atol=1e-3)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))[0]
    turned = torch.cat([x[..., :3] @ turn, x[..., 3:]], 2)
    wider = torch.cat([turned[:, :5], turned[:, :5] * 0, turned[:, 10:] * 0], 1)
    torch.testing.assert_close(
        model.log_density(x, flow=flow), model.log_density(wider, flow=flow), rtol=1e-3, atol=0.1
    )


def test_commands_of_images_refuse_by_name(model: MoleculeModel, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(model.folder)
    for command in (
        ["inpaint", run, "x.png", "--mask", "m.png"],
        ["vary", run, "x.png"],
        ["nll", run, "--data", "digits"],
    ):
        assert main(command) == 2
        assert "molecules" in capsys.readouterr().err
    assert main(["sample", run, "-n", "2", "--label", "3"]) == 2
    assert "--label" in capsys.readouterr().err
    assert main(["train", "molecules", "--data", "digits"]) == 2
    assert "this is for molecules" in capsys.readouterr().err
    assert main(["train", "ddpm", "--data", "qm7-small"]) == 2
    assert "takes no molecules" in capsys.readouterr().err
    assert main(["sample", run, "-n", "3", "--value", "energy=-900", "--guidance", "2", "--seed", "1"]) == 0
    wrote = capsys.readouterr().out
    assert "molecules.xyz" in wrote
