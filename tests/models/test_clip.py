"""CLIP from end to end: what it learns, finds, classifies and refuses, and how it resumes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sumi import recipes
from sumi.boundary.config import from_json, to_json
from sumi.cli.main import main
from sumi.conditioning.prompt import single_parts
from sumi.data.batch import batch_of
from sumi.data.config import DataConfig
from sumi.data.dataset import every_label, everything
from sumi.denoising.denoiser import FunctionDenoiser
from sumi.errors import InputError
from sumi.evaluation.retrieval import evaluate_clip
from sumi.guidance.steering import FeynmanKac
from sumi.models.clip import ClipConfig, ClipModel, ClipObjective
from sumi.models.rewards import reward_of
from sumi.models.run import load
from sumi.process.schedule import NoiseLevel, noise_level
from sumi.randomness import Purpose, SampleNoise
from sumi.sampling.sample import sample
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.time_grid import TIME_GRIDS
from sumi.training_run import train
from tests.coloured import coloured
from tests.labelled_mixture import SCHEDULES

SMALL = [
    *("network.widths=16,16,16", "network.blocks=0,1,0", "network.features=32", "data.held_out=0.3", "width=16"),
    *("encoder.width=32", "encoder.layers=1", "encoder.length=16", "encoder.tokens=300"),
    *("training.batch_size=32", "training.warmup_steps=5", "training.precision=fp32", "training.learning_rate=1e-2"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> ClipModel:
    return train("clip", data=coloured(), out=tmp_path_factory.mktemp("clip") / "run", steps=130, settings=SMALL)


def test_its_encoder_of_texts_may_be_frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of words, which is found from any folder: a norm and the projection after it are trained."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    words = sorted({word for text in coloured(1).captions or () for word in text.split()})
    rows = torch.randn(len(words), 8, generator=torch.Generator().manual_seed(0)).tolist()
    lines = [f"{word} {' '.join(map(str, row))}\n" for word, row in zip(words, rows, strict=True)]
    Path("words.txt").write_text("".join(lines))
    settings = [one for one in SMALL if not one.startswith("encoder.")]
    settings += ["encoder=table", "encoder.source=words.txt", "encoder.length=16"]
    train("clip", data=coloured(), out=tmp_path / "run", steps=70, settings=settings)
    train("clip", data=coloured(), out=tmp_path / "run", steps=100, settings=settings, resume=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    model = load(tmp_path / "run", ClipModel)
    assert [name for name, _ in model.module.text.named_parameters()] == ["norm.weight", "norm.bias"]
    _, held_out = coloured().split(0.3)
    assert float((model.classify(everything(held_out)) == every_label(held_out)).float().mean()) > 0.5  # by chance 0.25
    v = model.embed_text(["a red square", "a zorp red square"])
    torch.testing.assert_close(v[:1], model.embed_captions(["a red square"]))
    torch.testing.assert_close(v[0], v[1])  # a word that the table lacks counts nowhere
    assert model.embed_text(" ".join(["red"] * 16)).shape == (1, 16)
    with pytest.raises(InputError, match="has 17 tokens; this CLIP takes 16"):
        model.embed_text(" ".join(["red"] * 17))
    (tmp_path / "words.txt").write_text("".join(lines[1:]))
    with pytest.raises(InputError, match="has other files than the run was trained with"):
        load(tmp_path / "run")


def test_it_finds_the_captions_of_held_out_pictures(model: ClipModel, capsys) -> None:
    """One of 32 captions by itself, colours without training on classes, and chance with captions of others."""
    measured = model.evaluate(data=coloured())
    found = measured.evaluation
    assert found.gallery <= 32
    assert found.found.texts[0].value > 0.5 > 0.2 > found.shuffled.texts[0].value
    assert found.found.pictures[1].value > 0.8
    _, held_out = coloured().split(0.3)
    named = model.classify(everything(held_out))
    right = int((named == every_label(held_out)).sum())
    assert found.zero_shot.accuracy.value == right / len(held_out) > 0.8
    assert 0.1 < found.zero_shot.shuffled.value < 0.45
    assert "among its first five" in measured.page.read_text()
    assert main(["info", str(model.folder)]) == 0
    assert "clip on memory" in capsys.readouterr().out


def test_captions_that_are_longer_than_it_reads_are_measured(model: ClipModel) -> None:
    data = coloured()
    assert data.captions is not None
    longer = tuple(f"{caption} {'a square ' * 20}" for caption in data.captions)
    _, held_out = replace(data, captions=longer).split(0.3)
    found, items, _ = evaluate_clip(model, held_out)
    assert found.queries == found.gallery == len(items)
    with pytest.raises(InputError, match=r"^prompt: .* tokens; this CLIP takes"):
        model.embed_text(longer[0])


def test_scores_are_cosines_of_unit_vectors(model: ClipModel) -> None:
    images, texts = everything(coloured(1))[:5], ["a red square", "a small blue square at the top left"]
    u, v = model.embed_images(images), model.embed_text(texts)
    assert (u.shape, v.shape) == ((5, 16), (2, 16))
    for vectors in (u, v):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors)))
    torch.testing.assert_close(model.score(images, texts), u @ v.T)
    torch.testing.assert_close(model.embed_text(texts[0]), v[:1])
    order = model.classify(images, ["blue", "red"], "a small {} square")
    assert order.tolist() == model.score(images, ["a small blue square", "a small red square"]).argmax(1).tolist()


def test_weights_of_words_count_in_the_vector_of_a_text(model: ClipModel) -> None:
    """As many of the word would, in the mean of the tokens; a weight of 1 changes nothing, bit for bit."""
    found = model.embed_parts(single_parts(["a (large:2.5) red square", "a large (red:0) square"], 2))
    text = model.module.text
    for row, (prompt, words) in enumerate((("a large red square", {1: 2.5}), ("a large red square", {2: 0.0}))):
        states, mask = (part[0] for part in (text(text.tokens([prompt])).states, text(text.tokens([prompt])).mask))
        weights, place = mask.float(), text.around[0]
        for k, (_, tokens) in enumerate(text.spans(prompt)):
            weights[place : place + len(tokens)] = words.get(k, 1.0)
            place += len(tokens)
        expected = F.normalize(model.module.of_text((weights[:, None] * states).sum(0) / weights.sum()), dim=0)
        torch.testing.assert_close(found[row], expected, rtol=0, atol=1e-6)
    plain = single_parts(["a (red:1) disc"], 1)
    assert torch.equal(model.embed_parts(plain), model.embed_text("a red disc"))
    assert not torch.allclose(found[0], found[1], atol=1e-3)
    with pytest.raises(InputError, match="blends two texts, and a CLIP takes one"):
        single_parts(["red ~ blue"], 1)


def test_steering_by_it_makes_what_the_text_says(model: ClipModel) -> None:
    """The reward r is log p(text and picture belong together). An exact generator of 32 pictures, steered by 0.3 r,
    makes each of them with probability ∝ exp(0.3 r): of 600 particles, which share ancestors, to 0.06, and the colour
    named, which without steering is a quarter of them and here 0.59, to 0.1."""
    pictures, text = everything(coloured(1)), "a large red square at the top left"
    reward, cosines = reward_of(model, model, text), model.score(pictures, [text])[:, 0]
    clip = model.module
    torch.testing.assert_close(reward(pictures), F.logsigmoid(clip.log_scale.exp() * cosines + clip.bias))
    assert "red square at the top left" in coloured(1).captions[int(reward(pictures).argmax())]
    flat = pictures.flatten(1).double()

    def nearest(x_t: Tensor, now: NoiseLevel) -> Tensor:
        """p(picture | x_t) (N, 32)."""
        sigma, alpha = (torch.as_tensor(value, dtype=torch.float64) for value in (now.sigma, now.alpha))
        return (-torch.cdist(x_t.flatten(1).double(), alpha * flat).square() / (2 * sigma**2)).softmax(1)

    schedule, count, scale = SCHEDULES["vp"], 600, 0.3
    denoiser = FunctionDenoiser(lambda x, now: (nearest(x, now) @ flat).view(x.shape).to(x), schedule)
    noise = SampleNoise(5, range(count), (3, 16, 16))
    made = sample(
        denoiser,
        FeynmanKac(DDIM(eta=1.0), reward, count, scale),
        TIME_GRIDS["log_ratio"](schedule, 40, 0.5),
        noise(0, Purpose.START),
        noise,
    )
    found = nearest(made, noise_level(schedule, 0.05)).mean(0)
    wanted = (scale * reward(pictures).double()).softmax(0)
    red = torch.tensor(["red" in caption for caption in coloured(1).captions])
    assert float(wanted[red].sum()) > 0.5
    assert float((found - wanted).abs().max()) < 0.06
    assert float((found - wanted)[red].sum().abs()) < 0.1


def test_the_loss_is_that_of_the_pictures_and_captions_of_a_batch() -> None:
    """Each picture alone but for the others' captions; equal captions do not count against each other."""
    data = coloured(2)
    config = replace(recipes.build("clip", DataConfig(source="digits")), width=8)
    torch.manual_seed(0)
    objective = config.build(data.spec)
    assert isinstance(objective, ClipObjective)
    objective.fit(data)
    items = np.array([0, 5, 32, 9])  # 32 is another picture of the caption of 0
    batch = batch_of(data, items, np.arange(4), step=1, seed=0)
    texts = [(data.captions or ())[i] for i in items.tolist()]
    assert texts[0] == texts[2]
    model = objective.model
    z = model(batch.x, model.text.tokens(texts))
    sign = 2 * torch.eye(4) - 1
    terms = -(sign * z).sigmoid().log()
    terms[0, 2] = terms[2, 0] = 0
    torch.testing.assert_close(objective(batch), terms.sum(1), rtol=1e-4, atol=1e-5)
    assert float(model.log_scale.detach().exp()) == pytest.approx(10)
    assert float(model.bias.detach()) == -10


