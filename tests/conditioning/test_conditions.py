"""Images, numbers and words as conditions: what is said of which sample, and how a network hears it."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from sumi.boundary.settings import override
from sumi.cli.main import main
from sumi.conditioning.condition import Condition
from sumi.conditioning.image import (
    CLEAN,
    GreyConditioning,
    ImageConditioner,
    MaskedConditioning,
    SmallConditioner,
    SmallConditioning,
    known,
    masked,
    noised,
)
from sumi.conditioning.labels import TOKENS
from sumi.conditioning.masks import DRAWS, training_masks
from sumi.conditioning.values import ValuesConditioner, column_of, mean_and_std
from sumi.data.batch import Batch, batch_of
from sumi.data.config import DataConfig
from sumi.data.image_set import ImageDataset
from sumi.data.images import ImageSpec
from sumi.data.load import load as load_data
from sumi.data.pixels import PixelRange
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.errors import InputError
from sumi.models.diffusion.build import build_denoiser
from sumi.models.model import RunDescription
from sumi.networks.condition import ConditionShape
from sumi.networks.layers import HEAD_WIDTH, CrossAttention
from sumi.networks.unet import UNetConfig
from sumi.operators.separable import box
from sumi.randomness import Purpose
from sumi.training_run import build_trainer
from tests.interrupted import killed_and_resumed
from tests.tiny_models import RGB, conditioned_model, config_with, scrambled

ITEMS = np.arange(64)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 64, channels: int = 3, side: int = 8) -> torch.Tensor:
    return 2 * torch.rand(n, channels, side, side, generator=generator()) - 1


def differs(a: Condition, b: Condition) -> bool:
    return any(not torch.equal(part, b[name]) for name, part in a.items())


def columns(values: torch.Tensor) -> SimpleNamespace:
    """Data of two columns, (N, 2)."""
    named = dict(zip("ab", values.numpy().T, strict=True))
    return SimpleNamespace(columns=("a", "b"), column=named.__getitem__)


def denoiser_of(*settings: str, spec: ImageSpec = RGB) -> NetworkDenoiser:
    denoiser = build_denoiser(config_with("inpaint", *settings), spec)
    assert isinstance(denoiser, NetworkDenoiser)
    return scrambled(denoiser).requires_grad_(False)


def batch(n: int = 64, step: int = 1, seed: int = 0, start: int = 0) -> Batch:
    """Positions ``start`` … of a step, whose items have no data of their own."""
    places = np.arange(start, start + n)
    return Batch(None, torch.zeros(0), places, places, step, seed)


def conditioner_of(config, x_0: torch.Tensor) -> ImageConditioner:
    return config.build(ImageSpec(*x_0.shape[1:], 256, ()), 16)


# --- masks


def test_masks_are_rectangles_frames_and_strokes_as_often_as_stated() -> None:
    """By their first number; a rectangle fills its bounding box, a frame's complement does, strokes do neither."""
    u = torch.rand(4000, DRAWS, dtype=torch.float64, generator=generator())
    masks = training_masks(u, (16, 12))
    assert masks.shape == (4000, 16, 12)
    assert masks.dtype == torch.bool

    def filled(mask: torch.Tensor) -> bool:
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        return bool(mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all())

    kind = u[:, 0]
    assert all(filled(mask) for mask in masks[kind < 0.4])
    assert all(filled(~mask) for mask in masks[(kind >= 0.4) & (kind < 0.6)])
    strokes = masks[kind >= 0.6]
    assert sum(filled(mask) for mask in strokes if mask.any()) < 0.05 * len(strokes)
    assert bool(masks[kind < 0.4].flatten(1).any(1).all())


def test_a_rectangles_sides_are_a_quarter_to_all_and_it_lies_anywhere() -> None:
    """With its numbers given: the exact pixels whose centres lie inside."""

    def mask(high: float, wide: float, top: float, left: float) -> torch.Tensor:
        u = torch.zeros(1, DRAWS, dtype=torch.float64)
        u[0, 2:6] = torch.tensor([high, wide, top, left])
        return training_masks(u, (8, 16))[0]

    assert bool(mask(1, 1, 0.3, 0.7).all())
    small = mask(0, 0, 1 - 1e-9, 0)  # a quarter of each side, at the bottom left
    assert small.nonzero().tolist() == [[i, j] for i in (6, 7) for j in range(4)]
    middle = mask(1 / 3, 1 / 3, 0.5, 0.5)  # half of each side, in the middle
    assert middle.nonzero().tolist() == [[i, j] for i in range(2, 6) for j in range(4, 12)]


