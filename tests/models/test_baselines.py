"""VAE, GAN, PixelCNN: each against what is known exactly of it, and the same run when it is killed and resumed."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sumi import recipes
from sumi.boundary.settings import override
from sumi.cli.main import main
from sumi.data.batch import batch_of
from sumi.data.config import DataConfig
from sumi.errors import InputError
from sumi.likelihood.dequantize import bits_per_dim, importance_weighted_bits
from sumi.models.baselines.gan import GAN, GANConfig, squared_gradient
from sumi.models.baselines.model import BaselineModel, BaselineObjective
from sumi.models.baselines.pixelcnn import LogisticMixture, PixelCNN, PixelCNNConfig, Softmax
from sumi.models.baselines.vae import VAE, VAEConfig
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load
from sumi.randomness import Purpose, normal
from tests.interrupted import killed_and_resumed

SMALL = ("training.steps=12", "training.batch_size=8", "training.warmup_steps=2", "training.checkpoint_every=4")
NETWORKS = {
    "vae": ("network.widths=16,32", "network.latent=4"),
    "gan": ("network.widths=16,32", "network.latent=4"),
    "pixelcnn": ("network.width=8", "network.blocks=1"),
}


# A linear Gaussian model: x = W z + b + s ε with orthogonal columns of W, so that the posterior is diagonal.
DIMENSIONS, LATENT, STD = 6, 2, 0.7
_RANDOM = torch.randn(DIMENSIONS, LATENT, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
WEIGHT = torch.linalg.qr(_RANDOM)[0]
WEIGHT = WEIGHT * torch.tensor([1.5, 0.6], dtype=torch.float64)
SHIFT = torch.linspace(-0.5, 0.5, DIMENSIONS, dtype=torch.float64)


class Encoder(nn.Module):
    """The exact posterior's m and log s, with m moved and s multiplied."""

    def __init__(self, moved: float = 0.0, wider: float = 1.0) -> None:
        super().__init__()
        self.moved, self.wider = moved, wider

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        variance = 1 / (1 + WEIGHT.square().sum(0) / STD**2)
        mean = (x.flatten(1) - SHIFT) @ WEIGHT * variance / STD**2
        log_std = (variance.sqrt() * self.wider).log().expand_as(mean)
        return torch.cat([mean + self.moved, log_std], dim=1)


