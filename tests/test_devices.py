"""Recipes on a device other than the CPU, without one: nothing mixes devices or waits for it in the inner loops."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sumi import recipes
from sumi.boundary.config import describe
from sumi.boundary.settings import override
from sumi.conditioning.condition import Condition
from sumi.conditioning.image import known
from sumi.conditioning.prompt import single_parts
from sumi.data.audio import AudioDataset
from sumi.data.config import DataConfig
from sumi.data.dataset import Dataset
from sumi.data.embedded import EmbeddedDataset
from sumi.data.latents import LatentDataset
from sumi.data.load import load
from sumi.metrics.features import learned, pretrained
from sumi.models import clip
from sumi.models.diffusion import restoration, trained_denoiser
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.model import RunDescription
from sumi.operators.linear import Grey
from sumi.operators.separable import box
from sumi.sampling.sampler import Guidance
from sumi.sampling.solvers import SOLVERS, AnnealedLangevin
from sumi.sampling.solvers.tuned import Tuned
from sumi.training.trainer import Trainer
from tests.coloured import coloured
from tests.pretended_gpu import DEVICE, PretendedGPU, pretended_gpu

SMALL = {
    "network.widths": "32",
    "network.blocks": "1",
    "network.embedding": "32",
    "training.batch_size": "4",
    "training.precision": "fp32",
    "training.ema_lengths": "[0.1]",
}
OWN = {
    "guided": {"network.head_width": "32", "network.attention": ""},
    "noisy-classifier": {"network.head_width": "32", "network.attention": ""},
    "jit": {"network.width": "32", "network.blocks": "2"},
}
COPIES = {"nonequilibrium": 9, "vdm": 31}
"""Of numbers to the host, in a step: none but of learned schedules, whose coefficients are computed on the CPU."""
WALKS = {"ncsn", "energy"}
"""Annealed Langevin dynamics of a thousand steps, whatever the steps."""


def small(name: str, data) -> object:
    config = recipes.build(name, DataConfig("digits"), data.spec)
    fields = {field for field, _, _ in describe(config)}
    settings = {field: value for field, value in {**SMALL, **OWN.get(name, {})}.items() if field in fields}
    return override(config, [f"{field}={value}" for field, value in settings.items()]).of_data(data)


TRAINING = ("training.batch_size=4", "training.precision=fp32", "training.ema_lengths=[0.1]")


@contextmanager
def trained(config: Any, data: Dataset, train: Dataset, folder: Path) -> Generator[tuple[PretendedGPU, list[int], Any]]:
    """The device, how many tensors each of two steps of a run on ``train`` copies to the host, and its model."""
    objective = config.build(data.spec)
    objective.fit(train)
    description = RunDescription.of(config, data)
    with pretended_gpu() as gpu:
        trainer = Trainer(config.training, objective.to(DEVICE).train(), train, 0, folder)

        def step(number: int) -> None:
            trainer.gradients.compute(number)
            trainer.ema.update(0.9)
            trainer.averages.update(number)

        copies = [gpu.counted(lambda: step(number)) for number in (1, 2)]  # noqa: B023
        yield gpu, copies, config.wrap(description, trainer.ema.module, 2, folder)


def waits_for_results_alone(gpu: PretendedGPU, sample: Callable[[int], object]) -> bool:
    """Whether as many tensors are copied to the host, those of what is made, in however many steps that is."""
    few, more = (gpu.counted(lambda: sample(steps)) for steps in (2, 5))  # noqa: B023
    return few == more


@pytest.fixture(scope="module")
def digits():
    return load(DataConfig("digits"))


@pytest.mark.parametrize(
    "name",
    [
        *("ddpm", "improved-ddpm", "classifier-free", "guided", "noisy-classifier", "inpaint", "upscale"),
        *("nonequilibrium", "ncsn", "energy", "score-sde", "vdm", "edm", "flow", "jit", "consistency", "mean-flow"),
        *("vae", "gan", "pixelcnn"),
    ],
)
def test_a_step_and_a_sampler_keep_to_the_device_and_do_not_wait_for_it(name: str, digits, tmp_path: Path) -> None:
    config, (train, _) = small(name, digits), digits.split(0.1)
    with trained(config, digits, train, tmp_path) as (gpu, copies, model):
        assert copies == [COPIES.get(name, 0)] * 2
        match model:
            case DiffusionModel() if name not in WALKS:
                assert waits_for_results_alone(gpu, lambda steps: model.sample(2, steps=steps))
            case _:
                pass


def captioned(digits) -> Dataset:
    return replace(digits, captions=tuple(f"a neat {label}" for label in digits.labels))


def latents(images: Dataset) -> LatentDataset:
    """Of an autoencoder with four channels and a quarter of each side."""
    moments = np.random.default_rng(0).random((len(images), 8, 2, 2), dtype=np.float32)
    return LatentDataset(images, moments, torch.zeros(4), torch.ones(4))


UNET = ("network.widths=32", "network.blocks=1", "network.embedding=32", "network.attention=")
TRANSFORMER = ("network.width=32", "network.blocks=1", "network.patch=2", "network.embedding=32")
VISION = ("network.widths=16,16,16", "network.blocks=0,1,0", "network.features=16")
READER = ("width=32", "layers=1", "tokens=300", "length=12")
TEXT = tuple(f"conditioning.encoder.{setting}" for setting in READER)
PICTURES = {
    "latent": (*UNET, "conditioning=labels"),
    "dit": (*TRANSFORMER, "conditioning=labels"),
    "stable-diffusion": (*UNET, "network.cross_attention=0", *TEXT),
    "text-to-image": (*TRANSFORMER, *TEXT),
}
BLEND = "a neat 3 ~ a (neat:2) 7"


@pytest.mark.parametrize("name", PICTURES)
def test_latents_and_texts_keep_to_the_device_and_do_not_wait_for_it(
    name: str, digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an autoencoder that is given; texts are tokens on the CPU, and guide away from no text."""
    data = captioned(digits)
    config = override(recipes.build(name, DataConfig("digits"), data.spec), [*PICTURES[name], *TRAINING])
    train, _ = data.split(0.1)
    small_one = ["network.widths=32,32", "network.blocks=1,1"]
    own = override(recipes.build("autoencoder", DataConfig("digits"), data.spec), small_one).of_data(data)
    autoencoder = own.wrap(RunDescription.of(own, data), own.build(data.spec).model.to(DEVICE), 1, tmp_path)
    monkeypatch.setattr(trained_denoiser, "autoencoder_of", lambda *_: autoencoder)
    asked: Any = {"label": "all"} if name in ("latent", "dit") else {"prompt": BLEND, "guidance": 2.0}
    given = train if name == "text-to-image" else latents(train)
    with trained(config, data, given, tmp_path) as (gpu, copies, model):
        assert copies == [0, 0]
        assert waits_for_results_alone(gpu, lambda steps: model.sample(2, steps=steps, **asked))


