"""The training log: what is appended is read back, a kill costs at most one line, a resume leaves no trace."""

import errno
import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sumi.errors import InputError, SumiError
from sumi.training.metrics_log import MetricsLog, Value, read

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def entry(step: int) -> dict[str, Value]:
    return {"step": step, "loss": 1 / (step + 1), "phase": "Übung", "warm": step < 10, "note": None}


def write(path: Path, steps: range) -> None:
    for step in steps:
        MetricsLog(path).append(entry(step))


def test_many_lines_come_back_as_they_were_written(path: Path) -> None:
    log = MetricsLog(path)
    for step in range(3000):
        log.append(entry(step))
    assert read(path) == [entry(step) for step in range(3000)]
    assert path.read_bytes().count(b"\n") == 3000


def test_the_first_line_makes_the_folder(tmp_path: Path) -> None:
    MetricsLog(tmp_path / "runs" / "new" / "metrics.jsonl").append(entry(1))
    assert read(tmp_path / "runs" / "new" / "metrics.jsonl") == [entry(1)]


def test_a_line_is_in_the_file_as_soon_as_append_returns(path: Path) -> None:
    log = MetricsLog(path)
    for step in range(3):
        log.append(entry(step))
        assert json.loads(path.read_bytes().splitlines()[-1]) == entry(step)


def test_floats_come_back_exactly_and_values_that_are_no_numbers_as_null(path: Path) -> None:
    numbers = [0.1 + 0.2, 5e-324, 1.7976931348623157e308, -0.0, float(np.float32(0.1))]
    MetricsLog(path).append({"step": 1, **{str(i): value for i, value in enumerate(numbers)}})
    MetricsLog(path).append({"step": 2, "loss": math.nan, "norm": math.inf, "gain": -math.inf})
    exact, nonfinite = read(path)
    assert [repr(exact[str(i)]) for i in range(len(numbers))] == [repr(value) for value in numbers]
    assert nonfinite == {"step": 2, "loss": None, "norm": None, "gain": None}

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    for line in path.read_text().splitlines():
        json.loads(line, parse_constant=refuse)


@pytest.mark.parametrize(
    ("metrics", "shown"),
    [
        ({"loss": 1.0}, "metrics.step: None is not a whole number"),
        ({"step": 1.0}, "metrics.step: 1.0 is not a whole number"),
        ({"step": True}, "metrics.step: True is not a whole number"),
        ({"step": 1, "loss": torch.tensor(1.0)}, "metrics.loss: a Tensor cannot be logged"),
        ({"step": 1, "loss": np.float32(1)}, "metrics.loss: a float32 cannot be logged"),
        ({"step": 1, "losses": [1.0]}, "metrics.losses: a list cannot be logged"),
    ],
)
def test_what_is_no_plain_value_is_refused_by_name(path: Path, metrics: Mapping[str, Any], shown: str) -> None:
    with pytest.raises(InputError) as caught:
        MetricsLog(path).append(metrics)
    assert str(caught.value).startswith(shown)
    assert not path.exists()


# -------------------------------------------------------------------------------------------------------------- resume


def test_a_resumed_log_is_byte_for_byte_the_one_without_a_pause(tmp_path: Path, path: Path) -> None:
    whole = tmp_path / "whole.jsonl"
    write(whole, range(50))
    write(path, range(40))
    path.write_bytes(path.read_bytes() + b'{"step": 40, "lo')
    MetricsLog(path).cut_back(24)
    assert read(path) == [entry(step) for step in range(25)]
    write(path, range(25, 50))
    assert path.read_bytes() == whole.read_bytes()
    assert {file.name for file in tmp_path.iterdir()} == {"metrics.jsonl", "whole.jsonl"}


def test_cutting_back_keeps_other_writing_styles_and_every_line_of_the_step(path: Path) -> None:
    text = '{"step":1}\n{ "step" : 5, "x": 1e0 }\n{"step": 2}\n{"step": 2, "kind": "samples"}\n'
    path.write_text(text)
    MetricsLog(path).cut_back(2)
    assert path.read_text() == '{"step":1}\n{"step": 2}\n{"step": 2, "kind": "samples"}\n'
    MetricsLog(path).cut_back(-1)
    assert path.read_bytes() == b""
    MetricsLog(path.with_name("none.jsonl")).cut_back(5)
    assert not path.with_name("none.jsonl").exists()