def test_a_stroke_is_all_that_is_near_its_segment() -> None:
    """A horizontal one across the middle: the rows within half its breadth, between its ends and round beyond."""
    u = torch.zeros(1, DRAWS, dtype=torch.float64)
    u[0, 0] = 0.9  # strokes, and one of them
    u[0, 7:12] = torch.tensor([0.5, 0.25, 0.5, 0.75, 1.0])  # from (0.5, 0.25) to (0.5, 0.75), a quarter broad
    size = 64
    found = training_masks(u, (size, size))[0]
    place = (torch.arange(size) + 0.5) / size
    beyond = (0.25 - place).clamp(min=0) + (place - 0.75).clamp(min=0)
    wanted = (place[:, None] - 0.5).square() + beyond.square() <= 0.125**2
    assert torch.equal(found, wanted)


# --- what is said in training


@pytest.mark.parametrize(
    "config", [MaskedConditioning(0.3), SmallConditioning(2, 0.6, 0.3), GreyConditioning(0.3)], ids=lambda c: c.name
)
def test_what_is_given_depends_on_seed_step_and_position_alone(config) -> None:
    """The same alone as in the batch; another at another step; left out where the first number is below dropout."""
    x_0 = images()
    training = conditioner_of(config, x_0)
    whole = training.of_data(batch(step=5, seed=3), x_0, 0)
    for k in (0, 9, 63):
        alone = training.of_data(batch(1, 5, 3, start=k), x_0[k : k + 1], 0)
        for name, part in alone.items():
            assert torch.equal(part, whole.rows(slice(k, k + 1))[name])
    left_out = batch(step=5, seed=3).uniforms(Purpose.CONDITION_DROPOUT, 1)[:, 0] < 0.3
    assert 5 < int(left_out.sum()) < 40
    silent = (whole[config.name] == 0).flatten(1).all(1)
    assert bool(silent[left_out].all())
    if config.name != "masked":  # where a mask may cover all
        assert torch.equal(silent, left_out)
    assert config.name != "masked" or differs(training.of_data(batch(step=6, seed=3), x_0, 0), whole)
    assert config.name != "masked" or differs(training.of_data(batch(step=5, seed=3), x_0, 1), whole)


