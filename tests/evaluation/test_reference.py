"""The example of docs/how-to/evaluate.md, as it stands but for the numbers: parts of samples, merged, are the whole."""

import re
import sys
from pathlib import Path

import pytest
import torch

from sumi.errors import InputError
from sumi.evaluation.images import learn_features
from sumi.evaluation.reference import held_out_moments, sampled_moments
from sumi.metrics.features import learned as features
from sumi.metrics.frechet import moments_frechet_distance
from sumi.models.diffusion.model import DiffusionModel
from sumi.report.evaluate import evaluate
from tests.tiny_models import digits_model

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "evaluate.md"


@pytest.mark.slow
def test_the_guides_parts_are_the_evaluation_of_all_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four parts of 30 samples, each by itself, give the plug-in distance of one evaluation of 120, to rounding."""
    monkeypatch.setattr(features, "FEWEST_STEPS", 30)
    monkeypatch.setattr("sumi.evaluation.reference.CHUNK", 15)  # parts and whole in the same batches: the same bits
    monkeypatch.chdir(tmp_path)
    model = digits_model(tmp_path / "runs/vae")
    model.save(model.folder)
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text().replace("runs/plain", "runs/vae"), re.S)
    part, whole = (next(code for code in blocks if word in code) for word in ("# part.py", "FeatureMoments.merged"))
    names: dict[str, object] = {}
    for k in range(4):
        monkeypatch.setattr(sys, "argv", ["part.py", str(k)])
        exec(part.replace("250_000", "30"), names)
    exec(whole.replace("range(2)", "range(4)"), names)
    count, printed = capsys.readouterr().out.split(" ", 1)
    assert count == "120"
    found = evaluate(model, n=120).evaluation
    assert found is not None
    value = float(re.findall(r"value=(\S+),", printed)[0])
    assert value == pytest.approx(found.distances.frechet.value, rel=0.2)  # bias taken off by other groups
    samples, space = names["samples"], learn_features(names["train"])
    one = sampled_moments(model, space, 120)
    assert one.network_sha256 == samples.network_sha256 == found.space.sha256
    torch.testing.assert_close(samples.moments.whole.mean, one.moments.whole.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(samples.moments.whole.covariance, one.moments.whole.covariance, rtol=1e-10, atol=1e-12)
    distance = moments_frechet_distance(one, held_out_moments(model, space)).value
    assert distance == pytest.approx(found.distances.frechet.value, rel=1e-6)  # float32 features in other batches
    with pytest.raises(InputError, match="parts of the same data"):
        samples.merged(sampled_moments(model, space, 10, seed=1))


def test_samples_that_are_no_numbers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "FEWEST_STEPS", 1)
    model = digits_model(tmp_path)
    train, _ = model.load_images().split(0.1)
    monkeypatch.setattr(DiffusionModel, "sample", lambda self, n, **_: torch.full((n, 1, 8, 8), torch.nan))
    with pytest.raises(InputError, match="some pixels are NaN"):
        sampled_moments(model, learn_features(train), 10)
