"""What stands at the top of the package and on a model: names, types that hold from outside, and how things look."""

import copy
import html.parser
import inspect
import io
import os
import pickle
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

import sumi
from sumi.boundary.progress import Progress, count_shown, in_notebook, one_shown, training_progress
from sumi.data.vectors import VectorSpec
from sumi.evaluation.result import Measured
from sumi.models.model import GenerativeModel, TrainedModel
from sumi.models.samples import Samples
from tests.tiny_models import TINY, digits_model, new_classifier, random_model, untrained

ROOT = Path(sumi.__file__).parents[1]
FUNCTIONS = {"train", "distil", "load", "evaluate", "configure", "sample"}
NAMES = {*FUNCTIONS, "DiffusionModel", "Sampling", "Guidance", "FunctionDenoiser"}
MODULES = {"schedules", "solvers", "time_grids"}


def run_python(code: str) -> str:
    place = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=place, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_thirteen_names_stand_at_the_top() -> None:
    assert set(sumi.__all__) == NAMES | MODULES
    assert len(sumi.__all__) == 13
    assert set(sumi.__all__) <= set(dir(sumi))
    assert all(callable(getattr(sumi, name)) for name in NAMES)
    assert all(isinstance(getattr(sumi, name), types.ModuleType) for name in MODULES)
    with pytest.raises(AttributeError, match="module 'sumi' has no attribute 'sampel'"):
        _ = sumi.sampel


def test_the_modules_offer_their_parts_by_name() -> None:
    assert {"CosineBeta", "Flow", "VE", "Learned"} <= set(sumi.schedules.__all__)
    assert {"DDIM", "Heun", "Adams", "UniPC", "SOLVERS"} <= set(sumi.solvers.__all__)
    assert {"uniform", "karras", "log_ratio"} <= set(sumi.time_grids.__all__)
    for name in MODULES:
        module = getattr(sumi, name)
        assert all(hasattr(module, part) for part in module.__all__)


def test_torch_is_imported_with_the_first_name_that_needs_it() -> None:
    assert run_python("import sys, sumi; dir(sumi); print('torch' in sys.modules)") == "False"
    assert run_python("import sys, sumi; sumi.schedules.Flow; print('torch' in sys.modules)") == "True"


def test_one_import_is_enough_to_sample_with_any_denoiser() -> None:
    denoiser = sumi.FunctionDenoiser(lambda x_t, level: 0 * x_t, sumi.schedules.CosineBeta().build())
    x = sumi.sample(denoiser, sumi.solvers.DDIM(), sumi.time_grids.uniform(10), torch.randn(4, 3, 8, 8))
    assert torch.equal(x, torch.zeros(4, 3, 8, 8))


METHODS = {
    "sample": ("n", "seed", "start", "label", "condition", "size", "batch_size", "progress", "options"),
    "vary": ("images", "strength", "n", "options"),
    "interpolate": ("a", "b", "n"),
    "invert": ("images", "corrections"),
    "decode": ("latents",),
    "inpaint": ("image", "mask", "n", "method", "options"),
    "upscale": ("image", "factor", "n", "method", "options"),
    "restore": ("image", "operator", "noise", "n", "method", "options"),
    "bits_per_dim": ("images", "method", "seed", "evaluations", "progress"),
    "denoiser": ("condition", "size", "options"),
    "evaluate": ("data", "n", "seed", "features", "sweeps", "guidance", "progress"),
    "save": ("folder",),
}


@pytest.mark.parametrize("method", METHODS)
def test_a_diffusion_model_has_the_promised_methods(method: str) -> None:
    found = getattr(sumi.DiffusionModel, method)
    _, *parameters = inspect.signature(found).parameters
    assert set(METHODS[method]) <= set(parameters)
    assert inspect.getdoc(found)


