"""What each word of a prompt did to a picture."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from sumi.boundary.settings import override
from sumi.cli.main import main
from sumi.data.config import DataConfig
from sumi.errors import InputError
from sumi.explain.words import replaced, what_words_did
from sumi.models.diffusion.build import build_denoiser
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.model import RunDescription
from sumi.models.run import load
from sumi.networks.attention_maps import attention_maps
from sumi.process.schedule import noise_level
from sumi.recipes import build
from sumi.sampling.sampler import Guidance
from tests.tiny_models import RGB, conditioned_model, scrambled

PROMPT = "a red square, zebra"
SETTINGS = [
    "network.width=32",
    "network.blocks=2",
    "network.patch=4",
    "network.embedding=32",
    "conditioning.encoder.width=32",
    "conditioning.encoder.tokens=300",
    "conditioning.encoder.length=16",
    "sampling.steps=1",
]


@pytest.fixture(scope="module")
def model() -> DiffusionModel:
    config = override(build("text-to-image", DataConfig(source="digits")), SETTINGS)
    denoiser = build_denoiser(config, RGB)
    found = DiffusionModel(RunDescription(config, RGB, "none", 0.5), scrambled(denoiser), 1, Path("none"))
    assert found.text is not None
    found.text.encoder.fit(["a red square", "a blue disc, a red disc"] * 4)
    return found


def test_maps_are_the_shares_of_each_words_tokens_and_a_word_left_out_is_the_prompt_without_it(
    model: DiffusionModel,
) -> None:
    found = what_words_did(model, PROMPT, index=3, seed=5)
    assert found.words == ("a", "red", "square", "zebra")
    assert torch.equal(found.picture, model.sample(1, start=3, seed=5, prompt=PROMPT)[0])
    assert torch.equal(found.without[1], model.sample(1, start=3, seed=5, prompt="a square, zebra")[0])
    one = what_words_did(model, "zebra", index=3, seed=5)
    assert torch.equal(one.without[0], model.sample(1, start=3, seed=5)[0])

    text = model.text
    assert text is not None
    zebra = text.encoder.vocabulary.encode("zebra")  # spelt in several tokens, after a start, four words and a sign
    assert len(zebra) > 1
    denoiser = model.denoiser(model.condition_of([3], None, None, None, PROMPT), guidance=Guidance(scale=1.0))
    with attention_maps(model.network_denoiser) as layers, torch.inference_mode():
        denoiser(model.start_noise([3], 5), noise_level(model.network_denoiser.schedule, 1.0))
    last = torch.stack([shares[0, -len(zebra) :].sum(0) for shares in layers]).mean(0)
    expected = F.interpolate(last[None, None], (8, 8), mode="bilinear")[0, 0]
    torch.testing.assert_close(found.maps[3], expected)
    assert len(layers) == 2


def test_a_command_draws_both_figures_and_refuses_what_means_nothing(
    model: DiffusionModel, tmp_path: Path, capsys
) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    model.save(run)
    assert main(["explain", str(run), "--prompt", PROMPT, "--change", "red=blue", "--out", str(out)]) == 0
    assert sorted(file.name for file in out.iterdir()) == ["changed.png", "words.png"]
    printed = capsys.readouterr().out
    assert "red=blue, same noise" in printed
    assert "; never seen in training: zebra\n" in printed
    for name, more in (("words.png", {}), ("changed.png", {"change": "red=blue"})):
        with Image.open(out / name) as picture:
            about = json.loads(picture.info["sumi"])
            assert picture.info["Software"] == "Sumi"
        assert {key: about[key] for key in ("prompt", "seed", "run", "checkpoint")} == {
            "prompt": PROMPT, "seed": 0, "run": str(run), "checkpoint": 1
        }  # fmt: skip
        assert (about["digest"], about["steps"]) == (load(run, DiffusionModel).digest[:16], 1)
        assert {key: value for key, value in about.items() if key == "change"} == more
    for given, why in (
        (["linear", "--prompt", "a"], "--prompt: does not count for linear"),
        ([str(run), "--change", "a=b"], "--change: counts for the picture of a prompt"),
        ([str(run), "--prompt", "a ~ b"], "explain a text without marks"),
        ([str(run), "--prompt", "a (red:2) disc"], "explain a text without marks"),
        ([str(run), "--prompt", "!"], "has no words"),
        ([str(run), "--prompt", "a red disc", "--change", "re=blue"], "is no word of the prompt"),
    ):
        assert main(["explain", *given]) == 2
        assert why in capsys.readouterr().err
    with pytest.raises(InputError, match="trained without captions"):
        what_words_did(conditioned_model("ddpm"), "a disc")
    assert replaced("a red (car), red", "red=(x") == "a (x (car), red"
