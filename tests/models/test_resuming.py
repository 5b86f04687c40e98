"""On what other data a run is not resumed: what it learns of each item besides its pixels, labels and numbers."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from sumi import recipes
from sumi.boundary.config import to_json
from sumi.conditioning.text import texts_fingerprint
from sumi.data.config import DataConfig
from sumi.errors import InputError
from sumi.models.cascade import CascadeConfig
from sumi.models.clip import ClipModel
from sumi.models.model import RunDescription
from sumi.models.run import load
from sumi.models.unclip import described
from sumi.training_run import train
from tests.coloured import coloured

DATA = coloured(1)
CAPTIONS = DATA.captions or ()
OTHER_CAPTIONS = replace(DATA, captions=(*CAPTIONS[:-1], f"{CAPTIONS[-1]}, or so"))
KEYWORDS = replace(DATA, keywords=((),) * 31 + (("square",),))
OTHER_ATTRIBUTES = replace(DATA, attributes=(DATA.attributes or ())[::-1])
TRAINING = ["training.batch_size=4", "training.precision=fp32", "training.sample_every=0"]
VISION = ["network.widths=16,16,16", "network.blocks=0,0,0", "network.features=16"]
ENCODER = ["encoder.width=32", "encoder.tokens=300", "encoder.length=24"]
RECIPES = {
    "text-to-image": [
        *("network.width=32", "network.blocks=1", "network.patch=4", "network.embedding=32"),
        *(f"conditioning.{setting}" for setting in ENCODER),
    ],
    "clip": ["width=8", *VISION, *ENCODER],
    "judge": VISION,
    "ddpm": ["network.widths=32", "network.blocks=1", "network.embedding=32"],
}


@pytest.mark.parametrize(
    ("recipe", "other", "refused"),
    [
        ("text-to-image", OTHER_CAPTIONS, True),
        ("text-to-image", KEYWORDS, True),
        ("text-to-image", OTHER_ATTRIBUTES, False),
        ("clip", OTHER_CAPTIONS, True),
        ("judge", OTHER_ATTRIBUTES, True),
        ("judge", OTHER_CAPTIONS, False),
        ("ddpm", OTHER_CAPTIONS, False),
    ],
)
def test_a_run_is_resumed_on_the_texts_or_attributes_that_it_learns(recipe, other, refused, tmp_path: Path) -> None:
    """An older run, which says nothing of them, is resumed, and says it from then on."""
    run, settings = tmp_path / "run", [*RECIPES[recipe], *TRAINING]
    train(recipe, data=DATA, out=run, steps=1, settings=settings)
    if refused:
        with pytest.raises(InputError, match="captions, keywords or attributes of memory are not those that the run"):
            train(recipe, data=other, out=run, steps=2, resume=True)
        file = run / "config.json"
        stated = json.loads(file.read_text())
        file.write_text(json.dumps({name: stated[name] for name in stated if name not in ("annotations", "sha256")}))
    model = train(recipe, data=other, out=run, steps=2, resume=True)
    assert model.step == 2
    assert model.description.annotations == model.config.annotations(other)
    assert bool(model.description.annotations) == (recipe != "ddpm")


def test_a_clip_of_an_older_run_is_described_as_it_was(tmp_path: Path) -> None:
    """By which runs of its vectors know it."""
    model = train("clip", data=DATA, out=tmp_path / "run", steps=1, settings=[*RECIPES["clip"], *TRAINING])
    stated = to_json(replace(model.description, annotations=""))
    (tmp_path / "run" / "config.json").write_text(json.dumps(stated))
    del stated["annotations"]
    as_it_was = hashlib.sha256(json.dumps([stated, 1], sort_keys=True).encode()).hexdigest()
    assert described(load(tmp_path / "run", ClipModel)) == as_it_was
    assert described(model) != as_it_was


def test_a_cascade_learns_of_texts_where_it_is_given_them() -> None:
    config = recipes.build("imagen", DataConfig("memory"))
    assert isinstance(config, CascadeConfig)
    config = replace(config, sizes=(8, 16))
    assert RunDescription.of(config.of_data(DATA), DATA).annotations == texts_fingerprint(DATA)
    assert config.annotations(replace(DATA, captions=None)) == ""
    assert replace(config, given="labels").annotations(DATA) == ""