def test_sample_spells_out_nine_options_and_takes_the_others_too(tmp_path: Path) -> None:
    """With types for a checker: fields of `Sampling`, and where to begin and what to call."""
    _, *parameters = inspect.signature(sumi.DiffusionModel.sample).parameters.values()
    assert sum(one.kind is not one.VAR_KEYWORD for one in parameters) <= 9
    seen: list[int] = []
    model = random_model(tmp_path)
    model.sample(2, x=torch.ones(2, 1, 8, 8), t=0.5, steps=4, callback=lambda step, *_: seen.append(step))
    assert seen == [0, 1, 2]  # what is left of four steps below t = 0.5
    with pytest.raises(sumi.errors.InputError, match=r"^x: is of shape"):
        model.sample(2, x=torch.ones(3, 1, 8, 8))
    with pytest.raises(sumi.errors.InputError, match=r"stpes"):
        model.sample(2, stpes=5)


def test_a_model_evaluates_itself_as_the_package_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all options, under their names."""
    seen: dict[str, object] = {}

    def evaluate(model: TrainedModel, **options: object) -> str:
        seen.update(options, model=model)
        return "the result"

    monkeypatch.setattr(sumi, "evaluate", evaluate)
    options = {"data": "digits", "n": 7, "seed": 3, "features": "f"}
    options |= {"sweeps": True, "guidance": None, "quick": False, "progress": False}
    options |= {"judge": "j", "clip": "c", "split": "s"}
    model = digits_model(tmp_path)
    assert model.evaluate(**options) == "the result"
    assert seen == {**options, "model": model}
    monkeypatch.undo()
    face = {name for name, p in inspect.signature(sumi.evaluate).parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert face == {*options, "out", "device", "range"}  # those are for sets of images


# --- how things look ---


def opened(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image


class Tags(html.parser.HTMLParser):
    """Counts what is opened and closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def test_samples_show_themselves_as_a_grid(tmp_path: Path) -> None:
    samples = random_model(tmp_path).sample(4, steps=2)
    assert isinstance(samples, Samples)
    assert opened(samples._repr_png_()).format == "PNG"
    assert samples._repr_png_() == samples.spec.picture(samples.plain(), "samples")
    points = sumi.load(untrained(tmp_path / "roll", VectorSpec(2, None), source="swiss-roll")).sample(5, steps=2)
    assert opened(points._repr_png_()).size > (100, 100)
    model = random_model(tmp_path / "another")
    for made in (model.steer(lambda x: x.mean((1, 2, 3)), 2, particles=2, steps=2), model.vary(samples[0], 0.0, n=2)):
        assert isinstance(made, Samples)


def test_what_is_computed_of_samples_is_a_plain_tensor(tmp_path: Path) -> None:
    samples = Samples.of(torch.arange(32.0).view(2, 1, 4, 4), random_model(tmp_path).items)
    assert isinstance(samples, Tensor)
    for found in (samples + 1, samples[0], samples[:1], samples.mean(), torch.cat([samples, samples]), samples.clone()):
        assert type(found) is Tensor
    for found in (pickle.loads(pickle.dumps(samples)), copy.copy(samples), copy.deepcopy(samples)):
        assert type(found) is Tensor
        assert torch.equal(found, samples)
    file = io.BytesIO()
    torch.save(samples, file)
    file.seek(0)
    assert type(torch.load(file, weights_only=True)) is Tensor
    assert samples.plain().data_ptr() == samples.data_ptr()
    assert samples.numpy().shape == (2, 1, 4, 4)


def test_a_model_says_what_it_is(tmp_path: Path) -> None:
    model = digits_model(tmp_path / "a<b>")
    count = sum(p.numel() for p in model.module.parameters())
    lines = repr(model).splitlines()
    assert lines[0] == "DiffusionModel: ddpm of digits: images 1x8x8, 17 levels, classes 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert lines[1:] == [f"{count:,} parameters, after 7 steps, in {tmp_path / 'a<b>'}"]
    page = Tags(model._repr_html_())
    assert page.open == []
    assert page.seen.count("tr") == 5
    assert str(tmp_path / "a<b>") in page.words
    assert repr(new_classifier(tmp_path)).startswith("ClassifierModel: noisy-classifier of digits")


