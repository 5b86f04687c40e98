"""`sumi check`: all laws hold, what is broken is found, and the exit code says so."""

import pytest
import torch

from sumi.check import process, sampling
from sumi.check.check import check
from sumi.check.law import Law
from sumi.cli.main import main
from sumi.process.continuous import VP
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.time_grid import uniform
from tests.oracles import GaussianTarget, linear_probe


@pytest.fixture(scope="module")
def laws() -> list[Law]:
    return [law for _, found in check() for law in found]


def test_all_laws_hold(laws) -> None:
    assert len(laws) > 20
    assert [law.statement for law in laws if not law.holds] == []


def test_diffusers_is_shown_too_where_it_has_the_law(laws) -> None:
    """Its DDIM with linspace spacing moves the mean of N(0.5, 0.3²) to about 0.477, PNDM more; ours not at all."""
    ddim, pndm = (law for law in laws if law.peer is not None and "7 steps keeps" in law.statement)
    assert ddim.peer == pytest.approx(0.0233, abs=2e-3)
    assert pndm.peer > 0.02
    assert max(ddim.deviation, pndm.deviation) < 1e-12
    ancestral = next(law for law in laws if law.statement.startswith("ancestral sampling in 1000"))
    assert ancestral.peer == pytest.approx(ancestral.deviation, abs=1e-4)  # there it is right too


def test_a_law_without_a_number_does_not_hold() -> None:
    assert not Law("", float("nan"), 1.0).holds
    assert Law("", 0.0, 0.0).holds


def test_the_probe_agrees_with_the_tests_own() -> None:
    schedule = VP().build()
    target = GaussianTarget(sampling.MEAN, sampling.STD)
    end = schedule.noise_level(torch.ones(1, dtype=torch.float64))
    start = float(end.alpha) * 0.5, (float(end.alpha) * 0.3) ** 2 + float(end.sigma) ** 2
    mean, variance = linear_probe(target.denoiser(schedule), DDIM(eta=0.6), uniform(9), *start)
    assert sampling.probe(schedule, DDIM(eta=0.6), uniform(9)) == pytest.approx((mean, variance**0.5), abs=1e-12)


@pytest.mark.parametrize(
    ("place", "what", "wrong", "finder"),
    [
        ("sumi.check.process.transition", "scale", 1.001, process._step_by_step),
        ("sumi.check.process.posterior", "clean", 1.001, process._bayes),
    ],
)
def test_a_wrong_coefficient_is_found(monkeypatch, place: str, what: str, wrong: float, finder) -> None:
    from dataclasses import replace
    from importlib import import_module

    module, name = place.rsplit(".", 1)
    right = getattr(import_module(module), name)

    def broken(s, t):
        kernel = right(s, t)
        return replace(kernel, **{what: getattr(kernel, what) * wrong})

    assert finder() < 1e-10
    monkeypatch.setattr(place, broken)
    assert finder() > 1e-6


def test_the_command_says_what_fails(monkeypatch, capsys) -> None:
    monkeypatch.setattr("sumi.check.check.check", lambda: iter([("part", [Law("two is one", 1.0, 0.5, 0.25)])]))
    assert main(["check"]) == 1
    printed = capsys.readouterr()
    assert "FAILS" in printed.out
    assert printed.err.startswith("sumi: 1 of 1 laws fail here")
    monkeypatch.setattr("sumi.check.check.check", lambda: iter([("part", [Law("one is one", 0.0, 0.5)])]))
    assert main(["check"]) == 0
    assert "all 1 laws hold" in capsys.readouterr().out
