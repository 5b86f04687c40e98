"""unCLIP from end to end: what its stages are trained on, what it makes, how it resumes, and what it refuses."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from sumi.boundary.settings import override
from sumi.cli.main import main
from sumi.conditioning.conditioner import Conditioners
from sumi.conditioning.embedding import EmbeddingConditioner, EmbeddingConditioning, reranked
from sumi.conditioning.prompt import single_parts
from sumi.data.batch import Batch, batch_of
from sumi.data.dataset import evenly, everything
from sumi.data.embedded import EmbeddedDataset
from sumi.data.vectors import VectorSpec
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.parameterization import PredictClean
from sumi.errors import InputError
from sumi.evaluation.prior import evaluate_prior, spread
from sumi.metrics.frechet import frechet_distance
from sumi.models.clip import ClipModel
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load
from sumi.models.unclip import UnclipModel, described
from sumi.networks.condition import NetworkCondition
from sumi.process.continuous import Flow
from sumi.report.prior import prior_point
from sumi.sampling.inversion import slerp
from sumi.training import gradients
from sumi.training.checkpoint import load_checkpoint
from sumi.training.run_folder import RunFolder
from sumi.training_run import train
from tests.coloured import coloured
from tests.interrupted import Crash

WORDS = ["encoder.width=32", "encoder.layers=1", "encoder.length=16", "encoder.tokens=300", "data.held_out=0.3"]
VISION = ["network.widths=16,16,16", "network.blocks=0,0,0", "network.features=16", "training.batch_size=16", "width=8"]
QUICK = ["training.sample_every=0", "training.warmup_steps=0"]
TINY = [
    *("network.width=32", "network.blocks=1", "network.patch=8", "network.embedding=32", "sampling.steps=2"),
    *("prior.network.width=16", "prior.network.blocks=1", "prior.network.embedding=16", "prior.batch_size=16"),
    *("prior.sampling.steps=2", "training.batch_size=4"),
    *QUICK,
    *WORDS,
]


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clip") / "run"
    train("clip", data=coloured(2), out=folder, steps=3, settings=[*VISION, *WORDS, *QUICK])
    return folder


@pytest.fixture(scope="module")
def model(clip: Path, tmp_path_factory) -> UnclipModel:
    out = tmp_path_factory.mktemp("unclip") / "run"
    return train("unclip", data=coloured(2), out=out, steps=2, settings=[*TINY, f"clip.source={clip}", "steps=3,2"])


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.fromarray(np.full((16, 16, 3), 200, np.uint8)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_the_clip_may_have_seen_more_pictures_than_the_stages(clip: Path, tmp_path: Path) -> None:
    """As DALL-E 2's had. The stages are trained on its vectors of their own pictures."""
    data = coloured(2).subset(range(0, len(coloured(2)), 2))
    found = train("unclip", data=data, out=tmp_path / "run", steps=1, settings=[*TINY, f"clip.source={clip}"])
    assert described(found.clip) == described(load(clip, ClipModel))
    vectors = np.load(tmp_path / "run/latents/vectors.npy")[:, :8].reshape(len(data), 8)
    torch.testing.assert_close(torch.from_numpy(vectors), found.clip.embed_images(everything(data)))


