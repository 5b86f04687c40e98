"""Networks of perceptual losses: LPIPS as torchmetrics has it, EfficientNet's maps, and weights that are refused."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sumi.errors import InputError
from sumi.metrics.features.distance import chosen, open_distance
from sumi.metrics.features.efficientnet import PACKAGES
from sumi.metrics.perceptual import PerceptualDistance

IMAGES = (3, 40, 48)
VGG = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)


def torchvision_features(net: str, pretrained: bool = False) -> nn.Sequential:
    """`features` of torchvision's vgg16 and alexnet, with random weights."""
    del pretrained
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    if net == "vgg16":
        incoming = 3
        for width in VGG:
            if width:
                layers += [nn.Conv2d(incoming, width, 3, padding=1), nn.ReLU(inplace=False)]
                incoming = width
            else:
                layers.append(nn.MaxPool2d(2, 2))
    else:
        layers += [nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)]
        layers += [nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
        layers += [nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()]
        layers += [nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)]
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.uniform_(layer.bias, -0.1, 0.1)
    return nn.Sequential(*layers)


def reference(net: str, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """LPIPS of torchmetrics with its own heads, which are LPIPS's, and a random network."""
    from torchmetrics.functional.image import lpips

    monkeypatch.setattr(lpips, "_get_tv_model_features", torchvision_features)
    return lpips._LPIPS(pretrained=True, net=net, pnet_rand=True)


def pair(channels: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.rand(3, channels, *IMAGES[1:], generator=generator) * 2 - 1 for _ in range(2))
    b[0, :, :20] = a[0, :, :20]
    a[1], b[2] = 0.0, -1.0
    return a, b


def same_gradient(mine: nn.Module, other: nn.Module, a: Tensor, b: Tensor) -> None:
    gradients = []
    for network in (mine, other):
        x = a.clone().requires_grad_()
        gradients.append(torch.autograd.grad(network(x, b).sum(), x)[0])
    assert bool(gradients[0].isfinite().all())
    torch.testing.assert_close(gradients[0][0], gradients[1][0], rtol=1e-3, atol=1e-6)  # one colour alone has ties


@pytest.mark.parametrize("net", ["vgg", "alex"])
def test_lpips_is_that_of_torchmetrics(net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = reference(net, monkeypatch)
    torch.save(other.state_dict(), tmp_path / "lpips.pth")
    mine = open_distance(str(tmp_path / "lpips.pth"), IMAGES)
    a, b = pair()
    torch.testing.assert_close(mine(a, b), other(a, b).flatten(), rtol=1e-5, atol=1e-6)
    assert float(mine(a, b).min()) > 0.01
    assert float(mine(a, a).abs().max()) == 0
    if net == "alex":
        same_gradient(mine, other, a, b)
    grey = pair(1)[0]
    torch.testing.assert_close(mine(grey, grey.flip(0)), mine(*(x.expand(-1, 3, -1, -1) for x in (grey, grey.flip(0)))))


@pytest.mark.parametrize("net", ["vgg16", "alexnet"])
def test_heads_and_torchvisions_network_in_one_folder_are_whole(
    net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = reference({"vgg16": "vgg", "alexnet": "alex"}[net], monkeypatch)
    whole = other.state_dict()
    torch.save(whole, tmp_path / "whole.pt")
    folder = tmp_path / "parts"
    folder.mkdir()
    torch.save({k: v for k, v in whole.items() if k.startswith("lin")}, folder / "heads.pth")
    network = {f"features.{k}": v for k, v in torchvision_features(net).state_dict().items()}
    save_file({**network, "classifier.0.weight": torch.ones(2)}, folder / f"{net}.safetensors")
    (folder / "readme.txt").write_text("from elsewhere")
    found = [open_distance(str(path), IMAGES) for path in (folder, tmp_path / "whole.pt")]
    assert found[0].sha256 == found[1].sha256
    a, b = pair()
    assert torch.equal(found[0](a, b), found[1](a, b))


def damaged(tensors: dict[str, Tensor], change: str) -> object:
    match change:
        case "no heads":
            return {k: v for k, v in tensors.items() if not k.startswith("lin")}
        case "heads alone":
            return {k: v for k, v in tensors.items() if k.startswith("lin")}
        case "a layer less":
            return {k: v for k, v in tensors.items() if k != "net.slice5.10.bias"}
        case "a wrong width":
            return tensors | {"net.slice5.10.bias": torch.zeros(3)}
        case "two values":
            return tensors | {"lins.0.model.1.weight": tensors["lin0.model.1.weight"] + 1}
        case "not finite":
            return tensors | {"net.slice5.10.bias": torch.full((256,), torch.nan)}
        case "another scale":
            return tensors | {"scaling_layer.shift": torch.zeros(1, 3, 1, 1)}
        case "something else":
            return tensors | {"gamma": torch.ones(1)}
        case "another network":
            return {k: v[..., :5, :5] if k.endswith("0.weight") else v for k, v in tensors.items()}
        case _:
            return [tensors]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("no heads", r"the tensor 'lin0' is missing; give a state dict of LPIPS"),
        ("heads alone", "holds no network, which the heads are for"),
        ("a layer less", r"the tensor '10\.bias' is missing"),
        ("a wrong width", r"the tensor '10\.bias' is not of LPIPS with AlexNet"),
        ("two values", r"the tensor 'lins\.0\.model\.1\.weight' is there twice, with other values"),
        ("not finite", r"the tensor 'net\.slice5\.10\.bias' is not finite"),
        ("another scale", "scales images otherwise than LPIPS"),
        ("something else", "the tensor 'gamma' is not of LPIPS"),
        ("another network", "holds no VGG-16 or AlexNet"),
        ("a list", "no dictionary of tensors"),
    ],
)
def test_weights_that_are_not_whole_are_refused(
    change: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "lpips.pth"
    torch.save(damaged(reference("alex", monkeypatch).state_dict(), change), file)
    with pytest.raises(InputError, match=message) as error:
        open_distance(str(file), IMAGES)
    assert "\n" not in str(error.value)
    assert str(file) in str(error.value)


def test_what_is_no_file_of_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("no weights")
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut.safetensors").write_bytes(b"\x10")
    for name, message in (
        ("none.pth", r"none\.pth: no such file; give"),
        ("text.pth", r"text\.pth: (not a readable file of weights|holds more than tensors)"),
        ("empty", r"empty: has no file of weights \(\.safetensors, "),
        ("cut.safetensors", r"cut\.safetensors: not a readable file of weights"),
    ):
        with pytest.raises(InputError, match=message):
            open_distance(str(tmp_path / name), IMAGES)


@pytest.mark.parametrize(("net", "fewest"), [("vgg", 16), ("alex", 31)])
def test_images_that_it_does_not_see_are_refused(
    net: str, fewest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "lpips.pth"
    torch.save(reference(net, monkeypatch).state_dict(), file)
    with pytest.raises(InputError, match="sees grey or colour images, not 4 channels; choose learned"):
        open_distance(str(file), (4, 64, 64))
    with pytest.raises(InputError, match=f"needs sides of {fewest} pixels, not {fewest - 1}"):
        open_distance(str(file), (3, 64, fewest - 1))
    small = torch.zeros(1, 3, fewest, fewest)
    assert float(open_distance(str(file), (3, fewest, fewest))(small, small)) == 0


def test_a_name_is_chosen_by_what_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sumi.metrics.features.distance.is_installed", lambda: True)
    assert chosen("auto", (3, 16, 20)) == chosen("auto", (1, 32, 32)) == "efficientnet"
    assert chosen("auto", (3, 15, 20)) == chosen("auto", (4, 32, 32)) == "learned"
    assert [chosen("auto", (3, side, 64), halved=True) for side in (31, 32)] == ["learned", "efficientnet"]
    monkeypatch.setattr("sumi.metrics.features.distance.is_installed", lambda: False)
    assert chosen("auto", (3, 16, 20)) == "learned"
    assert chosen("efficientnet", (3, 16, 20)) == "efficientnet"
    monkeypatch.chdir(tmp_path)
    assert chosen("a.pth", (3, 16, 20)) == str(tmp_path.resolve() / "a.pth")
    monkeypatch.setitem(sys.modules, PACKAGES[0], None)
    with pytest.raises(InputError, match=r"efficientnet needs .*pip install"):
        open_distance("efficientnet", IMAGES)


@pytest.mark.skipif(any(find_spec(package) is None for package in PACKAGES), reason="not installed")
def test_efficientnets_maps_are_its_own_on_the_way_to_its_features() -> None:
    """Of images at their own size, as levels from 0 to 255 less 127 over 128: the last blocks of four resolutions."""
    from sumi.metrics.features.efficientnet import _installed

    network = _installed().eval()
    blocks: list[Tensor] = []
    for block in network._blocks:
        block.register_forward_hook(lambda _, __, out: blocks.append(out))
    x = pair()[0]
    with torch.no_grad():
        network.extract_features(((x + 1) / 2 * 255 - 127) / 128)
    expected = [blocks[number] for number in (0, 2, 4, 10)]
    assert [tuple(m.shape[1:]) for m in expected] == [(16, 20, 24), (24, 10, 12), (40, 5, 6), (112, 2, 3)]
    distance: PerceptualDistance = open_distance("efficientnet", IMAGES)
    found = distance.network.maps(x)  # pyrefly: ignore
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)
    distance.train()
    assert torch.equal(distance(x, x.flip(0)), distance.eval()(x, x.flip(0)))  # it never learns
    with torch.autocast("cpu", torch.bfloat16):
        in_training = distance(x, x.flip(0))
    assert torch.equal(in_training, distance(x, x.flip(0)))
    smallest = torch.zeros(1, 3, 16, 16)
    assert float(open_distance("efficientnet", (3, 16, 16))(smallest, smallest)) == 0