def test_texts_stay_on_the_cpu_and_rows_are_chosen_by_indices_on_any_device() -> None:
    parts = {"text": torch.arange(6).view(3, 1, 2), "labels": torch.arange(3)}
    with pretended_gpu() as gpu:
        moved = Condition(parts).to(DEVICE)
        here, there = torch.tensor([2, 0]), torch.tensor([2, 0], device=DEVICE)
        for which in (slice(1, 3), here, there):
            assert [part.device.type for part in moved.rows(which).values()] == ["cpu", DEVICE.type]
        assert moved.rows(here)["text"].tolist() == [[[4, 5]], [[0, 1]]]
        assert gpu.counted(lambda: moved.rows(here)) == 0
        assert gpu.counted(lambda: moved.rows(there)) == 1
        assert Condition(text=torch.zeros(2, 1, 3, device=DEVICE)).to(DEVICE)["text"].device.type == "cpu"


def given_encoder(name: str, place: Path) -> list[str]:
    """The settings of an encoder of texts that is taken as it is; a pipeline's has no weights that are trained."""
    if name == "table":
        file = place / "words.txt"
        file.write_text("a 1 0.5 -1\nneat 0 2.5 1\n3 1 -2 0.5\n7 -1 -1 1\n")
        return ["encoder=table", f"encoder.source={file}"]
    text_encoders = pytest.importorskip("tests.text_encoders")
    parts = {"frozen": ("bert", [""]), "pipeline": ("clip", ["text_encoder", "tokenizer"])}
    model, folders = parts[name]
    for folder in folders:
        text_encoders.folder_with(model, place / name / folder)
    return ["encoder=frozen", f"encoder.source={place / name}", "encoder.length=12"]