def test_the_decoder_may_read_words_by_a_frozen_encoder(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("words.txt").write_text("red 1 2 3\nblue -1 0 2\nsquare 2 2 -1\na 0 1 0\n")
    settings = [*(one for one in TINY if not one.startswith("encoder.")), f"clip.source={clip}"]
    settings += ["encoder=table", "encoder.source=words.txt"]
    train("unclip", data=coloured(2), out=tmp_path / "run", steps=1, settings=settings)
    train("unclip", data=coloured(2), out=tmp_path / "run", steps=2, settings=settings, resume=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    model = load(tmp_path / "run", UnclipModel)
    assert model.config.encoder.source == str(tmp_path / "words.txt")
    assert model.decoder.text is not None
    assert model.decoder.text.unknown(["a zorp square"]) == ("zorp",)


def test_a_dropped_vector_is_replaced_by_the_learned_one() -> None:
    torch.manual_seed(0)
    conditioner = EmbeddingConditioning(size=8, dropout=0.25).build(coloured(1).spec, 6)
    assert isinstance(conditioner, EmbeddingConditioner)
    data = coloured(1)
    vectors = F.normalize(torch.randn(len(data), 8), dim=1)
    conditioner.fit(EmbeddedDataset(data, vectors.numpy(), -vectors.numpy()))
    items = np.arange(32)
    batches = [batch_of(data, items, items, step=step, seed=0) for step in range(20)]
    rows = torch.stack([conditioner.of_data(batch, batch.x, 0)["embedding"] for batch in batches])
    left_out = (rows == 0).all(2)
    assert 0.2 < float(left_out.float().mean()) < 0.3
    assert torch.equal(rows[~left_out], vectors.expand(20, -1, -1)[~left_out])
    found = conditioner(conditioner.null(torch.zeros(3, 1))).vector
    assert found is not None
    torch.testing.assert_close(found, conditioner.perceptron(conditioner.nothing).expand(3, -1))
    some = conditioner(conditioner.parse(vectors[:3], range(3))).vector
    torch.testing.assert_close(some, conditioner.perceptron(8**0.5 * vectors[:3]))


def test_the_stages_are_trained_on_the_vectors_of_the_clip(model: UnclipModel, clip: Path) -> None:
    """The prior on standardised vectors of pictures, given those of texts; the decoder on pictures, given theirs."""
    data = coloured(2)
    seen = load(clip, ClipModel)
    run = RunFolder(model.folder)
    u, v = seen.embed_images(data.batch(np.arange(len(data)))), seen.embed_text(list(data.captions or ()))
    stages = [model.prior.config, model.decoder.config]
    of_prior, of_decoder = (model.config.data_of(one, data, run, torch.device("cpu"), None) for one in stages)
    torch.testing.assert_close(torch.from_numpy(of_prior.texts), v)
    torch.testing.assert_close(torch.from_numpy(of_prior.pictures), u)
    train_part, held_out = of_prior.split(0.3)
    assert held_out.keys == data.split(0.3)[1].keys
    x = train_part.batch(np.arange(len(train_part))).double()
    torch.testing.assert_close(x.mean(0), torch.zeros(8, dtype=torch.float64), atol=1e-5, rtol=0)
    assert float(x.var(0, correction=0).mean()) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(
        torch.from_numpy(of_prior.spec.to_units(x.float())).float(), torch.from_numpy(train_part.pictures)
    )
    assert torch.equal(of_decoder.batch(np.arange(3)), data.batch(np.arange(3)))
    assert [c.dropout for c in model.decoder.config.conditioning] == [0.1, 0.5]
    assert model.prior.config.parameterization.name == "clean"
    assert (model.prior.step, model.decoder.step, model.step) == (3, 2, 2)


def test_the_nearest_of_the_candidates_counts(model: UnclipModel) -> None:
    """And each is a sample of the prior, brought to unit length."""
    text = model.clip.embed_text("a red square").expand(4, -1)
    alone = [model.vectors(4, "a red square", seed=3, candidates=k) for k in (1, 2, 5)]
    for vectors in alone:
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))
    scores = torch.stack([(vectors * text).sum(1) for vectors in alone])
    assert bool((scores.diff(dim=0) >= 0).all())
    assert bool((scores[2] > scores[0]).any())
    torch.testing.assert_close(model.vectors(2, "a red square", seed=3, start=2), alone[1][2:], atol=1e-5, rtol=0)
    assert torch.equal(model.vectors(4, "a (red:1) square", seed=3), alone[1])
    a, b = torch.eye(3), torch.eye(3).roll(1, 0)
    texts = F.normalize(torch.tensor([[1.0, 0.1, 0], [1.0, 0.1, 0], [0, 1.0, 0.3]]), dim=1)
    assert torch.equal(reranked(torch.stack([a, b]), texts), torch.stack([a[0], b[1], b[2]]))


def test_weights_of_words_reach_the_prior(model: UnclipModel, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Tensor] = []
    plain = DiffusionModel.sample

    def sample(self: DiffusionModel, n: int = 16, **options: Any) -> Tensor:
        given.append(options["condition"]["embedding"])
        return plain(self, n, **options)

    monkeypatch.setattr(DiffusionModel, "sample", sample)
    model.vectors(2, "a (red:5) square", candidates=1)
    assert torch.equal(given[0], model.clip.embed_parts(single_parts("a (red:5) square", 2)))
    assert not torch.allclose(given[0], model.clip.embed_text("a red square"), atol=1e-3)


