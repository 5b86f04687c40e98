"""The network whose inner values are the feature space: images in, features and class probabilities out.

    convolution, group norm, SiLU (halving the side to about 4) → 2×2 means → linear, SiLU: D = 64 features
    → linear: classes

Group norm treats every image alone, so an image has the same features in any company. Features are centred and divided
by one number, so that over the images it learned from their mean is 0 and their mean variance per feature 1: distances
then mean much the same for every data set. Two measurements compare only in the same feature space, which ``sha256``
identifies.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sumi.errors import InputError, SumiError
from sumi.metrics.features.space import SpaceFacts, hash_of

DIMENSION = 64
FEWEST = 4
LARGEST = 1e20  # the kernel distance has powers of twelve of a feature, and float64 ends at 1e308
LARGEST_SIDE = 128  # of twice that side and more, means over small squares are seen


@dataclass(frozen=True)
class FeatureFacts:
    """What a feature network was trained for, and how well it does it.

    ``task``: "classes" or "rotations"; ``accuracy``: share right among ``checked`` images (turned four ways for
    rotations) that it did not learn from; ``side``: the shorter side of those images, in pixels.
    """

    task: str
    classes: int
    channels: int
    side: int
    accuracy: float
    checked: int


class ConvolutionalClassifier(nn.Module):
    """(N, channels, H, W) → logits (N, classes); ``side`` (the shorter one of H and W) chooses how often to halve."""

    def __init__(self, channels: int, side: int, classes: int) -> None:
        super().__init__()
        shrink = max(1, side // LARGEST_SIDE)
        if side <= 16:
            layers = [(32, 1), (64, 2), (64, 2)]
        else:
            halvings = max(3, math.ceil(math.log2(side / shrink / 4)))
            layers = [(16, 2)] * (halvings - 3) + [(32, 2), (64, 2), (64, 2)]
        blocks: list[nn.Module] = [nn.AvgPool2d(shrink)] if shrink > 1 else []
        width = channels
        for wider, stride in layers:
            blocks += [nn.Conv2d(width, wider, 3, stride, padding=1), nn.GroupNorm(8, wider), nn.SiLU()]
            width = wider
        self.body = nn.Sequential(
            *blocks, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, DIMENSION), nn.SiLU()
        )
        self.head = nn.Linear(DIMENSION, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))

    def maps(self, x: Tensor) -> list[Tensor]:
        """What each convolution's SiLU gives, (N, C_l, H_l, W_l), from full resolution down."""
        found: list[Tensor] = []
        for layer in self.body:
            x = layer(x)
            match layer:
                case nn.SiLU() if x.ndim == 4:
                    found.append(x)
                case _:
                    pass
        return found


def untrained(
    channels: int, side: int, classes: int, generator: torch.Generator | None = None
) -> ConvolutionalClassifier:
    """A network with He's initial weights drawn from ``generator``."""
    # made on "meta", where the layers' own initial values cost nothing and leave the global generator alone
    with torch.device("meta"):
        network = ConvolutionalClassifier(channels, side, classes)
    network.to_empty(device="cpu")
    for module in network.modules():
        match module:
            case nn.Conv2d() | nn.Linear():
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            case nn.GroupNorm():
                nn.init.ones_(module.weight)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    return network


