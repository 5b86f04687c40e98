"""Models whose samples state their error: results, files, guidance, restoration, and what is refused."""

import io
import json
import tarfile
from math import ceil
from pathlib import Path
from statistics import median
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import sumi
from sumi.cli.main import main
from sumi.data.vectors import VectorSpec
from sumi.errors import InputError
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.trajectory import trajectory, write_trajectory
from sumi.models.samples import Samples, stated_facts
from sumi.sampling.sampler import Guidance
from sumi.sampling.sdedit import spread
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
    """With their own condition and guidance, whichever of the batch are left: to the bit but for the batch's size.

    Guidance takes two evaluations of the network.
    """
    model = class_model(tmp_path, "times=uniform", "schedule=vp")
    made = model.sample(4, error=0.3, label="all", guidance=2.0)
    steps = [first_steps(0.3, MOST_STEPS)]
    while 2 * sum(steps) < int(made.evaluations.max()):
        steps.append(min(ceil(1.5 * steps[-1]), MOST_STEPS))
    spent = {2 * sum(steps[: k + 1]): steps[k] for k in range(len(steps))}
    for i, evaluations in enumerate(made.evaluations.tolist()):
        alone = model.sample(4, label="all", guidance=2.0, solver="adams", steps=spent[evaluations])
        assert float((alone.plain()[i] - made.plain()[i]).abs().mean()) < 1e-3


def test_the_windows_of_a_picture_are_evaluated_at_once(tmp_path: Path) -> None:
    """Which counts as one evaluation, of each of the two networks where one guides away from another."""
    model = class_model(tmp_path, "times=uniform", "schedule=vp")
    worse = class_model(tmp_path, "times=uniform", "schedule=vp", "network.embedding=16").gaussian_denoiser()
    made = model.sample(2, error=1.0, size=(12, 8), guidance=Guidance(1.5, worse=worse))
    for evaluations, last in zip(made.evaluations.tolist(), made.steps.tolist(), strict=True):
        grids = [first_steps(1.0, MOST_STEPS)]
        while grids[-1] < last:
            grids.append(min(ceil(1.5 * grids[-1]), MOST_STEPS))
        assert evaluations == 2 * sum(grids)


@pytest.mark.parametrize("method", ["moment_matching", "pigdm", "diffpir", "ddnm"])
def test_restored_pictures_state_their_error_and_keep_what_is_known(exact: DiffusionModel, method: str) -> None:
    made = exact.inpaint(IMAGE, HOLE, n=12, method=method, error=0.03)
    end = exact.inpaint(IMAGE, HOLE, n=12, method=method, solver="adams", steps=300)
    assert int((distance(made, end) / STD <= made.stated_error).sum()) >= 9
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
        (lambda m: m.sample(2, error=0.02, solver="tuned"), "error: tuned is of one number of steps"),
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


def of_many(each: list[dict]) -> dict:
    """The worst and the median error, the most and the median evaluations."""
    errors, counts = ([one[name] for one in each] for name in ("stated_error", "evaluations"))
    return {
        "stated_error_worst": max(errors),
        "stated_error_median": float(f"{median(errors):.3g}"),
        "evaluations_most": max(counts),
        "evaluations_median": median(counts),
    }


def test_every_file_states_its_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = untrained(tmp_path / "run", planted(0.6).items)
    command = ["sample", str(run), "-n", "3", "--error", "0.05", "--out", str(tmp_path / "out")]
    main(command)
    printed = capsys.readouterr().out
    of_each = [facts(tmp_path / "out" / f"0000{i}.png") for i in range(3)]
    assert all(one["error"] == 0.05 and "steps" not in one and one["evaluations"] >= 5 for one in of_each)
    assert all(0 <= one["stated_error"] <= 0.05 for one in of_each)
    assert f"to an error of 0.05, {min(one['evaluations'] for one in of_each)} to" in printed
    assert facts(tmp_path / "out" / "grid.png").items() >= of_many(of_each).items()
    (tmp_path / "out" / "grid.png").unlink()
    main(command)
    assert "3 of them were there" in capsys.readouterr().out
    assert facts(tmp_path / "out" / "grid.png").items() >= of_many(of_each).items()
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
    varied = [facts(tmp_path / "v" / f"0000{i}.png") for i in range(2)]
    assert facts(tmp_path / "v" / "grid.png").items() >= of_many(varied).items()


