"""A model in a run folder: sampling that can be reproduced image by image, and loading that verifies."""

from pathlib import Path

import numpy as np
import pytest
import torch

import sumi
from sumi import recipes
from sumi.boundary.settings import override
from sumi.data.config import DataConfig
from sumi.data.vectors import VectorSpec
from sumi.denoising.denoiser import Denoiser, FunctionDenoiser
from sumi.errors import InputError, SumiError
from sumi.guidance.thresholding import DynamicThreshold, StaticThreshold
from sumi.models.diffusion.build import build_denoiser
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.model import RunDescription
from sumi.models.run import load, read_run
from sumi.sampling.solvers.ddim import DDIM
from sumi.training.run_folder import RunFolder
from tests.tiny_models import edited, random_model


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> DiffusionModel:
    return random_model(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("solver", ["ddim", "ddpm"])
def test_an_image_does_not_depend_on_its_batch(model: DiffusionModel, solver: str) -> None:
    """Batches of 1 and of 64, in parts and from any start: the same images up to rounding of the network (1e-4)."""
    together = model.sample(64, solver=solver, seed=3, batch_size=64)
    parts = model.sample(64, solver=solver, seed=3, batch_size=7)
    alone = model.sample(1, solver=solver, seed=3, start=13)
    torch.testing.assert_close(parts, together, rtol=0, atol=1e-4)
    torch.testing.assert_close(alone[0], together[13], rtol=0, atol=1e-4)
    assert float((together[1:] - together[:-1]).abs().mean()) > 0.05  # and the images are different ones


def test_start_noise_is_bit_identical(model: DiffusionModel) -> None:
    assert torch.equal(model.start_noise(range(64), 3)[13], model.start_noise([13], 3)[0])
    assert float(model.start_noise(range(400), 0).std()) == pytest.approx(1, abs=0.02)


def test_samples_are_images(model: DiffusionModel) -> None:
    images = model.sample(3, seed=1)
    assert images.shape == (3, 1, 8, 8)
    assert images.dtype == torch.float32
    assert float(images.abs().max()) <= 1
    assert torch.equal(images, model.sample(3, seed=1))
    assert not torch.equal(images, model.sample(3, seed=2))


def test_eta_and_solver_are_one_family(model: DiffusionModel) -> None:
    assert torch.equal(model.sample(2, solver="ddim", eta=1.0), model.sample(2, solver="ddpm"))
    with pytest.raises(InputError, match="eta: ddpm has its own"):
        model.method(solver="ddpm", eta=0.5)
    assert model.method(solver="ddpm_large").solver == DDIM(1.0, "large")


def test_any_number_of_steps_is_exactly_that_many(model: DiffusionModel) -> None:
    for steps in (1, 2, 7, 1000):
        seen: list[float] = []
        if steps <= 7:
            model.sample(1, steps=steps, callback=lambda k, s, x, seen=seen: seen.append(s.t))
            assert len(seen) == steps
            assert seen[-1] == 0.0
        assert model.method(steps=steps).steps == steps


def test_threshold_is_part_of_the_configuration(tmp_path: Path, model: DiffusionModel) -> None:
    free, dynamic = (random_model(tmp_path, f"sampling.threshold={name}") for name in ("none", "dynamic"))
    x = 3 * model.start_noise(range(4), 0)
    clean = free.denoiser()(x, 0.9).clean
    assert float(clean.abs().max()) > 1
    assert torch.equal(model.denoiser()(x, 0.9).clean, clean.clamp(-1, 1))
    assert torch.equal(dynamic.denoiser()(x, 0.9).clean, DynamicThreshold(free.denoiser())(x, 0.9).clean)
    assert len({made.digest for made in (model, free, dynamic)}) == 3
    assert [made.how_sampled()[-17:] == "dynamic threshold" for made in (model, free, dynamic)] == [False, False, True]


def test_save_and_load(model: DiffusionModel, tmp_path: Path) -> None:
    model.save(tmp_path / "copy")
    again = sumi.load(tmp_path / "copy")
    assert again.config == model.config
    assert (again.step, again.images) == (7, model.images)
    assert torch.equal(again.sample(2), model.sample(2))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_saving_loses_nothing_that_is_there(model: DiffusionModel, tmp_path: Path) -> None:
    """Neither a run, its own nor another, nor any file: one line, and the disk stays as it is."""
    model.save(tmp_path / "run")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/plan.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    before = contents(tmp_path)
    for place, answer in (
        ("run", "holds a run already, which is left as it is; save into a new or empty folder"),
        ("notes", "holds plan.txt already"),
        ("file", "is a file; save into a new folder"),
    ):
        with pytest.raises(InputError, match=answer):
            load(tmp_path / "run").save(tmp_path / place)
    assert contents(tmp_path) == before


def test_saving_is_all_or_nothing(model: DiffusionModel, tmp_path: Path, monkeypatch) -> None:
    """Fails the rename or the writing, nothing is left; what a killed save left is no hindrance."""
    for broken in ("rename", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, broken, lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
            with pytest.raises(SumiError, match="No space left on device"):
                model.save(tmp_path / "new/run")
        assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "new/.run.saving/checkpoints").mkdir(parents=True)
    (tmp_path / "new/run").mkdir()  # empty
    model.save(tmp_path / "new/run")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["run"]
    assert torch.equal(load(tmp_path / "new/run").sample(1), model.sample(1))


def test_a_damaged_or_missing_model_is_refused_in_one_line(model: DiffusionModel, tmp_path: Path) -> None:
    run = tmp_path / "copy"
    with pytest.raises(InputError, match="is not a run folder"):
        load(run)
    model.save(run)
    with pytest.raises(InputError, match="checkpoint: there is none at step 3; choose from 7"):
        load(run, checkpoint=3)
    for wrong in (3, Path):
        with pytest.raises(InputError, match=r"^expected: .* is no type of model; give one, such as sumi\.Diffusion"):
            load(run, wrong)
    weights = run / "checkpoints/00000007/ema.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 16
    weights.write_bytes(data)
    with pytest.raises(InputError, match=r"ema\.safetensors"):
        load(run)
    config = run / "config.json"
    text = edited(config)
    for damaged, answer in (
        (text[:-9], "not valid JSON"),
        (text.replace('"format": 6', '"format": 4'), "has format 4, this version reads 5"),
        (text.replace('"widths"', '"widhts"'), "did you mean widths"),
    ):
        config.write_text(damaged)
        with pytest.raises(InputError, match=answer):
            read_run(RunFolder(run))


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ({"steps": 0}, "steps: 0"),
        ({"steps": 1001}, "at most 1000"),
        ({"solver": "ddmi"}, "did you mean"),
        ({"eta": 2.0}, "eta: 2.0"),
        ({"n": 0}, "n: 0"),
        ({"seed": -1}, "seed: -1"),
        ({"seed": 2**64}, "seed: 18446744073709551616"),
        ({"start": 2**64 - 1, "n": 2}, "out of range"),
        ({"start": -1}, "start: -1"),
    ],
)
def test_impossible_options_are_refused(model: DiffusionModel, options, answer: str) -> None:
    with pytest.raises(InputError, match=answer):
        model.sample(**{"n": 1, **options})


