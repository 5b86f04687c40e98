"""Options that several commands share."""

from types import SimpleNamespace

import pytest

from sumi.cli.options import SHORT, is_quick


@pytest.mark.parametrize(
    ("report", "of", "seconds", "quick"),
    [
        ("auto", "images", SHORT - 1, True),
        ("auto", "images", SHORT, False),
        ("auto", "vectors", 1, False),
        ("quick", "images", 1e4, True),
        ("quick", "vectors", 1, False),
        ("full", "images", 1, False),
    ],
)
def test_the_report_of_a_short_training_is_a_quick_one(report: str, of: str, seconds: float, quick: bool) -> None:
    model = SimpleNamespace(evaluated_as=of, folder="runs/a")
    assert is_quick(report, model, seconds) is quick
