"""Runs in the form of other toolkits: what they make of them is what the run makes."""

import json
import subprocess
import sys
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

import sumi
from sumi.cli.main import main
from sumi.errors import InputError, SumiError
from sumi.interop.card import model_card
from sumi.interop.export import export
from sumi.interop.hub import pull, push
from sumi.interop.onnx import compared
from sumi.interop.plain import PlainNetwork, example
from sumi.interop.sources import open_source
from sumi.models.diffusion.model import DiffusionModel
from tests.diffusers_folders import folder, unet
from tests.tiny_models import random_model

SAMPLER = Path(__file__).parents[2] / "docs" / "examples" / "onnx_sampler.py"


def of_scheduler(place: Path, x: Tensor, steps: int) -> Tensor:
    """What diffusers makes of the noise ``x`` with the pipeline's own network and scheduler."""
    pipeline = diffusers.DiffusionPipeline.from_pretrained(place)
    pipeline.scheduler.set_timesteps(steps)
    with torch.no_grad():
        for t in pipeline.scheduler.timesteps:
            x = pipeline.scheduler.step(pipeline.unet(x, t).sample, t, x, use_clipped_model_output=True).prev_sample
    return x


def test_diffusers_makes_the_images_of_a_run_of_ours_by_ddim(tmp_path: Path) -> None:
    """Also where the network predicts another thing than ε, and where x̂_0 is clamped."""
    model = random_model(tmp_path / "run", "parameterization=velocity")
    card, notes = export(model, "diffusers", tmp_path / "d")
    x = model.start_noise(range(2), 0, (1, 8, 8))
    made = model.sample(2, solver="ddim", steps=10)
    torch.testing.assert_close(of_scheduler(tmp_path / "d", x, 10).clamp(-1, 1), made, rtol=0, atol=1e-4)
    assert any("is exact" in note for note in notes)
    assert all(note in card.read_text() for note in notes)
    back = open_source(tmp_path / "d", device="cpu").model
    assert torch.equal(back.sample(2, steps=4), model.sample(2, steps=4))
    assert back.step == model.step == 7


def test_flow_by_eulers_method(tmp_path: Path) -> None:
    model = random_model(
        tmp_path / "run", "schedule=flow", "times=uniform", "parameterization=flow", "sampling.threshold=none"
    )
    export(model, "diffusers", tmp_path / "d")
    x = model.start_noise(range(2), 0, (1, 8, 8))
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_pretrained(tmp_path / "d" / "scheduler")
    scheduler.set_timesteps(sigmas=np.linspace(1, 0.2, 5))
    network = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "d").unet
    end = x
    with torch.no_grad():
        for t in scheduler.timesteps:
            end = scheduler.step(network(end, t).sample, t, end).prev_sample
    made = model.sample(2, solver="ddim@uniform", steps=5)  # which is Euler's method here
    torch.testing.assert_close(end.clamp(-1, 1), made, rtol=0, atol=2e-5)


def test_a_network_of_the_library_goes_back_as_it_came(tmp_path: Path) -> None:
    network = unet(num_class_embeds=3)
    source = open_source(folder(tmp_path / "d", network, diffusers.DDPMScheduler()), device="cpu")
    export(source.model, "diffusers", tmp_path / "back")
    again = diffusers.UNet2DModel.from_pretrained(tmp_path / "back" / "unet")
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    config = json.loads((tmp_path / "back" / "scheduler" / "scheduler_config.json").read_text())
    betas = diffusers.DDPMScheduler().betas
    torch.testing.assert_close(torch.tensor(config["trained_betas"]), betas, rtol=1e-5, atol=1e-9)


