"""EDM's, EDM2's and k-diffusion's networks by the names of their tensors. None of them is on a registry: k-diffusion's
hourglass (image_transformer_v2) is newer than its last release there. So they are written out here and in
`tests.published_networks` from the code of NVlabs/edm, NVlabs/edm2 and crowsonkb/k-diffusion, not from ours.
"""

import json
from math import log, pi
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sumi.boundary.settings import override
from sumi.denoising.parameterization import PredictPreconditioned
from sumi.errors import InputError
from sumi.interop.claims import Claims
from sumi.interop.sources import import_run, open_source
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load
from sumi.networks.condition import NetworkCondition
from tests.published_networks import Song, Weights

TOLERANCE = 2e-6
OF_NEIGHBOURS = 4e-6
"""Its attention over few keys is summed in another order: 2.5e-6 on a processor with AVX2; in float64 1e-12."""
BATCH = 2


class EDM2(Weights):
    """Two levels of 8 and 4, one block each, of 16 and 64 channels, attention at the lower."""

    def unit(self, x: Tensor, name: str, out: int, *side: int, gain: Tensor | float = 1.0) -> Tensor:
        weight = self(f"{name}.weight", out, x.shape[1], *side)
        fan = weight[0].numel()
        norm = weight.flatten(1).norm(dim=1).reshape(-1, *[1] * (weight.ndim - 1))
        weight = gain * weight / (1e-4 + norm / fan**0.5) / fan**0.5
        return F.conv2d(x, weight, padding=side[0] // 2) if side else x @ weight.T

    def block(self, x: Tensor, name: str, out: int, change: str = "", attends: bool = False) -> Tensor:
        encodes = name.startswith("enc")
        x = {"": x, "down": F.avg_pool2d(x, 2), "up": F.interpolate(x, scale_factor=2.0)}[change]
        if encodes:
            x = self.unit(x, f"{name}.conv_skip", out, 1, 1) if x.shape[1] != out else x
            x = x / (1e-4 + x.norm(dim=1, keepdim=True) / out**0.5)
        h = self.unit(F.silu(x) / 0.596, f"{name}.conv_res0", out, 3, 3)
        scale = 1 + self.unit(self.about, f"{name}.emb_linear", out, gain=self(f"{name}.emb_gain"))
        h = self.unit(F.silu(h * scale[:, :, None, None]) / 0.596, f"{name}.conv_res1", out, 3, 3)
        if not encodes and x.shape[1] != out:
            x = self.unit(x, f"{name}.conv_skip", out, 1, 1)
        h = (0.7 * x + 0.3 * h) / 0.58**0.5
        if attends:
            three = self.unit(h, f"{name}.attn_qkv", 3 * out, 1, 1).reshape(len(h), 1, out, 3, -1)
            q, k, v = (three / (1e-4 + three.norm(dim=2, keepdim=True) / out**0.5)).unbind(3)
            shares = torch.einsum("nhcq,nhck->nhqk", q, k / 64**0.5).softmax(3)
            mixed = torch.einsum("nhqk,nhck->nhcq", shares, v).reshape(h.shape)
            h = (0.7 * h + 0.3 * self.unit(mixed, f"{name}.attn_proj", out, 1, 1)) / 0.58**0.5
        return h.clamp(-256, 256)

    def network(self, x: Tensor, time: Tensor, classes: Tensor) -> Tensor:
        phase = time[:, None] * self("emb_fourier.freqs", 8) + self("emb_fourier.phases", 8)
        about = self.unit((2**0.5 * phase.cos()).to(x.dtype), "emb_noise", 12)
        about = (about + self.unit(classes * 3**0.5, "emb_label", 12)) / 2**0.5
        self.about = F.silu(about) / 0.596
        self("logvar_fourier.freqs", 4)
        held = [self.unit(torch.cat([x, torch.ones_like(x[:, :1])], 1), "enc.8x8_conv", 16, 3, 3)]
        for name, out, change, attends in (("8x8_block0", 16, "", False), ("4x4_down", 16, "down", False)):
            held.append(self.block(held[-1], f"enc.{name}", out, change, attends))
        held.append(self.block(held[-1], "enc.4x4_block0", 64, attends=True))
        h = self.block(self.block(held[-1], "dec.4x4_in0", 64, attends=True), "dec.4x4_in1", 64)
        for name, out, attends in (("4x4_block0", 64, True), ("4x4_block1", 64, True)):
            h = self.block(self.joined(h, held.pop()), f"dec.{name}", out, attends=attends)
        h = self.block(h, "dec.8x8_up", 64, "up")
        for name in ("8x8_block0", "8x8_block1"):
            h = self.block(self.joined(h, held.pop()), f"dec.{name}", 16)
        return self.unit(h, "out_conv", 3, 3, 3, gain=self("out_gain"))

    def joined(self, a: Tensor, b: Tensor) -> Tensor:
        whole = ((a.shape[1] + b.shape[1]) / 0.5) ** 0.5
        return torch.cat([whole / a.shape[1] ** 0.5 * 0.5 * a, whole / b.shape[1] ** 0.5 * 0.5 * b], 1)


class Hourglass(Weights):
    """Two levels of patches of 2: 8×4 tokens that attend to 3×3 neighbours, or in windows of 4, then 4×2 to all."""

    def __init__(self, windows: bool) -> None:
        super().__init__()
        self.windows = windows

    def rms(self, x: Tensor, scale: Tensor) -> Tensor:
        return x * scale * torch.rsqrt((x**2).mean(-1, keepdim=True) + 1e-6)

    def perceptron(self, x: Tensor, name: str, hidden: int) -> Tensor:
        value, gate = self.linear(x, f"{name}.up_proj", 2 * hidden, bias=False).chunk(2, -1)
        return self.linear(value * F.gelu(gate), f"{name}.down_proj", x.shape[-1], bias=False)

    def scaled(self, x: Tensor, name: str) -> Tensor:
        scale = self.linear(self.about, f"{name}.norm.linear", x.shape[-1], bias=False)
        return self.rms(x, 1 + scale[:, None, None, :])

    def layer(self, x: Tensor, places: Tensor, name: str, heads: int, neighbours: int) -> Tensor:
        n, height, width, wide = x.shape
        each = wide // heads
        own = f"{name}.self_attn"
        three = self.linear(self.scaled(x, own), f"{own}.qkv_proj", 3 * wide, bias=False)
        q, k, v = (part.reshape(n, height, width, heads, each) for part in three.chunk(3, -1))
        root = self(f"{own}.scale", heads, around=1.0)[:, None].sqrt()
        freqs = torch.linspace(log(pi), log(10 * pi), heads * each // 8 + 1)[:-1].exp()
        freqs = torch.stack([freqs[head::heads] for head in range(heads)])
        freqs = self.tensors.setdefault(f"{own}.pos_emb.freqs", freqs)
        angles = torch.cat([places[..., None, :1] * freqs, places[..., None, 1:] * freqs], -1)
        half = angles.shape[-1]

        def turned(t: Tensor) -> Tensor:
            t = t * root * torch.rsqrt((t**2).sum(-1, keepdim=True) + 1e-6)
            a, b, rest = t[..., :half], t[..., half : 2 * half], t[..., 2 * half :]
            turn = torch.polar(torch.ones_like(angles), angles) * torch.complex(a, b)
            return torch.cat([turn.real, turn.imag, rest], -1)

        q, k, mixed = turned(q), turned(k), torch.zeros_like(v)
        side = neighbours or max(height, width)
        shift = 2 * (int(name.startswith("up"))) if self.windows and neighbours else 0  # its second block
        for i in range(height):
            for j in range(width):
                if self.windows and neighbours:
                    row, column = (self.window(place, n, shift) for place, n in ((i, height), (j, width)))
                else:
                    top = min(max(i - side // 2, 0), max(height - side, 0))
                    left = min(max(j - side // 2, 0), max(width - side, 0))
                    row, column = ([*range(height)][top : top + side], [*range(width)][left : left + side])
                keys, values = (t[:, row][:, :, column].reshape(n, -1, heads, each) for t in (k, v))
                shares = torch.einsum("nhe,nlhe->nhl", q[:, i, j], keys).softmax(-1)
                mixed[:, i, j] = torch.einsum("nhl,nlhe->nhe", shares, values)
        x = x + self.linear(mixed.reshape(x.shape), f"{own}.out_proj", wide, bias=False)
        return x + self.perceptron(self.scaled(x, f"{name}.ff"), f"{name}.ff", 24)

    def window(self, place: int, n: int, shift: int) -> list[int]:
        """Windows of 4 that begin at -shift; the first and the last are cut off by the border."""
        number = (place + shift) // 4
        return [other for other in range(n) if (other + shift) // 4 == number]

    def network(self, x: Tensor, time: Tensor, classes: Tensor) -> Tensor:
        def features(values: Tensor, name: str) -> Tensor:
            phase = 2 * pi * values @ self(f"{name}_emb.weight", 6, values.shape[1]).T
            there = torch.cat([phase.cos(), phase.sin()], 1).to(x.dtype)
            return self.linear(there, f"{name}_in_proj", 12, bias=False)

        about = features(time[:, None], "time") + features(x.new_zeros(len(x), 9), "aug")
        about = about + self("class_emb.weight", 4, 12)[classes.argmax(1)]
        about = self.rms(about, self("mapping.in_norm.scale", 12, around=1.0))
        normed = self.rms(about, self("mapping.blocks.0.norm.scale", 12, around=1.0))
        about = about + self.perceptron(normed, "mapping.blocks.0", 20)
        self.about = self.rms(about, self("mapping.out_norm.scale", 12, around=1.0))
        x = x.permute(0, 2, 3, 1)
        h = self.linear(self.squares(x), "patch_in.proj", 16, bias=False)
        centre = (torch.arange(8, dtype=x.dtype) - 3.5) / 4, (torch.arange(4, dtype=x.dtype) - 1.5) / 4
        places = torch.stack(torch.meshgrid(*centre, indexing="ij"), -1)
        held = h = self.layer(h, places, "down_levels.0.0", 2, 3)
        h = self.linear(self.squares(h), "merges.0.proj", 32, bias=False)
        lower = places.reshape(4, 2, 2, 2, 2).mean((1, 3))
        for k in range(2):
            h = self.layer(h, lower, f"mid_level.{k}", 4, 0)
        h = self.split(self.linear(h, "splits.0.proj", 4 * 16, bias=False))
        h = held + self("splits.0.fac", 1, around=0.5) * (h - held)
        h = self.layer(h, places, "up_levels.0.0", 2, 3)
        h = self.rms(h, self("out_norm.scale", 16, around=1.0))
        return self.split(self.linear(h, "patch_out.proj", 12, bias=False)).permute(0, 3, 1, 2)

    def squares(self, x: Tensor) -> Tensor:
        n, height, width, wide = x.shape
        return x.reshape(n, height // 2, 2, width // 2, 2, wide).permute(0, 1, 3, 2, 4, 5).flatten(3)

    def split(self, x: Tensor) -> Tensor:
        n, height, width, wide = x.shape
        each = x.reshape(n, height, width, 2, 2, wide // 4).permute(0, 1, 3, 2, 4, 5)
        return each.reshape(n, 2 * height, 2 * width, wide // 4)


NETWORKS = {
    "DDPM++": (lambda: Song("standard", "standard", False, (1, 1)), (3, 16, 16)),
    "NCSN++": (lambda: Song("residual", "standard", True, (1, 3, 3, 1)), (3, 16, 16)),
    "skips": (lambda: Song("skip", "skip", False, (1, 3, 3, 1)), (3, 16, 16)),
    "EDM2": (EDM2, (3, 8, 8)),
    "neighbours": (lambda: Hourglass(windows=False), (3, 16, 8)),
    "windows": (lambda: Hourglass(windows=True), (3, 16, 8)),
}
CONFIG = {"model": {"type": "image_transformer_v2", "input_channels": 3, "input_size": [16, 8], "sigma_data": 0.5}}


def header(windows: bool) -> dict[str, str]:
    """As convert_for_inference of k-diffusion writes it."""
    first = {"type": "shifted-window", "window_size": 4} if windows else {"type": "neighborhood", "kernel_size": 3}
    return {"config": json.dumps({"model": CONFIG["model"] | {"self_attns": [first, {"type": "global"}]}})}


@pytest.fixture(scope="module", params=NETWORKS)
def imported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Weights, Path]:
    """A file of each, with the name of its kind and its network."""
    make, shape = NETWORKS[request.param]
    network, place = make(), tmp_path_factory.mktemp("edm")
    run(network, torch.zeros(BATCH, *shape), torch.zeros(BATCH), torch.zeros(BATCH, 4))
    of_k_diffusion = isinstance(network, Hourglass)
    about = header(request.param == "windows") if of_k_diffusion else None
    prefix = {"EDM2": "unet.", "neighbours": "", "windows": "inner_model."}.get(request.param, "model.")
    return request.param, network, network.saved(place / "network.safetensors", prefix, about)


def test_a_network_is_the_one_of_its_paper_in_every_preconditioned_output(imported: tuple[str, Weights, Path]) -> None:
    kind, network, file = imported
    source = open_source(file, device="cpu")
    model = source.diffusion
    assert model.space.shape == NETWORKS[kind][1]
    assert model.items.label_names == ("0", "1", "2")
    x = torch.randn(BATCH, *model.space.shape, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([2, 0])
    condition = model.condition_of(range(BATCH), labels)
    bound, denoiser = model.denoiser(condition, threshold="none"), model.gaussian_denoiser()
    none = torch.zeros(BATCH, 4)
    none[:, 3] = 1
    with torch.no_grad():
        for t in (0.3, 0.8):
            sigma = float(denoiser.schedule.sigma(torch.tensor(t)))
            root, time = (sigma**2 + 0.25) ** 0.5, torch.full((BATCH,), log(sigma) / 4)
            classes = F.one_hot(labels, 4).float()
            for given, found in ((classes, bound(x, t)), (none, denoiser(x, t))):
                theirs = 0.25 / root**2 * x + sigma * 0.5 / root * run(network, x / root, time, given)
                size = theirs.abs().max()
                close = OF_NEIGHBOURS if kind == "neighbours" else TOLERANCE
                torch.testing.assert_close(found.clean / size, theirs / size, rtol=0, atol=close)


def run(network: Weights, x: Tensor, time: Tensor, classes: Tensor) -> Tensor:
    """Of four places, the last of which is "no class": k-diffusion alone has a row for it."""
    return network.network(x, time, classes if isinstance(network, Hourglass) else classes[:, :3])  # type: ignore[attr-defined]


def test_in_float64_both_are_one_function(imported: tuple[str, Weights, Path]) -> None:
    kind, network, file = imported
    denoiser = open_source(file, device="cpu").diffusion.gaussian_denoiser().double()
    x = torch.randn(BATCH, *NETWORKS[kind][1], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    time, classes = torch.full((BATCH,), 0.25, dtype=torch.float64), torch.eye(4, dtype=torch.float64)[[1, 3]]
    kept = network.tensors
    network.double()
    with torch.no_grad():
        found = denoiser.network(x, time, NetworkCondition(vector=classes))
        theirs = run(network, x, time, classes)
    network.tensors = kept
    torch.testing.assert_close(found, theirs, rtol=0, atol=3e-8 if kind in ("DDPM++", "skips") else 1e-12)


def test_it_is_sampled_and_saved_as_any_other(imported: tuple[str, Weights, Path], tmp_path: Path) -> None:
    _, _, file = imported
    import_run(file, tmp_path / "run", device="cpu")
    model = load(tmp_path / "run", DiffusionModel, device="cpu")
    made = model.sample(2, label=1, steps=3)
    assert made.isfinite().all()
    assert torch.equal(made, open_source(file, device="cpu").diffusion.sample(2, label=1, steps=3))


def test_another_deviation_is_claimed_and_what_is_not_known_is_refused(
    imported: tuple[str, Weights, Path], tmp_path: Path
) -> None:
    kind, network, file = imported
    claims = override(Claims(), ["parameterization=edm", "parameterization.sigma_data=0.25", "schedule=edm"])
    found = open_source(file, claims=claims, device="cpu").diffusion
    assert found.config.parameterization == PredictPreconditioned(0.25)
    if kind == "windows":
        wrong = {"config": json.dumps({"model": {"self_attns": [{"type": "none"}, {"type": "global"}]}})}
        with pytest.raises(InputError, match="attention of type none"):
            open_source(network.saved(tmp_path / "a.safetensors", "", wrong))
