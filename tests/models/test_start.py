"""Starting from the weights of another run: what is taken, what is new, what is refused, and how it is resumed."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import sumi
from sumi.cli.main import main
from sumi.errors import InputError
from sumi.models.diffusion.model import DiffusionModel
from sumi.training.checkpoint import load_checkpoint
from sumi.training_run import Events, train
from tests.coloured import coloured
from tests.lettered_pictures import NETWORK, SETTINGS, TABLE, pictures


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    """Of classes b and c, trained for four steps."""
    out = tmp_path_factory.mktemp("start") / "source"
    settings = [*SETTINGS, *NETWORK, "training.learning_rate=0.01", "training.warmup_steps=0"]
    return train("classifier-free", data=pictures("bc"), out=out, steps=4, settings=settings)


def begun(source: object, out: Path, *settings: str, data: object = None, **options: object) -> DiffusionModel:
    """A run from ``source`` in steps so small that the weights stay where they were."""
    still = ["training.learning_rate=1e-30", *SETTINGS, *settings]
    data = pictures("abc") if data is None else data
    given = {"recipe": "classifier-free", "steps": 4, "data": data, "out": out, "settings": still, "start": source}
    return train(**{**given, **options})


def test_weights_are_taken_and_classes_found_by_their_names(source: DiffusionModel, tmp_path: Path) -> None:
    text: list[str] = []
    model = begun(source.folder, tmp_path / "run", events=Events(text.append))
    before, now = source.module.state_dict(), model.module.state_dict()
    assert model.config.network == source.config.network
    for name, tensor in before.items():
        if name != TABLE:
            assert torch.equal(now[name], tensor), name
    assert torch.equal(now[TABLE][[1, 2, 3]], before[TABLE])
    assert not torch.equal(now[TABLE][0], before[TABLE][0])
    line = next(line for line in text if line.startswith("starts from"))
    rows = f"of {TABLE} so are the rows of the same classes (new classes: a)"
    assert f"{len(before) - 1} tensors are taken; {rows}; new: none" in line


def test_the_weights_that_are_trained_begin_there_too(source: DiffusionModel, tmp_path: Path) -> None:
    begun(source, tmp_path / "run")
    saved = load_checkpoint(tmp_path / "run/checkpoints/00000004")
    name = "network.conv_in.weight"
    assert torch.equal(saved.model[name], source.module.state_dict()[name])


def test_config_records_where_the_run_began(source: DiffusionModel, tmp_path: Path) -> None:
    model = begun(source.folder, tmp_path / "run")
    found = json.loads((tmp_path / "run/config.json").read_text())["start"]
    assert found == {"source": str(source.folder.resolve()), "step": 4, "weights": source.digest}
    assert model.description.start is not None
    assert source.description.start is None


def test_pictures_of_another_size_start_from_all_weights(source: DiffusionModel, tmp_path: Path) -> None:
    model = begun(source, tmp_path / "run", data=pictures("bc", side=12))
    assert model.items.shape == (1, 12, 12)
    before, now = source.module.state_dict(), model.module.state_dict()
    assert all(torch.equal(now[name], tensor) for name, tensor in before.items())


def test_without_labels_the_rest_is_taken(source: DiffusionModel, tmp_path: Path) -> None:
    model = begun(source, tmp_path / "run", "conditioning=none", "sampling.guidance=1")
    assert torch.equal(model.module.state_dict()["network.conv_in.weight"], source.module.network.conv_in.weight)
    assert TABLE not in model.module.state_dict()


def test_a_resumed_run_needs_no_source_and_keeps_its_bits(source: DiffusionModel, tmp_path: Path) -> None:
    kept = tmp_path / "source"
    shutil.copytree(source.folder, kept)
    learning = ("training.learning_rate=1e-3",)
    whole = begun(kept, tmp_path / "whole", *learning)
    begun(kept, tmp_path / "cut", *learning, "training.steps=2", steps=2)
    shutil.rmtree(kept)
    resumed = begun(None, tmp_path / "cut", *learning, recipe="classifier-free", resume=True)
    for name, tensor in whole.module.state_dict().items():
        assert torch.equal(resumed.module.state_dict()[name], tensor), name
    assert resumed.description.start == whole.description.start


def test_a_run_cut_off_before_its_first_checkpoint_begins_there_again(source: DiffusionModel, tmp_path: Path) -> None:
    kept = tmp_path / "source"
    shutil.copytree(source.folder, kept)
    begun(kept, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints")
    model = begun(None, tmp_path / "run", resume=True)
    name = "network.conv_in.weight"
    assert torch.equal(model.module.state_dict()[name], source.module.state_dict()[name])
    shutil.rmtree(tmp_path / "run/checkpoints")
    train("classifier-free", data=pictures("bc"), out=tmp_path / "other", steps=4, settings=[*SETTINGS, *NETWORK])
    shutil.rmtree(kept)
    shutil.copytree(tmp_path / "other", kept)
    with pytest.raises(InputError, match=r"start: .*other weights"):
        begun(None, tmp_path / "run", resume=True)
    shutil.rmtree(kept)
    with pytest.raises(InputError, match=r"start: .*not a run folder"):
        begun(None, tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["network.widths=32,64"], "network.widths"),
        (["network=transformer"], "network.type"),
        (["schedule=linear"], "schedule.type"),
        (["parameterization=velocity"], "parameterization.type"),
    ],
)
def test_what_the_weights_depend_on_is_refused(
    source: DiffusionModel, tmp_path: Path, settings: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=f"start: .*{message}"):
        begun(source, tmp_path / "run", *settings)
    assert not (tmp_path / "run/config.json").exists()


@pytest.mark.parametrize(("before", "after"), [("noise", "bounded_noise"), ("bounded_clean", "clean")])
def test_another_reading_of_the_same_output_starts_from_it(before: str, after: str, tmp_path: Path) -> None:
    def trained(name: str, start: DiffusionModel | None) -> DiffusionModel:
        own = [] if start else NETWORK
        settings = [*SETTINGS, *own, f"parameterization={name}", "training.learning_rate=1e-30"]
        return train(
            "classifier-free", data=pictures("bc"), out=tmp_path / name, steps=1, settings=settings, start=start
        )

    first = trained(before, None)
    second = trained(after, first)
    for name, tensor in first.module.state_dict().items():
        torch.testing.assert_close(second.module.state_dict()[name], tensor, rtol=0, atol=1e-20)
    shutil.rmtree(tmp_path / before)
    trained(before, second)


def test_refusals(source: DiffusionModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"start: .*not a run folder"):
        begun(tmp_path / "gone", tmp_path / "run")
    with pytest.raises(InputError, match=r"start: .*other channels"):
        begun(source, tmp_path / "run", data=pictures("bc", channels=3))
    with pytest.raises(InputError, match="start: vae is no diffusion model"):
        begun(source, tmp_path / "run", recipe="vae")
    begun(source, tmp_path / "run")
    with pytest.raises(InputError, match=r"start: the run began from .*, not from"):
        begun(tmp_path / "another", tmp_path / "run", resume=True)


def test_from_of_the_command_line(source: DiffusionModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    command = ["train", "classifier-free", "--data", "digits", "--out", run, "--steps", "2", "--no-report"]
    small = [word for setting in (*SETTINGS, "data.size=8") for word in ("--set", setting)]
    assert main([*command, *small, "--from", str(source.folder)]) == 0
    shown = capsys.readouterr()
    assert "starts from" in shown.out + shown.err
    assert sumi.load(run).description.start is not None
    assert main([*command[:5], f"{run}2", *command[6:], "--from", str(tmp_path / "gone")]) == 2
    assert "sumi: --from: " in capsys.readouterr().err


def test_words_are_read_in_training_as_they_are_once_it_is_over(tmp_path: Path) -> None:
    """By the vocabulary that came with the weights, not by that of the new captions."""
    words = ["network.width=32", "network.blocks=1", "network.patch=4", "training.batch_size=4"]
    given = {"recipe": "text-to-image", "settings": [*words, "training.sample_every=0"]}
    first, other = coloured(1), coloured(1)
    other = replace(other, captions=tuple(f"quokka {text} olive" for text in other.captions or ()))
    source = train(**given, data=first, out=tmp_path / "source", steps=1)
    given |= {"data": other, "settings": words[3:]}
    whole = train(**given, out=tmp_path / "whole", steps=4, start=source.folder)
    train(**given, out=tmp_path / "parts", steps=2, start=source.folder)
    assert train(**given, out=tmp_path / "parts", steps=4, resume=True).digest == whole.digest
