"""Arguments as people write them: each works as Python's own would, or gets one line that names it."""

import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import sumi
from sumi.boundary.arguments import finite, listed, path, real, sides, tensor, torch_defaults, whole
from sumi.boundary.settings import override
from sumi.data.config import DataConfig
from sumi.data.items import read_items
from sumi.errors import InputError
from sumi.models.diffusion.model import DiffusionModel
from sumi.operators.linear import Grey
from sumi.recipes.configure import configure
from tests.tiny_models import TINY, class_model, conditioned_model, random_model


class Frame:
    """As pandas has them: with __array__ and no more."""

    def __init__(self, values: object) -> None:
        self.values = values

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return np.asarray(self.values)


# --- one argument ---


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), np.array(3), torch.tensor(3), torch.tensor(3).byte()])
def test_a_whole_number_is_one_whoever_made_it(value: object) -> None:
    assert type(whole("n", value)) is int
    assert whole("n", value) == 3


@pytest.mark.parametrize(
    "value", [True, np.True_, torch.tensor(True), 3.0, np.float64(3), "3", None, [3], np.array([3])]
)
def test_what_is_no_whole_number_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"^n: .* is not a whole number; give 0 or more$"):
        whole("n", value)


@pytest.mark.parametrize("value", [-1, 0, 2**64, -(10**30), np.int64(-5)])
def test_a_whole_number_has_its_range(value: object) -> None:
    with pytest.raises(InputError, match=r"^n: -?\d+ is out of range; give 1 or more, below 2\^64$"):
        whole("n", value, least=1)


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.array(0.5), torch.tensor(0.5), torch.tensor(0.5).half()])
def test_a_number_is_one_whoever_made_it(value: object) -> None:
    assert type(real("t", value)) is float
    assert real("t", value) == 0.5


@pytest.mark.parametrize("value", [True, "0.5", None, [0.5], np.array([0.5]), 1j, float("nan"), np.inf, 10**400])
def test_what_is_no_finite_number_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"^t: .* is not a (finite )?number; give one$"):
        real("t", value)


def test_paths_sides_and_lists(tmp_path: Path) -> None:
    assert path("out", tmp_path) == path("out", str(tmp_path)) == path("out", np.str_(tmp_path)) == str(tmp_path)
    for wrong in ("", "a\0b", "\ud800", 3, None, [tmp_path]):
        with pytest.raises(InputError, match=r"^out: .* is not a path; give"):
            path("out", wrong)
    for right in ((4, 8), [4, 8], np.array([4, 8]), torch.tensor([4, 8]), torch.Size([4, 8])):
        assert sides("size", right) == (4, 8)
    for wrong in (8, "8x8", (8,), (8, 8, 3), (8, 0), (8.0, 8), None):
        with pytest.raises(InputError, match=r"^size: "):
            sides("size", wrong)
    with pytest.raises(InputError, match=r"^size: 8 is not \(height, width\); give both$"):
        sides("size", 8)
    assert listed("a", (x for x in "ab")) == ["a", "b"]


def test_an_array_of_any_making_becomes_a_tensor_of_its_own() -> None:
    grid = np.arange(6.0).reshape(2, 3)
    for given in (grid, grid[::-1][::-1], grid.astype(">f8"), grid.tolist(), Frame(grid), grid.astype(np.longdouble)):
        assert torch.equal(tensor("x", given), torch.arange(6.0, dtype=torch.float64).view(2, 3))
    assert torch.equal(tensor("x", grid[:, ::-1])[:, 0], torch.tensor([2.0, 5.0], dtype=torch.float64))
    locked = grid.copy()
    locked.flags.writeable = False
    copied = tensor("x", locked)
    copied += 1
    assert locked[0, 0] == 0
    assert not tensor("x", torch.ones(2, requires_grad=True)).requires_grad
    with torch.inference_mode():
        made = torch.ones(2)
        assert not tensor("x", made).is_inference()
    for wrong in ("abc", None, np.array(["a"]), [[1], [2, 3]], torch.ones(2, dtype=torch.complex64), object()):
        with pytest.raises(InputError, match=r"^x: "):
            tensor("x", wrong)
    with pytest.raises(InputError, match=r"^x: not every value is finite"):
        finite("x", [0.0, np.nan])
    masked = np.ma.masked_equal(grid, 3)
    with pytest.raises(InputError, match=r"^x: 1 of its values are masked; give its .filled"):
        tensor("x", masked)
    assert torch.equal(tensor("x", np.ma.masked_equal(grid, 9)), torch.from_numpy(grid))