def test_one_file_holds_all_of_a_model(tmp_path: Path) -> None:
    model = random_model(tmp_path / "run", "conditioning=labels")
    card, _ = export(model, "safetensors", tmp_path / "m.safetensors", licence="CC BY 4.0")
    back = open_source(tmp_path / "m.safetensors", device="cpu").model
    assert torch.equal(back.sample(2, label=1, steps=3), model.sample(2, label=1, steps=3))
    assert back.step == model.step
    assert "license: " + '"cc-by-4.0"' in card.read_text()
    with pytest.raises(InputError, match="is there already"):
        export(model, "safetensors", tmp_path / "m.safetensors")
    with pytest.raises(InputError, match=r"ends in \.onnx"):
        export(model, "onnx", tmp_path / "x.bin")


def test_onnx_samples_with_nothing_but_numpy(tmp_path: Path) -> None:
    """The sampler of the docs from a noise is ours; conditions are inputs, and any batch is taken."""
    model = random_model(tmp_path / "run", "conditioning=labels")
    _, notes = export(model, "onnx", tmp_path / "m.onnx")
    assert "differs" in notes[0]
    out = tmp_path / "made"
    options = ["--steps", "6", "-n", "3", "--label", "1", "--guidance", "2", "--seed", "4", "--out", str(out)]
    subprocess.run([sys.executable, SAMPLER, tmp_path / "m.onnx", *options], check=True, timeout=120)
    x = torch.from_numpy(np.load(out.with_suffix(".noise.npy")))
    made = torch.from_numpy(np.load(out.with_suffix(".npy")))
    ours = model.sample(3, x=x, label=1, guidance=2.0, steps=6, solver="ddim@log_ratio")
    torch.testing.assert_close(made, ours, rtol=0, atol=2e-3)
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_a_network_without_conditions_has_two_inputs(tmp_path: Path) -> None:
    _, notes = export(random_model(tmp_path / "run"), "program", tmp_path / "m.pt2")
    assert "differs from the network by at most" in notes[0]
    assert len(torch.export.load(tmp_path / "m.pt2").graph_signature.user_inputs) == 2


@pytest.mark.slow
@pytest.mark.parametrize(("to", "name"), [("program", "m.pt2"), ("openvino", "m.xml")])
def test_other_forms_are_the_network(tmp_path: Path, to: str, name: str) -> None:
    model = random_model(tmp_path / "run", "conditioning=labels")
    _, notes = export(model, to, tmp_path / name)
    assert "differs from the network by at most" in notes[0]


@pytest.mark.slow
@pytest.mark.parametrize("half", [False, True])
def test_classes_numbers_and_texts_are_inputs_of_any_batch(tmp_path: Path, half: bool) -> None:
    """Of another batch than the ones that are compared when it is written."""
    model = random_model(tmp_path / "run", "conditioning=labels,values,text", "network.attention=0")
    export(model, "onnx", tmp_path / "m.onnx", half=half)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    network = PlainNetwork(model.gaussian_denoiser(), model.space.shape)
    names = ["x", "c_noise", *network.names]
    assert [i.name for i in session.get_inputs()] == names
    assert {"labels", "values", "text"} <= set(names)
    given = [part[:5] for part in example(model, 5)]
    given[names.index("labels")] = torch.tensor([0, 1, 2, 1, 0])
    found = torch.from_numpy(session.run(None, dict(zip(names, (g.numpy() for g in given), strict=True)))[0])
    with torch.no_grad():
        wanted = network(*given)
    assert float((found - wanted).abs().max() / wanted.abs().max()) < (3e-2 if half else 1e-5)


@pytest.mark.slow
def test_half_precision_keeps_the_noise_level(tmp_path: Path) -> None:
    model = random_model(tmp_path / "run")
    _, notes = export(model, "onnx", tmp_path / "h.onnx", half=True)
    export(model, "onnx", tmp_path / "m.onnx")
    assert "differs" in notes[0]
    assert (tmp_path / "h.onnx").stat().st_size < 0.75 * (tmp_path / "m.onnx").stat().st_size


def test_what_differs_from_the_network_is_refused(tmp_path: Path) -> None:
    network = torch.nn.Identity()
    with pytest.raises(SumiError, match="differs from the network by"):
        compared(network, [(torch.ones(2),)], lambda given: given[0] + 2e-5, tmp_path / "a.onnx")


