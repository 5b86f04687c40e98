"""Measuring a model of vectors: what is compared with what, in whose units, and what the verdict then says."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from sumi import recipes
from sumi.boundary.settings import override
from sumi.data.builtin.vectors import WIDTH, ring_centres
from sumi.data.config import DataConfig
from sumi.data.load import load
from sumi.data.vectors import VectorDataset
from sumi.errors import InputError, SumiError
from sumi.evaluation.guidance import GuidanceSweep
from sumi.evaluation.result import Measured, VectorEvaluation
from sumi.metrics.kernel_distance import energy_distance
from sumi.models.diffusion.build import build_denoiser
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.model import RunDescription
from sumi.report import made
from sumi.report import vectors as module
from sumi.report.evaluate import evaluate
from sumi.report.words import amount

TINY = ["network.width=16", "network.blocks=1", "network.embedding=16", "sampling.steps=2"]


def new_model(folder: Path, source: str) -> DiffusionModel:
    """An untrained model of the data at ``source``."""
    config = override(recipes.build("ddpm", DataConfig(source=source)), TINY)
    dataset = load(config.data)
    spec = dataset.spec
    with torch.random.fork_rng():
        torch.manual_seed(0)
        denoiser = build_denoiser(config, spec)
    return DiffusionModel(RunDescription(config, spec, dataset.fingerprint(), dataset.std()), denoiser, 7, folder)


def split(model: DiffusionModel, source: str | None = None) -> tuple[Tensor, Tensor]:
    """(train, held out) in the model's units."""
    dataset = model.load_data(source)
    assert isinstance(dataset, VectorDataset)
    train, held_out = dataset.split(0.1)
    return torch.from_numpy(train.values), torch.from_numpy(held_out.values)


def saved(file: Path, rows: NDArray) -> str:
    np.save(file, rows)
    return str(file)


@pytest.fixture
def draws(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], Tensor]], None]:
    """Lets a model draw what a function of n gives (its trajectories remain its own)."""
    own = DiffusionModel.sample

    def give(vectors: Callable[[int], Tensor]) -> None:
        def sample(self: DiffusionModel, n: int = 16, **options) -> Tensor:
            return own(self, n, **options) if options.get("callback") else vectors(n)

        monkeypatch.setattr(DiffusionModel, "sample", sample)

    return give


def figures(measured: Measured) -> VectorEvaluation:
    assert isinstance(measured.evaluation, VectorEvaluation)
    return measured.evaluation


def fresh_ring(n: int) -> Tensor:
    draw = np.random.default_rng(5)
    return torch.from_numpy(ring_centres()[draw.integers(8, size=n)] + WIDTH * draw.normal(size=(n, 2))).float()


def test_a_perfect_model_is_indistinguishable_from_the_data(tmp_path: Path, draws) -> None:
    model = new_model(tmp_path, "ring-of-8")
    train, held_out = split(model)
    draws(fresh_ring)
    measured = evaluate(model, n=600, seed=3)
    found = figures(measured)
    assert found.distance == energy_distance(fresh_ring(600), held_out)
    assert found.distance.low <= 0 < found.distance.high
    shuffled = train[np.random.default_rng(3).permutation(len(train))[: len(held_out)]]
    assert found.real == energy_distance(shuffled, held_out)
    assert (found.samples, found.held_out, found.known, found.known_real) == (600, len(held_out), None, None)
    assert measured.verdict.startswith(
        f"By energy distance the samples are indistinguishable from {len(held_out):,} held-out vectors.\n"
    )
    assert "Note" not in measured.verdict
    assert json.loads((tmp_path / "report/evaluation.json").read_text()) == asdict(found)


def test_other_samples_are_distinguished_from_the_data_and_all_is_written(tmp_path: Path, draws) -> None:
    """Five of the eight clouds."""
    model = new_model(tmp_path, "ring-of-8")
    draws(lambda n: (x := fresh_ring(2 * n))[x[:, 0] < 0.4][:n])
    counted: list[tuple[str, int, int]] = []
    measured = evaluate(model, progress=lambda *now: counted.append(now))
    found = figures(measured)
    assert found.samples == found.held_out  # by default as many as are held out, where these are 500 to 2000
    assert found.distance.low > found.real.high
    assert measured.verdict.startswith(
        "The samples differ from the real data.\nDistance to real data: Energy distance 0.1"
    )
    assert {path.name for path in measured.files} == {
        "samples.png",
        "strip.png",
        "emerging.webp",
        "loss.svg",
        "report.html",
    }
    page = measured.page.read_text()
    again = measured.report(tmp_path / "elsewhere" / "report")
    assert again == tmp_path / "elsewhere/report/report.html"
    assert again.read_text() == page
    assert {path.name for path in again.parent.iterdir()} == {path.name for path in measured.page.parent.iterdir()}
    for path in measured.files:
        assert (again.parent / path.name).read_bytes() == path.read_bytes()
    measured.page.write_text("of a later evaluation")
    assert measured.report(str(tmp_path / "later")).read_text() == page
    (tmp_path / "file").write_text("")
    with pytest.raises(SumiError, match="file"):
        measured.report(tmp_path / "file")
    assert page.count("<img") >= 3
    assert f"{found.samples} samples, {found.held_out} held out" in page
    assert measured.verdict.split("\n")[0] in page
    assert f"sumi sample {tmp_path} -n {found.samples} --seed 0" in page