@pytest.mark.parametrize("encoder", ["table", "frozen", "pipeline"])
def test_texts_of_an_encoder_that_is_given_do_not_wait_for_the_device(
    encoder: str, digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It computes on the CPU. A pipeline's has no weights that are trained, to show where its states belong."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data, given = captioned(digits), given_encoder(encoder, tmp_path)
    settings = [*TRANSFORMER, *(f"conditioning.{setting}" for setting in given), *TRAINING]
    config = override(recipes.build("text-to-image", DataConfig("digits"), data.spec), settings).of_data(data)
    train, _ = data.split(0.1)
    with trained(config, data, train, tmp_path) as (gpu, copies, model):
        assert copies == [0, 0]
        asked: Any = {"prompt": BLEND, "guidance": Guidance(2.0, negative="a 7")}
        assert waits_for_results_alone(gpu, lambda steps: model.sample(2, steps=steps, **asked))


@pytest.mark.parametrize("encoder", ["own", "table", "frozen"])
def test_a_clip_keeps_to_the_device_and_does_not_wait_for_it(
    encoder: str, digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its vectors are copied to the host, once for each batch of texts."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(clip, "BATCH", 2)
    data = captioned(digits)
    given = [f"encoder.{setting}" for setting in READER] if encoder == "own" else given_encoder(encoder, tmp_path)
    config = override(recipes.build("clip", DataConfig("digits"), data.spec), [*given, *VISION, *TRAINING]).of_data(
        data
    )
    train, _ = data.split(0.1)
    with trained(config, data, train, tmp_path) as (gpu, copies, model):
        assert copies == [0, 0]
        assert gpu.counted(lambda: model.embed_text(["a 3", "a 7", "a neat 3"])) == 2
        assert gpu.counted(lambda: model.embed_parts(single_parts(["a (neat:2) 3", "a 7", "a 3"], 3))) == 2


def test_an_upper_stage_of_imagen_keeps_to_the_device_and_does_not_wait_for_it(digits, tmp_path: Path) -> None:
    data = captioned(digits)
    upper = ("upper.widths=32", "upper.blocks=1", "upper.embedding=32", "upper.attention=")
    reader = [f"encoder.{setting}" for setting in READER]
    config = override(recipes.build("imagen", DataConfig("digits"), data.spec), [*upper, *reader, *TRAINING])
    stage, (train, _) = config.of_data(data).stage(1), data.split(0.1)
    below = Condition(small=known(torch.zeros(2, 1, 4, 4)), small_noise=torch.full((2,), 0.1))
    with trained(stage, data, train, tmp_path) as (gpu, copies, model):
        assert copies == [0, 0]
        assert waits_for_results_alone(
            gpu, lambda steps: model.sample(2, steps=steps, prompt=BLEND, condition=below, guidance=Guidance())
        )


@pytest.mark.parametrize("stage", ["prior", "decoder"])
def test_a_stage_of_unclip_keeps_to_the_device_and_does_not_wait_for_it(stage: str, digits, tmp_path: Path) -> None:
    images = captioned(digits)
    vectors = np.random.default_rng(0).standard_normal((len(images), 6)).astype(np.float32)
    settings = [*TRANSFORMER, *(f"encoder.{setting}" for setting in READER), *TRAINING, "clip.size=6"]
    settings += ["prior.network.width=16", "prior.network.blocks=1", "prior.network.embedding=16", "prior.batch_size=4"]
    both = override(recipes.build("unclip", DataConfig("digits"), images.spec), settings)
    data, config, asked = EmbeddedDataset(images, vectors, vectors), both.decoder_stage(""), {"prompt": BLEND}
    if stage == "prior":
        data, config, asked = data.as_vectors(0.1), both.prior_stage(""), {}
    condition = {"embedding": torch.ones(6)}
    with trained(config, data, data, tmp_path) as (gpu, copies, model):
        assert copies == [0, 0]
        assert waits_for_results_alone(gpu, lambda steps: model.sample(2, steps=steps, condition=condition, **asked))


COLOURED = {
    "colourise": (*UNET, "data.channels=3"),
    "judge": VISION,
}


@pytest.mark.parametrize("name", COLOURED)
def test_what_learns_of_colours_keeps_to_the_device_and_does_not_wait_for_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoration, "TURNS", 0)  # of the projections in the end
    data = coloured(1)
    config = override(recipes.build(name, DataConfig("coloured"), data.spec), [*COLOURED[name], *TRAINING])
    with trained(config.of_data(data), data, data, tmp_path) as (gpu, copies, model):
        assert copies == [0, 0]
        if name == "colourise":
            grey = torch.zeros(1, 16, 16)
            assert waits_for_results_alone(gpu, lambda steps: model.restore(grey, Grey(), n=2, steps=steps))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("audio", ("autoencoder.bands=16", "network.widths=16", "network.blocks=1", "network.embedding=8")),
        ("diffwave", ("network.layers=3", "network.channels=8", "network.cycle=2", "network.embedding=8")),
    ],
)
def test_sound_keeps_to_the_device_and_does_not_wait_for_it(name: str, settings: tuple[str, ...], tmp_path) -> None:
    clips = np.random.default_rng(0).integers(-9000, 9000, (12, 512)).astype(np.int16)
    data = AudioDataset(clips, 4000, tuple(map(str, range(12))))
    config = override(recipes.build(name, DataConfig("spoken-digits"), data.spec), [*settings, *TRAINING])
    with trained(config, data, data, tmp_path) as (gpu, copies, model):
        assert copies == [0, 0]
        assert waits_for_results_alone(gpu, lambda steps: model.sample(2, steps=steps))