def test_pictures_are_decoded_from_vectors(model: UnclipModel) -> None:
    """Those of the prior, of a picture, between two pictures, and towards the difference of two texts."""
    for parameter in model.decoder.module.parameters():  # untrained, it is zero and ignores everything
        torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(0))
    images = coloured(1).batch(np.array([0, 9]))
    u = model.clip.embed_images(images)
    made = model.sample(3, prompt="a red square", seed=1)
    vectors = model.vectors(3, "a red square", seed=1)
    assert torch.equal(made, model.decoder.sample(3, prompt="a red square", seed=1, condition={"embedding": vectors}))
    assert not torch.equal(made, model.decode(vectors.roll(1, 0), prompt="a red square", seed=1))
    varied = model.decode(u[:1].expand(3, -1), seed=1)
    torch.testing.assert_close(model.vary(images[0], 3, seed=1), varied, atol=1e-4, rtol=0)
    between = model.interpolate(images[0], images[1], 3, seed=1)
    x = model.decoder.start_noise([0], 1).expand(3, -1, -1, -1)
    halfway = slerp(u[0], u[1], torch.tensor([0, 0.5, 1]))
    torch.testing.assert_close(between, model.decode(halfway, x=x), atol=1e-4, rtol=0)
    torch.testing.assert_close(between[0], model.vary(images[0], 1, seed=1)[0], atol=1e-4, rtol=0)
    old, new = model.clip.embed_text(["a red square", "a blue square"])
    changed = model.change(images[0], "a red square", "a blue square", 2, seed=1)
    torch.testing.assert_close(changed[0], between[0], atol=1e-4, rtol=0)
    turned = slerp(u[0], F.normalize(new - old, dim=0), torch.tensor([0.5]))
    torch.testing.assert_close(changed[1], model.decode(turned, x=x[:1])[0], atol=1e-4, rtol=0)


class ExactPrior(nn.Module):
    """x̂_0 of N(A c, s²) in two dimensions, given the vector c of the condition, for the linear flow."""

    MAP, STD = torch.tensor([[0.9, -0.4], [0.3, 0.8]]), torch.tensor([0.5, 1.2])

    def forward(self, x: Tensor, c_noise: Tensor, condition: NetworkCondition) -> Tensor:
        assert condition.vector is not None
        t = ((c_noise + 1) / 1000)[:, None]
        alpha, variance, mean = 1 - t, self.STD**2, condition.vector @ self.MAP.T
        return mean + alpha * variance / (alpha**2 * variance + t**2) * (x - alpha * mean)


def test_an_exact_prior_gives_the_exact_law(model: UnclipModel) -> None:
    """Of a Gaussian prior of the text's vector: the directions are those of centre + scale · N(A √2 v, s²)."""
    n, text, spec = 8000, torch.tensor([0.6, 0.8]), VectorSpec(2, None, (0.3, -0.2), 0.4)
    conditioner = EmbeddingConditioning("text", 2).build(coloured(1).spec, 2)
    assert isinstance(conditioner, EmbeddingConditioner)
    conditioner.perceptron = nn.Identity()
    config = override(model.prior.config, ["conditioning.size=2"])
    denoiser = NetworkDenoiser(
        ExactPrior(), Flow().build(), PredictClean(), None, False, Conditioners({"embedding": conditioner})
    )
    description = replace(model.prior.description, config=config, items=spec, data_std=1.0)
    exact = UnclipModel(
        model.description, model.clip, DiffusionModel(description, denoiser, 1, Path("x")), model.decoder, Path("x")
    )
    exact.clip = SimpleNamespace(embed_parts=lambda parts: text.expand(len(parts), -1))
    options = {"sampling.solver": "heun", "sampling.steps": 40}
    exact.prior.config = override(config, [f"{name}={value}" for name, value in options.items()])
    made = exact.vectors(n, "any", candidates=1)
    noise = torch.randn(200_000, 2, generator=torch.Generator().manual_seed(0))
    x = ExactPrior.MAP @ (2**0.5 * text) + ExactPrior.STD * noise
    law = F.normalize(torch.tensor(spec.centre) + spec.scale * x, dim=1)
    error = 4 * law.std(0) / n**0.5
    assert bool(((made.mean(0) - law.mean(0)).abs() < error).all())
    second = [(each[:, :, None] * each[:, None]).mean(0) for each in (made, law)]
    torch.testing.assert_close(*second, atol=0.02, rtol=0)