def test_colour_and_other_sizes(tmp_path: Path) -> None:
    images = random_model(tmp_path, shape=(3, 10, 14)).sample(2)
    assert images.shape == (2, 3, 10, 14)


def vector_model(folder: Path, spec: VectorSpec, source: str = "ring-of-8") -> DiffusionModel:
    """As `random_model`, for vectors."""
    config = override(
        recipes.build("ddpm", DataConfig(source=source)),
        ["network.width=16", "network.blocks=1", "network.embedding=16", "sampling.steps=5"],
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        denoiser = build_denoiser(config, spec)
        for p in denoiser.parameters():
            torch.nn.init.normal_(p, std=0.1)
    return DiffusionModel(RunDescription(config, spec, "none", 0.5), denoiser, 7, folder)


def test_vectors_are_sampled_each_by_itself_and_not_cut_off(tmp_path: Path) -> None:
    model = vector_model(tmp_path, VectorSpec(3, None))
    for solver in ("ddim", "ddpm"):
        together = model.sample(64, solver=solver, seed=3)
        parts = model.sample(64, solver=solver, seed=3, batch_size=7)
        alone = model.sample(1, solver=solver, seed=3, start=13)
        torch.testing.assert_close(parts, together, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(alone[0], together[13], rtol=1e-4, atol=1e-4)
        assert (together.shape, together.dtype) == ((64, 3), torch.float32)
        assert float(together.abs().max()) > 1
    assert torch.equal(model.start_noise(range(64), 3)[13], model.start_noise([13], 3)[0])


def test_a_model_of_vectors_has_no_images(tmp_path: Path) -> None:
    model = vector_model(tmp_path, VectorSpec(2, None))
    for use in (lambda: model.images, lambda: model.pixels, model.load_images):
        with pytest.raises(InputError, match="is a model of vectors, and this is for images; choose such a run"):
            use()
    assert model.load_data().shape == (2,)
    with pytest.raises(InputError, match=r"heartbeat has vectors \(20,\) of 2 levels, the model makes vectors \(2,\)"):
        model.load_data("heartbeat")


def test_other_vectors_are_seen_in_the_models_units(tmp_path: Path) -> None:
    """x = centre + scale · value in the user's units, whatever the other file's own centre and scale are."""
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 + 5
    np.save(tmp_path / "x.npy", x.numpy())
    model = vector_model(tmp_path, VectorSpec(2, None, (1.0, -1.0), 4.0), str(tmp_path / "x.npy"))
    for source in (None, str(tmp_path / "x.npy")):
        seen = model.load_data(source).batch(np.arange(200))
        torch.testing.assert_close(seen.double(), (x - torch.tensor([1.0, -1.0])) / 4, rtol=0, atol=1e-6)


def test_vectors_are_saved_and_loaded_with_their_units(tmp_path: Path) -> None:
    model = vector_model(tmp_path, VectorSpec(2, None, (0.1, -1 / 3), 0.7))
    model.save(tmp_path / "copy")
    again = load(tmp_path / "copy")
    assert again.items == model.items
    assert torch.equal(again.sample(2), model.sample(2))
    config = tmp_path / "copy/config.json"
    config.write_text(edited(config).replace('"scale": 0.7', '"scale": 0.8'))
    with pytest.raises(InputError, match="was changed since"):
        load(tmp_path / "copy")


@pytest.mark.parametrize("vectors", [False, True])
def test_a_wrapped_denoiser_is_the_one_that_is_sampled(tmp_path: Path, vectors: bool) -> None:
    """One that always believes in 0.25 ends there; it is given the model's own, which keeps images in range."""
    model = vector_model(tmp_path, VectorSpec(2, None)) if vectors else random_model(tmp_path)
    given: list[Denoiser] = []

    def wrap(denoiser: Denoiser) -> Denoiser:
        given.append(denoiser)
        return FunctionDenoiser(lambda x_t, _: torch.full_like(x_t, 0.25), denoiser.schedule)

    expected = torch.full((3, *model.items.shape), 0.25)
    torch.testing.assert_close(model.walk(3, wrap=wrap), expected, rtol=0, atol=1e-5)
    assert isinstance(given[0], StaticThreshold) != vectors


def test_the_python_face_is_lazy() -> None:
    assert all(hasattr(sumi, name) for name in sumi.__all__)
    assert sumi.load is load
    misspelt = "tarin"
    with pytest.raises(AttributeError, match="no attribute 'tarin'"):
        getattr(sumi, misspelt)
