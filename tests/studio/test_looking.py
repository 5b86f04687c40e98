"""What the studio shows of runs, and of a picture in noise."""

import base64
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from sumi.evaluation import solvers
from sumi.process.schedule import noise_level
from sumi.process.schedules import LinearBeta
from sumi.randomness import Purpose, normal
from sumi.studio.models import file_of, log_of, sheet_of
from sumi.training.run_folder import RunFolder
from tests.studio.conftest import made


def row(page, **request) -> np.ndarray:
    """x_0, x_t and x̂_0 as grey levels (3, 8, 8)."""
    answer = page.post("/api/noising", json={"model": "digits", **request})
    assert answer.status_code == 200, answer.text
    levels = np.asarray(Image.open(io.BytesIO(answer.content)))
    return np.stack(np.split(levels, 3, axis=1)).astype(float)


def test_a_picture_is_noised_as_the_process_says(studio, page, finished) -> None:
    picture = f"{made(page, finished, label='3', steps=6)['id']}/0"
    x_0, x_t, clean = row(page, t=0.0, picture=picture)
    assert np.array_equal(x_0, x_t)
    assert np.array_equal(x_0, clean)
    model = studio.models.load("digits")
    x_0, x_t, clean = row(page, t=0.4, picture=picture)
    level = noise_level(model.network_denoiser.schedule, 0.4)
    noise = normal(0, [0], 0, Purpose.START, (1, 8, 8))[0, 0].numpy()
    expected = level.alpha * (x_0 / 127.5 - 1) + level.sigma * noise
    shown = np.clip((expected + 1) * 127.5, 0, 255)
    assert np.abs(shown - x_t).max() <= 17  # a level of the data's 17
    assert np.abs(clean - x_0).mean() < np.abs(x_t - x_0).mean()
    assert not np.array_equal(clean, x_0)


def test_a_schedules_curves_are_its_own(studio, page) -> None:
    found = page.get("/api/models/digits/schedule").json()
    level = noise_level(studio.models.load("digits").network_denoiser.schedule, torch.tensor([found["t"][40]]))
    assert found["alpha"][40] == pytest.approx(float(level.alpha), rel=1e-6)
    assert found["sigma"][40] == pytest.approx(float(level.sigma), rel=1e-6)


def test_models_are_listed_with_what_a_page_needs(page) -> None:
    found = {one["key"]: one for one in page.get("/api/models").json()}
    assert next(iter(found)) == "characters"
    assert found["characters"]["prompted"]
    assert found["digits"]["labels"] == [str(k) for k in range(10)]
    assert (found["fashion"]["solvers"], found["fashion"]["paints"]) == (["mean_flow"], False)
    assert page.get("/api/models/digits/sheet").headers["content-type"] == "image/png"


def test_files_of_a_run_are_those_that_it_shows(tmp_path) -> None:
    folder = RunFolder(tmp_path / "run")
    for name in ("report/report.html", "report/evaluation.json", "samples/00000010.png", "samples/notes.txt"):
        (folder.path / name).parent.mkdir(parents=True, exist_ok=True)
        (folder.path / name).write_text("x")
    (folder.path / "samples/00000020.png").symlink_to("/etc/passwd")
    assert file_of(folder, "samples", "00000010.png").read_text() == "x"
    for place, name in (
        ("samples", "notes.txt"),
        ("samples", "00000020.png"),
        ("report", "evaluation.json"),
        ("report", "../config.json"),
        ("checkpoints", "x"),
        ("path", "config.json"),
    ):
        with pytest.raises(Exception, match="no "):
            file_of(folder, place, name)