def test_an_archive_holds_what_each_of_its_images_states(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever its form, also where one process made a part of it and another the rest."""
    run = untrained(tmp_path / "run", planted(0.6).items)
    command = ["sample", str(run), "-n", "5", "--error", "0.05", "--batch-size", "2"]
    main([*command, "--out", str(tmp_path / "png")])
    each = [facts(tmp_path / "png" / f"0000{i}.png") for i in range(5)]
    stated = {name: [one[name] for one in each] for name in ("stated_error", "evaluations")}
    for form in ("npz", "npy", "tar"):
        out = tmp_path / form
        for shard in ("1/2", "2/2"):
            main([*command, "--format", form, "--out", str(out), "--shard", shard])
        assert facts(out / "grid.png").items() >= of_many(each).items()
        assert json.loads((out / f"samples.{form}.json").read_text()).items() >= of_many(each).items()
        match form:
            case "npz":
                with np.load(out / "samples.npz") as held:
                    found = {name: held[name].tolist() for name in stated}
            case "npy":
                found = {name: np.load(out / f"{name}.npy").tolist() for name in stated}
            case _:
                with tarfile.open(out / "samples.tar") as held:
                    pictures = [Image.open(io.BytesIO(held.extractfile(m).read())) for m in held]  # type: ignore[union-attr]
                inside = [json.loads(picture.info["sumi"]) for picture in pictures]
                found = {name: [one[name] for one in inside] for name in stated}
        assert found == stated, form
        main([*command, "--format", form, "--out", str(out)])  # it is there
    assert "5 of them were there" in capsys.readouterr().out


def test_a_trajectory_is_that_of_the_grid_that_its_sample_ended_on(tmp_path: Path) -> None:
    model = planted(0.6)
    way = trajectory(model, 3, error=0.02, seed=1)
    made = cast(Samples, model.sample(1, start=3, error=0.02, seed=1))
    assert torch.equal(way.x[-1], made.plain()[0])
    assert made.steps is not None
    assert len(way.x) == int(made.steps) + 1
    strip, _ = write_trajectory(model, way, tmp_path)
    assert facts(strip) == stated_facts(made, 0)
    with Image.open(write_trajectory(model, trajectory(model, 3, steps=4), tmp_path)[0]) as plain:
        assert "sumi" not in plain.info


def test_points_state_their_error_next_to_them(tmp_path: Path) -> None:
    """In arrays, and the picture of all the worst and the median; a trajectory follows the finest of their grids."""
    run = untrained(tmp_path / "run", VectorSpec(2, None), source="ring-of-8")
    out = tmp_path / "out"
    options = ["-n", "5", "--error", "0.05", "--batch-size", "2", "--trajectory"]
    assert main(["sample", str(run), *options, "--out", str(out)]) == 0
    model = cast(DiffusionModel, sumi.load(run))
    made = cast(Samples, model.sample(5, error=0.05, batch_size=2))
    each = [stated_facts(made, row) for row in range(5)]
    assert np.load(out / "stated_error.npy").tolist() == [one["stated_error"] for one in each]
    assert np.load(out / "evaluations.npy").tolist() == [one["evaluations"] for one in each]
    assert facts(out / "picture.png").items() >= of_many(each).items()
    assert facts(out / "strip.png").keys() == of_many(each).keys()


def test_a_run_that_samples_to_an_error_says_so_and_can_be_followed() -> None:
    model = planted(0.6, "sampling.error=0.05")
    assert model.how_sampled() == "adams, to an error of 0.05"
    assert trajectory(model, 0).stated[0]["stated_error"] <= 0.05


def test_fewer_steps_are_spread_evenly_between_the_times_of_more() -> None:
    times = torch.tensor([1.0, 0.8, 0.5, 0.1, 0.0], dtype=torch.float64)
    torch.testing.assert_close(spread(times, 2), times[::2])
    wanted = torch.tensor([1.0, 0.7, 0.1 + 0.4 / 3, 0.0], dtype=torch.float64)
    torch.testing.assert_close(spread(times, 3), wanted)
