"""What the command line writes, whatever it is written to."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sumi.boundary.progress import counting_of
from sumi.cli.main import COMMANDS, main
from sumi.errors import printable

PROGRAM = [sys.executable, "-c", "import sys; from sumi.cli.main import main; sys.exit(main())"]
TINY = [
    "--set=network.widths=32",
    "--set=network.blocks=1",
    "--set=network.embedding=32",
    "--set=training.batch_size=4",
]


def run(*arguments: str, code: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    program = [sys.executable, "-c", code] if code else PROGRAM
    return subprocess.run([*program, *arguments], capture_output=True, env={**os.environ, **environment}, check=False)


@pytest.mark.parametrize("encoding", ["ascii", pytest.param("cp1252", marks=pytest.mark.slow), "shift_jis"])
def test_letters_that_an_encoding_lacks_are_escaped(encoding: str) -> None:
    """The help of every command, and a table, in one process."""
    calls = [["--help"], *([command, "--help"] for command in COMMANDS), ["recipes", "ddpm"], ["recipes", "nothing η"]]
    code = "import sys\nfrom sumi.cli.main import main\n"
    for call in calls:
        code += f"try: main({call!r})\nexcept SystemExit as stop: assert stop.code == 0\n"
    done = run(code=code, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    shown = done.stdout.decode(encoding)
    lacks = encoding not in ("shift_jis", "utf-8")
    assert ("--eta η" in shown, "--eta \\u03b7" in shown) == (not lacks, lacks)
    assert done.stderr.decode(encoding).count("\n") == 1


NASTY = (
    "\x1b]0;OWNED\x07",
    "\x1b[31mred",
    "a\nsumi: all is well",
    "\x9b31m",
    "\u202egnp.exe",
    "\u2028",
    "\udcff",
    "a\rb",
)


def test_what_moves_a_cursor_is_escaped() -> None:
    for text in NASTY:
        shown = printable(text)
        assert shown.isprintable()
        assert shown.isascii()
        assert shown.encode().decode("unicode_escape") == text
    for text in ("a b", "zażółć η 墨", "می\u200cخواهم", "👩\u200d🚀", "\u3000", "é"):
        assert printable(text) == text


def test_names_reach_the_terminal_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of files, classes, values, runs and options, printed and in errors; the last by the real program."""
    for k, name in enumerate(("\x1b[31mred", "b\nsumi: fine")):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        for i in range(3):
            pixels = np.random.default_rng(10 * k + i).integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
        (folder / "\x1b]0;OWNED\x07.png").write_bytes(b"no image")
    out = str(tmp_path / "r\x1b[2J")
    options = ("--data", str(tmp_path / "data"), "--steps=1", "--out", out, *TINY, "--no-report")
    calls = {
        ("train", "classifier-free", *options): 0,
        ("info", out): 0,
        ("sample", out, "--label", "\x1b[31mblue", "-n", "1"): 2,
        ("--debug", "info", "\x1b[5m"): 2,
        ("train", "ddpm", "--data=digits", "--set", "\x1b[5m"): 2,
    }
    printed = list[str]()
    for arguments, expected in calls.items():
        assert main([*arguments]) == expected
        printed.append("".join(capsys.readouterr()))
    with pytest.raises(SystemExit, match="2"):
        main(["info", "a", "\x1b[5m"])
    printed.append("".join(capsys.readouterr()))
    done = run("info", "\x1b[5m")
    assert done.returncode == 2
    for text in (*printed, (done.stdout + done.stderr).decode()):
        assert text.replace("\n", "").isprintable()
        assert "\\x1b[" in text
        assert not any(line.startswith("sumi: fine") for line in text.splitlines())


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["recipes"]])
def test_output_onto_a_full_device_is_a_failure_of_one_line(arguments: list[str]) -> None:
    with FULL.open("w") as full:
        done = subprocess.run([*PROGRAM, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "sumi: output: cannot be written (No space left on device); write elsewhere, or make room\n"


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
def test_an_error_that_cannot_be_written_is_one_by_its_code() -> None:
    with FULL.open("w") as full:
        done = subprocess.run(
            [*PROGRAM, "info", "nowhere"], stderr=full, stdout=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("arguments", [["--help"], ["recipes"]])
def test_a_reader_that_has_seen_enough_is_no_error_to_tell(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*PROGRAM, *arguments], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


LIBRARY = """
import logging, os, sys, warnings
from sumi.cli import recipes
from sumi.cli.main import main
def noisy(options):
    os.write(2, b"TIFFReadDirectory: Warning\\n")
    warnings.warn("first line\\nsecond \\x1b[31mline")
    logging.getLogger("PIL").warning("of a chunk")
    print("of our own", file=sys.stderr)
recipes.run = noisy
code = main(sys.argv[1:])
os.write(2, b"after\\n")
sys.exit(code)
"""


def test_what_libraries_write_is_a_line_or_dropped() -> None:
    done = run("recipes", code=LIBRARY)
    lines = done.stderr.decode().splitlines()
    assert lines[0] == "sumi: UserWarning: first line second \\x1b[31mline"
    assert lines[1:] == ["sumi: PIL: of a chunk", "of our own", "after"]
    assert "TIFFReadDirectory: Warning" in run("--debug", "recipes", code=LIBRARY).stderr.decode()
    assert logging.lastResort is not None


@pytest.mark.parametrize(
    "environment", [{"COLUMNS": "20", "NO_COLOR": "1"}, {"COLUMNS": "1", "TERM": "dumb"}, {"COLUMNS": "x"}]
)
def test_any_terminal_will_do(environment: dict[str, str]) -> None:
    """A help and a table, in one process."""
    code = "from sumi.cli.main import main\nassert main(['recipes', 'ddpm']) == 0\nmain(['sample', '--help'])"
    done = run(code=code, **environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\x1b" not in done.stdout
    assert b"training.learning_rate" in done.stdout
    assert b"--guidance" in done.stdout


def test_a_dumb_terminal_gets_plain_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("sumi.boundary.progress.time.monotonic", iter(range(0, 100, 10)).__next__)
    with counting_of(Console(force_terminal=True, soft_wrap=True, highlight=False)) as count:
        count("reading \x1b[31mx", 1, 2)
    assert capsys.readouterr().out == "reading \\x1b[31mx 1/2\n"


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["sample", "run", "--solver", ""], "--solver: is empty; give a value, or leave it out"),
        (["sample", ""], "run: is empty"),
        (["compare", "run", "--steps", ""], "--steps: is empty"),
        (["compare", "run", "--solvers", ""], "--solvers: is empty"),
        (["train", "ddpm", "--data", "digits", "--out", ""], "--out: is empty"),
        (["sample", "run", "--label", ""], "--label: is empty"),
        (["doctor", "--device=cpu", "--out=d"], "--out: is of the data to train on, and none are given; add --data"),
        (["doctor", "--device=cpu", "--recipe=edm"], "--recipe: is of the data to train on"),
        (["doctor", "--device=cpu", "--set=data.size=8"], "--set: is of the data to train on"),
        (
            ["train", "ddpm", "--data=digits", "--autoencoder=a"],
            "autoencoder.source: there is no field 'source'",
        ),
        (["explain", "unscaled", "--checkpoint", "3"], "--checkpoint: does not count for unscaled; leave it out"),
        (["explain", "unscaled", "--device", "cpu"], "--device: does not count for unscaled"),
        (["explain", "linear", "--checkpoint", "3"], "--checkpoint: does not count for linear"),
        (["explain", "low-density", "--data", "digits"], "--data: does not count for low-density"),
        (["explain", "guidance", "--data", "digits"], "--data: does not count for guidance"),
        (
            ["train", "ddpm", "--data", "digits", "--steps", "3", "--set=training.steps=4"],
            "--steps: is 3, and the settings say 4; give one of them",
        ),
        (["train", "ddpm", "--data", "digits", "--seed", "3", "--set=seed=4"], "--seed: is 3, and the settings say 4"),
        (
            ["train", "ddpm", "--data", "digits", "--set=data.source=fashion"],
            "--data: is digits, and the settings say fashion",
        ),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    arguments: list[str],
    answer: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.startswith(f"sumi: {answer}")
    assert found.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
