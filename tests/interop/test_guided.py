"""U-Nets of guided-diffusion and improved-diffusion with every option of their scripts."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sumi.denoising.variance import LearnedVariance
from sumi.errors import InputError
from sumi.interop.claims import Claims
from sumi.interop.guided import recognised
from sumi.interop.sources import import_run, open_source
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load
from sumi.networks.guided import GuidedConfig
from sumi.process.chain import CosineBeta, LinearBeta
from tests.guided_networks import GuidedNetwork, Options
from tests.toolkits import same

TOLERANCE = 2e-6
EXACT = 1e-12
ADM = Options(
    num_channels=64,
    attention_ds=(1, 2),
    num_head_channels=64,
    num_classes=3,
    out_channels=6,
    resblock_updown=True,
    use_scale_shift_norm=True,
)


def saved(options: Options, place: Path) -> tuple[GuidedNetwork, Path]:
    """A network of random tensors, and its file."""
    network = GuidedNetwork(options)
    labels = torch.zeros(1, dtype=torch.int64)
    network.network(torch.zeros(1, options.in_channels, 16, 16), torch.zeros(1), labels)
    return network, network.saved(place / "a.safetensors", "")


def check(network: GuidedNetwork, model: DiffusionModel) -> None:
    """Its ε at a time, and its network in float64."""
    x, labels = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([2, 0])
    condition = model.condition_of(range(2), labels) if network.o.num_classes else None
    with torch.no_grad():
        found = model.denoiser(condition, threshold="none")(x, 0.4).noise
        same(found, network.network(x, torch.full((2,), 399.0), labels)[:, :3], TOLERANCE)
        denoiser, time = model.gaussian_denoiser().double(), torch.full((2,), 399.0, dtype=torch.float64)
        network.double()
        given = () if condition is None or denoiser.conditioner is None else (denoiser.conditioner(condition),)
        same(denoiser.network(x.double(), time, *given), network.network(x.double(), time, labels), EXACT)


@pytest.mark.parametrize(
    ("options", "claimed"),
    [
        (ADM, []),
        (replace(ADM, use_new_attention_order=True, num_head_channels=32), ["new_order=true", "head_width=32"]),
        (replace(ADM, use_new_attention_order=True, num_head_channels=-1, num_heads=2), ["new_order=true", "heads=2"]),
        (Options(num_heads=4), []),  # as improved-diffusion's
        (Options(num_heads=2, num_heads_upsample=8), ["heads=2", "up_heads=8"]),
        (Options(num_heads=4, conv_resample=False, channel_mult=(1, 1, 2), num_res_blocks=2), []),
        (Options(num_channels=64, channel_mult=(0.5, 1), num_head_channels=64, resblock_updown=True), []),
    ],
)
def test_every_option_of_its_scripts_gives_its_output(tmp_path: Path, options: Options, claimed: list[str]) -> None:
    network, file = saved(options, tmp_path)
    settings = ["shape=3,16,16", *(f"network.{setting}" for setting in claimed)]
    import_run(file, tmp_path / "run", settings=settings, device="cpu")
    model = load(tmp_path / "run", DiffusionModel, device="cpu")
    check(network, model)
    assert (model.config.variance == LearnedVariance()) == (options.out_channels == 6)


def test_a_mapping_says_the_order_too(tmp_path: Path) -> None:
    options = replace(ADM, use_new_attention_order=True)
    network, file = saved(options, tmp_path)
    claims = Claims(shape=(3, 16, 16), network=GuidedConfig(new_order=True), schedule=CosineBeta())
    model = open_source(file, claims=claims, device="cpu").diffusion
    assert model.config.schedule == CosineBeta()
    check(network, model)


def test_a_learned_variance_lies_between_those_of_the_step(tmp_path: Path) -> None:
    """log of it: a share of log β, the rest of log β̃."""
    network, file = saved(replace(ADM, num_classes=0), tmp_path)
    model = open_source(file, settings=["shape=3,16,16"], device="cpu").diffusion
    x, i = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)), 399
    with torch.no_grad():
        found = model.gaussian_denoiser()(x, (i + 1) / 1000).clean_variance
        share = (network.network(x, torch.full((2,), float(i)))[:, 3:] + 1) / 2
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    alpha_bar = (1 - betas).cumprod(0)
    small = betas[i] * (1 - alpha_bar[i - 1]) / (1 - alpha_bar[i])
    variance = (share * betas[i].log() + (1 - share) * small.log()).exp()
    assert found is not None
    of_clean = betas[i] * alpha_bar[i - 1].sqrt() / (1 - alpha_bar[i])
    same(small + of_clean**2 * found, variance, TOLERANCE)


@pytest.mark.parametrize(
    ("multiples", "width", "blocks", "new_order", "heads", "schedule", "side"),
    [
        ((1, 2, 3, 4), 192, 3, True, 0, CosineBeta(), 64),
        ((1, 1, 2, 3, 4), 256, 2, False, 4, LinearBeta(), 128),
        ((1, 1, 2, 2, 4, 4), 256, 2, False, 0, LinearBeta(), 256),
        ((0.5, 1, 1, 2, 2, 4, 4), 256, 2, False, 0, LinearBeta(), 512),
    ],
)
def test_the_published_models_are_known_by_their_shape(
    multiples: tuple[float, ...], width: int, blocks: int, new_order: bool, heads: int, schedule: object, side: int
) -> None:
    """By the flags of the library's README: attention at sides of 32, 16 and 8."""
    widths = tuple(int(width * multiple) for multiple in multiples)
    attention = tuple(level for level in range(len(widths)) if side // 2**level in (32, 16, 8))
    with torch.device("meta"):
        tensors = GuidedConfig(width, widths, blocks, attention, embedding=1001).build((3, side, side), 2).state_dict()
    found = recognised(tensors, None)
    assert found is not None
    network, claims = found.claims.network, found.claims
    assert isinstance(network, GuidedConfig)
    assert (network.new_order, network.heads, claims.schedule) == (new_order, heads, schedule)
    assert (claims.shape, len(claims.classes), claims.learned_variance) == ((3, side, side), 1000, True)


def test_what_is_given_more_than_an_image_is_refused(tmp_path: Path) -> None:
    network, file = saved(replace(ADM, in_channels=6), tmp_path)
    with pytest.raises(InputError, match="takes 6 channels and gives 6, so part of its input is a small image"):
        open_source(file)
    found = open_source(file, claims=Claims(shape=(6, 16, 16)), device="cpu").diffusion
    assert found.items.shape == (6, 16, 16)
    network.tensors["input_blocks.1.1.transformer_blocks.0.norm1.weight"] = torch.zeros(64)
    with pytest.raises(InputError, match="attends to states, as Stable Diffusion's does"):
        open_source(network.saved(tmp_path / "b.safetensors", "model.diffusion_model."))