class FeatureNetwork:
    """A trained network: images in, features and class probabilities out. Always on the CPU, never in training mode."""

    def __init__(self, network: ConvolutionalClassifier, centre: Tensor, scale: Tensor, facts: FeatureFacts) -> None:
        self.facts = facts
        self._network = network.eval().requires_grad_(False)
        self._centre, self._scale = centre, scale

    @property
    def classifier(self) -> ConvolutionalClassifier:
        """The network itself, with frozen weights."""
        return self._network

    @property
    def sha256(self) -> str:
        """Identifies the feature space: a hash of all weights and of ``facts``."""
        return hash_of(json.dumps(asdict(self.facts)), self._tensors())

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """float64 (N, D) of images (N, C, H, W) in [-1, 1]; their channels must be those it learned from."""
        raw = torch.cat([self._network.body(batch) for batch in self._batches(images)]).double()
        return (raw - self._centre) / self._scale

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """float64 (N, classes), rows sum to 1, of images (N, C, H, W) in [-1, 1]."""
        logits = torch.cat([self._network(batch) for batch in self._batches(images)])
        return logits.double().softmax(1)

    @property
    def space(self) -> SpaceFacts:
        """The feature space by name and hash."""
        learned = "classes" if self.facts.task == "classes" else "turns"
        return SpaceFacts(f"built-in network, trained on the {learned} of the training images", self.sha256, DIMENSION)

    @torch.no_grad()
    def classes_of(self, features: Tensor) -> Tensor | None:
        """float64 (N, classes), rows sum to 1, of images with these features (N, D); None if it was taught turns."""
        if self.facts.task != "classes":
            return None
        raw = (features * self._scale + self._centre).float()
        return self._network.head(raw).double().softmax(1)

    @torch.no_grad()
    def maps(self, images: Tensor) -> list[Tensor]:
        """float32 values (N, C_l, H_l, W_l) of each convolution, of images (N, C, H, W) in [-1, 1]."""
        batches = [self._network.maps(batch) for batch in self._batches(images)]
        return [torch.cat(stage) for stage in zip(*batches, strict=True)]

    def save(self, path: Path) -> None:
        """Write the weights to ``path`` as safetensors, with ``facts`` and ``sha256`` as their metadata."""
        about = {"facts": json.dumps(asdict(self.facts)), "sha256": self.sha256}
        save_file(self._tensors(), path, about)

    @staticmethod
    def load(path: Path) -> "FeatureNetwork":
        """Read what ``save`` wrote. Raises InputError where it is no such file, SumiError where its bytes changed."""
        try:
            with safe_open(path, "pt") as file:
                about = file.metadata() or {}
                names = file.keys()
                tensors = {name: file.get_tensor(name) for name in names}
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path}: not a readable feature network ({error}); measure again to make one") from error
        if not {"facts", "sha256"} <= about.keys():
            raise InputError(f"{path}: weights, but not of a feature network; measure again to make one")
        if hash_of(about["facts"], tensors) != about["sha256"]:
            raise SumiError(f"{path}: the weights are not those that were saved; delete it and measure again")
        facts = FeatureFacts(**json.loads(about["facts"]))
        network = untrained(facts.channels, facts.side, facts.classes)
        centre, scale = tensors.pop("centre"), tensors.pop("scale")
        network.load_state_dict(tensors)
        return FeatureNetwork(network, centre, scale, facts)

    def _tensors(self) -> dict[str, Tensor]:
        return self._network.state_dict() | {"centre": self._centre, "scale": self._scale}

    def _batches(self, images: Tensor) -> Iterator[Tensor]:
        check_images(images)
        if images.shape[1] != self.facts.channels:
            raise InputError(
                f"images with {images.shape[1]} channels: this feature network knows {self.facts.channels}"
            )
        size = min(1024, max(16, 2**18 // images[0, 0].numel()))
        for batch in images.split(size):
            yield batch.float().cpu().contiguous(memory_format=torch.channels_last)


def check_features(a: Tensor, b: Tensor) -> None:
    """Raise InputError unless both are finite features (N, D) with one D, of enough images to measure a distance."""
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or not a.shape[1]:
        raise InputError(f"features of shapes {tuple(a.shape)} and {tuple(b.shape)}: both must be (N, D), with one D")
    if min(len(a), len(b)) < FEWEST:
        fewest = min(len(a), len(b))
        raise InputError(f"{fewest} images are too few to measure a distance: give at least {FEWEST}")
    for x in (a, b):
        check_values(x, "them")


def check_values(features: Tensor, origin: str) -> Tensor:
    """Features (N, D), N ≥ 1, as they are. Raises InputError for NaN, infinite or huge ones; ``origin``: of what."""
    if not bool((features.double().abs() <= LARGEST).all()):  # written so that NaN is refused too
        raise InputError(
            f"features: some of {origin} are NaN, infinite or beyond {LARGEST:g} (float16 ends at 65504); "
            "give features in a wider type and scale, or use features=learned"
        )
    return features


def check_images(images: Tensor) -> None:
    """Raise InputError unless these are images (N, C, H, W) of floats."""
    if images.ndim != 4 or not images.is_floating_point():
        raise InputError(
            f"images of shape {tuple(images.shape)} and type {images.dtype}: give floats (N, C, H, W) in [-1, 1]"
        )