def test_a_result_says_what_was_found() -> None:
    found = Measured(None, "Close & <clear>.\nLikeness: 0.1.\nCopies: none.", Path("report/report.html"), ())
    assert repr(found) == f"{found.verdict}\nreport: report/report.html"
    page = Tags(found._repr_html_())
    assert page.open == []
    assert page.seen.count("li") == 2
    assert "Close & <clear>." in page.words


# --- progress ---


class Shell:
    """What IPython runs in a notebook."""

    kernel = "kernel"


@pytest.fixture
def cells(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A notebook: what each display showed, in turn."""
    shown: list[list[str]] = []

    class Handle:
        def __init__(self, text: str) -> None:
            self.texts = [text]
            shown.append(self.texts)

        def update(self, text: str) -> None:
            self.texts.append(text)

    interactive = types.ModuleType("IPython")
    display = types.ModuleType("IPython.display")
    monkeypatch.setattr(interactive, "get_ipython", Shell, raising=False)
    monkeypatch.setattr(display, "HTML", str, raising=False)
    monkeypatch.setattr(display, "display", lambda text, display_id: Handle(text), raising=False)
    monkeypatch.setitem(sys.modules, "IPython", interactive)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shown


def test_a_script_stays_silent_unless_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not in_notebook()
    model = sumi.train("ddpm", data="digits", out=tmp_path / "run", settings=TINY)
    model.sample(2)
    assert capsys.readouterr() == ("", "")
    with count_shown(None) as count, one_shown(False, "sampling") as one:
        assert count is one is None
    sumi.train("ddpm", data="digits", out=tmp_path / "shown", settings=TINY, progress=True)
    assert "images (1, 8, 8) to train on" in capsys.readouterr().out
    seen: list[Progress] = []
    sumi.train("ddpm", data="digits", out=tmp_path / "counted", settings=TINY, progress=seen.append)
    assert capsys.readouterr() == ("", "")


def test_a_notebook_shows_progress_by_itself(cells: list[list[str]], tmp_path: Path) -> None:
    assert in_notebook()
    model = random_model(tmp_path)
    model.sample(3, steps=2, batch_size=2)
    assert [Tags(text).words.strip() for text in cells[0]] == ["sampling 2/3", "sampling 3/3"]
    assert Tags(cells[0][0]).seen == ["progress", "code"]
    model.sample(2, steps=2, progress=False)
    assert len(cells) == 1
    model.bits_per_dim(torch.zeros(1, 1, 8, 8), evaluations=2)
    assert "the bound 2/2" in cells[1][-1]


def test_a_count_within_another_is_not_shown(cells: list[list[str]], tmp_path: Path) -> None:
    """Previews are sampled while a model is trained."""
    with training_progress() as show:
        show(Progress(1, 2, 0.5, 10.0, 1.0))
        random_model(tmp_path).sample(2, steps=2)
        show(Progress(2, 2, 0.5, 10.0, 0.0))
    assert [Tags(text).words.strip() for text in cells[0]] == [
        "step 1/2  loss 0.5000  10 items/s  1 s left",
        "step 2/2  loss 0.5000  10 items/s  0 s left",
    ]
    assert len(cells) == 1


def test_baselines_count_too(cells: list[list[str]], tmp_path: Path) -> None:
    settings = [*TINY[3:4], *TINY[5:-1], "network.widths=16,16,16", "network.latent=4", "training.precision=fp32"]
    model = sumi.train("vae", data="digits", out=tmp_path, settings=settings, steps=1, progress=False)
    assert isinstance(model, GenerativeModel)
    assert isinstance(model.sample(2), Samples)
    assert "sampling 2/2" in cells[0][-1]


# --- bits per dimension of given images ---


def test_bits_per_dim_are_those_of_each_image_alone(tmp_path: Path) -> None:
    model = random_model(tmp_path)
    images = model.sample(3, steps=2)
    found = model.bits_per_dim(images, evaluations=4)
    assert found.shape == (3,)
    assert found.dtype == torch.float64
    assert torch.allclose(found[:1], model.bits_per_dim(images[:1], evaluations=4), rtol=1e-5)
    assert torch.equal(found, model.bits_per_dim(model.items.finish(images.plain()), evaluations=4))
    with pytest.raises(
        sumi.errors.InputError, match=r"^images: are of shape \(1, 8, 8\); the model takes \(N, 1, 8, 8\)"
    ):
        model.bits_per_dim(images[0])
    with pytest.raises(sumi.errors.InputError, match=r"^method: there is no 'flow'; choose bound or ode"):
        model.bits_per_dim(images, method="flow")


# --- a user's script, type-checked from outside ---

SCRIPT = """
import torch
from torch import Tensor

import sumi


def clean(x_t: Tensor, level: object) -> Tensor:
    return torch.zeros_like(x_t)


config = sumi.configure("ddpm", data="digits", steps=10, settings=["network.widths=32"])
trained = sumi.train(config, out="runs/a", progress=True)
trained.sample(4, steps=5)
model: sumi.DiffusionModel = sumi.load("runs/a", sumi.DiffusionModel)
guidance = sumi.Guidance(scale=2.0, interval=(0.3, 5.0))
images: Tensor = model.sample(4, seed=1, steps=5, solver="ddim", eta=0.5, guidance=guidance, threshold="static")
again: Tensor = model.sample(2, sampling=sumi.Sampling(steps=3), solver=sumi.solvers.Heun())
mask = torch.zeros(8, 8, dtype=torch.bool)
painted: Tensor = model.inpaint(images[0], mask, steps=5)
larger: Tensor = model.upscale(images[0], 2, seed=1)
bits: Tensor = model.bits_per_dim(images)
denoiser = sumi.FunctionDenoiser(clean, sumi.schedules.CosineBeta().build())
x: Tensor = sumi.sample(denoiser, sumi.solvers.DDIM(eta=0.0), sumi.time_grids.uniform(10), torch.randn(4, 1, 8, 8))
print(model.evaluate(n=20).verdict, sumi.evaluate(model).page)
"""
MISTAKES = {
    'sumi.load("runs/a").sample(4, stpes=5)': "unexpected-keyword",
    'sumi.load("runs/a").sample(4, steps="five")': "bad-argument-type",
    "sumi.train(3)": "bad-argument-type",
    "sumi.schedules.Cosinus()": "missing-attribute",
    'sumi.Guidance(scale="two")': "bad-argument-type",
    'sumi.load("runs/a", sumi.DiffusionModel).inpaint(3, 4)': "bad-argument-type",
    "sumi.sampel": "missing-attribute",
}


def checked(folder: Path, code: str) -> tuple[int, str]:
    """What a strict type checker finds in a user's file that stands nowhere near the package."""
    pyrefly = Path(sys.executable).with_name("pyrefly")
    settings = {"preset": "strict", "python-interpreter-path": sys.executable}
    lines = [f'{name} = "{value}"' for name, value in settings.items()]
    (folder / "pyrefly.toml").write_text("\n".join([*lines, f'site-package-path = ["{ROOT}"]']) + "\n")
    (folder / "script.py").write_text(code)
    command = [str(pyrefly), "check", "script.py", "--config", "pyrefly.toml", "--output-format", "min-text"]
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=clean, check=False)
    return done.returncode, done.stdout


def test_a_users_script_type_checks_from_outside(tmp_path: Path) -> None:
    assert (Path(sumi.__file__).parent / "py.typed").exists()
    code, output = checked(tmp_path, SCRIPT)
    assert code == 0, output


def test_a_mistake_in_a_users_script_is_caught(tmp_path: Path) -> None:
    code, output = checked(tmp_path, "\n".join(["import sumi", *MISTAKES]) + "\n")
    assert code != 0
    for line, kind in enumerate(MISTAKES.values(), start=2):
        assert any(f"script.py:{line}:" in found and f"[{kind}]" in found for found in output.splitlines()), line