# --- images ---

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 10, 3), dtype=np.uint8)
WANTED = torch.from_numpy(PIXELS).permute(2, 0, 1).float() / 127.5 - 1


def same_image(given: object) -> Tensor:
    return read_items("image", given, (3, 8, 8))


def test_an_image_is_the_same_in_any_form(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(file)
    floats = WANTED.numpy()
    first = np.ascontiguousarray(PIXELS.transpose(2, 0, 1))
    for given in (file, str(file), Image.fromarray(PIXELS), PIXELS, first, Frame(PIXELS)):
        found = same_image(given)
        assert found.dtype == torch.float32
        assert torch.equal(found, same_image(PIXELS))
    assert torch.allclose(same_image(PIXELS), WANTED, atol=1e-6)
    for given in (
        floats,
        floats.astype(np.float64),
        floats.transpose(1, 2, 0),
        WANTED.double(),
        WANTED.requires_grad_(),
    ):
        assert torch.equal(same_image(given), WANTED)
        assert not same_image(given).requires_grad
    assert torch.allclose(same_image(WANTED.half()), WANTED, atol=1e-3)
    many = same_image([file, Image.fromarray(PIXELS), PIXELS])
    assert torch.equal(many, same_image(np.stack([PIXELS] * 3)))
    grey = PIXELS[..., 0]
    for given in (grey, grey[None], grey[..., None], Image.fromarray(grey)):
        assert torch.allclose(read_items("image", given, (1, 8, 8))[0], WANTED.detach()[0], atol=1e-6)
    assert torch.equal(same_image(Image.fromarray(grey))[2], read_items("image", grey, (1, 8, 8))[0])


def test_transparent_pixels_are_laid_over_the_background_as_those_of_pictures() -> None:
    layered = np.concatenate([PIXELS, np.full((8, 10, 1), 128, np.uint8)], 2)
    frame = DataConfig("digits", size=8).frame(8)
    for background in ("white", "black"):
        found, wanted = (
            read_items("image", given, (3, 8, 8), frame=frame, background=background)
            for given in (layered, Image.fromarray(layered))
        )
        assert torch.equal(found, wanted)


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        (PIXELS.astype(np.float32), r"image: values from 0 to 255 are beyond \[-1, 1\]"),
        (PIXELS.astype(np.int64), r"image: torch.int64 is not a type of pixels; give uint8"),
        (torch.from_numpy(PIXELS), r"image: is a tensor of torch.uint8, .*\[-1, 1\]; convert .* with x / 127.5 - 1"),
        (torch.from_numpy(PIXELS).float(), r"image: values .* beyond \[-1, 1\]; convert .* with x / 127.5 - 1"),
        ([PIXELS, torch.from_numpy(PIXELS)], r"image: is a tensor of torch.uint8"),
        (np.full((3, 8, 8), np.nan), "image: not every value is finite"),
        ("nowhere.png", r"image: nowhere.png: cannot be read \(No such file"),
        (3, "image: "),
        (None, "image: None is not an array of numbers"),
        ([PIXELS, PIXELS[:4]], r"image: are of shapes \(3, 4, 10\), \(3, 8, 10\); give items of one shape"),
        (Image.new("F", (8, 8)), "image: floating-point pixels have no fixed range"),
    ],
)
def test_what_is_no_image_is_refused(given: object, answer: str) -> None:
    with pytest.raises(InputError, match=f"^{answer}"):
        same_image(given)
    with pytest.raises(InputError, match=r"^image: has colours, and a grey image is needed"):
        read_items("image", Image.fromarray(PIXELS), (1, 8, 8))


