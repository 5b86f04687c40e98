"""The loss of an autoencoder: each term by hand, who learns from which, and when."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sumi.autoencoders.autoencoder import AutoencoderNetwork
from sumi.autoencoders.regularizers import KL
from sumi.data.batch import Batch, batch_of
from sumi.data.config import DataConfig
from sumi.data.dataset import Dataset, every_label, everything
from sumi.data.load import load
from sumi.errors import InputError
from sumi.evaluation.images import learn_features
from sumi.metrics.features import learned
from sumi.metrics.features.distance import open_distance
from sumi.metrics.features.learned import train_classifier
from sumi.metrics.perceptual import perceptual_distance
from sumi.objectives.reconstruction import HALVED, LARGEST_RATIO, ReconstructionLoss, ReconstructionObjective, changes
from sumi.randomness import Purpose
from tests.lpips_weights import lpips_file

NETWORK = AutoencoderNetwork(widths=(16,), blocks=(1,), regularizer=KL(2, weight=1e-3))
PLAIN = ReconstructionLoss()


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load(DataConfig("digits"))


def objective(settings: ReconstructionLoss, steps: int = 10) -> ReconstructionObjective:
    torch.manual_seed(0)
    return ReconstructionObjective(NETWORK.build(1), settings, (2, 4, 4), (1, 8, 8), steps)


def batch(data: Dataset, n: int = 12, step: int = 1) -> Batch:
    return batch_of(data, np.arange(n), np.arange(n), step=step, seed=3)


def parts(trained: ReconstructionObjective, given: Batch) -> tuple[Tensor, Tensor]:
    """Latents and the regularizer's loss, as in training."""
    return trained.model.autoencoder(given.x, given.normal(Purpose.LATENT, (2, 4, 4)))


def test_the_absolute_error_and_the_regularizer(digits: Dataset) -> None:
    trained, given = objective(PLAIN), batch(digits)
    z, of_latents = parts(trained, given)
    error = (trained.model.autoencoder.decoder(z) - given.x).abs().mean((1, 2, 3))
    torch.testing.assert_close(trained(given), error + of_latents)
    assert of_latents.min() > 0


def test_a_share_is_learned_at_half_the_size(digits: Dataset) -> None:
    trained, given = objective(replace(PLAIN, half_size=0.5)), batch(digits)
    z, of_latents = parts(trained, given)
    halved = given.uniform(Purpose.SCALE) < 0.5
    assert 0 < int(halved.sum()) < 12
    decoder = trained.model.autoencoder.decoder
    whole = (decoder(z) - given.x).abs().mean((1, 2, 3))
    half = (decoder(F.avg_pool2d(z, 2)) - F.avg_pool2d(given.x, 2)).abs().mean((1, 2, 3))
    torch.testing.assert_close(trained(given), torch.where(halved, half, whole) + of_latents)


def test_a_share_is_learned_turned_by_quarters(digits: Dataset) -> None:
    """Latents and pictures alike, by one, two or three quarters; the others whole, or at half the size."""
    settings = replace(PLAIN, half_size=0.2, turned=0.6)
    trained, given = objective(settings), batch(digits, 40)
    uniform = given.uniform(Purpose.SCALE)
    quarters = torch.where((uniform < 0.2) | (uniform >= 0.8), 0, ((uniform - 0.2) / 0.2 + 1).floor()).long()
    assert set(quarters.tolist()) == {0, 1, 2, 3}
    z, of_latents = parts(trained, given)
    found, decoder = trained(given) - of_latents, trained.model.autoencoder.decoder
    for row, quarter in enumerate(quarters.tolist()):
        one, x = z[row : row + 1], given.x[row : row + 1]
        if uniform[row] < 0.2:
            one, x = F.avg_pool2d(one, 2), F.avg_pool2d(x, 2)
        expected = (decoder(one.rot90(quarter, (2, 3))) - x.rot90(quarter, (2, 3))).abs().mean()
        torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-5)
    assert changes(uniform, settings, square=False).unique().tolist() == [0, 2, HALVED]