def test_a_torn_last_line_is_passed_over_and_removed_by_the_next_write(path: Path) -> None:
    write(path, range(3))
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for end in range(last, len(whole)):  # a kill after any number of bytes of the last line
        path.write_bytes(whole[:end])
        assert read(path) == [entry(0), entry(1)]
        MetricsLog(path).append(entry(7))
        assert read(path) == [entry(0), entry(1), entry(7)]
    path.write_bytes(b'{"st')
    assert read(path) == []
    MetricsLog(path).append(entry(0))
    assert read(path) == [entry(0)]


@pytest.mark.parametrize(
    "bad", [b'{"step": 1, "lo', b"", b"[1]", b"3", b'{"loss": 1}', b'{"step": "1"}', b"\0\0", b"\xff"]
)
def test_a_bad_line_that_is_not_a_torn_last_one_is_named_and_left_as_it_is(path: Path, bad: bytes) -> None:
    write(path, range(2))
    for tail in (b"", b'{"step": 9}\n'):
        raw = b'{"step": 0}\n{"step": 1}\n' + bad + b"\n" + tail
        path.write_bytes(raw)
        for use in (lambda: read(path), lambda: MetricsLog(path).cut_back(0)):
            with pytest.raises(InputError, match=r"metrics\.jsonl:3: is not a JSON object with a step") as caught:
                use()
            assert "\n" not in str(caught.value)
        assert path.read_bytes() == raw


def test_a_missing_log_is_named(path: Path) -> None:
    with pytest.raises(InputError, match=r"metrics\.jsonl: cannot be read: No such file"):
        read(path)


# -------------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_cut_leaves_the_log_whole(path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write(path, range(9))
    whole = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(SumiError, match=r"metrics\.jsonl: cannot be written: No space left on device"):
            MetricsLog(path).cut_back(3)
    assert path.read_bytes() == whole
    assert list(path.parent.iterdir()) == [path]
    MetricsLog(path).cut_back(3)
    assert len(read(path)) == 4


def test_a_line_that_finds_no_room_is_an_error_and_costs_no_other_line(path: Path) -> None:
    write(path, range(3))
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, former[1]))
    try:
        with pytest.raises(SumiError, match=r"metrics\.jsonl: cannot be written: File too large"):
            MetricsLog(path).append(entry(3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert read(path) == [entry(0), entry(1), entry(2)]
    MetricsLog(path).append(entry(3))
    assert read(path) == [entry(step) for step in range(4)]


def test_a_kill_costs_at_most_the_line_being_written(path: Path) -> None:
    program = (
        "import itertools, sys; from pathlib import Path; from sumi.training.metrics_log import MetricsLog\n"
        "log = MetricsLog(Path(sys.argv[1])); start = int(sys.argv[2])\n"
        "for step in itertools.count(start):\n"
        "    log.append({'step': step, 'text': 'x' * 20000}); print(step, flush=True)\n"
    )
    start = 0
    for _ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", program, str(path), str(start)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        ) as child:
            assert child.stdout is not None
            reported = [child.stdout.readline()]
            time.sleep(0.02)
            child.send_signal(signal.SIGKILL)
            reported += child.stdout.readlines()
        steps = [line["step"] for line in read(path)]
        assert steps == list(range(len(steps)))
        assert len(steps) > int(reported[-1])
        start = len(steps)


def test_a_name_of_old_logs_is_read_as_what_it_is_called_now(path: Path) -> None:
    """Runs of points and bits have no images; a log that speaks of them is left as it is, and goes on."""
    MetricsLog(path).append({"step": 1, "images_per_second": 5.0})
    MetricsLog(path).append({"step": 2, "items_per_second": 6.0})
    assert read(path) == [{"step": 1, "items_per_second": 5.0}, {"step": 2, "items_per_second": 6.0}]
