"""Classifiers of guided-diffusion, against `tests.guided_networks`."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sumi.cli.main import main
from sumi.errors import InputError
from sumi.interop.claims import Claims
from sumi.interop.guided import way_down
from sumi.interop.sources import import_run, open_source
from sumi.models.classifier import ClassifierModel
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load
from sumi.networks.guided import GuidedConfig
from sumi.process.chain import CosineBeta, LinearBeta
from sumi.process.schedule import noise_level
from sumi.process.schedules import ScheduleConfig
from sumi.sampling.sampler import Guidance
from tests.guided_networks import GuidedJudge, GuidedNetwork, Options
from tests.toolkits import same

TOLERANCE = 2e-6
EXACT = 1e-12
JUDGE = Options(
    num_channels=64,
    channel_mult=(1, 2, 3, 4),
    attention_ds=(2, 4, 8),
    num_head_channels=64,
    out_channels=3,
    resblock_updown=True,
    use_scale_shift_norm=True,
)


def saved(options: Options, place: Path, pool: str = "attention") -> tuple[GuidedJudge, Path]:
    network = GuidedJudge(options, pool)
    network.network(torch.zeros(1, 3, 16, 16), torch.zeros(1))
    return network, network.saved(place / "judge.safetensors", "")


def check(network: GuidedJudge, model: ClassifierModel, schedule: ScheduleConfig) -> None:
    """Its logits and their slopes at steps of the chain, and in float64."""
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for step in (0, 399, 998):
        now = noise_level(schedule.build(), torch.full((2,), (step + 1) / 1000, dtype=torch.float64))
        time = torch.full((2,), float(step))
        found, theirs = model.classifier.logits(x, now), network.network(x, time)
        same(found, theirs, TOLERANCE)
        slopes = (torch.autograd.grad(v.log_softmax(1)[:, 1].sum(), x)[0] for v in (found, theirs))
        same(*slopes, 5 * TOLERANCE)
    network.double()
    log_snr = torch.as_tensor(now.log_snr) / 4
    same(model.classifier.double().network(x.double(), log_snr), network.network(x.double(), time.double()), EXACT)


@pytest.mark.parametrize(
    ("options", "pool", "schedule"),
    [
        (JUDGE, "attention", LinearBeta()),
        (replace(JUDGE, num_res_blocks=4), "attention", CosineBeta()),
        (replace(JUDGE, channel_mult=(1, 2), attention_ds=(1,), resblock_updown=False), "adaptive", LinearBeta()),
    ],
)
def test_a_classifier_is_that_of_the_library(
    tmp_path: Path, options: Options, pool: str, schedule: ScheduleConfig
) -> None:
    """Of the shape of the published one of 64x64 the chain is the cosine one."""
    if pool == "adaptive":
        options = replace(options, num_channels=32, num_head_channels=-1, num_heads=4)
    network, file = saved(options, tmp_path, pool)
    sized = ["shape=3,16,16"] if pool == "adaptive" else []  # which else is in the tensors
    assert "chain" in import_run(file, tmp_path / "run", settings=sized, device="cpu").notes[0]
    model = load(tmp_path / "run", ClassifierModel, device="cpu")
    assert model.items.shape == (3, 16, 16)
    check(network, model, schedule)


def test_it_guides_a_model_of_the_library(tmp_path: Path) -> None:
    """The mean of a step moves by its variance times s times the slope, which is x̂_0 by s σ²/α times it."""
    judge, file = saved(JUDGE, tmp_path)
    made = Options(num_channels=32, num_heads=4, num_classes=3)
    generator = GuidedNetwork(made)
    generator.network(torch.zeros(1, 3, 16, 16), torch.zeros(1), torch.zeros(1, dtype=torch.int64))
    sized = ["shape=3,16,16"]
    import_run(file, tmp_path / "judge", settings=sized, device="cpu")
    import_run(generator.saved(tmp_path / "model.safetensors", ""), tmp_path / "model", settings=sized, device="cpu")
    model = load(tmp_path / "model", DiffusionModel, device="cpu")
    x, labels = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)), torch.tensor([2, 0])
    given, how = model.condition_of(range(2), labels), Guidance(classifier=tmp_path / "judge", classifier_scale=2.0)
    found = model.denoiser(given, guidance=how, threshold="none")(x, 0.4).clean
    plain = model.denoiser(given, threshold="none")(x, 0.4).clean
    point = x.clone().requires_grad_()
    log = judge.network(point, torch.full((2,), 399.0)).log_softmax(1)[range(2), labels].sum()
    alpha_bar = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)[399]
    moved = 2.0 * (1 - alpha_bar) / alpha_bar.sqrt() * torch.autograd.grad(log, point)[0]
    same(found.double(), plain.double() + moved, TOLERANCE)


@pytest.mark.parametrize(
    ("multiples", "blocks", "attention"),
    [
        ((1, 2, 3, 4), 4, (1, 2, 3)),
        ((1, 1, 2, 3, 4), 2, (2, 3, 4)),
        ((1, 1, 2, 2, 4, 4), 2, (3, 4, 5)),
        ((0.5, 1, 1, 2, 2, 4, 4), 2, (4, 5, 6)),
    ],
)
def test_the_levels_of_the_published_ones_are_found(
    multiples: tuple[float, ...], blocks: int, attention: tuple[int, ...]
) -> None:
    widths = tuple(int(128 * multiple) for multiple in multiples)
    with torch.device("meta"):
        tensors = GuidedConfig(128, widths, blocks, attention).build((3, 512, 512)).state_dict()
    down = {name: value for name, value in tensors.items() if not name.startswith("out")}
    assert way_down(down) == ("block", len(multiples) - 1)


def test_what_is_no_such_classifier_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network, file = saved(JUDGE, tmp_path)
    with pytest.raises(InputError, match="is a classifier, and this is for diffusion models"):
        _ = open_source(file, device="cpu").diffusion
    with pytest.raises(InputError, match="schedule: vp has no steps"):
        open_source(file, settings=["schedule=vp"], device="cpu")
    assert main(["import", str(file), "--out", str(tmp_path / "run")]) == 0
    assert f"sumi sample RUN --classifier {tmp_path / 'run'}" in capsys.readouterr().out
    network.tensors = {n: v for n, v in network.tensors.items() if not n.startswith("out.")}
    network.tensors["out.2.weight"] = torch.zeros(3, 2048)
    with pytest.raises(InputError, match="pools in a way that is not known here"):
        open_source(network.saved(tmp_path / "b.safetensors", ""), claims=Claims(), device="cpu")