@pytest.mark.parametrize(("name", "source"), [("flow", "swiss-roll"), ("nonequilibrium", "heartbeat")])
def test_vectors_and_bits_keep_to_the_device_and_do_not_wait_for_it(name: str, source: str, tmp_path: Path) -> None:
    data = load(DataConfig(source))
    config = override(recipes.build(name, DataConfig(source), data.spec), ["network.width=16", *TRAINING])
    with trained(config, data, data, tmp_path) as (gpu, copies, model):
        assert copies == [0, 0]
        assert waits_for_results_alone(gpu, lambda steps: model.sample(2, steps=steps))


@pytest.mark.parametrize("process", ["masked", "uniform", "mixture"])
def test_symbols_keep_to_the_device_and_do_not_wait_for_it(process: str, tmp_path: Path) -> None:
    """Of strings of one length: where some are shorter, how many symbols are computed is read by design (``end`` of
    `CategoricalDenoiser`), unless certain_ends is false.
    """
    (tmp_path / "words.txt").write_text("".join(f"{k % 7}{k % 5}ab{k % 3}{k % 2}\n" for k in range(40)))
    data = load(DataConfig(str(tmp_path / "words.txt")))
    settings = ["network.width=32", "network.blocks=1", "network.embedding=32", f"process={process}"]
    config = override(recipes.build("symbols", DataConfig("words"), data.spec), [*settings, *TRAINING])
    with trained(config, data, data, tmp_path) as (gpu, copies, model):
        assert copies == [0, 0]
        assert waits_for_results_alone(gpu, lambda steps: model.sample(2, steps=steps))


def test_a_classifier_of_symbols_keeps_to_the_device_and_does_not_wait_for_it(tmp_path: Path) -> None:
    (tmp_path / "words.csv").write_text("word,kind\n" + "".join(f"{k % 7}{k % 5}ab,{k % 2}\n" for k in range(40)))
    data = load(DataConfig(str(tmp_path / "words.csv"), labels="kind"))
    settings = ["network.width=32", "network.blocks=1", "network.embedding=32", *TRAINING]
    config = override(recipes.build("symbol-classifier", DataConfig("words"), data.spec), settings)
    with trained(config, data, data, tmp_path) as (_, copies, _):
        assert copies == [0, 0]