def test_the_prior_is_measured_against_real_pictures(model: UnclipModel, clip: Path, tmp_path: Path) -> None:
    """Fréchet distances and spreads are those of its vectors; the report has them, and the CLIP's scores."""
    data = coloured(12)
    found = evaluate_prior(model, data, seed=2)
    assert found is not None
    _, held_out = data.split(0.3)
    captions = list(held_out.captions or ())
    made = model.vectors(len(captions), captions, seed=2)
    real = model.clip.embed_images(everything(held_out))
    assert found.captions == len(captions)
    assert found.distance == frechet_distance(made, real)
    assert found.distance_texts == frechet_distance(model.clip.embed_text(captions), real)
    assert found.cosine_real.value == pytest.approx(float((real * model.clip.embed_text(captions)).sum(1).mean()))
    assert found.prompts == 40
    assert spread(torch.tensor([[0.0, 1.0], [0.0, -1.0], [2.0, 0.0]])) == pytest.approx((4 / 3) + 1)
    other = train("clip", data=coloured(2), out=tmp_path / "c", steps=1, seed=5, settings=[*VISION, *WORDS, *QUICK])
    measured = model.evaluate(data=coloured(2), clip=other, n=10, quick=True)
    page = measured.page.read_text()
    assert "Fréchet distance to held-out pictures" in page
    assert "Vectors that the prior makes: Fréchet distance" in measured.verdict
    assert "As the CLIP sees it" in page
    assert json.loads((model.folder / "report/prior.json").read_text())["captions"] > 4
    with pytest.raises(InputError, match="scoring itself; give one of another seed"):
        model.evaluate(data=coloured(2), clip=clip, n=10, quick=True)


def test_the_spread_of_a_captions_vectors_is_in_that_of_its_real_pictures(model: UnclipModel, monkeypatch) -> None:
    """1 for a prior that makes the vectors of the very pictures, and a quarter for one that goes halfway to their mean.

    A caption is true of the pictures with all attributes that it mentions, whatever else they have.
    """
    data = replace(coloured(8), mentioned=(("color", "place"),) * len(coloured(8)))
    by_caption = {text: [i for i, other in enumerate(data.captions or ()) if other == text] for text in data.captions}
    for share, expected in ((1.0, 1.0), (0.5, 0.25)):

        def vectors(n: int, prompt: Any, share: float = share, **_: Any) -> Tensor:
            if not isinstance(prompt, str):
                return torch.eye(8)[torch.arange(n) % 8]
            row = (data.attributes or ())[by_caption[prompt][0]]
            true = [i for i, x in enumerate(data.attributes or ()) if all(x[k] == row[k] for k in ("color", "place"))]
            own = model.clip.embed_images(data.batch(np.array(true)[evenly(len(true), n)]))
            return own.mean(0) + share * (own - own.mean(0))

        monkeypatch.setattr(model, "vectors", vectors)
        found = evaluate_prior(model, data)
        assert found is not None
        assert found.spread is not None
        assert found.spread.value == pytest.approx(expected, rel=1e-6)
    assert "vary 0.250 [" in prior_point(found)[1]
    assert evaluate_prior(model, coloured(4)).spread is None  # of four pictures each


def states(folder: Path) -> list[dict[str, Any]]:
    found = []
    for part in ("prior", "decoder"):
        last = load_checkpoint(max((folder / "parts" / part / "checkpoints").glob("0*")))
        found += [last.model, last.ema, last.optimizer]
    return found