class Decoder(nn.Module):
    """W z + b, and the number that `VAE.decode` makes s of."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        mean = (z @ WEIGHT.T + SHIFT).view(-1, 1, 1, DIMENSIONS)
        floor = -6.0
        before = floor + math.log(math.expm1(math.log(STD) - floor))
        return torch.cat([mean, torch.full_like(mean, before)], dim=1)


def linear_vae(moved: float = 0.0, wider: float = 1.0) -> VAE:
    return VAE(Encoder(moved, wider), Decoder(), LATENT, None)


X = torch.randn(5, 1, 1, DIMENSIONS, generator=torch.Generator().manual_seed(2)).double()


def evidence() -> torch.Tensor:
    covariance = WEIGHT @ WEIGHT.T + STD**2 * torch.eye(DIMENSIONS, dtype=torch.float64)
    return torch.distributions.MultivariateNormal(SHIFT, covariance).log_prob(X.flatten(1))


def test_with_the_exact_posterior_every_draws_weight_is_the_evidence() -> None:
    for seed in range(3):
        noise = torch.randn(5, LATENT, generator=torch.Generator().manual_seed(seed)).double()
        torch.testing.assert_close(linear_vae().log_weights(X, noise), evidence(), atol=1e-10, rtol=0)


def test_the_loss_is_minus_the_evidence_less_what_the_posterior_misses() -> None:
    """-log p(x | z) is quadratic in z, so that its mean over ε is that over the points ±√d e_i; the rest is known:
    ELBO = log p(x) - KL(q ‖ p(z | x)). The loss is float32, hence 1e-6."""
    points = math.sqrt(LATENT) * torch.cat([torch.eye(LATENT), -torch.eye(LATENT)]).double()
    for moved, wider in ((0.0, 1.0), (0.3, 1.4)):
        vae = linear_vae(moved, wider)
        losses = torch.stack([vae.losses(X, p.expand(5, LATENT)) for p in points]).double().mean(0)
        variance = 1 / (1 + WEIGHT.square().sum(0) / STD**2)
        missed = ((moved**2 / variance + wider**2 - 1) / 2 - math.log(wider)).sum()
        torch.testing.assert_close(-losses * DIMENSIONS, evidence() - missed, atol=5e-6, rtol=1e-6)


def test_more_draws_bound_the_evidence_better_and_reach_it() -> None:
    """E log (1/K) Σ w rises with K to log p(x) (Burda et al. 2016, theorem 1); in bits, the other way round."""
    vae = linear_vae(0.4, 1.3)
    x = X[:1].expand(64, -1, -1, -1)
    weights = vae.log_importance_weights(x, seed=0, indices=range(64), draws=1024)
    exact = float(-evidence()[0]) / DIMENSIONS / math.log(2)
    means = []
    for k in (1, 4, 16, 64, 1024):
        groups = weights.reshape(-1, k)
        means.append(float(importance_weighted_bits(groups, DIMENSIONS).mean()))
    assert all(before > after for before, after in itertools.pairwise(means))
    assert means[0] == pytest.approx(float(bits_per_dim(weights, DIMENSIONS).mean()), abs=1e-10)
    assert means[-1] == pytest.approx(exact, abs=2e-3)  # a weight's variance of about 0.5 leaves 1/(4 K) nats


def test_a_rows_draws_do_not_depend_on_the_others() -> None:
    whole = linear_vae().log_importance_weights(X, seed=3, indices=range(5), draws=2)
    torch.testing.assert_close(whole[2:4], linear_vae().log_importance_weights(X[2:4], seed=3, indices=[2, 3], draws=2))


def random_pixelcnn(shape: tuple[int, int, int], levels: int, **fields) -> PixelCNN:
    torch.manual_seed(0)
    return PixelCNNConfig(**{"width": 6, "blocks": 2, **fields}).build(shape, levels).double().eval()


@pytest.mark.parametrize(("shape", "levels"), [((1, 4, 5), 17), ((3, 3, 4), 256)])
def test_a_value_depends_on_those_before_it_and_on_all_of_them(shape: tuple[int, int, int], levels: int) -> None:
    """In the order row, column, channel the Jacobian of the parameters is strictly lower triangular, without a hole."""
    net = random_pixelcnn(shape, levels, blocks=4)
    channels, height, width = shape

    def parameters(flat: torch.Tensor) -> torch.Tensor:
        x = flat.view(height, width, channels).permute(2, 0, 1)[None]
        found = torch.stack([net.of_channel(c, net.features(x), x) for c in range(channels)], dim=1)[0]
        return found.square().sum(1).permute(1, 2, 0).flatten()

    x = torch.rand(channels * height * width, dtype=torch.float64) * 2 - 1
    jacobian = torch.autograd.functional.jacobian(parameters, x)
    assert torch.equal(jacobian.triu(), torch.zeros_like(jacobian))
    below = torch.ones_like(jacobian).tril(-1).bool()
    assert bool((jacobian[below] != 0).all())


def images_of(shape: tuple[int, int, int], levels: int) -> torch.Tensor:
    values = torch.linspace(-1, 1, levels, dtype=torch.float64)
    return torch.tensor(list(itertools.product(values.tolist(), repeat=math.prod(shape)))).double().view(-1, *shape)


@pytest.mark.parametrize(("shape", "levels"), [((1, 2, 2), 2), ((1, 2, 2), 3), ((2, 1, 2), 3)])
def test_the_probabilities_of_all_images_add_up_to_1(shape: tuple[int, int, int], levels: int) -> None:
    total = random_pixelcnn(shape, levels).log_probability(images_of(shape, levels)).exp().sum()
    assert float(total.detach()) == pytest.approx(1.0, abs=1e-12)


def test_images_are_sampled_as_often_as_they_are_probable() -> None:
    """4,000 draws among 16 images: chi-square with 15 degrees of freedom, below its 1 - 1e-4 quantile, 44.3."""
    net, images = random_pixelcnn((1, 2, 2), 2), images_of((1, 2, 2), 2)
    with torch.no_grad():
        for head in net.heads:
            head[-1].weight.mul_(4.0)  # far from all alike
        expected = net.log_probability(images).exp() * 4000
        sampled = net.generate(7, range(4000))
    counts = torch.stack([(sampled == image).flatten(1).all(1).sum() for image in images])
    assert int(counts.sum()) == 4000
    assert float(expected.max() / expected.min()) > 2
    assert float(((counts - expected).square() / expected).sum()) < 44.3


@pytest.mark.parametrize("distribution", [Softmax(17), LogisticMixture(256, 3), LogisticMixture(5, 2)])
def test_levels_have_probabilities_that_add_up_and_draws_follow_them(distribution) -> None:
    parameters = torch.randn(1, distribution.parameters, generator=torch.Generator().manual_seed(4)).double()
    values = torch.linspace(-1, 1, distribution.levels, dtype=torch.float64)
    table = parameters[:, :, None, None].expand(-1, -1, 1, len(values))
    log_p = distribution.log_probability(table, values[None, None])[0, 0]
    assert float(log_p.exp().sum()) == pytest.approx(1.0, abs=1e-12)
    u = torch.rand(20_000, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    sampled = distribution.draw(parameters.expand(len(u), -1), u)
    mean, exact = sampled.mean(), (log_p.exp() * values).sum()
    std = ((log_p.exp() * values.square()).sum() - exact.square()).sqrt()
    assert abs(float(mean - exact)) < 4.5 * float(std) / len(u) ** 0.5
    assert torch.isin(sampled, values).all() or float((sampled[:, None] - values).abs().min(1).values.max()) < 1e-12


def test_the_logarithm_of_a_far_level_is_exact() -> None:
    """Far out a logistic's bin has log P = -|x - m|/s + log(2 sinh(h/s)), to e^(-|x - m|/s)."""
    s, m, levels = 0.01, -0.6, 256
    raw = -7 + math.log(math.expm1(math.log(s) + 7))
    parameters = torch.tensor([0.0, m, raw], dtype=torch.float64)[None, :, None, None]
    x = torch.tensor(181 * 2 / 255 - 1, dtype=torch.float64)
    found = LogisticMixture(levels, 1).log_probability(parameters, x[None, None, None])
    exact = -(float(x) - m) / s + math.log(2 * math.sinh(1 / 255 / s))
    assert float(found) == pytest.approx(exact, abs=1e-9)


