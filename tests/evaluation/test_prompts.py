"""What a text-to-image model makes of captions: read by a judge, scored by a CLIP, and guided by one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from sumi import Guidance
from sumi.cli.main import main
from sumi.conditioning.prompt import as_text
from sumi.errors import InputError
from sumi.evaluation import guidance_methods
from sumi.evaluation.guidance_methods import captioned, compare_guidance
from sumi.evaluation.prompts import evaluate_prompts
from sumi.metrics.features import network as features
from sumi.models.clip import ClipModel
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.model import TrainedModel
from sumi.models.run import load
from sumi.training_run import train
from tests.coloured import coloured

VISION = ["network.widths=16,16,16", "network.blocks=0,0,0", "network.features=16", "training.batch_size=16"]
WORDS = ["encoder.width=32", "encoder.layers=1", "encoder.length=16", "encoder.tokens=300"]
TRANSFORMER = ["network.width=32", "network.blocks=1", "network.patch=8", "network.embedding=32", "sampling.steps=2"]
SETTINGS = {
    "judge": VISION,
    "clip": [*VISION, *WORDS, "width=8"],
    "other": [*VISION, *WORDS, "width=8"],
    "text-to-image": [*TRANSFORMER, *(f"conditioning.{word}" for word in WORDS), "training.batch_size=4"],
    "ddpm": ["network.widths=32", "network.blocks=1", "network.embedding=32", "training.batch_size=4"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("prompts")
    for seed, (name, settings) in enumerate(SETTINGS.items()):
        recipe = "clip" if name == "other" else name
        settings = [*settings, "data.held_out=0.4", "training.sample_every=0", "training.warmup_steps=0"]
        train(recipe, data=coloured(2), out=folder / name, steps=3, seed=seed, settings=settings)
    return folder


def test_samples_are_read_by_the_judge_and_scored_by_the_clip(folder: Path) -> None:
    """Their mean cosine is that of the pictures with their own captions; the report has both tables."""
    model, clip = load(folder / "text-to-image", DiffusionModel), load(folder / "clip", ClipModel)
    measured = model.evaluate(data=coloured(2), judge=folder / "judge", clip=folder / "clip", n=12, quick=True)
    written = json.loads((folder / "text-to-image/report/prompts.json").read_text())
    page = measured.page.read_text()
    assert "Share of the attributes" in page
    assert "As the CLIP sees it" in page
    found, made = evaluate_prompts(model, coloured(2), judge=None, clip=clip, n=12)
    assert found.clip is not None
    u, v = clip.embed_images(made.images), clip.embed_text(made.captions)
    assert found.clip.samples.value == pytest.approx(float((u * v).sum(1).mean()), abs=1e-6)
    assert found.clip.shuffled.value == pytest.approx(float((u * v.roll(1, 0)).sum(1).mean()), abs=1e-6)
    assert len(made.captions) == 12 == written["groups"][0]["samples"]["pictures"]
    assert written["clip"]["gallery"] <= 12


@pytest.mark.parametrize("classes", [True, False])
def test_methods_of_guidance_are_compared_on_captions_of_held_out_pictures(folder: Path, classes, monkeypatch) -> None:
    """Evenly spaced, and again from the first; how many are of the right class only where pictures have classes."""
    data = coloured(2)
    data = data if classes else replace(data, labels=None, label_names=())
    network = features.untrained(3, 16, 4, torch.Generator().manual_seed(0))
    facts = features.FeatureFacts("classes", 4, 3, 16, 0.0, 0)
    scale = torch.ones(()).double()
    random = features.FeatureNetwork(network, torch.zeros(features.DIMENSION).double(), scale, facts)
    monkeypatch.setattr(guidance_methods, "learn_features", lambda *_: random)
    monkeypatch.setattr(DiffusionModel, "load_images", lambda _: data)
    model = load(folder / "text-to-image", DiffusionModel)
    _, held_out = data.split(0.4)
    asked = captioned(model, held_out, 60)
    assert asked.prompts is not None
    assert set(asked.prompts) <= {as_text(caption) for caption in held_out.captions or ()}
    assert asked.prompts[len(held_out) : len(held_out) + 5] == asked.prompts[:5]
    if asked.classes is not None:
        assert all(data.label_names[c] in prompt for c, prompt in zip(asked.classes, asked.prompts, strict=True))
    found = compare_guidance(model, 2.0, 4, n=60)
    assert [row.method for row in found.rows] == ["none", "cfg", "interval", "rescale", "cfg++", "apg"]
    assert found.rows[0].effective == pytest.approx(1, abs=1e-3)
    assert found.rows[1].effective == pytest.approx(2, rel=1e-3)
    assert all((row.accuracy is not None) == classes and row.evaluations <= 4 for row in found.rows)


def test_pictures_without_captions_are_left_out(folder: Path) -> None:
    model, clip, whole = load(folder / "text-to-image", DiffusionModel), load(folder / "clip", ClipModel), coloured(2)
    captions = whole.captions or ()
    data = replace(whole, captions=tuple(text if i % 3 else "" for i, text in enumerate(captions)))
    _, made = evaluate_prompts(model, data, judge=None, clip=clip, n=12)
    assert len(made.captions) >= 10
    assert set(made.captions) <= {as_text(text) for text in captions}
    _, held_out = data.split(0.4)
    asked = captioned(model, held_out, 40)
    assert asked.prompts is not None
    assert all(asked.prompts)
    with pytest.raises(InputError, match=r"^data: no held-out pictures have captions"):
        captioned(model, replace(held_out, captions=("",) * len(held_out)), 4)


def test_a_clip_of_the_model_itself_is_no_judge_of_it(folder: Path, monkeypatch) -> None:
    model, clip = load(folder / "text-to-image", DiffusionModel), load(folder / "clip", ClipModel)

    def parts(_: DiffusionModel) -> dict[str, TrainedModel]:
        return {"clip": load(folder / "clip", ClipModel)}

    monkeypatch.setattr(DiffusionModel, "parts", parts)
    with pytest.raises(InputError, match=r"^clip: .* scoring itself; give one of another seed"):
        evaluate_prompts(model, coloured(2), judge=None, clip=clip)
    evaluate_prompts(model, coloured(2), judge=None, clip=load(folder / "other", ClipModel), n=10)


@pytest.mark.parametrize("recipe", ["ddpm", "text-to-image"])
def test_a_clip_guides_towards_the_prompt(folder: Path, tmp_path: Path, recipe: str) -> None:
    """Of a model that knows words and of one that does not; at a scale of 0 by the words alone."""
    model, clip = load(folder / recipe, DiffusionModel), load(folder / "clip", ClipModel)

    def made(scale: float) -> torch.Tensor:
        return model.sample(4, prompt="a red square", guidance=Guidance(clip=clip, clip_scale=scale), steps=4)

    plain = model.sample(4, steps=4, prompt="a red square", guidance=1) if model.text else model.sample(4, steps=4)
    torch.testing.assert_close(made(0.0), plain, rtol=0, atol=1e-5)
    assert not torch.equal(made(1.0), plain)
    if model.text is None:
        low, none, high = (float(clip.score(made(scale), "a red square").mean()) for scale in (-8.0, 0.0, 8.0))
        assert low < none < high
    arguments = ["--prompt", "a red square", "--clip", str(folder / "clip"), "--clip-scale", "3"]
    assert main(["sample", str(folder / recipe), "-n", "1", *arguments, "--out", str(tmp_path / "out")]) == 0
    about = json.loads(Image.open(tmp_path / "out/00000.png").text["sumi"])
    assert (about["clip_scale"], about["clip"]) == (3.0, str(folder / "clip"))


def test_bad_input_is_one_line(folder: Path, capsys) -> None:
    plain, text, clip = (str(folder / name) for name in ("ddpm", "text-to-image", "clip"))
    for arguments, answer in (
        (["sample", plain, "--clip", clip], "--clip: guides towards a prompt, and none is given; give a prompt"),
        (["sample", plain, "--prompt", "red"], "was trained without captions; train text-to-image, or guide by a CLIP"),
        (["sample", plain, "--prompt", "red", "--clip-scale", "2"], "none is given; add --clip"),
        (
            ["sample", plain, "--prompt", "red ~ blue", "--clip", clip],
            "blends two texts, and a CLIP takes one",
        ),
        (["sample", plain, "--prompt", "red", "--clip", text], "is a run of text-to-image, and this is for CLIPs"),
        (["evaluate", text, "--judge", clip], "is a run of clip, and this is for judges of attributes"),
        (["evaluate", clip, "--clip", clip], "--clip: "),
    ):
        assert main(arguments) == 2, arguments
        err = capsys.readouterr().err
        assert answer in err, err
        assert err.count("\n") == 1
    with pytest.raises(InputError, match="was trained without captions, and prompts are judged"):
        load(folder / "ddpm").evaluate(data=coloured(2), clip=folder / "clip", n=4)


def test_captions_that_are_longer_than_the_encoder_takes_lose_their_end(folder: Path, tmp_path: Path) -> None:
    """In training, in its samples and in what is measured; as a prompt one is refused."""
    settings = [*SETTINGS["text-to-image"], "conditioning.encoder.length=5", "data.held_out=0.4"]
    model = train("text-to-image", data=coloured(2), out=tmp_path / "run", steps=1, settings=settings)
    assert model.text is not None
    caption, encoder = coloured(2).captions[0], model.text.encoder
    short = encoder.shortened(caption)
    assert caption.startswith(short)
    assert len(short) < len(caption)
    whole, cut = encoder.tokens([caption])[0], encoder.tokens([short])[0]
    assert torch.equal(cut[cut > 0], whole[: int((cut > 0).sum())])
    assert encoder.shortened(short) == short
    one_word = encoder.shortened("zqxj" * 20)
    assert one_word
    assert ("zqxj" * 20).startswith(one_word)
    found, made = evaluate_prompts(model, coloured(2), judge=None, clip=load(folder / "clip", ClipModel), n=10)
    assert found.clip is not None
    assert all(text == encoder.shortened(text) for text in made.captions)
    with pytest.raises(InputError, match=r"this model takes 4; shorten it"):
        model.sample(1, prompt=caption)
