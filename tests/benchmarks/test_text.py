"""The benchmark of words to pictures, as far as it trains nothing for long."""

import sys
from pathlib import Path

import pytest

from benchmarks.text import ENCODERS, STAGES, TABLES, cost, encoders, main, own_judge


def test_a_judge_is_trained_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ("data.reduce=4", "network.widths=16,16,16", "network.blocks=0,0,0", "network.features=16")
    one = own_judge("characters", tmp_path, (*small, "training.steps=1", "training.batch_size=4"))
    assert "once, five minutes" in capsys.readouterr().err
    assert own_judge("characters", tmp_path).digest == one.digest
    assert "five minutes" not in capsys.readouterr().err


def test_an_encoder_that_is_not_installed_is_left_out_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sumi.conditioning.frozen_encoder._PACKAGE", "no_such_package")
    encoders(None, None, 1.0, ["MiniLM, words among the keys"], 36)
    assert "not measured: MiniLM, words among the keys (encoder.source: minilm is not" in capsys.readouterr().err


def test_what_is_not_measured_is_named_with_its_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without arguments guidance is measured, by a judge of its own."""
    asked: list[object] = []
    monkeypatch.setattr("benchmarks.text.own_judge", lambda source, folder: asked.append((source, folder)))
    monkeypatch.setattr("benchmarks.text.guidance", lambda *given: asked.append(given[0]))
    monkeypatch.setattr("benchmarks.text.torch.set_num_threads", lambda count: None)
    monkeypatch.setattr(sys, "argv", ["text.py"])
    main()
    assert asked[0] == ("characters", Path("runs/text-benchmark"))
    assert asked[1:] == ["characters"]
    names = list(ENCODERS)
    lines = [f"not measured: {table} ({cost(table, 300, names, STAGES)})" for table in TABLES if table != "guidance"]
    assert capsys.readouterr().err.splitlines() == lines
    assert cost("encoders", 300, names, STAGES) == "4 trainings of 300 CPU s: 20 minutes"
    for wrong, why in ((["tables"], "no table tables"), (["-n", "12"], "too few to measure recall")):
        monkeypatch.setattr(sys, "argv", ["text.py", *wrong])
        with pytest.raises(SystemExit):
            main()
        assert why in capsys.readouterr().err