# --- every public method ---


def model() -> DiffusionModel:
    return random_model(Path("none"), shape=(3, 8, 8))


def image(seed: int = 0) -> Tensor:
    return torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1


HOLE = torch.zeros(8, 8, dtype=torch.bool)
HOLE[2:5, 2:5] = True
CALLS: dict[str, Callable[[DiffusionModel, Any, Any], Tensor]] = {
    # of one whole number and one image
    "sample": lambda m, n, _: m.sample(n, steps=n, seed=n, start=n, batch_size=n),
    "vary": lambda m, n, x: m.vary(x, 0.5, n, steps=n, seed=n),
    "invert": lambda m, n, x: m.invert([x], steps=n, batch_size=n, solver="ddim", corrections=n),
    "decode": lambda m, n, x: m.decode(m.invert([x], steps=2, solver="ddim").numpy(), steps=n, batch_size=n),
    "interpolate": lambda m, n, x: m.interpolate(x, -x, n, steps=n, corrections=n, solver="ddim"),
    "inpaint": lambda m, n, x: m.inpaint(x, HOLE.numpy(), n, steps=n, seed=n),
    "upscale": lambda m, n, x: m.upscale(x, n, n, steps=n, seed=n, size=None),
    "restore": lambda m, n, x: m.restore(x, torch.nn.Identity(), np.float32(0.1), n, steps=n, seed=n),
    "bits_per_dim": lambda m, n, x: m.bits_per_dim([x], seed=n, evaluations=n),
    "start_noise": lambda m, n, _: m.start_noise(np.arange(n), n),
}


@pytest.mark.parametrize("name", CALLS)
def test_numbers_of_numpy_and_torch_are_numbers(name: str) -> None:
    found = [CALLS[name](model(), n, image()) for n in (2, np.int64(2), np.uint16(2), torch.tensor(2))]
    assert all(torch.equal(found[0], other) for other in found[1:])


@pytest.mark.parametrize("name", [name for name in CALLS if name not in ("sample", "start_noise")])
def test_images_of_numpy_and_in_double_precision_are_images(name: str) -> None:
    x = image().half().float()
    plain = CALLS[name](model(), 2, x)
    forms = (x.numpy(), x.double(), x.half(), x.clone().requires_grad_(), x.permute(1, 2, 0).numpy())
    forms += (x.permute(2, 1, 0).contiguous().permute(2, 1, 0),)
    for form in forms:
        assert torch.equal(CALLS[name](model(), 2, form), plain)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("wrong", [True, 2.0, "2", None, -1, 2**64, [2], float("nan")])
def test_a_wrong_number_gets_a_line(name: str, wrong: object) -> None:
    if (name, wrong) == ("decode", None) or (wrong is None and name in ("upscale",)):
        wrong = 1.5
    if name == "start_noise":
        with pytest.raises(InputError, match=r"^seed: "):
            model().start_noise([0], wrong)
        return
    with pytest.raises(
        InputError, match=r"^(n|seed|start|steps|batch_size|corrections|factor|evaluations): "
    ) as caught:
        CALLS[name](model(), wrong, image())
    assert "\n" not in str(caught.value)


@contextmanager
def as_a_caller_may_have_it(how: str) -> Generator[None]:
    match how:
        case "float64":
            torch.set_default_dtype(torch.float64)
        case "meta":
            torch.set_default_device("meta")
        case _:
            pass
    try:
        with {"no_grad": torch.no_grad, "inference": torch.inference_mode}.get(how, torch.enable_grad)():
            yield
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)


SETTINGS = ("float64", "meta", "no_grad", "inference")