@pytest.mark.parametrize("killed", [2, 5])
def test_killed_in_any_stage_and_resumed_it_is_the_same(
    killed: int, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [*TINY, f"clip.source={clip}", "training.checkpoint_every=1"]
    options: dict[str, Any] = {"data": coloured(2), "steps": 3, "settings": settings}
    train("unclip", out=tmp_path / "whole", **options)
    count, gather = iter(range(1, 100)), gradients.batch_of

    def counted(*arguments: Any, **more: Any) -> Batch:
        if next(count) == killed:
            raise Crash
        return gather(*arguments, **more)

    monkeypatch.setattr(gradients, "batch_of", counted)
    with pytest.raises(Crash):
        train("unclip", out=tmp_path / "run", **options)
    monkeypatch.undo()
    train("unclip", data=coloured(2), out=tmp_path / "run", resume=True)
    for one, other in zip(states(tmp_path / "whole"), states(tmp_path / "run"), strict=True):
        assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_both_stages_are_given_more_steps(model: UnclipModel, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(model.folder, run)
    more = train("unclip", data=coloured(2), out=run, settings="steps=4,3", resume=True)
    assert (more.prior.step, more.decoder.step) == (4, 3)


def test_the_command_line_samples_varies_and_interpolates(
    model: UnclipModel, picture: Path, tmp_path: Path, capsys
) -> None:
    run, out = str(model.folder), tmp_path / "out"
    assert main(["sample", run, "--prompt", "a red square", "-n", "2", "--out", str(out / "s")]) == 0
    about = json.loads(Image.open(out / "s/00001.png").text["sumi"])
    assert (about["prompt"], about["steps"]) == ("a red square", 2)
    assert main(["vary", run, str(picture), "-n", "2", "--out", str(out / "v")]) == 0
    assert main(["interpolate", run, str(picture), str(picture), "-n", "3", "--out", str(out / "i")]) == 0
    assert all((out / name).exists() for name in ("v", "i"))
    assert main(["info", run]) == 0
    shown = capsys.readouterr().out
    assert "prior" in shown
    assert "3 of 3 steps" in shown
    for arguments, answer in (
        (["vary", run, str(picture), "--strength", "0.3"], "--strength: a run of unclip has none"),
        (["sample", run, "--label", "red"], "--label: a run of unclip has none"),
        (["sample", run, "--prompt", "red ~ blue"], "and a CLIP takes one"),
    ):
        assert main(arguments) == 2
        assert answer in capsys.readouterr().err
    (tmp_path / "prompts.txt").write_text("red\nred ~ blue\n")
    lines = ["--prompts", str(tmp_path / "prompts.txt"), "--batch-size", "1", "--out", str(out / "lines")]
    assert main(["sample", run, *lines]) == 2
    assert "red ~0.5 blue blends two texts, and a CLIP takes one" in capsys.readouterr().err
    assert not (out / "lines").exists()


def test_it_is_saved_moved_and_loaded(model: UnclipModel, tmp_path: Path) -> None:
    model = load(model.folder, UnclipModel)
    model.save(tmp_path / "half", half=True)
    other = load(tmp_path / "half", UnclipModel)
    assert described(other.clip) == described(model.clip)
    torch.testing.assert_close(
        other.sample(1, prompt="a red square"), model.sample(1, prompt="a red square"), atol=0.02, rtol=0
    )


def test_bad_input_is_one_line(model: UnclipModel, clip: Path, tmp_path: Path) -> None:
    def refused(answer: str, data: object = None, **options: Any) -> None:
        with pytest.raises(InputError, match=answer) as caught:
            train("unclip", data=coloured(2) if data is None else data, steps=1, out=tmp_path / "x", **options)
        assert "\n" not in str(caught.value)

    refused("^clip: is missing; give a run of `sumi train clip`", settings=TINY)
    refused("^clip: .* is not a run folder", settings=[*TINY, f"clip.source={tmp_path}"])
    refused(
        r"^clip: .* sees pictures of \(3, 16, 16\), and these are \(1, 8, 8\)",
        data="digits",
        settings=[*TINY, f"clip.source={clip}"],
    )
    refused("^clip: .* is a run of unclip, and this is for CLIPs", settings=[*TINY, f"clip.source={model.folder}"])
    refused("^data.flip: ", settings=[*TINY, f"clip.source={clip}", "data.flip=true"])
    with pytest.raises(InputError, match="embedding needs vectors of a CLIP; train unclip"):
        train("ddpm", data=coloured(1), steps=1, out=tmp_path / "y", settings=["conditioning=embedding"])
    for gone in ("clip", "prior", "decoder"):
        shutil.copytree(model.folder, tmp_path / gone)
        shutil.rmtree(tmp_path / gone / "parts" / gone)
        with pytest.raises(InputError, match=f"holds no trained {gone}; resume the training of"):
            load(tmp_path / gone)
    other = train("clip", data=coloured(2), out=tmp_path / "c", steps=1, seed=5, settings=[*VISION, *WORDS, *QUICK])
    shutil.rmtree(tmp_path / "clip/parts", ignore_errors=True)
    shutil.copytree(model.folder / "parts", tmp_path / "clip/parts")
    shutil.rmtree(tmp_path / "clip/parts/clip")
    other.save(tmp_path / "clip/parts/clip")
    with pytest.raises(InputError, match="was not trained on the vectors of"):
        load(tmp_path / "clip")
    for given, answer in (({"label": "red"}, "^condition: of unCLIP is a prompt"), ({"prompt": " "}, "^prompt: ")):
        with pytest.raises(InputError, match=answer):
            model.sample(1, **given)