def test_molecules_keep_to_the_device_and_do_not_wait_for_it(tmp_path: Path) -> None:
    data = load(DataConfig("qm7-small")).subset(range(60))
    network = [f"network.{setting}" for setting in ("pair_width=8", "vectors=4", "width=8", "layers=1", "embedding=8")]
    settings = [*network, *TRAINING, "conditioning=values", "conditioning.names=energy,atoms"]
    config = override(recipes.build("molecules", DataConfig("qm7-small"), data.spec), settings)
    with trained(config, data, data, tmp_path) as (gpu, copies, model):
        assert copies == [0, 0]
        size = len(data.spec.counts)
        assert waits_for_results_alone(gpu, lambda steps: model.sample(2, atoms=size, steps=steps))


def untrained(config: Any, data: Dataset) -> Any:
    """The model of a configuration on the device."""
    objective = config.build(data.spec)
    objective.fit(data)
    return config.wrap(RunDescription.of(config, data), objective.model.eval().to(DEVICE), 2, Path("none"))


@pytest.fixture(scope="module")
def gaussian(digits) -> dict[str, DiffusionModel]:
    """By recipe: of continuous times, and with a learned variance at the times of a chain."""
    return {name: untrained(small(name, digits), digits) for name in ("flow", "improved-ddpm")}


def tuned(steps: int) -> Tuned:
    """In five bands, with means."""
    rows = tuple(tuple((0.1,) * (k + 2) for _ in range(5)) for k in range(steps))
    return Tuned(rows, ((0.1,) * 64,) * steps)


OWN_RUNS = {"consistency", "mean_flow"}
"""Solvers of recipes of that name alone, with which they are checked."""


@pytest.mark.parametrize("name", [*sorted(set(SOLVERS) - OWN_RUNS - {"adaptive"}), "tuned"])
def test_a_solver_keeps_to_the_device_and_does_not_wait_for_it(name: str, gaussian) -> None:
    def solver(steps: int) -> Any:
        match name:
            case "tuned":
                return tuned(steps)
            case "langevin":
                return AnnealedLangevin(corrections=2)
            case _:
                return name

    model = gaussian["improved-ddpm" if name == "ddpm_learned" else "flow"]
    with pretended_gpu() as gpu:
        assert waits_for_results_alone(gpu, lambda steps: model.sample(2, steps=steps, solver=solver(steps)))


def test_the_adaptive_solver_reads_the_error_of_each_step_alone(gaussian) -> None:
    """It chooses the next step by it. Here errors are 0, and so each of a sample's steps is five times the one before:
    0.1, 0.5 and the rest of the way of π/2.
    """
    model = gaussian["flow"]
    with pretended_gpu() as gpu:
        ends, walked = (gpu.counted(lambda: model.sample(2, steps=1, solver=name)) for name in ("ddim", "adaptive"))  # noqa: B023
        assert walked - ends == 3


@pytest.fixture(scope="module")
def labelled(digits) -> DiffusionModel:
    return untrained(small("classifier-free", digits), digits)


GUIDANCE = {
    "interval": {"scale": 2.0, "interval": (0.3, 5.0), "rescale": 0.5},
    "cfg++": {"method": "cfg++", "scale": 0.6},
    "apg": {"method": "apg", "scale": 2.0, "norm": 1.0, "momentum": -0.5},
    "negative": {"scale": 2.0, "negative": "3"},
    "worse": {"scale": 2.0},
    "classifier": {"classifier_scale": 2.0},
    "clip": {"clip_scale": 2.0},
}


@pytest.mark.parametrize("name", GUIDANCE)
def test_guidance_keeps_to_the_device_and_does_not_wait_for_it(name: str, digits, labelled: DiffusionModel) -> None:
    """With a threshold of each sample's own."""
    given: dict[str, Any] = {**GUIDANCE[name]}
    match name:
        case "worse":
            given[name] = untrained(small("classifier-free", digits), digits).network_denoiser
        case "classifier":
            given[name] = untrained(small("noisy-classifier", digits), digits)
        case "clip":
            data = captioned(digits)
            config = recipes.build("clip", DataConfig("digits"), data.spec)
            given[name] = untrained(override(config, [*VISION, *(f"encoder.{setting}" for setting in READER)]), data)
    towards: Any = {"prompt": "a neat 3"} if name == "clip" else {"label": "all"}
    guidance = Guidance(**given)
    with pretended_gpu() as gpu:
        assert waits_for_results_alone(
            gpu,
            lambda steps: labelled.sample(2, steps=steps, guidance=guidance, threshold="dynamic", **towards),
        )


