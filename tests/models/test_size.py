"""A network that does not fit into memory is refused before it takes any, and one that fits is made as ever."""

import time

import pytest
import torch

from sumi import recipes
from sumi.boundary.settings import override
from sumi.data.config import DataConfig
from sumi.data.images import ImageSpec
from sumi.errors import InputError
from sumi.models import size
from sumi.models.size import bounded, require_room
from sumi.networks.transformer import TransformerConfig
from sumi.networks.unet import UNetConfig
from sumi.recipes.configure import configure

IMAGES = ImageSpec(1, 16, 16, 256, ("0", "1"))


@pytest.mark.parametrize(
    ("recipe", "settings"),
    [
        ("ddpm", ["network.widths=32000000,64000000", "network.blocks=1,1"]),
        ("ddpm", ["network.widths=999999999999999984", "network.blocks=1"]),
        ("ddpm", ["network.blocks=1000,1000,1000", "network.widths=2048,2048,2048"]),
        ("jit", ["network.width=12800000"]),
        ("jit", ["network.registers=100000", "network.width=12800000"]),
        ("guided", ["network.widths=64000000", "network.blocks=1", "network.attention="]),
        ("noisy-classifier", ["network.widths=64000000", "network.blocks=1", "network.attention="]),
        ("vae", ["network.latent=100000000000"]),
        ("gan", ["network.widths=16,64000000"]),
        ("pixelcnn", ["network.width=64000000"]),
        ("autoencoder", ["network.widths=32000000,64000000", "network.blocks=1,1"]),
    ],
)
def test_a_network_beyond_memory_is_one_line_at_once(
    recipe: str, settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(size, "available_memory", lambda: 8 * 10**9)
    config = override(recipes.build(recipe, DataConfig(source="digits"), IMAGES), settings)
    begun = time.perf_counter()
    with pytest.raises(InputError, match=r"^network: .*lower (its widths or blocks|network\.blocks)$"):
        config.build(IMAGES)
    assert time.perf_counter() - begun < 10


def test_counting_leaves_the_weights_and_the_random_state_as_they_were() -> None:
    config, made = TransformerConfig(width=32, blocks=1, embedding=32), []  # its registers are random
    for build in (lambda: config.build((1, 8, 8)), lambda: bounded(lambda: config.build((1, 8, 8)))):
        torch.manual_seed(0)
        made.append((build().state_dict(), torch.get_rng_state()))
    (plain, before), (counted, after) = made
    assert torch.equal(before, after)
    assert all(torch.equal(plain[name], value) for name, value in counted.items())


def test_the_weights_that_are_counted_are_the_network_s(monkeypatch: pytest.MonkeyPatch) -> None:
    config = UNetConfig(widths=(32,), blocks=(1,), embedding=32)
    count = sum(value.numel() for value in (*config.build((1, 8, 8)).parameters(), *config.build((1, 8, 8)).buffers()))
    needed = 4 * size.COPIES * count
    monkeypatch.setattr(size, "available_memory", lambda: needed)
    bounded(lambda: config.build((1, 8, 8)))
    monkeypatch.setattr(size, "available_memory", lambda: needed - 1)
    with pytest.raises(InputError, match="lower its widths or blocks"):
        bounded(lambda: config.build((1, 8, 8)))


def test_room_for_training_is_for_all_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size, "available_memory", lambda: 20_000)
    require_room(1000, size.TRAINED_COPIES)
    with pytest.raises(InputError, match="GB are available"):
        require_room(1001, size.TRAINED_COPIES)


@pytest.mark.parametrize(
    "setting",
    [
        *("network.blocks=[1000000000]", "network.embedding=1000000000", "schedule.steps=1000000000000"),
        *("training.batch_size=1000000000", "training.steps=1000000000000", "sampling.steps=1000000000"),
        *("data.size=1000000", "network.widths=99999999999999999999999"),
        f"data.background={'x' * 5000}",
    ],
)
def test_what_takes_time_or_memory_in_proportion_is_refused_as_it_is_read(setting: str) -> None:
    field = setting.partition("=")[0]
    with pytest.raises(InputError, match=rf"^{field}.*(too large|out of range|5,000 characters)"):
        configure("ddpm", data="digits", settings=[setting])