def test_features_count_as_their_distance(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FEWEST_STEPS", "MOST_STEPS"):
        monkeypatch.setattr(learned, name, 20)
    train, _ = digits.split(0.1)
    trained, given = objective(replace(PLAIN, features=0.7)), batch(digits)
    plain = trained(given)
    trained.fit(train)
    z, _ = parts(trained, given)
    made = trained.model.autoencoder.decoder(z)
    judge = train_classifier(everything(train), every_label(train), classes=10, seed=1)
    distance = perceptual_distance(judge.classifier, made, given.x)
    torch.testing.assert_close(trained(given), plain + 0.7 * distance.float())
    measure = learn_features(train)  # of another seed, so that a model is not measured by its own loss
    assert not torch.equal(next(measure.classifier.parameters()), next(judge.classifier.parameters()))
    assert not any("features" in name for name in trained.state_dict())


def test_a_network_from_elsewhere_is_chosen_and_known_by_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = lpips_file(tmp_path)
    monkeypatch.chdir(tmp_path)
    loss = ReconstructionLoss(features=0.5, feature_network=file.name, half_size=0.25).of_images((3, 62, 64))
    found = open_distance(str(file), (3, 31, 32))
    assert (loss.feature_network, loss.feature_weights) == (str(file.resolve()), found.sha256)
    assert loss.of_images((3, 62, 64)) == loss
    assert replace(loss, features=0.0, feature_network="none.pth").of_images((3, 62, 64)).feature_network == "none.pth"
    with pytest.raises(
        InputError, match=r"^loss\.feature_network: LPIPS in AlexNet needs sides of 62 pixels where they are"
    ):
        loss.of_images((3, 60, 64))  # of which a share is learned at half the size
    assert replace(loss, half_size=0.0).of_images((3, 60, 64)).feature_weights == found.sha256
    lpips_file(tmp_path, seed=1)
    with pytest.raises(InputError, match=r"^loss\.feature_network: .*lpips\.pth has other weights than the run was tr"):
        loss.of_images((3, 62, 64))
    file.unlink()
    with pytest.raises(InputError, match=r"^loss\.feature_network: .*lpips\.pth: no such file; give"):
        loss.of_images((3, 62, 64))


def test_the_discriminator_begins_after_its_share_of_the_training(digits: Dataset) -> None:
    trained = objective(replace(PLAIN, adversarial=0.5, adversarial_start=0.5))
    plain = objective(PLAIN)
    plain.model.autoencoder.load_state_dict(trained.model.autoencoder.state_dict())
    for step in (1, 5):
        assert torch.equal(trained(batch(digits, step=step)), plain(batch(digits, step=step)))
    assert not torch.equal(trained(batch(digits, step=6)), plain(batch(digits, step=6)))


def gradients(loss: Tensor, module: torch.nn.Module) -> list[Tensor]:
    found = torch.autograd.grad(loss, list(module.parameters()), retain_graph=True, allow_unused=True)
    return [g for g in found if g is not None]


def test_either_side_learns_from_its_own_judgement_alone(digits: Dataset) -> None:
    trained, given = objective(replace(PLAIN, adversarial=0.5, adversarial_start=0.0)), batch(digits)
    discriminator = trained.model.discriminator
    assert discriminator is not None
    total = trained(given).sum()
    z, of_latents = parts(trained, given)
    made = trained.model.autoencoder.decoder(z)
    real, fake = discriminator(given.x), discriminator(made.detach())
    hinge = (F.relu(1 - real) + F.relu(1 + fake)).flatten(1).mean(1).sum() / 2
    for own, expected in zip(gradients(total, discriminator), gradients(hinge, discriminator), strict=True):
        torch.testing.assert_close(own, expected)
    last = trained.model.autoencoder.decoder.last.weight
    rest = (made - given.x).abs().mean((1, 2, 3)).sum() + of_latents.sum()
    against = -discriminator(made).flatten(1).mean(1).sum()
    of_rest, of_judge = (torch.autograd.grad(part, last, retain_graph=True)[0] for part in (rest, against))
    ratio = (of_rest.norm() / (of_judge.norm() + 1e-4)).clamp(max=LARGEST_RATIO)
    (found,) = torch.autograd.grad(total, last, retain_graph=True)
    torch.testing.assert_close(found, of_rest + 0.5 * ratio * of_judge)


def test_its_weight_is_bounded_where_its_gradient_vanishes(digits: Dataset) -> None:
    """On pictures all alike the judgement hardly depends on them, and the ratio of gradients grows without bound."""
    trained, given = objective(replace(PLAIN, adversarial=1.0, adversarial_start=0.0)), batch(digits)
    discriminator = trained.model.discriminator
    assert discriminator is not None
    with torch.no_grad():
        for weight in discriminator.parameters():
            weight.mul_(1e-2)
    last = trained.model.autoencoder.decoder.last.weight
    (found,) = torch.autograd.grad(trained(given).sum(), last)
    made = trained.model.autoencoder.decoder(parts(trained, given)[0])
    (rest,) = torch.autograd.grad((made - given.x).abs().mean((1, 2, 3)).sum(), last, retain_graph=True)
    (judge,) = torch.autograd.grad(-discriminator(made).flatten(1).mean(1).sum(), last)
    torch.testing.assert_close(found, rest + LARGEST_RATIO * judge)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"features": -1.0}, r"^loss\.features: -1\.0 is negative"),
        ({"adversarial": float("nan")}, r"^loss\.adversarial: nan is negative"),
        ({"half_size": 1.0}, r"^loss\.half_size: 1\.0 is not in \[0, 1\)"),
        ({"turned": -0.1}, r"^loss\.turned: -0\.1 is not in \[0, 1\)"),
        ({"turned": 0.6, "half_size": 0.5}, r"^loss\.turned: 0\.6 and loss\.half_size = 0\.5 are more than 1 together"),
        ({"adversarial_start": -0.1}, r"^loss\.adversarial_start: -0\.1 is not in \[0, 1\)"),
    ],
)
def test_settings_out_of_range_are_refused(fields: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ReconstructionLoss(**fields)