@pytest.mark.parametrize("method", [*restoration.METHODS, "linear with noise"])
def test_a_restoration_keeps_to_the_device_and_does_not_wait_for_it(
    method: str, gaussian, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But in the end, where projections go by turns until both constraints hold: TURNS of them here, which are none."""
    monkeypatch.setattr(restoration, "TURNS", 0)
    model, noise = gaussian["flow"], 0.1 if method == "linear with noise" else 0.0
    named, image = None if noise else method, torch.zeros(1, 4, 4)
    with pretended_gpu() as gpu:
        operator = box(8, 8, 2)
        assert waits_for_results_alone(
            gpu, lambda steps: model.restore(image, operator, noise, n=2, method=named, steps=steps)
        )


def test_variations_and_larger_pictures_keep_to_the_device_and_do_not_wait_for_it(gaussian) -> None:
    model = gaussian["flow"]
    with pretended_gpu() as gpu:
        assert waits_for_results_alone(gpu, lambda steps: model.vary(torch.zeros(1, 8, 8), 0.5, 2, steps=steps))
        assert waits_for_results_alone(gpu, lambda steps: model.sample(2, size=(12, 16), steps=steps))


def test_features_are_copied_once_for_each_batch_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """And all that is measured in them is computed on the CPU, in float64."""
    monkeypatch.setattr(pretrained, "BATCH", 4)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 5))
    seen = pretrained.Preprocessing((16, 16), None, "bilinear", (0.5,) * 3, (0.5,) * 3)
    space = pretrained.PretrainedSpace("tiny", network, seen, network, dimension=5, device=DEVICE, logits=nn.Softmax(1))
    with pretended_gpu() as gpu:
        assert gpu.counted(lambda: space.features(torch.zeros(10, 1, 8, 8))) == 3
        assert gpu.counted(lambda: space.classes_of(torch.zeros(10, 5))) == 1


AUTOENCODERS = {
    "kl": [],
    "vq": ["network.regularizer=vq"],
    "fsq": ["network.regularizer=fsq"],
    "adversarial": ["loss.adversarial=0.1", "loss.adversarial_start=0"],
    "changed": ["loss.half_size=0.25", "loss.turned=0.25"],
    "features": ["loss.features=0.1", "loss.feature_network=learned"],
}


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_a_step_of_an_autoencoder_keeps_to_the_device_and_does_not_wait_for_it(
    name: str, digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learned, "MOST_STEPS", 2)
    own = ["network.widths=32", "network.blocks=1", "training.precision=fp32", "training.batch_size=4"]
    built = recipes.build("autoencoder", DataConfig("digits"), digits.spec)
    config, (train, _) = override(built, [*own, *AUTOENCODERS[name]]).of_data(digits), digits.split(0.1)
    objective = config.build(digits.spec)
    objective.fit(train)
    with pretended_gpu() as gpu:
        trainer = Trainer(config.training, objective.to(DEVICE).train(), train, 0, tmp_path)
        assert [gpu.counted(lambda: trainer.gradients.compute(number)) for number in (1, 2)] == [0, 0]  # noqa: B023


def test_what_the_pretended_device_refuses() -> None:
    with pretended_gpu() as gpu:
        x = torch.ones(3, device=DEVICE)
        with pytest.raises(RuntimeError, match="meta"):
            x + torch.ones(3)
        for read in (x.sum().item, x.nonzero, x[0].__bool__):
            with pytest.raises((RuntimeError, NotImplementedError), match=r"[Mm]eta"):
                read()
        assert [gpu.counted(copy) for copy in (x.cpu, x.tolist, lambda: x.to("cpu", torch.float64))] == [1, 1, 1]
        assert gpu.counted(lambda: x * 2) == 0