def random_gan() -> GAN:
    torch.manual_seed(0)
    gan = GANConfig(widths=(16,), latent=3, penalty=0.7).build((1, 4, 4), 17).double()
    with torch.no_grad():
        for p in gan.parameters():
            p.add_(0.1 * torch.randn_like(p))  # the last convolution of a block begins at zero
    return gan


def test_each_network_gets_the_gradient_of_its_own_loss_alone() -> None:
    gan, z = random_gan(), torch.randn(4, 3, dtype=torch.float64)
    x = torch.rand(4, 1, 4, 4, dtype=torch.float64) * 2 - 1
    gan.losses(x, z).sum().backward()
    together = {name: p.grad.clone() for name, p in gan.named_parameters()}
    real, fake = gan.discriminator(x)[:, 0], gan.discriminator(gan.fake(z))[:, 0]
    own = torch.autograd.grad(
        torch.log1p((real.detach() - fake).exp()).sum(), list(gan.generator.parameters()), retain_graph=True
    )
    for (name, _), gradient in zip(gan.generator.named_parameters(), own, strict=True):
        torch.testing.assert_close(together[f"generator.{name}"], gradient, atol=1e-10, rtol=1e-8)
    both = [x.clone().requires_grad_(), gan.fake(z).detach().requires_grad_()]
    scores = [gan.discriminator(v)[:, 0] for v in both]
    slopes = [torch.autograd.grad(s.sum(), v, create_graph=True)[0] for s, v in zip(scores, both, strict=True)]
    loss = torch.log1p((scores[1] - scores[0]).exp()).sum() + 0.35 * sum(s.square().sum() for s in slopes)
    own = torch.autograd.grad(loss, list(gan.discriminator.parameters()), allow_unused=True)
    for (name, p), gradient in zip(gan.discriminator.named_parameters(), own, strict=True):
        expected = torch.zeros_like(p) if gradient is None else gradient
        torch.testing.assert_close(together[f"discriminator.{name}"], expected, atol=1e-10, rtol=1e-8)