@pytest.mark.parametrize("how", SETTINGS)
@pytest.mark.parametrize("name", [*CALLS, "guided", "dps"])
def test_what_a_caller_has_set_for_torch_changes_nothing(name: str, how: str) -> None:
    calls = CALLS | {
        "guided": lambda m, n, x: class_model(Path("none")).sample(n, label=1, guidance=2, steps=2),
        "dps": lambda m, n, x: m.inpaint(x, HOLE, n, method="dps", steps=n),
    }
    with torch_defaults():
        made, x = model(), image()
    plain = calls[name](made, 2, x)
    if name == "guided" and how in ("float64", "meta"):
        return  # the model itself is made by torch's own means
    with as_a_caller_may_have_it(how):
        found = calls[name](made, 2, x)
        assert torch.get_default_dtype() == (torch.float64 if how == "float64" else torch.float32)
    assert found.dtype == plain.dtype
    assert torch.equal(found, plain)


@pytest.mark.parametrize("how", SETTINGS)
def test_training_and_loading_do_not_see_it_either(how: str, tmp_path: Path) -> None:
    options = {"data": "digits", "settings": [*TINY[:4], *TINY[5:], "training.precision=fp32"], "steps": 2}
    plain = sumi.train("ddpm", out=tmp_path / "plain", **options).sample(2)
    with as_a_caller_may_have_it(how):
        sumi.train("ddpm", out=tmp_path / how, **options)
        found = sumi.load(tmp_path / how).sample(2)
    assert torch.equal(found, plain)


def test_threads_that_leave_in_any_order_restore_the_type_that_the_first_found() -> None:
    entered, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with torch_defaults():
            entered.set()
            leave.wait(60)

    other = threading.Thread(target=stay)
    with as_a_caller_may_have_it("float64"):
        with torch_defaults():
            other.start()
            assert entered.wait(60)
        assert torch.get_default_dtype() == torch.float32  # the other is still inside
        leave.set()
        other.join()
        assert torch.get_default_dtype() == torch.float64


def test_samples_can_be_changed_and_differentiated() -> None:
    for made in (model().sample(2, steps=2), model().invert(image()[None], steps=2, solver="ddim")):
        assert not made.is_inference()
        made += 1
        weight = torch.ones((), requires_grad=True)
        (weight * made).sum().backward()
        assert weight.grad is not None


def test_labels_are_names_or_numbers_of_any_making(tmp_path: Path) -> None:
    made = class_model(tmp_path)

    def labels(given: object) -> list[int]:
        found = made.condition_of(range(2), given)
        assert found is not None
        return found["labels"].tolist()

    for given in (1, np.int32(1), torch.tensor(1), "dog", np.str_("dog")):
        assert labels(given) == [1, 1]
    lists = (
        [2, 0],
        (2, 0),
        np.array([2, 0]),
        torch.tensor([2, 0]),
        ["fox", "cat"],
        np.array(["fox", "cat"]),
        ["fox", 0],
    )
    for given in (*lists, Frame(np.array([2, 0])), Frame(np.array(["fox", "cat"], object)), iter([2, 0])):
        assert labels(given) == [2, 0]
    refused = {
        "there is no class cta; did you mean cat": ("cta", ["cta", "dog"]),
        "there is no class number 3; give 0 to 2, or a name": (3, [0, 3]),
        "-1 is out of range": (-1, [0, -1]),
        "is not a whole number": (True, 1.0, [0.0, 1.0], [[0, 1]], [None, 1], 1j),
        "are given for 2 samples; give one per sample": ([0], [0, 1, 2], np.zeros(0, int)),
    }
    for answer, wrongs in refused.items():
        for wrong in wrongs:
            with pytest.raises(InputError, match=f"^label: .*{answer}"):
                labels(wrong)


