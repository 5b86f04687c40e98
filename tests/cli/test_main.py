"""The command line as a person meets it: what it does, and the one line that a mistake gets."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sumi.boundary.config import to_json
from sumi.cli.demo import FIRST, RECIPE, SETTINGS
from sumi.cli.main import COMMANDS, build_parser, main, with_options
from sumi.data.images import ImageSpec
from sumi.models.model import RunDescription
from sumi.recipes.configure import configure
from sumi.training.run_folder import RunFolder
from tests.tiny_models import edited

RECIPES = ["ddpm"]
TINY = [
    "--set=network.widths=32",
    "--set=network.blocks=1",
    "--set=network.embedding=32",
    "--set=training.batch_size=8",
    "--set=training.sample_every=0",
    "--set=sampling.steps=3",
]


def run(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    """The real program, in its own process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "sumi.cli.main", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        **options,
    )


@pytest.fixture(scope="module", params=RECIPES)
def trained(request, tmp_path_factory) -> Path:
    """A run of 6 steps on the digits, trained through the command line."""
    out = tmp_path_factory.mktemp("cli") / "run"
    assert (
        main(["train", request.param, "--data", "digits", "--out", str(out), "--steps", "6", "--no-report", *TINY]) == 0
    )
    return out


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for k in range(12):
        colour = np.random.default_rng(k).integers(0, 256, (20 + k, 30, 3), dtype=np.uint8)
        Image.fromarray(colour).save(folder / f"{k}.png")
    return folder


def test_help_needs_no_torch() -> None:
    """That of the program, and in turn that of each command, whose module is imported for it."""
    code = "import sys; from sumi.cli.main import main\n"
    for arguments in (["--help"], *([command, "--help"] for command in COMMANDS)):
        code += f"try: main({arguments})\nexcept SystemExit: pass\n"
        code += "print('torch' in sys.modules, 'numpy' in sys.modules, 'sumi.cli.train' in sys.modules)\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = [line for line in done.stdout.splitlines() if line.startswith(("True", "False"))]
    assert loaded == ["False False False", *["False False True"] * len(COMMANDS)]
    for command in COMMANDS:
        assert command in done.stdout