def test_it_resumes_bit_for_bit_and_is_saved_and_loaded(tmp_path: Path) -> None:
    data = coloured(2)
    whole = train("clip", data=data, out=tmp_path / "whole", steps=6, settings=SMALL)
    settings = [*SMALL, "training.checkpoint_every=3"]
    train("clip", data=data, out=tmp_path / "parts", steps=6, settings=settings)
    newest = tmp_path / "parts" / "checkpoints" / "00000006"
    for file in newest.iterdir():
        file.unlink()
    newest.rmdir()
    again = train("clip", data=data, out=tmp_path / "parts", steps=6, settings=settings, resume=True)
    whole.save(tmp_path / "saved")
    for other in (again, load(tmp_path / "saved", ClipModel)):
        for name, value in whole.module.state_dict().items():
            assert torch.equal(value, other.module.state_dict()[name]), name
    assert from_json(ClipConfig, to_json(whole.config)) == whole.config


def test_the_softmax_loss_trains_too(tmp_path: Path) -> None:
    trained = train("clip", data=coloured(2), out=tmp_path / "run", steps=3, settings=[*SMALL, "loss=softmax"])
    assert float(trained.module.log_scale.exp()) == pytest.approx(1 / 0.07, rel=0.1)


def test_bad_input_is_one_line(model: ClipModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"text needs images with captions"):
        train("clip", data="digits", out=tmp_path / "a", steps=1)
    with pytest.raises(InputError, match="holds no images, and this network looks at pictures"):
        train("clip", data="swiss-roll", out=tmp_path / "b", steps=1)
    for texts, answer in (
        ("  ", r"^prompt: ' ' says nothing"),
        ([], r"^texts: \[\] is no text; give one, or a list"),
        (["red", 7], "^prompt: 7 says nothing"),
        ("red " * 30, r"^prompt: red red .* has 60 tokens; this CLIP takes 15; shorten it"),
    ):
        with pytest.raises(InputError, match=answer):
            model.embed_text(texts)
    with pytest.raises(InputError, match=r"^images: are \(2, 1, 8, 8\); "):
        model.embed_images(torch.zeros(2, 1, 8, 8))
    with pytest.raises(InputError, match=r"^template: red has no place for a name"):
        model.classify(torch.zeros(1, 3, 16, 16), template="red")
    for setting, answer in (("width=1", "^width: 1 is too few"), ("network.widths=16,20,16", "^network.widths: ")):
        with pytest.raises(InputError, match=answer):
            train("clip", data=coloured(1), out=tmp_path / "c", steps=1, settings=[*SMALL, setting])