REFUSED: list[tuple[Callable[[DiffusionModel], object], str]] = [
    (lambda m: m.sample(0), "n: 0 is out of range; give 1 or more"),
    (lambda m: m.sample(1, x=torch.zeros(1, 3, 4, 4)), r"x: is of shape \(1, 3, 4, 4\)"),
    (lambda m: m.sample(1, x=np.full((1, 3, 8, 8), np.nan)), "x: not every value is finite"),
    (lambda m: m.sample(1, t=0.5), "x: is not given, and t = 0.5 is on the way"),
    (lambda m: m.sample(1, t=1.5), "t: 1.5 is out of range; give a time from 0"),
    (lambda m: m.sample(1, t=-0.1, x=image()[None]), "t: -0.1 is out of range"),
    (lambda m: m.sample(1, t=0, x=image()[None]), "t: 0 is the time of the data themselves"),
    (lambda m: m.sample(1, t=float("nan")), "t: nan is not a finite number"),
    (lambda m: m.sample(1, size=(10**6, 10**6)), "size: 1000000x1000000 is out of range; give at most 100,000,000"),
    (lambda m: m.sample(1, condition={3: 1}), "condition: {3: 1} maps no names to conditions"),
    (lambda m: m.sample(1, t="1"), "t: '1' is not a number"),
    (lambda m: m.sample(1, callback=3), "callback: 3 is no function"),
    (lambda m: m.sample(1, size=16), r"size: 16 is not \(height, width\); give both"),
    (lambda m: m.sample(1, size=(16,)), r"size: \(16,\) is not \(height, width\)"),
    (lambda m: m.sample(1, size="16x16"), r"size: '16x16' is not \(height, width\); give both"),
    (lambda m: m.sample(1, solver=3), "solver: 3 is no solver"),
    (lambda m: m.sample(1, solver=sumi.solvers.DDIM), r"solver: .* is no solver; give its name, or one, such as DDIM"),
    (lambda _: sumi.load("digits", parts=int), "parts: <class 'int'> is not a list; give one"),
    (lambda _: sumi.load("digits", parts=[3]), "parts: 3 is no class; give the class itself"),
    (lambda _: sumi.configure("ddpm", data="digits", parts=[3]), "parts: 3 is no class"),
    (lambda _: sumi.train("ddpm", data="digits", parts=3), "parts: 3 is not a list"),
    (lambda m: m.sample(1, solver=""), "solver: there is no solver ''"),
    (lambda m: m.sample(1, time_grid=3), "time_grid: there is no 3"),
    (lambda m: m.sample(1, threshold=3), "threshold: there is no 3"),
    (lambda m: m.sample(1, eta="a"), "eta: 'a' is not a number"),
    (lambda m: m.sample(1, eta=True), "eta: True is not a number"),
    (lambda m: m.sample(1, sampling={"steps": 3}), r"sampling: .* is no Sampling"),
    (lambda m: m.sample(1, guidance="2"), "guidance.scale: '2' is not a number"),
    (lambda m: m.sample(1, guidance=[1, 2]), r"guidance.scale: \[1, 2\] is not a number"),
    (lambda m: m.sample(1, condition=[1]), r"condition: \[1\] maps no names to conditions"),
    (lambda m: m.sample(1, stpes=3), "stpes: there is no such option; did you mean steps"),
    (lambda m: m.vary(image(), "much"), "strength: 'much' is not a number"),
    (lambda m: m.vary(image(), 2), "strength: 2 is not between 0"),
    (lambda m: m.vary(image(), 0.5, t=0.3), "x, t: follow from the images"),
    (lambda m: m.vary(image()[:1], 0.5), r"images: are of shape \(4, 1, 8, 8\); the model takes"),
    (lambda m: m.decode("noise"), "latents: 'noise' is not an array of numbers"),
    (lambda m: m.interpolate(image(), image()[:, :4]), "b: is of shape"),
    (lambda m: m.inpaint(image(), image()), "mask: has values other than two"),
    (lambda m: m.inpaint(image(), np.zeros((4, 4), bool)), r"mask: is of shape \(4, 4\); the model takes \(8, 8\)"),
    (lambda m: m.inpaint(image(), "nowhere.png"), "mask: nowhere.png: cannot be read"),
    (
        lambda m: m.restore(image(), 3),
        "operator: 3 is no function of images; give one, one of sumi.operators, or a name",
    ),
    (lambda m: m.restore(image(), "blurr:1"), "operator: there is no blurr:1; did you mean blur"),
    (lambda m: m.restore(image(), Grey(), "a"), "noise: 'a' is not a number"),
    (lambda m: m.restore(image(), torch.nn.Identity(), method=3), "method: there is no 3"),
    (lambda m: m.upscale(image(), 2.0), "factor: 2.0 is not a whole number"),
    (lambda m: m.denoiser({"labels": 1}), "condition: .* is no Condition"),
    (lambda m: m.evaluate(n=0), "n: 0 is out of range"),
    (lambda m: m.evaluate(seed=-1), "seed: -1 is out of range"),
    (lambda m: m.evaluate(features=3), "features: 3 is not a path"),
    (lambda m: m.evaluate(guidance=3), "guidance: 3 is no sweep"),
    (lambda m: m.save(3), "folder: 3 is not a path"),
    (lambda _: sumi.evaluate("runs/a"), "runs/a: is not a run folder"),
    (lambda _: sumi.evaluate(3), "model: 3 is no model; give one, or a run folder"),
    (lambda _: sumi.load(3), "run: 3 is not a path"),
    (lambda _: sumi.load(""), "run: '' is not a path"),
    (lambda _: sumi.load("nowhere"), "nowhere: is not a run folder"),
    (lambda _: sumi.train(3), "recipe: 3 is no recipe"),
    (lambda _: sumi.train("ddpm", data=3), "data: int has no items by number"),
    (
        lambda _: sumi.train("ddpm", data=[(PIXELS, 1), (PIXELS, 1.5)]),
        "data: item 1 has the label 1.5; give a name or a whole number",
    ),
    (lambda _: sumi.train("ddpm", data=[(PIXELS, float("nan"))] * 2), "data: item 0 has the label nan"),
    (lambda _: sumi.train("ddpm", data=[(PIXELS, b"1")] * 2), "data: item 0 has the label b'1'"),
    (lambda _: sumi.train("ddpm", data="digits", out=3), "out: 3 is not a path"),
    (lambda _: sumi.train("ddpm", data="digits", out=""), "out: '' is not a path"),
    (lambda _: sumi.train("ddpm", data="digits", steps=2.5), "steps: 2.5 is not a whole number"),
    (lambda _: sumi.train("ddpm", data="digits", steps=True), "steps: True is not a whole number"),
    (lambda _: sumi.train("ddpm", data="digits", seed="a"), "seed: 'a' is not a whole number"),
    (lambda _: sumi.train("ddpm", data="digits", seed=2**64), "seed: 18446744073709551616 is out of range"),
    (lambda _: sumi.train("ddpm", data="digits", device=3.5), "device: 3.5 is not available here"),
    (lambda _: sumi.train("ddpm", data="digits", device="gpu"), "device: gpu is not available here"),
    (lambda _: sumi.train("ddpm", data="digits", device="hpu"), "device: hpu is not available here"),
    (
        lambda _: configure("edm", data="digits", settings="schedule.sigma_max=1e300"),
        r"schedule.sigma_max: 1e\+300 is too large; give 1,000,000 or less",
    ),
    (
        lambda _: configure("edm", data="digits", settings="parameterization.sigma_data=1e300"),
        r"parameterization.sigma_data: 1e\+300 is too large",
    ),
    (lambda _: configure("ddpm", data="digits", settings=3), "settings: 3 is not of the form"),
    (lambda _: configure("ddpm", data="digits", settings=["seed=1", 3]), "settings: 3 is not of the form"),
    (lambda _: configure("ddpm", data="digits", settings={3: 4}), "settings: 3 is not the name of a field"),
    (lambda _: configure("ddpm", data="digits", settings="seed"), "settings: seed has no '='"),
    (
        lambda _: configure("ddpm", data="digits", steps=3, settings="training.steps=4"),
        "steps: is 3, and the settings say 4; give one of them",
    ),
    (
        lambda _: configure("ddpm", data="digits", settings="data.source=fashion"),
        "data: is digits, and the settings say fashion; give one of them",
    ),
    (lambda _: sumi.Guidance(scale="two"), "guidance.scale: 'two' is not a number"),
    (lambda _: sumi.Guidance(interval=3), "guidance.interval: 3 is not a list"),
    (lambda _: sumi.Sampling(steps=2.5), "steps: 2.5 is not a whole number"),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_cannot_be_is_refused_in_a_line_that_names_it(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, answer = REFUSED[number]
    made = model()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"^{answer}") as caught:
        call(made)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


# --- training ---


def test_paths_and_numbers_train(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    for k in range(4):
        Image.fromarray(np.roll(PIXELS, k)).save(folder / f"{k}.png")
    settings = {"data.size": np.int64(8), "network": {"widths": np.array([32]), "blocks": (1,), "embedding": 32}}
    settings |= {"training": {"batch_size": np.int16(2), "sample_every": 0, "decay": "linear"}, "sampling.steps": 2}
    made = sumi.train("ddpm", data=folder, out=tmp_path / "r", steps=np.int64(2), seed=np.int32(5), settings=settings)
    assert (made.step, made.config.seed, made.config.network.widths) == (2, 5, (32,))
    assert made.config.training.decay == "linear"
    again = sumi.train("ddpm", data=folder, out=tmp_path / "r", steps=2, seed=5, settings=settings, resume=True)
    assert torch.equal(again.sample(1), sumi.load(tmp_path / "r", checkpoint=np.int64(2), device=made.device).sample(1))


def test_settings_may_be_a_mapping() -> None:
    plain = configure("ddpm", data="digits")
    lines = ["schedule=cosine", "schedule.s=0.01", "sampling.guidance=2", "training.steps=7", "sampling.eta=none"]
    lines += ["conditioning=labels", "conditioning.labels.dropout=0.2", "data.flip=true", "data.source=elsewhere"]
    nested = {
        "schedule": {"s": np.float64(0.01), "type": "cosine"},
        "sampling": {"guidance": 2, "eta": None},
        "training.steps": 7,
        "conditioning": ["labels"],
        "conditioning.labels": {"dropout": 0.2},
        "data": {"flip": True, "source": Path("elsewhere")},
    }
    assert override(plain, nested) == override(plain, lines)
    assert override(plain, {"schedule": sumi.schedules.CosineBeta(s=0.01)}) == override(plain, lines[:2])
    assert override(plain, "training.steps=7") == override(plain, (line for line in lines[3:4]))
    with pytest.raises(InputError, match=r"^training.steps: 7.5 is not a whole number"):
        override(plain, {"training": {"steps": 7.5}})
    with pytest.raises(InputError, match=r"^training.stpes: there is no field"):
        override(plain, {"training": {"stpes": 7}})


# --- further forms ---


def test_a_mask_may_be_a_file_an_image_or_numbers(tmp_path: Path) -> None:
    made, x = model(), image()
    plain = made.inpaint(x, HOLE, 1, steps=2)
    white = HOLE.numpy().astype(np.uint8) * 255
    Image.fromarray(white).save(tmp_path / "m.png")
    forms = (HOLE.numpy(), HOLE.int(), HOLE.double().numpy(), white, HOLE[None], HOLE[..., None].numpy())
    for mask in (*forms, tmp_path / "m.png", str(tmp_path / "m.png"), Image.fromarray(white)):
        assert torch.equal(made.inpaint(x, mask, 1, steps=2), plain)


def test_a_measurement_may_be_beyond_the_range() -> None:
    y = 1.5 * image()
    made = model().restore(y, torch.nn.Identity(), 0.5, 1, steps=2)
    assert torch.isfinite(made).all()
    with pytest.raises(InputError, match=r"^image: values from .* are beyond \[-1, 1\]"):
        model().inpaint(y, HOLE, 1)


def test_sampling_begins_with_what_is_given() -> None:
    made = model()
    noise = made.start_noise(range(2), 5)
    plain = made.sample(2, seed=5, steps=3)
    for x in (noise, noise.double(), noise.double().numpy()):
        assert torch.equal(made.sample(2, seed=5, steps=3, x=x), plain)
        assert torch.equal(made.decode(x, steps=3, solver="ddim"), made.sample(2, steps=3, x=x, solver="ddim"))
    now = made.at_strength(0.5)
    x = now.alpha * image()[None] + now.sigma * noise[:1]
    assert torch.equal(made.sample(1, x=x, t=np.float64(now.t)), made.walk(1, x=x, t=float(now.t)))


def test_images_in_a_condition_may_be_double(tmp_path: Path) -> None:
    made = conditioned_model("upscale")
    small = torch.cat([image()[None, :, ::2, ::2], torch.ones(1, 1, 4, 4)], 1)
    plain = made.sample(1, condition={"small": small}, steps=2)
    for form in (small.double(), small.numpy(), small.double().numpy()):
        assert torch.equal(made.sample(1, condition={"small": form}, steps=2), plain)
    for wrong in ("a", small[0], small[:, :2], np.full(small.shape, np.inf)):
        with pytest.raises(InputError, match=r"^condition.small: "):
            made.sample(1, condition={"small": wrong}, steps=2)
    values = conditioned_model("ddpm", "conditioning=values")
    plain = values.sample(1, condition={"values": {"brightness": 0.25}}, steps=2)
    assert torch.equal(values.sample(1, condition={"values": {"brightness": torch.tensor(0.25)}}, steps=2), plain)
    for wrong in ("0.25", True, [0.25, 0.5], float("nan")):
        with pytest.raises(InputError, match=r"^values.brightness: "):
            values.sample(1, condition={"values": {"brightness": wrong}}, steps=2)


def test_a_baseline_takes_the_same_numbers(tmp_path: Path) -> None:
    settings = ["network.widths=16,16,16", "network.latent=4", "training.batch_size=4", "training.sample_every=0"]
    made = sumi.train("vae", data="digits", out=tmp_path, settings=settings, steps=1)
    plain = made.sample(2, seed=3)
    assert not plain.is_inference()
    for how in SETTINGS:
        with as_a_caller_may_have_it(how):
            assert torch.equal(made.sample(np.int8(2), seed=np.array(3), batch_size=np.int64(64)), plain)
    for wrong in (0, True, "2", 1.0):
        with pytest.raises(InputError, match=r"^n: "):
            made.sample(wrong)


# --- other systems ---


def test_a_run_is_written_where_folders_are_neither_opened_nor_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, which opens no folder and renames onto nothing that exists."""
    open_file, rename = os.open, Path.rename

    def opened(place: str | Path, *arguments: int, **options: int) -> int:
        if Path(place).is_dir():
            raise PermissionError(13, "Permission denied", str(place))
        return open_file(place, *arguments, **options)

    def renamed(self: Path, target: Path) -> Path:
        if Path(target).exists():
            raise FileExistsError(17, "File exists", str(target))
        return rename(self, target)

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(Path, "rename", renamed)
    settings = [*TINY[:4], "training.sample_every=0", "training.checkpoint_every=1"]
    made = sumi.train("ddpm", data="digits", out=tmp_path / "run", steps=2, settings=settings)
    again = sumi.train("ddpm", data="digits", out=tmp_path / "run", steps=3, settings=settings, resume=True)
    assert (made.step, again.step) == (2, 3)
    (tmp_path / "empty").mkdir()
    again.save(tmp_path / "empty")
    assert torch.equal(sumi.load(tmp_path / "empty").sample(1, steps=2), again.sample(1, steps=2))
