"""The check of a GPU, on the CPU: what it prints and writes, and that a failure is one line of it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.gpu_check import Check, Line, main


def test_its_lines_are_printed_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.gpu_check.fastest", lambda *_: 2.5e12)  # takes long where bfloat16 is emulated
    out = tmp_path / "cpu.json"
    assert main(["noise", "resume", "speed", "loading", "memory", "--device", "cpu", "--quick", "--out", str(out)]) == 0
    written = json.loads(out.read_text())
    assert {line["name"] for line in written["lines"]} == {"noise", "resume", "speed", "loading"}
    assert all(line["fine"] for line in written["lines"])
    says = [line["says"] for line in written["lines"]]
    assert says[0] == "0 of 6,291,456 numbers have other bits than on the CPU"
    assert says[2] == "bit for bit"
    assert "fastest product of bfloat16 matrices: 2.5 TFLOP/s" in says
    assert "GFLOP a step" in capsys.readouterr().out


def test_a_failure_is_a_line_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: Check) -> Iterator[Line]:
        yield Line("resume", "half of it")
        raise RuntimeError("device-side assert\nand more")

    monkeypatch.setattr(Check, "resume", fails)
    out = tmp_path / "cpu.json"
    assert main(["resume", "loading", "--device", "cpu", "--quick", "--out", str(out)]) == 1
    found = [(line["name"], line["fine"]) for line in json.loads(out.read_text())["lines"]]
    assert found == [("resume", True), ("resume", False), ("loading", True)]