def test_a_masked_image_is_its_known_pixels_and_where_they_are() -> None:
    x_0 = images()
    message = conditioner_of(MaskedConditioning(0.0), x_0).of_data(batch(), x_0, 0)["masked"]
    there = message[:, 3:]
    assert set(there.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(message[:, :3], x_0 * there)
    masks = training_masks(batch().uniforms(Purpose.CONDITION_DROPOUT, 2 + DRAWS)[:, 2:], (8, 8))
    assert torch.equal(message, masked(x_0, masks))
    assert torch.equal(there[:, 0] == 1, ~masks)


def test_a_small_image_has_the_means_of_squares_and_a_grey_one_the_luma() -> None:
    x_0 = images()
    parts = conditioner_of(SmallConditioning(4, dropout=0.0), x_0).of_data(batch(), x_0, 0)
    small = parts["small"]
    torch.testing.assert_close(small[:, :3], x_0.unfold(2, 4, 4).unfold(3, 4, 4).mean((4, 5)))
    grey = conditioner_of(GreyConditioning(0.0), x_0).of_data(batch(), x_0, 0)["grey"]
    luma = 0.299 * x_0[:, 0] + 0.587 * x_0[:, 1] + 0.114 * x_0[:, 2]
    torch.testing.assert_close(grey[:, 0], luma)
    assert bool((small[:, 3] == 1).all())
    assert bool((grey[:, 1] == 1).all())
    assert list(parts) == ["small"]


def test_a_small_image_has_the_noise_that_the_network_is_given() -> None:
    """Half of all not at all, the others evenly up to the most; the variance is that of the formula."""
    n, x_0 = 20_000, torch.full((20_000, 1, 2, 2), 0.8)
    config = SmallConditioning(2, noise=0.6, dropout=0.0)
    message = conditioner_of(config, x_0).of_data(batch(n), x_0, 0)
    s, image = message["small_noise"], message["small"]
    clean = s == 0
    assert abs(float(clean.double().mean()) - CLEAN) <= 4 * 0.5 / n**0.5
    assert bool(torch.isclose(image[clean][:, 0], torch.tensor(0.8)).all())
    noisy, angle = s[~clean], torch.pi / 2 * s[~clean].double()
    assert 0.59 < float(noisy.max()) <= 0.6
    assert abs(float(noisy.mean()) - 0.3) <= 4 * 0.6 / 12**0.5 / len(noisy) ** 0.5
    rest = (image[~clean][:, 0, 0, 0].double() - angle.cos() * 0.8) / angle.sin()  # standard normal
    assert abs(float(rest.mean())) <= 4 / len(rest) ** 0.5
    assert abs(float(rest.var()) - 1) <= 4 * (2 / len(rest)) ** 0.5


def test_noising_begins_with_the_image_and_ends_with_noise() -> None:
    y, noise = images(2), torch.randn(2, 3, 8, 8, generator=generator(1))
    assert torch.equal(noised(y, noise, torch.tensor([0.0, 0.0])), y)
    torch.testing.assert_close(noised(y, noise, torch.tensor([1.0, 1.0])), noise, atol=1e-6, rtol=0)


# --- how a network hears it


@pytest.mark.parametrize("kind", ["masked", "small", "grey"])
def test_a_network_hears_each_samples_own_image_and_zeros_say_nothing(kind: str) -> None:
    denoiser = denoiser_of(f"conditioning={kind}")
    x, side = images(3), 4 if kind == "small" else 8
    message = known(images(3, 1 if kind == "grey" else 3, side))
    together = denoiser.bind(Condition({kind: message}))(x, 0.5).clean
    for k in range(3):
        alone = denoiser.bind(Condition({kind: message[k : k + 1]}))(x[k : k + 1], 0.5).clean
        torch.testing.assert_close(together[k : k + 1], alone, rtol=1e-5, atol=1e-5)
    assert all(float((together[k] - denoiser(x, 0.5).clean[k]).abs().max()) > 1e-2 for k in range(3))
    nothing = denoiser.bind(Condition({kind: torch.zeros_like(message)}))(x, 0.5).clean
    assert torch.equal(nothing, denoiser(x, 0.5).clean)
    assert torch.equal(denoiser.conditioner.null(x)[kind], torch.zeros_like(message))


def test_a_small_image_lies_over_the_large_one() -> None:
    """Enlarged by Keys' kernel a linear ramp stays that ramp, away from the rim; what is known is known all over."""
    ramp = torch.arange(8.0).expand(1, 1, 8, 8) / 8
    network_condition = conditioner_of(SmallConditioning(2), torch.zeros(1, 1, 16, 16))(
        Condition(small=known(ramp))
    ).image
    assert network_condition.shape == (1, 2, 16, 16)
    torch.testing.assert_close(
        network_condition[0, 0, 5, 4:12], (torch.arange(4.0, 12.0) - 0.5) / 16, rtol=0, atol=1e-6
    )
    torch.testing.assert_close(network_condition[0, 1], torch.ones(16, 16))


def test_how_noisy_the_image_is_is_heard_too() -> None:
    denoiser = denoiser_of("conditioning=small", "conditioning.noise=0.5")
    x, message = images(2), known(images(2, 3, 4))

    def answer(s: float) -> torch.Tensor:
        return denoiser.bind(Condition(small=message, small_noise=torch.tensor([s, s])))(x, 0.5).clean

    answers = [answer(s) for s in (0.0, 0.1, 0.5)]
    assert all(float((answers[a] - answers[b]).abs().max()) > 1e-3 for a, b in ((0, 1), (1, 2), (0, 2)))


def test_cross_attention_is_the_formula() -> None:
    """x + W_o Σ_l softmax_l(q·k_l/√d) v_l in heads of 32, against loops; nothing at the start."""
    layer, x = CrossAttention(64, 16, 12), torch.randn(2, 64, 2, 3, generator=generator())
    tokens = torch.randn(2, 5, 12, generator=generator(1))
    assert torch.equal(layer(x, tokens), x)
    torch.nn.init.normal_(layer.out.weight, generator=generator(2))
    q = layer.query(layer.norm(x).flatten(2).transpose(1, 2))
    k, v = layer.key_value(tokens).chunk(2, 2)
    wanted = torch.empty(2, 6, 64)
    for n in range(2):
        for p in range(6):
            for h in range(2):
                part = slice(h * HEAD_WIDTH, (h + 1) * HEAD_WIDTH)
                weights = (k[n, :, part] @ q[n, p, part] / HEAD_WIDTH**0.5).softmax(0)
                wanted[n, p, part] = weights @ v[n, :, part]
    wanted = x + layer.out(wanted).transpose(1, 2).view_as(x)
    torch.testing.assert_close(layer(x, tokens), wanted, rtol=1e-4, atol=1e-4)


def test_words_of_a_class_are_heard_at_the_levels_named() -> None:
    """A label by attention is `TOKENS` tokens; each sample hears its own; other levels have no such layer."""
    denoiser = denoiser_of("conditioning=labels", "conditioning.way=attention")
    assert denoiser.conditioner(Condition(labels=torch.tensor([0, 3]))).tokens.shape == (2, TOKENS, 32)
    x, labels = images(3), torch.tensor([0, 1, 2])
    together = denoiser.bind(Condition(labels=labels))(x, 0.5).clean
    for k in range(3):
        alone = denoiser.bind(Condition(labels=labels[k : k + 1]))(x[k : k + 1], 0.5).clean
        torch.testing.assert_close(together[k : k + 1], alone, rtol=1e-5, atol=1e-5)
    assert float((together - denoiser(x, 0.5).clean).abs().amax((1, 2, 3)).min()) > 1e-3
    config = UNetConfig(widths=(32, 64), blocks=(1, 2))
    for levels, layers in (((-1,), 2), ((0,), 3), ((0, 1), 5), ((), 0)):
        network = UNetConfig(**{**vars(config), "cross_attention": levels}).build((1, 8, 8), 1, ConditionShape(0, 12))
        assert sum(isinstance(m, CrossAttention) for m in network.modules()) == layers
    assert not any(isinstance(m, CrossAttention) for m in config.build((1, 8, 8)).modules())


# --- numbers


def test_values_are_heard_each_for_itself_and_nan_says_nothing() -> None:
    denoiser = denoiser_of("conditioning=values", "conditioning.names=brightness,contrast")
    x = images(2)
    base = torch.tensor([[0.1, 0.5], [0.1, 0.5]])

    def heard(values: torch.Tensor) -> torch.Tensor:
        return denoiser.bind(Condition(values=values))(x, 0.5).clean

    for other in ([0.2, 0.5], [0.1, 0.6], [torch.nan, 0.5], [0.1, torch.nan]):
        changed = base.clone()
        changed[1] = torch.tensor(other)
        assert torch.equal(heard(changed)[0], heard(base)[0])
        assert float((heard(changed)[1] - heard(base)[1]).abs().max()) > 1e-3
    assert torch.equal(heard(torch.full((2, 2), torch.nan)), denoiser(x, 0.5).clean)
    mean = denoiser.conditioner["values"].mean.expand(2, 2)
    assert float((heard(mean) - denoiser(x, 0.5).clean).abs().max()) > 1e-3  # to be average is something said


def test_a_value_is_given_for_all_samples_or_for_each() -> None:
    conditioner = ValuesConditioner(("a", "b"), 4)
    nan = torch.nan
    for given, wanted in (
        ({"a": 2}, [[2, nan], [2, nan]]),
        ({"b": [1, 3.5], "a": 2}, [[2, 1], [2, 3.5]]),
        ({"b": np.array([1.0, 3])}, [[nan, 1], [nan, 3]]),
        ({"a": torch.tensor(2.0)}, [[2, nan], [2, nan]]),
    ):
        found = conditioner.parse(given, range(5, 7))["values"]
        torch.testing.assert_close(found, torch.tensor(wanted), equal_nan=True, atol=0, rtol=0)
    with pytest.raises(InputError, match=r"^values.a: 3 are given for 2 samples; give one, or one per sample"):
        conditioner.parse({"a": [1, 2, 3]}, range(2))
    with pytest.raises(InputError, match=r"^values.a: "):
        conditioner.parse({"a": ["many", 2]}, range(2))


def test_values_are_given_in_deviations_of_the_training_data() -> None:
    """The same to rounding whatever the unit: 100 + 20 v of data 100 + 20 z is heard as v of z; constants too."""
    torch.manual_seed(0)
    plain, scaled = ValuesConditioner("ab", 16), ValuesConditioner("ab", 16)
    scaled.load_state_dict(plain.state_dict())
    data = torch.randn(500, 2, generator=generator(), dtype=torch.float64)
    data[7, 0] = torch.nan
    plain.fit(columns(data))
    scaled.fit(columns(100 + 20 * data))
    v = torch.tensor([[0.3, -1.2], [2.0, torch.nan]])
    torch.testing.assert_close(
        plain(Condition(values=v)).vector, scaled(Condition(values=100 + 20 * v)).vector, rtol=1e-4, atol=1e-5
    )
    there = data[~data[:, 0].isnan(), 0]
    torch.testing.assert_close(plain.mean[0].double(), there.mean(), rtol=0, atol=1e-6)
    torch.testing.assert_close(plain.std[0].double(), there.std(correction=0), rtol=0, atol=1e-6)
    plain.fit(columns(torch.ones(4, 2)))
    assert plain.std.tolist() == [1, 1]


def test_values_come_from_metadata_and_from_pixels(tmp_path: Path) -> None:
    """Columns by their names, nan where a line has none; brightness and contrast are of the pixels in [-1, 1]."""
    lines = []
    for k in range(4):
        Image.fromarray(np.full((8, 8), 60 * k, np.uint8)).save(tmp_path / f"{k}.png")
        numbers = {"age": 10 * k, "weight": 0.5} if k != 2 else {"age": True, "weight": "heavy"}
        lines.append(json.dumps({"file_name": f"{k}.png", **numbers}))
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    data = load_data(DataConfig(source=str(tmp_path), size=8))
    found = np.stack([column_of(data, name).float().numpy() for name in ("age", "brightness", "contrast")], 1)
    np.testing.assert_equal(found[:, 0], np.array([0, 10, np.nan, 30], np.float32))
    np.testing.assert_allclose(found[:, 1], np.array([0, 60, 120, 180]) * 2 / 255 - 1, atol=1e-6)
    np.testing.assert_allclose(found[:, 2], 0, atol=1e-6)
    assert sorted(data.values) == ["age", "weight"]
    assert data.subset([3, 0]).values["age"].tolist() == [30, 0]
    with pytest.raises(InputError, match=r"conditioning.names: the data have no values 'agge'; did you mean age\?"):
        column_of(data, "agge")
    aged = (tmp_path / "metadata.jsonl").read_text().replace('"age": 30', '"age": 31')
    (tmp_path / "metadata.jsonl").write_text(aged)
    assert load_data(DataConfig(source=str(tmp_path), size=8)).fingerprint() != data.fingerprint()


def test_a_samples_values_are_left_out_together() -> None:
    values = np.stack([np.arange(1000), -np.arange(1000)], 1).astype(np.float32)
    conditioner = ValuesConditioner("ab", 16, dropout=0.4)
    conditioner.fit(columns(torch.from_numpy(values)))
    places = np.arange(200)
    chosen = Batch(None, torch.zeros(0), places + 200, places, 2, 0)
    message = conditioner.of_data(chosen, torch.zeros(0), 0)["values"]
    left_out = chosen.uniforms(Purpose.CONDITION_DROPOUT, 1)[:, 0] < 0.4
    assert bool(message[left_out].isnan().all())
    assert torch.equal(message[~left_out], torch.from_numpy(values[200:400])[~left_out])


# --- training and sampling


@pytest.mark.parametrize(
    ("recipe", "settings"),
    [
        ("inpaint", ()),
        ("upscale", ("conditioning.noise=0.5",)),
        ("classifier-free", ("conditioning.way=attention",)),
        ("ddpm", ("conditioning=values",)),
    ],
)
def test_a_killed_run_resumes_bit_for_bit(recipe: str, settings, tmp_path: Path, monkeypatch) -> None:
    """Conditions are functions of (seed, step, position); the scale of values is in the checkpoint."""
    model, whole = killed_and_resumed(config_with(recipe, *settings), tmp_path, monkeypatch, at=7)
    if recipe == "ddpm":
        data = PixelRange(17).to_model(load_data(DataConfig(source="digits")).split(0.1)[0].images)
        torch.testing.assert_close(
            whole.ema["conditioner.values.mean"], data.mean((1, 2, 3)).mean()[None], rtol=1e-4, atol=0
        )
    assert bool(model.sample(2).isfinite().all())


def test_training_tells_of_the_image_that_the_network_is_to_make(tmp_path: Path, monkeypatch) -> None:
    """Mirrored images have mirrored conditions."""
    data = load_data(DataConfig(source="digits", flip=True))
    config = config_with("upscale", "data.flip=true", "conditioning.dropout=0")
    seen: list[tuple[Condition, torch.Tensor]] = []
    of_data = SmallConditioner.of_data

    def record(self, batch, x_0, draw):
        seen.append((of_data(self, batch, x_0, draw), x_0.clone()))
        return seen[-1][0]

    monkeypatch.setattr(SmallConditioner, "of_data", record)
    from sumi.training.run_folder import RunFolder
    from sumi.training_run import Events

    description = RunDescription(config, data.spec, "", 0.5)
    trainer, kept = build_trainer(description, data, RunFolder(tmp_path), "cpu", Events())
    items = np.arange(32)
    trainer.objective(batch_of(kept, items, items, step=1, seed=0, flip=True))
    message, x_0 = seen[0]
    torch.testing.assert_close(message["small"][:, :1], box(8, 8, 2)(x_0))
    plain = kept.batch(items)
    mirrored = [k for k in range(32) if torch.equal(x_0[k], plain[k].flip(-1)) and not torch.equal(x_0[k], plain[k])]
    assert 5 < len(mirrored) < 27


def test_a_sample_gets_its_own_condition_whatever_the_batch() -> None:
    model = conditioned_model("inpaint")
    message = Condition(masked=masked(images(3), torch.rand(3, 8, 8, generator=generator()) < 0.5))
    whole = model.sample(3, condition=message)
    parts = torch.cat([model.sample(1, start=k, condition=message.rows(slice(k, k + 1))) for k in range(3)])
    torch.testing.assert_close(whole, parts, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(model.sample(3, condition=message, batch_size=2), whole, rtol=1e-3, atol=1e-3)
    assert float((whole - model.sample(3)).abs().amax((1, 2, 3)).min()) > 0.01


@pytest.mark.parametrize(
    ("recipe", "condition", "answer"),
    [
        ("ddpm", Condition(labels=torch.zeros(2).long()), "condition: this model was trained without"),
        (
            "inpaint",
            Condition(labels=torch.zeros(2).long()),
            "condition.labels: this model was trained with conditioning=masked only",
        ),
        (
            "inpaint",
            Condition(masked=torch.zeros(2, 3, 8, 8)),
            r"condition.masked: has shape \(2, 3, 8, 8\); give \(N, 4",
        ),
        ("inpaint", Condition(masked=torch.zeros(3, 4, 8, 8)), "condition: is not of 2 items; give one row for each"),
        ("inpaint", Condition(), "condition: is not of 2 items"),
    ],
)
def test_a_condition_that_does_not_fit_is_refused(recipe: str, condition: Condition, answer: str) -> None:
    with pytest.raises(InputError, match=answer):
        conditioned_model(recipe).sample(2, condition=condition)


@pytest.mark.parametrize(
    ("recipe", "settings", "answer"),
    [
        ("upscale", ("conditioning.factor=1",), "conditioning.factor: 1 is below 2"),
        ("upscale", ("conditioning.factor=3",), "conditioning.factor: 3 does not divide the images' sides, 8 and 8"),
        ("upscale", ("conditioning.noise=1.5",), r"conditioning.noise: 1.5 is not in \[0, 1\]"),
        ("inpaint", ("conditioning.dropout=1",), r"conditioning.dropout: 1.0 is not in \[0, 1\)"),
        (
            "ddpm",
            ("conditioning=values", "conditioning.names=a,a"),
            "conditioning.names: .*duplicates",
        ),
        ("colourise", (), "conditioning: grey needs colour images"),
    ],
)
def test_what_cannot_be_a_condition_is_refused(recipe: str, settings, answer: str) -> None:
    with pytest.raises(InputError, match=answer):
        build_denoiser(config_with(recipe, *settings), ImageSpec(1, 8, 8, 17, ()))


def test_only_the_dropout_is_no_part_of_a_models_identity() -> None:
    def identity(*settings: str) -> str:
        return RunDescription(config_with("upscale", *settings), RGB, "", 0.5).identity

    assert identity() == identity("conditioning.dropout=0.2")
    assert len({identity(), identity("conditioning.factor=4"), identity("conditioning.noise=0.1")}) == 3


def test_values_are_asked_for_by_name(tmp_path: Path, capsys) -> None:
    """Those of which nothing is said are left open; the file says what was asked, and mistakes get one line."""
    model = conditioned_model("ddpm", "conditioning=values", "conditioning.names=brightness,contrast")
    message = model.condition_of(range(3), None, {"values": {"contrast": 0.25}})["values"]
    assert message.shape == (3, 2)
    assert bool(message[:, 0].isnan().all())
    assert message[:, 1].tolist() == [0.25] * 3
    model.save(tmp_path / "run")
    command = ["sample", str(tmp_path / "run"), "-n", "2", "--out", str(tmp_path / "out")]
    assert main([*command, "--value", "brightness=0.5", "--value", "contrast=0.25", "--guidance", "1"]) == 0
    made = model.sample(2, condition={"values": {"brightness": 0.5, "contrast": 0.25}}, guidance=1.0)
    first = Image.open(tmp_path / "out/00000.png")
    assert np.array_equal(np.asarray(first), model.pixels.to_bytes(made)[0].permute(1, 2, 0).numpy())
    network_condition = json.loads(first.text["sumi"])
    assert {"brightness": 0.5, "contrast": 0.25, "guidance": 1.0}.items() <= network_condition.items()
    capsys.readouterr()
    for wrong, answer in (
        ("brightness", "--value brightness: is not of the form NAME=NUMBER"),
        ("brightness=nan", "--value brightness=nan: is not of the form NAME=NUMBER"),
        ("brigtness=1", "--value: the model was not trained with brigtness; did you mean brightness?"),
    ):
        assert main([*command[:-1], str(tmp_path / "none"), "--value", wrong]) == 2
        assert answer in capsys.readouterr().err
    with pytest.raises(
        InputError,
        match="condition: this model has no condition values; choose from masked",
    ):
        conditioned_model("inpaint").sample(1, condition={"values": {"brightness": 0.1}})


def test_labels_numbers_and_images_combine(tmp_path: Path, monkeypatch) -> None:
    """One network is given all three, each left out independently; each counts, and the others stay as they are."""
    config = config_with("ddpm", "conditioning=labels,values,small", "conditioning.labels.dropout=0.5")
    model, _ = killed_and_resumed(config, tmp_path, monkeypatch, at=7)
    conditioner = model.network_denoiser.conditioner
    assert conditioner.names == ("labels", "values", "small")
    scrambled(model.network_denoiser)
    data = load_data(config.data)
    conditioner.fit(data)
    whole = conditioner.of_data(batch_of(data, ITEMS, ITEMS, step=2, seed=0), images(channels=1))
    left_out = [whole["labels"] == 10, whole["values"][:, 0].isnan(), (whole["small"] == 0).flatten(1).all(1)]
    assert [bool(part.any()) and not bool(part.all()) for part in left_out] == [True] * 3
    assert not torch.equal(left_out[0], left_out[1])
    given = {"labels": "7", "values": {"brightness": 0.1}, "small": known(images(2, 1, 4))}

    def sampled(**other) -> torch.Tensor:
        return model.sample(2, condition=given | other, steps=2)

    base = sampled()
    for other in ({"labels": "3"}, {"values": {"brightness": 0.5}}, {"small": known(images(2, 1, 4)).flip(0)}):
        assert float((sampled(**other) - base).abs().max()) > 1e-3
    parts = {name: part for name, part in given.items() if name != "labels"}
    assert torch.equal(model.sample(2, label="7", condition=parts, steps=2), base)
    with pytest.raises(InputError, match="label: is part of the condition that is given"):
        model.sample(2, label="7", condition=given)
    with pytest.raises(InputError, match="conditioning: labels,labels names one twice"):
        config_with("ddpm", "conditioning=labels,labels")
    with pytest.raises(InputError, match=r"conditioning is labels, values, small; write conditioning\.NAME\.dropout"):
        override(config, "conditioning.dropout=0.2")


def test_equal_numbers_have_a_deviation_of_one_and_unknown_ones_are_refused() -> None:
    for value in (0.1, 37.2, 3.3e9):
        mean, std = mean_and_std(torch.full((1000,), value))
        assert float(mean) == pytest.approx(value, rel=1e-7)
        assert float(std) == 1
    pixels, keys = np.zeros((3, 1, 8, 8), np.uint8), ("a", "b", "c")
    data = ImageDataset(pixels, None, (), None, keys, values={"age": np.full(3, np.nan)})
    with pytest.raises(InputError, match=r"conditioning\.names: no training item has a number for age"):
        ValuesConditioner(("age",), 4).fit(data)
