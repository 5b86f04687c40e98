"""The networks of an autoencoder: sizes, shortcuts that lose nothing, tiles that blend, and what is refused."""

import pytest
import torch
from torch import Tensor, nn

from sumi.autoencoders.autoencoder import AutoencoderNetwork
from sumi.autoencoders.network import Down, PatchDiscriminator, Up
from sumi.autoencoders.regularizers import FSQ, KL, VQ
from sumi.autoencoders.tiling import tiled
from sumi.errors import InputError

NETWORK = AutoencoderNetwork(widths=(16, 32), blocks=(1, 1))


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def silent(module: nn.Module) -> nn.Module:
    """Its convolutions give nothing: what is left is the shortcut."""
    for weight in module.parameters():
        nn.init.zeros_(weight)
    return module


def test_shortcuts_down_and_up_undo_each_other_where_channels_hold_all() -> None:
    x = randn(2, 16, 6, 4)
    torch.testing.assert_close(silent(Up(64, 16))(silent(Down(16, 64))(x)), x, rtol=0, atol=0)


def test_a_shortcut_to_fewer_channels_is_the_mean_of_theirs() -> None:
    x = randn(1, 16, 2, 2)
    quarters = x[0].reshape(16, 4)  # a pixel's four neighbours become channels, in this order
    expected = quarters.flatten().view(32, 2).mean(1)
    torch.testing.assert_close(silent(Down(16, 32))(x)[0, :, 0, 0], expected)
    grown = silent(Up(32, 16))(expected.view(1, 32, 1, 1))
    torch.testing.assert_close(grown[0].reshape(16, 4), expected.repeat_interleave(2).view(16, 4))


@pytest.mark.parametrize("regularizer", [KL(3), VQ(3, codes=8), FSQ((5, 5, 5))], ids=lambda r: r.name)
@pytest.mark.parametrize("widths", [(16,), (16, 32), (16, 32, 32)])
def test_latents_are_smaller_by_the_factor_for_any_size_it_divides(regularizer, widths: tuple[int, ...]) -> None:
    config = AutoencoderNetwork(widths, (1,) * len(widths), regularizer)
    factor = 2 ** len(widths)
    assert config.factor == factor
    autoencoder = config.build(2).eval()
    for rows, columns in ((1, 1), (2, 3)):
        x = randn(4, 2, rows * factor, columns * factor)
        z = autoencoder.encode(x)
        assert tuple(z.shape[1:]) == config.latent_shape(tuple(x.shape[1:])) == (3, rows, columns)
        assert autoencoder.decode(z).shape == x.shape
        assert autoencoder.decode(z).abs().max() <= 1


def test_every_weight_is_trained() -> None:
    autoencoder = NETWORK.build(3)
    optimizer = torch.optim.SGD(autoencoder.parameters(), lr=0.1)
    x = randn(4, 3, 8, 8)
    for _ in range(2):  # blocks end in zeros, which open first
        optimizer.zero_grad()
        z, loss = autoencoder(x, randn(4, 4, 2, 2))
        ((autoencoder.decoder(z) - x).square().mean() + loss.mean()).backward()
        optimizer.step()
    assert [name for name, p in autoencoder.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("side", [8, 16, 32, 64])
def test_the_discriminator_judges_patches_of_whole_and_halved_pictures(side: int) -> None:
    discriminator = PatchDiscriminator(3, side)
    for seen in (side, side // 2):
        assert min(discriminator(randn(2, 3, seen, seen)).shape[2:]) >= 1


# tiles


@pytest.mark.parametrize("size", [(20, 33), (32, 32), (70, 16), (65, 90)])
def test_tiles_are_the_whole_where_nothing_is_seen_beyond_the_overlap(size: tuple[int, int]) -> None:
    x = randn(2, 3, *size)
    half = nn.functional.pad(x, (0, size[1] % 2, 0, size[0] % 2))
    seen: list[tuple[int, ...]] = []

    def shrink(part: Tensor) -> Tensor:
        seen.append(tuple(part.shape[2:]))
        return nn.functional.avg_pool2d(part, 2)

    torch.testing.assert_close(tiled(shrink, half, 32, 8), nn.functional.avg_pool2d(half, 2))
    assert all(max(part) <= 32 for part in seen)
    double = nn.Upsample(scale_factor=2)
    torch.testing.assert_close(tiled(double, x, 32, 8), double(x))


@pytest.mark.parametrize("times", [0.5, 1, 4])
def test_tiles_fade_into_each_other(times: float) -> None:
    """Two tiles that disagree: the result goes from one to the other over the overlap without a step."""
    values, resized = iter([0.0, 1.0]), nn.Upsample(scale_factor=times)
    made = tiled(lambda part: resized(part).fill_(next(values)), torch.zeros(1, 1, 4, 48), 32, 16)[0, 0, 0]
    steps, overlap = made.diff(), round(16 * times)
    assert (float(made[overlap - 1]), float(made[2 * overlap])) == (0.0, 1.0)
    torch.testing.assert_close(steps[overlap - 1 : 2 * overlap], torch.full((overlap + 1,), 1 / (overlap + 1)))


@pytest.mark.parametrize("regularizer", [FSQ((5, 4, 3)), VQ(3, codes=8)], ids=lambda r: r.name)
def test_latents_are_decoded_as_the_nearest_that_the_decoder_knows(regularizer: VQ | FSQ) -> None:
    """Whatever a diffusion model made of them; the slope is that at those, as if nothing were moved or clamped."""
    model = AutoencoderNetwork((16,), (1,), regularizer).build(1)
    model.decoder.last.weight.data.mul_(30)
    z = 0.7 * randn(2, 3, 4, 4)
    known = model.regularizer.project(z)
    assert not torch.equal(known, z)
    assert (model.decoder(known).abs() > 1).any()
    assert torch.equal(model.decode(z), model.decoder(known).clamp(-1, 1))
    free, there = z.clone().requires_grad_(), known.clone().requires_grad_()
    found = torch.autograd.grad(model.decode(free).sum(), free)[0]
    torch.testing.assert_close(found, torch.autograd.grad(model.decoder(there).sum(), there)[0])


# what is refused


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"widths": ()}, r"^network\.widths: \[\] are not multiples of 16"),
        ({"widths": (16, 24)}, r"^network\.widths: \[16, 24\] are not multiples of 16"),
        ({"widths": (16, 48)}, r"^network\.widths: 48 does not divide 4 · 16; give such as 16,32$"),
        ({"widths": (16,), "blocks": (1, 1)}, r"^network\.blocks: \[1, 1\] are not one number"),
        ({"widths": (16,), "blocks": (-1,)}, r"^network\.blocks: \[-1\] are not one number"),
    ],
)
def test_shapes_that_cannot_be_are_refused(fields: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AutoencoderNetwork(**fields)


def test_data_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match=r"^network: an autoencoder takes images, not data of shape \(5,\)"):
        NETWORK.latent_shape((5,))
    with pytest.raises(
        InputError, match=r"which images of 6x8 do not allow; give fewer, or set data\.size to a multip"
    ):
        NETWORK.latent_shape((3, 6, 8))
