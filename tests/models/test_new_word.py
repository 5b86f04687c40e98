"""A new word from a few pictures: the old ones keep their meaning, bit for bit where its row alone is trained."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sumi.boundary.settings import override
from sumi.cli.main import main
from sumi.conditioning.tokens import Tokens
from sumi.conditioning.values import ValuesConditioning
from sumi.data.config import DataConfig
from sumi.data.load import load_images
from sumi.errors import InputError
from sumi.models.diffusion.build import build_denoiser
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.new_word import teach
from sumi.models.model import RunDescription
from sumi.models.run import load
from sumi.recipes import build
from sumi.sampling.sampler import Guidance
from sumi.training_run import train
from tests.tiny_models import scrambled

SETTINGS = [
    "network.width=32",
    "network.blocks=1",
    "network.patch=4",
    "network.embedding=32",
    "conditioning.encoder.width=32",
    "conditioning.encoder.tokens=300",
    "conditioning.encoder.length=16",
    "sampling.steps=2",
    "data.held_out=0.5",
]
TABLE = "conditioner.text.encoder.table.weight"


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    """A run of grey pictures that answers to its words, and four pictures of something red."""
    place = tmp_path_factory.mktemp("teach")
    data, new = place / "data", place / "new"
    data.mkdir()
    new.mkdir()
    for i in range(12):
        Image.fromarray(np.full((8, 8, 3), 20 * i, np.uint8) + np.uint8([0, 1, 2])).save(data / f"{i}.png")
    rows = [{"file_name": f"{i}.png", "text": f"a grey number {i}"} for i in range(12)]
    (data / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for i in range(4):
        Image.new("RGB", (8, 8), (200 + i, 20, 30)).save(new / f"{i}.png")
    config = override(build("text-to-image", DataConfig(source=str(data), size=8)), SETTINGS)
    dataset = load_images(config.data)
    denoiser = scrambled(build_denoiser(config, dataset.spec))
    denoiser.conditioner.fit(dataset)
    description = RunDescription(config, dataset.spec, dataset.fingerprint(), dataset.std())
    DiffusionModel(description, denoiser, 1, place / "run").save(place / "run")
    return place / "run", new


def test_a_row_is_learned_and_nothing_else_changes(folders: tuple[Path, Path], tmp_path: Path, capsys) -> None:
    run, new = folders
    model, out = load(run, DiffusionModel), tmp_path / "taught"
    arguments = ["--images", str(new), "--word", "Zorp", "--like", "grey", "--steps", "40", "--out", str(out)]
    assert main(["teach", str(run), *arguments]) == 0
    assert "(+0.00%)" in capsys.readouterr().out
    taught = load(out, DiffusionModel)
    for name, weight in model.module.state_dict().items():
        mine = taught.module.state_dict()[name]
        if name == TABLE:
            assert torch.equal(mine[:-1], weight)
            assert len(mine) == len(weight) + 1
        elif not name.endswith("learned"):
            assert torch.equal(mine, weight), name
    one = model.sample(2, prompt="a grey number 3", seed=1)
    assert torch.equal(taught.sample(2, prompt="a grey number 3", seed=1), one)
    assert not torch.equal(taught.sample(2, prompt="a zorp", seed=1), model.sample(2, prompt="a zorp", seed=1))
    assert taught.text is not None
    assert taught.text.unknown(["a zorp", "a yak"]) == ("yak",)

    for more, why in (
        (["--word", "grey"], "--word: 'grey' is known to the model already"),
        (["--word", "two words"], "is not one word"),
        (["--word", "new", "--like", "yak"], "--like: 'yak' is no word that the model has seen"),
        (["--word", "new", "--images", str(run / "nowhere")], "--images: cannot be used (data.source: "),
        (["--word", "new", "--images", str(load(run, DiffusionModel).config.data.source)], "give 3 to 10 pictures"),
    ):
        assert main(["teach", str(run), "--images", str(new), *more]) == 2
        assert why in capsys.readouterr().err


def test_a_clip_measures_the_word_and_the_old_ones(folders: tuple[Path, Path], tmp_path: Path, capsys) -> None:
    """Where the row alone is trained the old ones lose nothing."""
    run, new = folders
    data = load(run, DiffusionModel).config.data.source
    settings = ["network.widths=16,16,16", "network.blocks=0,0,0", "network.features=16", "width=8"]
    settings += [
        "encoder.width=32",
        "encoder.length=16",
        "encoder.tokens=300",
        "data.size=8",
        "data.held_out=0.5",
        "training.batch_size=4",
    ]
    train("clip", data=data, out=tmp_path / "clip", steps=1, settings=settings)
    more = ["--images", str(new), "--word", "zorp", "--steps", "1", "--out"]
    arguments = [*more, str(tmp_path / "taught"), "--clip", str(tmp_path / "clip"), "-n", "4"]
    assert main(["teach", str(run), *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("the word, samples nearest to one of the pictures: ") for line in lines)
    assert any(line.startswith("old words, ") and line.endswith(", which loses 0.0% of it") for line in lines)
    for wrong, why in (
        (["-n", "4"], "-n: is of --judge or --clip; add one"),
        (["--clip", str(tmp_path / "clip"), "--judge", str(run)], "--clip: measures what --judge does"),
        (["--judge", str(tmp_path / "clip")], "and this is for judges of attributes"),
    ):
        assert main(["teach", str(run), *more, str(tmp_path / "other"), *wrong]) == 2
        assert why in capsys.readouterr().err


def test_the_loss_of_the_pictures_falls_further_with_additions_of_low_rank(folders: tuple[Path, Path]) -> None:
    run, new = folders
    model = load(run, DiffusionModel)
    row = teach(model, new, "zorp", steps=30)
    whole = teach(model, new, "zorp", rank=4, steps=30)
    assert row.loss[1] < row.loss[0]
    assert row.old_change == 0
    assert whole.loss[1] < row.loss[1]
    assert whole.old_change != 0
    names = {name for name, _ in whole.model.module.named_parameters()}
    assert names == {name for name, _ in model.module.named_parameters()}  # merged


def test_a_run_that_is_given_more_than_texts_is_refused(folders: tuple[Path, Path]) -> None:
    run, new = folders
    model = load(run, DiffusionModel)
    conditions = (*model.config.conditioning, ValuesConditioning(names=("size",)))
    model.config = replace(model.config, conditioning=conditions)
    with pytest.raises(InputError, match="is also given values, which the pictures of a new word lack"):
        teach(model, new, "zorp", steps=1)


def test_a_run_of_other_words_is_refused_as_a_worse_one(folders: tuple[Path, Path]) -> None:
    """It would read the ids of a prompt as other words, or have no row for them."""
    run, new = folders
    model = load(run, DiffusionModel)
    taught, further = (teach(model, new, "zorp", steps=steps).model for steps in (1, 2))
    with pytest.raises(InputError, match=r"^guidance.worse: .* reads texts as other tokens than the model"):
        taught.sample(1, prompt="a zorp", guidance=Guidance(2.0, worse=run))
    away = taught.sample(1, prompt="a zorp", guidance=Guidance(2.0, worse=further))
    assert not torch.equal(away, taught.sample(1, prompt="a zorp", guidance=1.0))


def test_a_name_is_one_token_wherever_it_stands() -> None:
    tokens = Tokens.learned(["a red disc"] * 3, 270)
    named = Tokens.from_json(tokens.with_name("zorp", 270).to_json())
    assert named.encode("a zorp (zorp)").count(270) == 2
    assert named.encode("a red zorps") == tokens.encode("a red zorps")
    assert named.decode(named.encode("a zorp")) == "a zorp"
    assert Tokens.from_json(tokens.to_json()).to_json() == tokens.to_json()
    assert named.unknown("zorp yak") == ("yak",)