def test_bits_are_measured_as_they_are_saved_and_looked_for_in_training(tmp_path: Path, draws) -> None:
    """A Gaussian model draws near -1 and 1. A quarter of these have a beat too many."""
    model = new_model(tmp_path, "heartbeat")
    train, _ = split(model)

    def near(n: int) -> Tensor:
        x = train[:n].clone()
        x[: n // 4, :5] = torch.tensor([1.0, 1, -1, -1, -1])
        return x * 0.8

    draws(near)
    measured = evaluate(model, n=400)
    found = figures(measured)
    assert found.known is not None
    assert found.known_real is not None
    assert found.known.value == 0.75
    assert found.known_real.value == 1.0
    assert found.distance == energy_distance(near(400).sign(), split(model)[1])
    assert (
        f"{amount(found.known)} of the samples occur in the training data; of held-out sequences 100"
        in measured.verdict
    )


def test_other_data_are_compared_in_the_models_units(tmp_path: Path, draws) -> None:
    """Each file by itself is centred and scaled; beside each other, a shift and a stretch must not vanish."""
    rows = 7 + 3 * np.random.default_rng(0).normal(size=(4000, 2))
    model = new_model(tmp_path, saved(tmp_path / "a.npy", rows))
    moved = saved(tmp_path / "b.npy", rows + 6)  # by 2 of 3 deviations, which is 1 in the model's units
    wide = saved(tmp_path / "c.npy", 2 * rows)
    draws(lambda n: split(model)[0][:n])
    assert figures(evaluate(model)).distance.value < 0.02
    for file in (moved, wide):
        measured = evaluate(model, data=file)
        assert figures(measured).distance.low > 0.1
        assert figures(measured).real.value < 0.02  # those data beside themselves
        assert "Note" not in measured.verdict
    train, shifted = split(model)[0], split(model, moved)[0]
    torch.testing.assert_close(shifted, train + 1, rtol=0, atol=0.03)  # that of 4000 is 3 but for 1 %


def test_changed_data_are_reported(tmp_path: Path, draws) -> None:
    rows = np.random.default_rng(0).normal(size=(300, 2))
    model = new_model(tmp_path, saved(tmp_path / "a.npy", rows))
    train = split(model)[0]
    draws(lambda n: train[:n])
    saved(tmp_path / "a.npy", rows + 5)
    measured = evaluate(model)
    assert measured.verdict.endswith("the model may have been trained on held-out vectors.")
    assert figures(measured).distance.low > 0.5


def test_data_that_were_moved_are_found_with_data(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(300, 2))
    model = new_model(tmp_path, saved(tmp_path / "a.npy", rows))
    (tmp_path / "a.npy").rename(tmp_path / "b.npy")
    with pytest.raises(InputError, match=r"a\.npy: the run's own data are not there; give data from elsewhere"):
        evaluate(model)
    assert "Note" not in evaluate(model, data=str(tmp_path / "b.npy")).verdict


def test_samples_that_are_no_numbers_are_refused(tmp_path: Path, draws) -> None:
    for source, dimensions in (("ring-of-8", 2), ("heartbeat", 20)):
        draws(lambda n, d=dimensions: torch.full((n, d), torch.nan))
        with pytest.raises(InputError, match="some are NaN or infinite; sample again"):
            evaluate(new_model(tmp_path, source))


def test_too_few_are_not_measured_but_shown(tmp_path: Path) -> None:
    model = new_model(tmp_path, saved(tmp_path / "a.npy", np.arange(20.0)))
    measured = evaluate(model, n=5)
    assert measured.evaluation is None
    assert measured.verdict.startswith("Too few to measure: 5 samples and 2 held out; at least 4 of each are needed")
    assert measured.page.exists()
    assert not (tmp_path / "report/evaluation.json").exists()


def test_a_sorted_file_is_shown_and_measured_from_end_to_end(tmp_path: Path, monkeypatch, draws) -> None:
    """Only 50 of the held-out are looked at: not the first 50, which are all low."""
    rows = np.sort(np.random.default_rng(0).normal(size=2000))
    model = new_model(tmp_path, saved(tmp_path / "a.npy", rows))
    monkeypatch.setattr(module, "MOST_HELD_OUT", 50)
    shown: list[Tensor] = []
    monkeypatch.setattr(module, "picture", lambda groups, _: shown.append(groups[1][1]) or b"")
    monkeypatch.setattr(made, "write_report", lambda path, **_: path.touch())
    draws(lambda n: split(model)[0][torch.randperm(1800, generator=torch.Generator().manual_seed(0))[:n]])
    found = figures(evaluate(model, n=60))
    assert (found.held_out, len(shown[0])) == (50, 60)
    held_out = split(model)[1]
    assert (float(shown[0].min()), float(shown[0].max())) == (float(held_out.min()), float(held_out.max()))
    assert found.distance.low <= 0


def test_data_of_another_kind_are_refused(tmp_path: Path) -> None:
    model = new_model(tmp_path, "ring-of-8")
    for source, kind in (("heartbeat", r"vectors \(20,\) of 2 levels"), ("digits", r"images \(1, 8, 8\) of 17 levels")):
        with pytest.raises(InputError, match=rf"{source} has {kind}, the model makes vectors \(2,\); give"):
            evaluate(model, data=source)


@pytest.mark.parametrize(
    ("name", "value"), [("features", "weights.pth"), ("sweeps", True), ("guidance", GuidanceSweep((0.0, 1.0), {}))]
)
def test_what_only_images_are_measured_by_is_refused_by_name(tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"^{name}: does not apply to the evaluation of vectors; leave it out"):
        evaluate(new_model(tmp_path, "ring-of-8"), **{name: value})