def test_the_options_are_those_that_are_promised() -> None:
    """Options are a promise: a new one is added here on purpose."""
    choices = build_parser()._subparsers._group_actions[0].choices
    options = {
        name: sorted(o for a in p._actions for o in a.option_strings if o != "--debug") for name, p in choices.items()
    }
    common = ["--help", "-h"]
    restoration = [
        "-n",
        "--steps",
        "--error",
        "--method",
        "--seed",
        "--label",
        "--guidance",
        "--checkpoint",
        "--device",
        "--out",
    ]
    guidance = [*("--guidance-method", "--guidance-parallel", "--guidance-norm", "--guidance-momentum")]
    guidance += ["--guidance-interval", "--guidance-rescale", "--negative", "--worse", "--worse-checkpoint"]
    guidance += ["--classifier", "--classifier-scale", "--clip", "--clip-scale", "--threshold"]
    restoration += ["--prompt", "--no-fit", *guidance, *common]
    assert options == {
        "train": sorted(
            [
                *("--data", "--out", "--steps", "--seed", "--device", "--set", "--autoencoder", "--clip", "--from"),
                *("--resume", "--no-report", "--report", *common),
            ]
        ),
        "distil": sorted(
            [
                *("--out", "--method", "--steps", "--guidance", "--data", "--seed", "--device", "--set", "--resume"),
                *("--report", "--no-report", *common),
            ]
        ),
        "watch": sorted(["--port", *common]),
        "ema": sorted(["--length", "--out", "--data", "--checkpoint", "--device", *common]),
        "sample": sorted(
            [
                "-n",
                "--start",
                "--size",
                "--scaffold",
                "--steps",
                "--error",
                "--solver",
                *("--temperature", "--corrections"),
                "--eta",
                "--restart",
                "--restart-interval",
                *("--reward", "--target", "--reward-scale", "--particles", "--potential"),
                "--seed",
                "--label",
                "--prompt",
                "--prompts",
                "--augmentation",
                "--format",
                "--shard",
                "--value",
                "--guidance",
                *guidance,
                "--batch-size",
                "--checkpoint",
                "--device",
                "--out",
                "--trajectory",
                *common,
            ]
        ),
        "inpaint": sorted(["--mask", "--solver", "--value", *restoration]),
        "upscale": sorted(["--factor", *restoration]),
        "restore": sorted(["--operator", "--noise", *restoration]),
        "vary": sorted(["--strength", "--solver", *(option for option in restoration if option != "--method")]),
        "reconstruct": sorted(["--checkpoint", "--out", "--device", *common]),
        "interpolate": sorted(
            [
                *(
                    "-n",
                    "--steps",
                    "--solver",
                    "--label",
                    "--prompt",
                    "--guidance",
                    "--checkpoint",
                    "--device",
                    "--out",
                ),
                *("--no-fit", *guidance),
                *common,
            ]
        ),
        "evaluate": sorted(
            [
                *("--data", "-n", "--features", "--sweeps", "--trade-off", "--scales", "--classifier", "--worse"),
                *("--worse-checkpoint", "--judge", "--clip", "--seed", "--checkpoint", "--device", "--range", "--out"),
                *("--split", *common),
            ]
        ),
        "compare": sorted(
            [
                *("--solvers", "--steps", "-n", "--frechet", "--tune", "--guidance", "--worse", "--seed"),
                *("--checkpoint", "--device", *common),
            ]
        ),
        "nll": sorted(
            [
                "--data",
                "-n",
                "--evaluations",
                "--variance",
                "--no-ode",
                "--dequantize",
                "--draws",
                "--probes",
                "--seed",
                "--steps",
                "--checkpoint",
                "--device",
                *common,
            ]
        ),
        "teach": sorted(
            [
                "--images",
                "--word",
                "--like",
                "--rank",
                "--steps",
                "--seed",
                "--data",
                "--judge",
                "--clip",
                "-n",
                "--out",
                "--device",
                *common,
            ]
        ),
        "import": sorted(["--mapping", "--set", "--out", "--device", *common]),
        "export": sorted(["--to", "--out", "--half", "--licence", "--checkpoint", *common]),
        "card": sorted(["--out", "--licence", *common]),
        "push": sorted(["--public", "--licence", *common]),
        "pull": sorted(["--out", "--revision", *common]),
        "audit": sorted(
            [
                "--mapping",
                "--set",
                "--data",
                "-n",
                "--seed",
                "--no-copies",
                "--no-solvers",
                "--json",
                "--device",
                *common,
            ]
        ),
        "mend": sorted(["--out", "--data", "-n", "--seed", "--tune", "--checkpoint", "--device", *common]),
        "check": common,
        "doctor": sorted(["--data", "--recipe", "--set", "--device", "--out", *common]),
        "explain": sorted(["--data", "--prompt", "--change", "--seed", "--out", "--checkpoint", "--device", *common]),
        "recipes": common,
        "models": common,
        "info": common,
        "studio": sorted(["--data", "--out", "--port", "--no-browser", *common]),
        "demo": sorted(["--out", "--device", "--prompt", *common]),
    }


