"""A judge of attributes: what it learns, reads and refuses, and how it resumes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sumi import recipes
from sumi.boundary.config import from_json, to_json
from sumi.data.batch import batch_of
from sumi.data.config import DataConfig
from sumi.data.dataset import everything
from sumi.data.open import open_data
from sumi.errors import InputError
from sumi.models.attributes import JudgeConfig, JudgeModel, JudgeObjective, attributes_in
from sumi.models.run import load
from sumi.training_run import train
from tests.coloured import COLOURS, PLACES, coloured

SMALL = [
    *("network.widths=16,16,16", "network.blocks=0,1,0", "network.features=32", "data.held_out=0.3"),
    *("training.batch_size=32", "training.warmup_steps=5", "training.precision=fp32", "training.learning_rate=1e-2"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> JudgeModel:
    data = coloured()
    return train("judge", data=data, out=tmp_path_factory.mktemp("judge") / "run", steps=100, settings=SMALL)


def test_it_reads_what_people_have_and_refuses_what_is_no_picture(model: JudgeModel) -> None:
    bytes_of = np.full((16, 16, 3), 200, np.uint8)
    assert model.read(bytes_of) == model.read(torch.full((1, 3, 16, 16), 200 / 127.5 - 1))
    for given, why in (
        (torch.full((1, 3, 16, 16), torch.nan), "not every value is finite"),
        ("nowhere.png", "nowhere"),
    ):
        with pytest.raises(InputError, match=f"^images: {why}"):
            model.read(given)


def test_it_reads_held_out_pictures(model: JudgeModel) -> None:
    """Colours and places of squares that it has not seen, by the command's own report and by hand."""
    data = coloured()
    measured = model.evaluate(data=data)
    _, held_out = data.split(0.3)
    read = model.read(everything(held_out))
    right = [found["color"] == row["color"] for found, row in zip(read, held_out.attributes or (), strict=True)]
    assert measured.evaluation.every.each["color"].value == sum(right) / len(right) > 0.9
    assert measured.evaluation.every.each["place"].value > 0.9
    page = measured.page.read_text()
    assert "of what captions of held-out pictures mention" in page
    assert "most frequent value" in page


def test_the_loss_is_the_mean_cross_entropy_of_the_attributes_and_knows_where_there_is_none() -> None:
    data = coloured(1)
    rows = tuple({"color": row["color"]} if i % 3 else dict(row) for i, row in enumerate(data.attributes or ()))
    data = replace(data, attributes=rows)
    torch.manual_seed(0)
    config = recipes.build("judge", DataConfig(source="digits")).of_data(data)
    assert config.attributes == (
        ("color", *sorted(COLOURS)),
        ("place", *sorted(PLACES)),
        ("size", "large", "small"),
    )
    objective = config.build(data.spec)
    assert isinstance(objective, JudgeObjective)
    torch.nn.init.normal_(objective.model.out.weight)
    items = np.array([4, 7, 20])
    batch = batch_of(data, items, np.arange(3), step=1, seed=0)
    heads = objective.model(batch.x)
    assert [head.shape[1] for head in heads] == [5, 5, 3]
    names = (sorted(COLOURS), sorted(PLACES), ["large", "small"])
    places = [
        torch.tensor([1 + values.index(rows[i][key]) if key in rows[i] else 0 for i in items.tolist()])
        for key, values in zip(("color", "place", "size"), names, strict=True)
    ]
    by_hand = sum(F.cross_entropy(h, p, reduction="none") for h, p in zip(heads, places, strict=True)) / 3
    torch.testing.assert_close(objective(batch), by_hand)


def test_it_resumes_bit_for_bit_and_is_saved_and_loaded(tmp_path: Path) -> None:
    data = coloured(2)
    whole = train("judge", data=data, out=tmp_path / "whole", steps=6, settings=SMALL)
    settings = [*SMALL, "training.checkpoint_every=3"]
    train("judge", data=data, out=tmp_path / "parts", steps=6, settings=settings)
    newest = tmp_path / "parts" / "checkpoints" / "00000006"
    for file in newest.iterdir():
        file.unlink()
    newest.rmdir()
    again = train("judge", data=data, out=tmp_path / "parts", steps=6, settings=settings, resume=True)
    whole.save(tmp_path / "saved")
    for other in (again, load(tmp_path / "saved", JudgeModel)):
        for name, value in whole.module.state_dict().items():
            assert torch.equal(value, other.module.state_dict()[name]), name
    assert from_json(JudgeConfig, to_json(whole.config)) == whole.config


def test_data_without_own_splits_are_divided_by_their_keys() -> None:
    """Otherwise what no training picture shows would be hidden from the judge, too."""
    data = replace(coloured(1), splits=("train", "combos") * 16)
    config = DataConfig(source="memory", held_out=0.3)
    assert len(open_data(data, config).split(0.3)[0]) + len(open_data(data, config).split(0.3)[1]) == 16
    divided = open_data(data, replace(config, own_splits=False))
    assert sum(map(len, divided.split(0.3))) == 32
    assert recipes.build("judge", DataConfig(source="characters")).data.own_splits is False


def test_what_it_cannot_read_is_named_in_one_line(model: JudgeModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^data.source: has no attributes of its images to read"):
        train("judge", data="digits", out=tmp_path / "a", steps=1)
    with pytest.raises(InputError, match=r"^data.source: holds no images, and attributes are of images"):
        train("judge", data="swiss-roll", out=tmp_path / "b", steps=1)
    with pytest.raises(InputError, match=r"^images: are \(1, 8, 8\), and .* reads \(3, 16, 16\)"):
        model.read(torch.zeros(2, 1, 8, 8))
    with pytest.raises(InputError, match=r"^data: color is 'pink', which the judge was not trained on"):
        model.module.targets([{"color": "pink"}])
    assert attributes_in([{"a": "1"}, {"a": "0", "b": "x"}]) == (("a", "0", "1"), ("b", "x"))
