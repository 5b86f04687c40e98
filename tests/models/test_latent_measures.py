"""Models of latents: compared and tuned in their latents, guided by a CLIP and measured in pixels."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sumi.cli.main import main
from sumi.data.dataset import everything
from sumi.evaluation.images import Evaluation, learn_features
from sumi.evaluation.solvers import compare
from sumi.metrics.features import learned as features
from sumi.metrics.frechet import frechet_distance
from sumi.models.clip import ClipModel
from sumi.models.diffusion import tuning
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.tuned import tuned_file
from sumi.models.diffusion.tuning import fine_method
from sumi.models.guides import loaded
from sumi.models.run import load
from sumi.process.schedule import noise_level
from sumi.report.evaluate import evaluate
from sumi.sampling.sample import sample
from sumi.sampling.sampler import Guidance
from sumi.training_run import train
from tests.coloured import coloured

SMALL = [
    *("autoencoder.network.widths=32", "autoencoder.network.blocks=1", "autoencoder.steps=20"),
    *("network.widths=32", "network.blocks=1", "network.attention=", "network.embedding=32"),
    *("training.batch_size=32", "training.warmup_steps=5", "training.sample_every=0", "data.held_out=0.2"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    """Of coloured squares, 3x16x16, in latents 4x8x8 of an autoencoder of 20 steps; 60 steps of the diffusion."""
    out = tmp_path_factory.mktemp("latent") / "run"
    return train("latent", data=coloured(), out=out, steps=60, settings=SMALL, device="cpu")


@pytest.fixture(autouse=True)
def short_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "FEWEST_STEPS", 20)


def test_solvers_are_compared_in_latents_and_their_pictures_in_pixels(model: DiffusionModel) -> None:
    """DDIM's row, recomputed: 4 steps against 50 of Adams, in standard deviations of latents, which are 1; the Fréchet
    distance is that of the pictures, as they are saved."""
    found = compare(model, ["ddim"], [4], n=12, seed=3, frechet=True, reference=50).rows[0]
    denoiser, x = model.denoiser(), model.start_noise(range(12), 3)
    assert x.shape == (12, 4, 8, 8)
    with torch.inference_mode():
        fine, coarse = fine_method(model, 50), model.method(steps=4, solver="ddim")
        end, got = (sample(denoiser, method.solver, method.times, x) for method in (fine, coarse))
    away = (got - end).flatten(1).square().mean(1).sqrt()
    assert found.median == pytest.approx(float(away.quantile(0.5)), rel=1e-3)  # float32 sums in another order
    learned, held_out = model.load_images().split(model.config.data.held_out)
    network = learn_features(learned)
    made = model.sample(12, seed=3, solver="ddim", steps=4)
    saved = model.pixels.to_model(model.pixels.to_levels(made))
    expected = frechet_distance(network.features(saved), network.features(everything(held_out)))
    assert found.frechet is not None
    assert found.frechet.value == pytest.approx(expected.value, rel=1e-3)


def test_a_sampler_is_tuned_to_latents_and_used(
    model: DiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(model.folder, run)
    monkeypatch.setattr(tuning, "REFERENCE_STEPS", 40)
    monkeypatch.setattr("sumi.evaluation.solvers.REFERENCE_STEPS", 40)
    assert main(["compare", str(run), "--tune", "3", "--solvers", "adams", "-n", "4", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert tuned_file(run, model.step, 3).exists(), printed
    tuned = load(run, DiffusionModel, device="cpu")
    made = tuned.sample(2, steps=3)
    assert torch.equal(made, tuned.sample(2, steps=3, solver="tuned"))
    assert not torch.equal(made, tuned.sample(2, steps=3, solver="adams"))
    rows = {row.solver: row for row in compare(tuned, ["tuned", "adams"], [3], n=32, seed=5, reference=40).rows}
    assert rows["tuned"].median < rows["adams"].median


def test_a_clip_guides_latents_by_the_picture_that_they_decode_to(model: DiffusionModel, tmp_path: Path) -> None:
    """x̂_0 of the latents moves by s (sigma²/alpha) ∇ log p(text | decoded x̂_0), and samples with it."""
    settings = [
        *("network.widths=16,16,16", "network.blocks=0,1,0", "network.features=32", "data.held_out=0.3", "width=16"),
        *("encoder.width=32", "encoder.layers=1", "encoder.length=16", "encoder.tokens=300"),
    ]
    clip = train("clip", data=coloured(), out=tmp_path / "clip", steps=2, settings=settings, device="cpu")
    assert isinstance(clip, ClipModel)
    text, t, scale = "a large red square", 0.5, 3.0
    given = Guidance(clip=clip, clip_scale=scale)
    guidance = loaded(model, given)
    condition = model.condition_of(range(2), None, None, guidance, text)
    x, plain = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1)), model.denoiser()
    guided = model.denoiser(condition, guidance=guidance)(x, t).clean
    now = noise_level(plain.schedule, t)
    seen = x.clone().requires_grad_()
    clean = plain(seen, t).clean
    cosines = (clip.module.pictures(model.space.decode(clean)) * clip.embed_text([text]).clone()).sum(1)
    matched = clip.module.loss.log_match(clip.module.logits(cosines))
    (gradient,) = torch.autograd.grad(matched.sum(), seen)
    assert float(gradient.abs().max()) > 0
    expected = clean + scale * float(now.sigma**2 / now.alpha) * gradient
    torch.testing.assert_close(guided, expected.detach(), rtol=1e-4, atol=1e-5)
    free, towards = (model.sample(2, steps=3, **more) for more in ({}, {"prompt": text, "guidance": given}))
    assert towards.shape == (2, 3, 16, 16)
    assert not torch.equal(free, towards)


def test_copies_are_searched_for_among_the_pictures_of_latents(
    model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the samples are training images, with the others those of the model: the report says which they are."""
    learned, _ = model.load_images().split(model.config.data.held_out)
    own = DiffusionModel.sample
    copied = learned.batch(np.arange(12))

    def planted(self: DiffusionModel, n: int = 16, **options: Any) -> Tensor:
        made = own(self, n, **options)
        return made if options.get("callback") else torch.cat([copied, made[12:]])

    monkeypatch.setattr(DiffusionModel, "sample", planted)
    found = evaluate(model, n=24)
    assert isinstance(found.evaluation, Evaluation)
    copies = found.evaluation.copies
    assert copies is not None
    assert len(copies.closest) > 0
    assert all(pair.training == pair.sample < 12 for pair in copies.closest)
    assert "copies of training images" in found.verdict
    assert found.evaluation.distances.second == len(model.load_images()) - len(learned)
