"""Methods of guidance side by side: their strength, their cost, the verdicts, and the command."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from sumi.cli.main import main
from sumi.errors import InputError
from sumi.evaluation import guidance_methods
from sumi.evaluation.guidance_methods import (
    GAIN,
    LOSS,
    NO_GAIN,
    UNEQUAL,
    Fitted,
    compare_guidance,
    effective_scale,
    evaluations_of,
    fitted,
    in_turn,
    verdict,
)
from sumi.metrics.intervals import Estimate
from sumi.sampling.sampler import Guidance
from tests.tiny_models import class_model, random_features


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    place = tmp_path_factory.mktemp("methods")
    class_model(place, "network.embedding=16").save(place / "worse")
    made = class_model(place / "run", "sampling.threshold=none", "sampling.solver=adams")
    made.save(made.folder)
    return made


def test_methods_have_scales_of_their_own_and_no_more_evaluations(model) -> None:
    """Unguided there are twice the steps, within an interval more than without; each with a scale of its own."""
    found = {
        name: fitted(model, in_turn(model, 16), guidance, 3.0, 12)
        for name, guidance in {
            "none": Guidance(),
            "cfg": Guidance(3.0),
            "interval": Guidance(3.0, interval=(0.1, 100.0)),
            "apg": Guidance(3.0, method="apg"),
            "cfg++": Guidance(0.3, method="cfg++"),
        }.items()
    }
    assert (found["none"].steps, found["cfg"].steps, found["cfg"].effective) == (12, 6, pytest.approx(3.0, rel=1e-4))
    assert found["none"].effective == pytest.approx(1.0, abs=1e-4)
    assert found["interval"].steps > 6
    for one in found.values():
        assert one.evaluations <= 12
        assert one.evaluations == evaluations_of(model, in_turn(model, 1), one.guidance, one.steps)
    for name in ("interval", "apg", "cfg++"):  # how near it comes is tested where networks are exact
        assert found[name].effective == effective_scale(
            model, in_turn(model, 16), found[name].guidance, found[name].steps
        )
    assert found["apg"].effective == pytest.approx(3.0, rel=0.021)
    assert found["cfg++"].guidance.scale <= 1


def test_a_gain_is_one_that_chance_does_not_explain() -> None:
    """The distance decides, then the accuracy."""
    closer, right = {"frechet": (2.0, 1.0), "accuracy": (0.5, 0.9)}, {"frechet": 0.001, "accuracy": 0.5}
    farther = {"frechet": (1.0, 2.0), "accuracy": (0.5, 0.9)}
    assert verdict(closer, right) == GAIN
    assert verdict(farther, right) == LOSS
    assert verdict(farther, {"frechet": 0.5, "accuracy": 0.5}) == NO_GAIN
    assert verdict(farther, {"frechet": 0.5, "accuracy": 0.01}) == GAIN
    assert verdict({**farther, "accuracy": (0.9, 0.5)}, {"frechet": 0.5, "accuracy": 0.01}) == LOSS


@pytest.mark.parametrize(("others", "answer"), [(1, GAIN), (2, NO_GAIN)])
def test_of_several_methods_chance_has_as_many_tries(others: int, answer: str, monkeypatch) -> None:
    value = Estimate(2.0, 1.5, 2.5), Estimate(1.0, 0.5, 1.5)
    found = SimpleNamespace(lines={"frechet": value}, p_values={"frechet": 0.03}, left_out=())
    monkeypatch.setattr(guidance_methods, "sweep", lambda *_, **__: found)
    chosen = Fitted(Guidance(2.0), 2.0, 4, 8, None)
    row = guidance_methods._row("apg", chosen, torch.zeros(1), torch.zeros(1), [], others, 0)
    assert (row.p_value, row.verdict) == (pytest.approx(0.03 * others), answer)


def test_the_command_compares_methods_and_says_where_there_is_no_gain(model, monkeypatch, capsys) -> None:
    """Of a model that was not trained, on the digits as they would be: the table, its file, and what it is made of."""
    monkeypatch.setattr(guidance_methods, "learn_features", lambda *_: random_features())
    images = model.sample(90, label="all", steps=3)
    labels = torch.arange(90) % 3

    class Known:
        def split(self, _: float) -> tuple[torch.Tensor, torch.Tensor]:
            return images[:60], images[60:]

    monkeypatch.setattr(type(model), "load_images", lambda _: Known())
    monkeypatch.setattr(guidance_methods, "everything", lambda part: torch.as_tensor(part))
    monkeypatch.setattr(guidance_methods, "every_label", lambda part: labels[: len(part)])
    run = str(model.folder)
    worse = str(model.folder.parent / "worse")
    assert main(["compare", run, "--guidance", "2", "--steps", "8", "-n", "60", "--worse", worse]) == 0
    printed = capsys.readouterr().out
    written = json.loads((Path(run) / "compare" / "guidance.json").read_text())
    assert [row["method"] for row in written["rows"]] == [
        *("none", "cfg", "interval", "rescale", "cfg++", "apg", "autoguidance")
    ]
    assert written["rows"][1]["verdict"] is None
    assert all(row["evaluations"] <= 8 for row in written["rows"])
    assert {row["verdict"] for row in written["rows"]} <= {None, GAIN, NO_GAIN, LOSS, UNEQUAL}
    assert "no gain here" in printed or "loss" in printed or "gain" in printed
    p_values = [row["p_value"] for row in written["rows"] if row["p_value"] is not None]
    assert all(p == 1 or p >= 6 / 10001 for p in p_values)


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        (["--guidance", "1"], "--guidance: is compared above 1 and of models of classes or texts"),
        (["--guidance", "2", "--tune", "5"], "--tune: is of solvers, and methods of guidance are compared"),
        (["--guidance", "2", "--steps", "5,10"], "--steps: methods of guidance are compared at one number"),
        (["--worse", "nowhere"], "--worse: guides, and solvers are compared; add --guidance 2"),
        (["--guidance", "2", "-n", "3"], "-n: 3 is out of range"),
    ],
)
def test_what_cannot_be_compared_is_refused(model, options: list[str], answer: str, capsys) -> None:
    assert main(["compare", str(model.folder), *options]) == 2
    assert answer in capsys.readouterr().err


def test_models_without_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^guidance.scale: is compared above 1 and of models of classes or texts"):
        compare_guidance(class_model(tmp_path, recipe="ddpm"))