def test_a_long_log_is_thinned_and_keeps_its_end(tmp_path) -> None:
    lines = [f'{{"step": {k}, "loss": {k}.5}}' for k in range(1, 2001)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    found = log_of(RunFolder(tmp_path))["losses"]
    assert len(found) == 500
    assert found[-1]["step"] == 2000


def test_points_of_the_plane_end_in_the_data_and_follow_the_score(page) -> None:
    found = page.get("/api/plane/ring-of-8/flow").json()
    x, score = np.array(found["x"]), np.array(found["score"])
    assert x.shape == (41, 240, 2)
    radius = np.hypot(*x[-1].T)
    assert np.abs(radius - 0.75).max() < 0.35
    assert np.abs(radius - 0.75).mean() < 0.07  # the width of each is 0.06
    at = np.array(found["at"])
    assert score[0] == pytest.approx(-at, abs=0.05)  # of noise alone: -x/sigma² with sigma = 1
    assert page.get("/api/plane/ring-of-8/other").status_code == 400


def test_checks_of_a_log_have_the_loss_by_noise_level_and_copies(tmp_path) -> None:
    check = {"held_out_+2.0": 0.1, "held_out_+2.0_error": 0.01, "held_out_-4.0": 0.9, "held_out_-4.0_error": 0.1}
    lines = [{"step": 5, "loss": 0.5}, {"step": 5, "event": "check", "copies": 1, "samples": 16, **check}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (found,) = log_of(RunFolder(tmp_path))["checks"]
    assert {name: found[name] for name in ("step", "copies", "samples")} == {"step": 5, "copies": 1, "samples": 16}
    assert found["held_out"][0] == [-4.0, 0.9, pytest.approx(0.9 - 0.196), pytest.approx(0.9 + 0.196)]
    assert found["held_out"][1][:2] == [2.0, 0.1]


def test_an_edited_schedule_has_its_own_curves_and_noises_a_picture(page) -> None:
    found = page.post("/api/schedule", json={"schedule": {"type": "linear", "beta_end": 0.05}}).json()
    schedule = LinearBeta(beta_end=0.05).build()
    assert found["alpha_bar"][60] == pytest.approx(float(schedule.alpha(torch.tensor(0.5))) ** 2)
    assert found["log_snr"][60] == pytest.approx(float(schedule.log_snr(torch.tensor(0.5))))
    frames = np.stack(np.split(np.asarray(Image.open(io.BytesIO(base64.b64decode(found["row"])))), 8, axis=1))
    with Image.open(sheet_of("characters")) as sheet:
        sample = sheet.convert("RGB").crop((0, 0, 192, 192)).resize((64, 64), Image.Resampling.LANCZOS)
    assert np.array_equal(frames[0], np.asarray(sample))
    away = np.abs(frames - frames[0].astype(float)).mean((1, 2, 3))
    assert (np.diff(away[:4]) > 0).all()
    for schedule, words in (
        ({"type": "learned"}, "cannot be drawn"),
        ({"type": "linear", "steps": 20_000}, "too many"),
    ):
        answer = page.post("/api/schedule", json={"schedule": schedule})
        assert words in answer.json()["error"]


def test_every_schedule_of_the_list_can_be_plotted_from_end_to_end_of_its_ranges(page) -> None:
    for one in page.get("/api/choices").json()["schedules"]:
        assert all(part["low"] <= part["value"] <= part["high"] for part in one["parameters"]), one
        for end in ("low", "high"):
            edited = {part["name"]: part[end] for part in one["parameters"]}
            answer = page.post("/api/schedule", json={"schedule": {"type": one["name"], **edited}})
            assert answer.status_code == 200, (one, answer.text)


def test_solvers_are_compared_as_the_command_does(studio, page, finished, monkeypatch) -> None:
    monkeypatch.setattr(solvers, "REFERENCE_STEPS", 50)
    request = {"model": "digits", "solvers": ["ddim", "ddpm"], "evaluations": [2, 4], "n": 2}
    assert page.get("/api/models/digits/solvers").json() == {}
    job = finished(page.post("/api/compare", json=request).json()["id"])
    assert job["state"] == "done", job["message"]
    rows = job["result"]["rows"]
    assert [(row["solver"], row["evaluations"], row["median"] is None) for row in rows] == [
        ("ddim", 2, False),
        ("ddim", 4, False),
        ("ddpm", 2, True),
        ("ddpm", 4, True),
    ]
    assert rows[0]["median"] > rows[1]["median"] > 0
    assert page.get("/api/models/digits/solvers").json() == job["result"]
    expected = "sumi compare digits --steps 2,4 -n 2 --solvers ddim,ddpm --seed 0"
    assert job["about"]["command"] == expected
    direct = solvers.compare(studio.models.load("digits"), ("ddim",), (2,), n=2)
    assert rows[0]["median"] == direct.rows[0].median
    for change, words in (
        ({"evaluations": [0]}, "out of range"),
        ({"n": 4000}, "too large"),
        ({"model": "x"}, "no 'x'"),
    ):
        answer = page.post("/api/compare", json={**request, **change})
        assert answer.status_code == 400
        assert words in answer.json()["error"]
