"""The benchmark of few steps, as far as it trains nothing for long."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import few_steps
from benchmarks.few_steps import Bench, chart, table
from sumi.errors import SumiError
from sumi.models.diffusion.model import DiffusionModel
from sumi.objectives.direction import KeptTeacher
from sumi.training_run import train

SMALL = ("network.widths=16", "network.blocks=1", "training.batch_size=8", "training.sample_every=0")
ROWS = {
    "teacher": {"frechet_1": 8.0, "interval_1": [7.0, 9.0], "frechet_50": 2.0, "interval_50": [1.5, 2.5], "data": "d"},
    "student": {"frechet_1": 3.0, "interval_1": [2.6, 3.4], "steps": 12, "cpu_seconds": 4.6},
    "other": {"finite": 4, "seeds": 5},
}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    return train("flow", data="digits", steps=2, out=tmp_path_factory.mktemp("few") / "teacher", settings=SMALL)


def test_distances_are_multiples_of_the_teacher_s_in_many_steps() -> None:
    lines = table(ROWS).splitlines()
    assert "| teacher |  |  | 8.0 (4.0) [7.0, 9.0] |  |  |  |" in lines
    assert "| student | 12 | 5 | 3.0 (1.5) [2.6, 3.4] |  |  |  |" in lines
    assert "Teacher in 50 steps: 2.00 [1.50, 2.50]." in lines
    assert "other: finite in 4 of 5 seeds." in lines
    assert not any(line.startswith("| other") for line in lines)


def test_a_panel_for_each_folder_of_what_is_measured_to_the_most_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = {"frechet_8": 1.0, "interval_8": [0.5, 1.5]}
    rows = {**ROWS, "teacher": ROWS["teacher"] | most, "student": ROWS["student"] | most, "short": ROWS["student"]}
    monkeypatch.setattr(few_steps, "CHART", tmp_path / "chart.png")
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "few_steps.json").write_text(json.dumps(rows))
    figures = []
    monkeypatch.setattr(few_steps, "save", lambda figure, path, says: figures.append(figure))
    chart([tmp_path / "a", tmp_path / "b"])
    panels = figures[0].axes
    assert [panel.get_title() for panel in panels] == ["d", "d"]
    lines = {line.get_label(): list(line.get_ydata()) for line in panels[0].get_lines()}
    assert lines == {"teacher": [8.0, 1.0], "student": [3.0, 1.0], "teacher, 50 steps": [2.0, 2.0]}


def test_a_teacher_that_is_given_is_not_trained_and_its_way_is_learned_without_guidance(
    teacher: DiffusionModel, tmp_path: Path
) -> None:
    bench = Bench(tmp_path, "digits", 8, str(teacher.folder))
    assert bench.teacher(1e9).digest == teacher.digest
    kept = bench.student("mean flow, teacher's way", 0.01).config.objective.teacher
    assert isinstance(kept, KeptTeacher)
    assert (kept.guidance, kept.weights) == (1.0, teacher.digest)
    assert bench.rows["mean flow, teacher's way, 0.01 s"]["steps"] >= 2
    assert bench.prompts(teacher) is None


def test_students_are_finite_where_they_train_to_the_end_and_so_are_all_of_their_samples(
    teacher: DiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, "digits", 8, str(teacher.folder))

    class Student:
        def __init__(self, samples: torch.Tensor | SumiError) -> None:
            self.samples = samples

        def sample(self, n: int, steps: int) -> torch.Tensor:
            if isinstance(self.samples, SumiError):
                raise self.samples
            return self.samples

    cases = ((torch.zeros(2), True), (torch.tensor([0.0, torch.nan]), False), (SumiError("diverged"), False))
    for samples, finite in cases:
        monkeypatch.setattr(bench, "student", lambda *_, made=samples: Student(made))
        assert bench.is_finite("consistency tuning", 1.0, 1) == finite
