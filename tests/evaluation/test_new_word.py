"""A new word is recognised, and what old ones lose: exact shares, of pictures that are known."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from sumi.errors import InputError
from sumi.evaluation.new_word import alike_in, evaluate_word, recognised
from sumi.models.attributes import JudgeModel
from sumi.models.clip import ClipModel
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load
from sumi.training_run import train
from tests.coloured import coloured

VISION = ["network.widths=16,16,16", "network.blocks=0,0,0", "network.features=16"]
WORDS = ["encoder.width=32", "encoder.layers=1", "encoder.length=16", "encoder.tokens=300"]
TRANSFORMER = ["network.width=32", "network.blocks=1", "network.patch=8", "network.embedding=32", "sampling.steps=2"]
SETTINGS = {
    "judge": VISION,
    "clip": [*VISION, *WORDS, "width=8"],
    "text-to-image": [*TRANSFORMER, *(f"conditioning.{word}" for word in WORDS)],
}
N = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("word")
    for name, settings in SETTINGS.items():
        more = ["training.batch_size=4", "data.held_out=0.4", "training.sample_every=0"]
        train(name, data=coloured(2), out=folder / name, steps=1, settings=[*settings, *more])
    return folder


def models(folder: Path) -> tuple[DiffusionModel, DiffusionModel]:
    """Two of the same weights."""
    return load(folder / "text-to-image", DiffusionModel), load(folder / "text-to-image", DiffusionModel)


@pytest.fixture
def given() -> torch.Tensor:
    """Pictures of which all but one are bright."""
    return torch.stack([torch.full((3, 16, 16), value, dtype=torch.uint8) for value in (200, 225, 250, 50)])


def test_a_judge_s_figures_are_shares_of_what_it_reads(
    folder: Path, given: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = models(folder)
    data, asked = coloured(2), list[object]()
    _, held_out = before.load_images(data).split(0.4)

    def read(_: JudgeModel, images: torch.Tensor) -> list[dict[str, str]]:
        return [
            {"light": "bright" if float(x.mean()) > 0 else "dark", "size": f"{float(x[0, 0, 0]):.1f}"} for x in images
        ]

    def sample(model: DiffusionModel, count: int, *, prompt: str | list[str], **_: object) -> torch.Tensor:
        asked.append(prompt)
        bright = {"a grey": 2, "a zorp": 6}.get(prompt) if isinstance(prompt, str) else (4 if model is after else 5)
        values = torch.where(torch.arange(count) < bright, 0.5, -0.5)
        return values[:, None, None, None].expand(count, 3, 16, 16)

    mentioned = [{"light": "bright"}] * N
    monkeypatch.setattr("sumi.evaluation.new_word.mentioned_in", lambda some: mentioned[: len(some)])
    monkeypatch.setattr(JudgeModel, "read", read)
    monkeypatch.setattr(DiffusionModel, "sample", sample)
    judge = load(folder / "judge", JudgeModel)
    found = evaluate_word(before, after, list(given), "zorp", like="grey", judge=judge, data=data, n=N)
    assert found.alike == {"light": "bright"}
    assert [one.value for one in (*found.new, found.real, *found.old)] == [2 / N, 6 / N, 3 / 4, 5 / N, 4 / N]
    assert found.lost == pytest.approx(1 / 5)
    assert asked[:2] == ["a grey", "a zorp"]
    assert asked[2] == asked[3]
    assert set(asked[3]) <= set(held_out.captions)
    assert found.says()[1].startswith("the word, what is alike in the pictures is read in samples: 25% [")
    assert found.says()[2].endswith("which loses 20.0% of it")


def test_a_picture_is_recognised_where_none_of_the_others_is_nearer() -> None:
    own = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.2]]), dim=1)
    others = F.normalize(torch.tensor([[0.0, 1.0], [-1.0, 0.0], [1.0, 0.3]]), dim=1)
    vectors = F.normalize(torch.tensor([[1.0, -0.5], [1.0, 0.24], [1.0, 0.26], [-1.0, 0.1]]), dim=1)
    assert recognised(vectors, own, others).value == 2 / 4
    assert recognised(own, own, others, themselves=True).value == 1 / 2  # the second is nearer to another
    assert alike_in([{"a": "x", "b": "y"}, {"a": "x"}, {"a": "z", "b": "y"}, {"a": "x"}]) == {"a": "x"}


def test_the_same_model_has_the_same_figures_and_nothing_is_lost(folder: Path, given: torch.Tensor) -> None:
    """Pictures without captions are no old words."""
    (before, after), data = models(folder), coloured(2)
    data = replace(data, captions=tuple(text if i % 3 else "" for i, text in enumerate(data.captions or ())))
    found = evaluate_word(before, after, list(given), "zorp", clip=load(folder / "clip", ClipModel), data=data, n=N)
    assert found.new[0] == found.new[1]
    assert found.old[0] == found.old[1]
    assert found.lost == 0
    assert found.alike == {}
    assert "samples nearest to one of the pictures" in found.says()[0]
    with pytest.raises(InputError, match=r"^judge: give a judge or a CLIP"):
        evaluate_word(before, after, list(given), "zorp", data=coloured(2), n=N)
    data = replace(data, captions=("",) * len(data))
    with pytest.raises(InputError, match=r"^data: fewer than two held-out pictures have captions"):
        evaluate_word(before, after, list(given), "zorp", clip=load(folder / "clip", ClipModel), data=data, n=N)
