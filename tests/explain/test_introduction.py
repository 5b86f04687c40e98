"""The introduction's claims: their verdicts, the numbers behind them, and the page."""

import re
from pathlib import Path

import pytest
import torch

from sumi.cli.main import main
from sumi.data.config import DataConfig
from sumi.data.dataset import evenly_spaced
from sumi.data.load import load_images
from sumi.errors import InputError
from sumi.explain.introduction.experiments import CHAPTERS, run_experiments
from sumi.report import introduction
from sumi.report.introduction import write_introduction

pytestmark = pytest.mark.timeout(900)  # all experiments take a minute or two on a quiet machine
# verdict by the beginning of the claim, in reading order
VERDICTS = {
    "Add a little Gaussian noise": "true",
    "A noising step draws": "false",
    "Shrinking x at each step": "true",
    "After 50 of 1,000 steps": "false",
    "Sums of Gaussians": "true",
    "The noise in the jump": "false",
    "As every β": "false",
    "The steps add noise evenly": "false",
    "Noise hides fine detail first": "true",
    "Sampling may start from N(0, I)": "imprecise",
    "Writing x_t as mean": "imprecise",
    "Undoing a small Gaussian step": "imprecise",
    "q(x_s | x_t) needs": "true",
    "For the variance of a reverse step": "imprecise",
    "To predict the noise": "imprecise",
    "From pure noise": "true",
    "Halfway, the estimate": "false",
    "The distance of two Gaussians": "true",
    "The last term of the bound": "true",
    "The simple loss": "false",
    "A better shape": "false",
    "A network that denoises": "true",
    "Errors made early": "imprecise",
    "The way from noise": "false",
    "One must sample": "false",
    "Fewer steps cost": "true",
    "The noise that sampling starts from": "imprecise",
    "A sampler without noise": "true",
    "The randomness of sampling": "false",
    "The score points": "imprecise",
    "Langevin steps": "imprecise",
    "The stochastic equation": "true",
    "Variance-preserving": "false",
    "Guidance by a classifier": "true",
    "With scale w": "false",
    "More guidance": "true",
    "Guidance without a classifier": "imprecise",
    "Pictures can be squeezed": "imprecise",
    "Diffusion in latents": "true",
    "To fill in a hole": "false",
    "Super-resolution": "false",
    "Diffusion models make better": "imprecise",
}
# numbers known from formulas: (beginning of the claim, pattern of the number, its value, tolerance)
NUMBERS = [
    ("A noising step draws", r"is ([\d.]+) ± ", 0.8**0.5, 0.004),
    ("Shrinking x", r"exactly ([\d.]+)", 11.05, 1e-9),
    ("After 50", r"ᾱ_50 = ([\d.]+)", 0.971, 5e-4),
    ("The noise in the jump", r"by ([\d.]+) \(", 0.058, 5e-4),
    ("The noise in the jump", r"measured: ([\d.]+) ±", 0.058, 0.014),
    ("As every β", r"is ([\d.]+) after", 0.5, 1e-4),
    ("Writing x_t", r"variance is ([\d.]+) times", 21.75, 1.5),  # E[x⁴ε²]/σ² - 4 over 4σ² for x = 1 + ε/2
    ("To fill in a hole", r"whole samples by ([\d.]+)", 0.9, 0.012),  # four standard errors of 4,000
    ("To fill in a hole", r"should be ([\d.]+) ±", 0.9, 1e-9),
    ("Diffusion models make", r"PixelCNN [^(]*\((\d+)\)", 64, 0),  # a pass for each pixel
    ("Diffusion models make", r"diffusion [^(]*\((\d+)\)", 35, 0),  # 18 steps of Heun's method, the last one Euler's
]


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return evenly_spaced(load_images(DataConfig(source="characters", size=32)), introduction.PICTURES)


@pytest.fixture(scope="module")
def findings(pictures: torch.Tensor) -> dict[str, tuple[str, str]]:
    return {claim.idea: (found.verdict, found.found) for _, claim, found in run_experiments(pictures)}


def test_each_verdict_follows_from_its_experiment(findings: dict[str, tuple[str, str]]) -> None:
    found = {start: verdict for start, (idea, (verdict, _)) in zip(VERDICTS, findings.items(), strict=True)}
    assert [idea for start, idea in zip(VERDICTS, findings, strict=True) if not idea.startswith(start)] == []
    assert found == VERDICTS


@pytest.mark.parametrize(("start", "pattern", "value", "tolerance"), NUMBERS)
def test_numbers_are_those_of_the_formulas(findings, start: str, pattern: str, value: float, tolerance: float) -> None:
    (text,) = [found for idea, (_, found) in findings.items() if idea.startswith(start)]
    number = re.search(pattern, text)
    assert number is not None, text
    assert float(number[1]) == pytest.approx(value, abs=tolerance)


def test_the_page_has_every_claim_with_its_verdict(tmp_path: Path, monkeypatch) -> None:
    from sumi.explain.introduction import experiments

    shown = CHAPTERS[0]
    monkeypatch.setattr(experiments, "CHAPTERS", (shown,))
    assert main(["explain", "introduction", "--data", "digits", "--out", str(tmp_path)]) == 0
    page = (tmp_path / "introduction.html").read_text()
    assert page.count("<h3>") == len(shown.claims)
    assert "False as it stands. It is √(1 - β) x." in page
    false = sum(verdict == "false" for verdict in list(VERDICTS.values())[: len(shown.claims)])
    assert f"and {false} false as they stand" in page
    assert page.count("<svg") + page.count("<img") >= 5


def test_too_few_pictures_are_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(introduction, "FEWEST", 2000)
    with pytest.raises(InputError, match=r"data: digits has \d+ images, and the experiments need 2000"):
        next(write_introduction(tmp_path, data="digits"))
    assert main(["explain", "introduction", "--device", "cpu"]) == 2
    assert list(tmp_path.iterdir()) == []
