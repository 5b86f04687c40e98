"""The shipped models: their files, their cards, and that the pictures of characters are what the words say."""

import pytest
import torch

import sumi
from sumi.models.diffusion.model import DiffusionModel
from sumi.pretrained.shipped import CARD, PLACE, PROMPTS, SHEET, names, read_card, size
from sumi.training.checkpoint import find_checkpoints, verify_checkpoint


@pytest.fixture(scope="module")
def model() -> DiffusionModel:
    return sumi.load("characters", DiffusionModel)


@pytest.mark.parametrize("name", names())
def test_the_files_of_each_model_are_whole_and_few(name: str) -> None:
    folder = PLACE / name
    (checkpoint,), skipped = find_checkpoints(folder / "checkpoints")
    verify_checkpoint(checkpoint)
    assert skipped == []
    assert size(name) <= 7e6
    assert {path.name for path in folder.iterdir()} <= {
        CARD,
        PROMPTS,
        SHEET,
        "config.json",
        "metrics.jsonl",
        "checkpoints",
        "parts",
        "AUTHORS.txt",
    }
    card = read_card(name)
    assert card.seconds > 0
    assert card.makes
    assert len(card.data_sha256) == 64
    assert card.command.startswith("sumi train ")
    assert f" --data {card.data} " in card.command


def test_all_of_them_together_are_small() -> None:
    assert {"characters", "digits"} <= {*names()}
    assert sum(map(size, names())) <= 24e6


def test_the_data_are_those_of_the_card(model: DiffusionModel) -> None:
    assert read_card("characters").data_sha256 == model.description.data_fingerprint


# the median corners of the pictures whose captions name these grounds
GROUNDS = {
    "black": (20, 22, 27),
    "cream": (251, 240, 220),
    "dark blue": (26, 57, 166),
    "dark red": (168, 17, 55),
    "light blue": (191, 229, 247),
    "violet": (106, 36, 207),
}


def test_the_ground_has_the_colour_that_the_words_say(model: DiffusionModel) -> None:
    """The corners are nearer to the colour that was asked for than to any other."""
    prompts = [f"a yellow face with a smile on a {colour} background" for colour in GROUNDS]
    made = (model.sample(len(prompts), prompt=prompts, seed=1, steps=16, progress=False) + 1) * 127.5
    corners = torch.stack([made[..., y, x] for y in (1, 2) for x in (1, 2, -3, -2)]).median(0).values
    grounds = torch.tensor(list(GROUNDS.values())).float()
    found = torch.cdist(corners, grounds).argmin(1)
    right = int((found == torch.arange(len(GROUNDS))).sum())
    assert right >= 5  # of 6, where guessing gives 1