def test_a_run_folder_has_its_parts(trained: Path) -> None:
    assert {p.name for p in trained.iterdir()} >= {"config.json", "metrics.jsonl", "checkpoints", "samples"}
    assert [p.name for p in (trained / "checkpoints").iterdir()] == ["00000006"]
    assert {p.name for p in (trained / "checkpoints/00000006").iterdir()} == {
        "model.safetensors",
        "ema.safetensors",
        "optimizer.safetensors",
        "state.json",
        "manifest.json",
    }
    config = json.loads((trained / "config.json").read_text())
    assert config["format"] == 6
    assert config["items"] | {"label_names": []} == {
        "type": "images",
        "channels": 1,
        "height": 8,
        "width": 8,
        "levels": 17,
        "ends": None,
        "label_names": [],
    }
    assert json.loads((trained / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 6
    assert not list(trained.rglob("*.pt")) + list(trained.rglob("*.pkl"))


def test_sample_writes_images_that_say_how_they_were_made(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    how = ["--steps", "4", "--seed", "9", "--solver", "ddim"]  # even steps: no two frames are alike
    arguments = ["sample", str(trained), "-n", "3", "--start", "5", "--out", str(out), "--trajectory", *how]
    assert main(arguments) == 0
    assert sorted(p.name for p in out.iterdir()) == [
        "00005.png",
        "00006.png",
        "00007.png",
        "emerging.webp",
        "grid.png",
        "strip.png",
    ]
    about = json.loads(Image.open(out / "00006.png").text["sumi"])
    assert (about["index"], about["seed"], about["steps"], about["checkpoint"]) == (6, 9, 4, 6)
    assert about["run"] == str(trained)
    assert Image.open(out / "emerging.webp").n_frames == 5
    alone = tmp_path / "alone"
    assert main(["sample", str(trained), "-n", "1", "--start", "6", "--out", str(alone), *how]) == 0
    one, same = (np.asarray(Image.open(folder / "00006.png")).astype(int) for folder in (alone, out))
    assert np.abs(one - same).max() <= 16  # of 17 levels: a pixel between two may round to either in another batch
    assert np.count_nonzero(one != same) <= 1


def test_info_recipes_and_explain(trained: Path, photos: Path, capsys, tmp_path: Path) -> None:
    assert main(["info", str(trained)]) == 0
    assert "ddpm on digits" in capsys.readouterr().out
    assert main(["recipes"]) == 0
    listed = capsys.readouterr().out
    assert all(line.endswith(".") for line in listed.splitlines()[:-1])  # whole sentences
    assert 'Geng et al. 2025, "Consistency models made easy").' in listed
    assert main(["recipes", "ddpm"]) == 0
    assert "training.learning_rate" in capsys.readouterr().out
    assert main(["explain", "cosine", "--data", str(photos), "--out", str(tmp_path)]) == 0
    assert "schedule.png" in capsys.readouterr().out


def test_train_on_a_folder_measures_and_reports(photos: Path, tmp_path: Path, capsys) -> None:
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff not an image")
    out = tmp_path / "run"
    for k in range(12, 60):
        colour = np.random.default_rng(k).integers(0, 256, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(colour).save(photos / f"{k}.png")
    arguments = ["train", "ddpm", "--data", str(photos), "--out", str(out), "--steps", "2", "--set=data.size=8"]
    assert main([*arguments, "--set=data.held_out=0.3", *TINY]) == 0
    printed = capsys.readouterr().out
    assert f"the report is a quick one, as the training was short: sumi evaluate {out} measures all" in printed
    assert not (out / "report/evaluation.json").exists()
    assert "broken.jpg" in printed
    assert "broken.jpg" in (out / "skipped.txt").read_text()
    other = tmp_path / "other"  # images without classes, seen by no one
    other.mkdir()
    for path in list(photos.glob("*.png"))[:40]:
        Image.open(path).rotate(90).save(other / path.name)
    assert main(["evaluate", str(out), "--data", str(other), "-n", "12"]) == 0
    page = (out / "report/report.html").read_text()
    assert "<img" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


MISTAKES = [
    (["train", "dpdm", "--data", "digits"], "did you mean ddpm?"),
    (["train", "ddpm"], "--data: is missing"),
    (["train", "ddpm", "--data", "nowhere/"], "nowhere does not exist"),
    (["train", "ddpm", "--data", "digit"], "did you mean digits?"),
    (["train", "ddpm", "--data", "digits", "--set", "training.step=3"], "did you mean steps?"),
    (["train", "ddpm", "--data", "digits", "--set", "data.size=2"], "data.size"),
    (["train", "ddpm", "--data", "digits", "--set=network.widths=32,32,32,32,32", "--set=network.blocks=1,1,1,1,1"],
     "network.widths: 5 levels"),
    (["train", "ddpm", "--data", "digits", "--device", "cuda:9"], "--device: cuda:9"),
    (["train", "missing.json", "--data", "digits"], "missing.json: cannot be read"),
    (["sample", "."], "is not a run folder"),
    (["sample", "nowhere"], "is not a run folder"),
    (["info", "nowhere"], "is not a run folder"),
    (["evaluate", "nowhere"], "is not a run folder"),
    (["compare", "nowhere"], "is not a run folder"),
    (["demo", "--out", "."], "holds mine.txt, which no demo wrote"),
    (["train", "ddpm", "--data", "digits", "--set", "sampling.steps=5000"], "sampling.steps: 5000 is more than"),
    (["train", "ddpm", "--data", "digits", "--set", "training.weight_decay=NaN"], "not a finite number"),
    (["train", "ddpm", "--data", "digits", "--set", 'schedule={"type":[]}'], "schedule: there is no"),
    (["train", "ddpm", "--data", "digits", "--set=schedule.steps=20000", "--set=times.steps=20000"], "singular there"),
    (["train", "ddpm", "--data", "digits", "--set=schedule=flow", "--set=times=uniform"], "singular there"),
    (["train", "ddpm", "--data", "digits", "--set=schedule=vp"], "has no grid; set times=uniform"),
    (["train", "ddpm", "--data", "digits", "--set=sampling.solver=rk4"], "sampling.solver: rk4 evaluates between"),
    (["train", "ddpm", "--data", "digits", "--set=sampling.solver=adams@karas"], "did you mean karras?"),
    (["train", "ddpm", "--data", "digits", "--set=schedule=ladder"], "set times.steps=10 and sampling.steps=10"),
    (["train", "ddpm", "--data", "digits", "--device", "meta"], "--device: meta computes nothing"),
    (["explain", "linaer"], "did you mean linear?"),
    (["recipes", "dppm"], "did you mean ddpm?"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "answer"), MISTAKES, ids=[" ".join(a) for a, _ in MISTAKES])
def test_a_mistake_gets_one_line_and_changes_nothing(arguments, answer: str, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.txt").write_text("dear")
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert answer in printed.err
    assert printed.err.startswith("sumi: ")
    assert len(printed.err.strip().splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_folders_that_cannot_be_trained_on(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    empty, one = tmp_path / "empty", tmp_path / "one"
    empty.mkdir()
    one.mkdir()
    Image.new("L", (9, 9)).save(one / "a.png")
    for folder, answer in ((empty, "empty"), (one, "at least 2 images")):
        assert main(["train", "ddpm", "--data", str(folder)]) == 2
        printed = capsys.readouterr().err
        assert answer in printed
        assert len(printed.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "arguments", [["train"], ["sample", "run", "--steps", "many"], ["fly"], ["train", "ddpm", "--stps", "3"]]
)
def test_wrong_options_are_one_line_too(arguments, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_the_demo_removes_only_a_demo(trained: Path, tmp_path: Path, capsys) -> None:
    """Another run, a file, or a folder with a config.json of something else: refused, and nothing is lost."""
    copy, other, file = tmp_path / "copy", tmp_path / "other", tmp_path / "file"
    shutil.copytree(trained, copy)
    other.mkdir()
    (other / "config.json").write_text("{}")
    file.write_text("")
    before = sorted(tmp_path.rglob("*"))
    for folder, answer in ((copy, "another run"), (other, "config.json"), (file, "is a file")):
        assert main(["demo", "--out", str(folder)]) == 2
        assert answer in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_the_demo_is_made_anew_after_any_command(tmp_path: Path, monkeypatch) -> None:
    """Whatever a run folder holds is removed with it; a file of a person's own keeps all of it."""
    monkeypatch.setattr("sumi.training_run.train_in", lambda *_, **__: 1 / 0)
    monkeypatch.setattr("sumi.cli.demo._show", lambda _: None)
    monkeypatch.setattr("sumi.cli.demo.THREADS", torch.get_num_threads())
    demo = RunFolder(tmp_path / "demo")
    config = configure(RECIPE, data=FIRST, settings=SETTINGS)
    demo.write_config(to_json(RunDescription(config, ImageSpec(3, 32, 32, 256, ("face",)), "", 1.0)))
    demo.write_skipped(["a file"])
    for folder in (demo.nll, demo.explain, demo.compare, demo.tuned, demo.restored, demo.varied, demo.interpolated):
        folder.mkdir()
    (demo.path / "mine.txt").write_text("mine")
    assert main(["demo", "--out", str(demo.path)]) == 2
    assert len(list(demo.path.iterdir())) == 11
    (demo.path / "mine.txt").unlink()
    assert main(["demo", "--out", str(demo.path)]) == 1  # division by zero, after the clearing
    assert not list(demo.path.iterdir())


def test_a_renamed_folder_goes_on_but_changed_data_does_not(photos: Path, tmp_path: Path, capsys) -> None:
    arguments = ["train", "ddpm", "--out", str(tmp_path / "run"), "--no-report", "--set=data.size=8", *TINY]
    assert main([*arguments, "--data", str(photos), "--steps", "2"]) == 0
    moved = photos.rename(tmp_path / "moved")
    assert main([*arguments, "--data", str(moved), "--steps", "3", "--resume"]) == 0
    (moved / "0.png").rename(moved / "zero.png")  # the split is by name
    capsys.readouterr()
    assert main([*arguments, "--data", str(moved), "--steps", "4", "--resume"]) == 2
    assert "has changed since the run was started" in capsys.readouterr().err


def test_images_made_otherwise_are_not_written_over(trained: Path, tmp_path: Path, capsys) -> None:
    out = str(tmp_path / "o")
    arguments = ["sample", str(trained), "-n", "2", "--steps", "2", "--out", out]
    assert main(arguments) == 0
    assert main(arguments) == 0  # the same images again
    before = (tmp_path / "o/00000.png").read_bytes()
    assert main([*arguments, "--seed", "1"]) == 2
    assert "00000.png, which was made with other settings" in capsys.readouterr().err
    assert (tmp_path / "o/00000.png").read_bytes() == before


def test_a_configuration_that_is_not_the_weights_own_is_refused(trained: Path, tmp_path: Path, capsys) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    file = copy / "config.json"
    file.write_text(edited(file).replace('"type": "linear"', '"type": "quadratic"'))
    for command in (["sample", str(copy)], ["explain", str(copy)], ["evaluate", str(copy)]):
        assert main(command) == 2
        assert "was changed since 00000006 was trained" in capsys.readouterr().err
    file.unlink()
    arguments = [
        "train",
        "ddpm",
        "--data",
        "digits",
        "--out",
        str(copy),
        "--no-report",
        "--steps",
        "8",
        *TINY,
        "--resume",
    ]
    assert main([*arguments, "--set=parameterization=velocity"]) == 2
    assert "trained with another schedule, parameterization" in capsys.readouterr().err


def test_what_is_not_given_again_on_resume_stays(trained: Path, tmp_path: Path, capsys) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    assert main(["train", "ddpm", "--out", str(copy), "--resume", "--no-report"]) == 0  # no data, no steps, no settings
    assert main(["train", "ddpm", "--out", str(copy), "--resume", "--no-report", "--steps", "7"]) == 0
    assert newest(copy) == 7
    assert main(["train", "other", "--out", str(copy), "--resume"]) == 2
    assert "was started as ddpm" in capsys.readouterr().err


def test_a_damaged_newest_checkpoint_is_named_and_an_older_one_offered(trained: Path, tmp_path: Path, capsys) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    assert main(["train", "ddpm", "--out", str(copy), "--resume", "--no-report", "--steps", "7"]) == 0
    file = copy / "checkpoints/00000007/ema.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    capsys.readouterr()
    assert main(["info", str(copy)]) == 0
    assert "damaged" in capsys.readouterr().out
    assert main(["sample", str(copy), "--out", str(tmp_path / "o")]) == 2
    assert "checkpoint 6" in capsys.readouterr().err
    assert main(["sample", str(copy), "--checkpoint", "6", "--out", str(tmp_path / "o")]) == 0


def test_an_unexpected_failure_is_one_line_too(trained: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("sumi.models.diffusion.model.DiffusionModel.sample", lambda *a, **k: 1 / 0)
    assert main(["sample", str(trained), "--out", str(tmp_path / "o")]) == 1
    assert capsys.readouterr().err == "sumi: unexpected ZeroDivisionError: division by zero (--debug shows where)\n"


def test_memory_that_does_not_suffice_is_named_with_what_would_do(trained: Path, capsys, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr("sumi.models.diffusion.model.DiffusionModel.sample", full)
    assert main(["sample", str(trained), "--out", str(trained / "never")]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == "sumi: the memory of the GPU does not suffice; give a smaller --batch-size, or --device cpu"


def test_debug_shows_the_traceback() -> None:
    done = run("--debug", "info", "nowhere")
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_a_run_is_refused_without_resume_and_goes_on_with_it(trained: Path, tmp_path: Path, capsys) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    arguments = ["train", "ddpm", "--data", "digits", "--out", str(copy), "--no-report", *TINY]
    assert main([*arguments, "--steps", "6"]) == 2
    assert "already holds a run; resume it" in capsys.readouterr().err
    assert main([*arguments, "--steps", "6", "--resume"]) == 0
    assert main([*arguments, "--steps", "8", "--resume"]) == 0
    assert sorted(p.name for p in (copy / "checkpoints").iterdir()) == ["00000006", "00000008"]
    assert main([*arguments, "--steps", "8", "--resume", "--seed", "1"]) == 2
    assert "seed: 0 → 1" in capsys.readouterr().err


def newest(run: Path) -> int:
    return max((int(p.name) for p in (run / "checkpoints").glob("[0-9]*")), default=0)


def train_and_signal(out: Path, number: int, *more: str) -> tuple[int, str, str]:
    """Train in a process of its own, send it a signal two checkpoints later; its exit code, output and errors."""
    before = newest(out)
    settings = ["--set=training.checkpoint_every=5", "--set=training.log_every=1", *TINY]
    arguments = ["train", "ddpm", "--data", "digits", "--out", str(out), "--no-report", "--steps", "100000", *settings]
    program = subprocess.Popen(
        [sys.executable, "-m", "sumi.cli.main", *arguments, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    while newest(out) < before + 10 and program.poll() is None:
        time.sleep(0.02)
    program.send_signal(number)
    printed, error = program.communicate(timeout=60)
    return program.returncode, printed, error


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),  # and SIGTERM, to what goes on from there
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, -9, marks=pytest.mark.slow),
    ],
)
def test_a_signal_to_the_real_program(tmp_path: Path, number: int, code: int) -> None:
    """Sent while it trains: the step is finished and saved, the exit code says so, and --resume goes on."""
    out = tmp_path / "run"
    returned, _, error = train_and_signal(out, number)
    assert returned == code
    saved = newest(out)
    if number != signal.SIGKILL:
        assert f"stopped after step {saved}" in error
        assert len(error.strip().splitlines()) == 1
        assert json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])["step"] == saved
    returned, printed, _ = train_and_signal(out, signal.SIGTERM, "--resume")
    assert returned == 143
    assert f"continues from step {saved}" in printed
    steps = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, newest(out) + 1))


@pytest.mark.parametrize(
    ("command", "message", "expected"),
    [
        ("sample", "guidance.interval: 3 is not LOW,HIGH", "--guidance-interval: 3 is not LOW,HIGH"),
        ("sample", "guidance.scale: nan is no number", "--guidance: nan is no number"),
        ("sample", "guidance.negative: there is no class owl", "--negative: there is no class owl"),
        ("sample", "n 0: is out of range", "-n 0: is out of range"),
        ("sample", "values: the model knows no x", "--value: the model knows no x"),
        ("train", "settings a: there is no '='", "--set a: there is no '='"),
        ("train", "training.steps: 0 is too few", "training.steps: 0 is too few"),
        ("nll", "n 1, draws 0: are too few", "-n 1, --draws 0: are too few"),
        ("nll", "dequantization, probes: are for the ODE", "--dequantize, --probes: are for the ODE"),
        ("compare", "solvers, steps: there is nothing", "--solvers, --steps: there is nothing"),
        ("evaluate", "trade_off: too few", "--trade-off: too few"),
        ("evaluate", "guidance.scale: 0 needs another model", "guidance.scale: 0 needs another model"),
        ("sample", "runs/n: is not a run folder", "runs/n: is not a run folder"),
        ("sample", "no field is named", "no field is named"),
    ],
)
def test_an_error_of_the_library_names_the_option_of_the_command(command: str, message: str, expected: str) -> None:
    options = build_parser([command]).parse_args([command, "RUN"])
    assert with_options(message, options.flags) == expected
