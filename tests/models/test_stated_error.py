"""Models whose samples state their error: results, files, guidance, restoration, and what is refused."""

import json
from math import ceil
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from sumi.cli.main import main
from sumi.errors import InputError
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.samples import Samples
from sumi.sampling.stated_error import MOST_STEPS, first_steps
from sumi.sampling.tuning import distance
from tests.tiny_models import HOLE, STD, class_model, planted, untrained

IMAGE = torch.linspace(-1, 1, 64).view(1, 8, 8)


@pytest.fixture(scope="module")
def exact() -> DiffusionModel:
    return planted(0.6, "schedule=vp", "times=uniform", "sampling.threshold=none", "data.dequantize=false")


def fine(model: DiffusionModel, made: Tensor, n: int, **options) -> Tensor:
    return distance(model.sample(n, steps=300, solver="adams", **options), made) / STD


def test_samples_carry_their_error_and_their_evaluations(exact: DiffusionModel) -> None:
    made = exact.sample(6, error=0.02, batch_size=4, seed=3)
    assert isinstance(made, Samples)
    assert made.stated_error is not None
    assert made.evaluations is not None
    assert bool((fine(exact, made, 6, seed=3) <= made.stated_error).all())
    assert bool((made.stated_error <= 0.02).all())
    again = exact.sample(1, error=0.02, start=5, seed=3)
    torch.testing.assert_close(again.plain(), made.plain()[5:], rtol=0, atol=1e-6)
    assert int(again.evaluations) == int(made.evaluations[5])
    assert exact.sample(2, steps=3).stated_error is None


def test_guided_samples_are_those_of_their_last_grid(tmp_path: Path) -> None:
    """With their own condition and guidance, whichever of the batch are left: to the bit but for the batch's size."""
    model = class_model(tmp_path, "times=uniform", "schedule=vp")
    made = model.sample(4, error=0.3, label="all", guidance=2.0)
    steps = [first_steps(0.3, MOST_STEPS)]
    while sum(steps) < int(made.evaluations.max()):
        steps.append(min(ceil(1.5 * steps[-1]), MOST_STEPS))
    spent = {sum(steps[: k + 1]): steps[k] for k in range(len(steps))}
    for i, evaluations in enumerate(made.evaluations.tolist()):
        alone = model.sample(4, label="all", guidance=2.0, solver="adams", steps=spent[evaluations])
        assert float((alone.plain()[i] - made.plain()[i]).abs().mean()) < 1e-3


@pytest.mark.parametrize("method", ["moment_matching", "pigdm", "ddnm"])
def test_restored_pictures_state_their_error_and_keep_what_is_known(exact: DiffusionModel, method: str) -> None:
    made = exact.inpaint(IMAGE, HOLE, n=3, method=method, error=0.03)
    end = exact.inpaint(IMAGE, HOLE, n=3, method=method, solver="adams", steps=300)
    assert int((distance(made, end) / STD > made.stated_error).sum()) <= 1
    assert bool((made.plain()[:, :, ~HOLE] == IMAGE[:, ~HOLE]).all())


def test_variations_begin_on_the_way_and_state_their_error(exact: DiffusionModel) -> None:
    made = exact.vary(IMAGE, 0.4, 3, error=0.02)
    end = exact.vary(IMAGE, 0.4, 3, solver="adams", steps=300)
    assert bool((distance(made, end) / STD <= made.stated_error).all())
    assert bool((made.stated_error <= 0.02).all())


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (lambda m: m.sample(2, error=0.02, solver="ddpm"), "error: ddpm draws noise"),
        (lambda m: m.sample(2, error=0.02, steps=4), "steps: error chooses their number"),
        (lambda m: m.sample(2, error=0.02, callback=lambda *_: None), "callback: follows one grid"),
        (lambda m: m.inpaint(IMAGE, HOLE, method="dps", error=0.1), "error: dps comes no nearer"),
        (lambda m: m.inpaint(IMAGE, HOLE, method="repaint", error=0.1), "error: repaint draws noise"),
        (lambda m: m.inpaint(IMAGE, HOLE, method="twisted", error=0.1), "error: twisted draws noise"),
        (lambda m: m.invert(IMAGE[None], error=0.1), "error: is stated of samples"),
        (lambda m: m.sample(2, error=5), "error: 5 is out of range"),
    ],
)
def test_what_has_no_error_to_state_is_refused(exact: DiffusionModel, ask, answer: str) -> None:
    with pytest.raises(InputError) as refusal:
        ask(exact)
    assert str(refusal.value).startswith(answer)


def facts(file: Path) -> dict:
    with Image.open(file) as picture:
        return json.loads(picture.info["sumi"])


def test_every_file_states_its_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = untrained(tmp_path / "run", planted(0.6).items)
    command = ["sample", str(run), "-n", "3", "--error", "0.05", "--out", str(tmp_path / "out")]
    main(command)
    printed = capsys.readouterr().out
    of_each = [facts(tmp_path / "out" / f"0000{i}.png") for i in range(3)]
    assert all(one["error"] == 0.05 and "steps" not in one and one["evaluations"] >= 5 for one in of_each)
    assert all(0 <= one["stated_error"] <= 0.05 for one in of_each)
    assert f"to an error of 0.05, {min(one['evaluations'] for one in of_each)} to" in printed
    assert "stated_error" not in facts(tmp_path / "out" / "grid.png")
    main(command)
    assert "3 of them were there" in capsys.readouterr().out
    main(
        [
            "vary",
            str(run),
            str(tmp_path / "out" / "00000.png"),
            "-n",
            "2",
            "--error",
            "0.05",
            "--out",
            str(tmp_path / "v"),
        ]
    )
    assert all("stated_error" in facts(tmp_path / "v" / f"0000{i}.png") for i in range(2))