def test_the_penalty_of_a_quadratic_is_known() -> None:
    """D(x) = ½ x·A x + b·x has ∇D = A x + b for a symmetric A."""
    torch.manual_seed(0)
    a, b, x = torch.randn(6, 6), torch.randn(6), torch.randn(5, 6)
    a = a + a.T
    x.requires_grad_()
    score = ((x @ a) * x).sum(1, keepdim=True) / 2 + (x @ b)[:, None]
    torch.testing.assert_close(squared_gradient(score, x), (x @ a + b).square().sum(1))


def test_an_encoder_halves_only_what_can_be_halved() -> None:
    with pytest.raises(InputError, match=r"network.widths: 3 levels halve 2 times, which images of 6x6 do not allow"):
        VAEConfig(widths=(16, 16, 16)).build((1, 6, 6), 17)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_it_trains_resumes_bit_for_bit_and_samples(name: str, tmp_path: Path, monkeypatch) -> None:
    config = override(recipes.build(name, DataConfig(source="digits")), [*SMALL, *NETWORKS[name]])
    model, checkpoint = killed_and_resumed(config, tmp_path, monkeypatch, at=7)
    assert isinstance(model, BaselineModel)
    assert checkpoint.step == 12
    whole = load(tmp_path / "run", BaselineModel).sample(5, seed=3)
    assert whole.shape == (5, 1, 8, 8)
    assert float(whole.abs().max()) <= 1
    torch.testing.assert_close(model.sample(2, seed=3, start=2, batch_size=1), whole[2:4], atol=1e-5, rtol=0)
    assert not torch.equal(model.sample(5, seed=4), whole)
    assert load(tmp_path / "run").config == config


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A run of each, of four steps."""
    folder = tmp_path_factory.mktemp("baselines")
    for name, settings in NETWORKS.items():
        flags = [f"--set={setting}" for setting in (*SMALL, "training.steps=4", *settings)]
        assert main(["train", name, "--data", "digits", "--no-report", "--out", str(folder / name), *flags]) == 0
    return folder


def test_one_command_each(runs: Path, capsys) -> None:
    """Sampled, described, measured; the bound is above what many draws say; exact is said of the PixelCNN alone."""
    run = str(runs / "vae")
    for arguments in (["sample", run, "-n", "3"], ["info", run], ["nll", run, "-n", "20", "--draws", "8"]):
        assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "wrote 3 images" in out
    assert "by the bound" in out
    bits = [float(line.split()[-3]) for line in out.splitlines() if line.startswith("by ")]
    assert bits[0] > bits[1]
    assert main(["nll", str(runs / "pixelcnn"), "-n", "20"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("exactly"))
    model = load(runs / "pixelcnn", BaselineModel)
    _, held_out = model.load_images().split(model.config.data.held_out)
    x = held_out.batch(np.linspace(0, len(held_out) - 1, 20).round().astype(np.int64))
    exact = -model.baseline.log_probability(x) / (64 * math.log(2))
    assert float(line.split()[-3]) == pytest.approx(float(exact.mean()), abs=1e-4)
    torch.testing.assert_close(model.bits_per_dim(x), exact.detach())
    vae = load(runs / "vae", BaselineModel)
    weights = vae.baseline.log_importance_weights(x, seed=1, indices=range(20), draws=7)
    torch.testing.assert_close(vae.bits_per_dim(x, draws=7, seed=1), importance_weighted_bits(weights, 64))
    assert len(vae.bits_per_dim(x[:2])) == 2
    for call, answer in (
        (lambda: load(runs / "gan", BaselineModel).bits_per_dim(x), "a GAN has no likelihood"),
        (lambda: vae.bits_per_dim(x[:, :, :4]), r"images: are of shape \(20, 1, 4, 8\); the model takes"),
        (lambda: vae.bits_per_dim(x, draws=0), "draws: 0 is out of range"),
        (lambda: model.bits_per_dim(x, draws=2), "draws: the likelihood of a pixelcnn is exact"),
    ):
        with pytest.raises(InputError, match=answer):
            call()
    assert main(["evaluate", run, "-n", "24"]) == 0
    report = (runs / "vae" / "report" / "report.html").read_text()
    assert "vae on digits" in report
    assert "emerging" not in report


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["nll", "gan"], "a GAN has no likelihood; measure it with `sumi evaluate`"),
        (["nll", "pixelcnn", "--draws", "3"], "--draws: the likelihood of a pixelcnn is exact; leave it out"),
        (["nll", "vae", "--variance", "small"], "--variance: a run of vae has none; leave it out"),
        (["sample", "gan", "--steps", "5"], "--steps: a run of gan has none; leave it out"),
        (["sample", "vae", "--trajectory"], "--trajectory: a run of vae has none; leave it out"),
        (["compare", "vae"], "is a run of vae, and this is for diffusion models; choose such a run"),
        (["evaluate", "gan", "--sweeps"], "sweeps: does not apply to the evaluation of a gan; leave it out"),
    ],
)
def test_what_it_cannot_do_is_refused_in_one_line(runs: Path, arguments: list[str], answer: str, capsys) -> None:
    command, name, *rest = arguments
    assert main([command, str(runs / name), *rest]) == 2
    message = capsys.readouterr().err
    assert answer in message
    assert message.count("\n") == 1


def test_vectors_are_refused_before_a_folder_is_made(tmp_path: Path, capsys) -> None:
    assert main(["train", "vae", "--data", "swiss-roll", "--out", str(tmp_path / "run")]) == 2
    assert "vectors" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_diffusion_model_is_expected_where_it_is_asked_for(runs: Path) -> None:
    with pytest.raises(InputError, match="is a run of vae, and this is for diffusion models"):
        load(runs / "vae", DiffusionModel)


def test_the_loss_is_of_the_steps_own_noise(runs: Path) -> None:
    """Training noise is that of (seed, step, position), and half of the images are mirrored where that is asked for."""
    model = load(runs / "vae", BaselineModel)
    data = model.load_images()
    items = np.arange(4)
    objective = BaselineObjective(model.module)
    noise = normal(5, [0, 1, 2, 3], 9, Purpose.TRAINING_NOISE, (4,))
    expected = model.module.losses(data.batch(items), noise)
    torch.testing.assert_close(objective(batch_of(data, items, items, step=9, seed=5)), expected, rtol=0, atol=0)


def test_no_two_values_of_a_pixelcnn_share_their_uniform_numbers(monkeypatch) -> None:
    seen: list[int] = []

    def numbers(_: int, indices: Sequence[int], step: int) -> Tensor:
        seen.append(step)
        return torch.full((len(indices), 2), 0.5, dtype=torch.float64)

    monkeypatch.setattr("sumi.models.baselines.pixelcnn._uniform_pairs", numbers)
    PixelCNNConfig(width=16, blocks=1).build((3, 2, 4), 4).generate(0, range(2))
    assert seen == list(range(3 * 2 * 4))
