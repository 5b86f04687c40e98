"""Cascades: stages that are runs of their own, trained and resumed one after the other, and sampled together."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import sumi
from sumi.check.audit.subject import rows_of_model
from sumi.cli.main import main
from sumi.conditioning.cascade import stage_seed
from sumi.conditioning.image import SmallConditioner
from sumi.data.batch import Batch, batch_of
from sumi.data.config import DataConfig
from sumi.data.image_set import ImageDataset
from sumi.data.open import open_data
from sumi.errors import InputError
from sumi.interop.card import model_card
from sumi.models.cascade import CascadeModel
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load
from sumi.models.samples import stated_facts
from sumi.recipes.configure import configure
from sumi.training import gradients
from sumi.training.checkpoint import load_checkpoint
from sumi.training_run import train
from tests.interrupted import Crash

TINY = [
    *("network.width=32", "network.blocks=1", "network.embedding=32"),
    *("upper.widths=32", "upper.blocks=1", "upper.embedding=32"),
    *("encoder.width=32", "encoder.tokens=300", "encoder.length=16"),
    *("training.batch_size=4", "training.sample_every=0", "sampling.steps=2"),
]
SIZES = "sizes=4,8,16"


def with_words(folder: Path) -> Path:
    """Images of 16 pixels with captions and keywords."""
    folder.mkdir()
    rows = []
    for i in range(8):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (16, 16, 3), np.uint8)).save(folder / f"{i}.png")
        rows.append({"file_name": f"{i}.png", "text": f"a picture number {i}"})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_words(tmp_path_factory.mktemp("words") / "data")


@pytest.fixture(scope="module")
def model(words: Path, tmp_path_factory: pytest.TempPathFactory) -> CascadeModel:
    """Of words, of 4, 8 and 16 pixels; the last is trained longer."""
    out = tmp_path_factory.mktemp("cascade") / "run"
    return train("imagen", data=words, out=out, settings=[*TINY, "data.size=16", SIZES, "steps=2,2,3"], device="cpu")


def states(folder: Path) -> list[dict[str, Any]]:
    """Everything that the last checkpoint of each stage holds."""
    found = []
    for part in sorted((folder / "parts").glob("*")):
        last = load_checkpoint(max((part / "checkpoints").glob("0*")))
        found += [last.model, last.ema, last.optimizer]
    return found


def test_the_stages_are_runs_with_the_words_and_the_picture_below(model: CascadeModel) -> None:
    assert [(name, stage.step, stage.items.shape) for name, stage in model.stages.items()] == [
        ("4px", 2, (3, 4, 4)),
        ("8px", 2, (3, 8, 8)),
        ("16px", 3, (3, 16, 16)),
    ]
    conditions = [[one.name for one in stage.config.conditioning] for stage in model.stages.values()]
    assert conditions == [["text"], ["text", "small"], ["text", "small"]]
    scales = [stage.config.sampling.guidance.scale for stage in model.stages.values()]
    assert scales == [2, 1, 1]
    assert {stage.config.sampling.threshold for stage in model.stages.values()} == {"dynamic"}
    assert "4px 2, 8px 2, 16px 3 steps" in repr(model)
    assert model.step == 2


def test_what_takes_one_diffusion_model_names_a_stage(model: CascadeModel, capsys: pytest.CaptureFixture) -> None:
    """And an audit of a stage gives it the pictures below, without a text."""
    for command in ("audit", "vary", "distil"):
        more = {"vary": ["x.png"], "distil": ["--out", "none"]}.get(command, [])
        assert main([command, str(model.folder), *more]) == 2
        assert f"such as its part {Path(model.folder) / 'parts/16px'}" in capsys.readouterr().err
    stage = model.stages["8px"]
    rows, _ = rows_of_model(stage, None, 4)
    assert (rows.condition["small"][:, -1] == 1).any()
    assert not (rows.condition["text"] - stage.module.conditioner.null(rows.x)["text"]).any()


def test_a_card_says_that_pictures_come_from_words(model: CascadeModel) -> None:
    assert '"text-to-image"' in model_card(model)


def test_each_stage_makes_its_pictures_and_the_first_what_it_makes_alone(model: CascadeModel) -> None:
    prompts = ["picture number 3", "a"]
    made = model.sample_stages(2, prompt=prompts, seed=5, guidance=3)
    assert [tuple(x.shape) for x in made.values()] == [(2, 3, 4, 4), (2, 3, 8, 8), (2, 3, 16, 16)]
    alone = model.stages["4px"].sample(2, prompt=prompts, seed=5, guidance=3)
    assert torch.equal(made["4px"], alone)
    assert torch.equal(model.sample(2, prompt=prompts, seed=5, guidance=3), made["16px"])
    torch.testing.assert_close(model.sample(1, prompt="a", seed=5, start=1, guidance=3)[0], made["16px"][1])
    assert not torch.equal(model.sample(2, prompt=prompts, seed=5, guidance=3, augmentation=0.4), made["16px"])
    assert torch.equal(model.sample(2, condition={"text": prompts}, seed=5, guidance=3), made["16px"])


def test_a_stage_is_given_the_level_of_the_noise_on_what_it_enlarges(model: CascadeModel) -> None:
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    conditioner = model.stages["8px"].module.conditioner["small"]
    assert isinstance(conditioner, SmallConditioner)
    hook = conditioner.register_forward_pre_hook(
        lambda _, given: seen.append((given[0]["small"][:, :3], given[0]["small_noise"]))
    )
    made = [model.sample_stages(2, augmentation=s)["4px"] for s in (0.0, 0.25)]
    hook.remove()
    clean, noised = seen[0], seen[-1]
    assert (clean[1].tolist(), noised[1].tolist()) == ([0, 0], [0.25, 0.25])
    assert torch.equal(clean[0], made[0])
    assert torch.equal(made[0], made[1])
    angle = torch.tensor(torch.pi / 8)
    noise = (noised[0] - angle.cos() * made[0]) / angle.sin()
    assert abs(float(noise.mean())) < 0.4
    assert 0.7 < float(noise.std()) < 1.3


@pytest.mark.parametrize("killed", [2, 5, 9])
def test_killed_in_any_stage_and_resumed_it_is_the_same_cascade(
    killed: int, words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {
        "data": words,
        "device": "cpu",
        "settings": [*TINY, "data.size=16", "sizes=8,16", "steps=4,6", "training.checkpoint_every=2"],
    }
    train("imagen", out=tmp_path / "whole", **options)
    count = iter(range(1, 100))
    gather = gradients.batch_of

    def counted(*arguments: Any, **more: Any) -> Batch:
        if next(count) == killed:
            raise Crash
        return gather(*arguments, **more)

    monkeypatch.setattr(gradients, "batch_of", counted)
    with pytest.raises(Crash):
        train("imagen", out=tmp_path / "run", **options)
    monkeypatch.undo()
    train("imagen", out=tmp_path / "run", resume=True)
    for one, other in zip(states(tmp_path / "whole"), states(tmp_path / "run"), strict=True):
        assert one.keys() == other.keys()
        assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_crops_begin_where_blocks_do(words: Path, tmp_path: Path) -> None:
    """So what is seen of the picture below is a part of it; and the noise and the places are others in each step."""
    config = configure("imagen", data=words, settings=[*TINY, "data.size=16", "sizes=4,16", "crop=8"]).stage(1)
    data = open_data(words, config.data)
    objective = config.build(data.spec)
    objective.fit(data)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    objective.loss = lambda denoiser, x_0, t, noise: seen.append((x_0, denoiser.condition["small"])) or t
    places = set()
    for step in range(8):
        items = np.arange(8)
        objective(batch_of(data, items, items, step=step, seed=0))
        x_0, small = seen[-1]
        assert (x_0.shape, small.shape) == ((8, 3, 8, 8), (8, 4, 2, 2))
        for picture, part in zip(data.batch(items), x_0, strict=True):
            at = [p for p in range(9) for q in range(9) if torch.equal(picture[:, p : p + 8, q : q + 8], part)]
            assert len(at) == 1
            assert at[0] % 4 == 0
            places |= set(at)
    assert places == {0, 4, 8}


def test_a_stage_is_trained_further_alone_and_the_cascade_has_it(model: CascadeModel, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(model.folder, run)
    train("imagen", out=run / "parts" / "8px", steps=4, resume=True, device="cpu")
    assert [stage.step for stage in load(run, CascadeModel).stages.values()] == [2, 4, 3]
    again = train("imagen", out=run, resume=True, device="cpu")
    assert [stage.step for stage in again.stages.values()] == [2, 4, 3]


def test_stages_with_steps_of_their_own_are_given_more(model: CascadeModel, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(model.folder, run)
    with pytest.raises(InputError, match=r"^steps: 2, 2, 2 are fewer than the 2, 2, 3 the run was started with"):
        train("imagen", out=run, settings="steps=2,2,2", resume=True)
    with pytest.raises(InputError, match=r"^steps: each part has its own, 2, 2, 3; set steps=2,2,3 or more$"):
        train("imagen", out=run, steps=model.config.training.steps + 1, resume=True)
    more = train("imagen", out=run, settings="steps=3,2,4", resume=True, device="cpu")
    assert [stage.step for stage in more.stages.values()] == [3, 2, 4]
    assert load(run, CascadeModel).config.steps == (3, 2, 4)


def test_it_is_saved_whole_and_a_copy_makes_the_same(model: CascadeModel, tmp_path: Path) -> None:
    model.save(tmp_path / "copy")
    copy = load(tmp_path / "copy", CascadeModel, device="cpu")
    assert copy.digest == model.digest
    assert torch.equal(copy.sample(2), model.sample(2))


def test_without_words_it_is_of_classes_or_of_nothing(tmp_path: Path) -> None:
    settings = [*TINY, "sizes=4,8"]
    classes = train("imagen", data="digits", steps=1, out=tmp_path / "a", settings=settings, device="cpu")
    assert classes.config.given == "labels"
    assert classes.sample(3, label="all").shape == (3, 1, 8, 8)
    arrays = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
    plain = train("imagen", data=arrays, steps=1, out=tmp_path / "b", settings=settings, device="cpu")
    assert (plain.config.given, plain.base.config.conditioning) == ("none", ())
    assert plain.sample(2).shape == (2, 3, 8, 8)


def test_stages_that_were_trained_without_noise_are_given_the_picture_alone(tmp_path: Path) -> None:
    settings = [*TINY, "sizes=4,8", "noise=0", "augmentation=0"]
    plain = train("imagen", data="digits", steps=1, out=tmp_path / "run", settings=settings, device="cpu")
    made = plain.sample_stages(3, label="all")
    assert [pictures.shape[-1] for pictures in made.values()] == [4, 8]
    base, upper = plain.stages.values()
    below = {"small": torch.cat([made[plain.config.names[0]].plain(), torch.ones(3, 1, 4, 4)], dim=1)}
    alone = upper.sample(3, label="all", seed=stage_seed(0, 1), guidance=1.0, condition=below)
    assert torch.equal(alone.plain(), made[plain.config.names[1]].plain())
    assert base.sample(3, label="all").shape == (3, 1, 4, 4)
    with pytest.raises(InputError, match=r"^augmentation: 0.1 is out of range; give 0 to 0"):
        plain.sample(2, augmentation=0.1)


def test_small_pictures_are_means_of_blocks_as_the_stage_above_sees_them(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 8, 12), np.uint8)
    data = ImageDataset(images, None, (), None, tuple("abcde"))
    small = data.reduced(4)
    assert small.shape == (3, 2, 3)
    wanted = images[:, :, :4, 4:8].mean((2, 3))
    assert np.abs(small.images[:, :, 0, 1] - wanted).max() <= 0.5
    read = open_data(images.transpose(0, 2, 3, 1), DataConfig("memory", reduce=2))
    assert read.shape == (3, 4, 6)
    with pytest.raises(InputError, match=r"^data.reduce: 5 does not divide the sides, 8 and 12$"):
        data.reduced(5)
    with pytest.raises(InputError, match=r"^data.reduce: is of images, and these data are vectors; leave it out$"):
        open_data("swiss-roll", DataConfig("swiss-roll", reduce=2))


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ([SIZES, "crop=7"], "crop: 7 is no side of a part"),
        (["sizes=4,6,16"], "sizes: 6 is no multiple of 4, the stage below; give such as 16,64,128"),
        (["sizes=16,8"], "sizes: 8 is no multiple of 16"),
        (["sizes=8,32"], r"sizes: the top stage has 32 pixels, and the images 16; set data.size=32, or sizes=…,16"),
        ([SIZES, "steps=1,2"], "steps: 2 numbers for 3 stages; give one for each"),
        ([SIZES, "noise=1.5"], "noise: 1.5 is out of range"),
        ([SIZES, "augmentation=0.6"], "augmentation: 0.6 is out of range; give 0 to 0.5, the most in training"),
        ([SIZES, "given=labels"], "conditioning: "),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_trained(
    settings: list[str], line: str, words: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"^{line}"):
        train("imagen", data=words, out=tmp_path / "run", steps=1, settings=[*TINY, "data.size=16", *settings])
    assert not (tmp_path / "run" / "parts").exists()


def test_bad_input_is_one_line(model: CascadeModel, words: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(model.folder, run)
    with pytest.raises(InputError, match=r"^sizes: .*|^data: a cascade makes images, and these are vectors"):
        train("imagen", data="swiss-roll", out=tmp_path / "points", steps=1)
    with pytest.raises(InputError, match=r"^out: [^ ]*/run already holds a run; resume it, or give another folder$"):
        train("imagen", data=words, out=run, steps=1, settings=[*TINY, "data.size=16", SIZES])
    with pytest.raises(InputError, match=r"^augmentation: 0.6 is out of range; give 0 to 0.5, the most in training$"):
        model.sample(1, augmentation=0.6)
    with pytest.raises(InputError, match=r"^checkpoint: .* has none of its own; give one of its "):
        load(run, checkpoint=2)
    shutil.rmtree(run / "parts" / "8px")
    with pytest.raises(InputError, match=r"8px: holds no trained stage of 8 pixels, which the cascade needs; resume"):
        load(run)
    shutil.copytree(run / "parts" / "4px", run / "parts" / "8px")
    with pytest.raises(InputError, match=r"8px: makes pictures of 3x4x4, 256 levels, and the cascade needs 3x8x8"):
        load(run)


def test_the_command_walks_the_stages_and_keeps_their_pictures(model: CascadeModel, tmp_path: Path, capsys) -> None:
    run, out = str(model.folder), tmp_path / "out"
    options = ["-n", "3", "--prompt", "a picture", "--augmentation", "0.2", "--guidance", "3"]
    assert main(["sample", run, *options, "--out", str(out)]) == 0
    for folder, side in ((out, 16), (out / "4px", 4), (out / "8px", 8)):
        with Image.open(folder / "00002.png") as image:
            assert image.size == (side, side)
            about = json.loads(image.info["sumi"])
        assert (about["prompt"], about["augmentation"], about["guidance"]) == ("a picture", 0.2, 3)
        assert (folder / "grid.png").exists()
    made = model.sample_stages(3, prompt="a picture", augmentation=0.2, guidance=3)
    with Image.open(out / "8px" / "00001.png") as image:
        pixels = model.stages["8px"].pixels.to_bytes(made["8px"])[1].permute(1, 2, 0)
        assert np.array_equal(np.asarray(image), pixels.numpy())
    assert main(["info", run]) == 0
    network_condition = capsys.readouterr().out
    assert "16px" in network_condition
    assert "3 of 3 steps" in network_condition
    assert main(["sample", run, "--augmentation", "0.6"]) == 2
    assert capsys.readouterr().err == "sumi: --augmentation: 0.6 is out of range; give 0 to 0.5, the most in training\n"
    assert main(["sample", str(model.folder / "parts" / "4px"), "--augmentation", "0.1"]) == 2
    assert "--augmentation: a run of imagen has none; leave it out" in capsys.readouterr().err


def test_pictures_of_every_stage_state_their_error(model: CascadeModel, tmp_path: Path, capsys) -> None:
    """That of the stage's own ODE, given the picture below; so says each file."""
    made = model.sample_stages(2, prompt="a picture", error=0.5)
    alone = model.stages["4px"].sample(2, prompt="a picture", error=0.5)
    assert [stated_facts(made["4px"], row) for row in range(2)] == [stated_facts(alone, row) for row in range(2)]
    requested = ["sample", str(model.folder), "-n", "2", "--prompt", "a picture", "--error", "0.5"]
    assert main([*requested, "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count(" evaluations)") == 3
    for folder, name in ((tmp_path, "16px"), (tmp_path / "4px", "4px"), (tmp_path / "8px", "8px")):
        with Image.open(folder / "00001.png") as image, Image.open(folder / "grid.png") as grid:
            about, of_all = (json.loads(picture.info["sumi"]) for picture in (image, grid))
        assert 0 <= about["stated_error"] <= 0.5
        assert about.items() >= {"error": 0.5, **stated_facts(made[name], 1)}.items()
        assert "steps" not in about
        assert "stated_error_worst" in of_all
    assert main([*requested, "--solver", "ddpm", "--out", str(tmp_path / "none")]) == 2
    assert "--error: ddpm draws noise, so no sample has one end to be near to" in capsys.readouterr().err


def test_a_stage_alone_enlarges_a_picture(model: CascadeModel, words: Path, tmp_path: Path) -> None:
    stage = load(model.folder / "parts" / "8px", DiffusionModel, device="cpu")
    assert stage.upscale(model.stages["4px"].sample(1)[0], n=1, factor=2).shape == (1, 3, 8, 8)


def test_it_is_measured(model: CascadeModel) -> None:
    found = sumi.evaluate(model, n=4, quick=True)
    assert found.page.exists()