def test_a_card_has_the_figures_with_their_intervals_and_what_is_copied(tmp_path: Path) -> None:
    model = random_model(tmp_path / "run")
    assert "Not measured" in model_card(model)
    report = tmp_path / "run" / "report"
    report.mkdir(parents=True)
    rates = {"share": 0.02, "expected": 0.01, "samples": 500}
    figures = {
        "distances": {"kernel": {"value": 0.5, "low": 0.25, "high": 0.75}},
        "copies": {"found": {"ratios": rates}},
    }
    (report / "evaluation.json").write_text(json.dumps(figures))
    text = model_card(model, licence="MIT")
    assert "| distances kernel | 0.5 | 0.25 to 0.75 |" in text
    assert "2.0% of 500 samples" in text
    assert model.digest in text
    header = text.split("---")[1]
    fields = {line.partition(": ")[0]: json.loads(line.partition(": ")[2]) for line in header.strip().splitlines()}
    assert fields["license"] == "mit"
    assert fields["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.5


def test_a_card_is_printed_line_by_line(tmp_path: Path, capsys) -> None:
    model = random_model(tmp_path / "memory")
    model.save(tmp_path / "run")
    assert main(["card", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out.strip() == model_card(sumi.load(tmp_path / "run", device="cpu")).strip()


class _Hub:
    """A stand-in of huggingface_hub: repositories are folders."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.private: dict[str, bool] = {}

    def module(self) -> SimpleNamespace:
        return SimpleNamespace(HfApi=lambda: self, snapshot_download=self.download)

    def create_repo(self, repo_id: str, exist_ok: bool, private: bool) -> None:
        self.private[repo_id] = private
        (self.place / repo_id).mkdir(parents=True, exist_ok=exist_ok)

    def upload_folder(self, repo_id: str, folder_path: str) -> str:
        for file in (p for p in Path(folder_path).rglob("*") if p.is_file()):
            kept = self.place / repo_id / file.relative_to(folder_path)
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(file.read_bytes())
        return f"https://hub/{repo_id}"

    def download(self, repo_id: str, local_dir: str, revision: str | None, allow_patterns: list[str]) -> None:
        if not (self.place / repo_id).exists():
            raise ValueError("404\nnot there")
        for file in (p for p in (self.place / repo_id).rglob("*") if p.is_file()):
            if any(file.match(pattern) for pattern in allow_patterns):
                made = Path(local_dir) / file.relative_to(self.place / repo_id)
                made.parent.mkdir(parents=True, exist_ok=True)
                made.write_bytes(file.read_bytes())


def test_the_stand_in_takes_what_the_library_takes() -> None:
    library = pytest.importorskip("huggingface_hub")
    real = {"create_repo": library.HfApi.create_repo, "upload_folder": library.HfApi.upload_folder}
    real["download"] = library.snapshot_download
    for name, function in real.items():
        taken = signature(getattr(_Hub, name)).parameters
        assert {*taken} - {"self"} <= {*signature(function).parameters}


def test_a_run_goes_to_a_hub_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub: Any = _Hub(tmp_path / "hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub.module())
    model = random_model(tmp_path / "memory")
    model.save(tmp_path / "run")
    assert push(tmp_path / "run", "me/digits") == "https://hub/me/digits"
    assert hub.private["me/digits"]
    (tmp_path / "hub" / "me" / "digits" / "evil.pkl").write_bytes(b"code")
    back = pull("me/digits", tmp_path / "back")
    assert isinstance(back, DiffusionModel)
    assert torch.equal(back.sample(1), model.sample(1))
    assert not (tmp_path / "back" / "evil.pkl").exists()
    assert "sumi.load" in (tmp_path / "back" / "README.md").read_text()
    assert sumi.load(tmp_path / "back", device="cpu").digest == model.digest
    with pytest.raises(SumiError, match=r"me/other: the hub refuses \(404\)"):
        pull("me/other", tmp_path / "other")
